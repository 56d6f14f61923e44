"""Squares of score fields in the units of the data."""

import numpy as np


def squares_on_page(levels, squares, schedule, dataset) -> dict:
    """{"t", "centre", "half"} of the fields at `levels` i[L], in centred units of x_t.

    squares: f[L, 3], the `score_field.square` of each level, in units of the network and of
    x_t / alpha_t. half is a pair, because each coordinate may have its own scale.
    """
    squares, alpha = np.asarray(squares), np.asarray(schedule.alpha, float)[levels][:, None]
    shift, scale = (np.asarray(a, float) * np.ones(2) for a in (dataset.shift, dataset.scale))
    return {
        "t": np.asarray(levels).tolist(),
        "centre": (shift + alpha * squares[:, :2] * scale).tolist(),
        "half": (alpha * squares[:, 2:] * scale).tolist(),
    }
