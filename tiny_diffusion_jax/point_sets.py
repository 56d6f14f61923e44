"""Sets of points in arrays, and the conditioning of a denoiser of such sets.

Sets of different sizes share an array f32[S, N, D], where N is the largest size. The points of a
set come first. A mask bool[S, N], or rows of NaN, mark the padding after the points.
"""

from typing import Any, NamedTuple

import jax
import numpy as np

from tiny_diffusion_jax.errors import require


class PointSets(NamedTuple):
    """B sets of N points with D coordinates each."""

    points: jax.Array  # f32[B, N, D]
    mask: jax.Array | None = None  # bool[B, N], True where a point exists; None: all exist
    label: jax.Array | None = None  # i32[B], the member of each set; None: no labels
    # i32[B], number of points of the complete observed set (at most N of these points are drawn).
    # None: sets are not observed sets.
    size: jax.Array | None = None


class Conditioning(NamedTuple):
    """The optional inputs of a denoiser, for B sets; None: not conditioned on this input."""

    label: jax.Array | None = None  # i32[B]; -1: no label
    size: jax.Array | None = None  # i32[B], number of points of the complete set
    history: PointSets | None = None  # clean points of each set; all masked: an empty history
    latent: Any = None  # f32[B, 1, L] of `SetLatent`, or the `Context` of `Causal`
    mask: jax.Array | None = None  # bool[B, N], False for padding; None: all N points exist
    # i32[B], number of first points that are given, for `Causal` with given_share; None: no points
    given: jax.Array | None = None


NO_CONDITIONING = Conditioning()


def lengths(sets) -> np.ndarray:
    """Number of points of each set of f32[S, N, D], i64[S]."""
    return (~np.isnan(np.asarray(sets)).any(-1)).sum(-1)


def ragged(sets) -> list[np.ndarray]:
    """Split sets f32[S, N, D] with rows of NaN into a list of sets f32[n_i, D]."""
    sets = unmasked(sets)
    require(sets.ndim == 3, "sets.shape", sets.shape, "(S, N, D)",
            "A single set has no padding" if sets.ndim == 2 else "")  # fmt: skip
    return [points[:n] for points, n in zip(sets, lengths(sets), strict=True)]


def unmasked(values) -> np.ndarray:
    """Convert values to an array; masked numbers become NaN, and other masked values None."""
    if not np.ma.is_masked(values):
        return np.asarray(values)
    if values.dtype.kind in "biuf":
        return values.astype(np.result_type(values.dtype, np.float32)).filled(np.nan)
    return np.asarray(np.where(np.ma.getmaskarray(values), None, values.data))


def as_sets(sets) -> list[np.ndarray]:
    """Convert sets to arrays f[n_i, D]; raise UserError unless all have the same D."""
    sets = [unmasked(points) for points in sets]
    holds = all(points.ndim == 2 for points in sets) and len({p.shape[1:] for p in sets}) <= 1
    require(holds, "sets", [points.shape for points in sets][:4], "arrays f[n, D] with one D")
    return sets


def pad_sets(sets, mask=None) -> np.ndarray:
    """Put sets f[n_i, D] into one array f[S, N, D] with rows of NaN: the inverse of `ragged`.

    mask: bool[S, N], True for the points that exist, for sets that are an array f[S, N, D] already.
    """
    if mask is not None:
        return masked(np.asarray(sets, float), mask)
    sets = as_sets(sets)
    if not sets:
        return np.zeros((0, 0, 2))
    dtype = np.result_type(np.float32, *(points.dtype for points in sets))
    result = np.full((len(sets), max(map(len, sets)), sets[0].shape[1]), np.nan, dtype)
    for row, points in zip(result, sets, strict=True):
        row[: len(points)] = points
    return result


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
