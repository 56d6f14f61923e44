"""A pure training step, scanned in blocks.

A block is K steps compiled as one program. Its random values are drawn at once, from the key
`fold_in(key, first step of the block)`. The state holds no random state, so a run that stops after
any block and resumes repeats the uninterrupted run bit for bit.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from optax.contrib import MuonDimensionNumbers

from tiny_diffusion_jax import devices
from tiny_diffusion_jax.dataset import Dataset
from tiny_diffusion_jax.diffusion import Process
from tiny_diffusion_jax.point_sets import Conditioning, PointSets
from tiny_diffusion_jax.sets import strategy_of
from tiny_diffusion_jax.sets.batch import Batch, BatchSpec
from tiny_diffusion_jax.training.batches import draw_batches, draw_block, make_batch_spec

NUM_TIME_BINS = 10  # equal bins of t in which the loss is also reported, low noise first
# Steps of a block per held-out batch. A batch without a gradient takes a third of the time of a
# step, so held-out batches are about 1 % of the work.
STEPS_PER_HELDOUT = 25
HELDOUT_KEY = 2**31 - 1  # replaces the number of a step, which is always smaller


@flax.struct.dataclass
class Best:
    """EMA weights with the lowest held-out loss at the end of a block so far."""

    ema: Any
    loss: jax.Array  # f32[], infinite before the first block
    step: jax.Array  # i32[]


@flax.struct.dataclass
class TrainState:
    """All values that change during training; keys follow from the seed and the step."""

    step: jax.Array  # i32[], steps taken
    params: Any
    ema: Any  # exponential moving average of params
    opt_state: Any
    best: Best | None = None  # kept if config.train.keep_best is True

    def __repr__(self) -> str:
        num = sum(leaf.size for leaf in jax.tree.leaves(self.params))
        return f"TrainState(step {self.step}, {num:,} parameters)"

    @property
    def sampled(self) -> Any:
        """Weights for sampling: the best EMA weights if kept, else the latest EMA weights."""
        return self.ema if self.best is None else self.best.ema


class BlockMetrics(NamedTuple):
    """Metrics of a block of K steps."""

    loss: jax.Array  # f32[K]
    grad_norm: jax.Array  # f32[K], before clipping
    loss_by_time: jax.Array  # f32[NUM_TIME_BINS], mean over the block; NaN for bins without samples
    heldout_loss: jax.Array | None = None  # f32[], of the final EMA weights; None: no data


def decays(params) -> Any:
    """Tree of bools, True for weights with weight decay: matrices, except fixed features."""
    return jax.tree_util.tree_map_with_path(
        lambda path, p: p.ndim > 1 and "fixed" not in jax.tree_util.keystr(path), params
    )


def _adamw(rate, weight_decay: float) -> optax.GradientTransformation:
    return optax.adamw(rate, weight_decay=weight_decay, mask=decays)


def _muon(rate, weight_decay: float) -> optax.GradientTransformation:
    """Muon: steps along the nearest orthogonal matrix, as long as AdamW's (arXiv 2502.16982).

    All other parameters, and matrices that are not trained, use Adam.
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
    """Return config.optimizer with gradient clipping, linear warm-up and cosine decay to zero.

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


@functools.partial(jax.jit, static_argnames=("model", "config", "dim"))
def init_state(key: jax.Array, model, config, dim: int = 2) -> TrainState:
    """State before the first step, for points of `dim` coordinates.

    `config`: the `train` part of a config, frozen.
    """
    x, time = jnp.zeros((1, config.num_points, dim)), jnp.zeros(1)
    history, label = PointSets(jnp.zeros((1, 1, dim))), jnp.zeros(1, jnp.int32)
    params = model.init(key, x, time, Conditioning(label, history=history))
    # The EMA weights start equal to the weights.
    opt_state = make_optimizer(config).init(params)
    start = jnp.zeros((), jnp.int32)
    best = Best(params, jnp.float32(jnp.inf), start) if config.keep_best else None
    return TrainState(start, params, params, opt_state, best)


def loss_and_grad(
    process: Process, model, params, batch: Batch, slices: int
) -> tuple[jax.Array, Any]:
    """Return the losses of the strategy (f32[B] or more) and the gradient of their mean.

    Cut the batch into equal slices, compute a gradient for each slice, and average the gradients.
    The result is the same, but the slices do not depend on each other, so XLA runs the slices on
    separate CPU cores (`devices.cpu_slices`). XLA would run a matrix product of a few hundred rows
    on one core. Numbers that depend on the whole batch are therefore fields of `Batch`, and no
    network computes them.
    """

    strategy = strategy_of(model)

    def slice_loss(params, batch: Batch):
        losses = strategy.loss(process, model.apply, params, batch)
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
    """min(decay, (1 + step) / (10 + step)): a short memory at first, which suits short runs."""
    return jnp.minimum(decay, (1.0 + step) / (10.0 + step))


def make_train_step(process: Process, model, config, slices: int) -> Callable:
    """Return the pure function `(state, batch) -> (state, (losses f32[B], gradient norm))`.

    slices: see `loss_and_grad`.
    """
    optimizer = make_optimizer(config)

    def train_step(state: TrainState, batch: Batch):
        losses, grads = loss_and_grad(process, model, state.params, batch, slices)
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
    """Mean loss f32[] on a few batches of held-out sets, which are the same for the same `key`.

    The batches have the spec of the first block, so that the losses after all blocks are
    comparable.
    """
    num = max(1, config.block // STEPS_PER_HELDOUT)
    spec = make_batch_spec(config, model)
    batches = draw_batches(key, heldout, process.schedule.num_levels, num, spec, process)
    loss = lambda batch: spec.strategy.loss(process, model.apply, params, batch).mean()
    return jax.lax.map(loss, batches).mean()


def keep_best(state: TrainState, loss: jax.Array) -> TrainState:
    """Update the best EMA weights of `state`; `loss` is the held-out loss of its EMA weights."""
    # Folders of older versions may have the loss NaN with weights that were saved by `td.save`.
    better = (loss < state.best.loss) | (jnp.isnan(state.best.loss) & jnp.isfinite(loss))
    newer = Best(state.ema, loss, state.step)
    best = jax.tree.map(lambda new, old: jnp.where(better, new, old), newer, state.best)
    return state.replace(best=best)


def make_train_block(model, config, mesh: Mesh, slices: int | None = None) -> Callable:
    """Return `(state, dataset, process, key, steps, spec) -> (state, BlockMetrics)`, one program.

    `config`: the `train` part of a config, frozen. `steps` is `config.block`, or fewer in the last
    block. The last block draws the same values as a full block, and uses the first of them. The
    state is not donated, because it is the state to save until the block is done and its losses are
    finite. Each device of `mesh` processes its part of the sets of a batch in `slices` slices
    (None: `devices.cpu_slices`).
    """
    # Prefer wide vectors: a step takes 7 % less time with AVX-512. Other CPUs ignore the option.
    cpu = {"xla_cpu_prefer_vector_width": 512} if devices.is_cpu(mesh) else None

    @functools.partial(
        jax.jit, static_argnames=("steps", "spec"), compiler_options=cpu,
        out_shardings=devices.on_all(mesh),
    )  # fmt: skip
    def train_block(
        state: TrainState, dataset: Dataset, process: Process, key: jax.Array, steps: int,
        spec: BatchSpec,
    ):  # fmt: skip
        fitting = devices.cpu_slices(mesh, spec.num_sets, spec.num_points)
        train_step = make_train_step(process, model, config, slices or fitting)
        T, shared = process.schedule.num_levels, devices.by_set(mesh, spec.num_sets, axis=1)
        dataset = dataset.at(state.step / config.steps)
        block_key = jax.random.fold_in(key, state.step)
        batches = draw_block(block_key, dataset, T, config.block, spec, process)
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
