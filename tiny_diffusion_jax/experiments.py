"""Build an experiment from a config, a config file, or data in memory.

Data in memory become the arrays of an .npz file, and follow the rules of such a file. So the folder
that run/save.py writes, with these arrays in data.npz, builds the same dataset.
"""

import logging
from collections.abc import Callable, Mapping, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas
from ml_collections import ConfigDict
from pandas.api.typing import DataFrameGroupBy

from tiny_diffusion_jax import api, devices
from tiny_diffusion_jax.api import Experiment
from tiny_diffusion_jax.checks import check, check_keeps_labels
from tiny_diffusion_jax.config import changed, default_config, editable
from tiny_diffusion_jax.config_files import load_config
from tiny_diffusion_jax.data import points, sets
from tiny_diffusion_jax.data.columns import has_role
from tiny_diffusion_jax.data.densities import from_function
from tiny_diffusion_jax.data.frames import are_frames, as_pandas, columns_of, join_sets, plain
from tiny_diffusion_jax.dataset import Dataset, coordinate_names
from tiny_diffusion_jax.errors import NO_VALUE, UserError, require
from tiny_diffusion_jax.models import MODELS, make_model
from tiny_diffusion_jax.point_sets import as_sets, unmasked
from tiny_diffusion_jax.recipes import OWN_ROWS, own_sets
from tiny_diffusion_jax.sets import STRATEGIES, strategy_of

log = logging.getLogger("tiny_diffusion_jax")
COORDINATES = coordinate_names(3)  # columns with these names are always coordinates
CUSTOM = "custom"  # config.model.name of a module of the user


@devices.without_float64
def build(
    base: str | Path | ConfigDict | None = None, *, data: Any = None, labels: Any = None,
    counts: bool | None = None, config: Mapping | None = None, model: Any = None,
    log_prob: Callable | None = None, name: str = "data",
) -> Experiment:  # fmt: skip
    """Build an experiment; its config is frozen.

    base: the name of a denoiser, with its recipe; or a ConfigDict; or a config file with its
    argument, as in --config ("moons:dino", "configs/moons.py"). config: other options by their
    dotted names, {"train.steps": 3000}.

    data: a function (key, n) -> f32[n, D] of JAX, which draws points of one density; an array
    f[P, D] of points of one density; sets, which are a list of arrays f[n_i, D] or an array
    f[S, N, D] with rows of NaN after the points of smaller sets; a dictionary of arrays, as in an
    .npz file (points, mask, sizes, set, label); a table (pandas, polars, pyarrow); or a list of
    tables, or a groupby of pandas, one for each set. `base` decides whether the rows of a table are
    sets. They are one density for a denoiser of single points.

    A name in `base`, or no base, gets the settings of recipes.own_sets for sets, and of OWN_ROWS
    for points. A ConfigDict keeps its options.

    labels: a text or a number for each set. counts: whether the denoiser is conditioned on the
    number of points of each set (config.model.sizes; None: as in the settings). model: a Flax
    module in place of a denoiser of models/, with its traits. log_prob: log density f[n] of points
    f[n, D], if `data` is a function and its density is known. name: for titles and the run folder.

    Raises UserError for data that cannot be learned, and for options out of their range.
    """
    options, source, data = dict(config or {}), None, as_pandas(data)
    if counts is not None:
        options["model.sizes"] = bool(counts)
    if data is None:
        require(labels is None and log_prob is None, "data", data, "given with labels or log_prob")
        settings = changed(_config_without_data(base), options)
        _use_module(settings, model)
        return api.build(settings, model)
    if callable(data):
        require(labels is None, "labels", "given", "None for a density")
        settings = _config_of(base, "fourier_mlp", name)
        settings.data.name = "function"
        settings = changed(settings, options)
        jitters: tuple[str, ...] = ("none",)
        dataset = from_function(data, settings.data, name, log_prob)
    else:
        require(log_prob is None, "log_prob", log_prob, "None unless data is a function")
        _check_labels(data, labels, options.get("data.label_column"))
        usual = base.data.set_column if isinstance(base, ConfigDict) else ""
        set_column = options.get("data.set_column", usual)
        source, holds_sets = _arrays_of(data, labels, base, set_column)
        settings = _config_of(base, "set_transformer" if holds_sets else "fourier_mlp", name)
        keeps = isinstance(base, ConfigDict) and base.data.name == "points"
        settings.data.path = f"{name}.npz"
        settings.data.name = "sets" if holds_sets else "points"
        jitters = ("none",) if holds_sets else ("gaussian", "none")
        if settings.data.jitter == "none" and not keeps:
            settings.data.jitter = jitters[0]
        if not isinstance(base, ConfigDict):
            own = own_sets(settings.model.name) if holds_sets else OWN_ROWS
            settings.update_from_flattened_dict(own)
        is_array = not (holds_sets or isinstance(data, pandas.DataFrame))
        if is_array and len(source) > len(COORDINATES) and not settings.data.columns:
            settings.data.columns = ",".join(source)  # by default columns.py chooses two
        settings = changed(settings, options)
        dataset = _dataset_of(source, settings, holds_sets)
        if "model.labels" not in options:
            _choose_labels(settings, dataset, labels is not None, base)
    _use_module(settings, model)
    check(settings, api.data.about_built(dataset)._replace(jitters=jitters), model)
    check_keeps_labels(settings, model)
    api.data.log_notices(dataset)
    return api.assemble(settings, dataset, model)._replace(source=source)


def _dataset_of(source: dict, settings, holds_sets: bool) -> Dataset:
    """Build the dataset of the arrays of an .npz file; an error about the file is about `data`."""
    try:
        return (sets if holds_sets else points).build(settings.data, arrays=source)
    except UserError as error:
        is_of_file = error.field in ("", "config.data.path")
        raise replace(error, field="data", value=NO_VALUE) if is_of_file else error from None


# ---------------------------------------------------------------- configs


def _config_without_data(base) -> ConfigDict:
    if isinstance(base, ConfigDict):
        return editable(base)
    require(isinstance(base, (str, Path)), "base", base, "a config, or a config file, without data")
    require(str(base) not in MODELS, "data", None, f"given with a denoiser, {str(base)!r}")
    return load_config(str(base))


def _config_of(base, usual: str, name: str) -> ConfigDict:
    """Config for data in memory: the recipe of the denoiser `base`, or a copy of a config."""
    if isinstance(base, ConfigDict):
        return editable(base)
    config = default_config(usual if base is None else str(base))
    config.name = name
    return config


def _choose_labels(settings: ConfigDict, dataset: Dataset, are_given: bool, base) -> None:
    """Set model.labels: True for labels in a call, or in the data unless `base` is a config."""
    has_labels = dataset.num_labels > 0
    if are_given or not isinstance(base, ConfigDict):
        settings.model.labels = has_labels
    elif has_labels and not settings.model.labels:
        log.info("data: the labels are not learned (config.model.labels = False)")


def _use_module(settings: ConfigDict, model) -> None:
    """Name the denoiser in `settings` after a module of the user, if `model` is given."""
    if model is not None:
        _check_module(model)
        settings.model.name = CUSTOM


def _check_module(model) -> None:
    """Raise UserError unless a Flax module has all that training and sampling read."""
    needed = {
        "traits": 'traits = Traits(strategy="independent", floats_per_point=1000), see '
                  "models/traits.py",
        "num_labels": "num_labels: int = 0, the number of labels that it is conditioned on",
        "counts": "counts: bool = False, whether it is conditioned on the number of points",
    }  # fmt: skip
    for name, advice in needed.items():
        require(hasattr(model, name), f"model.{name}", type(model).__name__,
                "a field of the module", f"Add {advice}")  # fmt: skip
    strategy = model.traits.strategy
    require(strategy in STRATEGIES, "model.traits.strategy", strategy,
            f"one of {', '.join(STRATEGIES)}")  # fmt: skip


# ---------------------------------------------------------------- data in memory


def _check_labels(data, labels, label_column: str | None) -> None:
    """Raise UserError for labels without an order, and for labels in two places."""
    if labels is None:
        return
    require(not isinstance(labels, (Mapping, Set)), "labels", type(labels).__name__,
            "a list with a label for each set, in the order of the sets")  # fmt: skip
    require(not label_column, "labels", "given",
            f"None with config.data.label_column = {label_column!r}")  # fmt: skip
    require(not isinstance(data, Mapping) or "label" not in data, "labels", "given",
            "None for data with an array 'label'")  # fmt: skip
    require(not isinstance(data, pandas.DataFrame), "labels", "given", "None for a table",
            "Name its column: config={'data.label_column': NAME}")  # fmt: skip


def _arrays_of(values, labels, base, set_column) -> tuple[dict[str, np.ndarray], bool]:
    """Data in memory as the arrays of an .npz file, and whether they hold sets."""
    if isinstance(values, pandas.DataFrame):
        columns = columns_of(values)
        return columns, _learns_sets(base, columns, set_column)
    if isinstance(values, DataFrameGroupBy):
        values = [table for _, table in values]
    if isinstance(values, Mapping):
        numbers = [str(name) for name in values if not isinstance(name, str)]
        require(not numbers, "data", (numbers or [""])[0], "a dictionary with names of arrays",
                "Sets are a list: list(data.values())")  # fmt: skip
        arrays = {name: plain(array) for name, array in values.items()}
    elif isinstance(values, (list, tuple)) and are_frames(values):
        return join_sets(values, None if labels is None else plain(labels), set_column), True
    elif isinstance(values, (list, tuple)) and np.ndim(values[0] if len(values) else 0) == 2:
        parts = as_sets(values)
        arrays = {"points": np.concatenate(parts), "sizes": np.array([len(p) for p in parts])}
    else:
        points = unmasked(values)
        require(points.ndim in (2, 3) and points.dtype.kind in "biuf", "data.shape", points.shape,
                "(P, D) for points, (S, N, D) for sets, or a list of arrays (n, D)",
                "Numbers, not objects" if points.dtype.kind not in "biuf" else "")  # fmt: skip
        if points.ndim == 2:
            require(labels is None, "labels", "given", "None for points of one density",
                    "For a density of each label: data = [points of label 0, points of label 1, "
                    "...], with one label each")  # fmt: skip
            require(points.shape[1] >= 2, "data.shape", points.shape, "(P, D), D at least 2")
            return dict(zip(coordinate_names(points.shape[1]), points.T, strict=True)), False
        arrays = {"points": points}
    if labels is not None:
        arrays["label"] = plain(labels)
    return arrays, True


def _learns_sets(base, columns: dict, set_column: str) -> bool:
    """Return whether the rows of a table are sets: by the denoiser, else by a column of sets."""
    if base is None and set_column:
        reason, is_sets = "config.data.set_column", True
    elif base is None:
        reason, is_sets = "its columns", any(has_role(name, "set") for name in columns)
    else:
        reason = base.model.name if isinstance(base, ConfigDict) else str(base)
        is_sets = not strategy_of(make_model(default_config(reason).model)).has_point_density
    log.info("data: the rows of the table are points of %s (decided by %s)",
             "sets" if is_sets else "one density", reason)  # fmt: skip
    return is_sets
