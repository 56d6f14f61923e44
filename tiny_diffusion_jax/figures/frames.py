"""Select the moments of a trajectory for an animation."""

from collections.abc import Sequence

import numpy as np


def select_frames(log_snr, num_frames: int) -> np.ndarray:
    """Indices of at most `num_frames` noise levels between which the picture changes evenly.

    The levels of a sampler are spaced to reduce its error. The share of noise in a picture is s =
    sigma / sqrt(alpha^2 + sigma^2), and shapes become visible at small s. So frames are even in
    log(s + 0.1), with about as many frames above s = 1/4 as below. `log_snr[F]`: log(alpha^2 /
    sigma^2) of each level for data of variance 1, increasing or decreasing. The first and the last
    level are kept, and all levels if there are at most `num_frames`.
    """
    if len(log_snr) <= num_frames:
        return np.arange(len(log_snr))
    share = np.exp(np.clip(np.asarray(log_snr, float), -50, 50)) + 1
    height = np.log(share**-0.5 + 0.1)
    wanted = np.linspace(height[0], height[-1], num_frames)
    return np.unique(np.abs(height[:, None] - wanted).argmin(0))


def grow(trajectory, sizes: Sequence[int], num_frames: int) -> tuple[list, list]:
    """Frames of a set that is drawn block after block: `frames` and `new` for `film.save_film`.

    `trajectory: f32[S, n, 2]`: the trajectory of every point. `sizes`: the sizes of the blocks,
    which sum to n. Block b moves through all S levels while the earlier blocks do not move. At most
    `num_frames` of these S * len(sizes) moments are kept, evenly, with the last moment. Returns
    frames: list of f32[n_i, 2]; new: list of bool[n_i], the points of the current block, all False
    at the end of a block.

    Raises ValueError if the sizes do not sum to n.
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
