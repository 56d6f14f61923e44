"""Check options that depend on each other, on the model, or on one call, before data are read.

options.py holds the rule of each single option. The reader of a file checks rules that depend on
the content of the file.
"""

import math
from collections.abc import Iterator

import numpy as np

from tiny_diffusion_jax import data, models
from tiny_diffusion_jax.config import flatten, require_allowed
from tiny_diffusion_jax.data import About, mixture
from tiny_diffusion_jax.data.label_option import NO_LABEL, RANDOM, WORDS, Labels, resolve_label
from tiny_diffusion_jax.diffusion.schedules import FAMILIES
from tiny_diffusion_jax.errors import NO_VALUE, require, require_choice
from tiny_diffusion_jax.metrics import ragged
from tiny_diffusion_jax.point_sets import lengths
from tiny_diffusion_jax.sets import strategy_of
from tiny_diffusion_jax.training.batches import size_range

# (option, whether its rule holds, the rule in words, which follow "must be")
Rules = Iterator[tuple[str, bool, str]]
AUGMENTATIONS = ("augment_shift", "augment_rotate", "augment_scale", "augment_reflect")


def check(config, about: About | None = None) -> None:
    """Raise UserError if an option of a config is out of range or contradicts another option.

    about: facts about the data of a trained run, which works without its data.
    """
    for option, value in flatten(config).items():
        require_allowed(option, value)
    _require_all(config, _together(config, about))
    about = about or data.about(config.data)
    model = _model(config, about)
    _require_all(config, _sizes(config, model, about))
    _require_all(config, _asked(config, config.sample, model, about))


def check_sample(
    config, sample, labels=None, given=None, dim: int | None = None, about: About | None = None
) -> None:
    """Raise UserError for a bad argument of `experiment.sample`.

    config: the whole config of the training, because a model cannot do what it never saw in
    training; sample: the `sample` part of a config, for this call; labels i32[num_sets] and given
    f32[n, D]: see `experiment.sample`; dim: D of the data, or None if the data have not been read;
    about: see `check`.
    """
    for name, value in sample.items():
        require_allowed(f"sample.{name}", value)
    about = about or data.about(config.data)
    model = _model(config, about)
    if given is not None:
        _check_given(config, sample, model, np.asarray(given), dim, about)
    if labels is not None:
        _check_labels(sample.num_sets, model, np.asarray(labels), about.labels)
    config = config.copy_and_resolve_references()
    config.sample.update(sample)
    _require_all(
        config, _asked(config, sample, model, about, labels is not None, given is not None)
    )
    if given is None and strategy_of(model).reads_history:
        drop = config.train.history_drop
        require(drop > 0, "config.train.history_drop", drop,
                "above 0 to draw new sets, because the model never saw an empty history. It can "
                "complete sets")  # fmt: skip


def check_scored(
    config, model, dim: int, points: np.ndarray, num_steps: int, labels, draws: int, sizes,
    about: About,
) -> None:  # fmt: skip
    """Raise UserError for arguments of `experiment.log_prob` that `model` cannot score.

    points: f32[n, D] or f32[S, N, D]; config: the whole config of the training.
    """
    good = points.ndim in (2, 3) and points.shape[-1] == dim and points.shape[1] > 0
    require(good, "points.shape", points.shape,
            f"(n, {dim}) for points or (S, N, {dim}) for sets, N at least 1")  # fmt: skip
    single = points.ndim == 2
    require(not single or strategy_of(model).has_point_density, "config.model.name",
            config.model.name,
            "a denoiser of single points, as joint models have no density of a point")  # fmt: skip
    require(num_steps >= 1, "num_steps", num_steps, "at least 1")
    require(draws >= 0, "draws", draws, "0 or more")
    if single:
        bad = int((~np.isfinite(points)).any(-1).sum())
        require(bad == 0, "points: points that are not finite", bad, "0")
    else:
        ragged.require_padded("points", points)
    if labels is not None:
        _check_labels(len(points), model, np.asarray(labels), about.labels)
    require(labels is not None or not needs_labels(config, model), "labels", labels,
            "given: the model saw no set without its label, as config.train.label_drop = 0")
    num_points = np.ones(len(points), int) if single else lengths(points)
    if sizes is not None:
        _check_sizes(model, num_points, np.asarray(sizes))
    require(sizes is not None or not (single and model.counts), "sizes", sizes,
            "given for single points: the model is conditioned on the size of their sets, as "
            "config.model.count = True")  # fmt: skip


def needs_labels(config, model) -> bool:
    """Return whether `model` saw the label of every set, so it has no density without a label."""
    return model.num_labels > 0 and config.train.label_drop == 0


def check_data(config, dataset, model) -> None:
    """Raise UserError for an option that contradicts the data, once the data have been read."""
    if config.train.keep_best and dataset.has_points:  # without points there is no training
        require(dataset.heldout is not None, "config.train.keep_best", True,
                "False for data of which no sets are held out")  # fmt: skip
    check_drawn(dataset, model, config.sample)


def check_counts(config, dataset, model) -> None:
    """Raise UserError if model.count is True and all training sets have one number of points.

    The network would fail at any other number. Observed sets pass, because the data give their
    sizes. Trained runs are not checked, because they still draw good sets of the size of their
    training.
    """
    least, most = size_range(config.train, dataset)
    varies = dataset.sizes is not None or least < most
    require(varies or not model.counts, "config.model.count", True,
            f"False if all training sets have {most} points. Vary the size with "
            f"config.train.min_points below {config.train.num_points}, or with "
            f"config.train.max_points of at least {4 * config.train.num_points} over several "
            "blocks")  # fmt: skip


def check_drawn(dataset, model, sample, num_given: int = 0) -> None:
    """Raise UserError if `sample` draws sizes that the data lack or that the model cannot take."""
    if sample.num_points:
        return
    require(dataset.sizes is not None, "config.sample.num_points", 0,
            "at least 1 for data whose sets have no size of their own")  # fmt: skip
    largest, (limit, words) = max(int(dataset.sizes.max()), num_given + 1), _limit(model)
    require(largest <= limit, "config.sample.num_points", 0,
            f"{words}, because the largest set of the data has {largest}")  # fmt: skip
    _check_copies(model, largest, num_given)


def check_rotation(config) -> None:
    """Raise UserError for wrong options that older versions accepted in training.

    Runs that were trained with these options can still be loaded.
    """
    per_axis = config.data.per_axis and config.data.normalize
    require(not (config.data.augment_rotate and per_axis), "config.data.augment_rotate", True,
            "False with config.data.per_axis = True. Rotated sets have the same spread along all "
            "axes, so one scale fits: config.data.per_axis = False.")  # fmt: skip


def check_measured(config, about: About | None = None) -> None:
    """Check a config as `check` does, and check that its samples can be compared with real ones."""
    check(config, about)
    check_sample(config, config.sample, about=about)
    drawn = "to be compared with real sets; --mode=sample draws any number"
    require(config.sample.num_points != 1, "config.sample.num_points", config.sample.num_points,
            f"at least 2, {drawn}")  # fmt: skip
    about = about or data.about(config.data)
    require(not about.many_sources or config.sample.num_sets >= 2,
            "config.sample.num_sets", config.sample.num_sets, f"at least 2, {drawn}")  # fmt: skip


def _model(config, about: About):
    return models.make_model(config.model, len(about.labels.names))


def _require_all(config, rules: Rules) -> None:
    values = flatten(config)
    for option, holds, words in rules:
        require(holds, f"config.{option}", values[option], words)


def _together(config, about: About | None) -> Rules:
    """Rules between options of one part of a config, and between these options and the data."""
    schedule, train, model = config.schedule, config.train, config.model
    yield "schedule.beta_max", schedule.beta_min <= schedule.beta_max, "at least beta_min"
    yield "schedule.sigma_max", schedule.sigma_max > schedule.sigma_min, "above sigma_min"
    # x_0_hat = (x_T - sigma_T eps) / 0: at t = T the noise says nothing about the data.
    alpha, _ = FAMILIES[schedule.name](**{k: v for k, v in schedule.items() if k != "name"})
    yield ("diffusion.prediction",
           config.diffusion.prediction != "eps" or np.float32(alpha[-1]) != 0,
           "x0, v or edm with a schedule that ends in pure noise (alpha_T = 0)")  # fmt: skip
    if config.data.name == "mixture" and about is None:
        mixture.parse(config.data)  # raises its own errors
        yield ("data.columns", config.data.columns.count(",") <= 1,
               "at most two columns: members of a mixture lie in the plane")  # fmt: skip
        yield ("data.per_axis", not config.data.per_axis or config.data.align,
               "False for members in their own units (config.data.align = False)")  # fmt: skip
    about = about or data.about(config.data)
    require_choice("config.data.jitter", config.data.jitter, about.jitters)
    is_table = config.data.name in ("points", "mixture") or bool(about.columns)
    yield ("data.clip_outliers", is_table or not config.data.clip_outliers,
           "False for data that are not points from a file")  # fmt: skip
    for name in AUGMENTATIONS:
        yield (f"data.{name}", about.many_sources or not config.data[name],
               f"{type(config.data[name])()} for data that are not many sets")  # fmt: skip
    yield ("model.labels", not model.labels or bool(about.labels.names),
           "False for data without labels")  # fmt: skip
    if model.name in WIDTHS:
        width = model[WIDTHS[model.name]]
        divides = model.num_heads >= 1 and width % model.num_heads == 0
        yield ("model.num_heads", divides,
               f"a divisor of config.model.{WIDTHS[model.name]} = {width}")  # fmt: skip
    yield ("train.min_points", train.min_points <= train.num_points,
           f"at most config.train.num_points = {train.num_points}")  # fmt: skip
    # The encoder of set_latent always reads max_history points.
    fewest, words = ((1, "1") if model.name == "set_latent" else
                     (train.min_history, f"config.train.min_history = {train.min_history}"))
    yield "train.max_history", train.max_history >= fewest, f"at least {words}"


# The option that the attention heads of a model divide among them.
WIDTHS = {"history": "hidden_dim", "set_transformer": "hidden_dim", "causal": "context_dim"}


def _sizes(config, model, about: About) -> Rules:
    """Rules that the model and the data set for training, samples and metrics."""
    limit, words = _limit(model)
    yield "train.num_points", config.train.num_points <= limit, words
    yield "train.max_points", config.train.max_points <= limit, words
    yield ("sample.num_points", config.data.name != "mixture" or config.sample.num_points >= 2,
           "at least 2, for a set to be told apart")  # fmt: skip
    # Labels are measured for sets of many sources only, see "labels" of report/sections.py.
    if about.many_sources and model.num_labels and config.train.label_drop == 0:
        yield ("evaluate.guidance_scale", config.evaluate.guidance_scale == 1,
               "1 for a model that saw no set without its label: set "
               "config.evaluate.guidance_scale=1, or train with config.train.label_drop above 0")


def _limit(model) -> tuple[float, str]:
    """The largest number of points in a set that the model takes, and this limit in words."""
    traits = model.traits
    if traits.max_points is None:
        return math.inf, "any number"
    return traits.max_points, f"at most {traits.max_points} for {traits.max_points_reason}"


def _asked(config, sample, model, about: About, labels=False, given=False) -> Rules:
    """Rules of one call of `sample`; labels, given: whether the call has labels or given points."""
    levels, (limit, words) = config.schedule.num_levels, _limit(model)
    yield ("sample.num_steps", sample.num_steps <= levels,
           f"at most config.schedule.num_levels = {levels}")  # fmt: skip
    yield "sample.num_points", sample.num_points <= limit, words
    for name, holds, allowed in strategy_of(model).sample_limits(sample):
        yield f"sample.{name}", holds, allowed
    label = NO_LABEL
    if model.num_labels:
        label = resolve_label(sample.label, about.labels)  # raises its own errors
    else:
        yield ("sample.label", str(sample.label) in WORDS,
               "-1 for a model without labels; train one with config.model.labels=True")
    if given and strategy_of(model).guides_latent:
        reason = "when completing with latents: they come from the points"
        yield "sample.label", label < 0 and not labels, f"-1 {reason}"
        yield "sample.guidance_scale", sample.guidance_scale == 1, f"1 {reason}"
        return
    # A random label may contradict the given points, so completed sets have no random label.
    nameless = label == NO_LABEL or (given and label == RANDOM)
    named = model.num_labels > 0 and (labels or not nameless)
    if model.num_labels and not named:
        yield ("sample.label", config.train.label_drop > 0,
               "a label: the model saw no set without one, as config.train.label_drop = 0")
    if sample.guidance_scale != 1:
        yield _guidance(config, model, named)


def _guidance(config, model, named: bool) -> tuple[str, bool, str]:
    """Rule of the guidance scale: it needs a condition, and a model that learned to drop it."""
    field, train = "sample.guidance_scale", config.train
    if named:
        return (field, train.label_drop > 0,
                "1: the model saw no set without its label, as config.train.label_drop = 0")
    if strategy_of(model).reads_history:
        return (field, train.history_drop > 0,
                "1: the model saw no set without a history, as config.train.history_drop = 0")
    return field, False, ("1 without a label to guide to: set config.sample.label"
                          if model.num_labels else "1 for a model without labels or history")


def _check_sizes(model, num_points: np.ndarray, sizes: np.ndarray) -> None:
    """Raise UserError if `model` ignores sizes, or if a size is below the number of its points."""
    require(model.counts, "sizes", "given", "None for a model with config.model.count = False")
    require(sizes.shape == num_points.shape, "sizes.shape", sizes.shape,
            f"(num_sets,) = {num_points.shape}")  # fmt: skip
    small = sizes < num_points
    require(not small.any(), "sizes", sizes[small].tolist()[:1],
            f"at least the number of points of each set: {num_points[small].tolist()[:1]}")


def _check_labels(num_sets: int, model, labels: np.ndarray, there: Labels) -> None:
    """Raise UserError unless `labels` holds one label for each set, all known to the model."""
    require(model.num_labels > 0, "labels", labels.tolist(),
            "None for a model without labels; train one with config.model.labels=True")
    require(labels.shape == (num_sets,), "labels.shape", labels.shape,
            f"(num_sets,) = ({num_sets},)")  # fmt: skip
    strange = [int(label) for label in np.unique(labels) if label not in there.present]
    require(not strange, "labels", strange, f"all {_in_words(there.present)}")


def _check_given(
    config, sample, model, given: np.ndarray, dim: int | None, about: About
) -> None:
    """Raise UserError for points that `model` cannot complete to sets of sample.num_points."""
    able = [name for name in models.MODELS if _completes(config, name, about)]
    row_height = getattr(model, "row_height", 0)
    require(not row_height, "config.model.row_height", row_height,
            "0 for a model that completes sets: points that are given are seldom the first by rows")
    require(model.traits.completes, "config.model.name", config.model.name,
            f"a model that completes sets: {', '.join(able)}")  # fmt: skip
    dim = dim or _known_dim(config.data)
    n, num_points = len(given), sample.num_points
    most = f"in 1..{num_points - 1} (config.sample.num_points)" if num_points else "at least 1"
    has_dim = given.ndim == 2 and given.shape[1] == (dim or given.shape[1])
    require(has_dim and 1 <= n < (num_points or math.inf), "given.shape", given.shape,
            f"(n, {dim or 'D'}), n {most}")  # fmt: skip
    require(bool(np.isfinite(given).all()), "given", NO_VALUE, "finite numbers")
    if num_points:
        _check_copies(model, num_points, n)


def _check_copies(model, num_points: int, n: int) -> None:
    """Raise UserError if `model` cannot take `num_points` with copies of `n` given points."""
    limit, _ = _limit(model)
    in_memory = strategy_of(model).points_in_memory(num_points, n)
    require(in_memory <= limit, "config.sample.num_points", num_points,
            f"lower: with copies of the {n} given points the model sees {in_memory} at once, and "
            f"takes at most {limit} for {model.traits.max_points_reason}")  # fmt: skip


def _known_dim(config) -> int | None:
    """D of the data of `config`, the `data` part of a config; None if D depends on a file."""
    if config.columns:
        return config.columns.count(",") + 1
    return None if config.name in ("points", "sets") else 2


def _completes(config, name: str, about: About) -> bool:
    settings = config.model.copy_and_resolve_references()
    settings.name = name
    return models.make_model(settings, len(about.labels.names)).traits.completes


def _in_words(labels: tuple[int, ...]) -> str:
    if labels == tuple(range(len(labels))):
        return f"in 0..{len(labels) - 1}"
    return "one of " + ", ".join(map(str, labels))
