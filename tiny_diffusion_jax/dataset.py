"""Datasets: a pure function that draws point sets, and the units of these points."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from tiny_diffusion_jax.point_sets import PointSets


@flax.struct.dataclass
class Dataset:
    """A distribution over point sets: one density, a mixture of them, or sets from many sources.

    The arrays that `draw` needs are leaves of this pytree (`jax.tree_util.Partial`). A dataset is
    therefore an argument of `jit`, and its images are not constants of a compiled program.
    All arrays are in centred units: own units minus `origin`, see units.py.
    """

    draw: Callable[[jax.Array, int, int], PointSets]  # (key, num_sets, num_points), centred units
    shift: jax.Array  # f32[D], the mean in centred units
    scale: jax.Array  # f32[] for all axes, which keeps the proportions of shapes; or f32[D].
    log_prob: Callable[[jax.Array], jax.Array] | None = None  # exact; centred units.
    members: tuple["Dataset", ...] = ()  # members of a mixture, in the mixture's units.
    weights: jax.Array | None = None  # f32[K], the probabilities of K members or labels.
    heldout: "Dataset | None" = None  # the same distribution, from held-out data.
    # Other held-out data, which select the network weights; None: `heldout` selects the weights.
    validation: "Dataset | None" = None
    # The `Trajectories` of training/trajectories.py whose ends are learned in place of the data.
    trajectories: Any = None
    # The density that a flow starts from, in the units of this dataset; None: Gaussian noise.
    start: "Dataset | None" = None
    # All points f32[R, D] of a table without jitter, in centred units.
    rows: jax.Array | None = None
    # For data with S sources (images or observed sets), where each set comes from one source:
    # (key, index i32[B], num_points) -> a set from each of B sources. `source_labels` is i32[S].
    draw_from: Callable[[jax.Array, jax.Array, int], PointSets] | None = None
    source_labels: jax.Array | None = None
    images: jax.Array | None = None  # u8[S, H, W], each with a lit pixel
    # Observed sets: all points f32[P, D], set after set in centred units. Set s starts at
    # offsets[s], i32[S], and has sizes[s] points, i32[S].
    points: jax.Array | None = None
    offsets: jax.Array | None = None
    sizes: jax.Array | None = None
    # D float64 numbers in own units; (): centred units equal own units.
    origin: tuple[float, ...] = flax.struct.field(pytree_node=False, default=())
    title: str = flax.struct.field(pytree_node=False, default="")  # for figures: "MNIST 3"
    source: str = flax.struct.field(pytree_node=False, default="analytic")
    notice: str = flax.struct.field(pytree_node=False, default="")  # logged: "fell back to ..."
    details: str = flax.struct.field(pytree_node=False, default="")  # contents of a file, in words
    num_labels: int = flax.struct.field(pytree_node=False, default=0)  # 0: sets have no labels
    label_names: tuple[str, ...] = flax.struct.field(pytree_node=False, default=())
    # The names of the labels in options: the members of a mixture as written in the config.
    label_options: tuple[str, ...] = flax.struct.field(pytree_node=False, default=())
    # Names of the columns of a table: the coordinates, the set and, if there is one, the label.
    columns: tuple[str, ...] = flax.struct.field(pytree_node=False, default=())
    set_column: str = flax.struct.field(pytree_node=False, default="")
    label_column: str = flax.struct.field(pytree_node=False, default="")
    # Train on the members of a mixture one after the other, see `at`.
    sequential: bool = flax.struct.field(pytree_node=False, default=False)
    has_points: bool = flax.struct.field(pytree_node=False, default=True)  # False: only labels
    # Without points: the number of images or observed sets, and the mean f32[D] and standard
    # deviation of a drawn point if the network input is in own units.
    hidden_sources: int = flax.struct.field(pytree_node=False, default=0)
    moments: tuple[jax.Array, float] | None = None

    def __repr__(self) -> str:
        return f"Dataset({self.title or self.source}: {self.details or f'{self.dim} coordinates'})"

    @property
    def dim(self) -> int:
        """D, the number of coordinates of a point."""
        return self.shift.shape[0]

    @property
    def coordinates(self) -> tuple[str, ...]:
        """Names of the D coordinates: of the columns of a table, or x, y, z without names."""
        if any(not name.isdecimal() for name in self.columns):
            return self.columns
        return coordinate_names(self.dim)

    @property
    def num_sources(self) -> int:
        """Number of images or observed sets for the index of `draw_from`; 0 if there are none."""
        sources = self.images if self.sizes is None else self.sizes
        return self.hidden_sources if sources is None else len(sources)

    @property
    def sets_differ(self) -> bool:
        """Whether sets differ by more than chance: sets of members, images or observed sets."""
        return self.num_labels > 0 or self.num_sources > 0

    @property
    def label_shares(self) -> np.ndarray:
        """Probability of each label, f64[num_labels]; only for data with labels."""
        if self.weights is not None:
            shares = np.asarray(self.weights, np.float64)
        else:
            shares = np.bincount(self.source_labels, minlength=self.num_labels)
        return shares / shares.sum()

    def draw_sizes(self, key: jax.Array, label: jax.Array | None, num_sets: int) -> jax.Array:
        """Draw numbers of points i32[num_sets], the sizes of random observed sets.

        label: i32[num_sets], the label of the observed set. If a label is negative, or if no set
        has this label, the observed set may have any label. None: any label for all sets. Only for
        data with `sizes`.
        """
        u = jax.random.uniform(key, (num_sets,))
        # Sort the sizes, because a run stores only the number of sets of each size.
        sizes, first, count = jnp.sort(self.sizes), 0, self.num_sources
        if label is not None and self.source_labels is not None:
            order = jnp.lexsort((self.sizes, self.source_labels))
            sizes, ordered = self.sizes[order], self.source_labels[order]
            low, high = (jnp.searchsorted(ordered, label, side=side) for side in ("left", "right"))
            given = (label >= 0) & (high > low)
            first = jnp.where(given, low, first)
            count = jnp.where(given, high - low, count)
        # The product may round up to `count`, which is not a valid index.
        return sizes[first + jnp.minimum((u * count).astype(jnp.int32), count - 1)]

    def normalize(self, points: jax.Array) -> jax.Array:
        """(points - shift) / scale: centred units -> mean 0, mean variance 1."""
        return (points - self.shift) / self.scale

    def denormalize(self, points: jax.Array) -> jax.Array:
        """points * scale + shift: the inverse of `normalize`."""
        return points * self.scale + self.shift

    def at(self, progress: jax.Array) -> "Dataset":
        """Return the training data after the share `progress` of the steps, f32[] in [0, 1).

        The result is the dataset unless the dataset is a `sequential` mixture of K members. For a
        `sequential` mixture only member floor(progress K) is drawn, with unchanged labels.
        """
        if not self.sequential:
            return self
        num = len(self.members)
        # Add 1e-6, because progress * num in float32 may be just below the whole number.
        index = jnp.clip(jnp.floor(progress * num + 1e-6).astype(int), 0, num - 1)
        return self.reweighted(jax.nn.one_hot(index, num))

    def reweighted(self, weights: jax.Array) -> "Dataset":
        """Return the mixture with other probabilities of its members, f32[K] with sum 1."""
        known = all(member.log_prob is not None for member in self.members)
        return self.replace(
            draw=Partial(_draw_members, tuple(member.draw for member in self.members), weights),
            log_prob=Partial(
                _superposed_log_prob, tuple(member.log_prob for member in self.members), weights
            ) if known else None,
            weights=weights,
        )  # fmt: skip


def coordinate_names(dim: int) -> tuple[str, ...]:
    """Names of coordinates without columns: x, y and z, or x0, x1, ... of more than three."""
    return tuple("xyz"[:dim] if dim <= 3 else (f"x{i}" for i in range(dim)))


@partial(jax.jit, static_argnames=("num_sets", "num_points"))
def draw_points(dataset: Dataset, key: jax.Array, num_sets: int, num_points: int) -> jax.Array:
    """Draw sets of `dataset`; return only points f32[num_sets, num_points, D] in centred units."""
    return dataset.draw(key, num_sets, num_points).points


def moments_of_draws(dataset: Dataset) -> tuple[jax.Array, float]:
    """Mean f32[D] and standard deviation of a drawn point, the same in every run."""
    if dataset.moments is not None:
        return dataset.moments
    points = draw_points(dataset, jax.random.key(0), 4096, 1)
    return points.mean((0, 1)), float(jnp.sqrt(points.var((0, 1)).mean()))


@partial(jax.jit, static_argnames=("num_sets", "num_points"))
def draw_sets(dataset: Dataset, key: jax.Array, num_sets: int, num_points: int) -> PointSets:
    """Call `dataset.draw` as one program; without `jit` dozens of programs would be compiled."""
    return dataset.draw(key, num_sets, num_points)


def _draw_members(draws, weights, key, num_sets: int, num_points: int) -> PointSets:
    """Draw each set from one member, which is its label: draw all members, and keep one of them.

    With four members on a CPU, this takes 1.5 times as long as drawing only the selected member of
    each set in turn. A GPU must draw all sets in parallel, so there is no faster alternative.
    """
    label_key, *keys = jax.random.split(key, len(draws) + 1)
    label = jax.random.categorical(label_key, jnp.log(weights), shape=(num_sets,))
    pairs = zip(draws, keys, strict=True)
    points = jnp.stack([draw(key, num_sets, num_points).points for draw, key in pairs])
    return PointSets(points[label, jnp.arange(num_sets)], label=label)


def _superposed_log_prob(log_probs, weights, points: jax.Array) -> jax.Array:
    """log sum_k w_k p_k(x) of one point: the density of a mixture for independent points."""
    each = jnp.stack([log_prob(points) for log_prob in log_probs], axis=-1)
    return jax.nn.logsumexp(each + jnp.log(weights), axis=-1)
