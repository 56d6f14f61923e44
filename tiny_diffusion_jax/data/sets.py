"""Sets from your files: `config.path` is a table, an array or a folder of pictures.

A file is read once for all callers: the checks need its labels before the dataset is built, and the
dataset needs its points. The contents stay in memory until the file or the options change.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from tiny_diffusion_jax.data import arrays, folders, notices, table, units
from tiny_diffusion_jax.data.cells import encode
from tiny_diffusion_jax.data.collection import Collection, collect, listed, one_each
from tiny_diffusion_jax.data.columns import read_points
from tiny_diffusion_jax.data.image_sets import from_splits
from tiny_diffusion_jax.data.observed import from_observed
from tiny_diffusion_jax.dataset import Dataset
from tiny_diffusion_jax.errors import require

# Options that change the result of `load`.
OPTIONS = (
    "path", "set_column", "label_column", "split_column", "columns", "header", "where", "array",
    "heldout", "invert", "threshold", "max_side", "skip_unreadable", "skip_incomplete",
    "skip_small", "clip_outliers",
)  # fmt: skip


def build(config) -> Dataset:
    """Build a dataset of observed sets, or of sets drawn from pictures, with held-out sets.

    Raises `UserError` that describes the error in the file, see tables, arrays and folders.
    """
    read = load(config)
    fields = {
        "title": table.stem(config.path), "source": "sets", "num_labels": len(read.names),
        "label_names": read.names,
    }  # fmt: skip
    splits = ~read.heldout, read.heldout
    if isinstance(read, folders.Pictures):
        train, heldout = ((read.images[which], _part(read.labels, which)) for which in splits)
        fields |= {"columns": ("x", "y"), "set_column": "set", "details": read.details,
                   "notice": read.notice}  # fmt: skip
        return from_splits(train, heldout, config, label_column="label", **fields)
    fields |= {name: getattr(read, name) for name in ("columns", "set_column", "label_column")}
    fields |= {"details": _details(read, config), "notice": _notice(read)}
    origin = units.choose_origin(read.points)
    train, heldout = (
        from_observed(
            read.points[np.repeat(which, read.sizes)], *_flat(read.sizes[which]),
            _part(read.labels, which), normalize=normalize, per_axis=config.per_axis,
            origin=origin, **fields,
        )
        for which, normalize in zip(splits, (config.normalize, False), strict=True)
    )  # fmt: skip
    return train.replace(heldout=heldout.replace(shift=train.shift, scale=train.scale))


def _details(read: Collection, config) -> str:
    """Describe the points and the selected columns in words."""
    sizes, where = read.sizes, f" where {config.where.strip()}" if config.where else ""
    low, high = sizes.min(), sizes.max()
    each = f"{low} to {high} points a set (median {np.median(sizes):g})" if low < high else (
        f"{low} points a set")  # fmt: skip
    label = f"; label {read.label_column} ({len(read.names)})" if read.names else ""
    return (
        f"{Path(config.path).name}{where}: {len(read.points):,} points, coordinates "
        f"{listed(read.columns)}; sets by {read.set_column} ({len(sizes):,}){label}; "
        f"{each}, {read.heldout.sum():,} sets held out{read.not_read}"
        f"{'; ' * bool(read.clipped)}{read.clipped}"
    )


def _notice(read: Collection) -> str:
    found, of_set = notices.find_outliers(read.points), _set_of_each(read)
    near = ~found.rows
    return notices.join(
        read.notice,
        notices.outliers(found, PointNames(read.points)) if not read.clipped else "",
        notices.grid(read.points[near], read.columns, can_jitter=False),
        notices.repeats(read.points[near], of_set[near], can_jitter=False),
    )


def _set_of_each(read: Collection) -> np.ndarray:
    """Index i64[P] of the set of each point."""
    return np.repeat(np.arange(len(read.sizes)), read.sizes)


class PointNames(Sequence):
    """Names of points of sets in notices: "the point (1.5, 2)"."""

    def __init__(self, points: np.ndarray):
        self.points = points

    def __len__(self):
        return len(self.points)

    def __getitem__(self, i):
        return f"the point ({', '.join(f'{x:.7g}' for x in self.points[i])})"


def _clipped(read: Collection) -> Collection:
    """Remove outliers, and then sets with fewer than 2 remaining points."""
    found = notices.find_outliers(read.points)
    if not found.rows.any():
        return read
    of_set = _set_of_each(read)
    sizes = np.bincount(of_set[~found.rows], minlength=len(read.sizes))
    kept = sizes >= 2
    lost = f"; {(~kept).sum()} sets left out, of fewer than 2 other points" * bool((~kept).any())
    return read._replace(
        points=read.points[~found.rows & kept[of_set]], sizes=sizes[kept],
        labels=_part(read.labels, kept), heldout=read.heldout[kept],
        clipped=notices.left_out(found, PointNames(read.points)) + lost,
    )  # fmt: skip


def _flat(sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.cumsum(sizes) - sizes, sizes


def _part(labels: np.ndarray | None, which: np.ndarray) -> np.ndarray | None:
    return None if labels is None else labels[which]


def load(config) -> Collection | folders.Pictures:
    """Load the file or folder `config.path`; raises `UserError` for other kinds of files."""
    path = Path(config.path).expanduser()
    require(path.exists(), "config.data.path", config.path, "an existing file or folder")
    if not path.is_dir():
        table.check_format(str(config.path), "a folder of pictures or ")
    return _load(_stamp(path), **{name: config[name] for name in OPTIONS})


def names_labels(path: str) -> bool:
    """Return whether names of columns, arrays or subfolders indicate labels; see `load`."""
    file = Path(path).expanduser()
    try:
        if file.is_dir():
            return bool(folders.find(file, "")[0].label)
        if file.suffix.lower() in table.ARRAYS:
            return "label" in table.load_arrays(file, "")
        return "label" in [name.lower() for name in table.read_table(path, "yes").names]
    except Exception:  # `load` reports every error
        return False


def _stamp(path: Path) -> tuple:
    """Return a key that changes with the file, or with any file of the folder."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    stats = ((str(file), file.stat()) for file in files if file.is_file())
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats)


@functools.lru_cache(maxsize=2)
def _load(stamp: tuple, **options) -> Collection | folders.Pictures:
    config = ConfigDict(options)
    read = _reader(Path(config.path).expanduser())(config)
    clip = config.clip_outliers and isinstance(read, Collection)
    return _clipped(read) if clip else read


def _reader(path: Path) -> Callable:
    return folders.read if path.is_dir() else read_file


def read_file(config) -> Collection:
    """Read the sets of a table or of arrays."""
    return read_table(config) if arrays.is_table(config) else arrays.read(config)


def read_table(config) -> Collection:
    """Read the sets of the table `config.path`; see `columns.read_points` for the options."""
    names = ("header", "array", "columns", "where", "set_column", "label_column", "split_column",
             "skip_incomplete")  # fmt: skip
    read = read_points(config.path, **{name: config[name] for name in names})
    codes, ids = encode(read.set)
    label, split = (
        None if column is None else one_each(
            column, codes, ids, f"config.data.{field}", name, read.rows.__getitem__)
        for column, field, name in ((read.label, "label_column", read.label_column),
                                    (read.split, "split_column", read.split_column))
    )  # fmt: skip
    return collect(
        read.points, codes, ids, config, label=label, split=split, columns=read.columns,
        set_column=read.set_column, label_column=read.label_column,
        others=[*read.others, *read.columns],
        notice=read.notice,
    )._replace(not_read=read.not_read())  # fmt: skip
