"""Load a trained run from its folder, to draw samples or to start a training on other data."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tiny_diffusion_jax import data
from tiny_diffusion_jax.api import Experiment, assemble, init
from tiny_diffusion_jax.checks import check
from tiny_diffusion_jax.data.densities import from_function
from tiny_diffusion_jax.data.description import describe_start, is_complete, restore
from tiny_diffusion_jax.data.halves import size
from tiny_diffusion_jax.errors import UserError, require
from tiny_diffusion_jax.run import released, run_folder
from tiny_diffusion_jax.run.checkpoints import checksum_of, open_checkpoints, restore_latest
from tiny_diffusion_jax.run.same_run import differences, model_differences
from tiny_diffusion_jax.run.save import WEIGHTS, read_safetensors
from tiny_diffusion_jax.training.step import TrainState

log = logging.getLogger("tiny_diffusion_jax")
DISTILLED_PARTS = ("data", "schedule", "diffusion", "model")  # trajectories depend on these parts


def load(
    path: str, config=None, with_data: bool = False, *, data=None, model=None
) -> tuple[Experiment, dict]:
    """Return the experiment of the run in the folder `path`, and its weights (`sampled`).

    The data are read if they are in the same place and unchanged. Otherwise the dataset has no
    points, because samples need none. `with_data` requires the data. If there is no such folder,
    `path` may be the name of a released model (see released.py).

    config: replaces the config in config.json; options that the model depends on must be equal in
    both. data: the function of Python that the run was trained on, with `log_prob` unknown.
    model: the Flax module of the run, if it is not one of models/. Raises UserError if there is no
    run, if its checkpoint is missing or damaged, or if it is
    of another config, other data or another version of this program.
    """
    path = str(path)
    if path in released.names() and not Path(path).exists():
        return released.load_released(path, config)
    config = run_folder.read_config(path) if config is None else config
    folder = run_folder.open_to_read(path, config)
    experiment = assemble(config, _dataset(path, config, with_data, data, model), model)
    like = jax.eval_shape(lambda: init(experiment))
    saved = open_checkpoints(folder / "checkpoints")
    if (folder / WEIGHTS).exists() and not saved.steps():
        return experiment, read_safetensors(folder / WEIGHTS, like.params)
    state = restore_latest(saved, like)
    if state is None:
        raise UserError("--workdir", path, "a run with a checkpoint", "Train first, --mode=train")
    log.info("restored step %d", int(state.step))
    if state.best is not None:
        log.info("%s", describe_weights(state, experiment.dataset))
    return experiment, state.sampled


def about_run(path: str) -> data.About | None:
    """Facts about the data of the run in `path`, read without its data; None if there are none."""
    facts = run_folder.read_facts(path)
    return data.about_built(restore(facts)) if is_complete(facts) else None


def _dataset(path: str, config, with_data: bool, function=None, model=None) -> data.Dataset:
    """Data of the run in `path`, or a dataset without points if the data are missing or changed.

    Raises UserError instead if `with_data` is True, and for a run of an older version.
    """
    about = about_run(path)
    check(config, about, model)
    try:
        dataset = data.build(config.data) if function is None else from_function(
            function, config.data, config.name)  # fmt: skip
        dataset = data.with_start(config.data, dataset)
        run_folder.require_same_data(path, config, dataset)
        return dataset
    except UserError as error:
        if about is None:
            raise
        if with_data or function is not None:
            if not config.data.path:
                raise
            hint = ("To measure the run, name the data that it was trained on: "
                    "--config.data.path=FILE")  # fmt: skip
            raise replace(error, hint=f"{error.hint}. {hint}" if error.hint else hint) from error
        log.info("sampling without the data (%s)", error)
    facts = run_folder.read_facts(path)
    dataset = data.with_start(config.data, restore(facts))
    changes = differences({"start": facts.get("start")}, {
        "start": None if dataset.start is None else describe_start(dataset, config.data)})
    require(not changes, "config.data.start", config.data.start, "the start of the run",
            f"They differ in {'; '.join(changes)}")  # fmt: skip
    return dataset


def describe_weights(state: TrainState, dataset: data.Dataset) -> str:
    """Sentence with the step of the best weights, and the held-out sets that selected them."""
    num_measured = 0 if dataset.heldout is None else size(dataset.heldout)
    kind, measured = (("sets", "1-NNA and likelihood are measured") if dataset.rows is None else
                      ("rows", "the likelihood is measured"))  # fmt: skip
    if not num_measured:  # a run that is read without its data
        sets = f"held-out {kind}"
    elif dataset.validation is None:
        sets = f"{num_measured} {kind}; {measured} on the same {kind}, which is optimistic"
    else:
        sets = (f"{size(dataset.validation)} {kind}; {measured} on {num_measured} other "
                f"{kind}")  # fmt: skip
    best: Any = state.best
    if not np.isfinite(best.loss):  # parameters that td.save was given
        return "weights: the saved parameters, whose held-out loss was not measured"
    return (f"weights: the average at step {int(best.step)} of {int(state.step)}, which has "
            f"the lowest held-out loss, {float(best.loss):.4f}, on {sets}")  # fmt: skip


def start_from(path: str, experiment: Experiment) -> tuple[TrainState, str]:
    """State before the first step with the EMA weights of the run in `path`, and their name.

    The name is "step 20000, crc32 0a1b2c3d", because other initial weights make another run. The
    data may differ from the data of that run, but the model must be the same. Raises UserError for
    another model, and if there is no run or no checkpoint.
    """
    field = "config.train.init_from"
    try:
        configs = run_folder.read_config(path), experiment.config
        # Trajectories also depend on the data and on the noise levels.
        parts = DISTILLED_PARTS if experiment.config.train.trajectories else ("model",)
        changes = model_differences(*({p: config[p].to_dict() for p in parts}
                                      for config in configs))  # fmt: skip
        if changes:
            raise UserError(field, path, "a run of the same model; it differs in config."
                            f"{', config.'.join(changes)}")  # fmt: skip
        saved = open_checkpoints(Path(path).expanduser() / "checkpoints")
        state = restore_latest(saved, jax.eval_shape(lambda: init(experiment)))
    except UserError as error:
        raise replace(error, field=field, value=path, hint="") from error
    if state is None:
        raise UserError(field, path, "a run with a checkpoint", "Train that run first")
    weights = state.sampled
    # The optimiser and its schedule start again from step 0.
    first = init(experiment).replace(params=weights, ema=weights)
    return first, f"step {int(state.step)}, crc32 {checksum_of(weights):08x}"
