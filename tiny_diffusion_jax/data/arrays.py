"""Numpy files of sets: points[S, N, D] with or without a mask, or all points[P, D] in a row."""

from pathlib import Path

import numpy as np

from tiny_diffusion_jax.data.collection import Collection, collect
from tiny_diffusion_jax.errors import UserError, reason_of, require_choice

SUFFIXES = (".npz", ".npy")


def read(config) -> Collection:
    """The sets of the file at `config.path`.

    .npy: points[S, N, D]. .npz: the array `config.array`, '' for the one called points or else the
    only one, as points[S, N, D], of which mask[S, N] says which exist (without it: all), or as
    points[P, D], where sizes[S] counts the points of each set or set[P] names the set of each.
    label[S], split[S]: of each set, of set[P] in the order of its sorted values.
    Raises `UserError` that names the array and the entry at fault.
    """
    place = f"config.data.path = {config.path!r}"
    arrays = _load(Path(config.path).expanduser(), config.array, place)
    points = arrays["points"]
    if points.dtype.kind not in "biuf":
        raise UserError(f"{place}: points are of type {points.dtype}: must be real numbers")
    if points.ndim == 3:
        rows, codes, ids = _padded(points, arrays.get("mask"), place)
    elif points.ndim == 2:
        rows, codes, ids = points, *_ragged(len(points), arrays, place)
    else:
        raise UserError(f"{place}: points have shape {points.shape}: must be [S, N, D], or [P, D] "
                        "with set[P] or sizes[S]")  # fmt: skip
    if rows.shape[-1] < 2:
        raise UserError(f"{place}: points have shape {points.shape}: must have D = 2 coordinates "
                        "or more")  # fmt: skip
    with np.errstate(over="ignore"):
        bad = ~np.isfinite(rows.astype(np.float32))
    if bad.any():
        row = int(np.argmax(bad.any(1)))
        masked = " where mask is True" if "mask" in arrays else ""
        raise UserError(f"{place}: set {ids[codes[row]]!r} has a point {rows[row].tolist()}: must "
                        f"be finite numbers{masked}")  # fmt: skip
    label, split = (_of_sets(arrays, name, len(ids), place) for name in ("label", "split"))
    columns = ["x", "y", "z"] if rows.shape[1] <= 3 else [f"x{i}" for i in range(rows.shape[1])]
    return collect(
        rows, codes, ids, config, label=label, split=split, columns=columns[: rows.shape[1]],
        label_column="label",
    )  # fmt: skip


def _load(file: Path, name: str, place: str) -> dict[str, np.ndarray]:
    try:
        data = np.load(file, allow_pickle=False)
        if isinstance(data, np.ndarray):
            return {"points": data}
        with data:
            arrays = {key: data[key] for key in data.files}
    except Exception as error:  # np.load: OSError, ValueError, EOFError, BadZipFile, zlib.error
        raise UserError(f"{place}: must be a numpy file of numbers ({reason_of(error)})") from error
    if name:
        require_choice("config.data.array", name, arrays)
    elif "points" not in arrays and len(arrays) != 1:
        raise UserError(f"{place}: must hold an array points; there are {', '.join(arrays)}; "
                        "config.data.array names another")  # fmt: skip
    name = name or ("points" if "points" in arrays else next(iter(arrays)))
    return arrays | {"points": arrays[name]}


def _padded(points: np.ndarray, mask: np.ndarray | None, place: str):
    """(rows [P, D], codes [P], ids) of points[S, N, D]."""
    S, N, D = points.shape
    if mask is None:
        mask = np.ones((S, N), bool)
    if mask.shape != (S, N):
        raise UserError(f"{place}: mask has shape {mask.shape}: must be {(S, N)}, as points")
    mask = mask.astype(bool)
    return points[mask], np.repeat(np.arange(S), mask.sum(1)), list(map(str, range(S)))


def _ragged(num: int, arrays: dict, place: str):
    """(codes [P], ids) of `num` points in a row."""
    if "sizes" in arrays:
        sizes = arrays["sizes"]
        good = sizes.ndim == 1 and sizes.dtype.kind in "iu" and np.all(sizes >= 0)
        if not good or sizes.sum() != num:
            raise UserError(f"{place}: sizes of shape {sizes.shape} and sum {sizes.sum()}: must be "
                            f"[S], whole numbers of sum {num}, the number of points")  # fmt: skip
        return np.repeat(np.arange(len(sizes)), sizes), list(map(str, range(len(sizes))))
    if "set" not in arrays:
        raise UserError(f"{place}: points have shape [P, D]: must go with set[P] or sizes[S]; one "
                        "set of points is learned by configs/points.py")  # fmt: skip
    if arrays["set"].shape != (num,):
        raise UserError(f"{place}: set has shape {arrays['set'].shape}: must be {(num,)}")
    ids, codes = np.unique(arrays["set"], return_inverse=True)
    return codes, list(map(str, ids.tolist()))


def _of_sets(arrays: dict, name: str, num: int, place: str) -> np.ndarray | None:
    """The texts [S] of the array `name`, in numpy's own way of writing them."""
    if name not in arrays:
        return None
    values = arrays[name]
    if values.shape != (num,):
        raise UserError(f"{place}: {name} has shape {values.shape}: must be {(num,)}, one a set")
    return values.astype(str)
