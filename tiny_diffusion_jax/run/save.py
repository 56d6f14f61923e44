"""Save an experiment and its weights as the folder of a run, with which the command line resumes.

    config.json            the config and facts about the data
    checkpoints/STEP/      the training state
    weights.safetensors    instead of the checkpoints with format="safetensors"
    data.npz               the data, if they were given in memory
"""

import contextlib
import logging
import zipfile
from pathlib import Path
from typing import Any

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
    holds the weights for sampling only. `run.load.load` reads both. Raises UserError, and writes
    nothing, if the folder holds another run, a data.npz with other data, or checkpoints that `load`
    would read in place of the weights.
    """
    require_choice("format", format, FORMATS)
    if format == "safetensors":
        _package()  # raises the error before a file is written
    config, folder = experiment.config, run_folder.make_writable(path)
    if experiment.source is not None:
        config = changed(config, {"data.path": str(folder / DATA)})
    state = weights if isinstance(weights, TrainState) else _finished(experiment, weights)
    with _data_file(folder / DATA, experiment.source):
        run_folder.require_same_run(path, config, experiment.dataset)
        _require_loadable(folder, state, format, all_arrays=state is weights)
        with run_folder.open_to_train(path, config, experiment.dataset):
            if format == "safetensors":
                _write_safetensors(folder / WEIGHTS, state)
            else:
                kept = checkpoints.open_checkpoints(folder / "checkpoints", config.train.keep)
                checkpoints.save(kept, state)
    log.info("saved step %d in %s", int(state.step), folder)
    return folder


def _require_loadable(folder: Path, state: TrainState, format: str, all_arrays: bool) -> None:
    """Raise UserError if the checkpoints in `folder` hide `state` from `load`.

    `load` reads the last checkpoint, and `checkpoints.save` does not replace a checkpoint.
    all_arrays: compare the whole state with a checkpoint of its step, or only the sampled weights.
    """
    stored, step = checkpoints.open_checkpoints(folder / "checkpoints"), int(state.step)
    last, advice = max(stored.steps(), default=-1), "Use another folder"
    require(last < 0 or format != "safetensors", "format", format,
            "checkpoint for a folder with checkpoints", advice)  # fmt: skip
    require(step >= last, "path", str(folder),
            f"a folder without checkpoints after step {step}, the step of the weights",
            f"There is a checkpoint of step {last}. {advice}")  # fmt: skip
    if step == last:
        is_same = _holds_state(stored.load(step), state, all_arrays)
        require(is_same, "path", str(folder),
                f"a folder without a checkpoint of step {step}, or with these weights in it",
                f"The checkpoint holds other weights, or is damaged. {advice}")  # fmt: skip


def _holds_state(arrays: dict | None, state: TrainState, all_arrays: bool) -> bool:
    """Return whether the arrays of a checkpoint are equal to `state`, or to its sampled weights."""
    expected = checkpoints.named_leaves(state)
    if not all_arrays:
        place = ".ema" if state.best is None else ".best.ema"
        sampled = checkpoints.named_leaves(state.sampled)
        expected = {f"{place}{name}": leaf for name, leaf in sampled.items()}
    return arrays is not None and all(
        name in arrays and np.array_equal(arrays[name], leaf, equal_nan=True)
        for name, leaf in expected.items())  # fmt: skip


@contextlib.contextmanager
def _data_file(file: Path, arrays: dict[str, Any] | None):
    """Write `arrays` to `file`, which config.json describes, and delete it if the block is refused.

    Raises UserError if `file` exists and does not hold exactly these arrays.
    """
    if arrays is None or file.exists():
        require(arrays is None or _holds(file, arrays), "path", str(file.parent),
                f"a folder without {file.name}, or with these data in it",
                f"{file.name} holds other data. Use another folder")  # fmt: skip
        yield
        return
    with atomic(file) as part:
        np.savez(part, **arrays)
    try:
        yield
    except UserError:
        file.unlink()
        raise


def _holds(file: Path, arrays: dict[str, np.ndarray]) -> bool:
    try:
        with np.load(file) as stored:
            return stored.keys() == arrays.keys() and all(
                stored[name].dtype == array.dtype and stored[name].tobytes() == array.tobytes()
                for name, array in arrays.items())  # fmt: skip
    except (OSError, ValueError, zipfile.BadZipFile):  # not a file of np.savez
        return False


def _finished(experiment: Experiment, params) -> TrainState:
    """State of a finished training with these weights; its optimiser is as at the start."""
    step, state = jnp.int32(experiment.config.train.steps), init(experiment)
    expected, given = checkpoints.named_leaves(state.params), checkpoints.named_leaves(params)
    for name in sorted(expected.keys() | given.keys()):
        shapes = [np.shape(tree[name]) if name in tree else None for tree in (given, expected)]
        require(shapes[0] == shapes[1], f"weights: shape of {name}", shapes[0],
                f"{shapes[1]}, as in the model of the experiment")  # fmt: skip
    params = jax.tree.map(jnp.asarray, params)
    best = None if state.best is None else Best(params, jnp.float32(jnp.inf), step)
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
