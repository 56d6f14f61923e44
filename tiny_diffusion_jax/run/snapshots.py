"""Snapshots of a training: sets that the EMA weights draw at a few steps, and their score field.

    snapshots/STEP.npz    trajectory  f32 or f64 [F, S, N, D], own units, from noise to data
                          levels      i32[F], the noise level of each moment of the trajectory
                          moments     i32[F], the number of sampler steps before each moment
                          field       f32[L, G, G, 2], -eps_hat; for one density in the plane
                          field_levels i32[L] and field_view f64[L, 3], see `field`

All snapshots start from the same noise, which follows from config.sample.seed. So they do not
depend on interruptions, and they change no random number of the training. The steps are evenly
spaced in log(step), because a network learns most in its first steps.
"""

import logging
import zipfile
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from tiny_diffusion_jax import devices, sampling, sets
from tiny_diffusion_jax.api import Experiment
from tiny_diffusion_jax.call_checks import is_distilled, is_flow
from tiny_diffusion_jax.config import editable
from tiny_diffusion_jax.data import units
from tiny_diffusion_jax.errors import reason_of
from tiny_diffusion_jax.figures.frames import select_frames
from tiny_diffusion_jax.files import atomic, make_folder, remove_abandoned
from tiny_diffusion_jax.metrics import score_field
from tiny_diffusion_jax.sets.reverse import visited_levels
from tiny_diffusion_jax.training.batches import size_range
from tiny_diffusion_jax.training.loop import run_in_thread

log = logging.getLogger("tiny_diffusion_jax")
FOLDER = "snapshots"
POINTS = 1_000  # of the one set of a density
SETS, SET_POINTS = 6, 256  # if sets differ
FRAMES = 9  # moments of a trajectory
NODES, LEVELS = 21, 8  # nodes of the field a side, and noise levels
HALF_SIDE = 2.2  # of the square of the field at no noise, in standard deviations of the data


class Snapshot(NamedTuple):
    """The content of one file; `arrays` has the names above."""

    step: int
    arrays: dict[str, np.ndarray]


def wanted_steps(train) -> list[int]:
    """Steps of the snapshots: 0, and about train.snapshots - 1 steps up to train.steps (excluded).

    train: the `train` part of a config. The last step has no snapshot, because the samples of the
    run show the final weights. Steps are multiples of train.block, so there may be fewer.
    """
    if not train.snapshots:
        return []
    steps = np.geomspace(min(train.block, train.steps), train.steps, train.snapshots)[:-1]
    blocks = np.round(steps / train.block) * train.block
    return sorted({0} | {int(step) for step in blocks if 0 < step < train.steps})


class Snapshots:
    """Take the snapshots of a training in `folder`, which starts or resumes at step `first`."""

    def __init__(self, experiment: Experiment, folder: Path, first: int):
        self.experiment, self.folder = experiment, folder / FOLDER
        self.steps = wanted_steps(experiment.config.train)
        remove_abandoned(self.folder)
        for step, file in _files(self.folder).items():
            if step > first:  # the resumed training takes it again, perhaps at other steps
                file.unlink()

    def take(self, before: int, state) -> bool:
        """Write a snapshot of `state` if a wanted step is in (before, state.step].

        Return whether a snapshot was written. An error does not stop the training: a warning names
        the error, and no more snapshots are taken.
        """
        step = int(state.step)
        file = self.folder / f"{step}.npz"
        if not any(before < wanted <= step for wanted in self.steps) or file.exists():
            return False
        try:
            # A signal interrupts the wait at once, but not a compilation in this thread.
            arrays = run_in_thread(partial(draw, self.experiment, jax.device_get(state.ema)))
            make_folder(self.folder)
            with atomic(file) as part:
                np.savez(part, **arrays.result())
            return True
        except Exception as error:
            log.warning("warning: no snapshots from step %d on: %s", step, reason_of(error))
            self.steps = []
            return False


def read_snapshots(folder: Path, known: Collection[int] = ()) -> list[Snapshot]:
    """Snapshots of the run in `folder`, the earliest first, except snapshots of the steps `known`.

    A warning names a damaged file.
    """
    snapshots = []
    for step, file in sorted(_files(folder / FOLDER).items()):
        if step in known:
            continue
        try:
            with np.load(file) as arrays:
                snapshots.append(Snapshot(step, dict(arrays)))
        except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
            log.warning("warning: %s is damaged and left out (%s)", file, reason_of(error))
    return snapshots


def _files(folder: Path) -> dict[int, Path]:
    return {int(file.stem): file for file in folder.glob("*.npz") if file.stem.isdecimal()}


@devices.without_float64
def draw(experiment: Experiment, params) -> dict[str, np.ndarray]:
    """Arrays of a snapshot of the weights `params`, by name."""
    dataset, process, model = experiment.dataset, experiment.process, experiment.model
    options = sample_options(experiment)
    labels = sampling.labels_of_sets(experiment, options)
    context = sets.SamplingContext(
        process, params, options, options.num_points, experiment.config.train.max_history,
        dataset.dim, keep_trajectory=True,
    )  # fmt: skip
    trajectory = sets.draw(sets.strategy_of(model), context, dataset, labels, None)
    levels = visited_levels(process.schedule, options)
    kept = select_frames(np.asarray(process.schedule.log_snr)[levels], FRAMES)
    arrays = {
        "trajectory": units.to_own(dataset.origin, trajectory[kept]),
        "levels": levels[kept].astype(np.int32), "moments": kept.astype(np.int32),
    }  # fmt: skip
    return arrays | (field(experiment, params) if has_field(experiment) else {})


def sample_options(experiment: Experiment):
    """The `sample` part of the config, with fewer and smaller sets."""
    options, dataset = editable(experiment.config.sample), experiment.dataset
    num_sets, most = (SETS, SET_POINTS) if dataset.sets_differ else (1, POINTS)
    usual = options.num_points or int(np.median(dataset.sizes))
    if experiment.model.counts:  # sets that are smaller than in training would be wrong
        most = max(most, size_range(experiment.config.train, dataset)[0])
    if sets.strategy_of(experiment.model).sorts:  # fewer points are only the first of the order
        most = usual
    options.update({"num_sets": min(options.num_sets, num_sets), "num_points": min(usual, most)})
    return options


def has_field(experiment: Experiment) -> bool:
    """Return whether the network gives the score of single points in the plane."""
    config, dataset = experiment.config, experiment.dataset
    return (dataset.dim == 2 and not dataset.sets_differ
            and sets.strategy_of(experiment.model).has_point_density
            and not is_flow(config) and not is_distilled(config))  # fmt: skip


def field(experiment: Experiment, params) -> dict[str, np.ndarray]:
    """Score field of the network on a square grid at a few noise levels.

    field_view holds the centre and half the side of each square, see `score_field.square`.
    """
    process = experiment.process
    mean, half = np.broadcast_to(process.data_mean, 2), HALF_SIDE * process.sigma_data
    x, y = np.linspace(mean - half, mean + half, score_field.CELLS).T
    counts = score_field.Counts(np.zeros(0), x, y)
    levels = score_field.chosen_levels(process, counts.cell, LEVELS)
    noise = score_field.noise(process, levels)
    grids = [score_field.grid(counts, nu, NODES) for nu in noise]
    values = score_field.of_model(process, experiment.model, params, levels, grids)
    view = np.array([score_field.square(counts, nu) for nu in noise])
    return {"field": values.astype(np.float32), "field_levels": levels.astype(np.int32),
            "field_view": view}  # fmt: skip
