"""Text tables: text -> rows of cells -> names and columns.

The csv module splits the first rows. Delimiter, names and decimal mark follow from these rows.
pandas' C parser reads the other rows if each of them is well-formed. Otherwise the csv module
reads the whole text: this is slower, but then the line of every row is known.
"""

import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tiny_diffusion_jax.data.cells import (
    DECIMAL_COMMA,
    ERROR_VALUES,
    MALFORMED,
    MAYBE_THOUSANDS,
    MISSING,
    NUMBER,
    TEXT,
    kind_of,
)
from tiny_diffusion_jax.errors import UserError

HEAD = 1_000  # rows that determine the layout of a table
SAMPLED = 100  # rows by which delimiters are compared
BELOW = 20  # rows that are compared with the first row, which may hold names
DELIMITERS = ("\t", ";", ",", "|", " ")  # the first wins a tie; " " is any number of blanks
SEP_LINE = re.compile(r'"?sep=(\\t|.)"?[ \t;,]*', re.I)
THOUSANDS_POINT = re.compile(r"\d,\d{3}\.\d")
COMMENT = re.compile(r"[ \t]*[#%]")
BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32"),
        (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))  # fmt: skip


class Rows(NamedTuple):
    """Rows of a text as cells, the first line of each row, and the comments by line."""

    cells: list[list[str]]
    lines: list[int]
    comments: list[tuple[int, str]]


class Layout(NamedTuple):
    """Layout of a text table: `width` counts the cells of a row, with an empty last cell."""

    names: list[str]
    width: int
    decimal: str
    notes: tuple[str, ...]


# ---------------------------------------------------------------- bytes to rows


def decode(data: bytes, place: str) -> str:
    """Decode UTF-8, UTF-16 or UTF-32 to lines that end in \\n. Raises UserError with the line."""
    encoding = next((name for bom, name in BOMS if data.startswith(bom)), "")
    try:
        text = data.decode(encoding or _encoding_without_bom(data))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{place}: must be a text file in UTF-8 or UTF-16, but line {line} is not "
                        f"({error.reason}). Save the table again as UTF-8") from error  # fmt: skip
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UserError(f"{place}: must be a text file, but line {line} holds a zero byte")
    text = text.removeprefix("\ufeff")
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _encoding_without_bom(data: bytes) -> str:
    """Return UTF-16 if every second byte of the start is zero, as in Latin text."""
    even, odd = data[:1_000:2], data[1:1_000:2]
    if odd.count(0) > 0.9 * len(odd) > 0:
        return "utf-16-le"
    return "utf-16-be" if even.count(0) > 0.9 * len(even) > 0 else "utf-8"


def split_rows(lines: Iterable[str], delimiter: str, place: str, before: int = 0) -> Iterator:
    """Yield (line, cells) of each row and (line, text) of each comment; skip empty rows.

    Comments are lines that start with # or %, outside of quoted cells. before: number of lines
    before the first of `lines`.
    """
    line, begin, comments = before, 0, []

    def feed():
        nonlocal line, begin
        for text in lines:
            line += 1
            if not begin:
                if COMMENT.match(text) and not _begins_with_error(text):
                    comments.append((line, text.strip()))
                    continue
                begin = line
            yield text.replace("\t", " ").strip() + "\n" if delimiter == " " else text

    reader = csv.reader(feed(), delimiter=delimiter, skipinitialspace=True)
    while True:
        begin = 0
        try:
            cells = [cell.strip() for cell in next(reader, ())]
        except csv.Error as error:
            raise UserError(f"{place}: line {line}: must be a row of cells ({error})") from error
        yield from comments
        comments.clear()
        if not begin:
            return
        if any(cells):
            yield begin, cells


def _begins_with_error(text: str) -> bool:
    """Return whether the first cell is an error value such as #N/A, which is not a comment."""
    return re.split(r"[,;\t| ]", text.strip(), maxsplit=1)[0].strip('"').lower() in ERROR_VALUES


def collect_rows(items: Iterable[tuple], most: int | None = None) -> Rows:
    """Collect the first `most` rows of `split_rows`; None: all rows."""
    rows = Rows([], [], [])
    for line, content in items:
        if isinstance(content, str):
            rows.comments.append((line, content))
            continue
        rows.cells.append(content)
        rows.lines.append(line)
        if len(rows.cells) == most:
            break
    return rows


# ---------------------------------------------------------------- delimiter


def find_delimiter(lines: list[str], place: str) -> str:
    """Find the delimiter that gives most rows the same number of cells, two or more.

    Among equal delimiters, choose the delimiter with more numbers in its cells. This distinguishes
    0,5;1,5 from 0|5;1|5.
    """
    scores = {}
    for delimiter in DELIMITERS:
        cells = collect_rows(split_rows(lines, delimiter, place), SAMPLED).cells
        if cells and (width := usual_width(cells)) > 1:
            fits = [len(row) == width for row in cells]
            fits[0] |= len(cells[0]) == width - 1 > 1  # no name for the row names
            below = [cell for row in cells[1:] or cells for cell in row]
            numbers = sum(kind_of(cell) != TEXT for cell in below)
            scores[delimiter] = sum(fits) / len(cells), numbers / len(below)
    return max(scores, key=scores.get, default=",")


def usual_width(cells: list[list[str]]) -> int:
    """Most frequent number of cells of a row, without the first row if there are more rows."""
    return Counter(map(len, cells[1:] or cells)).most_common(1)[0][0]


# ---------------------------------------------------------------- names


def arrange(rows: Rows, delimiter: str, header: str, num_lines: int, place: str):
    """Return (Layout, rows of points as cells, their lines), without the row of names.

    Raises UserError for rows of different lengths.
    """
    width, notes = usual_width(rows.cells), []
    skipped = _preamble(rows.cells[0], width, num_lines)
    if skipped:
        notes.append("line 1 is read as the number of rows")
    cells, lines = rows.cells[skipped:], rows.lines[skipped:]
    cells = [row[:width] if len(row) > width and not any(row[width:]) else row for row in cells]
    first = _completed(cells[0], cells[1:], width) if header != "no" else cells[0]
    cells = [first, *cells[1:]]
    _check_lengths(cells, lines, width, place)
    names = _names_in_comments(rows.comments, lines[0], width, delimiter, place)
    is_named = header == "yes" or (header == "auto" and is_header(first, cells[1:]))
    names = None if header == "no" else names
    is_named = is_named and not (names and TEXT not in map(kind_of, first))
    if is_named:
        names = first
        if header == "auto" and is_range(first):
            notes += [f"line {lines[0]} ({', '.join(first)}) is read as names of columns, as "
                      "pandas writes", "config.data.header=no reads it as a point"]  # fmt: skip
    points, lines = cells[is_named:], lines[is_named:]
    if width > 2 and points and not (names and names[-1]) and not any(row[-1] for row in points):
        points = [row[:-1] for row in points]  # every line ends with a delimiter
        names = names and names[:-1]
    if not (names and any(names)):
        names = [str(i) for i in range(len(points[0]) if points else width)]
    notes += _comments_among_points(rows, lines, delimiter, width, place)
    return Layout(list(names), width, decimal_mark(points, delimiter), tuple(notes)), points, lines


def _preamble(first: list[str], width: int, num_lines: int) -> int:
    """Number of lines before the points of a .pts or .xyz file: the number of points, a comment."""
    if len(first) != 1 or not first[0].isdecimal() or width < 2:
        return 0
    return next((skip for skip in (1, 2) if int(first[0]) == num_lines - skip), 0)


def _completed(first: list[str], below: list[list[str]], width: int) -> list[str]:
    """Complete the names of all columns: R leaves out the name of its row names.

    Other programs end each row with a delimiter, so the last column has no name.
    """
    if len(first) != width - 1 or width < 2 or TEXT not in map(kind_of, first):
        return first
    is_trailing = not any(row[-1] for row in below if len(row) == width)
    return [*first, ""] if is_trailing else ["", *first]


def _check_lengths(cells, lines, width: int, place: str) -> None:
    for row, line in zip(cells, lines, strict=True):
        if len(row) != width:
            usual = next(n for n, other in zip(lines, cells, strict=True) if len(other) == width)
            quote = "\n" in "".join(row) and ". A quote is opened there and closed lines later"
            raise UserError(f"{place}: line {line} has {len(row)} cells: must be {width}, as in "
                            f"line {usual}{quote or ''}")  # fmt: skip


def is_range(cells: list[str]) -> bool:
    """Return whether cells are 0, 1, ... as in pandas, perhaps after a name of the index."""
    numbers = cells if cells[0] == "0" else cells[1:]
    is_index = numbers is cells or kind_of(cells[0]) in (TEXT, MISSING)
    return is_index and len(numbers) > 1 and numbers == [str(i) for i in range(len(numbers))]


def is_header(first: list[str], below: list[list[str]]) -> bool:
    """Return whether the first row has names: only text; 0, 1, ...; or mostly text over numbers."""
    kinds = list(map(kind_of, first))
    if is_range(first):
        return True
    if TEXT not in kinds:
        return False
    num_numbers = sum(kind in (NUMBER, MALFORMED) for kind in kinds)
    under = [[kind_of(row[i]) for row in below[:BELOW]] for i, k in enumerate(kinds) if k == TEXT]
    above_numbers = sum(NUMBER in column and TEXT not in column for column in under)
    return not num_numbers or above_numbers > num_numbers


def _names_in_comments(comments, first_line: int, width: int, delimiter: str, place: str):
    """Names in the last comment before the points with as many cells as the points, or None."""
    for line, text in reversed(comments):
        for mark in dict.fromkeys((delimiter, ",", ";", "\t", " ")) if line < first_line else ():
            names = _cells_of_comment(text, mark, place)
            kinds = set(map(kind_of, names))
            is_prose = mark == " " != delimiter and not {"x", "y"} <= {n.lower() for n in names}
            if len(names) == width and TEXT in kinds <= {TEXT, MISSING} and not is_prose:
                return names
    return None


def _cells_of_comment(text: str, delimiter: str, place: str) -> list[str]:
    cells = collect_rows(split_rows([text.lstrip("#%").strip(" ")], delimiter, place)).cells
    return cells[0] if cells else []


def _comments_among_points(rows: Rows, lines, delimiter: str, width: int, place: str) -> list[str]:
    """Notice about comments with as many cells as the points, which may be points."""
    among = [line for line, text in rows.comments if len(lines) and line > lines[0]
             and len(_cells_of_comment(text, delimiter, place)) == width]  # fmt: skip
    if not among:
        return []
    lines = f"{len(among)} lines that begin" if len(among) > 1 else "1 line that begins"
    return [f"left out as comments: {lines} with # or % (the first is line {among[0]})"]


# ---------------------------------------------------------------- decimal mark


def decimal_mark(cells: list[list[str]], delimiter: str) -> str:
    """Find the decimal mark of a table: "," or ".".

    A comma before three digits may also separate thousands. Then the comma is decimal if ; is the
    delimiter, as in Excel, or if another cell has a decimal comma. If a number has a point, the
    comma is not decimal.
    """
    width = range(len(cells[0]) if cells else 0)
    numeric = [i for i in width if all(kind_of(row[i]) != TEXT for row in cells[:HEAD])]
    commas, is_certain = False, delimiter == ";"
    for row in cells:
        for cell in (row[i] for i in numeric):
            if "," in cell and DECIMAL_COMMA.fullmatch(cell):
                commas, is_certain = True, is_certain or not MAYBE_THOUSANDS.fullmatch(cell)
            elif "." in cell and (kind_of(cell) == NUMBER or THOUSANDS_POINT.search(cell)):
                return "."
    return "," if commas and is_certain else "."


# ---------------------------------------------------------------- a text


class TextTable:
    """A text table: the first rows are split at once, other rows when columns are selected."""

    def __init__(self, text: str, header: str, place: str, suffix: str = ""):
        self.header, self.place = header, place
        first_line, _, rest = text.partition("\n")
        sep = SEP_LINE.fullmatch(first_line)  # Excel's first line
        self.text, self.before = (rest, 1) if sep else (text, 0)
        self.delimiter = sep[1].replace("\\t", "\t") if sep else self._find_delimiter(suffix)
        rows = self._rows(HEAD + 1)
        self.is_whole = len(rows.cells) <= HEAD
        self.is_empty = not rows.cells
        if not self.is_empty:
            self.layout, self.cells, self.lines = self._arrange(rows)

    def _find_delimiter(self, suffix: str) -> str:
        lines = list(itertools.islice(io.StringIO(self.text, newline="\n"), HEAD))
        if suffix in (".tsv", ".tab") and any("\t" in line for line in lines):
            return "\t"
        return find_delimiter(lines, self.place)

    def _rows(self, most: int | None = None) -> Rows:
        lines = io.StringIO(self.text, newline="\n")
        return collect_rows(split_rows(lines, self.delimiter, self.place, self.before), most)

    def _arrange(self, rows: Rows):
        num_lines = self.text.rstrip().count("\n") + 1
        return arrange(rows, self.delimiter, self.header, num_lines, self.place)

    def read_all(self) -> tuple[Layout, list[list[str]], np.ndarray]:
        """Return (Layout, all rows of points, their lines)."""
        if self.is_whole:
            return self.layout, self.cells, np.array(self.lines, int)
        layout, cells, lines = self._arrange(self._rows())
        return layout, cells, np.array(lines, int)

    def read_fast(self, numbers: set[int], texts: set[int]) -> tuple[dict, Sequence] | None:
        """Read ({column: values}, lines) with pandas: f64 for `numbers`, text for `texts`.

        None if a row is not well-formed: a cell of `numbers` that pandas cannot parse, a row of
        another length, a comment, a cell of several lines.
        """
        import pandas

        body = self.text[_start_of(self.text, self.lines[0] - self.before):].rstrip("\n")
        if re.search(r"\n[ \t]*[#%]", body):
            return None
        body, lines = _without_empty_lines(body, self.lines[0])
        try:
            frame = pandas.read_csv(
                io.StringIO(body), sep=r"\s+" if self.delimiter == " " else self.delimiter,
                header=None, names=range(self.layout.width), index_col=False, engine="c",
                dtype=self._types(numbers, texts), na_filter=False, skipinitialspace=True,
                decimal=self.layout.decimal, low_memory=False, **_exactly(pandas),
            )  # fmt: skip
        except (ValueError, pandas.errors.ParserError):
            return None
        if len(frame) != len(lines) or _has_empty(frame[self.layout.width - 1]):
            return None
        columns = {i: frame[i].to_numpy() for i in numbers}
        if not all(np.isfinite(column).all() for column in columns.values()):
            return None
        columns |= {i: _stripped(pandas, frame[i]) for i in texts}
        return columns, lines

    def _types(self, numbers: set[int], texts: set[int]) -> dict:
        """Types for pandas. Unused columns are numbers or categories, which need little memory."""
        types = dict.fromkeys(range(self.layout.width), "category")
        for i in range(len(self.layout.names)):
            if all(kind_of(row[i], self.layout.decimal) == NUMBER for row in self.cells):
                del types[i]
        return types | dict.fromkeys(numbers, "f8") | dict.fromkeys(texts, object)


def _without_empty_lines(text: str, first: int) -> tuple[str, Sequence]:
    """Remove empty lines; return the text and the numbers of its lines, counted from `first`.

    A text with quotes is unchanged, because an empty line may be part of a cell.
    """
    if '"' in text or not re.search(r"\n[ \t]*\n", text):
        return text, range(first, first + text.count("\n") + 1)
    lines = text.split("\n")
    kept = [i for i, line in enumerate(lines) if line and not line.isspace()]
    return "\n".join([lines[i] for i in kept]), first + np.array(kept)


def _exactly(pandas) -> dict:
    """Option for pandas before 3.1 to read the nearest float64 of a number."""
    is_exact = tuple(map(int, pandas.__version__.split(".")[:2])) >= (3, 1)
    return {} if is_exact else {"float_precision": "round_trip"}


def _has_empty(column) -> bool:
    """Return whether a cell is empty. pandas pads short rows, so their last cell is empty."""
    if column.dtype == "category":
        return "" in set(column.cat.categories)
    return column.dtype.kind not in "iufb" and bool((column == "").any())


def _stripped(pandas, column) -> np.ndarray:
    """Remove blanks around text cells object[R]."""
    codes, values = pandas.factorize(column.to_numpy(), use_na_sentinel=False)
    return np.array([value.strip() for value in values], object)[codes]


def _start_of(text: str, line: int) -> int:
    """Position in `text` of the start of `line`; the first line is line 1."""
    start = 0
    for _ in range(line - 1):
        start = text.index("\n", start) + 1
    return start
