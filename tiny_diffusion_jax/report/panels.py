"""The parts of report.html: which parts suit the data and the model, and their content.

To add a part, write a function of `ReportData`, a line in `PARTS`, and a template in
web/templates/parts/.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tiny_diffusion_jax import api
from tiny_diffusion_jax.data import units
from tiny_diffusion_jax.figures import loss as loss_figures
from tiny_diffusion_jax.figures.page import MEMBERS
from tiny_diffusion_jax.metrics import score_field as fields
from tiny_diffusion_jax.point_sets import ragged
from tiny_diffusion_jax.report.data import ReportData
from tiny_diffusion_jax.report.metrics import is_chain, is_mixture, shows_births
from tiny_diffusion_jax.report.save_samples import coordinates
from tiny_diffusion_jax.run.train_log import read_rows
from tiny_diffusion_jax.web.packing import pack
from tiny_diffusion_jax.web.trajectories import (
    MOST_NUMBERS,
    NO_MARKS,
    Marks,
    pack_noising,
    pack_trajectories,
)

SAVED_NUMBERS = 350_000  # numbers in the table of samples that the page saves: 0.9 MB of text.
MOST_ROWS = 1_000  # rows of metrics.jsonl.


class Part(NamedTuple):
    """A part of the page."""

    name: str  # name of its template and of its data
    when: Callable[[ReportData], bool]
    data: Callable[[ReportData, Path], dict | None]  # None: nothing to show


# ---------------------------------------------------------------- players


def _shows_births(evidence: ReportData) -> bool:
    return shows_births(evidence.experiment, evidence.given)


def trajectory(evidence: ReportData, folder: Path) -> dict:
    """Trajectory of one set of a single density, and real points for the forward process."""
    ways, grid = evidence.trajectory
    count = ways.shape[1]
    has_real = evidence.dataset.has_points
    real = np.asarray(evidence.clouds[1][:1, :count]) if has_real else None
    x_0, noised = _real(evidence, real, ways[-1][None])
    player = _player(evidence, ways[:, None], grid, x_0, noised)
    shown, drawn = len(grid) - 1, evidence.experiment.config.sample.num_steps
    if shown != drawn:
        smooth = f"A trajectory of {shown} steps, to move smoothly; the samples took {drawn}."
        player["about"] = f"{smooth} {player['about']}".strip()
    return player


def births(evidence: ReportData, folder: Path, most: int = MOST_NUMBERS) -> dict:
    """Trajectories of several sets with their marks; `most`: largest number of coordinates."""
    ways, grid = evidence.births
    count = ways.shape[1]
    chain = is_chain(evidence.experiment)
    blocks = [evidence.blocks(k) for k in range(count)] if chain else None
    has_real = evidence.given is None and evidence.dataset.has_points
    real = evidence.real_sets[0][:count] if has_real else None
    if has_real:  # fewer real sets leave panels empty
        missing = count - len(real)
        real = np.pad(real, ((0, missing), (0, 0), (0, 0)), constant_values=np.nan)
    x_0, noised = _real(evidence, real, ways[-1])
    return _player(evidence, ways, grid, x_0, noised, _marks(evidence, count), blocks, most)


def _player(
    evidence, ways, grid, x_0, noised, marks=NO_MARKS, blocks=None, most=MOST_NUMBERS
) -> dict:
    dataset, process = evidence.dataset, evidence.experiment.process
    reverse = pack_trajectories(ways, grid, process.schedule, marks, blocks, most)
    x_0 = x_0[: len(reverse["sizes"]), : reverse["ways"]["shape"][1]]
    eps = np.random.default_rng(evidence.config.seed).standard_normal(x_0.shape)
    forward = pack_noising(x_0, eps, dataset.shift, dataset.scale)
    return {"reverse": reverse, "forward": forward, "forward_of": noised,
            "colours": MEMBERS, "about": _about(evidence, reverse)}  # fmt: skip


def _real(evidence: ReportData, real: np.ndarray | None, drawn) -> tuple[np.ndarray, str]:
    """Sets for the forward process, and what they are: real sets or, without these, the samples."""
    if real is None:
        return np.asarray(drawn), "the samples, noised again"
    return real, "real points"


def _about(evidence: ReportData, reverse: dict) -> str:
    shown, drawn = reverse["ways"]["shape"][1], evidence.samples.shape[1]
    texts = []
    if reverse["blocks"]:
        texts.append("Each set is drawn block after block, every block from noise, given the "
                     "points before it.")  # fmt: skip
    if reverse["dim"] > 2:
        names = coordinates(evidence.dataset)[:2]
        texts.append(f"Points have {reverse['dim']} coordinates; shown are the first two, "
                     f"{names[0]} and {names[1]}.")  # fmt: skip
    if shown < drawn:
        texts.append(f"Shown are {shown:,} of {drawn:,} points.")
    if len(reverse["sizes"]) > 1:
        some, all_of_them = len(reverse["sizes"]), len(evidence.samples)
        texts.append((f"Shown are {some} of {all_of_them:,} sets" if some < all_of_them else
                      f"{some} sets") + "; choose one to enlarge it.")  # fmt: skip
    return " ".join(texts)


def _marks(evidence: ReportData, count: int) -> Marks:
    """Marks of the first sets: the nearest member, or the label that a set was conditioned on."""
    names, dataset = evidence.dataset.label_names, evidence.dataset
    if evidence.given is not None:
        return Marks(num_given=len(evidence.given))
    if is_mixture(evidence.experiment):
        found = evidence.separation
        return Marks([names[k] for k in found.member[:count]], found.member, names,
                     rejected=~found.accepted, is_stray=found.is_stray)  # fmt: skip
    labels, _ = api.conditioning(evidence.experiment, evidence.experiment.config.sample)
    if labels is None or (np.asarray(labels) < 0).any():
        return Marks()
    labels = np.asarray(labels)
    named = [names[k] if k < len(names) else str(k) for k in labels[:count]]
    return Marks(named, labels, names or tuple(map(str, range(dataset.num_labels))), "label")


# ---------------------------------------------------------------- fields


def has_field(evidence: ReportData) -> bool:
    """Return whether the model has a density figure: single points in the plane, one density."""
    return not _shows_births(evidence) and evidence.density[0] is not None


def field(evidence: ReportData, folder: Path) -> dict | None:
    """Field and density of the model and of the data."""
    log_density, rows = evidence.density[0], evidence.dataset.rows
    process, size = evidence.experiment.process, len(log_density)
    counts = evidence.counts
    if not counts.share.any():
        return None
    found = fields.compare(process, evidence.model, evidence.params, counts)
    real = fields.coarser(counts.share, size)
    density = np.nan_to_num(np.exp(log_density.astype(float)))
    level = process.level(found.levels)
    return {
        "nu": (np.asarray(level.sigma) / np.asarray(level.alpha)).tolist(),
        "sigma": np.asarray(level.sigma).tolist(), "error": found.error.tolist(),
        "model": pack(found.model), "data": pack(found.data), "p": pack(found.density[..., None]),
        "density": pack(np.stack([density / density.sum(), real / real.sum()], -1)),
        "rows": rows is not None,
        "points": _about_many(fields.DRAWS * fields.TIMES) if rows is None else f"{len(rows):,}",
    }  # fmt: skip


def _about_many(count: int) -> str:
    return f"about {float(f'{count:.2g}'):,.0f}"


# ---------------------------------------------------------------- training


def loss(evidence: ReportData, folder: Path) -> dict | None:
    """Loss by step and by noise level, from metrics.jsonl."""
    rows = [row for row in read_rows(folder / "metrics.jsonl") if row.get("loss")]
    if not rows:
        return None
    rows = [row for _, row in sorted({row["step"]: row for row in rows}.items())]
    smooth = loss_figures.smooth(np.array([row["loss"] for row in rows]))
    kept = np.unique(np.linspace(0, len(rows) - 1, MOST_ROWS).astype(int))
    column = lambda name: [rows[i].get(name) for i in kept]
    stages = loss_figures.stages([row for row in rows if row.get("loss_by_time")])
    sigma = np.asarray(evidence.experiment.process.schedule.sigma)
    count = len(stages[0][2]) if stages else 0
    middle = np.round((np.arange(count) + 0.5) / max(count, 1) * (len(sigma) - 1)).astype(int)
    return {
        "step": column("step"), "loss": column("loss"), "smooth": smooth[kept].tolist(),
        "heldout": column("heldout_loss") if any(row.get("heldout_loss") for row in rows) else None,
        "sigma": sigma[middle].tolist(),
        "stages": [
            {"name": f"step {name}", "values": [None if np.isnan(v) else float(v) for v in values]}
            for name, _, values in stages
        ],
    }  # fmt: skip


# ---------------------------------------------------------------- samples


def samples(evidence: ReportData, folder: Path) -> dict:
    """Samples to save as a table from the page: as many sets as the page has room for."""
    dataset = evidence.dataset
    sets = units.to_own(dataset.origin, evidence.samples)
    kept = max(1, SAVED_NUMBERS // (sets.shape[1] * sets.shape[2]))
    shown = sets[:kept, : SAVED_NUMBERS // sets.shape[2]]
    about = f"The samples as a table: {_count(shown)}"
    if shown.shape != sets.shape:
        about += f", the first of {_count(sets)}"
    return {"points": pack(shown), "sizes": [len(points) for points in ragged(shown)],
            "digits": units.significant_digits(sets), "columns": coordinates(dataset),
            "setColumn": dataset.set_column or "set",
            "about": f"{about}. Rounded to 1/65,000 of the range of each coordinate; the array in "
                     "the run's folder is exact."}  # fmt: skip


def _count(sets: np.ndarray) -> str:
    points = int((~np.isnan(sets[..., 0])).sum())
    return f"{len(sets):,} set{'s' * (len(sets) > 1)}, {points:,} points"


PARTS = (
    Part("player", lambda evidence: not _shows_births(evidence), trajectory),
    Part("player", _shows_births, births),
    Part("field", has_field, field),
    Part("loss", lambda evidence: True, loss),
    Part("samples", lambda evidence: True, samples),
)
