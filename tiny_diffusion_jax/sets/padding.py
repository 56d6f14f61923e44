"""Sets of different sizes in one array.

    f32[S, N, D], where N is the largest size; points of a set come first, then rows of NaN
"""

import numpy as np


def lengths(sets) -> np.ndarray:
    """Number of points of each set of f32[S, N, D], i64[S]."""
    return (~np.isnan(np.asarray(sets)).any(-1)).sum(-1)


def ragged(sets) -> list[np.ndarray]:
    """Split sets f32[S, N, D] with rows of NaN into a list of sets f32[n_i, D]."""
    return [points[:n] for points, n in zip(sets, lengths(sets), strict=True)]


def masked(points, mask) -> np.ndarray:
    """Replace points f32[..., N, D] by NaN where mask bool[..., N] is False; None: no change."""
    points = np.asarray(points)
    if mask is None:
        return points
    return np.where(np.asarray(mask)[..., None], points, np.float32(np.nan))


def padded(points, sizes) -> np.ndarray:
    """Replace `points` f32[..., S, N, D] beyond the size of each set by NaN.

    NaN coordinates of points become infinite, so that they are not mistaken for padding.
    """
    points = np.asarray(points, np.float32)
    points = np.where(np.isnan(points), np.float32(np.inf), points)
    return masked(points, np.arange(points.shape[-2]) < np.asarray(sizes)[:, None])
