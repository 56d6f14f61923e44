"""Data sets by name: analytic shapes, pictures, tables of points, MNIST digits; sets of them."""

import logging
from functools import partial
from typing import NamedTuple

from jax.tree_util import Partial

from tiny_diffusion_jax.data import images, mixture, mnist, mnist_sets, points, replay
from tiny_diffusion_jax.data.base import Dataset, PointSets, make_dataset, single_density
from tiny_diffusion_jax.data.shapes import SHAPES
from tiny_diffusion_jax.errors import require_choice

__all__ = [
    "BUILDERS", "Dataset", "Labels", "PointSets", "build", "labels", "make_dataset",
    "single_density",
]  # fmt: skip
log = logging.getLogger("tiny_diffusion_jax")


def _build_shape(name: str, config) -> Dataset:
    sample, log_prob = SHAPES[name]
    return make_dataset(
        single_density(sample), normalize=config.normalize,
        log_prob=None if log_prob is None else Partial(log_prob), title=name.replace("_", " "),
    )  # fmt: skip


SINGLE_DENSITIES = {
    **{name: partial(_build_shape, name) for name in SHAPES},
    "image": images.build,
    "points": points.build,
    "mnist": mnist.build,
}
BUILDERS = {
    **SINGLE_DENSITIES,
    "mixture": partial(mixture.build, builders=SINGLE_DENSITIES | {"run": replay.build}),
    "mnist_sets": mnist_sets.build,
}


def build(config) -> Dataset:
    """The data set that `config`, the `data` part of a config, asks for by `config.name`.

    Logs a warning where other data had to stand in. Raises `UserError` for an unknown name, and
    where a file or its content is not what `config` says; ranges are checked in checks.py.
    """
    require_choice("config.data.name", config.name, BUILDERS)
    dataset = BUILDERS[config.name](config)
    if dataset.notice:
        log.warning("!!! %s", dataset.notice)
    return dataset


class Labels(NamedTuple):
    """What the sets of some data can be called; none where sets are draws of one density."""

    names: tuple[str, ...] = ()  # label k is names[k]
    present: tuple[int, ...] = ()  # the labels that sets do have


def labels(config) -> Labels:
    """The labels of the data of `config`, the `data` part of a config, without reading any."""
    if config.name == "mixture":
        names = mixture.member_names(config.members)
        return Labels(names, tuple(range(len(names))))
    if config.name == "mnist_sets":
        present = sorted(set(config.digits or mnist_sets.CLASSES))
        return Labels(mnist_sets.CLASSES, tuple(map(int, present)))
    return Labels()
