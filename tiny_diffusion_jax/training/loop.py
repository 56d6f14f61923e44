"""Train block after block: the device computes a block while the caller handles the last one."""

import functools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple

import jax
import numpy as np

from tiny_diffusion_jax import devices
from tiny_diffusion_jax.errors import require
from tiny_diffusion_jax.training.augment import Augment
from tiny_diffusion_jax.training.batches import block_key, make_batch_spec
from tiny_diffusion_jax.training.step import BlockMetrics, TrainState, make_train_block

MIN_SECONDS = 1e-6  # least duration of a block, which avoids a division by 0
MAX_PROGRAMS = 64  # compiled programs in memory
_programs = {}  # key of a block -> future of its program, for later runs of the process, too


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
    steps: int
    sent: float  # time at which the block was sent
    compile_seconds: float  # time that it waited for the compiler
    metrics: Future  # -> (BlockMetrics of numpy arrays, time at which they arrived)


def train_blocks(
    config, seed: int, augment: Augment | None, dataset, process, model, state: TrainState
) -> Iterator[tuple[TrainState, TrainState, dict]]:
    """Train from `state` to step config.steps, and yield each block: (state before, state, row).

    `config` is the `train` part of a config, frozen. A row has plain numbers: step, loss,
    grad_norm, steps_per_second, loss_by_time, with held-out sets heldout_loss, and after a
    compilation compile_seconds. The next block is sent to the device before a block is yielded, so
    the device does not wait for the caller. If the next block needs another program, this program
    is compiled while the device computes. Raises TrainingDiverged after a block with a loss that is
    not finite.
    """
    mesh = devices.make_mesh()
    require(config.num_sets % mesh.size == 0, "config.train.num_sets", config.num_sets,
            f"a multiple of {mesh.size}, the number of devices")  # fmt: skip
    state, *constants = devices.replicated(mesh, (state, dataset, process, block_key(seed)))
    signature = _signature((state, *constants))

    def program(step: int) -> tuple[int, Future, bool]:
        """Steps of the block that starts at `step`, its program, and whether it is a new one."""
        steps = min(config.block, config.steps - step)
        spec = make_batch_spec(config, model, step // config.block, augment)
        key = (model, config, mesh, steps, spec, signature)
        known = _programs.get(key)
        if is_new := known is None or known.done() and known.exception() is not None:
            train_block = make_train_block(model, config, mesh)
            lowered = train_block.lower(state, *constants, steps=steps, spec=spec)
            _programs[key] = run_in_thread(lowered.compile)
            if len(_programs) > MAX_PROGRAMS:
                del _programs[next(iter(_programs))]
        return steps, _programs[key], is_new

    step, sent, last_done = int(state.step), None, 0.0
    next_is_new = False
    while sent or step < config.steps:
        running, sent = sent, None
        if step < config.steps:
            began = time.perf_counter()
            steps, compiled, is_new = program(step)
            train_block, now = compiled.result(), time.perf_counter()
            after, metrics = train_block(state, *constants)  # returns before the block is done
            sent = Block(state, after, steps, now, (now - began) * (is_new or next_is_new),
                         run_in_thread(functools.partial(_fetch, metrics)))  # fmt: skip
            state, step = after, step + steps
            next_is_new = step < config.steps and program(step)[2]
        if running:
            metrics, done = running.metrics.result()
            _require_finite(metrics, running.before)
            # The threads that wait for two short blocks may wake in reverse order.
            seconds = max(done - max(running.sent, last_done), MIN_SECONDS)
            last_done = max(last_done, done)
            yield running.before, running.after, _row(running, metrics, seconds)


def run_in_thread(work: Callable[[], Any]) -> Future:
    """Run `work()` in a new thread, and return the future of its result.

    Python handles signals in the main thread, but not while the main thread is inside the compiler
    or waits for the device. If the handler raises, the thread of `work` is abandoned.
    """
    result = Future()

    def run():
        try:
            result.set_result(work())
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return result


def _fetch(metrics: BlockMetrics) -> tuple[BlockMetrics, float]:
    return jax.tree.map(np.asarray, metrics), time.perf_counter()


def _signature(arguments) -> tuple:
    """Properties of arguments that a program depends on: structure, shapes, types, devices."""
    leaves, structure = jax.tree.flatten(arguments)
    like = lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding)
    return structure, tuple(map(like, leaves))


def _require_finite(metrics: BlockMetrics, before: TrainState) -> None:
    """Raise TrainingDiverged if the block that started from the state `before` diverged.

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
        step = int(before.step) + done + 1
        raise TrainingDiverged(f"{name} = {value[done]} at step {step}", before, done)


def _row(block: Block, metrics: BlockMetrics, seconds: float) -> dict:
    """Return the row of metrics.jsonl for a block, as plain numbers."""
    finite_or_none = lambda x: float(x) if np.isfinite(x) else None
    row = {
        "step": int(block.before.step) + block.steps,
        "loss": float(metrics.loss.mean()),
        "grad_norm": float(metrics.grad_norm.mean()),
        "steps_per_second": block.steps / seconds,
        "loss_by_time": list(map(finite_or_none, metrics.loss_by_time)),
    }
    if metrics.heldout_loss is not None:
        row["heldout_loss"] = finite_or_none(metrics.heldout_loss)
    if block.compile_seconds:
        row["compile_seconds"] = block.compile_seconds
    return row
