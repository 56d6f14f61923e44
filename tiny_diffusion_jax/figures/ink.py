"""Draw frames of animations by numpy, in milliseconds and in one palette.

The palette has eight greys from paper to ink, two colours for lines, and a ramp of shades for each
kind of point. matplotlib's PillowWriter takes 2.8 times as long for a GIF, and Pillow's ellipses
1.8 times, because each of them draws every dot.
"""

from collections.abc import Sequence
from itertools import product

import numpy as np

from tiny_diffusion_jax.figures import style
from tiny_diffusion_jax.figures.text import FULL, one_line, shortened, text_width

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
    """Colours of all indices: greys, two colours of lines, and the shades of each ramp."""
    from matplotlib.colors import LinearSegmentedColormap

    def blend(colors, count):
        ramp = LinearSegmentedColormap.from_list("ramp", colors, count)
        return ramp(np.arange(count), bytes=True)[:, :3]

    parts = [blend((style.PAPER, style.INK), GREYS), blend((style.RULE, ramps[0][2]), 2)]
    parts += [blend(ramp, SHADES + 1)[1:] for ramp in ramps]
    return np.concatenate(parts).tobytes()


def tints(color: str) -> tuple:
    """Ramp of colours from paper through a member's colour to nearly black."""
    from matplotlib.colors import to_rgb

    paper, full = np.array(to_rgb(style.PAPER)), np.array(to_rgb(color))
    return style.PAPER, tuple(0.5 * (paper + full)), color, tuple(0.45 * full)


def caption(title: str, label: str, width: int) -> np.ndarray:
    """Draw the title, as large as it fits beside the label, in greys: u8[CAPTION, width]."""
    from matplotlib.font_manager import findfont
    from PIL import Image, ImageDraw, ImageFont

    def write(x, text, size, fill, anchor):
        font = ImageFont.truetype(findfont("DejaVu Sans"), size)
        ImageDraw.Draw(page).text((x, 22), text, fill=fill, font=font, anchor=anchor)

    page, title, label = Image.new("L", (width, CAPTION), 0), one_line(title), one_line(label)
    room = (width - 40) / 72 - text_width(label, 13)  # one pixel of Pillow's fonts is 1/72 inch
    size = next((size for size in (16, 14) if text_width(title, size) <= FULL * room), 12)
    write(14, shortened(title, room, size), size, 255, "lm")
    write(width - 14, label, 13, 170, "rm")
    return np.round(np.asarray(page) / 255 * (GREYS - 1)).astype(np.uint8)
