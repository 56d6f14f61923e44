"""The current command line, for the files that record how they were made."""

import shlex
from contextvars import ContextVar

COMMAND = ContextVar("command", default="")  # "" where the library is used without one


def note(argv: list[str]) -> None:
    """Store `argv`, program first, in a form that can be typed in a shell."""
    COMMAND.set(shlex.join(["python", "main.py", *argv[1:]]))
