"""The sections of a report: metrics and figures for each kind of data and model.

To add a metric or a figure, write a function of `ReportData` and a line in `SECTIONS`.
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax.api import Experiment
from tiny_diffusion_jax.checks import needs_labels
from tiny_diffusion_jax.data import units
from tiny_diffusion_jax.figures import attention, film, frames, loss, samples
from tiny_diffusion_jax.figures import sets as set_figures
from tiny_diffusion_jax.figures.page import COOL, save_figure
from tiny_diffusion_jax.files import write_array
from tiny_diffusion_jax.metrics import (
    classifier,
    separation,
    sizes,
)
from tiny_diffusion_jax.metrics import (
    likelihood_metrics as likelihood,
)
from tiny_diffusion_jax.metrics import (
    memorization as copies,
)
from tiny_diffusion_jax.metrics import (
    points as clouds,
)
from tiny_diffusion_jax.metrics import (
    score_field as fields,
)
from tiny_diffusion_jax.metrics import sets as set_metrics
from tiny_diffusion_jax.point_sets import ragged
from tiny_diffusion_jax.report import overfitting
from tiny_diffusion_jax.report.data import ReportData
from tiny_diffusion_jax.report.save_samples import coordinates
from tiny_diffusion_jax.run.train_log import read_rows
from tiny_diffusion_jax.sets import strategy_of
from tiny_diffusion_jax.sets.row_order import out_of_order

log = logging.getLogger("tiny_diffusion_jax")
PICTURE_POINTS = 4_000  # points in a scatter plot or an animation.
BIRTHS = 8  # sets in the animation.
LABELLED = 60  # sets in labels.png.
QUERIES = 4  # points whose attention is drawn.
REAL = 8  # real sets in sets.png.
LIKELIHOOD_POINTS = 64  # largest size of a set whose likelihood is measured.
FEWEST_SOURCES = 4  # held-out images or sets, to make two groups of different real sets.


class Section(NamedTuple):
    """A part of the report."""

    name: str
    when: Callable[[Experiment], bool]
    numbers: Callable[[ReportData], dict] = lambda evidence: {}  # entries of metrics.json
    # {name of a file: function that writes it, or returns False if there is nothing to show}
    figures: Mapping[str, Callable[[ReportData, Path], bool | None]] = {}


# ---------------------------------------------------------------- training


def loss_figure(evidence: ReportData, file: Path) -> bool | None:
    rows = read_rows(file.parent / "metrics.jsonl")
    if not rows:
        return False
    save_figure(loss.loss_figure(rows), file)


# ---------------------------------------------------------------- one density


def is_one_density(experiment: Experiment) -> bool:
    return not is_many(experiment)


def has_likelihood(experiment: Experiment) -> bool:
    return is_one_density(experiment) and strategy_of(experiment.model).has_point_density


def cloud_numbers(evidence: ReportData) -> dict:
    config = evidence.config
    return clouds.compare(
        *evidence.clouds, num_projections=config.num_projections, exact_points=config.exact_points
    )


def likelihood_numbers(evidence: ReportData) -> dict:
    config = evidence.config
    log_prob = evidence.log_prob(config.likelihood_steps)
    key = jax.random.key(config.seed + 1)
    found = likelihood.compare(evidence.dataset, log_prob, key, config.heldout_points)
    return {"log_likelihood": found | overfitting.chosen_on(evidence.experiment)}


def has_density(experiment: Experiment) -> bool:
    """Return whether the model has a density in the plane, and the data have a density, too."""
    dataset, wanted = experiment.dataset, experiment.config.evaluate.density_size > 0
    return wanted and has_likelihood(experiment) and dataset.dim == 2 and dataset.rows is None


def density_numbers(evidence: ReportData) -> dict:
    """Share of the mass that the model puts in other places than the data."""
    log_density, extent = evidence.density
    if not (np.isfinite(log_density).any() and evidence.counts.share.any()):
        return {}
    share = fields.coarser(evidence.counts.share, len(log_density))
    true = evidence.dataset.log_prob
    if true is not None:
        true = np.asarray(true(jnp.asarray(likelihood.centres(extent, len(log_density)))))
    num_points = fields.DRAWS * fields.TIMES
    return {"total_variation": fields.total_variation(log_density, share, num_points, true)}


def samples_figure(evidence: ReportData, file: Path) -> None:
    """Draw real points beside samples and, if the model has one, its density."""
    dataset, (real, drawn) = evidence.dataset, _shown(evidence)
    density, extent = evidence.density
    title, notice = dataset.title, dataset.notice
    names = coordinates(dataset) if dataset.columns or dataset.dim > 2 else ()
    figure = samples.samples_figure(
        real, drawn, title, notice, density, extent, dataset.origin, names
    )
    save_figure(figure, file)


def trajectory_array(evidence: ReportData, file: Path) -> None:
    """Write the trajectory of one set as an array."""
    write_array(file, units.to_own(evidence.dataset.origin, evidence.trajectory[0]))


def reverse_film(evidence: ReportData, file: Path) -> bool | None:
    """Animate one set from noise to data."""
    if not has_films(evidence):
        return False
    trajectory, grid = evidence.trajectory
    log_snr = np.asarray(evidence.experiment.process.schedule.log_snr)
    index = frames.select_frames(log_snr[grid], evidence.config.frames)
    title = f"{evidence.dataset.title}: from noise"
    _film(file, trajectory[index], log_snr, grid[index], title)


def forward_film(evidence: ReportData, file: Path) -> bool | None:
    """Animate real points from data to noise."""
    if not has_films(evidence):
        return False
    real, _ = _shown(evidence)
    log_snr = np.asarray(evidence.experiment.process.schedule.log_snr)
    levels = frames.select_frames(log_snr, evidence.config.frames)
    title = f"{evidence.dataset.title}: to noise"
    _film(file, evidence.noised(real, levels), log_snr, levels, title, ramp=COOL)


def has_films(evidence: ReportData) -> bool:
    return evidence.config.frames > 0 and evidence.config.gifs


def _shown(evidence: ReportData) -> tuple[np.ndarray, np.ndarray]:
    """Real points f32[n, 2] and samples f32[m, 2] for the figures."""
    drawn, real, _ = evidence.clouds
    return real[0, :PICTURE_POINTS], drawn[0, :PICTURE_POINTS]


def _film(path: Path, trajectory, log_snr, levels, title: str, **style) -> None:
    labels = ["data" if t == 0 else f"log SNR {log_snr[t]:+.1f}" for t in levels]
    film.save_film(path, trajectory, labels, title, **style)


# ---------------------------------------------------------------- a mixture of members


def is_mixture(experiment: Experiment) -> bool:
    return bool(experiment.dataset.members)


def member_numbers(evidence: ReportData) -> dict:
    calibration = evidence.calibration
    for name, count in zip(evidence.dataset.label_names, calibration.distinct, strict=True):
        if count < separation.FEWEST_DISTINCT:
            log.warning(
                "no stray points of %s: their threshold needs %d distinct real points, and %d "
                "are drawn (config.data.jitter_std spreads rows)",
                name, separation.FEWEST_DISTINCT, count,
            )  # fmt: skip
    return separation.compare(evidence.dataset, evidence.key, evidence.samples,
                              calibration, evidence.separation)


def member_figure(evidence: ReportData, file: Path) -> None:
    found = evidence.separation
    sets_figure(
        evidence, file, member=found.member, bad=~found.accepted,
        names=evidence.dataset.label_names, real_member=evidence.real_sets[1][:REAL],
    )  # fmt: skip


# ---------------------------------------------------------------- sets of many sources


def is_collection(experiment: Experiment) -> bool:
    """Return whether the data are images or observed sets, each of which is one set."""
    return experiment.dataset.num_sources > 0


def is_named_collection(experiment: Experiment) -> bool:
    return is_collection(experiment) and experiment.model.num_labels > 0


def collection_numbers(evidence: ReportData) -> dict:
    """Distances to held-out sets and copies of training sets, if enough sets are held out."""
    dataset, sets = evidence.dataset, evidence.samples[: evidence.config.max_sets]
    real_key, copy_key = (jax.random.fold_in(evidence.key, number) for number in (0, 1))
    result, heldout = {}, dataset.heldout
    if heldout is not None and heldout.num_sources >= FEWEST_SOURCES:
        real_a, real_b = set_metrics.different_real_sets(
            heldout, real_key, len(sets), sets.shape[1]
        )
        result = set_metrics.compare_sets(sets[: len(real_a)], real_a, real_b, len(real_a))
        chosen = overfitting.chosen_on(evidence.experiment)
        result = {name: entry | chosen for name, entry in result.items()}
    else:
        held_out = 0 if heldout is None else heldout.num_sources
        log.warning(
            "no MMD, COV and 1-NNA%s: they need at least %d sets held out, and %d are "
            "(config.data.heldout is the share)", "" if held_out else ", and no copies",
            FEWEST_SOURCES, held_out,
        )  # fmt: skip
    if heldout is not None and heldout.num_sources:
        result = result | {"copies": copies.compare(dataset, copy_key, sets)}
    if evidence.experiment.config.sample.num_points == 0:  # the model drew the sizes of the sets
        size_key = jax.random.fold_in(evidence.key, 4)
        result = result | {"sizes": sizes.compare(dataset, size_key, evidence.samples)}
    return result


def label_numbers(evidence: ReportData) -> dict:
    sets, labels = evidence.labelled(min(len(evidence.samples), evidence.config.max_sets))
    found = classifier.accuracy(evidence.dataset, jax.random.fold_in(evidence.key, 2), sets, labels)
    if found is None:
        log.warning("no label accuracy: the training data have a single label")
        return {}
    return {"label_accuracy": found | {"guidance_scale": evidence.config.guidance_scale}}


def label_figure(evidence: ReportData, file: Path) -> None:
    dataset, (sets, labels) = evidence.dataset, evidence.labelled(LABELLED)
    order = np.argsort(labels, kind="stable")
    title = f"{dataset.title}: by label, guidance {evidence.config.guidance_scale:g}"
    figure = set_figures.sets_figure(
        sets[order], title, dataset.notice, member=labels[order], names=dataset.label_names,
        by_member=True, axes=coordinates(dataset),
    )  # fmt: skip
    save_figure(figure, file)


# ---------------------------------------------------------------- sets of any kind


def is_many(experiment: Experiment) -> bool:
    """Return whether sets differ by more than chance: sets of members or of many sources."""
    return experiment.dataset.num_labels > 0 or is_collection(experiment)


def shows_births(experiment: Experiment, given) -> bool:
    """Return whether to show trajectories of several sets: they differ, or contain given points."""
    return is_many(experiment) or given is not None


def sets_figure(evidence: ReportData, file: Path, **colours) -> None:
    dataset, (real, _) = evidence.dataset, evidence.real_sets
    figure = set_figures.sets_figure(
        evidence.samples, dataset.title, dataset.notice, real=real[:REAL], within=real,
        axes=coordinates(dataset), **colours,
    )  # fmt: skip
    save_figure(figure, file)


def has_set_likelihood(experiment: Experiment) -> bool:
    """Return whether to measure the likelihood of sets, which the model must define.

    If the history comes from another batch, it is not part of the set, so there is no likelihood.
    """
    wanted = is_many(experiment) and experiment.config.evaluate.likelihood_sets > 0
    return wanted and experiment.model.traits.history_source != "previous_batch"


def set_likelihood_numbers(evidence: ReportData) -> dict:
    config, key = evidence.config, jax.random.fold_in(evidence.key, 5)
    given_labels = needs_labels(evidence.experiment.config, evidence.model)
    found = likelihood.compare_whole_sets(
        evidence.dataset, evidence.log_prob_of_sets, key, config.likelihood_sets,
        scored_points(evidence), given_labels,
    )  # fmt: skip
    found |= {"bound": strategy_of(evidence.model).is_lower_bound}
    if row_height := getattr(evidence.model, "row_height", 0):
        wrong = out_of_order(evidence.samples, row_height, evidence.dataset.origin).any(1)
        found |= {"samples_out_of_order": float(wrong.mean())}
    return {"set_log_likelihood": found | overfitting.chosen_on(evidence.experiment)}


def scored_points(evidence: ReportData) -> int:
    """Largest number of points of a set whose likelihood is measured. Larger sets are cut.

    A model of points in rows, and a joint model of observed sets, have learned only the densities
    of sets that are cut as in training: see sets/likelihood.py.
    """
    observed = evidence.dataset.sizes is not None
    if strategy_of(evidence.model).scores_training_sizes(observed):
        return evidence.experiment.config.train.num_points
    return min(evidence.samples.shape[1], LIKELIHOOD_POINTS)


def attention_figure(evidence: ReportData, file: Path) -> bool | None:
    """Draw the attention of a few points of a finished set; False without an attention layer."""
    points, traits = ragged(evidence.samples[:1])[0], evidence.model.traits
    size = len(points)
    if traits.history_source:
        points = points[: evidence.experiment.config.train.max_history]
    weights = evidence.attention(points, size)
    if weights is None:
        return False
    learned = traits.learned_queries
    index = np.arange(min(QUERIES, len(weights))) if learned else _spread(points, QUERIES)
    subject = "attention of learned queries" if learned else "attention of points"
    figure = attention.attention_figure(
        points, weights[index], None if learned else points[index],
        f"{evidence.dataset.title}: {subject}",
    )  # fmt: skip
    save_figure(figure, file)


def _spread(points: np.ndarray, count: int) -> np.ndarray:
    """Indices of `count` points far from each other: each is the farthest from the earlier ones."""
    index = [0]
    while len(index) < count:
        far = np.min([np.sum((points - points[i]) ** 2, -1) for i in index], axis=0)
        index.append(int(far.argmax()))
    return np.array(index)


def birth_figure(evidence: ReportData, file: Path) -> bool | None:
    """Animate whole sets from noise, side by side; animate the blocks of a chain in turn."""
    count, title = evidence.config.frames, evidence.dataset.title
    if not has_films(evidence):
        return False
    trajectory = evidence.births[0][:, :BIRTHS]
    if is_chain(evidence.experiment):
        trajectory, sizes = trajectory[:, 0], evidence.blocks(0)
        trajectory = trajectory[:, : sum(sizes)]
        grown, new = frames.grow(trajectory, sizes, max(count, 2))
        labels = [f"{len(points)} points" for points in grown]
        film.save_film(file, grown, labels, title, new=new)
    else:
        index = np.unique(np.linspace(0, len(trajectory) - 1, count).astype(int))
        labels = [f"step {i} of {len(trajectory) - 1}" for i in index]
        is_known = is_mixture(evidence.experiment)
        member = evidence.separation.member[:BIRTHS] if is_known else None
        film.save_grid_film(file, trajectory[index], labels, title, member)


def is_chain(experiment: Experiment) -> bool:
    """Return whether a set is drawn block after block."""
    return strategy_of(experiment.model).grows


SECTIONS = (
    Section("training", lambda experiment: True, figures={"loss.png": loss_figure}),
    Section("samples", is_one_density, cloud_numbers, {"samples.png": samples_figure}),
    Section("likelihood", has_likelihood, likelihood_numbers),
    Section("density", has_density, density_numbers),
    Section("trajectory", is_one_density, figures={
        "trajectory.npy": trajectory_array, "reverse.gif": reverse_film,
        "forward.gif": forward_film}),
    Section("members", is_mixture, member_numbers, {"sets.png": member_figure}),
    Section("collection", is_collection, collection_numbers, {"sets.png": sets_figure}),
    Section("labels", is_named_collection, label_numbers, {"labels.png": label_figure}),
    Section("set_likelihood", has_set_likelihood, set_likelihood_numbers),
    Section("attention", is_many, figures={"attention.png": attention_figure}),
    Section("birth", is_many, figures={"birth.gif": birth_figure}),
)  # fmt: skip
