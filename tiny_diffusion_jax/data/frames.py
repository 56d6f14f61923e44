"""Data in memory as the arrays of an .npz file, which holds no objects and no masked values."""

from collections.abc import Sequence

import numpy as np
import pandas

from tiny_diffusion_jax.data.cells import encode, texts_of
from tiny_diffusion_jax.data.column_names import find_column, split_words
from tiny_diffusion_jax.data.columns import has_role
from tiny_diffusion_jax.errors import UserError, require
from tiny_diffusion_jax.point_sets import unmasked


def plain(values) -> np.ndarray:
    """Convert values to an array without objects, which become text; see `unmasked`."""
    values = unmasked(values)
    return values if values.dtype.kind in "iufbU" else texts_of(values).astype(str)


def as_pandas(data):
    """Return tables of other libraries (polars, pyarrow), also in a list, as tables of pandas.

    All other data are returned unchanged. NumPy would read such tables by position.
    """
    if isinstance(data, (list, tuple)):
        pair = data[0] if data and isinstance(data[0], tuple) else ()  # of a groupby
        has_tables = any(map(_is_of_other_library, (*data, *pair)))
        return type(data)(map(as_pandas, data)) if has_tables else data
    if not _is_of_other_library(data):
        return data
    names = data.column_names if hasattr(data, "column_names") else data.columns
    return pandas.DataFrame({name: np.asarray(data[name]) for name in names})


def _is_of_other_library(value) -> bool:
    return hasattr(value, "to_pandas") and hasattr(value, "columns")


def columns_of(frame: pandas.DataFrame) -> dict[str, np.ndarray]:
    """Return the columns of a table by name, and then the levels of its index that have names.

    Raises UserError for columns with the same name.
    """
    parts = [(str(name), frame.iloc[:, i]) for i, name in enumerate(frame.columns)]
    parts += [(str(name), frame.index.get_level_values(level))
              for level, name in enumerate(frame.index.names) if name is not None]  # fmt: skip
    columns: dict[str, np.ndarray] = {}
    for name, values in parts:
        require(name not in columns, "data.columns", name, "different names of columns",
                "A number and its text are one name, and an index may have a name too")  # fmt: skip
        columns[name] = plain(values.to_numpy())
    return columns


def are_frames(values: Sequence) -> bool:
    """Return whether a list holds tables; raise UserError if only some entries are tables."""
    is_frame = [isinstance(value, pandas.DataFrame) for value in values]
    hint = "[table for _, table in groups] lists the tables of a groupby"
    pairs = [isinstance(value, tuple) and any(isinstance(part, pandas.DataFrame) for part in value)
             for value in values]  # fmt: skip
    if any(pairs) or any(is_frame) and not all(is_frame):
        index = pairs.index(True) if any(pairs) else is_frame.index(False)
        kind = type(values[index]).__name__
        raise UserError(f"data[{index}]", kind, "a table, in a list of tables of pandas", hint)
    return any(is_frame)


def join_sets(
    frames: Sequence[pandas.DataFrame], labels: np.ndarray | None, set_column: str
) -> dict[str, np.ndarray]:
    """Join the tables of S sets into the columns of one table, with a column of the set.

    labels: [S] or None, for a column of the label; set_column: the option of this name. A column
    of the set in the tables must have one value in each table. Otherwise the column "set" is added,
    with the index of each table.
    Raises UserError for tables with different columns, and for an empty table.
    """
    tables = [columns_of(frame) for frame in frames]
    names = list(tables[0])
    for index, (frame, columns) in enumerate(zip(frames, tables, strict=True)):
        if columns.keys() != tables[0].keys():
            raise UserError(f"data[{index}].columns", list(columns), f"{names}, as in data[0]")
        require(len(frame) > 0, f"data[{index}]", "empty", "a table with rows")
    joined = {name: np.concatenate([columns[name] for columns in tables]) for name in names}
    sizes = [len(frame) for frame in frames]
    index_of_row = np.repeat(np.arange(len(frames)), sizes)
    if labels is not None:
        own = [name for name in names if has_role(name, "label")]
        require(not own, "labels", "given", f"None for tables with a column {(own or [''])[0]!r}")
        require(labels.shape == (len(frames),), "labels.shape", labels.shape,
                f"({len(frames)},), one label for each table")  # fmt: skip
        joined["label"] = labels[index_of_row]
    name = _find_set_column(names, set_column)
    if name is None:
        return {"set": index_of_row, **joined}
    codes, ids = encode(joined[name])
    if not np.array_equal(codes, index_of_row):
        row = int(np.argmax(codes != index_of_row))
        raise UserError(f"data[{index_of_row[row]}][{name!r}]", ids[codes[row]],
                        "one name of a set for each table, a different one in each",
                        f"Rename the column {name!r} to number the tables")  # fmt: skip
    return joined


def _find_set_column(names: list[str], option: str) -> str | None:
    """Name of the column that `option` names, else of the column "set"; None without both."""
    if option:
        return names[find_column(names, option.strip(), "config.data.set_column", option)]
    return next((name for name in names if split_words(name) == ["set"]), None)
