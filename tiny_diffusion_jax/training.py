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

from tiny_diffusion_jax.data.base import Dataset
from tiny_diffusion_jax.diffusion import Process, draw_times, loss_per_set
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
    """Everything random in a step."""

    x_0: jax.Array  # f32[B, N, 2], normalised
    eps: jax.Array  # f32[B, N, 2]
    t: jax.Array  # i32[B]
    mask: jax.Array | None
    label: jax.Array | None


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
                           ("shards", 1), ("warmup", 0), ("checkpoint_every", 1), ("keep", 1)):
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
    params = jax.jit(model.init)(key, x, time)
    # The average starts as a copy: donated buffers must not be shared.
    ema = jax.tree.map(jnp.copy, params)
    return TrainState(jnp.zeros((), jnp.int32), params, ema, optimizer.init(params))


def draw_batches(
    key: jax.Array, dataset: Dataset, num_levels: int, steps: int, num_sets: int, num_points: int
) -> Batch:
    """The random numbers of `steps` steps, each leaf [steps, num_sets, ...]."""
    data_key, eps_key, time_key = jax.random.split(key, 3)
    sets = dataset.draw(data_key, steps * num_sets, num_points)
    by_step = lambda a: None if a is None else a.reshape(steps, num_sets, *a.shape[1:])
    x_0 = by_step(dataset.normalize(sets.points))
    eps = jax.random.normal(eps_key, x_0.shape)
    t = draw_times(time_key, (steps, num_sets), num_levels)
    return Batch(x_0, eps, t, by_step(sets.mask), by_step(sets.label))


def loss_and_grad(
    process: Process, apply: Callable, params, batch: Batch, shards: int
) -> tuple[jax.Array, Any]:
    """Loss of each set f32[B] and the gradient of their mean.

    The batch is cut into `shards` equal slices with a gradient each, and the gradients are
    averaged: the same sum, but the slices do not depend on each other, so XLA runs them on
    separate CPU cores. A matrix product of a few hundred rows it would run on one.
    """

    def slice_loss(params, batch: Batch):
        losses = loss_per_set(
            process, apply, params, batch.x_0, batch.eps, batch.t, batch.mask, label=batch.label
        )
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
    """`(state, dataset, key, steps) -> (state, BlockMetrics)`: `steps` steps in one program.

    `steps` is `config.block`, or less in the last block, which draws the same numbers and uses
    the first of them. The state is donated: use the returned one.
    """
    train_step = make_train_step(process, model, optimizer, config)
    T = process.schedule.num_levels

    # Wide vectors where the CPU has them: 7 % off a step with AVX-512, ignored elsewhere.
    cpu = {"xla_cpu_prefer_vector_width": 512} if jax.default_backend() == "cpu" else None

    @functools.partial(
        jax.jit, static_argnames="steps", donate_argnames="state", compiler_options=cpu
    )
    def train_block(state: TrainState, dataset: Dataset, key: jax.Array, steps: int):
        batches = draw_batches(
            jax.random.fold_in(key, state.step), dataset, T,
            config.block, config.num_sets, config.num_points,
        )
        batches = jax.tree.map(lambda a: a[:steps], batches)
        state, (losses, grad_norm) = jax.lax.scan(train_step, state, batches)
        in_bin = jax.nn.one_hot((batches.t - 1) * NUM_TIME_BINS // T, NUM_TIME_BINS)
        by_time = jnp.einsum("kb,kbn->n", losses, in_bin) / in_bin.sum((0, 1))
        return state, BlockMetrics(losses.mean(1), grad_norm, by_time)

    return train_block
