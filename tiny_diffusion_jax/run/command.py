"""The command line that is being done, for the files that say how they were made."""

import shlex
from contextvars import ContextVar

COMMAND = ContextVar("command", default="")  # "" where the library is used without one


def note(argv: list[str]) -> None:
    """Keeps `argv`, program first, as it can be typed again."""
    COMMAND.set(shlex.join(["python", "main.py", *argv[1:]]))
