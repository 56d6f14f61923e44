"""Tables of sets (.csv, .tsv, .parquet): one row a point, a column that says of which set.

A text table of well-formed rows is read by numpy's reader, in 0.7 s a million rows; one that it
does not take is read again cell by cell, slower, to say which line and column is at fault.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tiny_diffusion_jax.data.collection import Collection, collect, encode, one_each
from tiny_diffusion_jax.data.reading import (
    Table,
    delimiter_of,
    find_column,
    is_number,
    numbers,
    parse_text,
    read_text,
    select_rows,
)
from tiny_diffusion_jax.errors import UserError, reason_of, require

SUFFIXES = (".csv", ".tsv", ".parquet")
SET_COLUMNS = ("set", "set_id", "id", "group")  # the first of them that exists
NO_COLUMN = "none"  # asks for no label or split, even where a column of that name exists
HEAD = 1_000  # lines from which the columns are chosen


class Chosen(NamedTuple):
    """Places of the columns of a table."""

    set: int
    coordinates: list[int]
    label: int | None
    split: int | None


class Rows(Sequence):
    """What an error calls row i of a file: "line 7"."""

    def __init__(self, word: str, first: int, num: int):
        self.word, self.first, self.num = word, first, num

    def __len__(self):
        return self.num

    def __getitem__(self, i):
        return f"{self.word} {range(self.first, self.first + self.num)[i]}"


def read(config) -> Collection:
    """The sets of the table at `config.path`.

    `config.set_column`, '' for the first of set, set_id, id, group there is; `config.columns`:
    the coordinates, two or more, '' for x, y and z if there are such, else the first two numeric
    columns; `config.label_column`, `config.split_column`: '' for those named label and split if
    there are such, 'none' for none; `config.where`: the rows to keep, 'column=value'.
    Raises `UserError` that names the line and column at fault.
    """
    table, chosen = _read_table(config)
    if not table.rows:
        raise UserError(
            f"config.data.path = {config.path!r}: must hold at least one row of data, but the "
            "table is empty"
        )
    table = select_rows(table, config.where)
    place = f"config.data.path = {config.path!r}"
    points = np.stack([numbers(table, index, place) for index in chosen.coordinates], axis=1)
    name = lambda index: "" if index is None else table.names[index]
    codes, ids = encode(table.columns[chosen.set])
    if "" in ids:
        row = int(np.argmax(codes == ids.index("")))
        raise UserError(f"{place}: {table.rows[row]}, column {name(chosen.set)!r} is empty: must "
                        "name a set")  # fmt: skip
    label, split = (
        None if index is None else one_each(
            table.columns[index], codes, ids, field, table.names[index], table.rows.__getitem__
        )
        for index, field in ((chosen.label, "config.data.label_column"),
                             (chosen.split, "config.data.split_column"))
    )  # fmt: skip
    return collect(
        points, codes, ids, config, label=label, split=split, set_column=name(chosen.set),
        columns=[table.names[index] for index in chosen.coordinates],
        label_column=name(chosen.label),
    )  # fmt: skip


def _read_table(config) -> tuple[Table, Chosen]:
    file, place = Path(config.path).expanduser(), f"config.data.path = {config.path!r}"
    if file.suffix.lower() == ".parquet":
        table = _read_parquet(file, place)
        return table, choose_columns(table, config)
    try:
        with file.open(encoding="utf-8-sig") as lines:
            head = list(itertools.islice(lines, HEAD))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{place}: must be a text file in UTF-8 ({error})") from error
    delimiter = delimiter_of(file, head)
    try:
        start = parse_text(head, delimiter, config.header, place)
    except UserError:  # unless a cell of several lines was cut, the whole table raises the same
        start = read_text(file, config.header, place)
    if not start.rows:
        return start, Chosen(0, [], None, None)
    chosen = choose_columns(start, config)
    table = _read_fast(file, start, chosen, delimiter, config.where)
    return read_text(file, config.header, place) if table is None else table, chosen


def _read_fast(file: Path, head: Table, chosen: Chosen, delimiter: str, where: str) -> Table | None:
    """The whole table, columns of no use cut to a letter; None where not all rows are well-formed.

    head: its first rows, read cell by cell.
    """
    skip = int(head.rows[0].split()[1]) - 1  # "line 7": the first row of data
    texts = {chosen.set, chosen.label, chosen.split}
    if where:
        texts.add(find_column(head, where.partition("=")[0].strip(), "config.data.where", where))
    width = range(len(head.names))
    kinds = ["f8" if i in chosen.coordinates else object if i in texts else "U1" for i in width]
    if texts & set(chosen.coordinates):
        return None
    try:
        data = np.loadtxt(
            file, dtype=[(str(i), kind) for i, kind in enumerate(kinds)], delimiter=delimiter,
            skiprows=skip, comments=None, quotechar='"', encoding="utf-8-sig", ndmin=1,
        )  # fmt: skip
        with file.open("rb") as stream:
            lines = sum(block.count(b"\n") for block in iter(lambda: stream.read(2**20), b""))
            stream.seek(-1, 2)
            lines += stream.read() != b"\n"
    except (ValueError, OSError):
        return None
    if lines != skip + len(data):  # blank lines, cells of several: which row is which line?
        return None
    if any(isinstance(cell, str) and cell.startswith("#") for cell in data["0"][:HEAD]):
        return None
    columns = [data[str(i)] for i in width]
    return Table(head.names, columns, Rows("line", skip + 1, len(data)))


def _read_parquet(file: Path, place: str) -> Table:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise UserError(
            f"{place}: must be a .csv or .tsv table where pyarrow, which reads .parquet, is not "
            "installed"
        ) from error
    try:
        data = parquet.read_table(file)
        columns = [column.to_numpy() for column in data.columns]
    except Exception as error:  # pyarrow's own, OSError, MemoryError
        raise UserError(f"{place}: must be a parquet table ({reason_of(error)})") from error
    return Table(list(data.column_names), columns, Rows("row", 0, data.num_rows))


def column_names(file: Path) -> list[str]:
    """The names in the first line of a table, in small letters."""
    if file.suffix.lower() == ".parquet":
        from pyarrow import parquet

        names = parquet.read_schema(file).names
    else:
        with file.open(encoding="utf-8-sig") as lines:
            head = list(itertools.islice(lines, 100))
        names = parse_text(head, delimiter_of(file, head), "yes", "").names
    return [name.lower() for name in names]


def choose_columns(table: Table, config) -> Chosen:
    """Which columns of `table` are which; see `read`. A few rows are enough for it."""
    lower = [name.lower() for name in table.names]
    find = lambda field: find_column(
        table, config[field].strip(), f"config.data.{field}", config[field]
    )

    def named(field: str, names: Sequence[str]) -> int | None:
        if config[field].strip() == NO_COLUMN:
            return None
        if config[field]:
            return find(field)
        return next((lower.index(name) for name in names if name in lower), None)

    of_set = named("set_column", SET_COLUMNS)
    if of_set is None:
        raise UserError(
            f"config.data.set_column = {config.set_column!r}: must name the column that says which "
            f"set a point belongs to; there are {', '.join(table.names)}"
        )
    label, split = named("label_column", ("label",)), named("split_column", ("split",))
    if config.columns:
        names = [name.strip() for name in config.columns.split(",")]
        require(len(names) >= 2, "config.data.columns", config.columns,
                "two columns or more, as 'x,y,z' or '0,1'")  # fmt: skip
        chosen = [find_column(table, n, "config.data.columns", config.columns) for n in names]
        return Chosen(of_set, chosen, label, split)
    numeric = {
        lower[i]: i for i, column in enumerate(table.columns)
        if i not in (of_set, label, split) and table.names[i]
        and is_number(next((cell for cell in column if str(cell)), ""))
    }  # fmt: skip
    if "x" in numeric and "y" in numeric:
        return Chosen(of_set, [numeric[n] for n in "xyz" if n in numeric], label, split)
    if len(numeric) < 2:
        raise UserError(
            f"config.data.path = {config.path!r}: has {len(numeric)} numeric columns beside the "
            "set's: must be at least 2"
        )
    return Chosen(of_set, list(numeric.values())[:2], label, split)
