"""Datasets by name: analytic shapes, pictures, tables of points, MNIST digits, and sets of points.

`about` gives the facts that are needed before a dataset is built.
"""

import logging
from functools import partial
from typing import NamedTuple

import numpy as np
from jax.tree_util import Partial

from tiny_diffusion_jax.data import (
    folders,
    generated,
    images,
    mixture,
    mnist,
    points,
    sets,
    start,
)
from tiny_diffusion_jax.data.densities import make_dataset, single_density
from tiny_diffusion_jax.data.label_option import Labels
from tiny_diffusion_jax.data.shapes import SHAPES
from tiny_diffusion_jax.dataset import Dataset
from tiny_diffusion_jax.errors import UserError, require_choice
from tiny_diffusion_jax.point_sets import PointSets

__all__ = [
    "About", "BUILDERS", "Dataset", "Labels", "PointSets", "about", "build", "labels",
    "make_dataset", "single_density", "with_start",
]  # fmt: skip
log = logging.getLogger("tiny_diffusion_jax")


def _build_shape(name: str, config) -> Dataset:
    sample, log_prob = SHAPES[name]
    return make_dataset(
        single_density(sample), normalize=config.normalize,
        log_prob=Partial(log_prob), title=name.replace("_", " "),
    )  # fmt: skip


def _refuse_function(config) -> Dataset:
    raise UserError("config.data.name", config.name, "data from a file or of this program",
                    "A function of Python is given to td.build or td.load, data=FUNCTION")


SINGLE_DENSITIES = {
    **{name: partial(_build_shape, name) for name in SHAPES},
    "image": images.build,
    "points": points.build,
    "mnist": mnist.build,
}
BUILDERS = {
    **SINGLE_DENSITIES,
    # Members of a mixture lie in the plane.
    "mixture": partial(mixture.build, builders=SINGLE_DENSITIES | {
        "points": partial(points.build, dim=2), "run": generated.build}),
    "function": _refuse_function,
    "mnist_sets": mnist.build_sets,
    "sets": sets.build,
}


def build(config) -> Dataset:
    """Build the dataset `config.name` from `config`, the `data` part of a config.

    Logs a warning if other data replace the chosen data. Raises `UserError` for an unknown name,
    and if a file or its content does not agree with `config`. checks.py checks ranges.
    """
    require_choice("config.data.name", config.name, BUILDERS)
    dataset = BUILDERS[config.name](config)
    log_notices(dataset)
    return with_start(config, dataset)


def with_start(config, dataset: Dataset) -> Dataset:
    """Add the density that a flow starts from, `config.start`, if `dataset` lacks it."""
    of_dim = {"points": partial(points.build, dim=dataset.dim)}
    return start.add(config, dataset, SINGLE_DENSITIES | of_dim)


def log_notices(dataset: Dataset) -> None:
    """Log what was decided about the data, which the user may want to change."""
    for notice in filter(None, dataset.notice.split("\n")):
        log.warning("notice: %s", notice)


ALL_JITTERS = ("uniform", "gaussian", "none")
JITTERS_OF_IMAGES = ("uniform", "none")


class About(NamedTuple):
    """Facts about a dataset that are known before the dataset is built."""

    labels: Labels = Labels()
    dim: int | None = 2  # coordinates of a point; None for a table that has not been read
    many_sources: bool = False  # each set comes from one of many images or observed sets
    columns: tuple[str, ...] = ()  # names of the coordinates in a table, if they are known
    largest: int = 0  # points of the largest observed set; 0 without observed sets
    jitters: tuple[str, ...] = ALL_JITTERS  # allowed jitters of a drawn point


def about(config) -> About:
    """Return the facts about the dataset of `config`, the `data` part of a config.

    For sets from a file, this reads the file (only once, see sets.py) and may raise `UserError`.
    """
    if config.name == "mixture":
        names = mixture.member_names(config.members)
        titles = tuple(map(mixture.member_title, names))
        return About(Labels(names, tuple(range(len(names))), titles))
    if config.name == "mnist_sets":
        present = sorted(set(config.digits or mnist.CLASSES))
        return About(Labels(mnist.CLASSES, tuple(map(int, present))), many_sources=True,
                     jitters=JITTERS_OF_IMAGES)  # fmt: skip
    if config.name == "sets":
        return _about_sets(sets.load(config))
    if config.name == "points":
        dim = config.columns.count(",") + 1 if config.columns else None
        return About(dim=dim, jitters=("gaussian", "none"),
                     columns=points.chosen_by_name(config.columns))  # fmt: skip
    return About()


def _about_sets(read) -> About:
    present = () if read.labels is None else np.unique(read.labels[~read.heldout]).tolist()
    common = {"labels": Labels(read.names, tuple(present)), "many_sources": True}
    if isinstance(read, folders.Pictures):
        return About(**common, jitters=JITTERS_OF_IMAGES)
    return About(**common, dim=read.points.shape[1], columns=read.columns,
                 largest=int(read.sizes.max()), jitters=("none",))  # fmt: skip


def about_built(dataset: Dataset) -> About:
    """Return the facts about a dataset that was built or restored from a run."""
    numbers = tuple(map(str, range(dataset.num_labels)))
    names = dataset.label_options or dataset.label_names or numbers
    present = np.flatnonzero(dataset.label_shares).tolist() if names else ()
    largest = 0 if dataset.sizes is None else int(np.max(dataset.sizes))
    return About(Labels(names, tuple(present), dataset.label_names), dataset.dim,
                 dataset.num_sources > 0, dataset.columns, largest)  # fmt: skip


def labels(config) -> Labels:
    """Return the labels of the dataset of `config`, the `data` part of a config."""
    return about(config).labels
