"""Find the training step at which values ceased to be finite, and describe the step."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import FrozenConfigDict

from tiny_diffusion_jax import devices
from tiny_diffusion_jax.sets.batch import Batch, BatchSpec
from tiny_diffusion_jax.training.batches import (
    block_key,
    block_spec,
    draw_block,
)
from tiny_diffusion_jax.training.step import loss_and_grad, make_train_block


class Step(NamedTuple):
    """Inputs that determine the loss and the gradient of a step."""

    number: Any  # i32[], the first step is 1
    params: Any  # before the step
    batch: Batch


def find(config, dataset, process, model, state, done: int) -> Step:
    """Return step number `done` + 1 of the block that starts with `state`, as in `loop.train`.

    Redo the steps before this step on the devices of this process alone, because other processes
    may not call this function.
    """
    first = int(state.step)
    mesh, state = devices.to_draw(jax.device_get(state))
    batch = batch_of(config, dataset, process, model, first, done)
    if done:
        block = make_train_block(model, FrozenConfigDict(config.train), mesh)
        plan = block_spec(config, model, first)
        state, _ = block(state, dataset, process, block_key(config.seed), done, plan)
    return Step(np.int32(first + done + 1), state.params, batch)


def batch_of(config, dataset, process, model, first: int, done: int) -> Batch:
    """Batch of step number `done` + 1 of the block that starts after step `first`."""
    return _batch(
        block_key(config.seed), dataset, first, done, config=FrozenConfigDict(config.train),
        levels=process.schedule.num_levels, plan=block_spec(config, model, first),
    )  # fmt: skip


@partial(jax.jit, static_argnames=("config", "levels", "plan"))
def _batch(key, dataset, first, done, *, config, levels: int, plan: BatchSpec) -> Batch:
    dataset = dataset.at(first / config.steps)
    batches = draw_block(jax.random.fold_in(key, first), dataset, levels, config.block, plan)
    return jax.tree.map(lambda a: a[done], batches)


@partial(jax.jit, static_argnames="model")
def _numbers(process, params, batch: Batch, *, model) -> tuple:
    losses, grads = loss_and_grad(process, model, params, batch, slices=1)
    return losses, grads, optax.tree.norm(grads)


def lines(experiment, step: Step) -> list[str]:
    """Repeat the step, and describe its loss and which of its values are not finite."""
    config, _, process, model = experiment
    losses, grads, norm = _numbers(process, step.params, step.batch, model=model)
    losses, levels = np.asarray(losses), np.asarray(step.batch.t)
    bad = ~np.isfinite(losses)
    at = np.unique(levels[bad])
    found = [f"step {int(step.number)}: loss = {losses.mean()}, gradient norm = {float(norm)}"]
    if bad.any():
        found.append(f"losses not finite: {bad.sum()} of {bad.size}, at the noise levels "
                     f"{', '.join(map(str, at))} of {process.schedule.num_levels}")  # fmt: skip
    for name, tree in (("batch", step.batch), ("weights", step.params), ("gradient", grads)):
        found += [f"{name} not finite: {line}" for line in _not_finite(tree)]
    if len(found) == 1:
        found.append("all values of the repeated step are finite: the update after the step was "
                     "not, or another device rounds differently")  # fmt: skip
    return found


def _not_finite(tree) -> list[str]:
    """List leaves that are not finite: ["blocks_0/kernel, 3 of 64 numbers", ...]."""
    result = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        bad = int((~jnp.isfinite(leaf)).sum())
        if bad:
            name = jax.tree_util.keystr(path, simple=True, separator="/").removeprefix("params/")
            result.append(f"{name}, {bad} of {leaf.size} numbers")
    return result
