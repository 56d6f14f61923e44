"""Ctrl-C and SIGTERM in a training: abandon the current block and save the last finished block."""

import contextlib
import signal


class Interrupted(Exception):
    """Ctrl-C or SIGTERM arrived; `exit_code` is 128 + the signal's number, as in shells."""

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.exit_code = 128 + signal_number


class Abandoned(KeyboardInterrupt):
    """Raised by a signal at the current line of the main thread."""


class Signals:
    """Receive Ctrl-C and SIGTERM, and store the number of the signal in `received`.

    Within `raised()`, a signal raises Abandoned at once. Elsewhere and within `held()`, the caller
    must read `received`. A second signal goes to the previous handler at once.
    """

    def __enter__(self):
        self.received, self._raises = 0, False
        self._previous = {
            number: signal.signal(number, self._receive)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *_):
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def raised(self):
        """Raise signals at once, for a block of steps that may take minutes."""
        return self._raising(True)

    def held(self):
        """Hold signals, while files are written."""
        return self._raising(False)

    @contextlib.contextmanager
    def _raising(self, raises: bool):
        before, self._raises = self._raises, raises
        try:
            yield
        finally:
            self._raises = before
            if self.received:
                self.__exit__()

    def _receive(self, number, frame):
        self.received = number
        if self._raises:
            raise Abandoned(number)
        self.__exit__()
