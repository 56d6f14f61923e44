"""Store the training step at which values ceased to be finite, repeat the step, and describe it."""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import FrozenConfigDict

from tiny_diffusion_jax import devices
from tiny_diffusion_jax.api import Experiment, init
from tiny_diffusion_jax.errors import UserError, reason_of
from tiny_diffusion_jax.files import atomic
from tiny_diffusion_jax.run.checkpoints import from_arrays, named_leaves
from tiny_diffusion_jax.sets.batch import Batch, BatchSpec
from tiny_diffusion_jax.training.augment import make_augment
from tiny_diffusion_jax.training.batches import block_key, draw_block, make_batch_spec
from tiny_diffusion_jax.training.step import loss_and_grad, make_train_block

NAME = "diverged.npz"


class Step(NamedTuple):
    """Inputs that determine the loss and the gradient of a step."""

    number: Any  # i32[], the first step is 1
    params: Any  # before the step
    batch: Batch


def write(folder: Path, experiment: Experiment, state, done: int) -> None:
    """Write step number `done` + 1 of the block that starts with `state`.

    Redo the steps before this step on the devices of this process alone, because other processes
    may not call this function.
    """
    config, dataset, process, model, _ = experiment
    first = int(state.step)
    mesh, state = devices.to_draw(jax.device_get(state))
    batch = _draw_batch(experiment, first, done)
    if done:
        block = make_train_block(model, FrozenConfigDict(config.train), mesh)
        key, spec = block_key(config.seed), _spec(experiment, first)
        state, _ = block(state, dataset, process, key, done, spec)
    step = Step(np.int32(first + done + 1), state.params, batch)
    with atomic(folder / NAME) as temporary:
        np.savez(temporary, seed=config.seed, **jax.device_get(named_leaves(step)))


def read(folder: Path, experiment: Experiment) -> Step:
    """Read the step in the folder. Raises UserError if there is no file or the file is damaged."""
    file, block = folder / NAME, experiment.config.train.block
    if not file.exists():
        raise UserError("--workdir", str(folder), f"a run with a {NAME}, but all steps were finite")
    try:
        with np.load(file) as arrays:
            first = (int(arrays[".number"]) - 1) // block * block  # blocks differ in their shapes
            params = jax.eval_shape(lambda: init(experiment)).params
            batch = jax.eval_shape(lambda: _draw_batch(experiment, first, 0))
            return from_arrays(arrays, Step(np.int32(0), params, batch))
    except Exception as error:  # damaged .npz files raise errors of many types
        raise UserError(str(file), allowed=f"a step of this run, but is damaged "
                        f"({reason_of(error)})", hint="Train again to write the file") from error


def describe(experiment: Experiment, step: Step) -> list[str]:
    """Repeat the step, and describe its loss and which of its values are not finite."""
    _, _, process, model, _ = experiment
    losses, grads, norm = _loss_and_grad(process, step.params, step.batch, model=model)
    losses, levels = np.asarray(losses), np.asarray(step.batch.t)
    bad = ~np.isfinite(losses)
    lines = [f"step {int(step.number)}: loss = {losses.mean()}, gradient norm = {float(norm)}"]
    if bad.any():
        lines.append(f"losses not finite: {bad.sum()} of {bad.size}, at the noise levels "
                     f"{', '.join(map(str, np.unique(levels[bad])))} of "
                     f"{process.schedule.num_levels}")  # fmt: skip
    for name, tree in (("batch", step.batch), ("weights", step.params), ("gradient", grads)):
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            if num_bad := int((~jnp.isfinite(leaf)).sum()):
                path = jax.tree_util.keystr(path, simple=True, separator="/")
                lines.append(f"{name} not finite: {path.removeprefix('params/')}, {num_bad} of "
                             f"{leaf.size} numbers")  # fmt: skip
    if len(lines) == 1:
        lines.append("all values of the repeated step are finite: the update after the step was "
                     "not, or another device rounds differently")  # fmt: skip
    return lines


def _draw_batch(experiment: Experiment, first: int, done: int) -> Batch:
    """Batch of step number `done` + 1 of the block that starts after step `first`."""
    (config, dataset, process, *_), spec = experiment, _spec(experiment, first)

    @jax.jit  # rounds as the program of the block
    def draw(key, dataset, first):
        dataset, num_levels = dataset.at(first / config.train.steps), process.schedule.num_levels
        key = jax.random.fold_in(key, first)
        return draw_block(key, dataset, num_levels, config.train.block, spec, process)

    batches = draw(block_key(config.seed), dataset, first)
    return jax.tree.map(lambda a: a[done], batches)


def _spec(experiment: Experiment, first: int) -> BatchSpec:
    """Spec of the batches of the block that starts after step `first`."""
    config = experiment.config
    number, augment = first // config.train.block, make_augment(config.data)
    return make_batch_spec(config.train, experiment.model, number, augment)


@partial(jax.jit, static_argnames="model")
def _loss_and_grad(process, params, batch: Batch, *, model) -> tuple:
    losses, grads = loss_and_grad(process, model, params, batch, slices=1)
    return losses, grads, optax.tree.norm(grads)
