"""Your own sets: a table, an array or a folder of pictures, whichever `config.path` is.

A file is read once, whoever asks: for its labels, which the checks need before anything is built,
and for its points. What was read stays in memory until the file or the options change.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from tiny_diffusion_jax.data import arrays, folders, notices, tables, units
from tiny_diffusion_jax.data.base import Dataset
from tiny_diffusion_jax.data.collection import Collection
from tiny_diffusion_jax.data.image_sets import from_splits
from tiny_diffusion_jax.data.observed import from_observed
from tiny_diffusion_jax.errors import require

# Everything that what is read depends on, besides the file itself.
OPTIONS = (
    "path", "set_column", "label_column", "split_column", "columns", "header", "where", "array",
    "heldout", "invert", "threshold", "max_side", "skip_unreadable", "clip_outliers",
)  # fmt: skip


def build(config) -> Dataset:
    """Every set one of the observed ones, or drawn from one of the pictures; `heldout` the others.

    Raises `UserError` that says what is wrong with the file, see tables, arrays and folders.
    """
    read = load(config)
    fields = {
        "title": Path(config.path).stem, "source": "sets", "num_labels": len(read.names),
        "label_names": read.names,
    }  # fmt: skip
    splits = ~read.heldout, read.heldout
    if isinstance(read, folders.Pictures):
        train, heldout = ((read.images[which], _part(read.labels, which)) for which in splits)
        fields |= {"columns": ("x", "y"), "set_column": "set", "details": read.details,
                   "notice": read.notice}  # fmt: skip
        return from_splits(train, heldout, config, label_column="label", **fields)
    fields |= {name: getattr(read, name) for name in ("columns", "set_column", "label_column")}
    fields |= {"details": _details(read), "notice": _notice(read)}
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


def _details(read: Collection) -> str:
    """In words what was read, and by which columns."""
    sizes, labels = read.sizes, f"; {len(read.names)} labels" if read.names else ""
    return (
        f"{len(sizes)} sets of {sizes.min()} to {sizes.max()} points (median {np.median(sizes):g}) "
        f"by {read.set_column}, {read.heldout.sum()} held out; coordinates "
        f"{', '.join(read.columns)}{labels}{'; ' * bool(read.clipped)}{read.clipped}"
    )


def _notice(read: Collection) -> str:
    found, of_set = notices.find_outliers(read.points), _set_of_each(read)
    near = ~found.rows
    return notices.join(
        notices.outliers(found, PointNames(read.points)) if not read.clipped else "",
        notices.grid(read.points[near], read.columns, can_jitter=False),
        notices.repeats(read.points[near], of_set[near], can_jitter=False),
    )


def _set_of_each(read: Collection) -> np.ndarray:
    """The set of each point, i64[P]."""
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
    """`read` without outliers, and without sets of which fewer than 2 points are left."""
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
    """What the file or folder at `config.path` holds; `UserError` if it is none of the kinds."""
    path = Path(config.path).expanduser()
    kinds = tables.SUFFIXES + arrays.SUFFIXES
    require(path.exists(), "config.data.path", config.path, "an existing file or folder")
    require(path.is_dir() or path.suffix.lower() in kinds, "config.data.path", config.path,
            f"a folder of pictures or a {', '.join(kinds)} file")  # fmt: skip
    return _load(_stamp(path), **{name: config[name] for name in OPTIONS})


def names_labels(path: str) -> bool:
    """Whether a file or folder has labels by what it calls its parts, at a glance; see `load`."""
    file = Path(path).expanduser()
    try:
        if file.is_dir():
            return bool(folders.find(file, "")[0].label)
        if file.suffix.lower() in arrays.SUFFIXES:
            with np.load(file) as read:
                return "label" in read.files
        return "label" in tables.column_names(file)
    except Exception:  # whatever it is, `load` will say it
        return False


def _stamp(path: Path) -> tuple:
    """Changes with the file, or with any of the folder."""
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
    if path.is_dir():
        return folders.read
    return tables.read if path.suffix.lower() in tables.SUFFIXES else arrays.read
