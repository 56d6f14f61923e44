"""Collections of images as sets: each set has points that are drawn from one image.

The images are stored as bytes on the device, and sets are drawn inside `jit`, so sets are never
stored. Units are pixels with y up.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from tiny_diffusion_jax.data.densities import find_index, make_dataset, with_heldout
from tiny_diffusion_jax.dataset import Dataset
from tiny_diffusion_jax.point_sets import PointSets

ORDER_KEY = 2  # differs from the keys of both drawing functions
MAX_PIXELS = 2**27  # of all sets drawn at once: 0.5 GB of sums, ten times the need of MNIST


def from_splits(train: tuple, heldout: tuple | None, config, **fields) -> Dataset:
    """Make sets of the images `train`, and sets of other images as `heldout` in the same units.

    train, heldout: pairs (images u8[n, h, w], each with a lit pixel; labels [n] or None).
    p({x_1..x_N}) = mean over images of prod_n p_image(x_n): each set has one image, and each point
    has a pixel of this image, drawn in proportion to its intensity.
    `config.jitter`: 'uniform' within the pixel, or 'none' for the centre of the pixel.
    `config.replace`: see `pixels_without_replacement`; fields: see `Dataset`.
    """
    jitter = 1.0 if config.jitter == "uniform" else 0.0
    make = lambda pair, normalize: from_images(
        *pair, jitter, config.replace, normalize=normalize, **fields
    )
    dataset = make(train, config.normalize)
    return dataset if heldout is None else with_heldout(dataset, make(heldout, False))


def from_images(
    images: np.ndarray, labels: np.ndarray | None, jitter: float, replace: bool, normalize: bool,
    **fields,
) -> Dataset:  # fmt: skip
    """Make sets of points of images u8[n, h, w], each with a lit pixel; labels are [n] or None.

    jitter: side of the square around a pixel's centre for a uniform point, 0 or 1 pixel;
    replace: see `pixels_without_replacement`; fields: see `Dataset`.
    """
    choose = Partial(pixels_with_replacement if replace else pixels_without_replacement)
    images_ = jnp.asarray(images)
    labels_ = None if labels is None else jnp.asarray(labels, jnp.int32)
    source = choose, images_, labels_, jnp.float32(jitter)
    return make_dataset(
        Partial(_draw_sets, *source), normalize=normalize, moments=moments(images, jitter),
        images=images_, source_labels=labels_, draw_from=Partial(_draw_sets_from, *source),
        **fields,
    )  # fmt: skip


def moments(images: np.ndarray, jitter: float) -> tuple[np.ndarray, np.ndarray]:
    """(mean[2], variance[2]) of a point of a set; all images u8[n, h, w] have equal weight.

    The moments of the mean of the normalised images are exact for pixels drawn with replacement.
    """
    n, height, width = images.shape
    flat = images.reshape(n, -1)
    mass = sum(  # in chunks, because MNIST in float64 takes 400 MB
        (part / part.sum(1, keepdims=True, dtype=np.float64)).sum(0)
        for part in np.array_split(flat, 1 + n // 4096)
    )
    index = np.arange(height * width)
    centers = np.stack([index % width + 0.5, height - 0.5 - index // width], axis=1)
    mean = mass @ centers / n
    return mean, mass @ (centers - mean) ** 2 / n + jitter**2 / 12


def _draw_sets(choose, images, labels, jitter, key, num_sets: int, num_points: int) -> PointSets:
    image_key, *keys = jax.random.split(key, 3)
    image = jax.random.randint(image_key, (num_sets,), 0, len(images))
    return _draw_points(choose, images, labels, jitter, keys, image, num_points)


def _draw_sets_from(choose, images, labels, jitter, key, index, num_points: int) -> PointSets:
    return _draw_points(choose, images, labels, jitter, jax.random.split(key), index, num_points)


def _draw_points(choose, images, labels, jitter, keys, image, num_points: int) -> PointSets:
    """Draw a set from each of the images with indices `image` i32[B]."""
    pixel_key, place_key = keys
    height, width = images.shape[1:]
    at_once = MAX_PIXELS // (height * width)
    if len(image) > max(1, at_once):  # in batches, to bound memory
        one = lambda given: jax.tree.map(lambda leaf: leaf[0], _draw_points(
            choose, images, labels, jitter, jax.random.split(given[0]), given[1][None], num_points
        ))  # fmt: skip
        each = jax.random.split(pixel_key, len(image)), image
        return jax.lax.map(one, each, batch_size=max(1, at_once // 4))
    pixel = choose(pixel_key, images[image].reshape(len(image), -1), num_points)
    corner = jnp.stack([pixel % width, height - 1 - pixel // width], axis=-1).astype(jnp.float32)
    place = 0.5 + jitter * jax.random.uniform(place_key, corner.shape, minval=-0.5, maxval=0.5)
    # corner + place rounds up to the next pixel once in 10^5 draws.
    points = jnp.minimum(corner + place, jnp.nextafter(corner + 1, corner))
    return PointSets(points, label=None if labels is None else labels[image])


def pixels_with_replacement(key: jax.Array, images: jax.Array, num: int) -> jax.Array:
    """Draw pixels i32[B, num] of images u8[B, P], in proportion to their intensities.

    The inverse CDF is in whole numbers, so the proportions are exact and dark pixels are never
    drawn.
    """
    cumulative = jnp.cumsum(images.astype(jnp.int32), axis=1)
    total = cumulative[:, -1:]
    level = jax.random.randint(key, (len(images), num), 0, total)
    return jax.vmap(find_index)(cumulative, level)


def pixels_without_replacement(key: jax.Array, images: jax.Array, num: int) -> jax.Array:
    """Draw different pixels i32[B, num] of images u8[B, P], in proportion to their intensities.

    The drawn pixels have the largest log intensity + Gumbel noise (Kool et al. 2019, "Stochastic
    Beams and Where to Find Them"). Bright pixels come first in this order, so the pixels are
    shuffled. Images with fewer than `num` lit pixels are drawn with replacement.
    """
    with_key, without_key = jax.random.split(key)
    repeated = pixels_with_replacement(with_key, images, num)
    if num > images.shape[1]:
        return repeated
    noise = jax.random.gumbel(without_key, images.shape)
    score = jnp.log(images.astype(jnp.float32)) + noise  # -inf for dark pixels, never drawn
    different = jax.lax.top_k(score, num)[1]
    order = jax.random.uniform(jax.random.fold_in(key, ORDER_KEY), different.shape).argsort(axis=1)
    different = jnp.take_along_axis(different, order, axis=1)
    enough = (images > 0).sum(1, keepdims=True) >= num
    return jnp.where(enough, different, repeated)
