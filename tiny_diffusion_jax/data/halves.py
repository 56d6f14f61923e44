"""Halves of the held-out sets: weights are chosen on one and measured on the other.

The least of many held-out losses is partly low by chance, so the sets that chose the weights
flatter them.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from tiny_diffusion_jax.data.base import Dataset, PointSets, single_density

LEAST = 16  # held-out sets, or rows of a table, that are split: metrics of fewer than 8 say little
SEED = 1  # of the split, which is the same in every run


def with_validation(dataset: Dataset) -> Dataset:
    """`dataset` with half of its held-out sets as `validation` and the other half as `heldout`.

    Unchanged if fewer than `LEAST` are held out.
    """
    heldout = dataset.heldout
    if heldout is None or size(heldout) < LEAST:
        return dataset
    index = np.random.default_rng(SEED).permutation(size(heldout))
    validation, test = (part(heldout, np.sort(half)) for half in np.array_split(index, 2))
    return dataset.replace(validation=validation, heldout=test)


def size(heldout: Dataset) -> int:
    """Number of held-out images, observed sets, or rows of a table."""
    return heldout.num_sources or (0 if heldout.rows is None else len(heldout.rows))


def part(heldout: Dataset, index: np.ndarray) -> Dataset:
    """The same distribution from the images, observed sets or rows of these numbers alone."""
    if not heldout.num_sources:
        rows = heldout.rows[index]
        return heldout.replace(rows=rows, draw=single_density(Partial(_draw_rows, rows)))
    pick = lambda a: None if a is None else a[index]
    sources = heldout.draw_from, jnp.asarray(index, jnp.int32)
    return heldout.replace(
        draw=Partial(_draw, *sources), draw_from=Partial(_draw_from, *sources),
        **{name: pick(getattr(heldout, name))
           for name in ("source_labels", "images", "offsets", "sizes")},
    )  # fmt: skip


def _draw_rows(rows: jax.Array, key: jax.Array, num: int) -> jax.Array:
    return rows[jax.random.randint(key, (num,), 0, len(rows))]


def _draw(draw_from, index: jax.Array, key, num_sets: int, num_points: int) -> PointSets:
    which_key, key = jax.random.split(key)
    which = jax.random.randint(which_key, (num_sets,), 0, len(index))
    return draw_from(key, index[which], num_points)


def _draw_from(draw_from, index: jax.Array, key, which: jax.Array, num_points: int) -> PointSets:
    return draw_from(key, index[which], num_points)
