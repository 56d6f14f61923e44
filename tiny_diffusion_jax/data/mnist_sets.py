"""All of MNIST as sets of points, drawn from the images by `image_sets`."""

import numpy as np

from tiny_diffusion_jax.data import mnist
from tiny_diffusion_jax.data.image_sets import from_splits
from tiny_diffusion_jax.dataset import Dataset
from tiny_diffusion_jax.errors import UserError, require

CLASSES = tuple("0123456789")


def build(config) -> Dataset:
    """Build sets of the training images, and of the test images as `heldout`, labelled by digit.

    Intensities below `config.threshold` count as 0. Images without a lit pixel are left out.
    `config.digits`: '017' for these classes only, '' for all. `config.max_images`: number of
    images to read from the start of the training split; 0: all.
    Raises `UserError` if the threshold, or `max_images` with `digits`, leaves no image.
    """

    def load(source, split):
        images, labels, source, notice = mnist.load_images(
            source, config.data_dir, config.cache_dir, split
        )
        threshold, notice = mnist.fit_threshold(config.threshold, source, notice)
        if split == "train" and config.max_images:
            images, labels = images[: config.max_images], labels[: config.max_images]
            present = "".join(map(str, np.unique(labels)))
            require(
                not config.digits or bool(set(config.digits) & set(present)),
                "config.data.max_images", config.max_images,
                f"0 or larger: no image of the first {len(images)} is one of config.data.digits = "
                f"{config.digits!r}",
            )  # fmt: skip
        return *_lit(images, labels, config.digits, threshold, split), source, notice

    images, labels, source, notice = load(config.source, "train")
    test_images, test_labels, *_ = load(source, "test")  # same source
    title = "8x8 digit sets" if source == "digits" else "MNIST sets"
    fields = {
        "title": f"{title} {config.digits}".strip(), "source": source, "notice": notice,
        "num_labels": len(CLASSES), "label_names": CLASSES,
    }  # fmt: skip
    return from_splits((images, labels), (test_images, test_labels), config, **fields)


def _lit(images, labels, digits: str, threshold: float, split: str):
    """(images, labels) of the classes `digits`, without dim pixels and dark images."""
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
