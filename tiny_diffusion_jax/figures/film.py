"""Animations: the two processes, and sets being born, as GIFs that are small and repeat.

Drawn without matplotlib, a frame in a few milliseconds, all frames in one palette: eight greys
from paper to ink, two colours for lines, and a ramp of shades for each kind of point. The look and
its colours are those of `plotting`. The same bytes for the same input.
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from tiny_diffusion_jax.figures.page import (
    COOL,
    INK,
    MAX_DOTS,
    MEMBERS,
    PAPER,
    RULE,
    WARM,
    square_limits,
)

GREYS, SHADES = 8, 21  # with two line colours and one ramp 31: five bits a pixel
LINE, PROGRESS, CAPTION = GREYS, GREYS + 1, 40  # the caption's height in pixels


# ---------------------------------------------------------------- which frames


def select_frames(log_snr, num_frames: int) -> np.ndarray:
    """Indices of at most `num_frames` levels between which the picture changes evenly to the eye.

    A sampler's levels are spaced for its error, not for the eye. The share of noise in a picture is
    s = sigma / sqrt(alpha^2 + sigma^2), and shapes come out while it is small: the clock is
    |log(s + 0.1)|, about as many frames above s = 1/4 as below it. `log_snr[F]`: of each level,
    log(alpha^2 / sigma^2) for data of variance 1, either way round. Both ends are kept, and every
    level where there are no more than `num_frames`.
    """
    if len(log_snr) <= num_frames:
        return np.arange(len(log_snr))
    share = np.exp(np.clip(np.asarray(log_snr, float), -50, 50)) + 1
    clock = np.log(share**-0.5 + 0.1)
    wanted = np.linspace(clock[0], clock[-1], num_frames)
    return np.unique(np.abs(clock[:, None] - wanted).argmin(0))


def grow(way, sizes: Sequence[int], num_frames: int) -> tuple[list, list, list]:
    """A set drawn block after block, as it grows: frames, new and blocks for `save_birth`.

    `way: f32[S, n, 2]`: every point from noise to its place; `sizes` of the blocks, which sum to
    n. Block b moves through all S levels while the blocks before it lie still. Of these
    S * len(sizes) moments at most `num_frames` are kept, evenly, the last among them. Returns
    frames: list of f32[n_i, 2]; new: list of bool[n_i], the points of the block being drawn, none
    of them once they have arrived; blocks: list of int, the number of the block, 0 first.
    """
    way, ends = np.asarray(way), np.cumsum(sizes)
    if ends[-1] != way.shape[1]:
        raise ValueError(f"sizes sum to {ends[-1]}, the set has {way.shape[1]} points")
    levels = len(way)
    moments = np.linspace(0, levels * len(sizes) - 1, min(num_frames, levels * len(sizes)))
    blocks, level = np.divmod(np.round(moments).astype(int), levels)
    frames, new = [], []
    for b, s in zip(blocks, level, strict=True):
        start = ends[b] - sizes[b]
        frames.append(np.concatenate([way[-1, :start], way[s, start : ends[b]]]))
        new.append((np.arange(ends[b]) >= start) & (s < levels - 1))
    return frames, new, blocks.tolist()


# ---------------------------------------------------------------- one set


def save_animation(
    path, trajectory, labels: Sequence[str], title: str, fps: float = 15, hold: float = 2.0,
    ramp: Sequence[str] = WARM, size: int = 480,
) -> None:  # fmt: skip
    """A GIF of the moving points: `trajectory: f32[F, n, 2]`, one label a frame.

    `save_birth` of a set whose points are there from the start: the view follows the cloud.
    """
    save_birth(path, trajectory, labels, title, fps=fps, hold=hold, size=size, ramp=ramp)


def save_birth(
    path, frames, labels: Sequence[str], title: str, new=None, limits=None, fps: float = 15,
    hold: float = 2.0, size: int = 480, ramp: Sequence[str] = WARM, new_ramp: Sequence[str] = COOL,
) -> None:  # fmt: skip
    """A GIF of a set being born: `frames`, a list of f32[n_i, 2], one label a frame.

    `new`: a list of bool[n_i], the points that are being drawn right now, in `new_ramp`; the others
    are in `ramp` (colours from paper to many dots, `WARM` or `COOL`). `limits`: (left, right,
    bottom, top) of a square; by default the view follows the cloud, wide while it is noise and
    close at the data, or holds still on the last frame if points are added on the way. The first
    frame stays for a quarter of `hold` seconds and the last for all of it. `size`: the width in
    pixels. Points that are not finite are left out.
    """
    frames = [np.asarray(points, np.float32).reshape(-1, 2)[:MAX_DOTS] for points in frames]
    centre, half = _view(frames, limits)
    count = max(map(len, frames))

    def picture(i):
        places = _to_pixels(frames[i], centre[i], half[i], size)
        if new is None:
            return _shade(_splat(places, size, count), 0)
        fresh = np.asarray(new[i], bool)[:MAX_DOTS]
        rest, now = (_splat(places[which], size, count) for which in (~fresh, fresh))
        return _shade(np.maximum(rest, now), now >= rest)

    ramps = [ramp] if new is None else [ramp, new_ramp]
    _save_film(path, map(picture, range(len(frames))), ramps, labels, title, fps, hold)


# ---------------------------------------------------------------- many sets


def save_births(
    path, ways, labels: Sequence[str], title: str, member=None, columns: int = 4, fps: float = 15,
    hold: float = 2.0, size: int = 560,
) -> None:  # fmt: skip
    """A GIF of several sets being born side by side: `ways: f32[F, K, n, 2]`, one label a frame.

    Each panel shows one set, all in the same view, in the colour of its `member: i32[K]` (as in
    `set_plots.sets_figure`; burnt orange without). A point that is NaN is not there yet.
    """
    ways = np.asarray(ways, np.float32)[:, :, :MAX_DOTS]
    num_frames, num_sets, count, _ = ways.shape
    centre, half = _view([way.reshape(-1, 2) for way in ways])
    present, layer = np.unique(
        np.zeros(num_sets, int) if member is None else np.asarray(member) % len(MEMBERS),
        return_inverse=True,
    )
    columns = min(columns, num_sets)
    step, gap = size // columns, 6
    side, rows = step - gap, math.ceil(num_sets / columns)

    def picture(i):
        page = np.zeros((rows * step + gap, columns * step), np.uint8)
        for k, points in enumerate(ways[i]):
            y, x = k // columns * step + gap, k % columns * step + gap // 2
            page[y - 1 : y + side + 1, x - 1 : x + side + 1] = LINE
            ink = _splat(_to_pixels(points, centre[i], half[i], side), side, count)
            page[y : y + side, x : x + side] = _shade(ink, layer[k])
        return page

    ramps = [_tints(MEMBERS[m]) for m in present]
    _save_film(path, map(picture, range(num_frames)), ramps, labels, title, fps, hold)


def _tints(color: str) -> tuple:
    """A ramp through a member's colour, from paper to nearly black."""
    from PIL import ImageColor

    paper, full = (np.array(ImageColor.getrgb(c)) for c in (PAPER, color))
    return PAPER, tuple(0.5 * (paper + full)), color, tuple(0.45 * full)


# ---------------------------------------------------------------- the view


def _view(frames: Sequence[np.ndarray], limits=None) -> tuple[np.ndarray, np.ndarray]:
    """Centre f32[F, 2] and half-width f32[F] of the square that each frame shows."""
    finite = [points[np.isfinite(points).all(-1)] for points in frames]
    if limits is None and len({len(points) for points in finite}) == 1 and len(finite[0]):
        return _camera(finite)
    if limits is None:  # points come or go: only a view that holds still shows them do it
        limits = square_limits(finite[-1]) if len(finite[-1]) else (-1, 1, -1, 1)
    left, right, bottom, top = limits
    count, centre = len(frames), [(left + right) / 2, (bottom + top) / 2]
    return np.tile(centre, (count, 1)), np.full(count, (right - left) / 2)


def _camera(trajectory) -> tuple[np.ndarray, np.ndarray]:
    """Centre f32[F, 2] and half-width f32[F] of a square that holds 99 % of each frame's points.

    Smoothed over neighbouring frames: quantiles of random points tremble, a camera must not.
    """
    low, high = np.quantile(np.asarray(trajectory), [0.005, 0.995], axis=1)
    centre, half = (low + high) / 2, np.maximum(0.57 * (high - low).max(-1), 1e-6)
    reach = len(trajectory) // 12
    weights = np.hanning(2 * reach + 3)[1:-1]

    def smooth(track):
        # odd reflection carries the slope on: the first and the last frame keep their own view
        padded = np.pad(track, reach, mode="reflect", reflect_type="odd")
        return np.convolve(padded, weights / weights.sum(), mode="valid")

    return np.stack([smooth(c) for c in centre.T], -1), np.exp(smooth(np.log(half)))


def _to_pixels(points, centre, half, size) -> np.ndarray:
    return ((points - centre) / half * [0.5, -0.5] + 0.5) * size


# ---------------------------------------------------------------- drawing


def _splat(pixels, size: int, count: int | None = None) -> np.ndarray:
    """Points in pixel coordinates -> ink in [0, 1], f32[size, size]: soft dots that add up.

    Each point is shared out among its four nearest pixels, then blurred: a dot moves by fractions
    of a pixel without jumping. `count`: how many points there are at most in any frame; the fewer,
    the larger and the stronger the dots.
    """
    pixels = pixels[np.isfinite(pixels).all(-1)]
    count = max(len(pixels) if count is None else count, 1)
    blurs = int(np.clip(size**2 / (110 * count), 1, 8))  # of variance 1/2 each
    corner = np.floor(np.clip(pixels, -size, 2 * size) - 0.5).astype(int)
    part = pixels - 0.5 - corner
    width = size + 2 * blurs
    ink = np.zeros(width * width)
    for dx in (0, 1):
        for dy in (0, 1):
            x, y = corner[:, 0] + dx, corner[:, 1] + dy
            share = np.abs(1 - dx - part[:, 0]) * np.abs(1 - dy - part[:, 1])
            inside = (x >= 0) & (x < size) & (y >= 0) & (y < size)
            place = (y[inside] + blurs) * width + x[inside] + blurs
            ink += np.bincount(place, share[inside], len(ink))
    ink = ink.reshape(width, width)
    for _ in range(blurs):
        ink = 0.25 * (ink[:-2] + 2 * ink[1:-1] + ink[2:])
        ink = 0.25 * (ink[:, :-2] + 2 * ink[:, 1:-1] + ink[:, 2:])
    peak = (math.comb(2 * blurs, blurs) / 4**blurs) ** 2  # of one dot
    strength = np.clip(8_000 / count, 0.05, 1) * min(0.9 + 0.1 * blurs, 1.3)
    return (1 - np.exp(-strength / peak * ink)).astype(np.float32)


def _shade(ink, layer) -> np.ndarray:
    """Ink in [0, 1] -> index in the palette, u8; `layer`: which ramp, for all or for each pixel."""
    shade = np.round(ink * SHADES)
    return np.where(shade, GREYS + 1 + SHADES * np.asarray(layer, int) + shade, 0).astype(np.uint8)


def _palette(ramps: Sequence[Sequence]) -> bytes:
    from PIL import ImageColor

    def blend(colors, count):
        stops = np.array([ImageColor.getrgb(c) if isinstance(c, str) else c for c in colors]).T
        where = np.linspace(0, len(colors) - 1, count)
        return np.stack([np.interp(where, range(len(colors)), channel) for channel in stops], -1)

    parts = [blend((PAPER, INK), GREYS), blend((RULE, ramps[0][2]), 2)]
    parts += [blend(ramp, SHADES + 1)[1:] for ramp in ramps]
    return np.concatenate(parts).round().astype(np.uint8).tobytes()


def _save_film(
    path, pictures: Iterable[np.ndarray], ramps: Sequence[Sequence], labels: Sequence[str],
    title: str, fps: float, hold: float,
) -> None:  # fmt: skip
    """Writes pictures u8[h, w] in the colours of `ramps`, each above its caption, as a GIF."""
    from PIL import Image

    palette, frames = _palette(ramps), []
    for i, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        page = np.concatenate([picture, _caption(title, label, picture.shape[1])])
        bar = page[len(picture) : len(picture) + 2, 14:-14]
        bar[:] = LINE
        bar[:, : round(bar.shape[1] * i / max(len(labels) - 1, 1))] = PROGRESS
        frames.append(Image.fromarray(page, "P"))
        frames[-1].putpalette(palette)

    duration = [round(100 / fps) * 10] * len(frames)  # GIF counts in hundredths of a second
    duration[0], duration[-1] = round(hold * 250), round(hold * 1000)
    frames[0].save(
        Path(path), format="GIF", save_all=True, append_images=frames[1:], duration=duration,
        loop=0, optimize=False, disposal=1,
    )  # fmt: skip


def _caption(title: str, label: str, width: int) -> np.ndarray:
    """The title, as large as there is room beside the label, in greys: u8[CAPTION, width]."""
    from PIL import Image, ImageDraw, ImageFont

    page = Image.new("L", (width, CAPTION), 0)
    draw, small = ImageDraw.Draw(page), ImageFont.load_default(size=14)
    room = width - 40 - draw.textlength(label, small)
    fonts = (ImageFont.load_default(size=points) for points in range(17, 10, -1))
    font = next((f for f in fonts if draw.textlength(title, f) <= room), None)
    if font is None:
        font = ImageFont.load_default(size=12)
        while title and draw.textlength(title + "...", font) > room:
            title = title[:-1].rstrip()
        title += "..."
    draw.text((14, 22), title, fill=255, font=font, anchor="lm")
    draw.text((width - 14, 22), label, fill=170, font=small, anchor="rm")
    return np.round(np.asarray(page) / 255 * (GREYS - 1)).astype(np.uint8)
