"""Choice of columns: the coordinates, the set, the label and the split of each point of a table.

Options select columns by name or by number. Without options the names of the columns decide:

    coordinates   x, y and z; else longitude, latitude; else easting, northing; else pos_x, pos_y
                  and the like; else the first two columns with numbers in all rows that are not
                  an index or identifier
    set           set, set_id, id or group
    label, split  label; split
"""

import csv
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tiny_diffusion_jax.data import cells
from tiny_diffusion_jax.data.collection import listed
from tiny_diffusion_jax.data.column_names import (
    find_column,
    find_coordinates,
    is_identifier,
    split_words,
)
from tiny_diffusion_jax.data.layout import Table
from tiny_diffusion_jax.data.table import read_table
from tiny_diffusion_jax.errors import UserError, errors_about, require

# The first existing name is used.
ROLES = {"set": ("set", "set_id", "id", "group"), "label": ("label",), "split": ("split",)}
NO_COLUMN = "none"  # option for no label or split, even if a column has this name


def has_role(name: str, role: str) -> bool:
    """Return whether a column of this name is read as `role` (set, label, split) without options.

    Upper and lower case are equal, and so are "Set ID", set_id and setID.
    """
    return _normal_name(name) in ROLES[role]


def _normal_name(name: str) -> str:
    return "_".join(split_words(name))


class Points(NamedTuple):
    """Points of a table, and the columns of set, label and split."""

    points: np.ndarray  # f64[P, D], finite
    columns: tuple[str, ...]  # names of the coordinates
    rows: np.ndarray  # names of the rows in messages, object[P]
    roles: dict[str, tuple[str, np.ndarray]]  # set, label, split: name and cells [P] of the column
    others: dict[str, np.ndarray]  # name and cells [P] of the columns that are not read
    notes: tuple[str, ...]  # decisions that the user may want to change

    @property
    def notice(self) -> str:
        """All notes in one line."""
        return "; ".join(self.notes)

    @property
    def not_read(self) -> str:
        """Text about the columns that are not read, to append; "" if all are read."""
        return f"; not read: {listed([*self.others])}" if self.others else ""

    def describe(self) -> str:
        """Describe the selection: "4,162 points, coordinates x, y; not read: mass"."""
        num = len(self.points)
        points = f"{num:,} point{'s' * (num != 1)}"
        return f"{points}, coordinates {listed(self.columns)}{self.not_read}"


def read_points(
    path: str, *, header: str = "auto", array: str = "", columns: str = "", where: str = "",
    set_column: str | None = None, label_column: str = NO_COLUMN, split_column: str = NO_COLUMN,
    skip_incomplete: bool = False, dim: int | None = None, usual: Sequence[str] = (),
    arrays: dict | None = None,
) -> Points:  # fmt: skip
    """Read the points in the table `path`; the options are the options of `config.data`.

    set_column: None if no column names the set of each point; dim: number of coordinates, None for
    2, or 3 if there is a z; usual: names of the coordinates, if all of them exist;
    arrays: the content of an .npz file, in place of the file.
    Raises UserError with the line, the column and the invalid text.
    """
    with errors_about("config.data.path", str(path)):
        table = read_table(path, header, array, arrays)
        names = table.names
        roles = _find_roles(
            names, {"set": set_column, "label": label_column, "split": split_column})  # fmt: skip
        filtered = _find_where(names, where)
        named = parse_columns(names, columns, usual)
        _check_apart(named, roles, names, columns)
        choice = (named, []) if named else find_coordinates(
            names, dim, lambda i: cells.has_numbers(table.parse(i)[1]))  # fmt: skip
        selected = table if filtered is None else _select(table, filtered, where)
        chosen, notes = choice or _choose_by_content(selected, table, roles, filtered, dim)
        if dim is not None and len(chosen) != dim:
            listing = ", ".join(names[i] for i in chosen)
            raise UserError(
                allowed=f"a table of {dim} coordinates; it has {len(chosen)}: {listing}"
            )
        titles = [name or str(i) for i, name in enumerate(names)]
        table, values, more = _read_numbers(selected, chosen, roles, titles, skip_incomplete)
    used = {*chosen, *roles.values(), filtered}
    return Points(
        values, tuple(titles[i] for i in chosen), table.rows,
        {role: (titles[i], table.columns[i]) for role, i in roles.items()},
        {name: table.columns[i] for i, name in enumerate(names) if name and i not in used},
        (*notes, *table.notes, *more),
    )  # fmt: skip


def read_column(path: str, column: str) -> list[str]:
    """Read the different texts of a column, in order of appearance.

    Raises UserError with the row of an empty cell.
    """
    table = read_table(path)
    index = find_column(table.names, column, "column", column)
    _require_texts(table, index, cells.are_missing(table.columns[index]), "the name of a member")
    return cells.encode(table.columns[index])[1]


def _require_texts(
    table: Table, index: int, is_missing: np.ndarray, allowed: str, hint: str = ""
) -> None:
    """Raise UserError with the first missing cell of a column; is_missing: see `are_missing`."""
    column, title = table.columns[index], table.names[index] or str(index)
    if is_missing.any():
        row = int(np.argmax(is_missing))
        text = cells.text_of(column[row])
        content = f"holds {text!r}" if text else "is empty"
        raise UserError(problem=f"{table.rows[row]}, column {title!r} {content}", allowed=allowed,
                        hint=hint)  # fmt: skip


def parse_columns(names: Sequence[str], columns: str, usual: Sequence[str] = ()) -> list[int]:
    """Find the indices of the coordinates in the option `columns`, such as "x,y" or "0,1".

    Without the option, find the columns `usual` if all of them exist, or return [].
    """
    wanted, field = next(csv.reader([columns], skipinitialspace=True), []), "config.data.columns"
    if not wanted and {name.lower() for name in usual} <= {name.lower() for name in names}:
        wanted = usual
    indices = [find_column(names, name.strip(), field, columns) for name in wanted]
    is_valid = not indices or len(indices) >= 2 and len(set(indices)) == len(indices)
    require(is_valid, field, columns,
            "two different columns or more, as 'x,y', 'x,y,z' or '0,1'")  # fmt: skip
    return indices


def _check_apart(chosen: list[int], roles: dict, names: Sequence[str], columns: str) -> None:
    """Raise UserError if a chosen coordinate is also the column of the set, label or split."""
    for role, index in roles.items():
        hint = f"config.data.{role}_column=none reads it as a coordinate" if role != "set" else ""
        require(index not in chosen, "config.data.columns", columns,
                f"without the {role} {names[index] or str(index)!r}", hint)  # fmt: skip


def _find_roles(names: Sequence[str], options: dict[str, str | None]) -> dict[str, int]:
    """Find the indices of the columns of set, label and split, if they exist."""
    words, roles = [_normal_name(name) for name in names], {}
    for role, value in options.items():
        field, usual = f"config.data.{role}_column", [n for n in ROLES[role] if n in words]
        if value is None or (value.strip() == NO_COLUMN and role != "set"):
            continue
        if value:
            roles[role] = find_column(names, value.strip(), field, value)
        elif usual:
            roles[role] = words.index(usual[0])
        elif role == "set":
            raise UserError(field, value, problem="must name the column that says which set a "
                            f"point belongs to; there are {', '.join(names)}")  # fmt: skip
    return roles


def _find_where(names: Sequence[str], where: str) -> int | None:
    """Find the index of the column in the option `where`, "column=value"."""
    if not where:
        return None
    name, equals, _ = (part.strip() for part in where.partition("="))
    require(bool(name and equals), "config.data.where", where, "'column=value' or ''")
    return find_column(names, name, "config.data.where", where)


def _select(table: Table, index: int, where: str) -> Table:
    """Select the rows with the value in `where`, "column=value"; numbers compare as numbers."""
    value = where.partition("=")[2].strip()
    number, (codes, texts) = cells.to_float(value), cells.encode(table.columns[index])
    is_same = [text == value or (number is not None and cells.to_float(text) == number)
               for text in texts]  # fmt: skip
    keep = np.array(is_same)[codes]
    if not keep.any():
        problem = f"matches no row; {table.names[index]!r} holds {listed(sorted(texts))}"
        raise UserError("config.data.where", where, problem=problem)
    return table.keep(keep)


def _choose_by_content(
    table: Table, all_rows: Table, roles: dict, filtered: int | None, dim: int | None
) -> tuple[list[int], list[str]]:
    """Choose the first columns of `table` with numbers in all rows that are not identifiers.

    A column with a missing value stays a candidate, because one cell must not decide which
    coordinates are learned. Columns of row numbers, and the column of `where`, come last.
    """
    num, names, columns, doubtful = dim or 2, table.names, [], []
    for i in range(len(names)):
        if i in roles.values() or is_identifier(names[i]):
            continue
        values, kinds = table.parse(i)
        is_text = kinds[cells.leading_text(kinds) :] == cells.TEXT
        if is_text.any() or not cells.has_numbers(kinds):
            continue
        columns.append(i)
        is_range = (kinds == cells.NUMBER).all() and len(values) > 2 and values[0] in (0, 1)
        if i == filtered or (is_range and (np.diff(values) == 1).all()):
            doubtful.append(i)
    skipped = doubtful[: max(0, len(columns) - num)]
    columns = [i for i in columns if i not in skipped]
    if len(columns) < num:
        beside = " beside the set's" if "set" in roles else ""
        others = [name for i, name in enumerate(names)
                  if name and i not in columns and i != roles.get("set")]  # fmt: skip
        reason = f". No numbers, or identifiers: {listed(others)}" if others else ""
        raise UserError(problem=f"has {len(columns)} numeric columns{beside}",
                        allowed=f"at least {num}{reason}",
                        hint="config.data.columns=NAME,NAME chooses others")  # fmt: skip
    chosen = columns[:num]
    if len([name for name in names if name]) == num:
        return chosen, []
    notes = [f"coordinates are the first {num} columns of numbers: "
             f"{listed([names[i] or str(i) for i in chosen])}",
             "config.data.columns=NAME,NAME chooses others"]  # fmt: skip
    for i in range(chosen[-1]):  # columns with both numbers and text
        if i in {*columns, *roles.values(), filtered} or is_identifier(names[i]):
            continue
        _, kinds = all_rows.parse(i)
        if cells.has_numbers(kinds) and (kinds == cells.TEXT).any():
            row = int(np.argmax(kinds == cells.TEXT))
            notes.append(f"column {names[i]} is not one of them, because {all_rows.rows[row]} "
                         f"holds {all_rows.columns[i][row]!r}")  # fmt: skip
    return chosen, notes


def _read_numbers(
    table: Table, chosen: list[int], roles: dict, titles: list[str], skip: bool
) -> tuple[Table, np.ndarray, list[str]]:
    """Return (rows of `table` with points, points f64[P, D], notes).

    With `skip` rows with missing values are left out. Raises UserError for cells that are not
    finite numbers, and for rows without a set.
    """
    notes, parsed = [], [table.parse(i) for i in chosen]
    values, kinds = (np.stack(parts, axis=1) for parts in zip(*parsed, strict=True))
    missing = (kinds == cells.MISSING).any(1)
    if "set" in roles:
        no_set = cells.are_missing(table.columns[roles["set"]])
        if not skip:
            _require_texts(table, roles["set"], no_set, "the name of a set",
                           "config.data.skip_incomplete=True leaves out rows with missing values")
        missing |= no_set
    if skip and missing.any():
        notes.append(f"left out: {missing.sum():,} of {len(missing):,} rows with missing values "
                     f"(the first is {table.rows[int(np.argmax(missing))]})")  # fmt: skip
        require(not missing.all(), "config.data.skip_incomplete", True,
                "False, because every row has a missing value")  # fmt: skip
        table, values, kinds = table.keep(~missing), values[~missing], kinds[~missing]
    for i, x, kinds_of_x in zip(chosen, values.T, kinds.T, strict=True):
        column = table.columns[i]
        cells.check_finite(x, kinds_of_x, column, titles[i], table.rows, table.decimal)
        for row in np.flatnonzero(np.abs(x) >= cells.EXACT)[:1_000]:
            cell = cells.text_of(column[row])
            if cell.lstrip("+-").isdecimal() and int(cell) != int(x[row]):
                notes.append(f"{table.rows[row]}, column {titles[i]}: {cell} is rounded to "
                             f"{x[row]:.0f}, because float64 holds whole numbers up to "
                             "2^53")  # fmt: skip
                break
    return table, values, notes
