"""Ctrl-C and SIGTERM while training: the block is finished and saved first."""

import signal


class Interrupted(Exception):
    """Ctrl-C or SIGTERM arrived; `exit_code` is 128 + the signal's number, as shells have it."""

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.exit_code = 128 + signal_number


class Signals:
    """Remembers Ctrl-C and SIGTERM while training, which ends after the block it is in.

    A second one is not waited with: it goes where it went before.
    """

    def __enter__(self):
        self.received = 0
        self._previous = {
            s: signal.signal(s, self._receive) for s in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def _receive(self, number, frame):
        self.received = number
        self._restore()

    def _restore(self):
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def __exit__(self, *_):
        self._restore()
