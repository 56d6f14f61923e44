"""Save an experiment and its weights as the folder of a run, with which the command line resumes.

    config.json            the config and facts about the data
    checkpoints/STEP/      the training state
    weights.safetensors    instead of the checkpoints with format="safetensors"
    data.npz               the data, if they were given in memory
"""

import logging
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax import devices
from tiny_diffusion_jax.api import Experiment, init
from tiny_diffusion_jax.config import changed
from tiny_diffusion_jax.errors import UserError, require, require_choice
from tiny_diffusion_jax.files import atomic
from tiny_diffusion_jax.run import checkpoints, run_folder
from tiny_diffusion_jax.training.step import Best, TrainState

log = logging.getLogger("tiny_diffusion_jax")
FORMATS = ("checkpoint", "safetensors")
WEIGHTS, DATA = "weights.safetensors", "data.npz"


@devices.without_float64
def save(path, experiment: Experiment, weights, format: str = "checkpoint") -> Path:
    """Write the folder of a run, and return it.

    weights: a TrainState, which the command line can train further, or parameters, which are saved
    as a finished run. format: "checkpoint", or "safetensors", which other programs read and which
    holds the weights for sampling only. `run.load.load` reads both. Raises UserError if the folder
    holds another run.
    """
    require_choice("format", format, FORMATS)
    config, folder = experiment.config, run_folder.make_writable(path)
    if experiment.source is not None:
        config = changed(config, {"data.path": str(folder / DATA)})
        if not (folder / DATA).exists():
            with atomic(folder / DATA) as part:
                np.savez(part, **experiment.source)
    state = weights if isinstance(weights, TrainState) else _finished(experiment, weights)
    with run_folder.open_to_train(path, config, experiment.dataset):
        if format == "safetensors":
            _write_safetensors(folder / WEIGHTS, state)
        else:
            kept = checkpoints.open_checkpoints(folder / "checkpoints", config.train.keep)
            checkpoints.save(kept, state)
    log.info("saved step %d in %s", int(state.step), folder)
    return folder


def _finished(experiment: Experiment, params) -> TrainState:
    """State of a finished training with these weights; its optimiser is as at the start."""
    step, state = jnp.int32(experiment.config.train.steps), init(experiment)
    expected, given = checkpoints.named_leaves(state.params), checkpoints.named_leaves(params)
    for name in sorted(expected.keys() | given.keys()):
        shapes = [np.shape(tree[name]) if name in tree else None for tree in (given, expected)]
        require(shapes[0] == shapes[1], f"weights: shape of {name}", shapes[0],
                f"{shapes[1]}, as in the model of the experiment")  # fmt: skip
    params = jax.tree.map(jnp.asarray, params)
    best = None if state.best is None else Best(params, jnp.float32(jnp.nan), step)
    return state.replace(step=step, params=params, ema=params, best=best)


# ---------------------------------------------------------------- safetensors


def _write_safetensors(file: Path, state: TrainState) -> None:
    arrays = {name: np.asarray(a) for name, a in checkpoints.named_leaves(state.sampled).items()}
    with atomic(file) as part:
        _package().save_file(arrays, part, {"step": str(int(state.step))})


def read_safetensors(file: Path, like):
    """Weights in `file` with the structure of `like`. Raises UserError for another model."""
    try:
        arrays = _package().load_file(file)
        return checkpoints.from_arrays(arrays, like)
    except (KeyError, OSError) as error:
        raise UserError(str(file), allowed=f"the weights of this model ({error})") from error


def _package():
    try:
        import safetensors.numpy
    except ImportError as error:
        raise UserError("format", "safetensors", "checkpoint without the package safetensors",
                        "To install it: pip install safetensors") from error
    return safetensors.numpy
