"""Which moments of a trajectory a film shows."""

from collections.abc import Sequence

import numpy as np


def select_frames(log_snr, num_frames: int) -> np.ndarray:
    """Indices of at most `num_frames` levels between which the picture changes evenly to the eye.

    A sampler's levels are spaced for its error, not for the eye. The share of noise in a picture is
    s = sigma / sqrt(alpha^2 + sigma^2), and shapes come out while it is small: frames are even in
    log(s + 0.1), about as many above s = 1/4 as below it. `log_snr[F]`: of each level,
    log(alpha^2 / sigma^2) for data of variance 1, either way round. Both ends are kept, and every
    level where there are no more than `num_frames`.
    """
    if len(log_snr) <= num_frames:
        return np.arange(len(log_snr))
    share = np.exp(np.clip(np.asarray(log_snr, float), -50, 50)) + 1
    height = np.log(share**-0.5 + 0.1)
    wanted = np.linspace(height[0], height[-1], num_frames)
    return np.unique(np.abs(height[:, None] - wanted).argmin(0))


def grow(trajectory, sizes: Sequence[int], num_frames: int) -> tuple[list, list]:
    """A set drawn block after block, as it grows: frames and new for `film.save_film`.

    `trajectory: f32[S, n, 2]`: every point from noise to its place; `sizes` of the blocks, which
    sum to n. Block b moves through all S levels while the blocks before it lie still. Of these
    S * len(sizes) moments at most `num_frames` are kept, evenly, the last among them. Returns
    frames: list of f32[n_i, 2]; new: list of bool[n_i], the points of the block being drawn, none
    of them once they have arrived.

    Raises ValueError where the sizes do not sum to n.
    """
    trajectory, ends = np.asarray(trajectory), np.cumsum(sizes)
    if ends[-1] != trajectory.shape[1]:
        raise ValueError(f"sizes sum to {ends[-1]}, the set has {trajectory.shape[1]} points")
    levels = len(trajectory)
    moments = np.linspace(0, levels * len(sizes) - 1, min(num_frames, levels * len(sizes)))
    blocks, level = np.divmod(np.round(moments).astype(int), levels)
    frames, new = [], []
    for b, s in zip(blocks, level, strict=True):
        start = ends[b] - sizes[b]
        frames.append(np.concatenate([trajectory[-1, :start], trajectory[s, start : ends[b]]]))
        new.append((np.arange(ends[b]) >= start) & (s < levels - 1))
    return frames, new
