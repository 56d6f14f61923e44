"""Animations of one or many sets from noise to data, as small GIFs that repeat.

Points in space are drawn by their first two coordinates, and the title adds "seen along z".
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from tiny_diffusion_jax.figures import ink, style
from tiny_diffusion_jax.files import atomic

FPS, HOLD = 15, 2.0  # frames per second; seconds for which the last frame stays
COLUMNS, GAP = 4, 6  # columns in a grid of sets; pixels between its panels


def save_film(
    path, frames, labels: Sequence[str], title: str, new=None, ramp: Sequence[str] = style.WARM,
    size: int = 480,
) -> None:  # fmt: skip
    """Write a GIF of one set: `frames`, a list of f32[n_i, D], with one label per frame.

    `new`: a list of bool[n_i], the points that are being drawn, in blue; the other points have the
    colours of `ramp` (from paper to many dots, `WARM` or `COOL`). If all frames have the same
    number of points, the view follows them: wide at the noise and close at the data. Otherwise
    every frame has the view of the last frame. `size`: width in pixels. Points that are not finite
    are left out.
    """
    title, frames = _seen_along_z(title, frames[0]), [_dots(points) for points in frames]
    centre, half = view(frames)
    count = max(map(len, frames))

    def picture(i):
        pixels = ink.to_pixels(frames[i], centre[i], half[i], size)
        if new is None:
            return ink.shade(ink.splat(pixels, size, count), 0)
        is_new = np.asarray(new[i], bool)[: style.MAX_DOTS]
        rest, now = (ink.splat(pixels[which], size, count) for which in (~is_new, is_new))
        return ink.shade(np.maximum(rest, now), now >= rest)

    ramps = [ramp] if new is None else [ramp, style.COOL]
    _save(path, map(picture, range(len(frames))), ramps, labels, title)


def save_grid_film(
    path, frames, labels: Sequence[str], title: str, member=None, size: int = 560
) -> None:
    """Write a GIF of several sets side by side: `frames: f32[F, K, n, D]`, one label per frame.

    Each panel shows one set, in the colour of its `member: i32[K]` (see `sets.sets_figure`; burnt
    orange without members). All panels share one view. A point that is NaN is not drawn.
    """
    title, frames = _seen_along_z(title, frames), _dots(frames)
    num_frames, num_sets, count, _ = frames.shape
    centre, half = view(list(frames.reshape(num_frames, -1, 2)))
    number = np.zeros(num_sets, int) if member is None else np.asarray(member) % len(style.MEMBERS)
    present, layer = np.unique(number, return_inverse=True)
    columns = min(COLUMNS, num_sets)
    step, rows = size // columns, -(-num_sets // columns)
    side = step - GAP

    def picture(i):
        page = np.zeros((rows * step + GAP, columns * step), np.uint8)
        for k, points in enumerate(frames[i]):
            y, x = k // columns * step + GAP, k % columns * step + GAP // 2
            page[y - 1 : y + side + 1, x - 1 : x + side + 1] = ink.LINE
            drawn = ink.splat(ink.to_pixels(points, centre[i], half[i], side), side, count)
            page[y : y + side, x : x + side] = ink.shade(drawn, layer[k])
        return page

    color = lambda k: style.SAMPLES if member is None else style.member_color(k)
    ramps = [ink.tints(color(k)) for k in present]
    _save(path, map(picture, range(num_frames)), ramps, labels, title)


def _dots(points) -> np.ndarray:
    """Return the drawn points and coordinates, f32[..., n, 2]."""
    return np.asarray(points, np.float32)[..., : style.MAX_DOTS, :2]


def _seen_along_z(title: str, points) -> str:
    return f"{title}, seen along z" if np.shape(points)[-1] > 2 else title


def _save(
    path, pictures: Iterable[np.ndarray], ramps: Sequence[Sequence], labels: Sequence[str],
    title: str,
) -> None:  # fmt: skip
    """Write a GIF of pictures u8[h, w] in the colours of `ramps`, each above its caption.

    The first frame stays for a quarter of `HOLD` seconds, and the last frame for `HOLD` seconds.
    """
    from PIL import Image

    palette, frames = ink.palette(ramps), []
    for i, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        page = np.concatenate([picture, ink.caption(title, label, picture.shape[1])])
        bar = page[len(picture) : len(picture) + 2, 14:-14]
        bar[:] = ink.LINE
        bar[:, : round(bar.shape[1] * i / max(len(labels) - 1, 1))] = ink.PROGRESS
        frames.append(Image.fromarray(page, "P"))
        frames[-1].putpalette(palette)

    duration = [round(100 / FPS) * 10] * len(frames)  # GIF counts in hundredths of a second
    duration[0], duration[-1] = round(HOLD * 250), round(HOLD * 1000)
    with atomic(Path(path)) as file:
        frames[0].save(
            file, format="GIF", save_all=True, append_images=frames[1:], duration=duration,
            loop=0, optimize=False, disposal=1,
        )  # fmt: skip


def view(frames: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Centre f32[F, 2] and half-width f32[F] of the square that each frame f32[n, 2] shows."""
    finite = [points[np.isfinite(points).all(-1)] for points in frames]
    if len({len(points) for points in finite}) == 1 and len(finite[0]):
        return _camera(finite)
    # A fixed view shows where points are added or removed.
    limits = style.square_limits(finite[-1]) if len(finite[-1]) else (-1, 1, -1, 1)
    low, high = np.reshape(limits, (2, 2)).T
    return np.tile((low + high) / 2, (len(frames), 1)), np.full(len(frames), (high - low)[0] / 2)


def _camera(trajectory) -> tuple[np.ndarray, np.ndarray]:
    """Centre f32[F, 2] and half-width f32[F] of a square that holds 99 % of each frame's points.

    Both are smoothed over neighbouring frames, because quantiles of random points fluctuate.
    """
    low, high = np.quantile(np.asarray(trajectory), [0.005, 0.995], axis=1)
    centre = (low + high) / 2
    half = np.maximum(0.57 * (high - low).max(-1), style.smallest_side(np.asarray(trajectory)))
    reach = len(trajectory) // 12
    weights = np.hanning(2 * reach + 3)[1:-1]

    def smooth(track):
        # Odd reflection continues the slope, so the first and the last frame keep their views.
        padded = np.pad(track, reach, mode="reflect", reflect_type="odd")
        return np.convolve(padded, weights / weights.sum(), mode="valid")

    return np.stack([smooth(c) for c in centre.T], -1), np.exp(smooth(np.log(half)))
