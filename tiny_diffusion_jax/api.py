"""An experiment: all objects that a config describes, with functions to train and sample."""

import dataclasses
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import FrozenConfigDict
from tqdm import tqdm

from tiny_diffusion_jax import data, devices, models, sets
from tiny_diffusion_jax.call_checks import (
    check_has_likelihood,
    check_sample,
    check_scored,
    check_traced,
)
from tiny_diffusion_jax.checks import (
    check,
    check_augmentation,
    check_data,
    check_drawn,
    check_sizes_vary,
)
from tiny_diffusion_jax.config import changed
from tiny_diffusion_jax.data import units
from tiny_diffusion_jax.data.halves import with_validation
from tiny_diffusion_jax.data.label_option import NO_LABEL, RANDOM, resolve_label
from tiny_diffusion_jax.data.notices import far_from_data
from tiny_diffusion_jax.data.pairs import PAIRS
from tiny_diffusion_jax.data.start import source_of
from tiny_diffusion_jax.dataset import Dataset, moments_of_draws
from tiny_diffusion_jax.diffusion import Process, make_denoise, make_process
from tiny_diffusion_jax.diffusion.level_law import level_law
from tiny_diffusion_jax.diffusion.ode_likelihood import log_likelihood
from tiny_diffusion_jax.diffusion.schedules import make_schedule
from tiny_diffusion_jax.errors import require
from tiny_diffusion_jax.point_sets import NO_CONDITIONING, Conditioning, lengths
from tiny_diffusion_jax.progress import TrainingBar
from tiny_diffusion_jax.sets.likelihood import Estimate, estimate
from tiny_diffusion_jax.sets.sizes import draw_sizes, draw_sizes_given
from tiny_diffusion_jax.training import loop
from tiny_diffusion_jax.training.augment import make_augment
from tiny_diffusion_jax.training.batches import size_range
from tiny_diffusion_jax.training.step import TrainState, init_state

log = logging.getLogger("tiny_diffusion_jax")
Array = np.ndarray | jax.Array
LIKELIHOOD_CHUNK = 16_384  # points at once


class Experiment(NamedTuple):
    """Everything that stays the same during a run."""

    config: FrozenConfigDict  # as config.py describes
    dataset: Dataset
    process: Process
    model: Any  # a Flax module, as models/ describes
    source: Any = None  # data in memory, which run/save.py writes into the folder of a run

    def __repr__(self) -> str:
        model = self.config.model.name
        return f"Experiment({self.config.name}: {self.dataset}, model {model})"


@devices.without_float64
def build(config, model=None) -> Experiment:
    """Build the experiment of a config. Raises UserError for a field out of its range.

    model: see `assemble`.
    """
    check(config, model=model)
    return assemble(config, data.build(config.data), model)


@devices.without_float64
def assemble(config, dataset: Dataset, model=None) -> Experiment:
    """Build the experiment of a config that has been checked, with `dataset` as its data.

    model: the denoiser; None: the denoiser that config.model describes.
    """
    if model is None:
        num_labels = len(data.about_built(dataset).labels.names)
        model = models.make_model(config.model, num_labels, dataset.coordinates)
    dataset = data.with_start(config.data, dataset)
    check_data(config, dataset, model)
    if config.train.keep_best and config.train.split_heldout and dataset.has_points:
        dataset = with_validation(dataset)
    if config.quick:
        notice = "\n".join(filter(None, [dataset.notice, quick_notice(config)]))
        dataset = dataclasses.replace(dataset, notice=notice)
    moments: dict = {}
    if not config.data.normalize:
        # The network sees centred units, so the process needs the mean of the data.
        mean, std = moments_of_draws(dataset)
        moments = {"sigma_data": std, "data_mean": mean}
    options = config.diffusion.to_dict()
    schedule, law = make_schedule(**config.schedule), options.pop("levels")
    process = make_process(schedule, **options, **moments, source=source_of(dataset),
                           law=level_law(law, schedule, dataset),
                           pair=PAIRS[config.train.pairs])  # fmt: skip
    return Experiment(FrozenConfigDict(config), dataset, process, model)


def quick_notice(config) -> str:
    """Notice of a quick run, for its data, figures and pages."""
    return f"quick run: {config.train.steps:,} steps, too short to judge the denoiser"


def with_options(experiment: Experiment, part: str, options: Mapping) -> Experiment:
    """Return the experiment with other values of `options` in one part of its config.

    Raises UserError for an unknown option, and for a value out of its range.
    """
    options = {f"{part}.{name}": value for name, value in options.items()}
    return experiment._replace(config=FrozenConfigDict(changed(experiment.config, options)))


@devices.without_float64
def init(experiment: Experiment) -> TrainState:
    """State before the first step, which depends on config.seed only."""
    config = experiment.config
    key = jax.random.fold_in(jax.random.key(config.seed), 0)
    train_config = FrozenConfigDict(config.train)
    return init_state(key, experiment.model, train_config, experiment.dataset.dim)


@devices.without_float64
def train(
    experiment: Experiment,
    state: TrainState | None = None,
    on_block: Callable[[TrainState, dict], bool] | None = None,
    progress: bool = True,
) -> TrainState:
    """Train from `state` (None: from the start) to config.train.steps; return the final state.

    After each block of steps, `on_block(state, row)` is called with the state and a row of plain
    numbers: step, loss, grad_norm, steps_per_second and loss_by_time. Data with held-out sets add
    heldout_loss, and one row has compile_seconds. Training stops if `on_block` returns True. Draw
    samples with `sampled` of the final state. Raises TrainingDiverged if the loss is not finite.
    """
    init_from, steps = experiment.config.train.init_from, experiment.config.train.steps
    require(state is not None or not init_from, "config.train.init_from", init_from,
            "'' if no state is given; run.load.start_from returns the state of a run")  # fmt: skip
    state = init(experiment) if state is None else state
    blocks = train_blocks(experiment, state)
    with TrainingBar(int(state.step), steps, progress) as bar:
        for _, state, row in blocks:
            bar.show(row)
            if on_block is not None and on_block(state, row):
                break
    return state


def train_blocks(experiment: Experiment, state: TrainState) -> Iterator:
    """Train like `loop.train_blocks`. The caller switches 64-bit numbers off."""
    config, dataset, process, model, _ = experiment
    check_sizes_vary(config, dataset, model)
    check_augmentation(config)
    is_ready = not config.train.trajectories or dataset.trajectories is not None
    require(is_ready, "config.train.trajectories", config.train.trajectories,
            "0 without the trajectories of a trained model, see td.distill")  # fmt: skip
    return loop.train_blocks(FrozenConfigDict(config.train), config.seed, make_augment(config.data),
                             dataset, process, model, state)  # fmt: skip


@devices.without_float64
def sample(
    experiment: Experiment, params, config=None, keep_trajectory: bool = False,
    progress: bool = False, given: np.ndarray | None = None, labels: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """Draw config.num_sets sets of config.num_points points, f32[num_sets, num_points, D].

    config: the `sample` part of a config (None: the one of the experiment). If config.num_points =
    0, each set has its own number of points, with the frequencies of the data. The largest set then
    has num_points, and rows of NaN follow the points of smaller sets (`td.ragged` removes these
    rows).

    keep_trajectory: return f32[steps + 1, num_sets, num_points, D], noise first. given: points
    f32[n, D] in own units, the first points of every set; the model draws the rest of each set
    conditioned on them. labels: i32[num_sets], in place of config.label.

    Points are in the data's own units, and are f64 if f32 would round them too much
    (`dataset.origin`). A set depends on config.seed and its own number only. Requests too large for
    config.memory_mb are drawn in chunks. Raises UserError for a field out of its range, and for
    conditions that the model was not trained for.
    """
    config = experiment.config.sample if config is None else config
    (_, dataset, process, model, _), train_config = experiment, experiment.config.train
    about, origin = data.about_built(dataset), dataset.origin
    check_sample(experiment.config, config, labels, given, about, model)
    num_given = 0 if given is None else len(given)
    check_drawn(dataset, model, config, num_given)
    if given is not None:
        given = units.to_centred(origin, given)
        if notice := far_from_data(dataset, np.asarray(given)):
            log.warning("notice: %s", notice)
    labels = labels_of_sets(experiment, config, given) if labels is None else labels
    if given is None or config.num_points or not sets.strategy_of(model).scores_given:
        sizes = _sizes(experiment, config, labels, num_given)
    else:
        sizes = _sizes_given(experiment, params, config, labels, given)
    warn_if_unseen(experiment, np.array([config.num_points]) if sizes is None else sizes)
    context = sets.SamplingContext(process, params, config, config.num_points,
                                   train_config.max_history, dataset.dim,
                                   keep_trajectory)  # fmt: skip
    drawn = sets.draw(sets.strategy_of(model), context, dataset, labels, sizes, given,
                      _progress_bar if progress else None)  # fmt: skip
    return units.to_own(origin, drawn)


def _sizes_given(experiment: Experiment, params, config, labels, given) -> np.ndarray:
    """Numbers of points i64[num_sets] of sets with the points `given`, see `draw_sizes_given`."""
    num_steps = experiment.config.evaluate.set_likelihood_steps
    log_prob = lambda points, labels, sizes: log_prob_of_sets(
        experiment, params, points, num_steps, labels, sizes=sizes).log_p
    sizes = draw_sizes_given(log_prob, experiment.dataset, _keys(config), labels, given)
    log.info("numbers of points, given the points: %d to %d, median %d", sizes.min(), sizes.max(),
             np.median(sizes))  # fmt: skip
    return sizes


def _progress_bar(chunks, total: int):
    return tqdm(chunks, desc="sample", unit="chunk", total=total, disable=total == 1)


def conditioning(experiment: Experiment, config) -> tuple[Array | None, np.ndarray | None]:
    """Return the conditioning of each set: its label i32[S] and its number of points i64[S].

    The labels are None if the model has no labels. The numbers of points are None if all sets have
    config.num_points. Both follow from config.seed and the number of the set. Arguments: see
    `sample`.
    """
    labels = labels_of_sets(experiment, config)
    return labels, _sizes(experiment, config, labels, 0)


@devices.without_float64
def labels_of_sets(
    experiment: Experiment, config, given: np.ndarray | None = None
) -> jax.Array | None:
    """Labels i32[num_sets]: config.label, or for RANDOM random labels, as frequent as in the data.

    None if the model has no labels. Arguments: see `sample`.
    """
    label = label_of(experiment, config, given)
    if label == NO_LABEL:
        return None
    if label != RANDOM:
        return jnp.full(config.num_sets, label)
    with np.errstate(divide="ignore"):  # a label without sets has share 0
        log_shares = np.log(experiment.dataset.label_shares).astype(np.float32)
    return sets.draw_labels(_keys(config), log_shares)


@devices.without_float64
def _sizes(experiment: Experiment, config, labels, num_given: int) -> np.ndarray | None:
    """Numbers of points i64[num_sets], as frequent as in the data; None for config.num_points."""
    if config.num_points:
        return None
    return draw_sizes(experiment.dataset, _keys(config), labels, num_given)


def _keys(config) -> jax.Array:
    """Random key of each set."""
    return sets.set_keys(jax.random.key(config.seed), jnp.arange(config.num_sets))


def label_of(experiment: Experiment, config, given: np.ndarray | None = None) -> int:
    """Index of the label that all sets are drawn with, RANDOM, or NO_LABEL.

    A model without labels has NO_LABEL. Sets with given points have no random label, because a
    random label may not agree with the points.
    """
    if not experiment.model.num_labels:
        return NO_LABEL
    label = resolve_label(config.label, data.about_built(experiment.dataset).labels)
    return NO_LABEL if label == RANDOM and given is not None else label


def warn_if_unseen(experiment: Experiment, sizes: np.ndarray) -> None:
    """Log a warning if the network is given a number of points outside of the training range.

    sizes: i64[S], the number of points of each set.
    """
    dataset, train_config = experiment.dataset, experiment.config.train
    is_known = dataset.has_points or experiment.config.data.name != "sets"
    # The place of a point in the order depends on their number.
    sorts = sets.strategy_of(experiment.model).sorts
    if not (experiment.model.counts or sorts) or not is_known:
        return
    least, most = size_range(train_config, dataset)
    unseen = sizes[(sizes < least) | (sizes > most)]
    if unseen.size:
        span = f"{unseen.min()} to {unseen.max()}" if np.ptp(unseen) else f"{unseen[0]}"
        log.warning(
            "warning: sets of %s points are outside of the range seen in training, %s points "
            "(config.model.%s)", span, f"{least} to {most}" if least < most else most,
            f"order = {experiment.model.order}" if sorts else "sizes = True",
        )  # fmt: skip


@devices.without_float64
def log_prob(
    experiment: Experiment, params, points: np.ndarray, num_steps: int | None = None,
    labels: Array | None = None, draws: int = 0, sizes: Array | None = None, num_given: int = 0,
) -> Array:  # fmt: skip
    """Log-likelihood of points f32[n, D] in own units, in nats per point, f[n].

    The density is per unit area (volume if D = 3) of the data: the network's log p minus the sum of
    log(scale) over the D coordinates. Each whole set of f32[S, N, D] has one log-likelihood, f[S],
    in nats per point, too. sets/likelihood.py defines it for each kind of model, and the
    number of `draws`. Rows of NaN follow the points of smaller sets.

    labels: i32[S] or i32[n], for a model with labels. Without labels, log p is unconditional; a
    model with config.train.label_drop = 0 has not learned the unconditional density. sizes: i32[S]
    or i32[n], for a model with config.model.sizes: the number of points of the whole set, if
    `points` is a part of it. By default a set in `points` is whole. num_given: h, the first points
    of each set, that are given: the result is log p(the other N - h points | these) / (N - h).
    num_steps: Runge-Kutta steps; None: config.evaluate.likelihood_steps. Raises UserError for a
    shape, a number or an argument that the model cannot score.

    Points may be an array that JAX traces, so jit, grad and vmap work for single points. Data with
    an origin are an exception, because the program would round the points to float32.
    """
    dataset, model = experiment.dataset, experiment.model
    check_has_likelihood(experiment.config, dataset)
    num_steps = experiment.config.evaluate.likelihood_steps if num_steps is None else num_steps
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((params, points))):
        return _log_prob_traced(experiment, params, points, num_steps, labels, sizes, num_given)
    rounded = np.asarray(points, np.float32)
    check_scored(experiment.config, model, dataset.dim, rounded, num_steps, labels, draws, sizes,
                 data.about_built(dataset), num_given)  # fmt: skip
    points = units.to_centred(dataset.origin, points) if dataset.origin else rounded
    if points.ndim == 2 and not (labels is None and sizes is None):
        points = points[:, None]  # sets of one point, each with its own label and size
    if points.ndim == 3:
        return log_prob_of_sets(experiment, params, points, num_steps, labels, draws, sizes,
                                num_given=num_given).log_p  # fmt: skip
    if not len(points):
        return np.zeros(0, np.float32)
    (mesh, params), dim = devices.to_draw(params), dataset.dim
    size = devices.rounded_up(min(len(points), LIKELIHOOD_CHUNK), mesh)
    padded = np.resize(points, (math.ceil(len(points) / size) * size, dim))
    shared = jax.device_put(padded.reshape(-1, size, dim), devices.by_set(mesh, size, axis=1))
    parts = [
        np.asarray(_log_prob_steps(experiment.process, params, dataset.shift, dataset.scale,
                                   part[None], num_steps, model=model))[0] for part in shared
    ]  # fmt: skip
    return np.concatenate(parts)[: len(points)]


@devices.without_float64
def log_prob_of_sets(
    experiment: Experiment, params, points: np.ndarray, num_steps: int,
    labels: np.ndarray | None = None, draws: int = 0, sizes: np.ndarray | None = None,
    seed: int = 0, num_given: int = 0,
) -> Estimate:  # fmt: skip
    """Log-likelihood of sets f32[S, N, D] in centred units, with its standard error.

    sets/likelihood.py describes the arguments; `log_prob` checks them.
    """
    _, dataset, process, model, _ = experiment
    if len(points):
        warn_if_unseen(experiment, lengths(points) if sizes is None else np.asarray(sizes))
    return estimate(
        sets.strategy_of(model), process, params, dataset, points, num_steps,
        experiment.config.train.max_history, labels, draws, seed, sizes, num_given,
    )  # fmt: skip


def _log_prob_traced(
    experiment: Experiment, params, points, num_steps, labels, sizes, num_given
) -> jax.Array:  # fmt: skip
    """Log-likelihood f32[...] of points f32[..., D]: `log_prob` for arrays that JAX traces."""
    dataset, model = experiment.dataset, experiment.model
    points = points if isinstance(points, jax.core.Tracer) else np.asarray(points)
    check_traced(experiment.config, model, dataset, points, num_steps, labels, sizes, num_given)
    centred = units.to_centred(dataset.origin, points)
    x = jnp.asarray(centred, jnp.float32).reshape(-1, dataset.dim)
    of_points = lambda values: None if values is None else jnp.broadcast_to(values, x.shape[:1])
    conditioning = Conditioning(of_points(labels), of_points(sizes))
    log_p = _log_prob(experiment.process, params, dataset.shift, dataset.scale, x[:, None],
                      num_steps, conditioning, model=model)  # fmt: skip
    return log_p.reshape(points.shape[:-1])


@devices.float32_matmuls
def _density(
    process, params, shift, scale, points, num_steps, conditioning=NO_CONDITIONING, *, model
) -> jax.Array:
    denoise = make_denoise(process, model.apply, params, conditioning)
    log_p = log_likelihood(process, denoise, (points - shift) / scale, num_steps)
    return log_p - jnp.broadcast_to(jnp.log(scale), shift.shape).sum()


# Every input of a program is an argument, so a second call reuses the compiled program. The second
# program serves any number of steps, but JAX differentiates only a loop of a known length.
_log_prob = jax.jit(_density, static_argnames=("model", "num_steps"))
_log_prob_steps = jax.jit(_density, static_argnames="model")
