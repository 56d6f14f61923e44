"""Tables with named columns, from text, numpy, parquet and Excel files, also compressed.

    .csv .tsv .tab .txt .dat .data .asc .xyz .pts    text, see text_table.py
    .gz .bz2 .xz .zip                                compressed text
    .npy .npz                                        rows [R, C], structured rows, columns [R]
    .parquet                                         with pyarrow
    .xlsx                                            with openpyxl; the first sheet

Cells of text files and of Excel are text until a column is selected. Then cells.py parses them.
"""

import bz2
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tiny_diffusion_jax.data.cells import NUMBER, kind_of, texts_of
from tiny_diffusion_jax.data.text_table import TextTable, arrange, collect_rows, decode
from tiny_diffusion_jax.errors import NO_VALUE, UserError, reason_of, require, require_choice

TEXTS = (".csv", ".tsv", ".tab", ".txt", ".dat", ".data", ".asc", ".xyz", ".pts")
PACKED = (".gz", ".bz2", ".xz", ".zip")
ARRAYS = (".npy", ".npz")
SUFFIXES = (*TEXTS, *PACKED, ".parquet", ".xlsx", *ARRAYS)
# Formats of point sets that are not supported, and how to convert these to a table.
GEOPANDAS = "geopandas.read_file(path).get_coordinates().to_csv('points.csv', index=False)"
TRIMESH = "numpy.savetxt('points.xyz', trimesh.load(path).vertices)"
CONVERSIONS = {
    **dict.fromkeys((".geojson", ".gpkg", ".shp", ".kml", ".gml"), GEOPANDAS),
    **dict.fromkeys((".ply", ".off", ".obj", ".stl", ".pcd"), TRIMESH),
    **dict.fromkeys((".xls", ".ods", ".numbers"), "save the sheet as .xlsx or .csv"),
    **dict.fromkeys((".las", ".laz"), "numpy.savetxt('points.xyz', laspy.read(path).xyz)"),
    **dict.fromkeys((".rds", ".rda", ".rdata"), "write.csv(table, 'points.csv') in R"),
    **dict.fromkeys((".pkl", ".pickle"), "pandas.read_pickle(path).to_csv('points.csv')"),
    **dict.fromkeys((".feather", ".arrow"), "pandas.read_feather(path).to_parquet('a.parquet')"),
    **dict.fromkeys((".h5", ".hdf5"), "numpy.save('points.npy', h5py.File(path)[name])"),
    ".json": "pandas.read_json(path).to_csv('points.csv', index=False)",
    ".mat": "numpy.savez('points.npz', points=scipy.io.loadmat(path)[name])",
    ".pt": "numpy.save('points.npy', torch.load(path).numpy())",
}


class RowNames(Sequence):
    """Names of rows in messages: "line 7"."""

    def __init__(self, word: str, numbers):
        self.word, self.numbers = word, numbers

    def __len__(self):
        return len(self.numbers)

    def __getitem__(self, i):
        return f"{self.word} {self.numbers[i]}"

    def keep(self, mask: np.ndarray) -> "RowNames":
        return RowNames(self.word, np.asarray(self.numbers)[mask])


class Table(NamedTuple):
    """Columns of one length: text, object[R], or numbers. None for a column that was not read."""

    names: list[str]  # one for each column: from the header, or "0", "1", ...
    columns: list[np.ndarray | None]
    rows: RowNames
    decimal: str = "."  # of numbers in text
    notes: tuple[str, ...] = ()  # decisions that the user may change, in words

    def keep(self, mask: np.ndarray) -> "Table":
        """Select the rows where mask bool[R] is True."""
        columns = [column if column is None else column[mask] for column in self.columns]
        return self._replace(columns=columns, rows=self.rows.keep(mask))


class Source:
    """A table with its first rows in `head`; columns are read on demand."""

    def __init__(self, head: Table, text: TextTable | None = None):
        self.head, self._text = head, text

    def read(self, numbers: set[int], texts: set[int]) -> Table:
        """Read all rows; at least the columns `numbers`, of finite numbers, and `texts`.

        A column of `numbers` is text if one of its cells is not a finite number.
        """
        if self._text is None or self._text.is_whole:
            return self.head
        fast = self._text.read_fast(numbers - texts, texts)
        if fast is None:
            return _table_of_cells(*self._text.read_all())._replace(names=self.head.names)
        columns, lines = fast
        columns = [columns.get(i) for i in range(len(self.head.names))]
        return self.head._replace(columns=columns, rows=RowNames("line", lines))


def is_table(path: str) -> bool:
    """Return whether the name of a file is the name of a table."""
    return Path(path).suffix.lower() in SUFFIXES


def stem(path: str) -> str:
    """Name of a table without the endings: "cells" of data/cells.csv.gz."""
    file = Path(path)
    return Path(file.stem).stem if file.suffix.lower() in PACKED else file.stem


def open_table(
    path: str, header: str = "auto", array: str = "", field: str = "config.data.path"
) -> Source:
    """Open the table in the file `path`.

    header: auto, yes or no, whether the first row has names; array: the name of an array in an
    .npz file or of a sheet in an .xlsx file, "" for `points` or the first one; field: the option
    that names the file, for error messages.
    Raises UserError for a file that is missing, damaged, empty, or of another format.
    """
    file, place = Path(path).expanduser(), f"{field} = {str(path)!r}"
    check_format(str(path), field=field)
    require(file.is_file(), field, str(path), "an existing file")
    suffix = file.suffix.lower()
    if suffix in ARRAYS:
        source = Source(_read_arrays(file, array, place))
    elif suffix == ".parquet":
        source = Source(_read_parquet(file, place))
    elif suffix == ".xlsx":
        source = Source(_read_excel(file, header, array, place))
    else:
        source = _read_text(file, header, place)
    if not len(source.head.rows):
        raise UserError(f"{place}: must hold at least one row of data, but the table is empty")
    return source


def check_format(path: str, others: str = "", field: str = "config.data.path") -> None:
    """Raise UserError unless `path` has a suffix of tables. others: other allowed files."""
    suffix = Path(path).suffix.lower()
    if suffix in SUFFIXES:
        return
    convert = f". To convert: {CONVERSIONS[suffix]}" if suffix in CONVERSIONS else ""
    kinds = f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file"
    raise UserError(field, path, f"{others}a {kinds}{convert}")


# ---------------------------------------------------------------- text


def _read_text(file: Path, header: str, place: str) -> Source:
    try:
        data, suffix = _unpack(file, place)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError,
            NotImplementedError) as error:  # RuntimeError: a password  # fmt: skip
        raise UserError(f"{place}: must be a file that can be read ({reason_of(error)})") from error
    text = TextTable(decode(data, place), header, place, suffix)
    if text.is_empty:
        return Source(Table([], [], RowNames("line", [])))
    head = _table_of_cells(text.layout, text.cells, text.lines)
    return Source(_named_in_space(head) if suffix in (".xyz", ".pts") else head, text)


def _named_in_space(table: Table) -> Table:
    """Name the first three columns of numbers x, y, z, as in formats of point clouds."""
    numeric = [i for i, column in enumerate(table.columns) if len(column) and all(
        kind_of(cell, table.decimal) == NUMBER for cell in column)]  # fmt: skip
    if len(numeric) < 3 or table.names != [str(i) for i in range(len(table.names))]:
        return table
    names = dict(zip(numeric, "xyz", strict=False))
    return table._replace(names=[names.get(i, str(i)) for i in range(len(table.names))])


def _unpack(file: Path, place: str) -> tuple[bytes, str]:
    """Return (content, suffix) of a text file that may be compressed."""
    suffix, inner = file.suffix.lower(), Path(file.stem).suffix.lower()
    openers = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    if suffix == ".zip":
        with zipfile.ZipFile(file) as archive:
            is_table = lambda name: not name.startswith("__MACOSX/") and not name.endswith(
                ("/", ".DS_Store"))  # fmt: skip
            names = list(filter(is_table, archive.namelist()))
            require(len(names) == 1, place, NO_VALUE,
                    f"a .zip file of one table; it holds {', '.join(names[:6]) or 'nothing'}")
            inner, data = Path(names[0]).suffix.lower(), archive.read(names[0])
    elif suffix in openers:
        with openers[suffix](file) as stream:
            data = stream.read()
    else:
        inner, data = suffix, file.read_bytes()
    if inner in SUFFIXES and inner not in TEXTS:
        raise UserError(f"{place}: must be a compressed text table; unpack the {inner} file first")
    return data, inner


def _table_of_cells(layout, cells: list[list[str]], lines, word: str = "line") -> Table:
    columns = []
    for i in range(len(layout.names)):
        column = np.empty(len(cells), object)
        column[:] = [row[i] for row in cells]
        columns.append(column)
    return Table(layout.names, columns, RowNames(word, np.asarray(lines, int)), layout.decimal,
                 layout.notes)  # fmt: skip


# ---------------------------------------------------------------- numpy


def load_arrays(file: Path, place: str) -> dict[str, np.ndarray]:
    """Load the arrays of an .npz file by name, or {"": array} of an .npy file."""
    try:
        data = np.load(file, allow_pickle=False)
        if isinstance(data, np.ndarray):
            return {"": data}
        with data:  # an .npz archive with any suffix
            arrays = {name: data[name] for name in data.files}
    except Exception as error:  # np.load: OSError, ValueError, EOFError, BadZipFile, zlib.error
        raise UserError(f"{place}: must be a numpy file of numbers ({reason_of(error)})") from error
    if not arrays:
        raise UserError(f"{place}: must hold an array, but the archive is empty")
    return arrays


def _read_arrays(file: Path, name: str, place: str) -> Table:
    arrays = load_arrays(file, place)
    if name:
        require_choice("config.data.array", name, [key for key in arrays if key])
    tables = [key for key, array in arrays.items() if array.ndim == 2 or array.dtype.names]
    if not name and not tables and (columns := columns_of(arrays)):
        return columns
    first = "points" if "points" in arrays else next(iter([*tables, *arrays]))
    table = table_of_array(arrays[name or first], place)
    if name or len(tables) < 2 or first == "points":
        return table
    others = ", ".join(key for key in tables if key != first)
    notes = f"array {first} is read", f"config.data.array chooses another ({others})"
    return table._replace(notes=(*table.notes, *notes))


def columns_of(arrays: dict[str, np.ndarray]) -> Table | None:
    """Make a table with a column for each array, if several arrays have one common shape [R]."""
    shapes = {array.shape for array in arrays.values()}
    if len(arrays) < 2 or len(shapes) != 1 or len(next(iter(shapes))) != 1:
        return None
    return Table(list(arrays), list(arrays.values()), RowNames("row", range(next(iter(shapes))[0])))


def table_of_array(array: np.ndarray, place: str) -> Table:
    """Make a table from an array [R, C] or from structured rows [R]."""
    if array.ndim == 1 and array.dtype.names:
        names, columns = list(array.dtype.names), [array[name] for name in array.dtype.names]
        if all(column.ndim == 1 for column in columns):
            return Table(names, columns, RowNames("row", range(len(array))))
    if array.ndim != 2:
        sets = "; configs/sets.py learns sets [S, N, D]" if array.ndim == 3 else ""
        raise UserError(f"{place}: has shape {array.shape}: must be (rows, columns){sets}")
    names = [str(i) for i in range(array.shape[1])]
    return Table(names, list(array.T), RowNames("row", range(len(array))))


# ---------------------------------------------------------------- parquet, Excel


def _read_parquet(file: Path, place: str) -> Table:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise UserError(f"{place}: must be a table of another format, because pyarrow, which reads "
                        ".parquet, is missing. Install it: pip install pyarrow") from error
    try:
        data = parquet.read_table(file)
        columns = [_column_of(column) for column in data.columns]
    except Exception as error:  # errors of pyarrow, OSError, MemoryError
        raise UserError(f"{place}: must be a parquet table ({reason_of(error)})") from error
    names = ["" if name.startswith("__index_level_") else name for name in data.column_names]
    return Table(names, columns, RowNames("row", range(data.num_rows)))


def _column_of(column) -> np.ndarray:
    values = column.to_numpy()
    return values if values.dtype.kind in "iufb" else texts_of(values)


def _read_excel(file: Path, header: str, sheet: str, place: str) -> Table:
    import pandas

    try:
        sheets = pandas.read_excel(file, sheet_name=None, header=None, dtype=object,
                                   na_filter=False, engine="openpyxl")  # fmt: skip
    except ImportError as error:
        raise UserError(f"{place}: must be a table of another format, because openpyxl, which "
                        "reads .xlsx, is missing. Install it: pip install openpyxl") from error
    except Exception as error:  # BadZipFile, KeyError, errors of XML
        raise UserError(f"{place}: must be an Excel table ({reason_of(error)})") from error
    if sheet:
        require_choice("config.data.array", sheet, sheets)
    title = sheet or next(iter(sheets))
    cells = [[_text_of(cell) for cell in row] for row in sheets[title].to_numpy().tolist()]
    table = _table_of_sheet(cells, header, place)
    if sheet or len(sheets) == 1:
        return table
    others = ", ".join(name for name in sheets if name != title)
    notes = f"sheet {title} is read", f"config.data.array chooses another ({others})"
    return table._replace(notes=(*table.notes, *notes))


def _text_of(cell) -> str:
    return "" if cell is None or cell != cell else str(cell).strip()


def _table_of_sheet(cells: list[list[str]], header: str, place: str) -> Table:
    """Make a table from the rows and columns of a sheet that are not empty."""
    width = max((i + 1 for row in cells for i, cell in enumerate(row) if cell), default=0)
    start = min((i for row in cells for i, cell in enumerate(row) if cell), default=0)
    padded = (row[start:width] + [""] * (width - max(len(row), start)) for row in cells)
    rows = collect_rows((i, row) for i, row in enumerate(padded, 1) if any(row))
    if not rows.cells:
        return Table([], [], RowNames("row", []))
    layout, points, lines = arrange(rows, "\t", header, len(rows.cells), place)
    return _table_of_cells(layout, points, lines, "row")
