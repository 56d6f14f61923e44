"""A pure training step, scanned in blocks.

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
from jax.sharding import Mesh
from ml_collections import FrozenConfigDict
from optax.contrib import MuonDimensionNumbers

from tiny_diffusion_jax import devices
from tiny_diffusion_jax.data.base import Dataset, PointSets
from tiny_diffusion_jax.diffusion import Process, loss_per_set
from tiny_diffusion_jax.training.batches import Batch, Plan, draw_batches, draw_block, make_plan

NUM_TIME_BINS = 10  # the loss is also reported in this many equal slices of t, data first
# Held-out batches of a block: one for so many steps. Without a gradient a batch takes a third of a
# step, so they are about 1 % of the work.
STEPS_PER_HELDOUT = 25
HELDOUT_KEY = 2**31 - 1  # in place of a step, of which there are fewer


@flax.struct.dataclass
class Best:
    """The averaged weights with the lowest held-out loss at the end of a block so far."""

    ema: Any
    loss: jax.Array  # f32[], infinite before the first block
    step: jax.Array  # i32[]


@flax.struct.dataclass
class TrainState:
    """All that changes while training. Keys are not in it: they follow from seed and step."""

    step: jax.Array  # i32[], steps taken
    params: Any
    ema: Any  # exponential moving average of params
    opt_state: Any
    best: Best | None = None  # kept with config.train.keep_best

    @property
    def sampled(self) -> Any:
        """The weights that samples are drawn with: the best averaged ones, else the last."""
        return self.ema if self.best is None else self.best.ema


class BlockMetrics(NamedTuple):
    """What a block of K steps reports."""

    loss: jax.Array  # f32[K]
    grad_norm: jax.Array  # f32[K], before clipping
    loss_by_time: jax.Array  # f32[NUM_TIME_BINS], mean over the block; NaN where no t fell
    heldout_loss: jax.Array | None = None  # f32[], of the average at its end; None: no such data


def decays(params) -> Any:
    """True for the weights that weight decay acts on: matrices, and no fixed features."""
    return jax.tree_util.tree_map_with_path(
        lambda path, p: p.ndim > 1 and "fixed" not in jax.tree_util.keystr(path), params
    )


def _adamw(rate, weight_decay: float) -> optax.GradientTransformation:
    return optax.adamw(rate, weight_decay=weight_decay, mask=decays)


def _muon(rate, weight_decay: float) -> optax.GradientTransformation:
    """Steps of matrices along the nearest orthogonal one, as long as AdamW's (arXiv 2502.16982).

    All else by Adam, as are matrices that are not trained.
    """
    return optax.contrib.muon(
        rate, ns_steps=4, weight_decay=weight_decay, consistent_rms=0.2,
        muon_weight_dimension_numbers=lambda params: jax.tree.map(
            lambda p, trained: MuonDimensionNumbers() if trained and p.ndim == 2 else None,
            params, decays(params),
        ),
    )  # fmt: skip


# name -> builder(learning rate at each step, weight decay)
OPTIMIZERS = {"adamw": _adamw, "muon": _muon}


def make_optimizer(config) -> optax.GradientTransformation:
    """config.optimizer with gradient clipping, linear warm-up and cosine decay to zero.

    `config` is the `train` part of a config. The warm-up is at most a tenth of all steps.
    """
    warmup = min(config.warmup, config.steps // 10)
    rate = optax.warmup_cosine_decay_schedule(
        0.0 if warmup else config.learning_rate, config.learning_rate, warmup, config.steps
    )
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        OPTIMIZERS[config.optimizer](rate, config.weight_decay),
    )


def init_state(key: jax.Array, model, config, dim: int = 2) -> TrainState:
    """The state before the first step; `config`: the `train` part of a config, dim: coordinates."""
    return _init_state(key, model, FrozenConfigDict(config), dim)


@functools.partial(jax.jit, static_argnames=("model", "config", "dim"))
def _init_state(key: jax.Array, model, config, dim: int) -> TrainState:
    x, time = jnp.zeros((1, config.num_points, dim)), jnp.zeros(1)
    history, label = PointSets(jnp.zeros((1, 1, dim))), jnp.zeros(1, jnp.int32)
    params = model.init(key, x, time, history=history, label=label)
    # The average starts as the weights themselves.
    opt_state = make_optimizer(config).init(params)
    start = jnp.zeros((), jnp.int32)
    best = Best(params, jnp.float32(jnp.inf), start) if config.keep_best else None
    return TrainState(start, params, params, opt_state, best)


def loss_of_batch(process: Process, apply: Callable, params, batch: Batch) -> jax.Array:
    """The loss of each set, f32[B]; of a model with latents, the points' plus the latent's own.

    Of a causal model that of each level of each point, f32[B, N, K]. The loss of a batch is the
    mean. A slice of a batch gives the same losses as the whole batch.
    """
    known = {"label": batch.label}
    if batch.count is not None:
        known["count"] = batch.count
    if batch.forced is not None:
        known["forced"] = batch.forced
    if batch.t.ndim > 1:
        return _causal_loss(process, apply, params, batch, known)
    condition, latent_loss = {"history": batch.history} | known, 0.0
    if batch.latent_eps is not None:
        latent = apply(params, batch.history, method="encode")
        # The prior learns where the latents lie; it must not move them to where they are easy.
        prior = functools.partial(apply, method="prior")
        z_0 = jax.lax.stop_gradient(latent)
        latent_loss = loss_per_set(
            process.of_latents(), prior, params, z_0, batch.latent_eps, batch.t, **known
        )
        condition["latent"] = latent + batch.latent_blur
    return latent_loss + loss_per_set(
        process, apply, params, batch.x_0, batch.eps, batch.t, batch.mask, **condition
    )


def _causal_loss(process: Process, apply: Callable, params, batch: Batch, known: dict) -> jax.Array:
    """Return the weighted loss f32[B, N, K] of each point given those before it, K times noised."""
    B, N, K, _ = batch.eps.shape
    contexts = apply(params, batch.x_0, method="contexts", **known)
    each = lambda a: a.reshape(B, N * K, *a.shape[3:])
    losses = loss_per_set(
        process, apply, params, jnp.repeat(batch.x_0, K, axis=1), each(batch.eps), each(batch.t),
        latent=contexts,
    ).reshape(B, N, K)
    return losses if batch.weight is None else losses * batch.weight[..., None]


def loss_and_grad(
    process: Process, apply: Callable, params, batch: Batch, slices: int
) -> tuple[jax.Array, Any]:
    """Loss of each set f32[B] (or what `loss_of_batch` gives) and the gradient of their mean.

    The batch is cut into equal slices with a gradient each, and the gradients are averaged: the
    same sum, but the slices do not depend on each other, so XLA runs them on separate CPU cores
    (`devices.cpu_slices`). A matrix product of a few hundred rows it would run on one. Numbers that
    depend on the whole batch are therefore fields of `Batch`, and no network computes them.
    """

    def slice_loss(params, batch: Batch):
        losses = loss_of_batch(process, apply, params, batch)
        return losses.mean(), losses

    size = batch.t.shape[0] // slices
    results = []
    for i in range(slices):
        part = jax.tree.map(lambda a, i=i: a[i * size : (i + 1) * size], batch)
        results.append(jax.value_and_grad(slice_loss, has_aux=True)(params, part))
    losses = jnp.concatenate([losses for (_, losses), _ in results])
    grads = jax.tree.map(lambda *g: sum(g) / slices, *[grad for _, grad in results])
    return losses, grads


def ema_decay(step: jax.Array, decay: float) -> jax.Array:
    """min(decay, (1 + step) / (10 + step)): a short memory first, so that short runs count."""
    return jnp.minimum(decay, (1.0 + step) / (10.0 + step))


def make_train_step(process: Process, model, config, slices: int) -> Callable:
    """The pure function `(state, batch) -> (state, (losses f32[B], gradient norm))`.

    slices: see `loss_and_grad`.
    """
    optimizer = make_optimizer(config)

    def train_step(state: TrainState, batch: Batch):
        losses, grads = loss_and_grad(process, model.apply, state.params, batch, slices)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = optax.incremental_update(
            params, state.ema, 1.0 - ema_decay(state.step, config.ema_decay)
        )
        state = TrainState(state.step + 1, params, ema, opt_state, state.best)
        return state, (losses, optax.tree.norm(grads))

    return train_step


def heldout_loss(
    process: Process, model, params, heldout: Dataset, key: jax.Array, config
) -> jax.Array:
    """Mean loss f32[] on a few batches of held-out sets, the same ones for the same `key`.

    The batches are as those of the first block, so that the blocks' losses compare.
    """
    num = max(1, config.block // STEPS_PER_HELDOUT)
    plan = make_plan(config, model)
    batches = draw_batches(key, heldout, process.schedule.num_levels, num, plan)
    loss = lambda batch: loss_of_batch(process, model.apply, params, batch).mean()
    return jax.lax.map(loss, batches).mean()


def keep_best(state: TrainState, loss: jax.Array) -> TrainState:
    """`state`, whose average has the held-out `loss`, with the best average so far."""
    better = loss < state.best.loss  # never of a loss that is no number
    newer = Best(state.ema, loss, state.step)
    best = jax.tree.map(lambda new, old: jnp.where(better, new, old), newer, state.best)
    return state.replace(best=best)


def make_train_block(model, config, mesh: Mesh, slices: int | None = None) -> Callable:
    """`(state, dataset, process, key, steps, plan) -> (state, BlockMetrics)`, one program.

    `config`: the `train` part of a config, frozen. `steps` is `config.block`, or less in the last
    block, which draws the same numbers and uses the first of them. The state is not donated: until
    the block is done and found good, it is the one to save. Each device of `mesh` works on its part
    of the sets of a batch, in so many slices; None: as many as `devices.cpu_slices` says.
    """
    # Wide vectors where the CPU has them: 7 % off a step with AVX-512, ignored elsewhere.
    cpu = {"xla_cpu_prefer_vector_width": 512} if devices.is_cpu(mesh) else None

    @functools.partial(
        jax.jit, static_argnames=("steps", "plan"), compiler_options=cpu,
        out_shardings=devices.on_all(mesh),
    )  # fmt: skip
    def train_block(
        state: TrainState, dataset: Dataset, process: Process, key: jax.Array, steps: int,
        plan: Plan,
    ):  # fmt: skip
        fitting = devices.cpu_slices(mesh, plan.num_sets, plan.num_points)
        train_step = make_train_step(process, model, config, slices or fitting)
        T, shared = process.schedule.num_levels, devices.by_set(mesh, plan.num_sets, axis=1)
        dataset = dataset.at(state.step / config.steps)
        block_key = jax.random.fold_in(key, state.step)
        batches = draw_block(block_key, dataset, T, config.block, plan)
        batches = jax.tree.map(lambda a: a[:steps], batches)
        batches = jax.lax.with_sharding_constraint(batches, shared)
        best, state = state.best, state.replace(best=None)  # the steps need not carry it
        with jax.default_matmul_precision(config.precision):
            state, (losses, grad_norm) = jax.lax.scan(train_step, state, batches)
        heldout, state = None, state.replace(best=best)
        chosen_on = dataset.heldout if dataset.validation is None else dataset.validation
        if chosen_on is not None:
            heldout_key = jax.random.fold_in(key, HELDOUT_KEY)
            heldout = heldout_loss(process, model, state.ema, chosen_on, heldout_key, config)
            state = state if best is None else keep_best(state, heldout)
        in_bin = jax.nn.one_hot((batches.t.ravel() - 1) * NUM_TIME_BINS // T, NUM_TIME_BINS)
        by_time = jnp.matmul(losses.ravel(), in_bin, precision="float32") / in_bin.sum(0)
        losses = losses.reshape(steps, -1).mean(1)
        return state, BlockMetrics(losses, grad_norm, by_time, heldout)

    return train_block
