"""A picture as a density: a pixel in proportion to its ink, a place within the pixel.

The border shows the paper, whatever its colour: ink is the distance of a pixel from its tone,

    ink = max(0, d - noise) / (1 - noise),    d = |c - paper| / max over all colours of |. - paper|
    noise = 6 median of d on the border,      at most 0.25; of lossy files at least 0.1

so that grain, soft shadows and a vignette, which show on the border, and the ripples of JPEG beside
sharp edges, which do not, count as nothing. 6 medians are 5 standard deviations of Gaussian noise,
and take in the middle of a page that darkens with the square of the distance from it.

Coordinates are pixels with y up: of an H x W picture, the pixel in row r and column c covers
x in [c, c + 1] and y in [H - 1 - r, H - r].
"""

import warnings
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from tiny_diffusion_jax.data.base import (
    Dataset,
    draw_index,
    inverse_cdf_table,
    make_dataset,
    mixture_log_prob,
    single_density,
)
from tiny_diffusion_jax.errors import UserError, reason_of, require

NOISE = 6.0  # medians of the border's distance from its own tone
MOST_NOISE = 0.25  # where the border shows no one tone
LOSSY = ("JPEG", "MPO", "WEBP", "AVIF", "JPEG2000")  # as Pillow calls the formats
LOSSY_NOISE = 0.1
MAX_MIXTURE = 4096  # components of a Gaussian mixture above which its log density is not offered


def build(config) -> Dataset:
    """The density of the picture at `config.path`; `UserError` where it cannot be one."""
    intensity, background = read_ink(config.path, config.invert, config.max_side)
    place = f"config.data.path = {config.path!r}"
    fields = {"title": Path(config.path).stem, "source": "image", "details": background}
    return from_intensity(intensity, config.threshold, config, place, **fields)


def from_intensity(
    intensity: np.ndarray, threshold: float, config, place: str, **fields
) -> Dataset:
    """The density p(x, y) = intensity of the pixel / sum of intensities, blurred by the jitter.

    intensity: [H, W] in [0, 1]; pixels below `threshold` count as 0.
    `config.jitter`: 'uniform' within the pixel, 'gaussian' about its centre with standard
    deviation `config.jitter_std` pixels, or 'none', the centre itself.
    place: what to blame in the `UserError` for a blank picture; fields: see `Dataset`.
    """
    std = config.jitter_std if config.jitter == "gaussian" else 0.0
    brightest = intensity.max()
    if not brightest > 0:
        raise UserError(f"{place}: must be a picture with some ink, but it is blank")
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
    # low + u rounds up to low + 1 once in 10^5 draws: out of the pixel, perhaps to density 0.
    below = jnp.nextafter(low + 1, low)
    return jnp.minimum(low + jax.random.uniform(place_key, (num, 2)), below)


def _sample_gaussian(table, center, std, key: jax.Array, num: int) -> jax.Array:
    index_key, jitter_key = jax.random.split(key)
    index = draw_index(index_key, table, num)
    return center[index] + std * jax.random.normal(jitter_key, (num, 2))


def _pixel_log_prob(log_mass: jax.Array, points: jax.Array) -> jax.Array:
    """log density per unit area, f32[...]: the pixel's log mass, -inf outside the picture."""
    height, width = log_mass.shape
    column, row = jnp.floor(points[..., 0]), height - 1 - jnp.floor(points[..., 1])
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    index = jnp.where(inside, row, 0).astype(int), jnp.where(inside, column, 0).astype(int)
    return jnp.where(inside, log_mass[index], -jnp.inf)


class Ink(NamedTuple):
    """A picture's ink, and what was taken as its background."""

    intensity: np.ndarray  # f64[H, W] in [0, 1]
    background: str  # in words


def load_intensity(path: str, invert: str, max_side: int) -> np.ndarray:
    """The intensity of `read_ink` alone."""
    return read_ink(path, invert, max_side).intensity


def read_ink(path: str, invert: str, max_side: int) -> Ink:
    """How much ink each pixel of a picture holds, longer side <= max_side.

    invert: 'yes' takes dark as ink, 'no' takes light as ink, 'auto' what differs from the border.
    Transparent pixels hold no ink; where all visible ones have one colour, the shape lies in the
    transparency and 'auto' takes that alone.
    Raises `UserError` unless Pillow can read the file.
    """
    colour, alpha, is_lossy = _read_picture(path, max_side)
    if invert != "auto":
        # Rec. 601 luma, as Pillow's 'L'; the sum is of whole numbers, so that white is exactly 1.
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
    """(tone f64[3], noise) of the border."""
    border = np.ones(alpha.shape, bool)
    border[1:-1, 1:-1] = False
    opaque = alpha[border] > 0.5
    if opaque.mean() < 0.5:
        return np.full(3, 255.0), 0.0  # no paper of its own: shown on a white page
    seen = colour[border][opaque]
    # A colour of the border, not one between two: half of it may be of another tone.
    tone = np.quantile(seen, 0.5, axis=0, method="lower")
    return tone, min(NOISE * float(np.median(_distance(seen, tone))), MOST_NOISE)


def _distance(colour: np.ndarray, tone: np.ndarray) -> np.ndarray:
    """|colour - tone| in units of the largest there can be, f64[...] of f64[..., 3]."""
    largest = np.linalg.norm(np.maximum(tone, 255 - tone))
    return np.linalg.norm(colour - tone, axis=-1) / largest


def _read_picture(path: str, max_side: int) -> tuple[np.ndarray, np.ndarray, bool]:
    """Colour f64[H, W, 3] in 0..255, opacity f64[H, W] in [0, 1], whether the file is lossy.

    Upright, and reduced to `max_side`.
    """
    from PIL import Image, ImageOps

    file = Path(path).expanduser()
    require(file.is_file(), "config.data.path", path, "an existing picture file")
    try:
        # Of twice as many pixels Pillow makes an error, which ends in a line like any other.
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
                # The mean over each new pixel's area: the only filter that keeps mass where it is.
                image = image.resize(size, Image.Resampling.BOX)
    except Exception as error:  # each of Pillow's 40 readers has errors of its own
        raise UserError(
            f"config.data.path = {path!r}: must be a picture that Pillow can read "
            f"({reason_of(error)})"
        ) from error
    pixels = np.asarray(image, np.float64)
    if image.mode == "F":
        return np.repeat(pixels[..., None] * 255, 3, axis=-1), np.ones(pixels.shape), is_lossy
    alpha = pixels[..., 3] / 255 if image.mode == "RGBA" else np.ones(pixels.shape[:2])
    return pixels[..., :3], alpha, is_lossy


def _unit_float(image):
    """A 16- or 32-bit integer or float picture as floats in [0, 1]; what is not a number is 0."""
    from PIL import Image

    values = np.nan_to_num(np.asarray(image, np.float64), nan=0.0, posinf=0.0, neginf=0.0).clip(0)
    white = 1.0 if image.mode == "F" else 65535.0
    return Image.fromarray((values / max(white, values.max())).astype(np.float32))
