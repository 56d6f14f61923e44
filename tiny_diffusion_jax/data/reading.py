"""Text tables and arrays as columns: what a file holds, and which line and column is at fault."""

import contextlib
import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tiny_diffusion_jax.errors import UserError, reason_of, require, require_choice


class Table(NamedTuple):
    """Columns of one length, as read: strings from text files, numbers from arrays."""

    names: list[str]  # one per column: the header's, or "0", "1", ...
    columns: list[np.ndarray]
    rows: list[str]  # what an error calls each row: "line 7"


def read_table(path: str, header: str, array: str) -> Table:
    file = Path(path).expanduser()
    suffix, place = file.suffix.lower(), f"config.data.path = {path!r}"
    require(suffix in (".csv", ".tsv", ".npy", ".npz"), "config.data.path", path,
            "a .csv, .tsv, .npy or .npz file")  # fmt: skip
    require(file.is_file(), "config.data.path", path, "an existing file")
    text = suffix in (".csv", ".tsv")
    table = read_text(file, header, place) if text else read_array(file, array, place)
    if not table.rows:
        raise UserError(f"{place}: must hold at least one row of data, but the table is empty")
    return table


def read_text(file: Path, header: str, place: str) -> Table:
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{place}: must be a text file in UTF-8 ({error})") from error
    return parse_text(lines, delimiter_of(file, lines), header, place)


def delimiter_of(file: Path, lines: list[str]) -> str:
    first = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    return "\t" if file.suffix.lower() == ".tsv" else max(",;\t", key=first.count)


def parse_text(lines: list[str], delimiter: str, header: str, place: str) -> Table:
    reader = csv.reader(lines, delimiter=delimiter)
    cells, rows = [], []
    try:
        for row in reader:
            row = [cell.strip() for cell in row]
            if any(row) and not row[0].startswith("#"):
                cells.append(row)
                rows.append(f"line {reader.line_num}")
    except csv.Error as error:
        raise UserError(
            f"{place}: line {reader.line_num}: must be a row of cells ({error})"
        ) from error
    if not cells:
        return Table([], [], [])
    width = len(cells[0])
    for row, name in zip(cells, rows, strict=True):
        if len(row) != width:
            allowed = f"must be {width}, as in {rows[0]}"
            raise UserError(f"{place}: {name} has {len(row)} cells: {allowed}")
    names = [str(i) for i in range(width)]
    if header == "yes" or (header == "auto" and not any(map(is_number, cells[0]))):
        names, cells, rows = cells[0], cells[1:], rows[1:]
    return Table(names, [np.array(column) for column in zip(*cells, strict=True)], rows)


def read_array(file: Path, name: str, place: str) -> Table:
    try:
        data = np.load(file, allow_pickle=False)
        if not isinstance(data, np.ndarray):  # an .npz archive, whatever its suffix
            with data:
                if not data.files:
                    raise UserError(f"{place}: must hold an array, but the archive is empty")
                if name:
                    require_choice("config.data.array", name, data.files)
                data = data[name or data.files[0]]
    except UserError:
        raise
    except Exception as error:  # np.load: OSError, ValueError, EOFError, BadZipFile, zlib.error
        raise UserError(f"{place}: must be a numpy file of numbers ({reason_of(error)})") from error
    if data.ndim == 1 and data.dtype.names:
        names, columns = list(data.dtype.names), [data[name] for name in data.dtype.names]
    elif data.ndim == 2:
        names, columns = [str(i) for i in range(data.shape[1])], list(data.T)
    else:
        raise UserError(f"{place}: has shape {data.shape}: must be (rows, columns)")
    return Table(names, columns, [f"row {i}" for i in range(len(data))])


def select_rows(table: Table, where: str) -> Table:
    if not where:
        return table
    name, equals, value = (part.strip() for part in where.partition("="))
    require(bool(name and equals), "config.data.where", where, "'column=value' or ''")
    column = table.columns[find_column(table, name, "config.data.where", where)]
    if is_number(value):
        keep = np.array([is_number(cell) and float(cell) == float(value) for cell in column])
    else:
        keep = np.array([str(cell) == value for cell in column])
    if not keep.any():
        values = sorted(set(map(str, column)))
        some = ", ".join(values[:8]) + (", ..." if len(values) > 8 else "")
        raise UserError(f"config.data.where = {where!r}: matches no row; {name!r} holds {some}")
    rows = [row for row, kept in zip(table.rows, keep, strict=True) if kept]
    return Table(table.names, [column[keep] for column in table.columns], rows)


def choose_columns(table: Table, columns: str, place: str, dim: int) -> list[int]:
    if columns:
        names = [name.strip() for name in columns.split(",")]
        require(len(names) >= 2 and len(set(names)) == len(names), "config.data.columns", columns,
                "two different columns or more, as 'x,y', 'x,y,z' or '0,1'")  # fmt: skip
        return [find_column(table, name, "config.data.columns", columns) for name in names]
    # A column counts as numeric by its first filled cell, so that a slip further down is reported
    # rather than the column passed over. A nameless one is the row numbers that pandas writes.
    numeric = [
        index
        for index, (name, column) in enumerate(zip(table.names, table.columns, strict=True))
        if name and is_number(next((cell for cell in column if str(cell)), ""))
    ]
    if len(numeric) < dim:
        raise UserError(f"{place}: has {len(numeric)} numeric columns: must be at least {dim}")
    return numeric[:dim]


def find_column(table: Table, name: str, field: str, value: str) -> int:
    if name in table.names:
        return table.names.index(name)
    if name.isdecimal() and int(name) < len(table.names):
        return int(name)
    raise UserError(f"{field} = {value!r}: no column {name!r}; there are {', '.join(table.names)}")


def numbers(table: Table, index: int, place: str) -> np.ndarray:
    column, numbers = table.columns[index], None
    with contextlib.suppress(ValueError):
        if column.dtype.kind in "biufU":  # not complex numbers, not dates
            numbers = column.astype(np.float64)
    if numbers is None:
        bad = np.array([not is_number(cell) for cell in column])
    else:
        with np.errstate(over="ignore"):
            bad = ~np.isfinite(numbers.astype(np.float32))
    if bad.any():
        row = int(np.argmax(bad))
        raise UserError(
            f"{place}: {table.rows[row]}, column {table.names[index]!r} holds "
            f"{str(column[row])!r}: must be a finite number"
        )
    return numbers


def is_number(cell) -> bool:
    if not isinstance(cell, str):
        return np.asarray(cell).dtype.kind in "biuf"
    try:
        float(cell)
    except ValueError:
        return False
    return True
