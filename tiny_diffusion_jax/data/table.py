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
from pathlib import Path

import numpy as np

from tiny_diffusion_jax.data.cells import NUMBER, kind_of, text_of, texts_of
from tiny_diffusion_jax.data.layout import Rows, Table, arrange, table_of
from tiny_diffusion_jax.data.text_table import read_text
from tiny_diffusion_jax.errors import UserError, errors_about, reason_of, require, require_choice

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


def is_table(path: str) -> bool:
    """Return whether the name of a file is the name of a table."""
    return Path(path).suffix.lower() in SUFFIXES


def stem(path: str) -> str:
    """Name of a table without the endings: "cells" of data/cells.csv.gz."""
    file = Path(path)
    return Path(file.stem).stem if file.suffix.lower() in PACKED else file.stem


def check_format(path: str, others: str = "") -> None:
    """Raise UserError unless `path` has a suffix of tables. others: other allowed files."""
    suffix = Path(path).suffix.lower()
    convert = f". To convert: {CONVERSIONS[suffix]}" if suffix in CONVERSIONS else ""
    require(suffix in SUFFIXES, "config.data.path", path,
            f"{others}a {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file{convert}")  # fmt: skip


def read_table(
    path: str, header: str = "auto", array: str = "", arrays: dict | None = None
) -> Table:
    """Read the table in the file `path`.

    header: auto, yes or no, whether the first row has names; array: the name of an array in an
    .npz file or of a sheet in an .xlsx file, "" for `points` or the first one; arrays: the content
    of an .npz file, in place of the file.
    Raises UserError for a file that is missing, damaged, empty, or of another format.
    """
    check_format(str(path))
    file = Path(path).expanduser()
    with errors_about("config.data.path", str(path)):
        if arrays is None and not file.is_file():
            raise UserError(allowed="an existing file")
        suffix = file.suffix.lower()
        if suffix in ARRAYS:
            table = _read_arrays(arrays or load_arrays(file), array)
        elif suffix == ".parquet":
            table = _read_parquet(file)
        elif suffix == ".xlsx":
            table = _read_excel(file, header, array)
        else:
            data, suffix = _unpack(file)
            table = read_text(data, header, suffix)
            table = _named_in_space(table) if suffix in (".xyz", ".pts") else table
        if not len(table.rows):
            raise UserError(problem="must hold at least one row of data, but the table is empty")
    return table


def _unpack(file: Path) -> tuple[bytes, str]:
    """Return (content, suffix) of a text file that may be compressed."""
    suffix, inner = file.suffix.lower(), Path(file.stem).suffix.lower()
    openers = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    try:
        if suffix == ".zip":
            with zipfile.ZipFile(file) as archive:
                names = [name for name in archive.namelist() if not (
                    name.startswith("__MACOSX/") or name.endswith(("/", ".DS_Store")))]  # fmt: skip
                if len(names) != 1:
                    content = ", ".join(names[:6]) or "nothing"
                    raise UserError(allowed=f"a .zip file of one table; it holds {content}")
                inner, data = Path(names[0]).suffix.lower(), archive.read(names[0])
        else:
            inner = inner if suffix in openers else suffix
            with openers.get(suffix, open)(file, "rb") as stream:
                data = stream.read()
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError,
            NotImplementedError) as error:  # RuntimeError: a password  # fmt: skip
        raise UserError(allowed=f"a file that can be read ({reason_of(error)})") from error
    if inner in SUFFIXES and inner not in TEXTS:
        raise UserError(allowed=f"a compressed text table; unpack the {inner} file first")
    return data, inner


def _named_in_space(table: Table) -> Table:
    """Name the first three columns of numbers x, y, z, as in formats of point clouds."""
    names = [str(i) for i in range(len(table.names))]
    numeric = [i for i, column in enumerate(table.columns) if len(column) and all(
        kind_of(cell, table.decimal) == NUMBER for cell in column)]  # fmt: skip
    if len(numeric) < 3 or table.names != names:
        return table
    for i, name in zip(numeric, "xyz", strict=False):
        names[i] = name
    return table._replace(names=names)


def load_arrays(file: Path) -> dict[str, np.ndarray]:
    """Load the arrays of an .npz file by name, or {"": array} of an .npy file."""
    try:
        data = np.load(file, allow_pickle=False)
        if isinstance(data, np.ndarray):
            return {"": data}
        with data:  # an .npz archive with any suffix
            arrays = {name: data[name] for name in data.files}
    except Exception as error:  # np.load: OSError, ValueError, EOFError, BadZipFile, zlib.error
        raise UserError(allowed=f"a numpy file of numbers ({reason_of(error)})") from error
    if not arrays:
        raise UserError(problem="must hold an array, but the archive is empty")
    return arrays


def are_columns(arrays: dict[str, np.ndarray]) -> bool:
    """Return whether several arrays with one common shape [R] are the columns of a table."""
    shapes = {array.shape for array in arrays.values()}
    return len(arrays) > 1 and len(shapes) == 1 and len(min(shapes)) == 1


def _read_arrays(arrays: dict[str, np.ndarray], name: str) -> Table:
    if name:
        require_choice("config.data.array", name, [key for key in arrays if key])
    tables = [key for key, array in arrays.items() if array.ndim == 2 or array.dtype.names]
    if not (name or tables) and are_columns(arrays):
        return table_of(list(arrays), list(arrays.values()))
    first = "points" if "points" in arrays else next(iter([*tables, *arrays]))
    table = _table_of_array(arrays[name or first])
    if name or len(tables) < 2 or first == "points":
        return table
    return _with_choice(table, "array", first, tables)


def _with_choice(table: Table, kind: str, first: str, names) -> Table:
    others = ", ".join(name for name in names if name != first)
    notes = f"{kind} {first} is read", f"config.data.array chooses another ({others})"
    return table._replace(notes=(*table.notes, *notes))


def _table_of_array(array: np.ndarray) -> Table:
    """Make a table from an array [R, C] or from structured rows [R]."""
    if array.ndim == 1 and array.dtype.names:
        columns = [array[name] for name in array.dtype.names]
        if all(column.ndim == 1 for column in columns):
            return table_of(list(array.dtype.names), columns)
    if array.ndim != 2:
        sets = "; --config=sets learns sets [S, N, D]" if array.ndim == 3 else ""
        raise UserError(problem=f"has shape {array.shape}", allowed=f"(rows, columns){sets}")
    return table_of([str(i) for i in range(array.shape[1])], list(array.T))


def _is_missing(package: str, suffix: str) -> UserError:
    return UserError(
        allowed=f"a table of another format, because {package}, which reads {suffix}, is missing",
        hint=f"Install it: pip install {package}",
    )


def _read_parquet(file: Path) -> Table:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise _is_missing("pyarrow", ".parquet") from error
    try:
        data = parquet.read_table(file)
        columns = [column.to_numpy() for column in data.columns]
        columns = [c if c.dtype.kind in "iufb" else texts_of(c) for c in columns]
    except Exception as error:  # errors of pyarrow, OSError, MemoryError
        raise UserError(allowed=f"a parquet table ({reason_of(error)})") from error
    names = ["" if name.startswith("__index_level_") else name for name in data.column_names]
    return table_of(names, columns)


def _read_excel(file: Path, header: str, sheet: str) -> Table:
    """Read the rows and columns of a sheet that are not empty."""
    import pandas

    try:
        sheets = pandas.read_excel(file, sheet_name=None, header=None, dtype=object,
                                   na_filter=False, engine="openpyxl")  # fmt: skip
    except ImportError as error:
        raise _is_missing("openpyxl", ".xlsx") from error
    except Exception as error:  # BadZipFile, KeyError, errors of XML
        raise UserError(allowed=f"an Excel table ({reason_of(error)})") from error
    if sheet:
        require_choice("config.data.array", sheet, sheets)
    title = sheet or next(iter(sheets))
    cells = sheets[title].map(text_of)
    used = np.flatnonzero((cells != "").any(axis=0))
    cells = cells.iloc[:, used.min() : used.max() + 1] if len(used) else cells
    rows = enumerate(cells.itertuples(index=False, name=None), 1)
    rows = [(i, row) for i, row in rows if any(row)]
    if not rows:
        return table_of([], [])
    lines, cells = zip(*rows, strict=True)
    table = arrange(Rows(list(cells), list(lines), []), "\t", header, len(cells), "row")
    return table if sheet or len(sheets) == 1 else _with_choice(table, "sheet", title, sheets)
