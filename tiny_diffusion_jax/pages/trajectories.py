"""Sets on their way between noise and data, packed for the player of static/player.js."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tiny_diffusion_jax.data.padding import lengths
from tiny_diffusion_jax.diffusion.schedules import Schedule
from tiny_diffusion_jax.figures import film, frames
from tiny_diffusion_jax.pages.packing import pack

MOST_NUMBERS = 1_250_000  # of all positions: 3.3 MB of text
MOST_FRAMES = 61


class Marks(NamedTuple):
    """What is known of K sets, for colours and captions; nothing where it is left out."""

    names: Sequence[str] = ()  # of each set
    member: np.ndarray | None = None  # i32[K], which colour it has
    members: Sequence[str] = ()  # what the colours mean
    kind: str = "member"  # what they are called
    rejected: np.ndarray | None = None  # bool[K], not separate
    is_stray: np.ndarray | None = None  # bool[K, N]
    num_given: int = 0  # points that each set begins with


NO_MARKS = Marks()


def pack_trajectories(
    ways: np.ndarray, grid: np.ndarray, schedule: Schedule, marks: Marks = NO_MARKS,
    blocks: Sequence[Sequence[int]] | None = None, most: int = MOST_NUMBERS,
) -> dict:  # fmt: skip
    """For the player: ways f32[F, K, N, D] of K sets from noise, through the levels grid i[F].

    Rows of NaN follow the points of smaller sets. blocks: the points of each block of each set,
    where they are drawn block after block. Shown are the first two coordinates, at most
    MOST_FRAMES moments, evenly to the eye, and as many sets as `most` numbers allow; of one set
    that is too large, the first points.
    """
    index = frames.select_frames(np.asarray(schedule.log_snr)[grid], MOST_FRAMES)
    ways, grid, dim = ways[index, ..., :2], grid[index], ways.shape[-1]
    num_frames, num_sets, num_points, _ = ways.shape
    kept_points = min(num_points, most // (2 * num_frames))
    kept_sets = max(1, min(num_sets, most // (2 * num_frames * kept_points)))
    ways = ways[:, :kept_sets, :kept_points]
    # Each coordinate of each frame is a column with steps of its own: noise is wide, data are not.
    columns = ways.transpose(1, 2, 0, 3).reshape(kept_sets, kept_points, 2 * num_frames)
    sizes = lengths(ways[-1])
    return {
        "frames": num_frames, "sizes": sizes.tolist(), "ways": pack(columns),
        "levels": levels(schedule, grid), "view": _view(ways, still=blocks is not None),
        "blocks": None if blocks is None else [list(plan) for plan in blocks[:kept_sets]],
        "marks": _marks(marks, kept_sets, sizes), "dim": dim,
        "num_points": num_points,
    }  # fmt: skip


def pack_noising(x_0: np.ndarray, eps: np.ndarray, shift, scale) -> dict:
    """The forward process of sets x_0 f32[K, N, D] in own units, with eps f32[K, N, D] ~ N(0, I).

    x_t = shift + alpha_t (x_0 - shift) + sigma_t scale eps, in own units
    """
    two = lambda array: np.broadcast_to(np.asarray(array, float), x_0.shape[-1:])[:2].tolist()
    columns = np.concatenate([x_0[..., :2], np.where(np.isnan(x_0), np.nan, eps)[..., :2]], -1)
    return {"points": pack(columns), "sizes": lengths(x_0).tolist(),
            "shift": two(shift), "scale": two(scale)}  # fmt: skip


def levels(schedule: Schedule, grid) -> dict:
    """{"T", "t", "alpha", "sigma"} of the levels grid i[F]."""
    return {"T": schedule.num_levels, "t": np.asarray(grid).tolist(),
            "alpha": np.asarray(schedule.alpha)[grid].tolist(),
            "sigma": np.asarray(schedule.sigma)[grid].tolist()}  # fmt: skip


def _view(ways: np.ndarray, still: bool) -> dict:
    """The square that each frame shows; `still`: of the data, throughout."""
    flat = ways.reshape(len(ways), -1, 2)
    centre, half = film.view([flat[-1]] * 2 if still else list(flat))
    if still:
        centre, half = np.repeat(centre[-1:], len(ways), 0), np.repeat(half[-1:], len(ways))
    return {"centre": centre.tolist(), "half": half.tolist()}


def _marks(marks: Marks, num_sets: int, sizes: np.ndarray) -> dict:
    first = lambda array: None if array is None else np.asarray(array)[:num_sets].tolist()
    stray = marks.is_stray
    if stray is not None:
        stray = [np.flatnonzero(row[:n]).tolist() for row, n in zip(stray, sizes, strict=False)]
    return {
        "names": list(marks.names[:num_sets]), "member": first(marks.member),
        "members": list(marks.members), "kind": marks.kind,
        "rejected": first(marks.rejected), "stray": stray, "given": marks.num_given,
    }  # fmt: skip
