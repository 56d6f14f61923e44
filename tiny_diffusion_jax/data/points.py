"""Tables of points: rows drawn with replacement, plus Gaussian jitter."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from tiny_diffusion_jax.data import notices, units
from tiny_diffusion_jax.data.cells import encode
from tiny_diffusion_jax.data.collection import listed
from tiny_diffusion_jax.data.columns import Points, has_role, read_points
from tiny_diffusion_jax.data.densities import (
    make_dataset,
    mixture_log_prob,
    single_density,
    with_heldout,
)
from tiny_diffusion_jax.data.images import MAX_MIXTURE
from tiny_diffusion_jax.data.table import stem
from tiny_diffusion_jax.dataset import Dataset

MIN_ROWS = 50  # smallest table without jitter that has held-out rows


def build(config, dim: int | None = None, arrays: dict | None = None) -> Dataset:
    """Build a density from the rows of the table `config.path`, in the units of the table.

    p(x) = mean over rows of N(x; row, jitter_std^2), or the exact rows with `config.jitter` 'none'.
    With jitter, fresh draws differ from all training points. Without jitter, fresh draws repeat
    training points. Then the share `config.heldout` of the rows becomes `heldout`, with the same
    rows in every run. No row is held out from tables with fewer than 50 rows.
    `config.columns` names the coordinates of a point. Without names columns.py selects them.
    dim: required number of coordinates, None for any number. arrays: the columns of the table by
    name, in place of the file.
    `config.per_axis`: a scale for each coordinate, instead of one scale for all.
    `config.clip_outliers`: rows far from all other rows are left out, see notices.py.
    Raises `UserError` with the invalid row and column.
    """
    std = config.jitter_std if config.jitter == "gaussian" else 0.0
    names = ("header", "columns", "where", "array", "skip_incomplete")
    options = {name: config[name] for name in names if name in config}
    table = read_points(config.path, dim=dim, arrays=arrays, **options)
    points, outliers = table.points, notices.find_outliers(table.points)
    near, name = points[~outliers.rows], table.rows.__getitem__
    where = f" where {config.where.strip()}" if config.where else ""
    details = f"{Path(config.path).name}{where}: {table.describe()}"
    if config.clip_outliers and outliers.rows.any():
        points, notice = near, table.notice
        details += f"; {notices.left_out(outliers, name)}"
    else:
        notice = notices.join(table.notice, notices.outliers(outliers, name))
    notice = notices.join(notice, _unused_split(table))
    units.check_spread(points, config.per_axis, config.path)
    if std == 0:
        notice = notices.join(notice, notices.grid(near, table.columns, can_jitter=True),
                              notices.repeats(near, None, can_jitter=True))  # fmt: skip
    origin = units.choose_origin(points)
    points = points - origin if origin else points
    heldout = None
    if std == 0 and config.heldout > 0 and len(points) >= MIN_ROWS:
        order = np.random.default_rng(0).permutation(len(points))
        num_held = max(1, round(config.heldout * len(points)))
        is_held = np.isin(np.arange(len(points)), order[:num_held])
        rows = jnp.asarray(points[is_held], jnp.float32)
        heldout = make_dataset(_draw(rows, 0.0), normalize=False, rows=rows, origin=origin)
        points = points[~is_held]
        details += f"; {num_held:,} rows are held out (config.data.heldout)"
    rows = jnp.asarray(points, jnp.float32)
    log_prob = None
    if 0 < std and len(rows) <= MAX_MIXTURE:
        log_weight = -jnp.log(jnp.float32(len(rows)))
        log_prob = Partial(mixture_log_prob, rows, jnp.float32(std), log_weight)
    # The mean is rounded, so the computed variance of constant coordinates may exceed 0.
    variance = np.where(np.ptp(points, axis=0) > 0, points.var(0), 0.0) + std**2
    if config.normalize and not config.per_axis:
        notice = notices.join(notices.spreads(variance, table.columns), notice)
    dataset = make_dataset(
        _draw(rows, std), normalize=config.normalize, per_axis=config.per_axis,
        moments=(points.mean(0), variance), log_prob=log_prob, source="points",
        title=config.where.partition("=")[2].strip() or stem(config.path),
        rows=rows if std == 0 else None, columns=table.columns, notice=notice, details=details,
        origin=origin,
    )  # fmt: skip
    return dataset if heldout is None else with_heldout(dataset, heldout)


def _unused_split(table: Points) -> str:
    """Notice about a column of training and test rows, which a density does not use."""
    for name, column in table.others.items():
        values = sorted(filter(None, encode(column)[1])) if has_role(name, "split") else []
        if len(values) > 1:
            return (
                f"column {name} is not used, so the rows of all its values ({listed(values)}) "
                f"are learned; config.data.where={name}=VALUE keeps the rows of one value"
            )
    return ""


def chosen_by_name(columns: str) -> tuple[str, ...]:
    """Return the names in the option `columns`, or () if the option has numbers."""
    names = tuple(name.strip() for name in columns.split(","))
    return () if any(not name or name.isdecimal() for name in names) else names


def _draw(rows: jax.Array, std: float) -> Partial:
    return single_density(Partial(_sample, rows, jnp.float32(std)))


def _sample(rows, std, key: jax.Array, num: int) -> jax.Array:
    index_key, jitter_key = jax.random.split(key)
    index = jax.random.randint(index_key, (num,), 0, len(rows))
    return rows[index] + std * jax.random.normal(jitter_key, (num, rows.shape[1]))
