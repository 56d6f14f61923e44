"""Cells of a table: a number, a missing value, text, or text that was meant as a number.

The last kind, for example 1,234.5 or 5 mm, is an error in a coordinate, because its meaning would
have to be guessed.
"""

import contextlib
import math
import re

import numpy as np
import pandas

from tiny_diffusion_jax.errors import UserError

NUMBER, MISSING, MALFORMED, TEXT = range(4)
NO_VALUE = {"", "na", "n/a", "<na>", "nan", "+nan", "-nan", "nat", "null", "none", "nil"}
ERROR_VALUES = {"#n/a", "#value!", "#div/0!", "#ref!", "#num!", "#name?", "#null!"}  # Excel's
MISSING_WORDS = NO_VALUE | ERROR_VALUES | {"-", "--", "---", "\u2013", "\u2014", ".", "?"}
MINUS = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2212\ufe63\uff0d"), "-")
GROUP = "[,.'\u2019_ \u00a0\u2009\u202f]"  # between thousands
UNIT = re.compile(r"\s*(%|\u2030|\u00b0|[kcm\u00b5\u03bcun]?m|px|in|ft|deg|[mun\u00b5]?s)$", re.I)
EXPONENT = r"(?:[eEdD][+-]?\d+)?"
NUMBER_LIKE = re.compile(
    rf"[+-]?\s*(?:\d{{1,3}}(?:{GROUP}\d{{2,3}})*{GROUP}\d{{3}}(?:[.,]\d*)?|\d*[.,]\d+|\d+\.?|"
    rf"\d[\d_]*)\s*{EXPONENT}"
)
DECIMAL_COMMA = re.compile(rf"[+-]?\d*,\d+{EXPONENT}")
MAYBE_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
EXACT = 2.0**53  # above this number float64 cannot represent all whole numbers


def to_float(text: str, decimal: str = ".") -> float | None:
    """Convert `text` to a number, NaN and infinities included, or None."""
    if decimal == ",":
        if "." in text:
            return None
        text = text.replace(",", ".")
    if "_" in text:  # Python reads 1_000
        return None
    try:
        return float(text)
    except ValueError:
        return None


def kind_of(text: str, decimal: str = ".") -> int:
    """Classify `text` as NUMBER, MISSING, MALFORMED (meant as a number) or TEXT."""
    text = text.strip()
    if text.lower() in MISSING_WORDS:
        return MISSING
    value = to_float(text, decimal)
    if value is not None:
        return NUMBER if math.isfinite(value) else MALFORMED
    plain = UNIT.sub("", text.translate(MINUS).lstrip("$\u20ac\u00a3~<>=\u2248").strip())
    return MALFORMED if NUMBER_LIKE.fullmatch(plain) else TEXT


def parse_column(column: np.ndarray, decimal: str = ".") -> tuple[np.ndarray, np.ndarray]:
    """Return values f64[R] of a column and kinds i8[R] of its cells. Values of text are NaN."""
    if column.dtype.kind in "iuf":
        values = column.astype(np.float64)
        kinds = np.where(np.isnan(values), MISSING, np.where(np.isinf(values), MALFORMED, NUMBER))
        return values, kinds.astype(np.int8)
    if decimal == "." and column.dtype.kind in "OU":
        with contextlib.suppress(ValueError):  # the fast way for text that is only numbers
            values = column.astype(np.float64)
            if np.isfinite(values).all() and not any("_" in text for text in column):
                return values, np.zeros(len(values), np.int8)
    texts = texts_of(column)
    is_bool = column.dtype.kind == "b"
    kinds = [TEXT if is_bool else kind_of(text, decimal) for text in texts]
    values = np.array([to_float(text, decimal) for text in texts], np.float64)  # None becomes NaN
    return values, np.array(kinds, np.int8)


def text_of(cell) -> str:
    """Convert a cell to text without surrounding blanks; None, NaN and NA become empty."""
    return "" if cell is None or cell is pandas.NA or cell != cell else str(cell).strip()


def texts_of(column: np.ndarray) -> np.ndarray:
    """Convert the cells of a column to text object[R]."""
    return np.array([text_of(cell) for cell in column.tolist()], object)


def _advice(text: str, decimal: str) -> str:
    """Advice on a cell that is not a finite number, or "" without advice."""
    if text.lower() in MISSING_WORDS:
        return "config.data.skip_incomplete=True leaves out rows with missing values"
    if to_float(text, decimal) is not None or kind_of(text, decimal) != MALFORMED:
        return ""
    if text.translate(MINUS) != text:
        return "The minus is a Unicode sign; write -"
    if MAYBE_THOUSANDS.fullmatch(text):
        point, whole = text.replace(",", "."), text.replace(",", "")
        return f"The comma may be decimal or part thousands; write {point} or {whole}"
    if DECIMAL_COMMA.fullmatch(text):
        return "A decimal comma is read if all numbers have it; write a point"
    if UNIT.search(text):
        return "Write numbers without a unit"
    return "Write numbers without thousands separators, as 1234.5"


def check_finite(values, kinds, column, name: str, rows, decimal: str = ".") -> None:
    """Raise UserError with the first cell that is not a finite number in float32."""
    with np.errstate(over="ignore"):
        bad = (kinds != NUMBER) | ~np.isfinite(values.astype(np.float32))
    if not bad.any():
        return
    row = int(np.argmax(bad))
    cell = column[row]
    text = "" if cell is None else str(cell).strip()
    if kinds[row] == NUMBER:
        hint = "Numbers are float32, so below 3.4e38"
    elif row < leading_text(kinds):
        hint = "A row of units or of names must be deleted"
    else:
        hint = _advice(text, decimal)
    problem = f"{rows[row]}, column {name!r} holds {text!r}"
    raise UserError(allowed="a finite number", hint=hint, problem=problem)


def has_numbers(kinds: np.ndarray) -> bool:
    """Return whether a cell is a number, or was meant as a number."""
    return bool(np.isin(kinds, (NUMBER, MALFORMED)).any())


def leading_text(kinds: np.ndarray) -> int:
    """Count the cells of text, at most three, at the top of a column of numbers.

    These cells are units or additional names. The count is 0 if there is also text further down.
    """
    is_text = kinds == TEXT
    num = int(np.argmin(is_text)) if not is_text.all() else 0
    return num if num <= 3 and not is_text[num:].any() else 0


def encode(values) -> tuple[np.ndarray, list[str]]:
    """Number the different texts of [P] in order of appearance; return (numbers i64[P], names).

    Surrounding blanks are ignored. None and NaN are empty text.
    """
    values = values.tolist() if isinstance(values, np.ndarray) else list(values)
    seen = {value: i for i, value in enumerate(dict.fromkeys(values))}
    numbers = np.fromiter(map(seen.__getitem__, values), np.int64, len(values))
    names: dict[str, int] = {}
    order = np.array([names.setdefault(text_of(value), len(names)) for value in seen], np.int64)
    return order[numbers], list(names)


def are_missing(values) -> np.ndarray:
    """Return bool[P], True for values [P] whose text is empty or a word such as nan or none."""
    numbers, texts = encode(values)
    return np.array([text.lower() in NO_VALUE for text in texts], bool)[numbers]
