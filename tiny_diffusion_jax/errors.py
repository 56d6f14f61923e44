"""Mistakes a user can mend, each one line: the field, its value and what is allowed."""

from collections.abc import Iterable


class UserError(ValueError):
    """A bad input. `main.py` prints its one line and leaves with exit code 2, no traceback."""


def reason_of(error: Exception) -> str:
    """What an error of another library says, in one line of moderate length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:200] + " ..."


def require(condition: bool, field: str, value, allowed: str) -> None:
    """Raises `UserError("field = value: must be allowed")` unless `condition` holds."""
    if not condition:
        raise UserError(f"{field} = {value!r}: must be {allowed}")


def require_choice(field: str, value, choices: Iterable) -> None:
    """Raises `UserError` naming every choice unless `value` is one of `choices`."""
    choices = list(choices)
    require(value in choices, field, value, "one of " + ", ".join(map(str, choices)))
