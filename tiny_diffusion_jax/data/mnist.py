"""MNIST as one density, which is one image of a digit, and as sets, with one image for each set."""

import numpy as np

from tiny_diffusion_jax.data import images
from tiny_diffusion_jax.data.image_sets import from_splits
from tiny_diffusion_jax.data.mnist_sources import load_digit, load_images
from tiny_diffusion_jax.dataset import Dataset
from tiny_diffusion_jax.errors import errors_about, require

CLASSES = tuple("0123456789")
# A pixel of the 8x8 digits is the sum of 4 x 4 finer pixels. The threshold of MNIST, 250/255, would
# leave only a few pixels of some digits and no pixel of others.
DIGITS_THRESHOLD = 0.5

def build(config) -> Dataset:
    """Build the density of one image of a digit, in pixels with y up (`images.from_intensity`)."""
    image, source, notice = load_digit(
        config.source, config.data_dir, config.cache_dir, config.digit, config.index
    )
    title = f"digit {config.digit} (8x8)" if source == "digits" else f"MNIST {config.digit}"
    threshold, notice = _fit_threshold(config.threshold, source, notice)
    fields = {"title": title, "source": source, "notice": notice}
    with errors_about(f"config.data.digit = {config.digit}, config.data.index", config.index):
        return images.from_intensity(image / 255, threshold, config, **fields)


def build_sets(config) -> Dataset:
    """Build sets of the training images, and of the test images as `heldout`, labelled by digit.

    Intensities below `config.threshold` count as 0. Images without a lit pixel are left out.
    `config.digits`: '017' for these classes only, '' for all. `config.max_images`: number of
    images to read from the start of the training split; 0: all.
    Raises `UserError` if the threshold, or `max_images` with `digits`, leaves no image.
    """
    folders = config.data_dir, config.cache_dir
    pictures, labels, source, notice = load_images(config.source, *folders, "train")
    threshold, notice = _fit_threshold(config.threshold, source, notice)
    if config.max_images:
        pictures, labels = pictures[: config.max_images], labels[: config.max_images]
        require(not config.digits or bool({*config.digits} & {*map(str, labels.tolist())}),
                "config.data.max_images", config.max_images, f"0 or larger: no image of the first "
                f"{len(pictures)} is one of config.data.digits = {config.digits!r}")  # fmt: skip
    title = "8x8 digit sets" if source == "digits" else "MNIST sets"
    return from_splits(
        _lit(pictures, labels, config.digits, threshold, "train"),
        _lit(*load_images(source, *folders, "test")[:2], config.digits, threshold, "test"), config,
        title=f"{title} {config.digits}".strip(), source=source, notice=notice,
        num_labels=len(CLASSES), label_names=CLASSES,
    )  # fmt: skip


def _fit_threshold(threshold: float, source: str, notice: str) -> tuple[float, str]:
    """(threshold, notice); lowers the threshold with a notice if the source needs this."""
    if source == "digits" and DIGITS_THRESHOLD < threshold <= 1:
        lowered = f"threshold lowered from {threshold:.3g} to {DIGITS_THRESHOLD}: their ink is grey"
        return DIGITS_THRESHOLD, f"{notice or '8x8 digits'}, {lowered}"
    return threshold, notice


def _lit(pictures, labels, digits: str, threshold: float, split: str):
    """(images, labels) of the classes `digits`, without dim pixels and dark images."""
    is_chosen = np.isin(labels, [int(digit) for digit in digits or CLASSES])
    levels = np.arange(256)
    kept = np.where(levels / 255 >= threshold, levels, 0).astype(np.uint8)
    pictures, labels = kept[pictures[is_chosen]], labels[is_chosen]
    is_lit = pictures.any((1, 2))
    require(bool(is_lit.any()), "config.data.threshold", threshold, "lower, for it leaves no pixel "
            f"of the {len(is_lit)} images of the {split} split")  # fmt: skip
    return pictures[is_lit], labels[is_lit]
