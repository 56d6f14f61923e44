"""Errors that a user can fix. Each is one line: the field, its value and the allowed values."""

from collections.abc import Iterable


class UserError(ValueError):
    """A bad input. `main.py` prints its one line and exits with code 2, without a traceback."""


def reason_of(error: Exception) -> str:
    """Return the message of an error of another library, in one line of at most 204 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:200] + " ..."


def require(condition: bool, field: str, value, allowed: str) -> None:
    """Raise `UserError("field = value: must be allowed")` unless `condition` holds."""
    if not condition:
        raise UserError(f"{field} = {value!r}: must be {allowed}")


def require_choice(field: str, value, choices: Iterable) -> None:
    """Raise `UserError` that names every choice unless `value` is one of `choices`."""
    choices = list(choices)
    require(value in choices, field, value, "one of " + ", ".join(map(str, choices)))
