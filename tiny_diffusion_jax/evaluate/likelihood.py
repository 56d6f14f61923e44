"""What probability density a model gives to points: to real ones, and to the pixels of a picture.

Both take the model as a function `log_prob`: f32[n, 2] -> f32[n], nats per unit area of the data,
and ask it for blocks of one size only, so that one compiled program answers all.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax.data.base import Dataset, draw_points

REACH = 3  # pixels from a point within which the density is looked at


def compare(dataset: Dataset, log_prob: Callable, key: jax.Array, num_points: int) -> dict:
    """Mean log-likelihood of real points that the model was not trained on, in nats per point.

    {value, value_se, floor, unit, num_points, points}. `floor`, where the true density is known:
    what that density itself gives the same points. `points` says which ones: fresh draws where
    data are drawn afresh; of a table without jitter the rows held out, each once, or, of a table
    too small for that, rows that were trained on.
    """
    points, which = real_points(dataset, key, num_points)
    log_p = in_blocks(log_prob, points, num_points)
    true = dataset.log_prob
    return {
        "value": float(log_p.mean()),
        "value_se": float(log_p.std() / np.sqrt(len(log_p))),
        "floor": None if true is None else float(np.mean(true(jnp.asarray(points)))),
        "unit": "nats per point, density per unit area of the data",
        "num_points": len(points),
        "points": which,
    }


def real_points(dataset: Dataset, key: jax.Array, num_points: int) -> tuple[np.ndarray, str]:
    """Points f32[n, 2] to measure likelihood on, n <= num_points, and in words which they are."""
    if dataset.rows is None:
        return np.asarray(draw_points(dataset, key, 1, num_points))[0], "fresh draws of the data"
    if dataset.heldout is None:
        return np.asarray(dataset.rows[:num_points]), "rows that were trained on"
    return np.asarray(dataset.heldout.rows[:num_points]), "rows held out from training"


def in_blocks(log_prob: Callable, points: np.ndarray, size: int) -> np.ndarray:
    """`log_prob` of points f32[n, 2], f32[n], asked for exactly `size` points at a time."""
    count = -(-len(points) // size)
    padded = np.resize(points, (count * size, 2)).astype(np.float32)
    found = [log_prob(block) for block in padded.reshape(count, size, 2)]
    return np.concatenate(found)[: len(points)]


def picture(log_prob: Callable, extent, size: int, points: np.ndarray, block: int) -> np.ndarray:
    """Log density at the centres of size x size pixels, f32[size, size], lowest y first.

    extent: (left, right, bottom, top). Only pixels near one of `points`, samples of the model and
    real points f32[n, 2], are looked at (`near_points`); the others are -inf. With 100,000 samples
    what is left out holds less than 1 % of the mass.
    """
    left, right, bottom, top = extent
    x, y = ((np.arange(size) + 0.5) / size * (b - a) + a for a, b in ((left, right), (bottom, top)))
    centres = np.stack(np.meshgrid(x, y), -1)
    near = near_points(extent, size, points)
    result = np.full((size, size), -np.inf, np.float32)
    if near.any():
        result[near] = in_blocks(log_prob, centres[near], block)
    return result


def near_points(extent, size: int, points: np.ndarray) -> np.ndarray:
    """bool[size, size]: pixels within REACH pixels of a point, or more where points are few.

    The reach is the distance of neighbours if the n points were spread evenly: size / sqrt(n).
    """
    from scipy.ndimage import distance_transform_edt

    left, right, bottom, top = extent
    corner, side = np.array([left, bottom]), np.array([right - left, top - bottom])
    cell = np.floor((points - corner) / side * size)
    cell = cell[((cell >= 0) & (cell < size)).all(1)].astype(int)
    empty = np.ones((size, size), bool)
    empty[cell[:, 1], cell[:, 0]] = False
    if empty.all():
        return ~empty
    reach = max(REACH, size / np.sqrt(len(points)))
    return distance_transform_edt(empty) <= reach
