"""KeyboardInterrupt for Ctrl-C and SIGTERM, raised again until the program has caught it.

Code between the handler of a signal and the program may drop the exception: Python does in
`__del__` and in callbacks of weak references, and so may the C++ code of libraries. Then
only a second signal stops the program.
"""

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
    number, again = error.args or (signal.SIGINT, None)
    if again:
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
