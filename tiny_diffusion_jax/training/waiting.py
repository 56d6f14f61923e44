"""Waiting for the compiler and the device, with Python free to hear a signal meanwhile."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


def soon(work: Callable[[], Any]) -> Future:
    """What `work()` will return, from a thread of its own.

    A signal's handler runs in the main thread, and not while that is inside of a compiler or of a
    wait for the device. Where the handler raises, `work` is left to itself.
    """
    done = Future()

    def run():
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return done
