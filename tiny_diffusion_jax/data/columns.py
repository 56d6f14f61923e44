"""Choice of columns: the coordinates, the set, the label and the split of each point of a table.

Options select columns by name or by number. Without options the names of the columns decide:

    coordinates   x, y and z; else longitude, latitude; else easting, northing; else pos_x, pos_y
                  and the like; else the first two columns with numbers in all rows that are not
                  an index or identifier
    set           set, set_id, id or group
    label, split  label; split
"""

import csv
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tiny_diffusion_jax.data.cells import (
    EXACT,
    MALFORMED,
    MISSING,
    NO_VALUE,
    NUMBER,
    TEXT,
    check_finite,
    encode,
    leading_text,
    parse_column,
    text_of,
    to_float,
)
from tiny_diffusion_jax.data.collection import listed
from tiny_diffusion_jax.data.layout import Table
from tiny_diffusion_jax.data.table import read_table
from tiny_diffusion_jax.errors import UserError, require

SET_NAMES = ("set", "set_id", "id", "group")  # the first existing name is used
NO_COLUMN = "none"  # option for no label or split, even if a column has this name
# Names of the first and the second coordinate of a plane, in any order in the file.
PLANES = (
    (("x",), ("y",)),
    (("lon", "lng", "long", "longitude", "decimallongitude", "locationlong"),
     ("lat", "latitude", "decimallatitude", "locationlat")),
    (("easting", "east"), ("northing", "north")),
)  # fmt: skip
UNIT_WORDS = {"um", "\u00b5m", "\u03bcm", "nm", "mm", "cm", "m", "km", "px", "pixel", "pixels",
              "deg", "micron", "microns"}  # fmt: skip
# Names of identifiers, sets and labels, which are not coordinates.
IDENTIFIERS = {
    "", "id", "ids", "index", "idx", "ind", "no", "nr", "num", "number", "row", "rows", "rownames",
    "frame", "frames", "slice", "fid", "gid", "oid", "uid", "guid", "uuid", "pk", "key", "rank",
    "order", "seq", "serial", "record", "rownum", "set", "group", "label", "labels", "split",
    "class", "cluster",
}  # fmt: skip
IDENTIFIER = re.compile(
    r"unnamed( .*)?|level \d+|(id|index|idx) .*|.* (id|ids|index|idx|no|nr|num|number)|"
    r"(object|cell|track|point|particle|spot|sample|image|set|group|plot|tree|event|jet|frame|node|"
    r"vertex|star|source|record|row|user|feature|trial|subject|patient|nucleus|roi|hit|shape|site|"
    r"station|animal|obj|pt|atom|mol|poly|polygon)(id|index|idx|no|nr|num)"
)


class Points(NamedTuple):
    """Points of a table, and the columns [P] of set, label and split, or None."""

    points: np.ndarray  # f64[P, D], finite
    columns: tuple[str, ...]  # names of the coordinates
    rows: np.ndarray  # names of the rows in messages, object[P]
    set: np.ndarray | None
    label: np.ndarray | None
    split: np.ndarray | None
    set_column: str  # name, "" without such a column
    label_column: str
    split_column: str
    others: tuple[str, ...]  # names of the columns that are not read
    notes: tuple[str, ...]  # decisions that the user may want to change

    @property
    def notice(self) -> str:
        """All notes in one line."""
        return "; ".join(self.notes)

    def describe(self) -> str:
        """Describe the selection: "4,162 points, coordinates x, y"."""
        num = len(self.points)
        return f"{num:,} point{'s' * (num != 1)}, coordinates {listed(self.columns)}"

    def not_read(self) -> str:
        """Text about the columns that are not read, to append; "" if all are read."""
        return f"; not read: {listed(self.others)}" if self.others else ""


class _Roles(NamedTuple):
    """Indices of the columns that are not coordinates."""

    set: int | None
    label: int | None
    split: int | None
    where: int | None


def read_points(
    path: str, *, header: str = "auto", array: str = "", columns: str = "", where: str = "",
    set_column: str | None = None, label_column: str = NO_COLUMN, split_column: str = NO_COLUMN,
    skip_incomplete: bool = False, dim: int | None = None, usual: Sequence[str] = (),
    field: str = "config.data.path",
) -> Points:  # fmt: skip
    """Read the points in the table `path`; the options are the options of `config.data`.

    field: the option that names the file, for error messages.

    set_column: None if no column names the set of each point; dim: number of coordinates, None for
    2, or 3 if there is a z; usual: names of the coordinates, if all of them exist.
    Raises UserError with the line, the column and the invalid text.
    """
    place, table = f"{field} = {str(path)!r}", read_table(path, header, array, field)
    names = table.names
    roles = _roles(names, set_column, label_column, split_column, where)
    choice = _by_option(names, columns, usual) or _by_name(table, place, dim)
    selected = _select(table, roles.where, where)
    chosen, notes = choice or _by_content(selected, table, roles, place, dim)
    require(dim is None or len(chosen) == dim, field, str(path),
            f"a table of {dim} coordinates; it has {len(chosen)}: "
            f"{', '.join(names[i] for i in chosen)}")  # fmt: skip
    points, table, more = _extract(selected, chosen, roles, place, skip_incomplete)
    used = {*chosen, *roles}
    titles = [name or str(i) for i, name in enumerate(names)]
    return Points(
        points, tuple(titles[i] for i in chosen), table.rows,
        *(None if i is None else table.columns[i] for i in roles[:3]),
        *("" if i is None else titles[i] for i in roles[:3]),
        tuple(name for i, name in enumerate(names) if i not in used and name),
        (*notes, *table.notes, *more),
    )  # fmt: skip


def read_column(path: str, column: str) -> list[str]:
    """Read the different texts of a column, in order of appearance."""
    table = read_table(path)
    return encode(table.columns[find_column(table.names, column, "column", column)])[1]


# ---------------------------------------------------------------- by option


def find_column(names: Sequence[str], name: str, field: str, value: str) -> int:
    """Find the index of the column `name`, which is a name in any case or an index from 0."""
    for same in (lambda other: other == name, lambda other: other.lower() == name.lower()):
        indices = [i for i, other in enumerate(names) if same(other)]
        if len(indices) > 1:
            raise UserError(f"{field} = {value!r}: columns {', '.join(map(str, indices))} are all "
                            f"named {name!r}: must be the number of a column")  # fmt: skip
        if indices:
            return indices[0]
    if name.isdecimal() and int(name) < len(names):
        return int(name)
    raise UserError(f"{field} = {value!r}: no column {name!r}; there are {', '.join(names)}")


def find_coordinates(names: Sequence[str], columns: str) -> list[int]:
    """Find the indices of the coordinates in the option `columns`, such as "x,y" or "0,1"."""
    wanted = next(csv.reader([columns], skipinitialspace=True), [])
    field = "config.data.columns"
    indices = [find_column(names, name.strip(), field, columns) for name in wanted]
    require(len(indices) >= 2 and len(set(indices)) == len(indices), field, columns,
            "two different columns or more, as 'x,y', 'x,y,z' or '0,1'")  # fmt: skip
    return indices


def _by_option(names: Sequence[str], columns: str, usual: Sequence[str]):
    """Return (indices of the coordinates, notes on the reasons), or None without an option."""
    if not columns and usual and {n.lower() for n in usual} <= {n.lower() for n in names}:
        return [find_column(names, name, "config.data.columns", columns) for name in usual], []
    return (find_coordinates(names, columns), []) if columns else None


def _roles(names: Sequence[str], of_set: str | None, label: str, split: str, where: str) -> _Roles:
    words = [_words(name).replace(" ", "_") for name in names]

    def find(field: str, value: str, usual: Sequence[str]) -> int | None:
        if value.strip() == NO_COLUMN and field != "set_column":
            return None
        if value:
            return find_column(names, value.strip(), f"config.data.{field}", value)
        return next((words.index(name) for name in usual if name in words), None)

    index = None if of_set is None else find("set_column", of_set, SET_NAMES)
    if of_set is not None and index is None:
        raise UserError(f"config.data.set_column = {of_set!r}: must name the column that says "
                        f"which set a point belongs to; there are {', '.join(names)}")  # fmt: skip
    filtered = None
    if where:
        name, equals, _ = (part.strip() for part in where.partition("="))
        require(bool(name and equals), "config.data.where", where, "'column=value' or ''")
        filtered = find_column(names, name, "config.data.where", where)
    return _Roles(index, find("label_column", label, ("label",)),
                  find("split_column", split, ("split",)), filtered)  # fmt: skip


def _select(table: Table, index: int | None, where: str) -> Table:
    """Select the rows with the value in `where`, "column=value"; numbers compare as numbers."""
    if index is None:
        return table
    value = where.partition("=")[2].strip()
    number, (codes, texts) = to_float(value), encode(table.columns[index])
    same = [text == value or (number is not None and to_float(text) == number) for text in texts]
    keep = np.array(same)[codes]
    if not keep.any():
        raise UserError(f"config.data.where = {where!r}: matches no row; {table.names[index]!r} "
                        f"holds {listed(sorted(texts))}")  # fmt: skip
    return table.keep(keep)


# ---------------------------------------------------------------- by name


def _words(name: str) -> str:
    """Split a name into words in lower case: "cell id" for cellID, cell_id and "Cell ID"."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name.strip())
    return " ".join(re.sub(r"[\W_]+", " ", parted).lower().split())


def _plain(name: str) -> str:
    """Split a name into words without its unit: "x" for "X (px)" and x_um."""
    words = _words(re.sub(r"\s*[(\[{].*[)\]}]\s*$", "", name)).split()
    return "".join(words[:-1] if len(words) > 1 and words[-1] in UNIT_WORDS else words)


def is_identifier(name: str) -> bool:
    """Return whether a column of this name holds an index, an identifier, a set or a label."""
    words = _words(name)
    return words in IDENTIFIERS or IDENTIFIER.fullmatch(words) is not None


def _named(names: Sequence[str], words: Sequence[str], place: str) -> int | None:
    """Find the index of the column with a name in `words`, in any case, perhaps with a unit."""
    for plain in (lambda name: name.strip().lower(), _plain):
        indices = [i for i, name in enumerate(names) if plain(name) in words]
        if len(indices) > 1:
            raise UserError(
                f"{place}: columns {', '.join(map(str, indices))} are all named "
                f"{words[0]!r} ({listed([names[i] for i in indices])}): choose by number, as "
                "config.data.columns=0,1"
            )
        if indices:
            return indices[0]
    return None


def _by_name(table: Table, place: str, dim: int | None) -> tuple[list[int], list[str]] | None:
    names, notes, is_space = table.names, [], False
    for first, second in PLANES:
        plane = [_named(names, words, place) for words in (first, second)]
        if None not in plane:
            height = _named(names, ("z",), place)
            is_space = first == ("x",)
            break
    else:
        plane, height = _named_alike(names)
        if not plane:
            return None
        is_space = True
        notes += [f"coordinates are {listed([names[i] for i in plane])} by their names",
                  "config.data.columns chooses others"]  # fmt: skip
    if dim is not None and dim > 2 and (height is None or dim > 3):
        return None
    if height is None:
        return plane, notes
    if dim == 2:
        reason = "points are in the plane"
    elif not is_space:
        reason = "its unit differs from that of the other coordinates"
    elif _has_numbers(parse_column(table.columns[height], table.decimal)[1]):
        return [*plane, height], notes
    else:
        reason = "it holds no numbers"
    chosen = ",".join(names[i] for i in [*plane, height])
    advice = [] if dim == 2 else [f"config.data.columns={chosen} reads it"]
    return plane, [*notes, f"{names[height]} is left out, because {reason}", *advice]


def _has_numbers(kinds: np.ndarray) -> bool:
    return bool(np.isin(kinds, (NUMBER, MALFORMED)).any())


def _named_alike(names: Sequence[str]) -> tuple[list[int], int | None]:
    """Find the only two columns that differ in the word x or y, as pos_x and pos_y, and their z."""
    words = [_words(name).split() for name in names]
    partner = lambda parts, axis: [axis if word == "x" else word for word in parts]
    pairs = [
        [i, words.index(partner(parts, "y")), partner(parts, "z")] for i, parts in enumerate(words)
        if "x" in parts and partner(parts, "y") in words
    ]  # fmt: skip
    if len(pairs) != 1:
        return [], None
    *plane, third = pairs[0]
    return plane, words.index(third) if third in words else None


# ---------------------------------------------------------------- by content


def _by_content(table: Table, all_rows: Table, roles: _Roles, place: str, dim: int | None):
    """Choose the first columns of `table` with numbers in all rows that are not identifiers.

    A column with a missing value stays a candidate, because one cell must not decide which
    coordinates are learned. Columns of row numbers, and the column of `where`, come last.
    """
    num, names, columns, doubtful = dim or 2, table.names, [], []
    for i, column in enumerate(table.columns):
        if i in roles[:3] or is_identifier(names[i]):
            continue
        values, kinds = parse_column(column, table.decimal)
        if (kinds[leading_text(kinds) :] == TEXT).any() or not _has_numbers(kinds):
            continue
        columns.append(i)
        is_range = (kinds == NUMBER).all() and len(values) > 2 and values[0] in (0, 1)
        if i == roles.where or (is_range and (np.diff(values) == 1).all()):
            doubtful.append(i)
    skipped = doubtful[: max(0, len(columns) - num)]
    columns = [i for i in columns if i not in skipped]
    if len(columns) < num:
        beside = " beside the set's" if roles.set is not None else ""
        others = [name for i, name in enumerate(names) if name and i not in {*columns, roles.set}]
        reason = f". No numbers, or identifiers: {listed(others)}" if others else ""
        raise UserError(f"{place}: has {len(columns)} numeric columns{beside}",
                        allowed=f"at least {num}{reason}",
                        hint="config.data.columns=NAME,NAME chooses others")  # fmt: skip
    if len([name for name in names if name]) == num:
        return columns[:num], []
    notes = [f"coordinates are the first {num} columns of numbers: "
             f"{listed([names[i] or str(i) for i in columns[:num]])}",
             "config.data.columns=NAME,NAME chooses others"]  # fmt: skip
    for i in range(columns[num - 1]):  # columns with both numbers and text
        if i not in columns and i not in roles and not is_identifier(names[i]):
            _, kinds = parse_column(all_rows.columns[i], table.decimal)
            if _has_numbers(kinds) and (kinds == TEXT).any():
                row = int(np.argmax(kinds == TEXT))
                notes.append(f"column {names[i]} is not one of them, because {all_rows.rows[row]} "
                             f"holds {all_rows.columns[i][row]!r}")  # fmt: skip
    return columns[:num], notes


# ---------------------------------------------------------------- the points


def _extract(table: Table, chosen: list[int], roles: _Roles, place: str, skip_incomplete: bool):
    """Return (points f64[P, D], the rows of `table` with these points, notes)."""
    names, notes = [name or str(i) for i, name in enumerate(table.names)], []
    values, kinds = zip(*(parse_column(table.columns[i], table.decimal) for i in chosen),
                        strict=True)  # fmt: skip
    values, kinds = np.stack(values, axis=1), np.stack(kinds, axis=1)
    incomplete = (kinds == MISSING).any(1)
    if roles.set is not None:
        incomplete |= _without_set(table, roles.set, names[roles.set], place, skip_incomplete)
    if skip_incomplete and incomplete.any():
        notes.append(f"left out: {incomplete.sum():,} of {len(incomplete):,} rows with missing "
                     f"values (the first is {table.rows[int(np.argmax(incomplete))]})")  # fmt: skip
        require(not incomplete.all(), "config.data.skip_incomplete", True,
                "False, because every row has a missing value")  # fmt: skip
        table, values, kinds = table.keep(~incomplete), values[~incomplete], kinds[~incomplete]
    for i, x, kinds_of_x in zip(chosen, values.T, kinds.T, strict=True):
        column, name = table.columns[i], names[i]
        check_finite(x, kinds_of_x, column, name, table.rows, place, table.decimal)
        for row in np.flatnonzero(np.abs(x) >= EXACT)[:1_000]:
            cell = text_of(column[row])
            if cell.lstrip("+-").isdecimal() and int(cell) != int(x[row]):
                notes.append(f"{table.rows[row]}, column {name}: {cell} is rounded to "
                             f"{x[row]:.0f}, because float64 holds whole numbers up to "
                             "2^53")  # fmt: skip
                break
    return values, table, notes


def _without_set(table: Table, index: int, name: str, place: str, skip: bool) -> np.ndarray:
    """Rows without a set, bool[R]. Raises UserError unless these rows may be left out."""
    codes, texts = encode(table.columns[index])
    missing = np.array([text.lower() in NO_VALUE for text in texts])[codes]
    if missing.any() and not skip:
        row = int(np.argmax(missing))
        text = texts[codes[row]]
        raise UserError(
            f"{place}: {table.rows[row]}, column {name!r} "
            f"{f'holds {text!r}' if text else 'is empty'}",
            allowed="the name of a set",
            hint="config.data.skip_incomplete=True leaves out rows with missing values",
        )
    return missing
