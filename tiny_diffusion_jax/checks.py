"""Check options that depend on each other, on the model or on the data.

options.py holds the rule of each single option. call_checks.py and scoring_checks.py hold the rules
of one call. The reader of a file checks rules that depend on the content of the file.
"""

import jax
import numpy as np

from tiny_diffusion_jax import data
from tiny_diffusion_jax.call_checks import (
    Rules,
    check_copies,
    check_sample,
    is_flow,
    make_denoiser,
    needs_labels,
    require_rules,
    sample_rules,
    size_limit,
)
from tiny_diffusion_jax.config import flatten, require_allowed
from tiny_diffusion_jax.data import About, mixture, start
from tiny_diffusion_jax.diffusion.schedules import FAMILIES
from tiny_diffusion_jax.errors import require, require_choice
from tiny_diffusion_jax.scoring_checks import check_latent_noise
from tiny_diffusion_jax.sets import strategy_of
from tiny_diffusion_jax.training.batches import size_range

AUGMENTATIONS = ("augment_shift", "augment_rotate", "augment_scale", "augment_reflect")
# The option that the attention heads of a model divide among them.
WIDTHS = {"history": "hidden_dim", "set_transformer": "hidden_dim", "causal": "context_dim"}


def check(config, about: About | None = None, model=None) -> None:
    """Raise UserError if an option of a config is out of range or contradicts another option.

    about: facts about the data of a trained run, which works without its data. model: the denoiser;
    None: the denoiser that config.model describes.
    """
    for option, value in flatten(config).items():
        require_allowed(option, value)
    require_rules(config, _config_rules(config))
    if config.data.start:
        start.parse(config.data.start)  # raises its own errors
    if config.data.name == "mixture" and about is None:
        require_rules(config, _mixture_rules(config.data))
    about = about or data.about(config.data)
    require_rules(config, _data_rules(config, about))
    model = model or make_denoiser(config, about)
    require_rules(config, _size_rules(config, model, about))
    require_rules(config, _flow_rules(config, model, about))
    require_rules(config, sample_rules(config, config.sample, model, about))


def check_keeps_labels(config, model=None) -> None:
    """Raise UserError if the training of a model with labels would drop all labels.

    Older versions accepted this. Such runs can still be loaded, to draw sets without a label.
    model: see `check`.
    """
    has_labels = config.model.labels if model is None else model.num_labels > 0
    drop = config.train.label_drop
    require(drop < 1 or not has_labels, "config.train.label_drop", drop,
            "below 1 for a model with labels, which would see no label. "
            "config.model.labels = False learns without labels")  # fmt: skip


def check_measured(config, about: About | None = None) -> None:
    """Check a config as `check` does, and check that its samples can be compared with real ones."""
    check(config, about)
    check_sample(config, config.sample, about=about)
    about, sample = about or data.about(config.data), config.sample
    words = "at least 2, to be compared with real sets; --mode=sample draws any number"
    require(sample.num_points != 1, "config.sample.num_points", sample.num_points, words)
    require(not about.many_sources or sample.num_sets >= 2, "config.sample.num_sets",
            sample.num_sets, words)  # fmt: skip
    if config.evaluate.likelihood_sets > 0 and (about.many_sources or about.labels.names):
        check_latent_noise(config, "config.evaluate.likelihood_sets=0 measures no likelihood")


def check_augmentation(config) -> None:
    """Raise UserError for wrong options that older versions accepted in training.

    Runs that were trained with these options can still be loaded.
    """
    per_axis = config.data.per_axis and config.data.normalize
    require(not (config.data.augment_rotate and per_axis), "config.data.augment_rotate", True,
            "False with config.data.per_axis = True. Rotated sets have the same spread along all "
            "axes, so one scale fits: config.data.per_axis = False.")  # fmt: skip
    for name in ("augment_rotate", "augment_scale", "augment_reflect"):
        value = config.data[name]
        require(config.data.normalize or not value, f"config.data.{name}", value,
                f"{type(value)()} with config.data.normalize = False, because sets are transformed "
                "about the point 0 of the network's units, which is then not the mean of the data")


def _config_rules(config) -> Rules:
    """Rules between options of one part of a config."""
    schedule, train, model = config.schedule, config.train, config.model
    yield "schedule.beta_max", schedule.beta_min <= schedule.beta_max, "at least beta_min"
    yield "schedule.sigma_max", schedule.sigma_max > schedule.sigma_min, "above sigma_min"
    # x_0_hat = (x_T - sigma_T eps) / 0: at t = T the noise says nothing about the data.
    alpha, _ = FAMILIES[schedule.name](**{k: v for k, v in schedule.items() if k != "name"})
    yield ("diffusion.prediction",
           config.diffusion.prediction != "eps" or np.float32(alpha[-1]) != 0,
           "x0, v or edm with a schedule that ends in pure noise (alpha_T = 0)")  # fmt: skip
    if model.name in WIDTHS:
        width = model[WIDTHS[model.name]]
        yield ("model.num_heads", model.num_heads >= 1 and width % model.num_heads == 0,
               f"a divisor of config.model.{WIDTHS[model.name]} = {width}")  # fmt: skip
    yield ("model.given_share", model.given_share == 0 or model.order != "random",
           "0 with config.model.order = 'random': points in random order can be given")  # fmt: skip
    # The network sees the noisy point in other units than the points before it.
    yield ("model.relative", model.name != "causal" or not model.relative or config.data.normalize,
           "False with config.data.normalize = False")  # fmt: skip
    yield ("train.min_points", train.min_points <= train.num_points,
           f"at most config.train.num_points = {train.num_points}")  # fmt: skip
    # The encoder of set_latent always reads max_history points.
    is_history = model.name != "set_latent"
    yield ("train.max_history", not is_history or train.max_history >= train.min_history,
           f"at least config.train.min_history = {train.min_history}")  # fmt: skip


def _mixture_rules(config) -> Rules:
    """Rules of the `data` part of a config for a mixture."""
    mixture.parse(config)  # raises its own errors
    yield ("data.columns", config.columns.count(",") <= 1,
           "at most two columns: members of a mixture lie in the plane")  # fmt: skip
    yield ("data.per_axis", not config.per_axis or config.align,
           "False for members in their own units (config.data.align = False)")  # fmt: skip


def _data_rules(config, about: About) -> Rules:
    """Rules between options and facts about the data."""
    require_choice("config.data.jitter", config.data.jitter, about.jitters)
    is_table = config.data.name in ("points", "mixture") or bool(about.columns)
    yield ("data.clip_outliers", is_table or not config.data.clip_outliers,
           "False for data that are not points from a file")  # fmt: skip
    for name in AUGMENTATIONS:
        yield (f"data.{name}", about.many_sources or not config.data[name],
               f"{type(config.data[name])()} for data that are not many sets")  # fmt: skip
    yield ("model.labels", not config.model.labels or bool(about.labels.names),
           "False for data without labels")  # fmt: skip


def _size_rules(config, model, about: About) -> Rules:
    """Rules that the model and the data set for training, samples and metrics."""
    limit, words = size_limit(model)
    yield "train.num_points", config.train.num_points <= limit, words
    yield "train.max_points", config.train.max_points <= limit, words
    yield ("sample.num_points", config.data.name != "mixture" or config.sample.num_points >= 2,
           "at least 2, for a set to be told apart")  # fmt: skip
    # Labels are measured for sets of many sources only, see "labels" of reports/sections.py.
    if about.many_sources and needs_labels(config, model):
        yield ("evaluate.guidance_scale", config.evaluate.guidance_scale == 1,
               "1 for a model that saw no set without its label: set "
               "config.evaluate.guidance_scale=1, or train with config.train.label_drop above 0")


def _flow_rules(config, model, about: About) -> Rules:
    """Rules of a flow from another density, or with optimal pairs."""
    if not is_flow(config):
        return
    reason = ("with config.data.start" if config.data.start else
              'with config.train.pairs = "optimal"')  # fmt: skip
    yield ("model.name", strategy_of(model).has_point_density,
           f"a denoiser of single points, such as fourier_mlp, {reason}")  # fmt: skip
    yield "schedule.name", config.schedule.name == "flow", f"flow {reason}"
    yield ("diffusion.weighting", config.diffusion.weighting == "simple", f"simple {reason}")
    yield ("data.name", not about.many_sources, f"one density, or a mixture, {reason}")
    yield ("train.pairs", config.train.pairs == "independent" or not config.model.labels,
           "independent for a model with labels")  # fmt: skip


# ---------------------------------------------------------------- data that have been read


def check_data(config, dataset, model) -> None:
    """Raise UserError for an option that contradicts the data, once the data have been read."""
    # An experiment without points is not trained. Of a table with jitter no rows are held out.
    if config.train.keep_best and dataset.has_points and config.data.name != "points":
        require(dataset.heldout is not None, "config.train.keep_best", True,
                "False for data of which no sets are held out")  # fmt: skip
    strategy_of(model).sort_keys  # noqa: B018, raises UserError for an unknown coordinate
    check_drawn(dataset, model, config.sample)
    require(config.train.pairs == "independent" or jax.default_backend() != "tpu",
            "config.train.pairs", config.train.pairs,
            "independent on a TPU, which cannot call the solver of the CPU")  # fmt: skip


def check_sizes_vary(config, dataset, model) -> None:
    """Raise UserError if model.sizes is True and all training sets have one number of points.

    The network would fail at any other number. Observed sets pass, because the data give their
    sizes, and so do distilled models, which draw sets of the size of their trajectories. Trained
    runs are not checked, because they still draw good sets of the size of their training.
    """
    least, most = size_range(config.train, dataset)
    varies = dataset.sizes is not None or least < most
    require(varies or not model.counts or config.train.trajectories > 0, "config.model.sizes", True,
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
    largest, (limit, words) = max(int(dataset.sizes.max()), num_given + 1), size_limit(model)
    require(largest <= limit, "config.sample.num_points", 0,
            f"{words}, because the largest set of the data has {largest}")  # fmt: skip
    check_copies(model, largest, num_given)
