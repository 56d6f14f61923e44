"""The file of a step that was not finite, from which the step can be repeated."""

from pathlib import Path

import jax
import numpy as np

from tiny_diffusion_jax.api import Experiment, init
from tiny_diffusion_jax.errors import UserError, reason_of
from tiny_diffusion_jax.files import atomic
from tiny_diffusion_jax.run import repeat_step
from tiny_diffusion_jax.run.checkpoints import by_place, from_arrays

NAME = "diverged.npz"


def write(folder: Path, experiment: Experiment, state, done: int) -> None:
    """Write step number `done` + 1 of the block that starts from `state`."""
    step = repeat_step.find(*experiment, state, done)
    arrays = jax.device_get(by_place(step)) | {"seed": experiment.config.seed}
    with atomic(folder / NAME) as temporary:
        np.savez(temporary, **arrays)


def read(folder: Path, experiment: Experiment) -> repeat_step.Step:
    """Read the step in the folder. Raises UserError if there is no file or the file is damaged."""
    file = folder / NAME
    if not file.exists():
        raise UserError("--workdir", str(folder), f"a run with a {NAME}, but all steps were finite")
    try:
        with np.load(file) as stored:
            arrays = dict(stored)
        block = experiment.config.train.block
        first = (int(arrays[".number"]) - 1) // block * block  # blocks differ in their shapes
        params = jax.eval_shape(lambda: init(experiment)).params
        batch = jax.eval_shape(lambda: repeat_step.batch_of(*experiment, first, 0))
        return from_arrays(arrays, repeat_step.Step(np.int32(0), params, batch))
    except Exception as error:  # damaged .npz files raise errors of many types
        raise UserError(str(file), allowed=f"a step of this run, but is damaged "
                        f"({reason_of(error)})", hint="Train again to write the file") from error

