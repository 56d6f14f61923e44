"""The panel with the player: trajectories from noise to data, and real points to noise."""

import numpy as np

from tiny_diffusion_jax import api
from tiny_diffusion_jax.figures.page import MEMBERS
from tiny_diffusion_jax.report.data import ReportData
from tiny_diffusion_jax.report.save_samples import coordinates
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
    player = _player(data, trajectory[:, None], levels, real)
    shown, drawn = len(levels) - 1, data.options.num_steps
    if shown != drawn:
        smooth = f"A trajectory of {shown} steps, to move smoothly; the samples took {drawn}."
        player["about"] = f"{smooth} {player['about']}".strip()
    return player


def sets_player(data: ReportData, most: int = MOST_NUMBERS) -> dict:
    """Trajectories of several sets with their marks; `most`: largest number of coordinates."""
    trajectories, levels = data.trajectories
    num_sets, real = trajectories.shape[1], None
    if data.is_comparable:
        real = data.real_sets[0][:num_sets]
        missing = num_sets - len(real)  # panels without a real set stay empty
        real = np.pad(real, ((0, missing), (0, 0), (0, 0)), constant_values=np.nan)
    blocks = None
    if strategy_of(data.model).grows:
        blocks = [data.blocks(number) for number in range(num_sets)]
    return _player(data, trajectories, levels, real, _marks(data, num_sets), blocks, most)


def _player(
    data: ReportData, trajectories, levels, real, marks=NO_MARKS, blocks=None, most=MOST_NUMBERS
) -> dict:
    """Pack the trajectories, and the noising of real sets or, without these, of the samples."""
    dataset, schedule = data.dataset, data.experiment.process.schedule
    reverse = pack_trajectories(trajectories, levels, schedule, marks, blocks, most)
    x_0 = np.asarray(trajectories[-1]) if real is None else real
    x_0 = x_0[: len(reverse["sizes"]), : reverse["positions"]["shape"][1]]
    eps = np.random.default_rng(data.config.seed).standard_normal(x_0.shape)
    return {
        "reverse": reverse, "forward": pack_noising(x_0, eps, dataset.shift, dataset.scale),
        "forward_of": "the samples, noised again" if real is None else "real points",
        "colours": MEMBERS, "about": _about(data, reverse),
    }  # fmt: skip


def _about(data: ReportData, reverse: dict) -> str:
    shown, drawn = reverse["positions"]["shape"][1], data.samples.shape[1]
    texts = []
    if reverse["blocks"]:
        texts.append("Each set is drawn block after block, every block from noise, given the "
                     "points before it.")  # fmt: skip
    if reverse["dim"] > 2:
        names = coordinates(data.dataset)[:2]
        texts.append(f"Points have {reverse['dim']} coordinates; shown are the first two, "
                     f"{names[0]} and {names[1]}.")  # fmt: skip
    if shown < drawn:
        texts.append(f"Shown are {shown:,} of {drawn:,} points.")
    num_sets = len(reverse["sizes"])
    if num_sets > 1:
        sets = f"{num_sets} sets"
        if num_sets < len(data.samples):
            sets = f"Shown are {num_sets} of {len(data.samples):,} sets"
        texts.append(f"{sets}; choose one to enlarge it.")
    return " ".join(texts)


def _marks(data: ReportData, num_sets: int) -> Marks:
    """Marks of the first sets: the nearest member, or the label that a set was conditioned on."""
    names, dataset = data.dataset.label_names, data.dataset
    if data.given is not None:
        return Marks(num_given=len(data.given))
    if dataset.members:
        separation = data.separation
        return Marks([names[k] for k in separation.member[:num_sets]], separation.member, names,
                     rejected=~separation.accepted, is_stray=separation.is_stray)  # fmt: skip
    labels, _ = api.conditioning(data.experiment, data.options)
    if labels is None or (np.asarray(labels) < 0).any():
        return NO_MARKS
    labels = np.asarray(labels)
    names = names or tuple(map(str, range(dataset.num_labels)))
    return Marks([names[k] for k in labels[:num_sets]], labels, names, "label")
