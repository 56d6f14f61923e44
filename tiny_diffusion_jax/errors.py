"""Errors that a user can fix, as data: the field, its value, the allowed values and a hint."""

import contextlib
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

NO_VALUE = ...
LONGEST_REASON = 200  # characters


@dataclasses.dataclass(eq=False)
class UserError(ValueError):
    """A bad input: "field = value: problem: must be allowed. Hint".

    Each part may be missing; problem: what is wrong inside of the value, for example in a line of
    a file. `main.py` prints the line and exits with code 2, without a traceback.
    """

    field: str = ""
    value: Any = NO_VALUE
    allowed: str = ""
    hint: str = ""
    problem: str = ""

    @property
    def reason(self) -> str:
        """The line without the field and its value."""
        must_be = f"must be {self.allowed}" if self.allowed else ""
        sentence = ": ".join(filter(None, (self.problem, must_be)))
        return ". ".join(filter(None, (sentence, self.hint)))

    def __str__(self) -> str:
        value = "" if self.value is NO_VALUE else f" = {self.value!r}"
        return ": ".join(filter(None, (f"{self.field}{value}", self.reason)))


def require(condition: bool, field: str, value, allowed: str, hint: str = "") -> None:
    """Raise `UserError(field, value, allowed, hint)` unless `condition` holds."""
    if not condition:
        raise UserError(field, value, allowed, hint)


def require_choice(field: str, value, choices: Iterable) -> None:
    """Raise a UserError that names every choice unless `value` is one of `choices`."""
    choices = list(choices)
    require(value in choices, field, value, "one of " + ", ".join(map(str, choices)))


@contextlib.contextmanager
def errors_about(field: str, value):
    """Raise errors that have no field as errors about `field`, which has this value."""
    try:
        yield
    except UserError as error:
        if error.field:
            raise
        raise dataclasses.replace(error, field=field, value=value) from error


@contextlib.contextmanager
def rename_fields(names: Mapping[str, str], without: str | None = None):
    """Raise errors about a field in `names` with the new name, the one that the user has set.

    A hint that contains the text `without` is dropped, because it names what the user cannot set.
    """
    try:
        yield
    except UserError as error:
        dropped = without is not None and without in error.hint
        raise dataclasses.replace(
            error, field=names.get(error.field, error.field), hint="" if dropped else error.hint
        ) from error


def reason_of(error: Exception) -> str:
    """Return the first line of the message of any error, or the name of its type."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line if len(line) <= LONGEST_REASON else line[:LONGEST_REASON] + " ..."


def shorten(names: list[str], limit: int = 6) -> str:
    """Join the first `limit` names of a message, and count the others."""
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")
