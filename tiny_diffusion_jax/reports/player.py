"""The panel with the player: trajectories from noise to data, and real points to noise."""

import numpy as np

from tiny_diffusion_jax import sampling
from tiny_diffusion_jax.reports import snapshots
from tiny_diffusion_jax.reports.data import ReportData
from tiny_diffusion_jax.sets import strategy_of
from tiny_diffusion_jax.web.trajectories import (
    MOST_NUMBERS,
    NO_MARKS,
    Marks,
    pack_noising,
    pack_trajectories,
)


def player_panel(data: ReportData) -> dict:
    """Trajectories of several sets, or the smooth trajectory of one set of a single density."""
    return sets_player(data) if data.shows_sets else density_player(data)


def density_player(data: ReportData) -> dict:
    """Trajectory of one set of a single density, and real points for the forward process."""
    trajectory, levels = data.trajectory
    real = np.asarray(data.clouds[1][:1, : trajectory.shape[1]]) if data.is_comparable else None
    return _player(data, trajectory[:, None], levels, real)


def sets_player(
    data: ReportData, most: int = MOST_NUMBERS, is_marked: bool = True
) -> dict:
    """Trajectories of several sets with their marks; `most`: largest number of coordinates.

    is_marked: False for trajectories whose labels are unknown.
    """
    trajectories, levels = data.trajectories
    num_sets, real, names = trajectories.shape[1], None, []
    if data.is_comparable:
        real, labels = data.real_sets
        if labels is not None and data.dataset.label_names:
            names = [data.dataset.label_names[k] for k in labels[:num_sets]]
        real = real[:num_sets]
        missing = num_sets - len(real)  # panels without a real set stay empty
        real = np.pad(real, ((0, missing), (0, 0), (0, 0)), constant_values=np.nan)
    blocks = None
    if strategy_of(data.model).grows:
        blocks = [data.blocks(number) for number in range(num_sets)]
    marks = _marks(data, num_sets) if is_marked else NO_MARKS
    panel = _player(data, trajectories, levels, real, marks, blocks, most)
    return panel | {"real_names": names[: len(panel["reverse"]["sizes"])]}


def _player(
    data: ReportData, trajectories, levels, real, marks=NO_MARKS, blocks=None, most=MOST_NUMBERS
) -> dict:
    """Pack the trajectories, and the noising of real sets or, without these, of the samples."""
    dataset, schedule = data.dataset, data.experiment.process.schedule
    reverse = pack_trajectories(trajectories, levels, schedule, marks, blocks, most)
    x_0 = np.asarray(trajectories[-1]) if real is None else real
    x_0 = x_0[: len(reverse["sizes"]), : reverse["positions"]["shape"][1]]
    eps = data.noise(np.asarray(dataset.normalize(x_0)))
    return {
        "reverse": reverse, "forward": pack_noising(x_0, eps, dataset.shift, dataset.scale),
        "forward_of": "the samples, noised again" if real is None else "real points",
        "start": data.start_title, "columns": list(dataset.coordinates),
        "num_steps": len(levels) - 1, "training": snapshots.training_data(data),
        "drawn": {"num_sets": len(data.samples), "num_points": data.samples.shape[1],
                  "num_steps": data.options.num_steps},
    }  # fmt: skip


def _marks(data: ReportData, num_sets: int) -> Marks:
    """Marks of the first sets: the nearest member, or the label that a set was conditioned on."""
    names, dataset = data.dataset.label_names, data.dataset
    if data.given is not None:
        return Marks(num_given=len(data.given))
    if dataset.members:
        separation = data.separation
        return Marks([names[k] for k in separation.member[:num_sets]], separation.member, names,
                     rejected=~separation.accepted, is_stray=separation.is_stray)  # fmt: skip
    labels = sampling.labels_of_sets(data.experiment, data.options)
    if labels is None or (np.asarray(labels) < 0).any():
        return NO_MARKS
    labels = np.asarray(labels)
    names = names or tuple(map(str, range(dataset.num_labels)))
    return Marks([names[k] for k in labels[:num_sets]], labels, names, "label")
