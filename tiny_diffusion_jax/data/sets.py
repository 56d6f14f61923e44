"""Sets from your files: `config.path` is a table, an array or a folder of pictures.

A file is read once for all callers: the checks need its labels before the dataset is built, and the
dataset needs its points. The contents stay in memory until the file or the options change.
"""

import functools
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from tiny_diffusion_jax.data import arrays, folders, notices, table, units
from tiny_diffusion_jax.data.cells import encode
from tiny_diffusion_jax.data.collection import Collection, collect, join_equal, listed, one_each
from tiny_diffusion_jax.data.columns import has_role, read_points
from tiny_diffusion_jax.data.densities import with_heldout
from tiny_diffusion_jax.data.image_sets import from_splits
from tiny_diffusion_jax.data.observed import from_observed
from tiny_diffusion_jax.dataset import Dataset
from tiny_diffusion_jax.errors import errors_about, require

# Options that change the result of `load`: options of tables, and other options.
TABLE_OPTIONS = ("header", "array", "columns", "where", "set_column", "label_column",
                 "split_column", "skip_incomplete")  # fmt: skip
OPTIONS = (*TABLE_OPTIONS, "path", "heldout", "invert", "threshold", "max_side", "skip_unreadable",
           "skip_small", "clip_outliers")  # fmt: skip


def build(config, arrays: dict | None = None) -> Dataset:
    """Build a dataset of observed sets, or of sets drawn from pictures, with held-out sets.

    arrays: the content of an .npz file, in place of the file `config.path`. Raises `UserError` that
    describes the error in the file, see tables, arrays and folders.
    """
    sets = load(config) if arrays is None else _read(config, arrays)
    fields = {
        "title": table.stem(config.path), "source": "sets", "num_labels": len(sets.names),
        "label_names": sets.names, "columns": sets.columns, "set_column": sets.set_column,
        "label_column": sets.label_column,
    }  # fmt: skip
    splits = [(which, None if sets.labels is None else sets.labels[which])
              for which in (~sets.heldout, sets.heldout)]  # fmt: skip
    if isinstance(sets, folders.Pictures):
        train, heldout = ((sets.images[which], labels) for which, labels in splits)
        fields |= {"details": sets.details, "notice": notices.join(sets.notice, _unseen(sets))}
        return from_splits(train, heldout, config, **fields)
    units.check_spread(sets.points, config.per_axis, config.path)
    fields |= {"details": _details(sets, config), "notice": _notice(sets, config),
               "origin": units.choose_origin(sets.points)}  # fmt: skip
    train, heldout = (
        from_observed(
            sets.points[np.repeat(which, sets.sizes)],
            np.cumsum(sets.sizes[which]) - sets.sizes[which], sets.sizes[which], labels,
            normalize=normalize, per_axis=config.per_axis, **fields,
        )
        for (which, labels), normalize in zip(splits, (config.normalize, False), strict=True)
    )  # fmt: skip
    return with_heldout(train, heldout)


def _details(sets: Collection, config) -> str:
    """Describe the points and the selected columns in words."""
    where = f" where {config.where.strip()}" if config.where else ""
    low, high = sets.sizes.min(), sets.sizes.max()
    sizes = f"{low} to {high} points a set (median {np.median(sets.sizes):g})" if low < high else (
        f"{low} points a set")  # fmt: skip
    label = f"; label {sets.label_column} ({len(sets.names)})" if sets.names else ""
    return (
        f"{Path(config.path).name}{where}: {len(sets.points):,} points, coordinates "
        f"{listed(sets.columns)}; sets by {sets.set_column} ({len(sets.sizes):,}){label}; "
        f"{sizes}, {sets.heldout.sum():,} sets held out{sets.remarks}"
    )


def _notice(sets: Collection, config) -> str:
    outliers = notices.find_outliers(sets.points)
    points, index = sets.points[~outliers.rows], sets.set_of_point[~outliers.rows]
    return notices.join(
        sets.notice,
        "" if config.clip_outliers else notices.outliers(outliers, sets.name_of_point),
        notices.grid(points, sets.columns, can_jitter=False),
        notices.repeats(points, index, can_jitter=False),
        _unseen(sets),
    )


def _unseen(sets: Collection | folders.Pictures) -> str:
    """Notice about labels without a set in training."""
    if sets.labels is None:
        return ""
    trained = set(sets.labels[~sets.heldout].tolist())
    names = [name for label, name in enumerate(sets.names) if label not in trained]
    if not names:
        return ""
    subject, object_ = ("labels", "them") if len(names) > 1 else ("label", "it")
    return (
        f"{subject} {listed(names)} occur{'s' * (len(names) == 1)} only in held-out sets, so "
        f"the model does not learn {object_}; a split in the data chooses other held-out sets"
    )


def load(config) -> Collection | folders.Pictures:
    """Load the file or folder `config.path`; raises `UserError` for other kinds of files."""
    path = Path(config.path).expanduser()
    require(path.exists(), "config.data.path", config.path, "an existing file or folder")
    if not path.is_dir():
        table.check_format(str(config.path), "a folder of pictures or ")
    # The result of `_load` is valid until a file changes.
    files = [file for file in sorted(path.rglob("*")) if file.is_file()] or [path]
    stamps = ((str(file), file.stat()) for file in files)
    stamp = tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stamps)
    return _load(stamp, **{name: config[name] for name in OPTIONS})


@functools.lru_cache(maxsize=2)
def _load(stamp: tuple, **options) -> Collection | folders.Pictures:
    config = ConfigDict(options)
    with errors_about("config.data.path", config.path):
        if Path(config.path).expanduser().is_dir():
            return folders.read(config)
        return _read(config)


def _read(config, arrays: dict | None = None) -> Collection:
    sets = read_file(config, arrays)
    return sets.without_outliers() if config.clip_outliers else sets


def names_labels(path: str) -> bool:
    """Return whether names of columns, arrays or subfolders indicate labels; see `load`."""
    file = Path(path).expanduser()
    try:
        if file.is_dir():
            return bool(folders.find(file)[0].label)
        if file.suffix.lower() in table.ARRAYS:
            arrays_of_file = table.load_arrays(file)
            names = next(iter(arrays_of_file.values())).dtype.names or ()
            if table.are_columns(arrays_of_file):
                names = [*arrays_of_file]
            elif len(arrays_of_file) > 1:
                return "label" in arrays_of_file
        else:
            names = table.read_table(path, "yes").names
        return any(has_role(name, "label") for name in names)
    except Exception:  # `load` reports every error
        return False


def read_file(config, in_memory: dict | None = None) -> Collection:
    """Read the sets of a table or of arrays, from the file `config.path` or in memory.

    See `columns.read_points` and `arrays.read`.
    """
    if not arrays.is_table(config, in_memory):
        return arrays.read(config, in_memory)
    options = {name: config[name] for name in TABLE_OPTIONS}
    points = read_points(config.path, arrays=in_memory, **options)
    codes, ids, equal_names = join_equal(*encode(points.roles["set"][1]))
    texts = {
        role: one_each(column, codes, ids, f"config.data.{role}_column", name,
                       points.rows.__getitem__)
        for role, (name, column) in points.roles.items() if role != "set"
    }  # fmt: skip
    return collect(
        points.points, codes, ids, config, label=texts.get("label"), split=texts.get("split"),
        columns=points.columns, set_column=points.roles["set"][0],
        label_column=points.roles.get("label", [""])[0], others=[*points.others, *points.columns],
        notice="; ".join(filter(None, (equal_names, points.notice))), remarks=points.not_read,
    )  # fmt: skip
