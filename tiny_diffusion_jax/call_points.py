"""Convert the points of a call: arrays, lists, tables and masked arrays."""

import numbers

import jax
import jax.numpy as jnp
import numpy as np
import pandas

from tiny_diffusion_jax.data import units
from tiny_diffusion_jax.data.frames import as_pandas
from tiny_diffusion_jax.dataset import Dataset
from tiny_diffusion_jax.errors import UserError, reason_of, rename_fields, require
from tiny_diffusion_jax.point_sets import pad_sets, unmasked


def points_of(field: str, points, dataset: Dataset):
    """Convert points f[n, D] or sets f[S, N, D] in own units to an array of floats.

    points: an array, a list, a table (pandas, polars, pyarrow) or a masked array; or a list of
    sets, each of one of these types. The columns of a table are selected by their names in
    `dataset`. Masked numbers become NaN, and rows of NaN follow the points of smaller sets. Arrays
    that JAX traces remain traced. field: the name of the argument, for messages.

    Raises UserError for a table without these columns, for values that are not real numbers, and
    for numbers too large for float32.
    """
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(points)):
        traced = jnp.asarray(points)
        _require_real(field, traced.dtype)
        return traced
    with rename_fields({"sets": field}):
        array = _floats(field, points, dataset)
    if array.shape[-1:] == (dataset.dim,):
        _require_float32(field, array, dataset)
    return array


def _floats(field: str, points, dataset: Dataset) -> np.ndarray:
    points = as_pandas(points)
    if isinstance(points, pandas.DataFrame):
        points = _columns(field, points, dataset)
    try:
        if isinstance(points, (list, tuple)) and any(np.ndim(part) == 2 for part in points):
            return pad_sets([_floats(field, part, dataset) for part in points])
        array = unmasked(points)
    except UserError:
        raise
    except ValueError as error:  # rows of different lengths
        raise UserError(field, allowed=f"an array of numbers ({reason_of(error)})") from error
    # Columns with missing values of pandas are objects.
    if array.dtype == object and all(isinstance(value, numbers.Real) for value in array.flat):
        array = array.astype(np.float64)
    _require_real(field, array.dtype)
    return array.astype(np.result_type(array.dtype, np.float32), copy=False)


def _columns(field: str, table: pandas.DataFrame, dataset: Dataset) -> np.ndarray:
    """Columns f[n, D] of the coordinates in a table of one set."""
    table = table.set_axis(table.columns.map(str), axis=1)
    names = list(dataset.columns or dataset.coordinates)
    missing = [name for name in names if name not in table.columns]
    require(not missing, f"{field}: columns of the table", list(table.columns),
            f"{', '.join(names)}, the coordinates of the data",
            "table.to_numpy() gives the columns by position")  # fmt: skip
    if dataset.set_column in table.columns:
        num_sets = len(table[dataset.set_column].drop_duplicates())
        require(num_sets <= 1, f"{field}: sets in column {dataset.set_column}", num_sets, "1",
                "A list of tables holds several sets: [part for _, part in "
                f"table.groupby({dataset.set_column!r})]")  # fmt: skip
    return table[names].to_numpy(na_value=np.nan)


def _require_real(field: str, dtype) -> None:
    is_real = dtype.kind in "biuf" or jnp.issubdtype(dtype, jnp.floating)  # bfloat16 has kind V
    require(is_real, f"{field}.dtype", str(dtype), "a type of real numbers")


def _require_float32(field: str, points: np.ndarray, dataset: Dataset) -> None:
    """Raise UserError for finite numbers in `points` that are infinite in the network's units."""
    shift, scale = np.asarray(dataset.shift), np.asarray(dataset.scale)
    with np.errstate(over="ignore"):
        x = (np.float32(units.to_centred(dataset.origin, points)) - shift) / scale
    is_large = (np.isinf(x) & np.isfinite(points)).any(-1)
    for point in points[is_large].tolist()[:1]:
        raise UserError(f"{field}: a point", point,
                        "closer to the data, because float32 holds numbers below 3.4e38")
