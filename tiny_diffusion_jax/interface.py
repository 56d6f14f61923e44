"""The functions of a notebook or a program: train, sample, complete, score, evaluate, show.

`weights` are the parameters of the network, a `TrainState`, or the pair that `load` returns.
Options of `config.sample` are keyword arguments, for one call: `sample(..., num_sets=100)`.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax import api, data, devices, reports, sampling, scoring, sets
from tiny_diffusion_jax.api import Experiment
from tiny_diffusion_jax.call_checks import check_drawn_with_log_prob, check_sample, check_sets
from tiny_diffusion_jax.call_points import points_of
from tiny_diffusion_jax.call_weights import weights_of
from tiny_diffusion_jax.data import units
from tiny_diffusion_jax.data.label_option import names_agree_with_indices, resolve_label
from tiny_diffusion_jax.diffusion import make_denoise
from tiny_diffusion_jax.diffusion.ode_likelihood import sample_with_log_prob
from tiny_diffusion_jax.errors import rename_fields, require
from tiny_diffusion_jax.point_sets import Conditioning
from tiny_diffusion_jax.reports.data import ReportData
from tiny_diffusion_jax.run import distill as run_distill
from tiny_diffusion_jax.scoring_checks import check_has_likelihood, check_latent_noise
from tiny_diffusion_jax.training.step import TrainState

log = logging.getLogger("tiny_diffusion_jax")
LOG_PROB_STEPS = 100  # Runge-Kutta steps of samples with their log p


def train(
    experiment: Experiment, state: TrainState | None = None,
    on_block: Callable[[TrainState, dict], bool] | None = None, progress: bool = True, *,
    steps: int | None = None,
) -> TrainState:  # fmt: skip
    """Train from `state` (None: from the start) to step `steps`; return the final state.

    steps: replaces config.train.steps, and with it the length of the learning-rate schedule. After
    each block of steps, `on_block(state, row)` is called with a row of plain numbers: step, loss,
    grad_norm, steps_per_second and loss_by_time; data with held-out sets add heldout_loss, and the
    first row has compile_seconds. Training stops if `on_block` returns True. Ctrl-C returns the
    state of the last block. Raises TrainingDiverged if the loss is not finite.
    """
    if steps is not None:
        experiment = api.with_options(experiment, "train", {"steps": steps})
    last = state

    def remember(state: TrainState, row: dict) -> bool:
        nonlocal last
        last = state
        return on_block is not None and bool(on_block(state, row))

    try:
        return api.train(experiment, state, remember, progress)
    except KeyboardInterrupt:
        if last is None:
            raise
        log.warning("interrupted at step %d of %d", int(last.step), experiment.config.train.steps)
        return last


def distill(
    experiment: Experiment, weights: Any,
    on_block: Callable[[TrainState, dict], bool] | None = None, progress: bool = True, **options,
) -> tuple[Experiment, TrainState]:  # fmt: skip
    """Distil a trained model; return (experiment, state) of a model that draws in 1 to 4 steps.

    The trained model generates trajectories, and a copy of its network learns their ends
    (training/trajectories.py). options: fields of config.train by name, such as steps and
    trajectories. on_block, progress: see `train`. Raises UserError for a model that generates a set
    in several reverse processes, and for a distilled model.
    """
    params = weights_of(experiment, weights)
    return run_distill.distill(experiment, params, options, on_block, progress)


def sample(
    experiment: Experiment, weights: Any, config=None, keep_trajectory: bool = False,
    progress: bool = False, given=None, labels=None, *, with_log_prob: bool = False, **options,
):  # fmt: skip
    """Draw sets of points, f[num_sets, num_points, D] in own units.

    options: fields of config.sample by name, such as num_sets, num_points, num_steps, sampler,
    label, guidance_scale and seed; config: the `sample` part of a config that they change, or a
    dictionary of its options (None: the part of the experiment). If num_points = 0, each set has
    its own number of points, and rows of NaN follow the points of smaller sets (`ragged` splits
    them).

    keep_trajectory: return f[steps + 1, num_sets, num_points, D], noise first. given: points
    f[n, D], the first points of every set. labels: a name for each set, in place of `label`, or an
    index if no name is a number.

    with_log_prob: return (sets, log p f[num_sets, num_points] in nats per point), both by one
    integration of the probability-flow ODE with num_steps Runge-Kutta steps (default 100; arXiv
    2011.13456, equation 39). It replaces the sampler, and needs a denoiser of single points. For a
    heart with thin strokes, log p differs from `log_prob` by 0.0004 nats on average with 100 steps,
    and by 0.004 with 48.

    Raises UserError for an unknown option, a value out of its range, and for conditions that the
    model was not trained for.
    """
    params = weights_of(experiment, weights)
    if with_log_prob:
        most = experiment.config.schedule.num_levels
        options = {"num_steps": min(LOG_PROB_STEPS, most)} | options
    config = {} if config is None else config
    require(hasattr(config, "items"), "config", config,
            "the part config.sample, or a dictionary of its options")  # fmt: skip
    options = dict(config.items()) | options
    settings = api.with_options(experiment, "sample", options).config.sample
    if labels is not None:
        labels = label_indices(experiment, labels)
    if given is not None:
        given = points_of("given", given, experiment.dataset)
    if not with_log_prob:
        return sampling.sample(experiment, params, settings, keep_trajectory, progress, given,
                               labels)  # fmt: skip
    check_has_likelihood(experiment.config, experiment.dataset)
    check_drawn_with_log_prob(experiment.model, settings, given, keep_trajectory)
    return _sample_with_log_prob(experiment, params, settings, labels)


def complete(experiment: Experiment, weights: Any, given, **options) -> np.ndarray:
    """Draw num_sets sets that all start with the points `given` f[n, D], in own units.

    given: an array, a list, or a table of pandas with the columns of the data. options: see
    `sample`. Raises UserError for a model that does not complete sets, and for several partial
    sets: one call completes one of them.
    """
    require(given is not None, "given", None, "the points f[n, D] of one set")
    return sample(experiment, weights, given=given, **options)


def log_prob(
    experiment: Experiment, weights: Any, points, num_steps: int | None = None, labels=None,
    draws: int = 0, sizes=None, num_given: int = 0,
):  # fmt: skip
    """Log-likelihood of points f[n, D], f[n], or of sets f[S, N, D], f[S], in nats per point.

    Both are in own units; the density is per unit area. Sets of differing size are a list, or have
    rows of NaN after their points. A table of pandas has the columns of the data. labels: a name
    for each point or set, or an index if no name is a number. `scoring.log_prob` describes the
    other arguments. The function of single points can be used in jax.jit, jax.grad and jax.vmap.
    Raises UserError for a shape, a number or an argument that the model cannot score.
    """
    points = points_of("points", points, experiment.dataset)
    if labels is not None:
        labels = label_indices(experiment, labels)
    params = weights_of(experiment, weights)
    return scoring.log_prob(experiment, params, points, num_steps, labels, draws, sizes, num_given)


def evaluate(experiment: Experiment, weights: Any, samples=None, **options) -> dict:
    """Measure `samples` against real sets; return the metrics of metrics.json, floors included.

    samples: what `sample` returns, or a list of sets; None: `sample(..., **options)`. Raises
    UserError without the data, and for sets that cannot be compared with real ones.
    """
    require(experiment.dataset.has_points, "experiment", experiment.dataset.title,
            "loaded with its data, td.load(path, with_data=True)")  # fmt: skip
    experiment = api.with_options(experiment, "sample", options)
    if experiment.config.evaluate.likelihood_sets > 0 and experiment.dataset.sets_differ:
        check_latent_noise(experiment.config, "config.evaluate.likelihood_sets=0 measures none")
    params = weights_of(experiment, weights)
    if samples is None:
        samples = sample(experiment, params)
    samples = points_of("samples", samples, experiment.dataset)
    check_sets(samples, experiment.dataset.dim)
    return reports.measure(ReportData(experiment, params, samples))


@devices.without_float64
def _sample_with_log_prob(experiment: Experiment, params, settings, labels):
    """Sets f[S, N, D] in own units, and log p of their points f32[S, N]; see `sample`."""
    _, dataset, process, model, _ = experiment
    about = data.about_built(dataset)
    check_sample(experiment.config, settings, labels, about=about, model=model)
    labels = sampling.labels_of_sets(experiment, settings) if labels is None else labels
    keys = sets.set_keys(jax.random.key(settings.seed), jnp.arange(settings.num_sets))
    drawn = [
        _draw_with_log_prob(
            process, params, dataset.shift, dataset.scale, key,
            None if labels is None else jnp.asarray(labels)[i], model=model,
            num_points=settings.num_points, num_steps=settings.num_steps)
        for i, key in enumerate(keys)
    ]  # fmt: skip
    points, log_p = (np.stack(arrays) for arrays in zip(*drawn, strict=True))
    return units.to_own(dataset.origin, points), log_p


@partial(jax.jit, static_argnames=("model", "num_points", "num_steps"))
@devices.float32_matmuls
def _draw_with_log_prob(
    process, params, shift, scale, key, label, *, model, num_points: int, num_steps: int
) -> tuple[jax.Array, jax.Array]:
    """Draw the points f32[N, D] of one set, in parts to bound memory, and their log p f32[N]."""
    part, dim = min(num_points, scoring.LIKELIHOOD_CHUNK), shift.shape[0]
    shape = -(-num_points // part), 1, part, dim
    noise = process.draw_noise(key, shape)
    size = jnp.full(1, num_points) if model.counts else None
    conditioning = Conditioning(None if label is None else label[None], size)
    denoise = make_denoise(process, model.apply, params, conditioning)
    x, log_p = jax.lax.map(
        lambda eps: sample_with_log_prob(process, denoise, eps, num_steps), noise)
    log_p = log_p - jnp.broadcast_to(jnp.log(scale), shift.shape).sum()
    return (x.reshape(-1, dim) * scale + shift)[:num_points], log_p.reshape(-1)[:num_points]


# ---------------------------------------------------------------- arguments


def label_indices(experiment: Experiment, labels) -> Any:
    """Index of each label, i32[...]; a label is a name or an index, see `resolve_label`.

    Labels that JAX traces are indices. Raises UserError for an unknown label, and for traced labels
    if the names of the labels are other numbers.
    """
    with jax.ensure_compile_time_eval():  # the data are known while JAX traces a function
        known = data.about_built(experiment.dataset).labels
    if isinstance(labels, jax.core.Tracer):
        require(names_agree_with_indices(known), "labels", "traced", "values that JAX does not "
                "trace, because the names of the labels are numbers")  # fmt: skip
        return labels
    values = np.asarray(labels)
    if not known.names:
        return values
    texts, number = np.unique(values.astype(str), return_inverse=True)
    with rename_fields({"config.sample.label": "labels"}):
        indices = np.array([resolve_label(text, known) for text in texts], np.int32)
    return indices[number].reshape(values.shape)
