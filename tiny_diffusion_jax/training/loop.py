"""Train block after block, and report the metrics of each block."""

import functools
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple

import jax
import numpy as np

from tiny_diffusion_jax import devices
from tiny_diffusion_jax.errors import require
from tiny_diffusion_jax.sets.batch import BatchSpec
from tiny_diffusion_jax.training.background import run_in_thread
from tiny_diffusion_jax.training.batches import block_key, block_spec
from tiny_diffusion_jax.training.step import BlockMetrics, TrainState, make_train_block

SHORTEST = 1e-6  # least duration of a block in seconds, which avoids a division by 0


class TrainingDiverged(RuntimeError):
    """Error for a loss that is no longer a finite number.

    state: the state before the block; done: number of steps of the block before the faulty step.
    """

    exit_code = 1

    def __init__(self, message: str, state: TrainState, done: int):
        super().__init__(message)
        self.state, self.done = state, done


class Block(NamedTuple):
    """A block of steps that was sent to the device."""

    before: TrainState
    after: TrainState
    first: int  # number of steps before the block
    steps: int
    sent: float  # time at which the block was sent
    compile_seconds: float
    done: Future  # -> (BlockMetrics of numpy arrays, time at which they arrived)


def train(
    config, dataset, process, model, state: TrainState,
    on_block: Callable[[TrainState, dict], bool] | None = None, bar=None,
) -> TrainState:  # fmt: skip
    """Train from `state` to config.train.steps; return the final state.

    `config` is a whole config, frozen, of which `seed`, `train` and `data.augment_*` are read.
    `api.train` describes `on_block`, rows and errors. While `on_block` processes the metrics of a
    block, the device computes the next block. bar: a progress bar with the methods of tqdm.
    """
    mesh = devices.make_mesh()
    state, *shared = devices.replicated(mesh, (state, dataset, process, block_key(config.seed)))
    require(config.train.num_sets % mesh.size == 0, "config.train.num_sets", config.train.num_sets,
            f"a multiple of {mesh.size}, the number of devices")  # fmt: skip
    running, last_done, newest = None, 0.0, state
    step = int(state.step)
    while running or step < config.train.steps:
        following = None
        if step < config.train.steps:
            following = _send(config, model, mesh, newest, shared, step)
            newest, step = following.after, step + following.steps
            if bar is not None and following.compile_seconds:
                bar.unpause()  # compilation does not count for the time left
        if running:
            metrics, done = running.done.result()
            _require_finite(metrics, running.first, running.before)
            # The threads that wait for two short blocks may wake in reverse order.
            seconds = max(done - max(running.sent, last_done), SHORTEST)
            state, row = running.after, _row(running, metrics, seconds)
            last_done = max(last_done, done)
            if bar is not None:
                bar.set_postfix(losses(row), refresh=False)
                bar.update(running.steps)
            if on_block is not None and on_block(state, row):
                break
        running = following
    return state


def _send(config, model, mesh, state: TrainState, shared: list, first: int) -> Block:
    """Compile the block after step `first`, if it is not compiled, and start it on the device."""
    steps = min(config.train.block, config.train.steps - first)
    plan, known = block_spec(config, model, first), _program.cache_info().misses
    arguments, began = (state, *shared), time.perf_counter()
    program = _program(model, config.train, mesh, steps, plan,
                       *_signature(arguments))  # fmt: skip
    sent = time.perf_counter()
    compile_seconds = sent - began if _program.cache_info().misses > known else 0.0
    after, metrics = program(*arguments)  # returns before the block is done
    return Block(state, after, first, steps, sent, compile_seconds,
                 run_in_thread(functools.partial(_fetch, metrics)))  # fmt: skip


def _fetch(metrics: BlockMetrics) -> tuple[BlockMetrics, float]:
    return jax.tree.map(np.asarray, metrics), time.perf_counter()


@functools.lru_cache(maxsize=64)
def _program(model, config, mesh, steps: int, plan: BatchSpec, structure, leaves):
    """Compile the block for arguments of this `_signature`; the cache serves later runs, too."""
    arguments = jax.tree.unflatten(structure, leaves)
    block = make_train_block(model, config, mesh)
    return run_in_thread(block.lower(*arguments, steps=steps, spec=plan).compile).result()


def _signature(arguments) -> tuple:
    """Properties of arguments that a program depends on: structure, shapes, types, devices."""
    leaves, structure = jax.tree.flatten(arguments)
    like = lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding)
    return structure, tuple(map(like, leaves))


def _require_finite(metrics: BlockMetrics, step: int, state: TrainState) -> None:
    """Raise TrainingDiverged if the block after `step`, which started from `state`, diverged.

    A block has diverged if a loss is not finite or a gradient norm is NaN. If the steps just
    before have infinite gradients, the first of these steps is reported, because clipping may have
    shortened its gradient to 0.
    """
    loss, norm = metrics.loss, metrics.grad_norm
    bad = np.flatnonzero(~np.isfinite(loss) | np.isnan(norm))
    if bad.size:
        done = int(bad[0])
        while done and not np.isfinite(norm[done - 1]):
            done -= 1
        name, value = ("gradient norm", norm) if np.isfinite(loss[done]) else ("loss", loss)
        raise TrainingDiverged(f"{name} = {value[done]} at step {step + done + 1}", state, done)


def _row(block: Block, metrics: BlockMetrics, seconds: float) -> dict:
    """Return a row of metrics.jsonl, as plain numbers."""
    row = {
        "step": block.first + block.steps,
        "loss": float(metrics.loss.mean()),
        "grad_norm": float(metrics.grad_norm.mean()),
        "steps_per_second": block.steps / seconds,
        "loss_by_time": [float(x) if np.isfinite(x) else None for x in metrics.loss_by_time],
    }
    if metrics.heldout_loss is not None:
        loss = float(metrics.heldout_loss)
        row["heldout_loss"] = loss if np.isfinite(loss) else None
    compiled = {"compile_seconds": block.compile_seconds} if block.compile_seconds else {}
    return row | compiled


def losses(row: dict) -> dict[str, str]:
    """Return the losses of a row by name, formatted for display during training."""
    names = {"loss": "loss", "held-out loss": "heldout_loss"}
    return {name: f"{row[key]:.4f}" for name, key in names.items() if row.get(key) is not None}
