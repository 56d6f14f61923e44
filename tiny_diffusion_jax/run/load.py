"""A trained run, from its folder: to draw from, or to go on from with other data."""

import logging
from pathlib import Path

import jax

from tiny_diffusion_jax import data
from tiny_diffusion_jax.checks import check
from tiny_diffusion_jax.data.description import is_complete, restore
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.experiment import Experiment, assemble, init
from tiny_diffusion_jax.run import overfitting, released, workdir
from tiny_diffusion_jax.run.checkpoints import checksum_of, open_checkpoints, restore_latest
from tiny_diffusion_jax.training.step import TrainState

log = logging.getLogger("tiny_diffusion_jax")


def load(path: str, config=None, with_data: bool = False) -> tuple[Experiment, dict]:
    """The experiment of the run in the folder `path`, and the weights to draw with, `sampled`.

    The data are read if they are where they were and are the same. Otherwise the dataset has no
    points: samples need none. `with_data` requires the data. If there is no such folder, `path` may
    be the name of a released model (see released.py).
    `config` takes the place of the run's own, which is in config.json; what the model depends on
    must be the same in both. Raises UserError where there is no run, no checkpoint, a damaged one,
    or one of another config, other data or another version of this program.
    """
    path = str(path)
    if path in released.names() and not Path(path).exists():
        return released.load_released(path, config)
    config = workdir.read_config(path) if config is None else config
    folder = workdir.open_to_read(path, config)
    experiment = assemble(config, _dataset(path, config, with_data))
    saved = open_checkpoints(folder / "checkpoints")
    state = restore_latest(saved, jax.eval_shape(lambda: init(experiment)))
    if state is None:
        raise UserError(f"--workdir = {path!r}: holds no checkpoint yet; train first, --mode=train")
    log.info("restored step %d", int(state.step))
    if state.best is not None:
        log.info("%s", overfitting.which_weights(state, experiment.dataset))
    return experiment, state.sampled


def about_run(path: str) -> data.About | None:
    """Facts about the data of the run in `path`, without its data; None if the run lacks them."""
    facts = workdir.read_facts(path)
    return data.about_built(restore(facts)) if is_complete(facts) else None


def _dataset(path: str, config, with_data: bool) -> data.Dataset:
    """The data of the run in `path`, or, if they are missing or changed, a dataset without points.

    Raises UserError instead where `with_data`, and for a run of an older version.
    """
    facts = workdir.read_facts(path)
    about = data.about_built(restore(facts)) if is_complete(facts) else None
    check(config, about)
    try:
        dataset = data.build(config.data)
        workdir.require_same_data(path, config, dataset)
        return dataset
    except UserError as error:
        if about is None:
            raise
        if with_data:
            raise UserError(f"{error}. To measure the run, name the data that it was trained on: "
                            "--config.data.path=FILE") from error  # fmt: skip
        log.info("sampling without the data (%s)", error)
    return restore(facts)


def start_from(path: str, experiment: Experiment) -> tuple[TrainState, str]:
    """The state before the first step with the averaged weights of the run in `path`, and what
    they are in words: "step 20000, crc32 0a1b2c3d", for a run made from others is another run.

    The data may be others than that run's, the model may not. Raises UserError where it is, and
    where there is no run or no checkpoint.
    """
    field = f"config.train.init_from = {path!r}"
    try:
        theirs = workdir.read_config(path)
        changes = workdir.differences(theirs.model.to_dict(), experiment.config.model.to_dict())
        if changes:
            raise UserError(f"must be a run of the same model; it differs in config.model."
                            f"{', config.model.'.join(changes)}")  # fmt: skip
        saved = open_checkpoints(Path(path).expanduser() / "checkpoints")
        state = restore_latest(saved, jax.eval_shape(lambda: init(experiment)))
    except UserError as error:
        reason = str(error).removeprefix(f"--workdir = {path!r}: ")
        raise UserError(f"{field}: {reason.replace('; use another --workdir', '')}") from error
    if state is None:
        raise UserError(f"{field}: holds no checkpoint yet; train that run first")
    weights = state.sampled
    # The optimiser and its schedule begin anew.
    first = init(experiment).replace(params=weights, ema=weights)
    return first, f"step {int(state.step)}, crc32 {checksum_of(weights):08x}"
