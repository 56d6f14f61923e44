"""An experiment: the pieces a config describes, put together; how to train it and draw from it."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax import data, devices, generation, models
from tiny_diffusion_jax.checks import check, check_data, check_drawn, check_sample
from tiny_diffusion_jax.data.base import Dataset, moments_of_draws
from tiny_diffusion_jax.diffusion import Process, make_denoise, make_process
from tiny_diffusion_jax.diffusion.likelihood import log_likelihood
from tiny_diffusion_jax.diffusion.schedules import make_schedule
from tiny_diffusion_jax.errors import require
from tiny_diffusion_jax.generation import likelihood as set_likelihood
from tiny_diffusion_jax.training import loop
from tiny_diffusion_jax.training.step import TrainState, init_state

LIKELIHOOD_CHUNK = 16_384  # points at once


class Experiment(NamedTuple):
    """Everything that stays the same during a run."""

    config: Any  # ml_collections.ConfigDict, as config.py describes
    dataset: Dataset
    process: Process
    model: Any  # a Flax module, as models/ describes


@devices.without_float64
def build(config) -> Experiment:
    """Puts the pieces together. Raises UserError for any field out of its range."""
    check(config)
    return assemble(config, data.build(config.data))


@devices.without_float64
def assemble(config, dataset: Dataset) -> Experiment:
    """As `build`, of a config that is checked and its data."""
    about = data.about_built(dataset)
    model = models.make_model(config.model, len(about.labels.names))
    check_data(config, dataset, model)
    units = {}
    if not config.data.normalize:
        # The network sees the data's own units: the process starts where the data are.
        mean, std = moments_of_draws(dataset)
        units = {"sigma_data": std, "data_mean": mean}
    process = make_process(make_schedule(**config.schedule), **config.diffusion, **units)
    return Experiment(config, dataset, process, model)


@devices.without_float64
def init(experiment: Experiment) -> TrainState:
    """The state before the first step; it follows from config.seed."""
    config = experiment.config
    key = jax.random.fold_in(jax.random.key(config.seed), 0)
    return init_state(key, experiment.model, config.train, experiment.dataset.dim)


@devices.without_float64
def train(
    experiment: Experiment,
    state: TrainState | None = None,
    on_block: Callable[[TrainState, dict], bool] | None = None,
    progress: bool = True,
) -> TrainState:
    """Trains from `state` (None: from the start) to config.train.steps; returns the final state.

    After each block of steps `on_block(state, row)` gets the state and a row of plain numbers
    (step, loss, grad_norm, steps_per_second, loss_by_time, of data with sets held out also
    heldout_loss, and once compile_seconds); when it returns True, training stops there. Samples are
    drawn with `sampled` of the final state. Raises TrainingDiverged when the loss is not finite.
    """
    init_from = experiment.config.train.init_from
    require(state is not None or not init_from, "config.train.init_from", init_from,
            "'' where no state is given; run.load.start_from gives that of a run")  # fmt: skip
    state = init(experiment) if state is None else state
    return loop.train(*experiment, state, on_block, progress)


@devices.without_float64
def sample(
    experiment: Experiment, params, config=None, keep_trajectory: bool = False,
    progress: bool = False, given: np.ndarray | None = None, labels: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """Draws config.num_sets sets of config.num_points points, f32[num_sets, num_points, D].

    With config.num_points = 0 each set has a number of points of its own, as often as in the data;
    then the largest has num_points, and rows of NaN follow the points of the others (`td.ragged`
    leaves these out). `config` is the `sample` part of a config (None: the experiment's); points
    come in the data's own units. A set depends on config.seed and its own number only, not on how
    many sets are asked for; requests too large for config.memory_mb are drawn in chunks. With
    `keep_trajectory` the way from noise is kept too, f32[steps + 1, num_sets, num_points, D],
    noise first. `given`, points f32[n, D] in own units, begins every set, and the rest is drawn to
    go with it; `labels` i32[num_sets] takes the place of config.label. Raises UserError for a field
    out of its range, and for what the model was not trained for.
    """
    config = experiment.config.sample if config is None else config
    dim, about = experiment.dataset.dim, data.about_built(experiment.dataset)
    check_sample(experiment.config, config, labels, given, dim, about)
    num_given = 0 if given is None else len(given)
    check_drawn(experiment.dataset, experiment.model, config, num_given)
    return generation.draw(experiment, params, config, keep_trajectory, progress, given, labels)


@devices.without_float64
def log_prob(
    experiment: Experiment, params, points: np.ndarray, num_steps: int,
    labels: np.ndarray | None = None, draws: int = 0,
) -> np.ndarray:  # fmt: skip
    """Log-likelihood of points f32[n, D] in own units, in nats per point, f[n].

    A density per unit area (of D = 3: volume) of the data: the network's log p minus the sum of
    log(scale) over the D coordinates. Of whole sets f32[S, N, D], and perhaps their labels i32[S],
    that of each set, f[S], in nats per point too: what it is of each kind of model, and how many
    `draws` it takes, says generation/likelihood.py.
    """
    if np.ndim(points) == 3:
        return set_likelihood.log_prob(experiment, params, points, num_steps, labels, draws)
    dataset, model = experiment.dataset, experiment.model
    require(model.traits.generation == "alone", "config.model.name", experiment.config.model.name,
            "a denoiser of single points: in a joint one a point alone has no density")  # fmt: skip
    (mesh, params), dim = devices.to_draw(params), dataset.dim
    size = devices.rounded_up(min(len(points), LIKELIHOOD_CHUNK), mesh)
    padded = np.resize(points, (math.ceil(len(points) / size) * size, dim)).astype(np.float32)
    shared = jax.device_put(padded.reshape(-1, size, dim), devices.by_set(mesh, size, axis=1))
    parts = [
        np.asarray(_log_prob(experiment.process, params, dataset.shift, dataset.scale, part,
                             model=model, num_steps=num_steps)) for part in shared
    ]  # fmt: skip
    return np.concatenate(parts)[: len(points)]


@partial(jax.jit, static_argnames=("model", "num_steps"))
@devices.in_full
def _log_prob(process, params, shift, scale, points, *, model, num_steps: int) -> jax.Array:
    # All that the program depends on is an argument, so a second call finds it compiled.
    denoise = make_denoise(process, model.apply, params)
    log_p = log_likelihood(process, denoise, ((points - shift) / scale)[None], num_steps)[0]
    return log_p - jnp.broadcast_to(jnp.log(scale), shift.shape).sum()
