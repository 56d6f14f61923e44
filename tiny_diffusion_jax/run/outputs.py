"""Sets in files: arrays for programs and, of observed sets, a table like the one that was read.

    NAME.npy   f32[S, N, D], where all sets have N points
    NAME.npz   points f32[P, D], set i32[P], sizes i32[S] and, if known, label i32[S], otherwise
    NAME.csv   one row a point: the set, the coordinates, the label, under the table's own names

The reader of sets reads the .npz and the .csv again.
"""

import csv
from pathlib import Path

import numpy as np

from tiny_diffusion_jax.data.base import Dataset
from tiny_diffusion_jax.data.padding import ragged
from tiny_diffusion_jax.files import atomic
from tiny_diffusion_jax.run import workdir

AXES = "xyz"  # names of coordinates that have none but their numbers


def write_sets(folder: Path, name: str, sets, dataset: Dataset, labels, same_size: bool) -> str:
    """Writes `sets` f32[S, N, D], NaN where smaller ones end; returns the name of the array's file.

    labels: i32[S] that were asked for, or None. Files that an earlier call left and that would
    now say something else are removed.
    """
    file = f"{name}.npy" if same_size else f"{name}.npz"
    if same_size:
        workdir.write_array(folder / file, sets)
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
    """Writes a .npz file of sets of different sizes, one after the other."""
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
    """Writes a .csv file with a row for each point, under the names of the table that was read."""
    names = None
    if labels is not None:
        texts = dataset.label_names
        names = [texts[k] if 0 <= k < len(texts) else "" for k in np.asarray(labels).tolist()]
    header = [dataset.set_column or "set", *coordinates(dataset)]
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(header + ([dataset.label_column or "label"] if names else []))
        for i, points in enumerate(ragged(sets)):
            last = [names[i]] if names else []
            rows.writerows([i, *(f"{x:.7g}" for x in point), *last] for point in points)


def coordinates(dataset: Dataset) -> list[str]:
    """What the coordinates are called: by the table, or x, y, z where it has numbers or nothing."""
    names = dataset.columns or tuple(map(str, range(dataset.dim)))
    if all(name.isdecimal() for name in names):
        return [AXES[i] if dataset.dim <= len(AXES) else f"x{i}" for i in range(dataset.dim)]
    return list(names)
