"""All of MNIST as scatter plots: every set is drawn from one image, a point for each draw.

The images stay on the device as bytes and sets are drawn inside `jit`, so no set is ever stored.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from tiny_diffusion_jax.data import mnist
from tiny_diffusion_jax.data.base import Dataset, PointSets, make_dataset
from tiny_diffusion_jax.errors import UserError

CLASSES = tuple("0123456789")


def build(config) -> Dataset:
    """Sets of the training images, and as `heldout` those of the test images, labelled by digit.

    p({x_1..x_N}) = mean over images of prod_n p_image(x_n): an image is chosen once per set, and
    each of its pixels in proportion to its intensity; units are pixels with y up. Intensities
    below `config.threshold` count as 0, and images that are dark then are left out.
    `config.jitter`: 'uniform' within the pixel or 'none', its centre. `config.replace`: see
    `pixels_without_replacement`. `config.digits`: '017' for these classes only, '' for all.
    Raises `UserError` where the threshold leaves no image.
    """

    def load(source, split):
        images, labels, source, notice = mnist.load_images(
            source, config.data_dir, config.cache_dir, split
        )
        threshold, notice = mnist.fit_threshold(config.threshold, source, notice)
        return *_lit(images, labels, config.digits, threshold, split), source, notice

    images, labels, source, notice = load(config.source, "train")
    test_images, test_labels, *_ = load(source, "test")  # of the same source, whatever it was
    title = "8x8 digit sets" if source == "digits" else "MNIST sets"
    fields = {
        "title": f"{title} {config.digits}".strip(), "source": source, "notice": notice,
        "num_labels": len(CLASSES), "label_names": CLASSES,
    }  # fmt: skip
    jitter = 1.0 if config.jitter == "uniform" else 0.0
    train = from_images(
        images, labels, jitter, config.replace, normalize=config.normalize, **fields
    )
    heldout = from_images(
        test_images, test_labels, jitter, config.replace, normalize=False, **fields
    )
    return train.replace(heldout=heldout.replace(shift=train.shift, scale=train.scale))


def from_images(
    images: np.ndarray, labels: np.ndarray, jitter: float, replace: bool, normalize: bool, **fields
) -> Dataset:
    """Sets of points of the images u8[n, h, w], none wholly dark, with labels [n].

    jitter: side of the square about a pixel's centre in which a point falls, 0 or 1 pixel;
    replace: see `pixels_without_replacement`; fields: see `Dataset`.
    """
    choose = Partial(pixels_with_replacement if replace else pixels_without_replacement)
    images_, labels_ = jnp.asarray(images), jnp.asarray(labels, jnp.int32)
    source = choose, images_, labels_, jnp.float32(jitter)
    return make_dataset(
        Partial(_draw_sets, *source), normalize=normalize, moments=moments(images, jitter),
        images=images_, draw_from=Partial(_draw_sets_from, *source), **fields,
    )  # fmt: skip


def _lit(images, labels, digits: str, threshold: float, split: str):
    """(images, labels) of the classes `digits`, dim pixels and then dark images taken out."""
    wanted = np.isin(labels, [int(digit) for digit in digits or CLASSES])
    levels = np.arange(256)
    kept = np.where(levels / 255 >= threshold, levels, 0).astype(np.uint8)
    images, labels = kept[images[wanted]], labels[wanted]
    lit = images.any((1, 2))
    if not lit.any():
        raise UserError(
            f"config.data.threshold = {threshold}: must be lower, for it leaves no pixel "
            f"of the {len(lit)} images of the {split} split"
        )
    return images[lit], labels[lit]


def moments(images: np.ndarray, jitter: float) -> tuple[np.ndarray, np.ndarray]:
    """(mean[2], variance[2]) of a point of a set, every image of u8[n, h, w] counting the same.

    Exact for pixels drawn with replacement: those of the mean of the normalised images.
    """
    n, height, width = images.shape
    flat = images.reshape(n, -1)
    mass = sum(  # in parts, for all of MNIST in float64 would take 400 MB
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
    """A set of each of the images numbered `image` i32[B]."""
    pixel_key, place_key = keys
    height, width = images.shape[1:]
    pixel = choose(pixel_key, images[image].reshape(len(image), -1), num_points)
    corner = jnp.stack([pixel % width, height - 1 - pixel // width], axis=-1).astype(jnp.float32)
    place = 0.5 + jitter * jax.random.uniform(place_key, corner.shape, minval=-0.5, maxval=0.5)
    # corner + place rounds up to the next pixel once in 10^5 draws.
    points = jnp.minimum(corner + place, jnp.nextafter(corner + 1, corner))
    return PointSets(points, label=labels[image])


def pixels_with_replacement(key: jax.Array, images: jax.Array, num: int) -> jax.Array:
    """i32[B, num] pixels of images u8[B, P], each in proportion to its intensity.

    The inverse CDF in whole numbers, so that the proportions are exact and dark pixels never come.
    """
    cumulative = jnp.cumsum(images.astype(jnp.int32), axis=1)
    total = cumulative[:, -1:]
    level = jax.random.randint(key, (len(images), num), 0, total)
    # On CPU comparing with every pixel, or sorting, takes 100 times as long.
    find = lambda table, level: jnp.searchsorted(
        table, level, side="right", method="scan_unrolled"
    ).astype(jnp.int32)
    return jax.vmap(find)(cumulative, level)


def pixels_without_replacement(key: jax.Array, images: jax.Array, num: int) -> jax.Array:
    """i32[B, num] different pixels of images u8[B, P], one after the other in proportion.

    The largest of log intensity + Gumbel noise (Kool et al. 2019, "Stochastic Beams and Where to
    Find Them"), in order. An image with fewer than `num` lit pixels is drawn from with replacement.
    """
    with_key, without_key = jax.random.split(key)
    repeated = pixels_with_replacement(with_key, images, num)
    if num > images.shape[1]:
        return repeated
    noise = jax.random.gumbel(without_key, images.shape)
    score = jnp.log(images.astype(jnp.float32)) + noise  # dark pixels: -inf, never chosen
    different = jax.lax.top_k(score, num)[1]
    enough = (images > 0).sum(1, keepdims=True) >= num
    return jnp.where(enough, different, repeated)
