"""Layout of a table: rows of cells -> names of columns, columns of text, decimal mark."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from tiny_diffusion_jax.data import cells
from tiny_diffusion_jax.data.cells import MISSING, NUMBER, TEXT, kind_of
from tiny_diffusion_jax.errors import UserError

HEAD = 1_000  # rows that determine which columns hold numbers, and the delimiter
BELOW = 20  # rows that are compared with the first row, which may hold names
THOUSANDS_POINT = re.compile(r"\d,\d{3}\.\d")


class Rows(NamedTuple):
    """Rows as cells, the first line of each row, and the comments by line."""

    cells: list[tuple[str, ...]]
    lines: list[int]
    comments: list[tuple[int, str]]


class Table(NamedTuple):
    """Columns of R rows."""

    names: list[str]  # one for each column: from the header, or "0", "1", ...
    columns: list[np.ndarray]  # text object[R], or numbers
    rows: np.ndarray  # names of rows in messages, object[R]: "line 7"
    decimal: str = "."  # of numbers in text
    notes: tuple[str, ...] = ()  # decisions that the user may change, in words

    def keep(self, mask: np.ndarray) -> "Table":
        """Select the rows where mask bool[R] is True."""
        columns = [column[mask] for column in self.columns]
        return self._replace(columns=columns, rows=self.rows[mask])

    def parse(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return values f64[R] and kinds i8[R] of a column, see `cells.parse_column`."""
        return cells.parse_column(self.columns[index], self.decimal)


def table_of(names: list[str], columns: list, lines=None, word: str = "row", **fields) -> Table:
    """Make a table from columns; lines: numbers of the rows, default 0, 1, ..."""
    lines = range(len(columns[0]) if columns else 0) if lines is None else lines
    rows = np.array([f"{word} {line}" for line in lines], object)
    return Table(names, columns, rows, **fields)


def arrange(
    rows: Rows, delimiter: str, header: str, num_lines: int, word: str = "line",
    split: Callable | None = None,
) -> Table:  # fmt: skip
    """Arrange rows of cells as a table: separate the names of the columns from the points.

    header: auto, yes or no, whether the first row has names; num_lines: lines of the file; split:
    (text, delimiter) -> cells of a comment, if there are comments.
    Raises UserError for rows of different lengths.
    """
    width, notes = usual_width(rows.cells), []
    skipped = _preamble(rows.cells, width, num_lines)
    if skipped:
        notes.append("line 1 is read as the number of rows")
    body, lines = rows.cells[skipped:], rows.lines[skipped:]
    body = [row[:width] if len(row) > width and not any(row[width:]) else row for row in body]
    if header != "no":
        body[0] = _completed(body[0], body[1:], width)
    for row, line in zip(body, lines, strict=True):
        if len(row) != width:
            usual = next(n for n, other in zip(lines, body, strict=True) if len(other) == width)
            quote = "A quote is opened there and closed lines later" * ("\n" in "".join(row))
            raise UserError(problem=f"line {line} has {len(row)} cells",
                            allowed=f"{width}, as in line {usual}", hint=quote)  # fmt: skip
    first, top = body[0], lines[0]
    names = None if header == "no" else _names_in_comments(rows, top, width, delimiter, split)
    is_named = header == "yes" or (header == "auto" and is_header(first, body[1:]))
    if is_named and not (names and TEXT not in map(kind_of, first)):
        names, body, lines = first, body[1:], lines[1:]
        if header == "auto" and is_range(first):
            notes.append(f"line {top} ({', '.join(first)}) is read as names of columns, as pandas "
                         "writes; config.data.header=no reads it as a point")  # fmt: skip
    columns = [np.array([row[i] for row in body], object) for i in range(width)]
    if width > 2 and body and not (names and names[-1]) and not columns[-1].any():
        columns, names = columns[:-1], names and names[:-1]  # every line ends with a delimiter
    if not (names and any(names)):
        names = map(str, range(len(columns)))
    among = [line for line, text in rows.comments if lines and line > lines[0]
             and len(split(text, delimiter)) == width]  # fmt: skip
    if among:
        begin = f"{len(among)} lines that begin" if len(among) > 1 else "1 line that begins"
        notes.append(f"left out as comments: {begin} with # or % (the first is line {among[0]})")
    return table_of(list(names), columns, lines, word, notes=tuple(notes),
                    decimal=decimal_mark(columns, delimiter))  # fmt: skip


def usual_width(rows: list[tuple]) -> int:
    """Most frequent number of cells of a row, without the first row if there are more rows."""
    return Counter(map(len, rows[1:] or rows)).most_common(1)[0][0]


def _preamble(rows: list[tuple], width: int, num_lines: int) -> int:
    """Number of lines before the points of a .pts or .xyz file: the number of points, a comment."""
    number = rows[0][0]
    if len(rows[0]) != 1 or not number.isdecimal() or width < 2:
        return 0
    return next((skip for skip in (1, 2) if int(number) == num_lines - skip
                 and width in map(len, rows[skip:])), 0)  # fmt: skip


def _completed(first: tuple[str, ...], below: list[tuple], width: int) -> tuple[str, ...]:
    """Complete the names of all columns: R leaves out the name of its row names.

    Other programs end each row with a delimiter, so the last column has no name.
    """
    if len(first) != width - 1 or width < 2 or TEXT not in map(kind_of, first):
        return first
    is_trailing = not any(row[-1] for row in below if len(row) == width)
    return (*first, "") if is_trailing else ("", *first)


def is_range(first: tuple[str, ...]) -> bool:
    """Return whether cells are 0, 1, ... as in pandas, perhaps after a name of the index."""
    has_index = first[0] != "0"
    numbers = first[has_index:]
    is_name = not has_index or kind_of(first[0]) in (TEXT, MISSING)
    return is_name and len(numbers) > 1 and numbers == tuple(map(str, range(len(numbers))))


def is_header(first: tuple[str, ...], below: list[tuple]) -> bool:
    """Return whether the first row has names: only text; 0, 1, ...; or mostly text over numbers."""
    kinds = list(map(kind_of, first))
    if is_range(first) or TEXT not in kinds:
        return is_range(first)
    num_numbers = sum(kind in (NUMBER, cells.MALFORMED) for kind in kinds)
    under = [[kind_of(row[i]) for row in below[:BELOW]] for i, k in enumerate(kinds) if k == TEXT]
    above_numbers = sum(NUMBER in column and TEXT not in column for column in under)
    return not num_numbers or above_numbers > num_numbers


def _names_in_comments(rows: Rows, top: int, width: int, delimiter: str, split: Callable | None):
    """Names in the last comment before line `top` with as many cells as the points, or None."""
    for line, text in reversed(rows.comments):
        for mark in dict.fromkeys((delimiter, ",", ";", "\t", " ")) if line < top else ():
            names = split(text, mark)
            kinds = set(map(kind_of, names))
            is_prose = mark == " " != delimiter and not {"x", "y"} <= {n.lower() for n in names}
            if len(names) == width and TEXT in kinds <= {TEXT, MISSING} and not is_prose:
                return names
    return None


def decimal_mark(columns: Sequence[np.ndarray], delimiter: str) -> str:
    """Find the decimal mark of a table: "," or ".".

    A comma before three digits may also separate thousands. Then the comma is decimal if ; is the
    delimiter, as in Excel, or if another cell has a decimal comma. If a number has a point, the
    comma is not decimal.
    """
    has_comma, is_certain = False, delimiter == ";"
    for column in columns:
        if any(kind_of(cell) == TEXT for cell in column[:HEAD]):
            continue
        for cell in column:
            if "," in cell and cells.DECIMAL_COMMA.fullmatch(cell):
                has_comma = True
                is_certain = is_certain or not cells.MAYBE_THOUSANDS.fullmatch(cell)
            elif "." in cell and (kind_of(cell) == NUMBER or THOUSANDS_POINT.search(cell)):
                return "."
    return "," if has_comma and is_certain else "."
