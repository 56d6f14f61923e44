"""Wait for the compiler and the device in a thread, so that Python can handle signals."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


def run_in_thread(work: Callable[[], Any]) -> Future:
    """Run `work()` in a new thread, and return the future of its result.

    Signal handlers run in the main thread, but not while the main thread is inside the compiler or
    waits for the device. If the handler raises, the thread of `work` is abandoned.
    """
    done = Future()

    def run():
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return done
