"""Training: a pure step, scanned in blocks.

A block is K steps compiled as one program. Its random numbers are drawn at once, from the key
`fold_in(key, first step of the block)`: nothing about randomness lives in the state, so a run
that stops after any block and starts again repeats the uninterrupted run bit for bit.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import optax

from tiny_diffusion_jax.data.base import Dataset, PointSets
from tiny_diffusion_jax.diffusion.process import Process, draw_times, loss_per_set
from tiny_diffusion_jax.errors import require

NUM_TIME_BINS = 10  # the loss is also reported in this many equal slices of t, data first


@flax.struct.dataclass
class TrainState:
    """All that changes while training. Keys are not in it: they follow from seed and step."""

    step: jax.Array  # i32[], steps taken
    params: Any
    ema: Any  # exponential moving average of params: what samples are drawn with
    opt_state: Any


class BlockMetrics(NamedTuple):
    """What a block of K steps reports."""

    loss: jax.Array  # f32[K]
    grad_norm: jax.Array  # f32[K], before clipping
    loss_by_time: jax.Array  # f32[NUM_TIME_BINS], mean over the block; NaN where no t fell


class Batch(NamedTuple):
    """Everything random in a step. What a model does not use is None."""

    x_0: jax.Array  # f32[B, N, 2], normalised
    eps: jax.Array  # f32[B, N, 2]
    t: jax.Array  # i32[B]
    mask: jax.Array | None = None  # bool[B, N]
    label: jax.Array | None = None  # i32[B], -1 where it is not told
    history: PointSets | None = None  # clean points [B, M, 2] the model is shown, normalised
    latent_eps: jax.Array | None = None  # f32[B, 1, D], the noise of the latent's own diffusion
    latent_blur: jax.Array | None = None  # f32[B, 1, D], added to the latent the decoder sees


class Plan(NamedTuple):
    """Shapes and probabilities of a batch: what `draw_batches` needs to know, hashable."""

    num_sets: int
    num_points: int
    min_points: int = 0  # 0: all sets have num_points
    history: str = ""  # "", "same_set" or "previous_batch": see models/__init__.py
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
    return Plan(
        num_sets, config.num_points * factor, config.min_points, traits.shown,
        config.min_history, config.max_history if traits.shown else 0,
        config.history_drop, config.label_drop if model.num_labels else 0.0,
        traits.latent_dim, traits.latent_noise,
    )  # fmt: skip


def decays(params) -> Any:
    """True for the weights that weight decay acts on: matrices, and no fixed features."""
    return jax.tree_util.tree_map_with_path(
        lambda path, p: p.ndim > 1 and "fixed" not in jax.tree_util.keystr(path), params
    )


def make_optimizer(config) -> optax.GradientTransformation:
    """AdamW with gradient clipping, linear warm-up and cosine decay to zero.

    `config` is the `train` part of a config. Raises UserError for values out of range.
    """
    for field, minimum in (("steps", 1), ("num_sets", 1), ("num_points", 1), ("block", 1),
                           ("shards", 1), ("warmup", 0), ("checkpoint_every", 1), ("keep", 1),
                           ("min_points", 0), ("max_points", 0), ("min_history", 1)):
        value = config[field]
        require(value >= minimum, f"config.train.{field}", value, f"at least {minimum}")
    require(config.steps < 2**31, "config.train.steps", config.steps, "below 2^31, as an int32")
    require(config.warmup < config.steps, "config.train.warmup", config.warmup,
            f"below config.train.steps = {config.steps}")
    require(config.learning_rate > 0, "config.train.learning_rate", config.learning_rate,
            "above 0")
    require(config.weight_decay >= 0, "config.train.weight_decay", config.weight_decay,
            "0 or more")
    require(config.clip_norm > 0, "config.train.clip_norm", config.clip_norm, "above 0")
    require(0 <= config.ema_decay < 1, "config.train.ema_decay", config.ema_decay, "in [0, 1)")
    require(config.num_sets % config.shards == 0, "config.train.shards", config.shards,
            f"a divisor of config.train.num_sets = {config.num_sets}")
    require(config.min_points <= config.num_points, "config.train.min_points", config.min_points,
            f"at most config.train.num_points = {config.num_points}")
    require(config.max_history >= config.min_history, "config.train.max_history",
            config.max_history, f"at least config.train.min_history = {config.min_history}")
    for field in ("history_drop", "label_drop"):
        require(0 <= config[field] <= 1, f"config.train.{field}", config[field], "in [0, 1]")
    rate = optax.warmup_cosine_decay_schedule(
        0.0 if config.warmup else config.learning_rate,
        config.learning_rate, config.warmup, config.steps,
    )
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(rate, weight_decay=config.weight_decay, mask=decays),
    )


def init_state(key: jax.Array, model, optimizer, num_points: int = 1) -> TrainState:
    """The state before the first step."""
    x, time = jnp.zeros((1, num_points, 2)), jnp.zeros(1)
    history, label = PointSets(jnp.zeros((1, 1, 2))), jnp.zeros(1, jnp.int32)
    params = jax.jit(model.init)(key, x, time, history=history, label=label)
    # The average starts as a copy: donated buffers must not be shared.
    ema = jax.tree.map(jnp.copy, params)
    return TrainState(jnp.zeros((), jnp.int32), params, ema, optimizer.init(params))


def draw_batches(
    key: jax.Array, dataset: Dataset, num_levels: int, steps: int, plan: Plan
) -> Batch:
    """The random numbers of `steps` steps, each leaf [steps, num_sets, ...]."""
    data_key, eps_key, time_key, size_key, history_key, label_key, latent_key = jax.random.split(
        key, 7
    )
    B, N = plan.num_sets, plan.num_points
    of_set = plan.max_history if plan.history == "same_set" else 0
    before = 1 if plan.history == "previous_batch" else 0
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
        there = jnp.arange(N) < log_uniform(size_key, (steps, B, 1), plan.min_points, N)
        mask = there if mask is None else mask & there
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
    there = jnp.arange(M) < size
    return PointSets(points, there if mask is None else there & mask[:, :, first:])


def _previous_batch(key, points, plan: Plan) -> PointSets:
    """Points of the batch before, of any member, for all sets alike; none in some of the steps."""
    before = points[:-1].reshape(len(points) - 1, 1, -1, 2)[:, :, -plan.max_history :]
    before = jnp.broadcast_to(before, (len(before), plan.num_sets, *before.shape[2:]))
    shown = ~jax.random.bernoulli(key, plan.history_drop, (len(before), 1, 1))
    return PointSets(before, jnp.broadcast_to(shown, before.shape[:3]))


def loss_of_batch(process: Process, apply: Callable, params, batch: Batch) -> jax.Array:
    """The loss of each set, f32[B]; of a model with latents, the points' plus the latent's own."""
    condition, latent_loss = {"history": batch.history, "label": batch.label}, 0.0
    if batch.latent_eps is not None:
        latent = apply(params, batch.history, method="encode")
        # The prior learns where the latents lie; it must not move them to where they are easy.
        prior = functools.partial(apply, method="prior")
        z_0 = jax.lax.stop_gradient(latent)
        latent_loss = loss_per_set(
            process, prior, params, z_0, batch.latent_eps, batch.t, label=batch.label
        )
        condition["latent"] = latent + batch.latent_blur
    return latent_loss + loss_per_set(
        process, apply, params, batch.x_0, batch.eps, batch.t, batch.mask, **condition
    )


def loss_and_grad(
    process: Process, apply: Callable, params, batch: Batch, shards: int
) -> tuple[jax.Array, Any]:
    """Loss of each set f32[B] and the gradient of their mean.

    The batch is cut into `shards` equal slices with a gradient each, and the gradients are
    averaged: the same sum, but the slices do not depend on each other, so XLA runs them on
    separate CPU cores. A matrix product of a few hundred rows it would run on one.
    """

    def slice_loss(params, batch: Batch):
        losses = loss_of_batch(process, apply, params, batch)
        return losses.mean(), losses

    size = batch.t.shape[0] // shards
    results = []
    for i in range(shards):
        part = jax.tree.map(lambda a, i=i: a[i * size : (i + 1) * size], batch)
        results.append(jax.value_and_grad(slice_loss, has_aux=True)(params, part))
    losses = jnp.concatenate([losses for (_, losses), _ in results])
    grads = jax.tree.map(lambda *g: sum(g) / shards, *[grad for _, grad in results])
    return losses, grads


def ema_decay(step: jax.Array, decay: float) -> jax.Array:
    """min(decay, (1 + step) / (10 + step)): a short memory first, so that short runs count."""
    return jnp.minimum(decay, (1.0 + step) / (10.0 + step))


def make_train_step(process: Process, model, optimizer, config) -> Callable:
    """The pure function `(state, batch) -> (state, (losses f32[B], gradient norm))`."""

    def train_step(state: TrainState, batch: Batch):
        losses, grads = loss_and_grad(process, model.apply, state.params, batch, config.shards)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = optax.incremental_update(
            params, state.ema, 1.0 - ema_decay(state.step, config.ema_decay)
        )
        state = TrainState(state.step + 1, params, ema, opt_state)
        return state, (losses, optax.tree.norm(grads))

    return train_step


def make_train_block(process: Process, model, optimizer, config) -> Callable:
    """`(state, dataset, key, steps, plan) -> (state, BlockMetrics)`: `steps` steps in one program.

    `steps` is `config.block`, or less in the last block, which draws the same numbers and uses
    the first of them. The state is donated: use the returned one.
    """
    train_step = make_train_step(process, model, optimizer, config)
    T = process.schedule.num_levels

    # Wide vectors where the CPU has them: 7 % off a step with AVX-512, ignored elsewhere.
    cpu = {"xla_cpu_prefer_vector_width": 512} if jax.default_backend() == "cpu" else None

    @functools.partial(
        jax.jit, static_argnames=("steps", "plan"), donate_argnames="state", compiler_options=cpu
    )
    def train_block(state: TrainState, dataset: Dataset, key: jax.Array, steps: int, plan: Plan):
        dataset = dataset.at(state.step / config.steps)
        key = jax.random.fold_in(key, state.step)
        batches = draw_batches(key, dataset, T, config.block, plan)
        batches = jax.tree.map(lambda a: a[:steps], batches)
        state, (losses, grad_norm) = jax.lax.scan(train_step, state, batches)
        in_bin = jax.nn.one_hot((batches.t - 1) * NUM_TIME_BINS // T, NUM_TIME_BINS)
        by_time = jnp.einsum("kb,kbn->n", losses, in_bin) / in_bin.sum((0, 1))
        return state, BlockMetrics(losses.mean(1), grad_norm, by_time)

    return train_block
