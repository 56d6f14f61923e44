"""Sets of different sizes in one array.

    f32[S, N, D], N the largest size; the points of a set come first, and then rows of NaN
"""

import numpy as np


def lengths(sets) -> np.ndarray:
    """How many points each set of f32[S, N, D] has, i64[S]."""
    return (~np.isnan(np.asarray(sets)).any(-1)).sum(-1)


def ragged(sets) -> list[np.ndarray]:
    """The points of each set alone, [f32[n_i, D], ...] of sets f32[S, N, D] with rows of NaN."""
    return [points[:n] for points, n in zip(sets, lengths(sets), strict=True)]


def masked(points, mask) -> np.ndarray:
    """f32[..., N, D]: `points`, with NaN where mask bool[..., N] is not; None leaves them all."""
    points = np.asarray(points)
    if mask is None:
        return points
    return np.where(np.asarray(mask)[..., None], points, np.float32(np.nan))


def padded(points, sizes) -> np.ndarray:
    """f32[..., S, N, D]: `points`, with NaN in place of those beyond each set's size.

    What is no number among the points is infinite then, and not taken for the end of a set.
    """
    points = np.asarray(points, np.float32)
    points = np.where(np.isnan(points), np.float32(np.inf), points)
    return masked(points, np.arange(points.shape[-2]) < np.asarray(sizes)[:, None])
