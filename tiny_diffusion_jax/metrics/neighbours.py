"""Distance between the laws of the nearest neighbours in generated sets and in real sets.

Points may repel or attract each other, and metrics of whole sets hardly see it: uniform points and
points that keep their distance differ little under the earth mover's distance.
"""

from collections.abc import Callable

import jax
import numpy as np

from tiny_diffusion_jax.point_sets import ragged

REPEATS = 100  # random draws for the floor
MOST_POINTS = 256  # points of a set whose neighbours are measured


def distances(sets: np.ndarray) -> list[np.ndarray]:
    """Distance f64[n] of each point to the nearest other point of its set, for each set.

    sets: f[S, N, D], padded with NaN. Only the first 256 points of a set are measured, to all of
    its points. Sets with a single point are left out.
    """
    from scipy.spatial import KDTree

    return [KDTree(points).query(points[:MOST_POINTS], k=2)[0][:, 1]
            for points in ragged(np.asarray(sets, np.float64)) if len(points) > 1]  # fmt: skip


def compare(key: jax.Array, sets, trained, heldout=None) -> dict:
    """W_1 between the distances to nearest neighbours in `sets` and in real sets.

    W_1 = int |F_x - F_y|, in the unit of the points. The arguments f[S, N, D] are padded with NaN.
    The real sets are `heldout`, or `trained` if nothing is held out. floor: the mean of W_1 between
    two groups of real sets that are drawn from `trained` and `heldout` together, with replacement,
    as many as there are generated and real sets. `mean` and `sd` describe the distances in `sets`,
    `true_mean` and `true_sd` those in real sets. All entries are plain numbers, ready for JSON; {}
    if no set of one group has two points.
    """
    own, of_training = distances(sets), distances(trained)
    real = of_training if heldout is None else distances(heldout)
    pool = of_training if heldout is None else of_training + real
    if not (own and real):
        return {}
    between, end = _between_groups(own + pool), len(own) + len(pool)
    value = between(np.arange(len(own)), np.arange(end - len(real), end))
    draws = jax.random.randint(key, (REPEATS, len(own) + len(real)), len(own), end)
    floors = [between(*np.split(draw, [len(own)])) for draw in np.asarray(draws)]
    floor, all_own, all_real = float(np.mean(floors)), np.concatenate(own), np.concatenate(real)
    return {
        "value": value, "floor": floor, "floor_std": float(np.std(floors)),
        "ratio": value / floor if floor > 0 else None,
        "mean": float(all_own.mean()), "sd": float(all_own.std()),
        "true_mean": float(all_real.mean()), "true_sd": float(all_real.std()),
        "num_sets": len(own), "num_real": len(real),
    }  # fmt: skip


def _between_groups(groups: list[np.ndarray]) -> Callable[[np.ndarray, np.ndarray], float]:
    """Return W_1 as a function of two selections of the groups; all values are sorted only once."""
    sizes = np.array([len(group) for group in groups])
    values = np.concatenate(groups)
    order = np.argsort(values)
    owner, gaps = np.repeat(np.arange(len(groups)), sizes)[order], np.diff(values[order])

    def between(first: np.ndarray, second: np.ndarray) -> float:
        weight = [np.bincount(index, minlength=len(groups)) / sizes[index].sum()
                  for index in (first, second)]  # fmt: skip
        return float(np.abs(np.cumsum((weight[0] - weight[1])[owner])[:-1]) @ gaps)

    return between
