"""Ctrl-C and SIGTERM in a training: a signal ends a block of steps at once, but not a write.

Outside of these functions, both signals raise KeyboardInterrupt (cli/main.py).
"""

import contextlib
import signal

from tiny_diffusion_jax.interrupts import caught


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
