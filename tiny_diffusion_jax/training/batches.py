"""What a step of training sees: shapes and probabilities of a batch, and the drawing of it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from tiny_diffusion_jax.data.base import Dataset, PointSets
from tiny_diffusion_jax.diffusion import draw_times


class Batch(NamedTuple):
    """Everything random in a step. What a model does not use is None."""

    x_0: jax.Array  # f32[B, N, D], normalised
    eps: jax.Array  # f32[B, N, D]
    t: jax.Array  # i32[B]
    mask: jax.Array | None = None  # bool[B, N]
    label: jax.Array | None = None  # i32[B], -1 where it is not given
    history: PointSets | None = None  # clean points [B, M, D] the model is shown, normalised
    latent_eps: jax.Array | None = None  # f32[B, 1, D], the noise of the latent's own diffusion
    latent_blur: jax.Array | None = None  # f32[B, 1, D], added to the latent the decoder sees


class Plan(NamedTuple):
    """Shapes and probabilities of a batch: what `draw_batches` needs to know, hashable."""

    num_sets: int
    num_points: int
    min_points: int = 0  # 0: all sets have num_points
    shown: str = ""  # clean points: "", "same_set" or "previous_batch", see models/traits.py
    min_history: int = 1
    max_history: int = 0
    history_drop: float = 0.0
    label_drop: float = 0.0
    latent_dim: int = 0
    latent_noise: float = 0.0


def make_plan(config, model, block: int = 0) -> Plan:
    """The batches of block number `block` of a run.

    `config` is the `train` part of a config. With max_points the blocks take turns at sets of
    num_points, 4 num_points, 16 num_points, ... <= max_points, with as many points in a batch.
    """
    sizes, traits = 1, model.traits
    while config.num_points * 4**sizes <= config.max_points:
        sizes += 1
    factor = 4 ** (block % sizes)
    num_sets = max(config.num_sets // factor // config.shards, 1) * config.shards
    # A latent is that of a whole set: its prior must not learn latents of a few points or none.
    whole = traits.generation == "latent"
    return Plan(
        num_sets, config.num_points * factor, config.min_points, traits.shown,
        config.max_history if whole else config.min_history,
        config.max_history if traits.shown else 0,
        0.0 if whole else config.history_drop, config.label_drop if model.num_labels else 0.0,
        traits.latent_dim, traits.latent_noise,
    )  # fmt: skip


def draw_batches(
    key: jax.Array, dataset: Dataset, num_levels: int, steps: int, plan: Plan
) -> Batch:
    """The random numbers of `steps` steps, each leaf [steps, num_sets, ...]."""
    data_key, eps_key, time_key, size_key, history_key, label_key, latent_key = jax.random.split(
        key, 7
    )
    B, N = plan.num_sets, plan.num_points
    of_set = plan.max_history if plan.shown == "same_set" else 0
    before = 1 if plan.shown == "previous_batch" else 0
    sets = dataset.draw(data_key, (steps + before) * B, N + of_set)
    by_step = lambda a: None if a is None else a.reshape(-1, B, *a.shape[1:])
    points, mask, label = by_step(dataset.normalize(sets.points)), by_step(sets.mask), \
        by_step(sets.label)
    history = None
    if of_set:
        history = _part_of_set(history_key, points[:, :, N:], mask, N, plan)
        points, mask = points[:, :, :N], None if mask is None else mask[:, :, :N]
    elif before:
        history = _previous_batch(history_key, points, plan)
        points, mask, label = (None if a is None else a[1:] for a in (points, mask, label))
    if plan.min_points:
        within = jnp.arange(N) < log_uniform(size_key, (steps, B, 1), plan.min_points, N)
        mask = within if mask is None else mask & within
    if plan.label_drop and label is not None:
        label = jnp.where(jax.random.bernoulli(label_key, plan.label_drop, label.shape), -1, label)
    latent = jax.random.normal(latent_key, (2, steps, B, 1, plan.latent_dim))
    return Batch(
        points, jax.random.normal(eps_key, points.shape),
        draw_times(time_key, (steps, B), num_levels), mask, label, history,
        latent[0] if plan.latent_dim else None,
        plan.latent_noise * latent[1] if plan.latent_dim else None,
    )  # fmt: skip


def log_uniform(key: jax.Array, shape: tuple[int, ...], low: int, high: int) -> jax.Array:
    """i32 floor(exp(u)), u uniform on [log low, log(high + 1)): as many of 32..64 as of 64..128."""
    u = jax.random.uniform(key, shape, minval=jnp.log(low), maxval=jnp.log(high + 1))
    return jnp.clip(jnp.floor(jnp.exp(u)).astype(jnp.int32), low, high)


def _part_of_set(key, points, mask, first: int, plan: Plan) -> PointSets:
    """A random number of clean points of the same set, and none in a share `history_drop`."""
    size_key, drop_key = jax.random.split(key)
    steps, B, M = points.shape[:3]
    size = log_uniform(size_key, (steps, B, 1), plan.min_history, M)
    size = jnp.where(jax.random.bernoulli(drop_key, plan.history_drop, size.shape), 0, size)
    shown = jnp.arange(M) < size
    return PointSets(points, shown if mask is None else shown & mask[:, :, first:])


def _previous_batch(key, points, plan: Plan) -> PointSets:
    """Points of the batch before, of any member, for all sets alike; none in some of the steps."""
    before = points[:-1].reshape(len(points) - 1, 1, -1, points.shape[-1])
    before = before[:, :, -plan.max_history :]
    before = jnp.broadcast_to(before, (len(before), plan.num_sets, *before.shape[2:]))
    shown = ~jax.random.bernoulli(key, plan.history_drop, (len(before), 1, 1))
    return PointSets(before, jnp.broadcast_to(shown, before.shape[:3]))
