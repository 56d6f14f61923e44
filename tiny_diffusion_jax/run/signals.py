"""Ctrl-C and SIGTERM while training: the block of steps is abandoned, what is done is saved."""

import contextlib
import signal


class Interrupted(Exception):
    """Ctrl-C or SIGTERM arrived; `exit_code` is 128 + the signal's number, as shells have it."""

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.exit_code = 128 + signal_number


class Abandoned(KeyboardInterrupt):
    """Raised by a signal, wherever the program was."""


class Signals:
    """Hears Ctrl-C and SIGTERM: the number of the one that came is `received`.

    Within `raised()` it raises Abandoned at once, elsewhere and within `held()` it waits to be
    asked for. A second one is not waited with: it goes where it went before.
    """

    def __enter__(self):
        self.received, self._raises = 0, False
        self._previous = {
            s: signal.signal(s, self._receive) for s in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def raised(self):
        """While a block of steps runs, which may take minutes."""
        return self._with(True)

    def held(self):
        """While files are written."""
        return self._with(False)

    @contextlib.contextmanager
    def _with(self, raises: bool):
        before, self._raises = self._raises, raises
        try:
            yield
        finally:
            self._raises = before
            if self.received:
                self._restore()

    def _receive(self, number, frame):
        self.received = number
        if self._raises:
            raise Abandoned(number)
        self._restore()

    def _restore(self):
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def __exit__(self, *_):
        self._restore()
