"""Check the arguments of one call of `sample`, and what a trained model allows."""

import math
from collections.abc import Iterator

import numpy as np

from tiny_diffusion_jax import data, models
from tiny_diffusion_jax.config import editable, flatten, require_allowed
from tiny_diffusion_jax.data import About
from tiny_diffusion_jax.data.label_option import (
    NO_LABEL,
    RANDOM,
    WORDS,
    random_option,
    resolve_label,
)
from tiny_diffusion_jax.diffusion.samplers import make_sampler
from tiny_diffusion_jax.errors import NO_VALUE, UserError, require
from tiny_diffusion_jax.metrics import ragged
from tiny_diffusion_jax.sets import strategy_of

# (option, whether its rule holds, the rule in words, which follow "must be")
Rules = Iterator[tuple[str, bool, str]]
DISTILLED = "the network of a distilled model predicts ends of trajectories, not means"
NEVER_WITHOUT_LABEL = "the model saw no set without its label, as config.train.label_drop = 0"
NEVER_WITH_LABEL = "the model saw no set with its label, as config.train.label_drop = 1"


# ---------------------------------------------------------------- what a model allows


def needs_labels(config, model) -> bool:
    """Return whether `model` saw the label of every set, so it has no density without a label."""
    return model.num_labels > 0 and config.train.label_drop == 0


def _has_label(model, label: int, has_labels: bool, completes: bool) -> bool:
    """Return whether a call of `sample` draws sets with a label.

    A random label may contradict the given points, so completed sets have no random label.
    """
    is_given = has_labels or label >= 0 or (label == RANDOM and not completes)
    return model.num_labels > 0 and is_given


def is_distilled(config) -> bool:
    """Return whether the network learns the ends of trajectories (training/trajectories.py)."""
    return config.train.trajectories > 0


def is_flow(config) -> bool:
    """Return whether data and noise are paired, or another density replaces the noise."""
    return bool(config.data.start) or config.train.pairs != "independent"


def require_rules(config, rules: Rules) -> None:
    """Raise UserError for the first rule of the options of `config` that does not hold."""
    values = flatten(config)
    for option, holds, words in rules:
        require(holds, f"config.{option}", values[option], words)


def make_denoiser(config, about: About):
    """Return the denoiser of a config, with as many labels as the data have."""
    return models.make_model(config.model, len(about.labels.names))


def size_limit(model) -> tuple[float, str]:
    """The largest number of points in a set that the model takes, and this limit in words."""
    traits = model.traits
    if traits.max_points is None:
        return math.inf, "any number"
    return traits.max_points, f"at most {traits.max_points} for {traits.max_points_reason}"


def check_copies(model, num_points: int, n: int) -> None:
    """Raise UserError if `model` cannot take `num_points` with copies of `n` given points."""
    limit, _ = size_limit(model)
    in_memory = strategy_of(model).points_in_memory(num_points, n)
    require(in_memory <= limit, "config.sample.num_points", num_points,
            f"lower: with copies of the {n} given points the model sees {in_memory} at once, and "
            f"takes at most {limit} for {model.traits.max_points_reason}")  # fmt: skip


def check_labels(num_sets: int, model, labels: np.ndarray, present: tuple[int, ...]) -> None:
    """Raise UserError unless `labels` holds one of the labels `present` for each set."""
    require(model.num_labels > 0, "labels", labels.tolist(),
            "None for a model without labels; train one with config.model.labels=True")
    require(labels.shape == (num_sets,), "labels.shape", labels.shape,
            f"(num_sets,) = ({num_sets},)")  # fmt: skip
    unknown = sorted(set(labels.tolist()) - set(present))
    is_range = present == tuple(range(len(present)))
    words = f"in 0..{len(present) - 1}" if is_range else f"one of {', '.join(map(str, present))}"
    require(not unknown, "labels", unknown, f"all {words}")


def check_sees_given(model) -> None:
    """Raise UserError for a model of sorted points that has seen no given points in training."""
    if strategy_of(model).sorts:
        require(model.given_share > 0, "config.model.given_share", model.given_share,
                "above 0 in training, for a model of sorted points that is given points")


# ---------------------------------------------------------------- sample


def check_sample(
    config, sample, labels=None, given=None, about: About | None = None, model=None
) -> None:
    """Raise UserError for a bad argument of `sampling.sample`.

    config: the whole config of the training, because a model cannot do what it never saw in
    training; sample: the `sample` part of a config, for this call; labels i32[num_sets] and given
    f32[n, D]: see `sampling.sample`; about, model: see `check`.
    """
    for name, value in sample.items():
        require_allowed(f"sample.{name}", value)
    about = about or data.about(config.data)
    model = model or make_denoiser(config, about)
    if given is not None:
        _check_given(config, sample, model, np.asarray(given), about)
    if labels is not None:
        check_labels(sample.num_sets, model, np.asarray(labels), about.labels.present)
    config = editable(config)
    config.sample.update(sample)
    rules = sample_rules(config, sample, model, about, labels is not None, given is not None)
    require_rules(config, rules)
    label = resolve_label(sample.label, about.labels) if model.num_labels else NO_LABEL
    if _has_label(model, label, labels is not None, given is not None):
        drop = config.train.label_drop
        require(drop < 1, "config.train.label_drop", drop, "below 1 to draw sets with a label, "
                "because the model never saw a label. It can draw sets without a label")
    if given is None and strategy_of(model).reads_history:
        drop = config.train.history_drop
        require(drop > 0, "config.train.history_drop", drop, "above 0 to draw new sets, because "
                "the model never saw an empty history. It can complete sets")  # fmt: skip


def sample_rules(
    config, sample, model, about: About, has_labels: bool = False, completes: bool = False
) -> Rules:
    """Rules of a call of `sample`, with an argument `labels`, or to complete given points."""
    levels, (limit, words) = config.schedule.num_levels, size_limit(model)
    strategy, distilled = strategy_of(model), is_distilled(config)
    yield ("sample.num_steps", sample.num_steps <= levels,
           f"at most config.schedule.num_levels = {levels}")  # fmt: skip
    yield ("sample.sampler", (sample.sampler == "consistency") == distilled,
           f"consistency, because {DISTILLED}" if distilled else
           "another sampler for a model that is not distilled (--mode=distill)")  # fmt: skip
    yield ("train.trajectories", not (distilled and completes),
           f"0 to complete sets: {DISTILLED}")  # fmt: skip
    yield ("sample.guidance_scale", not distilled or sample.guidance_scale == 1,
           f"1, because {DISTILLED}")  # fmt: skip
    yield "sample.num_points", sample.num_points <= limit, words
    if is_flow(config):  # fresh noise would lead away from the trained paths
        yield ("sample.sampler", not make_sampler(sample.sampler, sample.eta).stochastic,
               "a deterministic sampler (dpm++2m, heun, or ddim with eta 0) for a flow from "
               "config.data.start or with optimal pairs")  # fmt: skip
    for name, holds, allowed in strategy.sample_limits(sample):
        yield f"sample.{name}", holds, allowed
    label = NO_LABEL
    if model.num_labels:
        label = resolve_label(sample.label, about.labels)  # raises its own errors
    else:
        yield ("sample.label", str(sample.label) in WORDS,
               "-1 for a model without labels; train one with config.model.labels=True")
    if completes and strategy.guides_latent:
        reason = "when completing with latents: they come from the points"
        words = f"{random_option(about.labels)} {reason}"
        yield "sample.label", label < 0 and not has_labels, words
        yield "sample.guidance_scale", sample.guidance_scale == 1, f"1 {reason}"
        return
    is_labelled = _has_label(model, label, has_labels, completes)
    if model.num_labels and not is_labelled:
        yield ("sample.label", config.train.label_drop > 0,
               "a label: the model saw no set without one, as config.train.label_drop = 0")
    if sample.guidance_scale == 1:
        return
    # Guidance needs a condition, and a model that learned to do without it.
    if is_labelled:
        holds, words = config.train.label_drop > 0, f"1: {NEVER_WITHOUT_LABEL}"
    elif strategy.reads_history:
        holds = config.train.history_drop > 0
        words = "1: the model saw no set without a history, as config.train.history_drop = 0"
    else:
        holds, words = False, ("1 without a label to guide to: set config.sample.label"
                               if model.num_labels else "1 for a model without labels or history")
    yield "sample.guidance_scale", holds, words


def _check_given(config, sample, model, given: np.ndarray, about: About) -> None:
    """Raise UserError for points that `model` cannot complete to sets of sample.num_points."""
    check_sees_given(model)
    if not model.traits.completes:
        settings, completing = editable(config), []
        for settings.model.name in models.MODELS:
            completing += [settings.model.name] * make_denoiser(settings, about).traits.completes
        raise UserError("config.model.name", config.model.name,
                        f"a model that completes sets: {', '.join(completing)}")  # fmt: skip
    n, num_points, dim = len(np.atleast_1d(given)), sample.num_points, about.dim
    has_dim = given.ndim == 2 and given.shape[1] == (dim or given.shape[1])
    words = f"in 1..{num_points - 1} (config.sample.num_points)" if num_points else "at least 1"
    require(has_dim and 1 <= n < (num_points or math.inf), "given.shape", given.shape,
            f"(n, {dim or 'D'}), n {words}",
            "Complete each set in a call" if given.ndim == 3 else "")  # fmt: skip
    require(bool(np.isfinite(given).all()), "given", NO_VALUE, "finite numbers")
    if num_points:
        check_copies(model, num_points, n)


# ---------------------------------------------------------------- arguments of interface.py


def check_drawn_with_log_prob(model, sample, given, keep_trajectory: bool) -> None:
    """Raise UserError for arguments of `sample` that exclude with_log_prob."""
    require(strategy_of(model).has_point_density, "with_log_prob", True,
            "False for a model of whole sets. Call log_prob with the sets")  # fmt: skip
    require(given is None, "given", "points", "None with with_log_prob = True")
    require(not keep_trajectory, "keep_trajectory", True, "False with with_log_prob = True")
    require(sample.num_points > 0, "config.sample.num_points", 0, "at least 1 with with_log_prob")
    require(sample.guidance_scale == 1, "config.sample.guidance_scale", sample.guidance_scale,
            "1 with with_log_prob = True, as log_prob has no guidance")  # fmt: skip


def check_sets(sets: np.ndarray, dim: int) -> None:
    """Raise UserError unless `sets` are two sets f[S, N, D] or more, of two points or more."""
    holds = sets.ndim == 3 and sets.shape[-1] == dim and sets.shape[0] > 0 and sets.shape[1] > 1
    require(holds, "samples.shape", sets.shape, f"(S, N, {dim}), S at least 1, N at least 2")
    ragged.require_padded("samples", sets)
