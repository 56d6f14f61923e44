"""Draw the batches of training; a plan holds their shapes and probabilities."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tiny_diffusion_jax.dataset import Dataset, PointSets
from tiny_diffusion_jax.diffusion import draw_times
from tiny_diffusion_jax.models.student import forced_sets
from tiny_diffusion_jax.sets.row_order import row_order
from tiny_diffusion_jax.training import augment as augmentation
from tiny_diffusion_jax.training.augment import Augment

POINTS_AT_ONCE = 2**14  # points that are drawn together, for a few steps of a block
AUGMENT_KEY = 2**30  # differs from the keys of the other parts of a batch


class Batch(NamedTuple):
    """All random values of a step. Fields that a model does not use are None."""

    x_0: jax.Array  # f32[B, N, D], normalised
    eps: jax.Array  # f32[B, N, D]; for a causal model f32[B, N, K, D]
    t: jax.Array  # i32[B]; for a causal model i32[B, N, K], K levels of each point
    mask: jax.Array | None = None  # bool[B, N]
    label: jax.Array | None = None  # i32[B], -1: no label
    history: PointSets | None = None  # clean points [B, M, D], normalised
    latent_eps: jax.Array | None = None  # f32[B, 1, L], noise for latent diffusion
    latent_blur: jax.Array | None = None  # f32[B, 1, L], noise on the decoder's latent
    count: jax.Array | None = None  # i32[B], size of the whole set
    # f32[B, N], weight of each point in the loss of a causal model; None: all weigh 1
    weight: jax.Array | None = None
    forced: jax.Array | None = None  # bool[B], the sets whose decoder reads the target


class BatchSpec(NamedTuple):
    """Shapes and probabilities of a batch, the hashable argument of `draw_batches`."""

    num_sets: int
    num_points: int
    min_points: int = 0  # 0: all sets have num_points
    shown: str = ""  # source of the history: "", "same_set", "previous_batch", see models/traits.py
    min_history: int = 1
    max_history: int = 0
    history_drop: float = 0.0
    label_drop: float = 0.0
    latent_dim: int = 0
    latent_noise: float = 0.0
    counts: bool = False  # whether the model is conditioned on the number of points of a set
    num_levels: int = 0  # K, noise levels of each point; 0: one level for each set
    augment: Augment | None = None
    row_height: float = 0.0  # height of the rows that order the points of a set; 0: any order
    teacher_forcing: float = 0.0  # share of the sets whose decoder reads the target


def set_sizes(config) -> tuple[int, ...]:
    """Numbers of points that the blocks of a run cycle through: N, 4 N, 16 N, ... <= max_points.

    `config` is the `train` part of a config, and N is config.num_points.
    """
    sizes = [config.num_points]
    while 4 * sizes[-1] <= config.max_points:
        sizes.append(4 * sizes[-1])
    return tuple(sizes)


def count_range(config, dataset: Dataset) -> tuple[int, int]:
    """Smallest and largest number of points that a run gives a network with model.sizes=True.

    `config` is the `train` part of a config.
    """
    if dataset.sizes is not None:  # the network is given the size of the whole observed set
        return int(dataset.sizes.min()), int(dataset.sizes.max())
    blocks = math.ceil(config.steps / config.block)
    return config.min_points or config.num_points, max(set_sizes(config)[:blocks])


def make_batch_spec(config, model, block: int = 0, augment: Augment | None = None) -> BatchSpec:
    """BatchSpec for the batches of block number `block` of a run.

    `config` is the `train` part of a config, and `augment` transforms the sets. With max_points the
    blocks cycle through `set_sizes`, and all batches have as many points as the first batch.
    """
    sizes, traits = set_sizes(config), model.traits
    num_points = sizes[block % len(sizes)]
    num_sets = max(config.num_sets // (num_points // config.num_points), 1)
    # A latent describes a whole set, so the prior must not learn latents of few points or none.
    whole = traits.generation == "latent"
    return BatchSpec(
        num_sets, num_points, config.min_points, traits.shown,
        config.max_history if whole else config.min_history,
        config.max_history if traits.shown else 0,
        0.0 if whole else config.history_drop, config.label_drop if model.num_labels else 0.0,
        traits.latent_dim, traits.latent_noise, model.counts,
        config.num_levels if traits.generation == "causal" else 0, augment, traits.row_height,
        traits.teacher_forcing,
    )  # fmt: skip


def block_spec(config, model, first: int) -> BatchSpec:
    """BatchSpec for the batches of the block after step `first`; `config` is a whole config."""
    augment = augmentation.make_augment(config.data)
    return make_batch_spec(config.train, model, first // config.train.block, augment)


def block_key(seed: int) -> jax.Array:
    """Return the key that all blocks of a run share; each block folds in its first step."""
    return jax.random.fold_in(jax.random.key(seed), 1)


def draw_block(
    key: jax.Array, dataset: Dataset, num_levels: int, steps: int, plan: BatchSpec
) -> Batch:
    """Draw batches like `draw_batches`, in parts of a few steps; part i has key `fold_in(key, i)`.

    The compiler for a TPU takes a minute for the draws of a million points, and 2 s for 16,000
    points.
    """
    of_step = plan.num_sets * (plan.num_points * max(plan.num_levels, 1) + plan.max_history)
    parts = math.ceil(steps / max(1, POINTS_AT_ONCE // of_step))
    at_once = math.ceil(steps / parts)
    part = lambda i: draw_batches(jax.random.fold_in(key, i), dataset, num_levels, at_once, plan)
    drawn = jax.lax.map(part, jnp.arange(parts))
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:steps], drawn)


def draw_batches(
    key: jax.Array, dataset: Dataset, num_levels: int, steps: int, plan: BatchSpec
) -> Batch:
    """Draw the random values of `steps` steps; each leaf is [steps, num_sets, ...]."""
    data_key, eps_key, time_key, size_key, history_key, label_key, latent_key = jax.random.split(
        key, 7
    )
    B, N = plan.num_sets, plan.num_points
    of_set = plan.max_history if plan.shown == "same_set" else 0
    before = 1 if plan.shown == "previous_batch" else 0
    sets = dataset.draw(data_key, (steps + before) * B, N + of_set)
    points, mask, label, count = (
        None if a is None else a.reshape(-1, B, *a.shape[1:])
        for a in (dataset.normalize(sets.points), sets.mask, sets.label, sets.count)
    )
    if plan.augment is not None:
        points = augmentation.apply(plan.augment, jax.random.fold_in(key, AUGMENT_KEY), points)
    if mask is not None:
        points = jnp.where(mask[..., None], points, 0)  # padding may be NaN
    history = None
    if of_set and mask is None:
        history = _part_of_set(history_key, points[:, :, N:], plan)
        points = points[:, :, :N]
    elif of_set:
        history, points, mask = _split_sets(history_key, points, mask, plan)
    elif before:
        history = _previous_batch(history_key, points, mask, plan)
        points, mask, label, count = (
            None if a is None else a[1:] for a in (points, mask, label, count)
        )
    if plan.min_points:
        within = jnp.arange(N) < log_uniform(size_key, (steps, B, 1), plan.min_points, N)
        mask = within if mask is None else mask & within
    if plan.row_height:
        order = row_order(
            dataset.denormalize(points), plan.row_height, mask, dataset.origin
        )
        points = jnp.take_along_axis(points, order[..., None], axis=-2)
        mask = None if mask is None else jnp.take_along_axis(mask, order, axis=-1)
    if plan.label_drop and label is not None:
        label = jnp.where(jax.random.bernoulli(label_key, plan.label_drop, label.shape), -1, label)
    if plan.counts and count is None:  # no size in the data: count the points
        count = jnp.full((steps, B), N) if mask is None else mask.sum(-1)
    latent = jax.random.normal(latent_key, (2, steps, B, 1, plan.latent_dim))
    eps, t = _noise(eps_key, time_key, points.shape, num_levels, plan.num_levels)
    forced = forced_sets(B, plan.teacher_forcing)
    return Batch(
        points, eps, t, mask, label, history,
        latent[0] if plan.latent_dim else None,
        plan.latent_noise * latent[1] if plan.latent_dim else None,
        count if plan.counts else None,
        _point_weights(mask) if plan.num_levels and mask is not None else None,
        jnp.broadcast_to(forced, (steps, B)) if plan.teacher_forcing else None,
    )  # fmt: skip


def _point_weights(mask: jax.Array) -> jax.Array:
    """Weights f32[steps, B, N]: 0 for padding, equal for all points of a batch, with mean 1."""
    share = mask.mean((1, 2), keepdims=True)
    return mask / jnp.maximum(share, 1e-6)


def _noise(eps_key, time_key, shape, num_levels: int, of_each: int) -> tuple:
    """(eps, t) of points [steps, B, N, D]: one level for each set, or `of_each` for each point."""
    steps, B, N, D = shape
    if not of_each:
        return jax.random.normal(eps_key, shape), draw_times(time_key, (steps, B), num_levels)
    # Consecutive levels are similar, so they go to different sets. The levels of a point are far
    # apart, and the levels of a set are less far apart.
    t = draw_times(time_key, (steps, of_each * N * B), num_levels)
    t = t.reshape(steps, of_each, N, B).transpose(0, 3, 2, 1)
    return jax.random.normal(eps_key, (steps, B, N, of_each, D)), t


def log_uniform(key: jax.Array, shape: tuple[int, ...], low, high) -> jax.Array:
    """i32 floor(exp(u)), with u uniform on [log low, log(high + 1)).

    Sizes in 32..64 are as frequent as sizes in 64..128. low, high: integers >= 1, scalars or
    i32[shape].
    """
    u = jax.random.uniform(key, shape, minval=jnp.log(low), maxval=jnp.log(high + 1))
    return jnp.clip(jnp.floor(jnp.exp(u)).astype(jnp.int32), low, high)


def _part_of_set(key, points, plan: BatchSpec) -> PointSets:
    """Draw a history: a random number of clean points of the same set.

    The history is empty in a share `history_drop` of the sets.
    """
    size_key, drop_key = jax.random.split(key)
    steps, B, M = points.shape[:3]
    size = log_uniform(size_key, (steps, B, 1), plan.min_history, M)
    size = jnp.where(jax.random.bernoulli(drop_key, plan.history_drop, size.shape), 0, size)
    return PointSets(points, jnp.arange(M) < size)


def _split_sets(key, points, mask, plan: BatchSpec) -> tuple[PointSets, jax.Array, jax.Array]:
    """Split observed sets of different sizes into (history, points to denoise, their mask).

    points [steps, B, num_points + max_history, D] hold the n points of a set, then padding.

    For a chain the first h points are the history, and the points after the history are denoised. h
    is log-uniform in [min_history, min(max_history, n - 1)], or 0 in a share `history_drop` of the
    sets. No point is in both parts, because the history would reveal the answer.

    For a latent the encoder reads the first max_history points, and the last num_points points are
    denoised. Both parts overlap in a small set, because the latent would otherwise miss a part of
    the set. The few numbers of a latent do not reveal single points of many.
    """
    N, M = plan.num_points, plan.max_history
    n = mask.sum(-1, keepdims=True)
    if plan.latent_dim:
        shown, start = jnp.minimum(n, M), jnp.clip(n - N, 0, M)
    else:
        size_key, drop_key = jax.random.split(key)
        most = jnp.clip(n - 1, 1, M)
        size = log_uniform(size_key, n.shape, jnp.minimum(plan.min_history, most), most)
        none = (n < 2) | jax.random.bernoulli(drop_key, plan.history_drop, n.shape)
        shown = start = jnp.where(none, 0, size)
    place = start + jnp.arange(N)  # below M + N
    history = PointSets(points[:, :, :M], jnp.arange(M) < shown)
    return history, jnp.take_along_axis(points, place[..., None], axis=2), place < n


def _previous_batch(key, points, mask, plan: BatchSpec) -> PointSets:
    """Return points of the previous batch, from any member, as the same history for all sets.

    The history is empty in a share `history_drop` of the steps.
    """
    def spread(a):
        a = a[:-1].reshape(len(a) - 1, 1, -1, *a.shape[3:])[:, :, -plan.max_history :]
        return jnp.broadcast_to(a, (len(a), plan.num_sets, *a.shape[2:]))

    before = spread(points)
    shown = ~jax.random.bernoulli(key, plan.history_drop, (len(before), 1, 1))
    there = jnp.broadcast_to(shown, before.shape[:3])
    return PointSets(before, there if mask is None else there & spread(mask))
