"""Distance between the distribution of the sizes of generated sets and of real sets."""

import jax
import numpy as np

from tiny_diffusion_jax.dataset import Dataset
from tiny_diffusion_jax.point_sets import lengths

REPEATS = 100  # random draws for the floor


def compare(dataset: Dataset, key: jax.Array, sets: np.ndarray) -> dict:
    """W_1 between the sizes of `sets` f32[B, N, D], padded with NaN, and the sizes of real sets.

    W_1 = int |F_x - F_y|, in points. The real sets are the held-out sets, or the training sets if
    none are held out. floor: the mean of W_1 for B sizes of real sets, drawn at random from
    training and held-out sets together. `mean` and `sd` describe the sizes of `sets`, `true_mean`
    and `true_sd` the sizes of the real sets. All entries are plain numbers, ready for JSON.
    """
    from scipy.stats import wasserstein_distance

    sizes, trained = lengths(sets), np.asarray(dataset.sizes)
    held_out = dataset.heldout is not None and dataset.heldout.sizes is not None
    real = np.asarray(dataset.heldout.sizes) if held_out else trained
    pool = np.concatenate([trained, real]) if held_out else trained
    draws = np.asarray(jax.random.randint(key, (REPEATS, len(sizes)), 0, len(pool)))
    floors = np.array([float(wasserstein_distance(pool[draw], real)) for draw in draws])
    value, floor = float(wasserstein_distance(sizes, real)), float(floors.mean())
    return {
        "value": value, "floor": floor, "floor_std": float(floors.std()),
        "ratio": value / floor if floor > 0 else None,
        "mean": float(sizes.mean()), "sd": float(sizes.std()),
        "true_mean": float(real.mean()), "true_sd": float(real.std()),
        "num_sets": len(sizes), "num_real": len(real),
    }  # fmt: skip
