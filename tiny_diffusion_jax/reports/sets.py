"""Metrics and figures of sets: of the members of a mixture, of images, and of observed sets."""

import logging
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax import sampling, scoring
from tiny_diffusion_jax.call_checks import needs_labels
from tiny_diffusion_jax.figures import attention, film, frames
from tiny_diffusion_jax.figures import sets as set_figures
from tiny_diffusion_jax.figures.style import save_figure
from tiny_diffusion_jax.metrics import (
    classifier,
    likelihood_metrics,
    memorization,
    neighbours,
    outside,
    separation,
    sizes,
)
from tiny_diffusion_jax.metrics.ragged import one_set_each, pad
from tiny_diffusion_jax.metrics.sets import compare_sets, different_real_sets
from tiny_diffusion_jax.point_sets import Conditioning, ragged
from tiny_diffusion_jax.reports.data import ReportData
from tiny_diffusion_jax.sets import strategy_of
from tiny_diffusion_jax.sets.order import out_of_order

log = logging.getLogger("tiny_diffusion_jax")
FILM_SETS = 8  # sets in the animation.
LABELLED = 60  # sets in labels.png.
QUERIES = 4  # points whose attention is drawn.
REAL = 8  # real sets in sets.png.
MOST_REAL = 2_000  # training sets, and held-out sets, whose points are measured.
LIKELIHOOD_POINTS = 64  # largest size of a set whose likelihood is measured.
FEWEST_SOURCES = 4  # held-out images or sets, to make two groups of different real sets.


def member_metrics(data: ReportData) -> dict:
    """Separation of a mixture into its members, and how often each member is drawn."""
    for name, count in zip(data.dataset.label_names, data.calibration.distinct, strict=True):
        if count < separation.FEWEST_DISTINCT:
            log.warning(
                "no stray points of %s: their threshold needs %d distinct real points, and %d "
                "are drawn (config.data.jitter_std spreads rows)",
                name, separation.FEWEST_DISTINCT, count,
            )  # fmt: skip
    return separation.compare(
        data.dataset, data.key, data.samples, data.calibration, data.separation
    )


def collection_metrics(data: ReportData) -> dict:
    """Compare generated sets with real sets: distances, copies, sizes, neighbours, the box."""
    dataset, samples = data.dataset, data.samples[: data.config.max_sets]
    real_key, copy_key, size_key = (jax.random.fold_in(data.key, number) for number in (0, 1, 4))
    metrics, heldout = {}, dataset.heldout
    num_heldout = 0 if heldout is None else heldout.num_sources
    if num_heldout >= FEWEST_SOURCES:
        real_a, real_b = different_real_sets(heldout, real_key, len(samples), samples.shape[1])
        distances = compare_sets(samples[: len(real_a)], real_a, real_b, len(real_a))
        metrics = {name: metric | data.weights_chosen_on for name, metric in distances.items()}
    else:
        log.warning(
            "no MMD, COV and 1-NNA%s: they need at least %d sets held out, and %d are "
            "(config.data.heldout is the share)", "" if num_heldout else ", and no copies",
            FEWEST_SOURCES, num_heldout,
        )  # fmt: skip
    if num_heldout:
        metrics["copies"] = memorization.compare(dataset, copy_key, samples)
    if data.options.num_points == 0:  # the model drew the sizes of the sets
        metrics["sizes"] = sizes.compare(dataset, size_key, data.samples)
    return metrics | _metrics_of_points(data, samples)


def _metrics_of_points(data: ReportData, samples: np.ndarray) -> dict:
    """Nearest neighbours within sets, and points outside of the box of all real points."""
    dataset, num_points = data.dataset, data.options.num_points
    train_key, heldout_key, key = jax.random.split(jax.random.fold_in(data.key, 6), 3)
    real = trained = one_set_each(dataset, train_key, MOST_REAL, num_points)[0]
    heldout = None
    if dataset.heldout is not None and dataset.heldout.num_sources:
        heldout = one_set_each(dataset.heldout, heldout_key, MOST_REAL, num_points)[0]
        most = max(trained.shape[1], heldout.shape[1])
        real = np.concatenate([pad(trained, most), pad(heldout, most)])
    metrics = {"outside": outside.compare(samples, real)}
    if num_points == 0 or dataset.sizes is None:  # distances depend on the number of points
        # With units that differ from axis to axis, coordinates are divided by their spread.
        unit = np.asarray(dataset.scale) if np.ndim(dataset.scale) else 1.0
        scaled = (None if sets is None else sets / unit for sets in (samples, trained, heldout))
        if metric := neighbours.compare(key, *scaled):
            metrics["neighbours"] = metric | data.weights_chosen_on
    return metrics


def label_accuracy(data: ReportData) -> dict:
    """Share of guided sets whose label a classifier recognises."""
    sets, labels = data.labelled(min(len(data.samples), data.config.max_sets))
    metric = classifier.accuracy(data.dataset, jax.random.fold_in(data.key, 2), sets, labels)
    if metric is None:
        log.warning("no label accuracy: the training data have a single label")
        return {}
    return {"label_accuracy": metric | {"guidance_scale": data.config.guidance_scale}}


def likelihood(data: ReportData) -> dict:
    """Log-likelihood of whole sets, in nats per point."""
    log_prob = lambda sets, labels=None, sizes=None: scoring.log_prob_of_sets(
        data.experiment, data.params, sets, data.config.set_likelihood_steps, labels, sizes=sizes)
    metric = likelihood_metrics.compare_whole_sets(
        data.dataset, log_prob, jax.random.fold_in(data.key, 5), data.config.likelihood_sets,
        scored_points(data), needs_labels(data.experiment.config, data.model),
    )  # fmt: skip
    metric |= {"bound": strategy_of(data.model).is_lower_bound}
    if keys := strategy_of(data.model).sort_keys:
        wrong = out_of_order(data.samples, keys, data.dataset.origin).any(1)
        metric |= {"samples_out_of_order": float(wrong.mean())}
    return {"set_log_likelihood": metric | data.weights_chosen_on}


def scored_points(data: ReportData) -> int:
    """Largest number of points of a set whose likelihood is measured. Larger sets are cut.

    A model of sorted points, and a joint model of observed sets, have learned only the densities
    of sets that are cut as in training: see sets/likelihood.py.
    """
    if strategy_of(data.model).scores_training_sizes(data.dataset.sizes is not None):
        return data.experiment.config.train.num_points
    return min(data.samples.shape[1], LIKELIHOOD_POINTS)


def sets_figure(data: ReportData, file: Path) -> None:
    """Draw sets beside real sets, if the data are there, or with their given points."""
    style = {}
    if data.given is not None:
        style = {"given": len(data.given)}
    elif data.is_comparable:
        real, labels = data.real_sets
        style = {"real": real[:REAL], "within": real}
        if data.dataset.members:
            style |= {"member": data.separation.member, "bad": ~data.separation.accepted,
                      "names": data.dataset.label_names, "real_member": labels[:REAL]}
    _save_sets(data, data.samples, data.title, file, **style)


def label_figure(data: ReportData, file: Path) -> None:
    """Draw guided sets, grouped by their labels."""
    sets, labels = data.labelled(LABELLED)
    order = np.argsort(labels, kind="stable")
    title = f"{data.title}: by label, guidance {data.config.guidance_scale:g}"
    _save_sets(data, sets[order], title, file, member=labels[order],
               names=data.dataset.label_names, by_member=True)


def _save_sets(data: ReportData, sets: np.ndarray, title: str, file: Path, **style) -> None:
    axes = data.dataset.coordinates
    save_figure(set_figures.sets_figure(sets, title, data.dataset.notice, axes=axes, **style), file)


def set_film(data: ReportData, file: Path) -> None:
    """Animate sets from noise side by side, or the blocks of a set that grows in turn."""
    trajectories, count = data.trajectories[0][:, :FILM_SETS], data.config.frames
    if strategy_of(data.model).grows:
        block_sizes = data.blocks(0)
        grown, new = frames.grow(trajectories[:, 0, : sum(block_sizes)], block_sizes, max(count, 2))
        labels = [f"{len(points)} points" for points in grown]
        film.save_film(file, grown, labels, data.title, new=new)
    else:
        index = np.unique(np.linspace(0, len(trajectories) - 1, count).astype(int))
        labels = [f"step {i} of {len(trajectories) - 1}" for i in index]
        member = data.separation.member[:FILM_SETS] if data.dataset.members else None
        film.save_grid_film(file, trajectories[index], labels, data.title, member)


def attention_figure(data: ReportData, file: Path) -> bool | None:
    """Draw the attention of a few points of a finished set; False without an attention layer."""
    points, traits = ragged(data.samples[:1])[0], data.model.traits
    size = len(points)
    if traits.history_source:
        points = points[: data.experiment.config.train.max_history]
    weights = attention_weights(data, points, size)
    if weights is None:
        return False
    if traits.learned_queries:
        index, queries, subject = np.arange(min(QUERIES, len(weights))), None, "learned queries"
    else:
        index = _far_apart(points, QUERIES)
        queries, subject = points[index], "points"
    title = f"{data.title}: attention of {subject}"
    save_figure(attention.attention_figure(points, weights[index], queries, title), file)


def attention_weights(data: ReportData, points: np.ndarray, size: int) -> np.ndarray | None:
    """Attention weights f32[queries, n] on `points` f32[n, D], at low noise.

    The queries and keys are points of the first sample, which has `size` points. Weights are from
    the last layer and averaged over heads. None if the network has no attention.
    """
    x = data.dataset.normalize(jnp.asarray(points))[None]
    labels = sampling.labels_of_sets(data.experiment, data.options, data.given)
    conditioning = Conditioning(
        None if labels is None else jnp.asarray(labels)[:1],
        jnp.array([size]) if data.model.counts else None,
    )
    weights = _attention(data.experiment.process, data.params, x, conditioning,
                         strategy=strategy_of(data.model))  # fmt: skip
    if not weights:
        return None
    return np.asarray(weights[-1])[0].mean(0)[:, -len(points):]  # without the null token


@partial(jax.jit, static_argnames="strategy")
def _attention(process, params, x: jax.Array, conditioning, *, strategy) -> list[jax.Array]:
    return strategy.attention(process, params, x, conditioning)


def _far_apart(points: np.ndarray, count: int) -> np.ndarray:
    """Indices of `count` points far from each other: each is the farthest from the earlier ones."""
    index = [0]
    while len(index) < count:
        distances = np.min([np.sum((points - points[i]) ** 2, -1) for i in index], axis=0)
        index.append(int(distances.argmax()))
    return np.array(index)
