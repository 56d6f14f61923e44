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

from tiny_diffusion_jax.data import units
from tiny_diffusion_jax.dataset import Dataset
from tiny_diffusion_jax.files import atomic, write_array
from tiny_diffusion_jax.point_sets import lengths, ragged
from tiny_diffusion_jax.reports.data import ReportData
from tiny_diffusion_jax.web.packing import pack

FORMATS = {4: ".9g", 8: ""}  # by size in bytes: every number is read back exactly.
PAGE_NUMBERS = 350_000  # numbers in the table that a page can save: 0.9 MB of text.


def write_sets(folder: Path, name: str, sets, dataset: Dataset, labels, same_size: bool) -> str:
    """Write `sets` f32[S, N, D], padded with NaN, and return the file name of the array.

    labels: labels that the sets were conditioned on, i32[S], or None. Files of an earlier call that
    do not match the new sets are removed.
    """
    sizes, points = lengths(sets), np.concatenate(ragged(sets))
    number = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    file = f"{name}.npy" if same_size else f"{name}.npz"
    if same_size:
        write_array(folder / file, sets)
    else:
        label = {} if labels is None else {"label": np.asarray(labels, np.int32)}
        arrays = {"points": points, "sizes": sizes.astype(np.int32), "set": number} | label
        with atomic(folder / file) as temporary, temporary.open("wb") as opened:
            np.savez(opened, **arrays)
    table = f"{name}.csv" if dataset.sizes is not None else ""
    if table:
        _write_table(folder / table, points, number, dataset, labels)
    for other in {f"{name}.npy", f"{name}.npz", f"{name}.csv"} - {file, table}:
        (folder / other).unlink(missing_ok=True)
    return file


def _write_table(path: Path, points, number, dataset: Dataset, labels) -> None:
    """Write points f[P, D] of sets i32[P] with the column names of the input table."""
    header, digits = [dataset.set_column or "set", *dataset.coordinates], FORMATS[points.itemsize]
    cells = [[]] * (number.max(initial=-1) + 1)  # cells after the coordinates, of each set
    if labels is not None:
        header.append(dataset.label_column or "label")
        names = dict(enumerate(dataset.label_names))
        cells = [[names.get(label, "")] for label in np.asarray(labels).tolist()]
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(header)
        rows.writerows([i, *(format(x, digits) for x in point), *cells[i]]
                       for i, point in zip(number.tolist(), points, strict=True))  # fmt: skip


def table_panel(data: ReportData) -> dict:
    """Samples that a page can save as a table: as many sets as the page has room for."""
    dataset = data.dataset
    sets = units.to_own(dataset.origin, data.samples)
    num_sets = max(1, PAGE_NUMBERS // (sets.shape[1] * sets.shape[2]))
    kept = sets[:num_sets, : PAGE_NUMBERS // sets.shape[2]]
    return {
        "points": pack(kept), "sizes": lengths(kept).tolist(),
        "digits": units.significant_digits(sets), "columns": list(dataset.coordinates),
        "setColumn": dataset.set_column or "set",
        **{name: [len(part), int(lengths(part).sum())]  # numbers of sets and of points
           for name, part in (("kept", kept), ("drawn", sets))},
    }  # fmt: skip
