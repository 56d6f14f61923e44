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
    to_float,
)
from tiny_diffusion_jax.data.collection import listed
from tiny_diffusion_jax.data.table import RowNames, Source, Table, open_table
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


class Options(NamedTuple):
    """Options of config.data for reading a table."""

    path: str
    header: str = "auto"
    columns: str = ""
    where: str = ""
    array: str = ""
    set_column: str = ""
    label_column: str = NO_COLUMN
    split_column: str = NO_COLUMN
    skip_incomplete: bool = False
    field: str = "config.data.path"  # the option that names the file, for error messages

    @property
    def place(self) -> str:
        return f"{self.field} = {str(self.path)!r}"


class Points(NamedTuple):
    """Points of a table, and the columns [P] of set, label and split, or None."""

    points: np.ndarray  # f64[P, D], finite
    columns: tuple[str, ...]  # names of the coordinates
    rows: RowNames
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

    def all(self) -> set[int]:
        return {index for index in self if index is not None}


class _Choice(NamedTuple):
    """Indices of the coordinates, and notes on the reasons."""

    columns: list[int]
    notes: list[str]


def read_points(
    options: Options, *, with_sets: bool = False, dim: int | None = None, usual: Sequence[str] = ()
) -> Points:
    """Read the points in the table `options.path`.

    with_sets: whether a column must name the set of each point; dim: number of coordinates, None
    for 2, or 3 if there is a z; usual: names of the coordinates, if all of them exist.
    Raises UserError with the line, the column and the invalid text.
    """
    source = open_table(options.path, options.header, options.array, options.field)
    names = source.head.names
    roles = _roles(names, options, with_sets)
    named = _by_option(names, options, usual) or _by_name(source, options.place, dim)
    numbers = set(named.columns) if named else set(_guess(source.head, roles, dim)[: _enough(dim)])
    table = _select(source.read(numbers, roles.all()), roles.where, options.where)
    choice = named or _guessed(table, source.head, roles, options.place, dim)
    require(dim is None or len(choice.columns) == dim, options.field, str(options.path),
            f"a table of {dim} coordinates; it has {len(choice.columns)}: "
            f"{', '.join(names[i] for i in choice.columns)}")  # fmt: skip
    return _extract(table, choice, roles, options)


def read_column(path: str, column: str) -> list[str]:
    """Read the different texts of a column, in order of appearance."""
    source = open_table(path)
    index = find_column(source.head.names, column, "column", column)
    return encode(source.read(set(), {index}).columns[index])[1]


def column_names(path: str) -> list[str]:
    """Read the names of the columns of a table."""
    return open_table(path, "yes").head.names


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


def _roles(names: Sequence[str], options: Options, with_sets: bool) -> _Roles:
    def find(field: str, usual: Sequence[str]) -> int | None:
        value = getattr(options, field)
        if value.strip() == NO_COLUMN and field != "set_column":
            return None
        if value:
            return find_column(names, value.strip(), f"config.data.{field}", value)
        words = [_words(name).replace(" ", "_") for name in names]
        return next((words.index(name) for name in usual if name in words), None)

    of_set = find("set_column", SET_NAMES) if with_sets else None
    if with_sets and of_set is None:
        raise UserError(
            f"config.data.set_column = {options.set_column!r}: must name the column that says "
            f"which set a point belongs to; there are {', '.join(names)}"
        )
    where = None
    if options.where:
        name, equals, _ = (part.strip() for part in options.where.partition("="))
        require(bool(name and equals), "config.data.where", options.where, "'column=value' or ''")
        where = find_column(names, name, "config.data.where", options.where)
    return _Roles(of_set, find("label_column", ("label",)), find("split_column", ("split",)), where)


def _by_option(names: Sequence[str], options: Options, usual: Sequence[str]) -> _Choice | None:
    wanted = next(csv.reader([options.columns], skipinitialspace=True), [])
    if not wanted and usual and {name.lower() for name in usual} <= {n.lower() for n in names}:
        wanted = list(usual)
    if not wanted:
        return None
    find = lambda name: find_column(names, name.strip(), "config.data.columns", options.columns)
    indices = [find(name) for name in wanted]
    require(len(indices) >= 2 and len(set(indices)) == len(indices), "config.data.columns",
            options.columns, "two different columns or more, as 'x,y', 'x,y,z' or '0,1'")
    return _Choice(indices, [])


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


def _by_name(source: Source, place: str, dim: int | None) -> _Choice | None:
    names, notes = source.head.names, []
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
        return _Choice(plane, notes)
    reason = _why_flat(source.head, height, is_space, dim)
    if not reason:
        return _Choice([*plane, height], notes)
    chosen = ",".join(names[i] for i in [*plane, height])
    advice = [] if dim == 2 else [f"config.data.columns={chosen} reads it"]
    return _Choice(plane, [*notes, f"{names[height]} is left out, because {reason}", *advice])


def _why_flat(head: Table, height: int, is_space: bool, dim: int | None) -> str:
    """Reason why a column named z is not a coordinate, in words; "" if z is a coordinate."""
    if dim == 2:
        return "points are in the plane"
    if not is_space:
        return "its unit differs from that of the other coordinates"
    _, kinds = parse_column(head.columns[height], head.decimal)
    return "" if np.isin(kinds, (NUMBER, MALFORMED)).any() else "it holds no numbers"


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


def _enough(dim: int | None) -> int:
    """Number of numeric columns to read; two may be row numbers or the column of `where`."""
    return (dim or 2) + 2


def _guess(table: Table, roles: _Roles, dim: int | None) -> list[int]:
    """Columns that may be coordinates: meant as numbers in all rows, and not identifiers.

    A column with a missing value stays a candidate, because one cell must not decide which
    coordinates are learned.
    """
    columns = []
    for i, column in enumerate(table.columns):
        if column is None or i in roles[:3] or is_identifier(table.names[i]):
            continue
        _, kinds = parse_column(column, table.decimal)
        kinds = kinds[leading_text(kinds):]
        if not (kinds == TEXT).any() and np.isin(kinds, (NUMBER, MALFORMED)).any():
            columns.append(i)
    doubtful = [i for i in columns if i == roles.where or _counts_rows(table, i)]
    num_spare = max(0, len(columns) - (dim or 2))
    return [i for i in columns if i not in doubtful[:num_spare]]


def _counts_rows(table: Table, index: int) -> bool:
    """Return whether a column holds 0, 1, 2, ... or 1, 2, 3, ..."""
    values, kinds = parse_column(table.columns[index], table.decimal)
    is_number = (kinds == NUMBER).all() and len(values) > 2 and values[0] in (0, 1)
    return bool(is_number and (np.diff(values) == 1).all())


def _guessed(table: Table, head: Table, roles: _Roles, place: str, dim: int | None) -> _Choice:
    num, names = dim or 2, table.names
    columns = _guess(table, roles, dim)
    if len(columns) < num:
        beside = " beside the set's" if roles.set is not None else ""
        skipped = [name for i, name in enumerate(names) if name and i not in {*columns, roles.set}]
        reason = f". No numbers, or identifiers: {listed(skipped)}" if skipped else ""
        raise UserError(f"{place}: has {len(columns)} numeric columns{beside}",
                        allowed=f"at least {num}{reason}",
                        hint="config.data.columns=NAME,NAME chooses others")  # fmt: skip
    if len([name for name in names if name]) == num:
        return _Choice(columns[:num], [])
    chosen = listed([names[i] or str(i) for i in columns[:num]])
    note = f"coordinates are the first {num} columns of numbers: {chosen}"
    advice = "config.data.columns=NAME,NAME chooses others"
    passed_over = _passed_over(head, columns[num - 1], roles, columns)
    return _Choice(columns[:num], [note, advice, *passed_over])


def _passed_over(head: Table, last: int, roles: _Roles, columns: list[int]) -> list[str]:
    """Notices about columns with both numbers and text, before the last selected column."""
    notes = []
    for i in range(last):
        if i in columns or i in roles.all() or is_identifier(head.names[i]):
            continue
        _, kinds = parse_column(head.columns[i], head.decimal)
        if np.isin(kinds, (NUMBER, MALFORMED)).any() and (kinds == TEXT).any():
            row = int(np.argmax(kinds == TEXT))
            notes.append(f"column {head.names[i]} is not one of them, because {head.rows[row]} "
                         f"holds {head.columns[i][row]!r}")  # fmt: skip
    return notes


# ---------------------------------------------------------------- the points


def _extract(table: Table, choice: _Choice, roles: _Roles, options: Options) -> Points:
    names, notes = [name or str(i) for i, name in enumerate(table.names)], list(table.notes)
    parsed = {i: parse_column(table.columns[i], table.decimal) for i in choice.columns}
    incomplete = np.any([kinds == MISSING for _, kinds in parsed.values()], axis=0)
    if roles.set is not None:
        incomplete |= _without_set(table, roles.set, names[roles.set], options)
    if options.skip_incomplete and incomplete.any():
        notes.append(f"left out: {incomplete.sum():,} of {len(incomplete):,} rows with missing "
                     f"values (the first is {table.rows[int(np.argmax(incomplete))]})")  # fmt: skip
        require(not incomplete.all(), "config.data.skip_incomplete", True,
                "False, because every row has a missing value")  # fmt: skip
        table = table.keep(~incomplete)
        parsed = {i: tuple(part[~incomplete] for part in parts) for i, parts in parsed.items()}
    for i, (values, kinds) in parsed.items():
        check_finite(values, kinds, table.columns[i], names[i], table.rows, options.place,
                     table.decimal)  # fmt: skip
        notes += _rounded(table, i, values, names[i])
    used = {*choice.columns, *roles.all()}
    return Points(
        np.stack([values for values, _ in parsed.values()], axis=1),
        tuple(names[i] for i in choice.columns), table.rows,
        *(None if i is None else table.columns[i] for i in roles[:3]),
        *("" if i is None else names[i] for i in roles[:3]),
        tuple(name for i, name in enumerate(table.names) if i not in used and name),
        (*choice.notes, *notes),
    )  # fmt: skip


def _without_set(table: Table, index: int, name: str, options: Options) -> np.ndarray:
    """Rows without a set, bool[R]. Raises UserError unless these rows may be left out."""
    codes, texts = encode(table.columns[index])
    missing = np.array([text.lower() in NO_VALUE for text in texts])[codes]
    if missing.any() and not options.skip_incomplete:
        row = int(np.argmax(missing))
        text = texts[codes[row]]
        raise UserError(
            f"{options.place}: {table.rows[row]}, column {name!r} "
            f"{f'holds {text!r}' if text else 'is empty'}",
            allowed="the name of a set",
            hint="config.data.skip_incomplete=True leaves out rows with missing values",
        )
    return missing


def _rounded(table: Table, index: int, values: np.ndarray, name: str) -> list[str]:
    """Notice about whole numbers of 2^53 or more, which float64 cannot represent exactly."""
    for row in np.flatnonzero(np.abs(values) >= EXACT)[:1_000]:
        cell = str(table.columns[index][row]).strip()
        if cell.lstrip("+-").isdecimal() and int(cell) != int(values[row]):
            return [f"{table.rows[row]}, column {name}: {cell} is rounded to {values[row]:.0f}, "
                    "because float64 holds whole numbers up to 2^53"]  # fmt: skip
    return []
