"""Draw frames of animations without matplotlib, in milliseconds and in one palette.

The palette has eight greys from paper to ink, two colours for lines, and a ramp of shades for each
kind of point.
"""

import math
from collections.abc import Sequence

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
    pixels = pixels[np.isfinite(pixels).all(-1)]
    count = max(len(pixels) if count is None else count, 1)
    blurs = int(np.clip(size**2 / (110 * count), 1, 8))  # each has variance 1/2
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
