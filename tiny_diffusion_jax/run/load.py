"""A trained run, from its folder."""

import logging

import jax

from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.experiment import Experiment, build, init
from tiny_diffusion_jax.run import overfitting, workdir
from tiny_diffusion_jax.run.checkpoints import open_checkpoints, restore_latest

log = logging.getLogger("tiny_diffusion_jax")


def load(path: str, config=None) -> tuple[Experiment, dict]:
    """The experiment of the run in the folder `path`, and the weights to draw with, `sampled`.

    `config` takes the place of the run's own, which is in config.json; what the model depends on
    must be the same in both. Raises UserError where there is no run, no checkpoint, a damaged one,
    or one of another config, other data or another version of this program.
    """
    path = str(path)
    config = workdir.read_config(path) if config is None else config
    experiment = build(config)
    folder = workdir.open_to_read(path, config, experiment.dataset)
    with open_checkpoints(folder / "checkpoints") as saved:
        state = restore_latest(saved, jax.eval_shape(lambda: init(experiment)))
    if state is None:
        raise UserError(f"--workdir = {path!r}: holds no checkpoint yet; train first, --mode=train")
    log.info("restored step %d", int(state.step))
    if state.best is not None:
        log.info("%s", overfitting.which_weights(state))
    return experiment, state.sampled
