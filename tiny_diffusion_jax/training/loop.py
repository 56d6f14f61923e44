"""The training loop: block after block, with what each reports."""

import functools
import time
from collections.abc import Callable

import jax
import numpy as np
from ml_collections import FrozenConfigDict

from tiny_diffusion_jax import devices
from tiny_diffusion_jax.errors import require
from tiny_diffusion_jax.training.augment import make_augment
from tiny_diffusion_jax.training.batches import Plan, make_plan
from tiny_diffusion_jax.training.step import BlockMetrics, TrainState, make_train_block
from tiny_diffusion_jax.training.waiting import patiently


class TrainingDiverged(RuntimeError):
    """The loss is no longer a finite number.

    state: that before the block; done: how many of its steps came before the one at fault.
    """

    exit_code = 1

    def __init__(self, message: str, state: TrainState, done: int):
        super().__init__(message)
        self.state, self.done = state, done


def train(
    config, dataset, process, model, state: TrainState,
    on_block: Callable[[TrainState, dict], bool] | None = None, progress: bool = True,
) -> TrainState:  # fmt: skip
    """Trains from `state` to config.train.steps; returns the final state.

    `config` is a whole config, of which `seed`, `train` and `data.augment_*` are read. For
    `on_block`, rows and errors see `experiment.train`.
    """
    from tqdm import tqdm

    mesh, key = devices.make_mesh(), jax.random.fold_in(jax.random.key(config.seed), 1)
    state, *shared = devices.replicated(mesh, (state, dataset, process, key))
    augment, config = make_augment(config.data), config.train
    require(config.num_sets % mesh.size == 0, "config.train.num_sets", config.num_sets,
            f"a multiple of {mesh.size}, the number of devices")  # fmt: skip
    frozen, step = FrozenConfigDict(config), int(state.step)
    with tqdm(total=config.steps, initial=step, unit="step", disable=not progress,
              smoothing=0.05, dynamic_ncols=True, desc="train") as bar:
        while step < config.steps:
            steps = min(config.block, config.steps - step)
            plan = make_plan(config, model, step // config.block, augment)
            known, start = _program.cache_info().misses, time.perf_counter()
            arguments = state, *shared
            program = _program(model, frozen, mesh, steps, plan, *_signature(arguments))
            compile_seconds = 0.0
            if _program.cache_info().misses > known:
                compile_seconds = time.perf_counter() - start
                bar.unpause()  # the time left follows from the steps alone
            start = time.perf_counter()
            after, metrics = program(*arguments)
            metrics = patiently(functools.partial(jax.tree.map, np.asarray, metrics))
            seconds = time.perf_counter() - start
            _require_finite(metrics, step, state)
            state = after
            step += steps
            row = _row(step, metrics, steps / seconds, compile_seconds)
            bar.set_postfix(losses(row), refresh=False)
            bar.update(steps)
            if on_block is not None and on_block(state, row):
                break
    return state


@functools.lru_cache(maxsize=64)
def _program(model, config, mesh, steps: int, plan: Plan, structure, leaves):
    """The compiled block for arguments of this `_signature`: kept, so that a second run has it."""
    arguments = jax.tree.unflatten(structure, leaves)
    block = make_train_block(model, config, mesh)
    return patiently(block.lower(*arguments, steps=steps, plan=plan).compile)


def _signature(arguments) -> tuple:
    """What a program depends on of its arguments: structure, shapes, types, devices."""
    leaves, structure = jax.tree.flatten(arguments)
    like = lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding)
    return structure, tuple(map(like, leaves))


def _require_finite(metrics: BlockMetrics, step: int, state: TrainState) -> None:
    """Raises TrainingDiverged if the block after `step`, with `state`, has a loss that is not.

    Or a gradient that leads to one: of infinite length, it may have been shortened to nothing.
    """
    loss, norm = metrics.loss, metrics.grad_norm
    bad = np.flatnonzero(~np.isfinite(loss) | np.isnan(norm))
    if bad.size:
        done = int(bad[0])
        while done and not np.isfinite(norm[done - 1]):
            done -= 1
        name, value = ("gradient norm", norm) if np.isfinite(loss[done]) else ("loss", loss)
        raise TrainingDiverged(f"{name} = {value[done]} at step {step + done + 1}", state, done)


def _row(step: int, metrics: BlockMetrics, steps_per_second: float, compile_seconds: float) -> dict:
    """A row of metrics.jsonl: plain numbers."""
    row = {
        "step": step,
        "loss": float(metrics.loss.mean()),
        "grad_norm": float(metrics.grad_norm.mean()),
        "steps_per_second": steps_per_second,
        "loss_by_time": [float(x) if np.isfinite(x) else None for x in metrics.loss_by_time],
    }
    if metrics.heldout_loss is not None:
        loss = float(metrics.heldout_loss)
        row["heldout_loss"] = loss if np.isfinite(loss) else None
    return row | ({"compile_seconds": compile_seconds} if compile_seconds else {})


def losses(row: dict) -> dict[str, str]:
    """The losses of a row by name, as they are shown while training."""
    names = {"loss": "loss", "held-out loss": "heldout_loss"}
    return {name: f"{row[key]:.4f}" for name, key in names.items() if row.get(key) is not None}
