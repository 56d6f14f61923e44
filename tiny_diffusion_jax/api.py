"""An experiment: all objects that a config describes, with functions to build and train it."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
from ml_collections import FrozenConfigDict

from tiny_diffusion_jax import data, devices, models
from tiny_diffusion_jax.call_checks import is_distilled, is_flow
from tiny_diffusion_jax.checks import (
    check,
    check_augmentation,
    check_data,
    check_keeps_labels,
    check_sizes_vary,
)
from tiny_diffusion_jax.config import changed
from tiny_diffusion_jax.data.halves import with_validation
from tiny_diffusion_jax.data.pairs import PAIRS
from tiny_diffusion_jax.data.start import source_of
from tiny_diffusion_jax.dataset import Dataset, moments_of_draws
from tiny_diffusion_jax.diffusion import Process, make_process
from tiny_diffusion_jax.diffusion.level_law import level_law
from tiny_diffusion_jax.diffusion.schedules import make_schedule
from tiny_diffusion_jax.errors import require
from tiny_diffusion_jax.progress import TrainingBar
from tiny_diffusion_jax.sets import strategy_of
from tiny_diffusion_jax.training import loop
from tiny_diffusion_jax.training.augment import make_augment
from tiny_diffusion_jax.training.step import TrainState, init_state


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
    check_keeps_labels(config, model)
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
    if config.train.keep_best and dataset.has_points and dataset.heldout is None:
        config = changed(config, {"train.keep_best": False})
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
                           pair=PAIRS[config.train.pairs],
                           references=num_references(config, dataset, model))  # fmt: skip
    return Experiment(FrozenConfigDict(config), dataset, process, model)


def num_references(config, dataset: Dataset, model) -> int:
    """Points of a batch that average the target of a point: config.train.references, or 0.

    0 for all but a denoiser of single points, if the data are one density without labels and the
    noise is Gaussian and independent of them. Otherwise points of a batch differ in their laws.
    Also 0 for the rows of a table without jitter, which a network with better targets would
    memorise sooner.
    """
    one_density = strategy_of(model).has_point_density and not (
        dataset.sets_differ or model.num_labels or is_flow(config) or is_distilled(config)
    )
    return config.train.references if one_density and dataset.rows is None else 0


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
