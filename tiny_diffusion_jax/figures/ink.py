"""Draw frames of animations without matplotlib, in milliseconds and in one palette.

The palette has eight greys from paper to ink, two colours for lines, and a ramp of shades for each
kind of point. matplotlib's PillowWriter takes 2.8 times as long for a GIF, and Pillow's ellipses
1.8 times, because each of them draws every dot.
"""

from collections.abc import Sequence
from itertools import product

import numpy as np

from tiny_diffusion_jax.figures.page import INK, PAPER, RULE, one_line

GREYS, SHADES = 8, 21  # 31 colours with two line colours and one ramp: five bits per pixel
LINE, PROGRESS, CAPTION = GREYS, GREYS + 1, 40  # CAPTION: its height in pixels


def to_pixels(points, centre, half, size) -> np.ndarray:
    return ((points - centre) / half * [0.5, -0.5] + 0.5) * size


def splat(pixels, size: int, count: int | None = None) -> np.ndarray:
    """Draw points in pixel coordinates as soft dots that add up: ink in [0, 1], f32[size, size].

    Each point is divided among its four nearest pixels and blurred, so that a dot moves smoothly by
    fractions of a pixel. `count`: the largest number of points in any frame; dots are larger and
    stronger if there are fewer points.
    """
    from scipy.ndimage import gaussian_filter

    pixels = pixels[np.isfinite(pixels).all(-1)]
    count = max(len(pixels) if count is None else count, 1)
    variance = np.clip(size**2 / (220 * count), 0.5, 4)  # of the blur
    corner = np.floor(np.clip(pixels, -size, 2 * size) - 0.5).astype(int)
    part = pixels - 0.5 - corner
    ink = np.zeros(size**2)
    for step in product((0, 1), repeat=2):
        x, y = (corner + step).T
        share = np.abs(1 - np.array(step) - part).prod(1)
        inside = (x >= 0) & (x < size) & (y >= 0) & (y < size)
        ink += np.bincount(y[inside] * size + x[inside], share[inside], size**2)
    ink = gaussian_filter(ink.reshape(size, size), variance**0.5, mode="constant")
    strength = 1.3 * np.clip(8_000 / count, 0.05, 1)  # of the centre of one dot
    return (1 - np.exp(-strength * 2 * np.pi * variance * ink)).astype(np.float32)


def shade(ink, layer) -> np.ndarray:
    """Index in the palette, u8, of ink in [0, 1]; `layer`: the ramp, for all or per pixel."""
    shade = np.round(ink * SHADES)
    return np.where(shade, GREYS + 1 + SHADES * np.asarray(layer, int) + shade, 0).astype(np.uint8)


def palette(ramps: Sequence[Sequence]) -> bytes:
    from PIL import ImageColor

    def blend(colors, count):
        stops = np.array([ImageColor.getrgb(c) if isinstance(c, str) else c for c in colors]).T
        where = np.linspace(0, len(colors) - 1, count)
        return np.stack([np.interp(where, range(len(colors)), channel) for channel in stops], -1)

    parts = [blend((PAPER, INK), GREYS), blend((RULE, ramps[0][2]), 2)]
    parts += [blend(ramp, SHADES + 1)[1:] for ramp in ramps]
    return np.concatenate(parts).round().astype(np.uint8).tobytes()


def tints(color: str) -> tuple:
    """Ramp of colours from paper through a member's colour to nearly black."""
    from PIL import ImageColor

    paper, full = (np.array(ImageColor.getrgb(c)) for c in (PAPER, color))
    return PAPER, tuple(0.5 * (paper + full)), color, tuple(0.45 * full)


def caption(title: str, label: str, width: int) -> np.ndarray:
    """Draw the title, as large as it fits beside the label, in greys: u8[CAPTION, width]."""
    from PIL import Image, ImageDraw, ImageFont

    title, label = one_line(title), one_line(label)
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
