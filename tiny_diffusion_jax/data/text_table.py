"""Text tables: bytes -> text -> rows of cells, split by the delimiter that fits best."""

import csv
import io
import itertools
import re
from collections.abc import Iterable

from tiny_diffusion_jax.data.cells import ERROR_VALUES, TEXT, kind_of
from tiny_diffusion_jax.data.layout import HEAD, Rows, Table, arrange, table_of, usual_width
from tiny_diffusion_jax.errors import UserError

SAMPLED = 100  # rows by which delimiters are compared
DELIMITERS = ("\t", ";", ",", "|", " ")  # the first wins a tie; " " is any number of blanks
SEP_LINE = re.compile(r'"?sep=(\\t|.)"?[ \t;,]*', re.I)  # Excel's first line
COMMENT = re.compile(r"[ \t]*[#%]")
BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32"),
        (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))  # fmt: skip


def read_text(data: bytes, header: str, suffix: str = "") -> Table:
    """Read a text table; header: auto, yes or no, whether the first row has names."""
    text = decode(data)
    sep = SEP_LINE.fullmatch(text.partition("\n")[0])
    # An empty line in place of the line sep= keeps the numbers of the other lines.
    text = text[sep.end() :] if sep else text
    head = list(itertools.islice(io.StringIO(text, newline="\n"), HEAD))
    if sep:
        delimiter = sep[1].replace("\\t", "\t")
    elif suffix in (".tsv", ".tab") and any("\t" in line for line in head):
        delimiter = "\t"
    else:
        delimiter = find_delimiter(head)
    rows = split_rows(io.StringIO(text, newline="\n"), delimiter)
    if not rows.cells:
        return table_of([], [])
    num_lines = text.rstrip().count("\n") + (0 if sep else 1)
    return arrange(rows, delimiter, header, num_lines, split=_split_comment)


def decode(data: bytes) -> str:
    """Decode UTF-8, UTF-16 or UTF-32 to lines that end in \\n. Raises UserError with the line."""
    encoding = next((name for bom, name in BOMS if data.startswith(bom)), "utf-8")
    even, odd = data[:1_000:2], data[1:1_000:2]
    if encoding == "utf-8" and odd.count(0) > 0.9 * len(odd) > 0:  # Latin text without a mark
        encoding = "utf-16-le"
    elif encoding == "utf-8" and even.count(0) > 0.9 * len(even) > 0:
        encoding = "utf-16-be"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        allowed = f"a text file in UTF-8 or UTF-16, but line {line} is not ({error.reason})"
        raise UserError(allowed=allowed, hint="Save the table again as UTF-8") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UserError(allowed=f"a text file, but line {line} holds a zero byte")
    text = text.removeprefix("\ufeff")
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def split_rows(lines: Iterable[str], delimiter: str, most: int | None = None) -> Rows:
    """Split the first `most` rows of lines into cells, None: all rows; skip empty rows.

    Comments are lines that start with # or %, outside of quoted cells.
    """
    rows, line, start = Rows([], [], []), 0, 0

    def without_comments():
        nonlocal line, start
        for text in lines:
            line += 1
            if not start:
                if COMMENT.match(text) and not _begins_with_error(text):
                    rows.comments.append((line, text.strip()))
                    continue
                start = line
            yield text.replace("\t", " ").strip() + "\n" if delimiter == " " else text

    reader = csv.reader(without_comments(), delimiter=delimiter, skipinitialspace=True)
    while len(rows.cells) != most:
        start = 0
        try:
            row = next(reader, None)
        except csv.Error as error:
            allowed = f"a row of cells ({error})"
            raise UserError(problem=f"line {line}", allowed=allowed) from error
        if row is None:
            break
        cells = tuple(map(str.strip, row))  # the garbage collector skips tuples of text
        if any(cells):
            rows.cells.append(cells)
            rows.lines.append(start)
    return rows


def _begins_with_error(text: str) -> bool:
    """Return whether the first cell is an error value such as #N/A, which is not a comment."""
    return re.split(r"[,;\t| ]", text.strip(), maxsplit=1)[0].strip('"').lower() in ERROR_VALUES


def _split_comment(text: str, delimiter: str) -> tuple[str, ...]:
    cells = split_rows([text.lstrip("#%").strip(" ")], delimiter).cells
    return cells[0] if cells else ()


def find_delimiter(lines: list[str]) -> str:
    """Find the delimiter that gives most rows the same number of cells, two or more.

    Among equal delimiters, choose the delimiter with more numbers in its cells. This distinguishes
    0,5;1,5 from 0|5;1|5.
    """
    scores = {}
    for delimiter in DELIMITERS:
        cells = split_rows(lines, delimiter, SAMPLED).cells
        if cells and (width := usual_width(cells)) > 1:
            fits = [len(row) == width for row in cells]
            fits[0] |= len(cells[0]) == width - 1 > 1  # no name for the row names
            below = [cell for row in cells[1:] or cells for cell in row]
            numbers = sum(kind_of(cell) != TEXT for cell in below)
            scores[delimiter] = sum(fits) / len(cells), numbers / len(below)
    return max(scores, key=scores.get, default=",")
