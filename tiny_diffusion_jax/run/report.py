"""The numbers and pictures at the end of a run: a list of sections, chosen by data and model.

A section has numbers, entries of metrics.json, or figures, files of the run's folder, or both.
What several need is in `Evidence`, which each is given.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from tiny_diffusion_jax.data.base import draw_points
from tiny_diffusion_jax.evaluate import classifier, clouds, copies, likelihood, separation
from tiny_diffusion_jax.evaluate import sets as set_metrics
from tiny_diffusion_jax.experiment import Experiment
from tiny_diffusion_jax.figures import clouds as cloud_plots
from tiny_diffusion_jax.figures import film
from tiny_diffusion_jax.figures import sets as set_plots
from tiny_diffusion_jax.figures.page import COOL, square_limits
from tiny_diffusion_jax.generation.chain import block_sizes
from tiny_diffusion_jax.run import workdir
from tiny_diffusion_jax.run.evidence import Evidence

PICTURE_POINTS = 4_000  # in the scatter plots and animations
BIRTHS = 8  # sets in the animation
LABELLED = 60  # sets in labels.png
QUERIES = 4  # points whose attention is drawn


class Section(NamedTuple):
    """A part of the report."""

    name: str
    when: Callable[[Experiment], bool]
    numbers: Callable[[Evidence], dict] = lambda evidence: {}  # entries of metrics.json
    figures: Callable[[Evidence, Path], Sequence[str]] = lambda evidence, folder: ()  # file names


def evaluate(evidence: Evidence) -> dict:
    """The numbers of all sections, plain ones: each metric of the samples beside its floor."""
    result = {}
    for section in chosen(evidence.experiment):
        result |= section.numbers(evidence)
    return result


def pictures(evidence: Evidence, folder: Path) -> dict[str, Sequence[str]]:
    """Writes the figures of all sections; returns the names of the files of each section."""
    return {
        section.name: section.figures(evidence, folder) for section in chosen(evidence.experiment)
    }


def chosen(experiment: Experiment) -> list[Section]:
    """The sections that are for this data and model."""
    return [section for section in SECTIONS if section.when(experiment)]


def lines(result: dict) -> list[str]:
    """One line a metric, for the log."""
    return [
        f"{name}: {m['value']:.4g}"
        + ("" if m["floor"] is None else f", floor {m['floor']:.4g}")
        + (f", ratio {m['ratio']:.3f}" if m.get("ratio") is not None else "")
        + (f": {m['verdict']}" if m.get("flagged") else "")
        for name, m in result.items()
    ]


# ---------------------------------------------------------------- training


def loss_figure(evidence: Evidence, folder: Path) -> Sequence[str]:
    rows = workdir.read_rows(folder / "metrics.jsonl")
    if not rows:
        return ()
    with workdir.atomic(folder / "loss.png") as path:
        cloud_plots.save_loss(path, rows)
    return ("loss.png",)


# ---------------------------------------------------------------- one density


def is_one_density(experiment: Experiment) -> bool:
    return experiment.dataset.num_labels == 0


def has_likelihood(experiment: Experiment) -> bool:
    return is_one_density(experiment) and experiment.model.traits.generation == "alone"


def cloud_numbers(evidence: Evidence) -> dict:
    config = evidence.config
    return clouds.compare(
        *evidence.clouds, num_projections=config.num_projections, exact_points=config.exact_points
    )


def likelihood_numbers(evidence: Evidence) -> dict:
    config = evidence.config
    log_prob = evidence.log_prob(config.likelihood_steps)
    key = jax.random.key(config.seed + 1)
    return {"log_likelihood": likelihood.compare(
        evidence.dataset, log_prob, key, config.heldout_points
    )}  # fmt: skip


def samples_figure(evidence: Evidence, folder: Path) -> Sequence[str]:
    """Real points beside samples and, where the model has one, its density."""
    config, dataset = evidence.config, evidence.dataset
    real, samples = _shown(evidence)
    density = extent = None
    if config.density_size and has_likelihood(evidence.experiment):
        extent = square_limits(real)
        everything = np.concatenate([real, evidence.samples.reshape(-1, 2)])
        density = likelihood.picture(
            evidence.log_prob(config.density_steps), extent, config.density_size, everything,
            config.heldout_points,
        )  # fmt: skip
    with workdir.atomic(folder / "samples.png") as path:
        cloud_plots.save_samples(
            path, real, samples, dataset.title, dataset.notice, density, extent
        )
    return ("samples.png",)


def way_figures(evidence: Evidence, folder: Path) -> Sequence[str]:
    """The way of one set from noise, as numbers and as a film, and that of real points to noise."""
    real, samples = _shown(evidence)
    frames, title = evidence.config.frames, evidence.dataset.title
    way, grid = evidence.trajectory(len(samples), max(frames, 2))
    workdir.write_array(folder / "trajectory.npy", way)
    if not frames:
        return ("trajectory.npy",)
    log_snr = np.asarray(evidence.experiment.process.schedule.log_snr)
    index = film.select_frames(log_snr[grid], frames)
    _film(folder / "reverse.gif", way[index], grid[index], log_snr, f"{title}: from noise")
    levels = film.select_frames(log_snr, frames)
    _film(folder / "forward.gif", evidence.noised(real, levels), levels, log_snr,
          f"{title}: to noise", ramp=COOL)
    return "trajectory.npy", "reverse.gif", "forward.gif"


def _shown(evidence: Evidence) -> tuple[np.ndarray, np.ndarray]:
    """The real points f32[n, 2] and the samples f32[m, 2] of the pictures."""
    samples, real, _ = evidence.clouds
    return real[0, :PICTURE_POINTS], samples[0, :PICTURE_POINTS]


def _film(path: Path, way, levels, log_snr, title: str, **style) -> None:
    labels = ["data" if t == 0 else f"log SNR {log_snr[t]:+.1f}" for t in levels]
    with workdir.atomic(path) as temporary:
        film.save_animation(temporary, way, labels, title, **style)


# ---------------------------------------------------------------- a mixture of members


def is_mixture(experiment: Experiment) -> bool:
    return bool(experiment.dataset.members)


def member_numbers(evidence: Evidence) -> dict:
    return separation.compare(evidence.dataset, evidence.key, evidence.samples,
                              evidence.calibration, evidence.separation)


def member_figure(evidence: Evidence, folder: Path) -> Sequence[str]:
    found, real = evidence.separation, _real_sets(evidence)
    return _sets_figure(
        evidence, folder, member=found.member, bad=~found.accepted,
        names=evidence.dataset.label_names, real_member=np.asarray(real.label),
    )  # fmt: skip


# ---------------------------------------------------------------- sets of many images


def is_images(experiment: Experiment) -> bool:
    return experiment.dataset.num_sources > 0


def is_named_images(experiment: Experiment) -> bool:
    return is_images(experiment) and experiment.model.num_labels > 0


def image_numbers(evidence: Evidence) -> dict:
    dataset, samples = evidence.dataset, evidence.samples[: evidence.config.max_sets]
    real_key, copy_key = (jax.random.fold_in(evidence.key, number) for number in (0, 1))
    real_a, real_b = set_metrics.different_real_sets(
        dataset.heldout, real_key, len(samples), samples.shape[1]
    )
    result = set_metrics.compare_sets(samples[: len(real_a)], real_a, real_b, len(real_a))
    return result | {"copies": copies.compare(dataset, copy_key, samples)}


def label_numbers(evidence: Evidence) -> dict:
    sets, labels = evidence.labelled(min(len(evidence.samples), evidence.config.max_sets))
    found = classifier.accuracy(evidence.dataset, jax.random.fold_in(evidence.key, 2), sets, labels)
    return {"label_accuracy": found | {"guidance_scale": evidence.config.guidance_scale}}


def label_figure(evidence: Evidence, folder: Path) -> Sequence[str]:
    dataset, (sets, labels) = evidence.dataset, evidence.labelled(LABELLED)
    order = np.argsort(labels, kind="stable")
    title = f"{dataset.title}: asked for, guidance {evidence.config.guidance_scale:g}"
    with workdir.atomic(folder / "labels.png") as path:
        set_plots.save_sets(path, sets[order], title, dataset.notice, member=labels[order],
                            names=dataset.label_names, by_member=True)
    return ("labels.png",)


# ---------------------------------------------------------------- sets of any kind


def is_many(experiment: Experiment) -> bool:
    return experiment.dataset.num_labels > 0


def _real_sets(evidence: Evidence):
    return evidence.dataset.draw(evidence.key, 8, evidence.samples.shape[1])


def _sets_figure(evidence: Evidence, folder: Path, **colours) -> Sequence[str]:
    dataset, real = evidence.dataset, np.asarray(_real_sets(evidence).points)
    with workdir.atomic(folder / "sets.png") as path:
        set_plots.save_sets(
            path, evidence.samples, dataset.title, dataset.notice, real=real, **colours
        )
    return ("sets.png",)


def attention_figure(evidence: Evidence, folder: Path) -> Sequence[str]:
    """What a few points of a finished set look at; none of a network without attention."""
    points, traits = evidence.samples[0], evidence.model.traits
    if traits.shown:
        points = points[: evidence.experiment.config.train.max_history]
    weights = evidence.attention(points)
    if weights is None:
        return ()
    learned = traits.learned_queries
    index = np.arange(min(QUERIES, len(weights))) if learned else _spread(points, QUERIES)
    subject = "what learned queries look at" if learned else "what a point looks at"
    with workdir.atomic(folder / "attention.png") as path:
        set_plots.save_attention(path, points, weights[index], None if learned else points[index],
                                 f"{evidence.dataset.title}: {subject}")
    return ("attention.png",)


def _spread(points: np.ndarray, count: int) -> np.ndarray:
    """Indices of `count` points far from each other: each the farthest from those before."""
    index = [0]
    while len(index) < count:
        far = np.min([np.sum((points - points[i]) ** 2, -1) for i in index], axis=0)
        index.append(int(far.argmax()))
    return np.array(index)


def birth_figure(evidence: Evidence, folder: Path) -> Sequence[str]:
    """Whole sets on their way from noise, side by side; a chain's blocks one after the other."""
    frames, title = evidence.config.frames, evidence.dataset.title
    if not frames:
        return ()
    config = evidence.experiment.config.sample
    way = evidence.births(BIRTHS)
    with workdir.atomic(folder / "birth.gif") as path:
        if evidence.model.traits.generation == "chain":
            _, sizes = block_sizes(config)
            grown, new, _ = film.grow(way[:, 0], sizes, max(frames, 2))
            labels = [f"{len(points)} points" for points in grown]
            film.save_birth(path, grown, labels, title, new=new)
        else:
            index = np.unique(np.linspace(0, len(way) - 1, frames).astype(int))
            labels = [f"step {i} of {len(way) - 1}" for i in index]
            is_known = is_mixture(evidence.experiment)
            member = evidence.separation.member[:BIRTHS] if is_known else None
            film.save_births(path, way[index], labels, title, member)
    return ("birth.gif",)


SECTIONS = (
    Section("training", lambda experiment: True, figures=loss_figure),
    Section("samples", is_one_density, cloud_numbers, samples_figure),
    Section("likelihood", has_likelihood, likelihood_numbers),
    Section("way", is_one_density, figures=way_figures),
    Section("members", is_mixture, member_numbers, member_figure),
    Section("images", is_images, image_numbers, _sets_figure),
    Section("labels", is_named_images, label_numbers, label_figure),
    Section("attention", is_many, figures=attention_figure),
    Section("birth", is_many, figures=birth_figure),
)


def draw_real(experiment: Experiment, seed: int, num_sets: int, num_points: int) -> np.ndarray:
    """Real point sets in own units, f32[num_sets, num_points, 2]."""
    return np.asarray(draw_points(experiment.dataset, jax.random.key(seed), num_sets, num_points))
