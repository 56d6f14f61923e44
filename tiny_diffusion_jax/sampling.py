"""Draw sets from a trained model, with their labels and numbers of points."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from tiny_diffusion_jax import data, devices, sets
from tiny_diffusion_jax.api import Experiment
from tiny_diffusion_jax.call_checks import check_sample
from tiny_diffusion_jax.checks import check_drawn
from tiny_diffusion_jax.data import units
from tiny_diffusion_jax.data.label_option import NO_LABEL, RANDOM, resolve_label
from tiny_diffusion_jax.data.notices import far_from_data
from tiny_diffusion_jax.scoring import log_prob_of_sets, warn_if_unseen
from tiny_diffusion_jax.sets.autoregressive import block_sizes
from tiny_diffusion_jax.sets.sizes import draw_sizes, draw_sizes_given

log = logging.getLogger("tiny_diffusion_jax")


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
    sizes_of_sets = np.array([config.num_points]) if sizes is None else sizes
    warn_if_unseen(experiment, sizes_of_sets)
    _warn_if_points_are_blind(experiment, config, sizes_of_sets.max(), num_given)
    context = sets.SamplingContext(process, params, config, config.num_points,
                                   train_config.max_history, dataset.dim,
                                   keep_trajectory)  # fmt: skip
    drawn = sets.draw(sets.strategy_of(model), context, dataset, labels, sizes, given,
                      _progress_bar if progress else None)  # fmt: skip
    return units.to_own(origin, drawn)


def _warn_if_points_are_blind(
    experiment: Experiment, config, num_points: int, num_given: int
) -> None:
    """Log a notice if a point of an own set is drawn without seeing all earlier points.

    Points of pictures, mixtures and digits are independent given the set that the first points
    reveal, so nothing is lost.
    """
    strategy, about = sets.strategy_of(experiment.model), experiment.config.data
    if not strategy.grows or about.name != "sets" or about.jitter != "none":  # pictures have jitter
        return
    _, blocks = block_sizes(config, num_points, num_given)
    if (largest := max(blocks, default=1)) > 1:
        log.warning(
            "notice: up to %d points of a set are drawn without seeing each other "
            "(config.sample.growth = %g, first_block = %d). 1 and 1 draw point by point, for "
            "points that repel, attract or follow each other",
            largest, config.growth, config.first_block,
        )  # fmt: skip
    max_history = experiment.config.train.max_history
    if strategy.reads_history and num_points > max_history + 1:
        log.warning(
            "notice: a point sees the last %d of up to %d earlier points of its set "
            "(config.train.max_history)", max_history, num_points - 1,
        )  # fmt: skip


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


def conditioning(experiment: Experiment, config) -> tuple[jax.Array | None, np.ndarray | None]:
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
