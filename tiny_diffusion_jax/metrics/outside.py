"""Share of generated points outside of the box that contains the real points.

Observed points often end at the border of a window or a range, and a model may not learn it.
"""

import numpy as np

from tiny_diffusion_jax.point_sets import ragged


def compare(sets, real) -> dict:
    """Share of points outside of the smallest box, along the axes, of all points of the real sets.

    The arguments f[S, N, D] are padded with NaN. floor: the share of the points of a real set that
    are outside of the box of all other real sets; None for a single real set. value_se and
    floor_se: standard errors over sets. All entries are plain numbers, ready for JSON.
    """
    lows, highs = (extreme(real, 1) for extreme in (np.nanmin, np.nanmax))
    value, value_se = _share(ragged(sets), [lows.min(0)] * len(sets), [highs.max(0)] * len(sets))
    floor = floor_se = None
    if len(real) > 1:
        floor, floor_se = _share(ragged(real), _lowest_of_others(lows), -_lowest_of_others(-highs))
    return {"value": value, "value_se": value_se, "floor": floor, "floor_se": floor_se,
            "ratio": None, "num_sets": len(sets), "num_real": len(real)}  # fmt: skip


def _lowest_of_others(values: np.ndarray) -> np.ndarray:
    """For each row of f[S, D] the minimum of all other rows."""
    least, second = np.partition(values, 1, axis=0)[:2]
    return np.where(values == least, second, least)


def _share(sets, lows, highs) -> tuple[float, float]:
    """Share of all points of sets that are outside of the box of their set, and standard error."""
    beyond = [((points < low) | (points > high)).any(1)
              for points, low, high in zip(sets, lows, highs, strict=True)]  # fmt: skip
    share = np.concatenate(beyond).mean()
    # of the ratio of two sums over sets: of the points outside, and of all points
    rest = np.array([(each - share).sum() for each in beyond])
    return float(share), float(np.sqrt((rest**2).sum()) / sum(map(len, beyond)))
