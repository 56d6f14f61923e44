"""Tables of points (.csv, .tsv, .npy, .npz): rows drawn with replacement, plus Gaussian jitter."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from tiny_diffusion_jax.data import notices, units
from tiny_diffusion_jax.data.base import Dataset, make_dataset, mixture_log_prob, single_density
from tiny_diffusion_jax.data.images import MAX_MIXTURE
from tiny_diffusion_jax.data.reading import (
    choose_columns,
    find_column,
    numbers,
    read_table,
    select_rows,
)

MIN_ROWS = 50  # of a table without jitter, for some of them to be held out


def build(config) -> Dataset:
    """The rows of `config.path` as a density in the table's own units.

    p(x) = mean over rows of N(x; row, jitter_std^2), or the bare rows with `config.jitter` 'none'.
    With jitter fresh draws are new to a model that is trained on others. Without it they are not:
    then the share `config.heldout` of the rows, the same ones in every run, is kept from training
    and becomes `heldout`; nothing is held out of fewer than 50 rows.
    A point has as many coordinates as `config.columns` names, x and y if it names none.
    `config.per_axis`: a scale for each coordinate, instead of one scale for all.
    `config.clip_outliers`: rows far from all others are left out, see notices.py.
    Raises `UserError` that names the row and column at fault.
    """
    std = config.jitter_std if config.jitter == "gaussian" else 0.0
    table = read_points(config.path, config.header, config.columns, config.where, config.array)
    points, outliers = table.points, notices.find_outliers(table.points)
    details, notice = "", notices.outliers(outliers, table.rows)
    near = points[~outliers.rows]
    if config.clip_outliers and outliers.rows.any():
        points, details, notice = near, notices.left_out(outliers, table.rows), ""
    if std == 0:
        notice = notices.join(notice, notices.grid(near, table.columns, can_jitter=True),
                              notices.repeats(near, None, can_jitter=True))
    origin = units.choose_origin(points)
    points = points - origin if origin else points
    heldout = None
    if std == 0 and config.heldout > 0 and len(points) >= MIN_ROWS:
        points, kept_back = _split(points, config.heldout)
        kept_back = jnp.asarray(kept_back, jnp.float32)
        heldout = make_dataset(
            _draw(kept_back, 0.0), normalize=False, rows=kept_back, origin=origin
        )
    rows = jnp.asarray(points, jnp.float32)
    log_prob = None
    if std > 0 and len(rows) <= MAX_MIXTURE:
        log_weight = -jnp.log(jnp.float32(len(rows)))
        log_prob = Partial(mixture_log_prob, rows, jnp.float32(std), log_weight)
    value = config.where.partition("=")[2].strip()
    title = value or Path(config.path).stem
    # A rounded mean gives numbers that are all the same a variance above 0.
    variance = np.where(np.ptp(points, axis=0) > 0, points.var(0), 0.0) + std**2
    one_scale = config.normalize and not config.per_axis
    if one_scale:
        spread = np.sqrt(variance)
        notice = notices.join(notices.constant(spread, table.columns),
                              notices.uneven_spreads(spread, table.columns), notice)
    dataset = make_dataset(
        _draw(rows, std), normalize=config.normalize, per_axis=config.per_axis,
        moments=(points.mean(0), variance), log_prob=log_prob, title=title,
        source="points", rows=rows if std == 0 else None, notice=notice, details=details,
        origin=origin,
    )  # fmt: skip
    if heldout is None:
        return dataset
    return dataset.replace(heldout=heldout.replace(shift=dataset.shift, scale=dataset.scale))


def _split(points: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows held out, each in the order of the table."""
    held = np.zeros(len(points), bool)
    chosen = np.random.default_rng(0).permutation(len(points))[: max(1, round(share * len(points)))]
    held[chosen] = True
    return points[~held], points[held]


def _draw(rows: jax.Array, std: float) -> Partial:
    return single_density(Partial(_sample, rows, jnp.float32(std)))


def _sample(rows, std, key: jax.Array, num: int) -> jax.Array:
    index_key, jitter_key = jax.random.split(key)
    index = jax.random.randint(index_key, (num,), 0, len(rows))
    return rows[index] + std * jax.random.normal(jitter_key, (num, rows.shape[1]))


class Points(NamedTuple):
    """Chosen columns of a table."""

    points: np.ndarray  # f64[rows, D]
    columns: list[str]  # names of the coordinates
    rows: Sequence[str]  # what a notice calls each row: "line 7"


def load_points(path: str, *options, **more) -> np.ndarray:
    """Points f64[rows, D] of a table; for the arguments see `read_points`."""
    return read_points(path, *options, **more).points


def read_points(
    path: str, header="auto", columns="", where="", array="", dim: int = 2,
    usual: Sequence[str] = (),
) -> Points:  # fmt: skip
    """Two columns of a table or more.

    header: 'auto', 'yes' or 'no', for text; columns: 'x,y,z' by name or '0,1' by place, '' for the
    columns `usual` if all exist, else the first `dim` numeric ones; where: 'column=value' keeps the
    rows that hold the value; array: the name of an array in an .npz file, '' for its first.
    Raises `UserError` naming what is wrong, with its row and column.
    """
    place = f"config.data.path = {path!r}"
    table = select_rows(read_table(path, header, array), where)
    if not columns and usual and set(usual) <= set(table.names):
        columns = ",".join(usual)
    chosen = choose_columns(table, columns, place, dim)
    points = np.stack([numbers(table, index, place) for index in chosen], axis=1)
    return Points(points, [table.names[index] for index in chosen], table.rows)


def values(path: str, column: str) -> list[str]:
    """The different values of a column of a table, in order of appearance; see `load_points`."""
    table = read_table(path, "auto", "")
    cells = table.columns[find_column(table, column, "column", column)]
    return list(dict.fromkeys(map(str, cells.tolist())))
