"""A picture as a density: the mass of a pixel is proportional to its ink.

The border shows the colour of the paper. Ink is the distance of a pixel from this colour,

    ink = max(0, d - noise) / (1 - noise),    d = |c - paper| / max over all colours of |. - paper|
    noise = 6 median of d on the border,      at most 0.25; of lossy files at least 0.1

so grain, soft shadows and a vignette do not count as ink, because they also change the border. JPEG
ripples near sharp edges do not change the border, so lossy files have a higher minimum of noise.
6 medians are 5 standard deviations of Gaussian noise. They also cover the middle of a page that
darkens with the square of the distance from the middle.

Coordinates are pixels with y up. In an H x W picture, the pixel in row r and column c covers
x in [c, c + 1] and y in [H - 1 - r, H - r].
"""

import warnings
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from tiny_diffusion_jax.data.densities import (
    draw_index,
    inverse_cdf_table,
    make_dataset,
    mixture_log_prob,
    single_density,
)
from tiny_diffusion_jax.dataset import Dataset
from tiny_diffusion_jax.errors import UserError, errors_about, reason_of, require

NOISE = 6.0  # medians of the distance of the border from its median colour
MOST_NOISE = 0.25  # limit for a border without a common colour
LOSSY = ("JPEG", "MPO", "WEBP", "AVIF", "JPEG2000")  # format names in Pillow
LOSSY_NOISE = 0.1
MAX_MIXTURE = 4096  # largest number of Gaussian components with a log density


def build(config) -> Dataset:
    """Build the density of the picture `config.path`; raises `UserError` if this is impossible."""
    intensity, background = read_ink(config.path, config.invert, config.max_side)
    fields = {"title": Path(config.path).stem, "source": "image", "details": background}
    with errors_about("config.data.path", config.path):
        return from_intensity(intensity, config.threshold, config, **fields)


def from_intensity(intensity: np.ndarray, threshold: float, config, **fields) -> Dataset:
    """Make the density p(x, y) = intensity of the pixel / sum of intensities, with jitter.

    intensity: [H, W] in [0, 1]; pixels below `threshold` count as 0.
    `config.jitter`: 'uniform' within the pixel, 'gaussian' around its centre with standard
    deviation `config.jitter_std` pixels, or 'none' for the centre.
    fields: see `Dataset`. Raises `UserError` without a field for a blank picture.
    """
    std = config.jitter_std if config.jitter == "gaussian" else 0.0
    brightest = intensity.max()
    if not brightest > 0:
        raise UserError(allowed="a picture with some ink, but it is blank")
    require(
        brightest >= threshold, "config.data.threshold", threshold,
        f"at most {brightest:.4g}, the strongest pixel of this picture",
    )  # fmt: skip

    mass = np.where(intensity >= threshold, intensity, 0.0)
    mass = mass / mass.sum()
    rows, columns = np.nonzero(mass)
    corners = np.stack([columns, len(mass) - 1 - rows], axis=1).astype(np.float64)
    weights = mass[rows, columns]
    table, corner = jnp.asarray(inverse_cdf_table(weights)), jnp.asarray(corners, jnp.float32)

    log_prob, jitter_variance = None, std**2
    if config.jitter == "uniform":
        sample, jitter_variance = Partial(_sample_uniform, table, corner), 1 / 12
        with np.errstate(divide="ignore"):
            log_prob = Partial(_pixel_log_prob, jnp.asarray(np.log(mass), jnp.float32))
    else:
        sample = Partial(_sample_gaussian, table, corner + 0.5, jnp.float32(std))
        if std > 0 and len(weights) <= MAX_MIXTURE:
            log_weights = jnp.asarray(np.log(weights), jnp.float32)
            log_prob = Partial(mixture_log_prob, corner + 0.5, jnp.float32(std), log_weights)

    mean = weights @ (corners + 0.5)
    variance = weights @ (corners + 0.5 - mean) ** 2 + jitter_variance
    return make_dataset(
        single_density(sample), normalize=config.normalize, moments=(mean, variance),
        log_prob=log_prob, **fields,
    )  # fmt: skip


def _sample_uniform(table, corner, key: jax.Array, num: int) -> jax.Array:
    index_key, place_key = jax.random.split(key)
    low = corner[draw_index(index_key, table, num)]
    # low + u rounds up to low + 1 once in 10^5 draws, which is in another pixel.
    below = jnp.nextafter(low + 1, low)
    return jnp.minimum(low + jax.random.uniform(place_key, (num, 2)), below)


def _sample_gaussian(table, center, std, key: jax.Array, num: int) -> jax.Array:
    index_key, jitter_key = jax.random.split(key)
    index = draw_index(index_key, table, num)
    return center[index] + std * jax.random.normal(jitter_key, (num, 2))


def _pixel_log_prob(log_mass: jax.Array, points: jax.Array) -> jax.Array:
    """Log density per unit area, f32[...]: log mass of the pixel, or -inf outside the picture."""
    height, width = log_mass.shape
    column, row = jnp.floor(points[..., 0]), height - 1 - jnp.floor(points[..., 1])
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    index = jnp.where(inside, row, 0).astype(int), jnp.where(inside, column, 0).astype(int)
    return jnp.where(inside, log_mass[index], -jnp.inf)


class Ink(NamedTuple):
    """Ink of a picture, and its background."""

    intensity: np.ndarray  # f64[H, W] in [0, 1]
    background: str  # in words


def read_ink(path: str, invert: str, max_side: int) -> Ink:
    """Read the ink of each pixel of a picture, reduced to a longer side <= max_side.

    invert: ink is dark for 'yes', light for 'no', and different from the border for 'auto'.
    Transparent pixels have no ink. If all visible pixels have one colour, the transparency shows
    the shape, and 'auto' uses only the transparency.
    Raises `UserError` unless Pillow can read the file.
    """
    colour, alpha, is_lossy = _read_picture(path, max_side)
    if invert != "auto":
        # Rec. 601 luma, as Pillow's 'L'; a sum of whole numbers, so that white is exactly 1.
        light = colour @ np.array([299.0, 587.0, 114.0]) / 255_000
        dark_is_ink = invert == "yes"
        return Ink((1 - light if dark_is_ink else light) * alpha,
                   f"{'white' if dark_is_ink else 'black'} is the background")  # fmt: skip
    if alpha.min() < 1:
        visible = colour[alpha > 0.5 * alpha.max()]
        if visible.size and np.ptp(visible, axis=0).max() < 0.05 * 255:
            return Ink(alpha, "one colour: what is transparent is the background")
    tone, noise = _paper(colour, alpha)
    if is_lossy:
        noise = max(noise, LOSSY_NOISE)
    ink = np.maximum(_distance(colour, tone) - noise, 0) / (1 - noise)
    words = f"tone ({', '.join(f'{c:.0f}' for c in tone)}) of 255 is the background"
    return Ink(ink * alpha, words + (f", and what is within {noise:.1%} of it" if noise else ""))


def _paper(colour: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, float]:
    """Return (tone f64[3], noise) of the border."""
    border = np.ones(alpha.shape, bool)
    border[1:-1, 1:-1] = False
    opaque = alpha[border] > 0.5
    if opaque.mean() < 0.5:
        return np.full(3, 255.0), 0.0  # transparent border: a white page
    seen = colour[border][opaque]
    # "lower" gives a colour of the border: a mean of two colours may not exist in the border.
    tone = np.quantile(seen, 0.5, axis=0, method="lower")
    return tone, min(NOISE * float(np.median(_distance(seen, tone))), MOST_NOISE)


def _distance(colour: np.ndarray, tone: np.ndarray) -> np.ndarray:
    """|colour - tone| over its largest possible value, f64[...] for colours f64[..., 3]."""
    largest = np.linalg.norm(np.maximum(tone, 255 - tone))
    return np.linalg.norm(colour - tone, axis=-1) / largest


def _read_picture(path: str, max_side: int) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return colour f64[H, W, 3] in 0..255, opacity f64[H, W] in [0, 1], and if the file is lossy.

    The picture is upright, and reduced to `max_side`.
    """
    from PIL import Image, ImageOps

    file = Path(path).expanduser()
    require(file.is_file(), "config.data.path", path, "an existing picture file")
    try:
        # Ignore only the warning: Pillow raises an error for twice as many pixels.
        large = {"action": "ignore", "category": Image.DecompressionBombWarning}
        with warnings.catch_warnings(**large), Image.open(file) as opened:
            is_lossy = opened.format in LOSSY
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I") or image.mode == "F":
                image = _unit_float(image)
            elif image.has_transparency_data:
                image = image.convert("RGBA")
            else:
                image = image.convert("RGB")
            if max(image.size) > max_side:
                size = [max(1, round(side * max_side / max(image.size))) for side in image.size]
                # BOX takes the mean over each new pixel: the only filter that moves no mass.
                image = image.resize(size, Image.Resampling.BOX)
    except Exception as error:  # each of Pillow's 40 readers has different errors
        raise UserError("config.data.path", path,
                        f"a picture that Pillow can read ({reason_of(error)})") from error
    pixels = np.asarray(image, np.float64)
    if image.mode == "F":
        return np.repeat(pixels[..., None] * 255, 3, axis=-1), np.ones(pixels.shape), is_lossy
    alpha = pixels[..., 3] / 255 if image.mode == "RGBA" else np.ones(pixels.shape[:2])
    return pixels[..., :3], alpha, is_lossy


def _unit_float(image):
    """Convert a 16- or 32-bit integer or float picture to floats in [0, 1]; NaN becomes 0."""
    from PIL import Image

    values = np.nan_to_num(np.asarray(image, np.float64), nan=0.0, posinf=0.0, neginf=0.0).clip(0)
    white = 1.0 if image.mode == "F" else 65535.0
    return Image.fromarray((values / max(white, values.max())).astype(np.float32))
