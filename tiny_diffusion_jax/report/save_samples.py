"""Write sets to files: arrays for programs and, for observed sets, a table like the input table.

    NAME.npy   f32[S, N, D], if all sets have N points
    NAME.npz   points f32[P, D], set i32[P], sizes i32[S] and, if known, label i32[S], otherwise
    NAME.csv   one row per point: set, coordinates and label, with the column names of the input

Points are f64 if f32 would round them too much, see data/units.py. The reader of sets can read the
.npz and the .csv.
"""

import csv
from pathlib import Path

import numpy as np

from tiny_diffusion_jax.dataset import Dataset
from tiny_diffusion_jax.files import atomic, write_array
from tiny_diffusion_jax.point_sets import ragged

FORMATS = {4: ".9g", 8: ""}  # by size in bytes: every number is read back exactly.
AXES = "xyz"  # names of coordinates whose columns have only numbers as names.


def write_sets(folder: Path, name: str, sets, dataset: Dataset, labels, same_size: bool) -> str:
    """Write `sets` f32[S, N, D], padded with NaN, and return the file name of the array.

    labels: labels that the sets were conditioned on, i32[S], or None. Files of an earlier call that
    do not match the new sets are removed.
    """
    file = f"{name}.npy" if same_size else f"{name}.npz"
    if same_size:
        write_array(folder / file, sets)
    else:
        write_ragged(folder / file, sets, labels)
    is_table = dataset.sizes is not None
    if is_table:
        write_table(folder / f"{name}.csv", sets, dataset, labels)
    for other in {f"{name}.npy", f"{name}.npz", f"{name}.csv"} - {file}:
        if not (is_table and other.endswith(".csv")):
            (folder / other).unlink(missing_ok=True)
    return file


def write_ragged(path: Path, sets, labels) -> None:
    """Write a .npz file of sets of different sizes, one after the other."""
    each = ragged(sets)
    sizes = np.array([len(points) for points in each], np.int32)
    arrays = {
        "points": np.concatenate(each), "sizes": sizes,
        "set": np.repeat(np.arange(len(each), dtype=np.int32), sizes),
    }  # fmt: skip
    if labels is not None:
        arrays["label"] = np.asarray(labels, np.int32)
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def write_table(path: Path, sets, dataset: Dataset, labels) -> None:
    """Write a .csv file with one row per point, with the column names of the input table."""
    names = None
    if labels is not None:
        texts = dataset.label_names
        names = [texts[k] if 0 <= k < len(texts) else "" for k in np.asarray(labels).tolist()]
    header = [dataset.set_column or "set", *coordinates(dataset)]
    number = FORMATS[np.asarray(sets).dtype.itemsize]
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(header + ([dataset.label_column or "label"] if names else []))
        for i, points in enumerate(ragged(sets)):
            last = [names[i]] if names else []
            rows.writerows([i, *(format(x, number) for x in point), *last] for point in points)


def coordinates(dataset: Dataset) -> list[str]:
    """Names of the coordinates: from the table, or x, y, z if the table has no names."""
    names = dataset.columns or tuple(map(str, range(dataset.dim)))
    if all(name.isdecimal() for name in names):
        return [AXES[i] if dataset.dim <= len(AXES) else f"x{i}" for i in range(dataset.dim)]
    return list(names)
