"""Pack trajectories of sets between noise and data for the player in static/player.js."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tiny_diffusion_jax.diffusion.schedules import Schedule
from tiny_diffusion_jax.figures import film, frames
from tiny_diffusion_jax.point_sets import lengths
from tiny_diffusion_jax.web.packing import pack

MOST_NUMBERS = 1_250_000  # coordinates of all positions: 3.3 MB of text
MOST_FRAMES = 61


class Marks(NamedTuple):
    """Facts about K sets, for colours and captions. A fact that is left out is not shown."""

    names: Sequence[str] = ()  # name of each set.
    member: np.ndarray | None = None  # i32[K], number of the colour of each set.
    members: Sequence[str] = ()  # meanings of the colours.
    kind: str = "member"  # general term for these meanings.
    rejected: np.ndarray | None = None  # bool[K], sets that are not separate.
    is_stray: np.ndarray | None = None  # bool[K, N], stray points.
    num_given: int = 0  # number of given points at the start of each set.


NO_MARKS = Marks()


def pack_trajectories(
    trajectories: np.ndarray, grid: np.ndarray, schedule: Schedule, marks: Marks = NO_MARKS,
    blocks: Sequence[Sequence[int]] | None = None, most: int = MOST_NUMBERS,
) -> dict:  # fmt: skip
    """Pack trajectories f32[F, K, N, D] of K sets from noise, at the noise levels grid i[F].

    Rows of NaN follow the points of smaller sets. blocks: the number of points in each block of
    each set, for sets that are drawn block after block. The result has the first two coordinates,
    at most MOST_FRAMES moments, which look evenly spaced, and as many sets as `most` numbers allow.
    A single set that is too large is cut to its first points.
    """
    index = frames.select_frames(np.asarray(schedule.log_snr)[grid], MOST_FRAMES)
    positions, grid, dim = trajectories[index, ..., :2], grid[index], trajectories.shape[-1]
    num_frames, num_sets, num_points, _ = positions.shape
    kept_points = min(num_points, most // (2 * num_frames))
    kept_sets = max(1, min(num_sets, most // (2 * num_frames * kept_points)))
    positions = positions[:, :kept_sets, :kept_points]
    # Each coordinate of each frame is a column with its own steps, because noise has a wider range.
    columns = positions.transpose(1, 2, 0, 3).reshape(kept_sets, kept_points, 2 * num_frames)
    sizes = lengths(positions[-1])
    kept = lambda array: None if array is None else np.asarray(array)[:kept_sets].tolist()
    return {
        "frames": num_frames, "sizes": sizes.tolist(), "positions": pack(columns),
        "levels": {
            "T": schedule.num_levels, "t": np.asarray(grid).tolist(), "step": index.tolist(),
            "alpha": np.asarray(schedule.alpha)[grid].tolist(),
            "sigma": np.asarray(schedule.sigma)[grid].tolist(),
        },
        "view": _view(positions, still=blocks is not None),
        "blocks": None if blocks is None else list(map(list, blocks[:kept_sets])),
        "marks": {
            "names": list(marks.names[:kept_sets]), "member": kept(marks.member),
            "members": list(marks.members), "kind": marks.kind, "rejected": kept(marks.rejected),
            "stray": None if marks.is_stray is None else [
                np.flatnonzero(is_stray[:size]).tolist()
                for is_stray, size in zip(marks.is_stray, sizes, strict=False)
            ], "given": marks.num_given,
        },
        "dim": dim, "num_points": num_points,
    }  # fmt: skip


def pack_noising(x_0: np.ndarray, eps: np.ndarray, shift, scale) -> dict:
    """Pack the forward process of sets x_0 f32[K, N, D], with eps f32[K, N, D] ~ N(0, I).

    x_t = shift + alpha_t (x_0 - shift) + sigma_t scale eps, in own units
    """
    two = lambda array: np.broadcast_to(np.asarray(array, float), x_0.shape[-1:])[:2].tolist()
    columns = np.concatenate([x_0[..., :2], np.where(np.isnan(x_0), np.nan, eps)[..., :2]], -1)
    return {"points": pack(columns), "sizes": lengths(x_0).tolist(),
            "shift": two(shift), "scale": two(scale)}  # fmt: skip


def _view(positions: np.ndarray, still: bool) -> dict:
    """Square that each frame shows; `still`: all frames show the square of the data."""
    flat = positions.reshape(len(positions), -1, 2)
    centre, half = film.view([flat[-1]] * 2 if still else list(flat))
    if still:
        centre, half = np.repeat(centre[-1:], len(flat), 0), np.repeat(half[-1:], len(flat))
    return {"centre": centre.tolist(), "half": half.tolist()}
