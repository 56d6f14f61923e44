"""Ctrl-C and SIGTERM: KeyboardInterrupt until the program has caught it, and writes undisturbed.

Code between the handler of a signal and the program may drop a KeyboardInterrupt: Python does in
`__del__` and in callbacks of weak references, and so may the C++ code of libraries. Then only a
second signal stops the program. In a training, a signal ends a block of steps at once, but not a
write.
"""

import contextlib
import os
import signal
import sys
import threading

SECONDS = 2.0  # until a signal is sent again; leaving the program's blocks takes less


def raise_until_caught() -> None:
    """Let Ctrl-C and SIGTERM raise KeyboardInterrupt until `caught` has it.

    A process that ignores Ctrl-C, as in the background of a shell, still ignores it.
    """
    handler = _Handler()
    signal.signal(signal.SIGTERM, handler)
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, handler)
    sys.unraisablehook = _ignore_interrupts


def caught(error: KeyboardInterrupt) -> int:
    """Return the number of the signal that raised `error`, and do not send the signal again."""
    number, *timers = error.args or (signal.SIGINT,)
    for again in timers:
        again.cancel()
    return number


class _Handler:
    """Raise KeyboardInterrupt(number, timer); the timer sends the last signal again."""

    again: threading.Timer | None = None

    def __call__(self, number: int, frame) -> None:
        if self.again:
            self.again.cancel()
        self.again = threading.Timer(SECONDS, os.kill, (os.getpid(), number))
        self.again.daemon = True
        self.again.start()
        raise KeyboardInterrupt(number, self.again)


def _ignore_interrupts(unraisable) -> None:
    """Print exceptions that Python drops, except a KeyboardInterrupt, which is raised again."""
    if not isinstance(unraisable.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)


class Interrupted(Exception):
    """Ctrl-C or SIGTERM arrived; `exit_code` is 128 + the signal's number, as in shells."""

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.exit_code = 128 + signal_number


@contextlib.contextmanager
def held_signals(received: list[int]):
    """Append the number of a signal to `received`, instead of raising KeyboardInterrupt.

    A second signal goes to the previous handler at once.
    """
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore():
        for number, handler in previous.items():
            signal.signal(number, handler)

    def receive(number, frame):
        received.append(number)
        restore()

    try:
        for number in previous:
            signal.signal(number, receive)
        yield
    finally:
        restore()


@contextlib.contextmanager
def abandon_at_signal(received: list[int]):
    """End the block at a signal, even within a line of the block, and append it to `received`."""
    try:
        yield
    except KeyboardInterrupt as error:
        received.append(caught(error))
