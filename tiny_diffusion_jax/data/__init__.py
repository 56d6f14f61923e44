"""Data sets by name: analytic shapes, pictures, tables of points, MNIST digits; sets of them."""

from functools import partial

from jax.tree_util import Partial

from tiny_diffusion_jax.data import images, mixture, mnist, mnist_sets, points
from tiny_diffusion_jax.data.base import Dataset, PointSets, make_dataset, single_density
from tiny_diffusion_jax.data.shapes import SHAPES
from tiny_diffusion_jax.errors import require_choice

__all__ = ["BUILDERS", "Dataset", "PointSets", "build", "make_dataset", "single_density"]


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
    "mixture": partial(mixture.build, builders=SINGLE_DENSITIES),
    "mnist_sets": mnist_sets.build,
}


def build(config) -> Dataset:
    """The data set that `config`, the `data` part of a config, asks for by `config.name`.

    Raises `UserError` for an unknown name and for every field that the data set cannot use.
    """
    require_choice("config.data.name", config.name, BUILDERS)
    return BUILDERS[config.name](config)


def labels(config):
    from typing import NamedTuple

    class L(NamedTuple):
        names: tuple
        present: tuple
    n = {"mixture": config.members.count("+") + 1, "mnist_sets": 10}.get(config.name, 0)
    return L(tuple(map(str, range(n))), tuple(range(n)))
