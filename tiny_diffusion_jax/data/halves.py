"""Halves of the held-out sets: one half selects the weights, the other half measures them.

The lowest of many held-out losses is partly low by chance. So the loss is measured on sets that did
not select the weights.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from tiny_diffusion_jax.data.densities import single_density
from tiny_diffusion_jax.dataset import Dataset
from tiny_diffusion_jax.point_sets import PointSets

LEAST = 16  # least held-out sets or rows to split; metrics need about 8 in each half
SEED = 1  # makes the split the same in every run


def with_validation(dataset: Dataset) -> Dataset:
    """Split the held-out sets of `dataset` into halves `validation` and `heldout`.

    The dataset is unchanged if fewer than `LEAST` sets are held out.
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
    """Restrict a dataset to the images, observed sets or rows with the indices `index`."""
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
