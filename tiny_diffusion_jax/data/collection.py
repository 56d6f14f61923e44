"""Common form of all files of observed sets: points, sizes, labels."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from tiny_diffusion_jax.data.cells import encode
from tiny_diffusion_jax.errors import UserError, require

HELDOUT_WORDS = ("test", "heldout", "held_out", "held-out", "valid", "validation", "val", "dev")
TRAIN_WORDS = ("train", "training")
MIN_HELDOUT = 4  # sets; metrics compare two halves, and each half needs two sets
MIN_TRAIN = 2
SHOWN = 8  # names in a message


class Collection(NamedTuple):
    """S observed sets with P points in all, in the order of the file."""

    points: np.ndarray  # f64[P, D], set after set
    sizes: np.ndarray  # i64[S], each at least 2
    labels: np.ndarray | None  # i64[S]: label k is names[k]
    names: tuple[str, ...]
    heldout: np.ndarray  # bool[S]
    columns: tuple[str, ...]  # names in the file: of the coordinates,
    set_column: str = "set"  # of the set,
    label_column: str = ""  # and of the label; "": no label
    not_read: str = ""  # columns that are not used, in words
    notice: str = ""  # decisions that the user may want to change
    clipped: str = ""  # outliers that were left out, in words


def collect(
    points: np.ndarray, codes: np.ndarray, ids: Sequence[str], config, *,
    label: np.ndarray | None = None, split: np.ndarray | None = None, columns: Sequence[str],
    set_column: str = "set", label_column: str = "", others: Sequence[str] = (), notice: str = "",
) -> Collection:  # fmt: skip
    """Collect the sets ids[k] = points[codes == k]; points keep their order.

    points: f64[P, D], finite; codes: int[P]; label, split: text [S] of each set, or None; others:
    other columns that could name the set. With `config.skip_small` sets of 0 or 1 points are left
    out, and `notice` counts them.
    Without `split` the share `config.heldout` of the sets is held out, the same sets in every run.
    Raises `UserError` for a single set, for a set of a single point, for an unknown word in
    `split`, and if too few sets remain for training or for metrics.
    """
    place = f"config.data.path = {config.path!r}"
    sizes = np.bincount(codes, minlength=len(ids))
    if len(ids) == 1:
        raise UserError(
            f"{place}: holds a single set, {ids[0]!r}: must hold several, told apart by "
            "config.data.set_column; one set of points is learned by configs/points.py"
        )
    if (sizes < 2).any():
        notice = _join(notice, _check_small(sizes, ids, config, set_column, others))
        kept = np.flatnonzero(sizes > 1)
        points, codes = points[sizes[codes] > 1], codes[sizes[codes] > 1]
        codes, sizes = np.searchsorted(kept, codes), sizes[kept]
        keep = lambda values: None if values is None else [values[k] for k in kept]
        ids, label, split = keep(ids), keep(label), keep(split)
    if np.any(codes[1:] < codes[:-1]):
        points = points[np.argsort(codes, kind="stable")]
    held = held_out(config, ids, split)
    labels, names = (None, ()) if label is None else number_labels(label)
    return Collection(
        np.asarray(points, np.float64), sizes, labels, names, held, tuple(columns), set_column,
        label_column if label is not None else "", notice=notice,
    )  # fmt: skip


def _join(*notices: str) -> str:
    return "; ".join(filter(None, notices))


def _check_small(sizes, ids, config, set_column: str, others: Sequence[str]) -> str:
    """Notice about sets of 0 or 1 points. Raises UserError unless these sets may be left out."""
    small = np.flatnonzero(sizes < 2)
    if config.skip_small and len(small) < len(sizes):
        return (f"left out: {len(small):,} of {len(sizes):,} sets with fewer than 2 points (the "
                f"first is {ids[small[0]]!r})")  # fmt: skip
    more = f" (and {len(small) - 1} more sets)" if len(small) > 1 else ""
    size = int(sizes[small[0]])
    column = f"; sets by column {set_column!r}; config.data.set_column names another " \
             f"({listed(others)})" if others else ""
    raise UserError(
        f"config.data.path = {config.path!r}: set {ids[small[0]]!r} has {size} "
        f"point{'s' * (size != 1)}{more}: must be at least 2{column}; config.data.skip_small=True "
        "leaves small sets out"
    )


def listed(names: Sequence[str]) -> str:
    """Join at most 8 names with commas; a name that contains a comma is quoted."""
    quoted = [f'"{name}"' if "," in name else name for name in names[:SHOWN]]
    return ", ".join(quoted) + (", ..." if len(names) > SHOWN else "")


def number_labels(label: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """(labels i64[S], names) with sorted names; names are sorted as numbers if all are numbers."""
    names, labels = np.unique(np.asarray(label, str), return_inverse=True)
    order = np.arange(len(names))
    if all(name.isdecimal() for name in names):
        order = np.argsort([int(name) for name in names])
    return np.argsort(order)[labels], tuple(names[order].tolist())


def held_out(config, ids: Sequence[str], split: np.ndarray | None, what: str = "sets"):
    """Return bool[S], True for the held-out sets among `ids`; see `collect`."""
    place, num = f"config.data.path = {config.path!r}", len(ids)
    if split is None:
        require(config.heldout > 0, "config.data.heldout", config.heldout,
                f"above 0 for {what}, which are compared with held-out ones")  # fmt: skip
        need = MIN_HELDOUT + MIN_TRAIN
        if num < need:
            raise UserError(f"{place}: holds {num} {what}: must be at least {need}, of which "
                            f"{MIN_HELDOUT} are held out to compare with")  # fmt: skip
        held = np.zeros(num, bool)
        count = max(MIN_HELDOUT, round(config.heldout * num))
        held[np.random.default_rng(0).permutation(num)[:count]] = True
        return held
    words, code = np.unique(np.char.lower(np.asarray(split, str)), return_inverse=True)
    known = np.isin(words, HELDOUT_WORDS + TRAIN_WORDS)
    if not known.all():
        raise UserError(
            f"{place}: the split of set {ids[int(np.argmax(~known[code]))]!r} is "
            f"{str(words[~known][0])!r}: must be one of {', '.join(TRAIN_WORDS + HELDOUT_WORDS)}"
        )
    held = np.isin(words, HELDOUT_WORDS)[code]
    for count, least, use in ((held.sum(), MIN_HELDOUT, "held out"),
                              ((~held).sum(), MIN_TRAIN, "to train on")):  # fmt: skip
        if count < least:
            raise UserError(f"{place}: has {count} {what} {use}: must be at least {least}")
    return held


def one_each(
    values: Sequence[str], codes: np.ndarray, ids: Sequence[str], field: str, column: str,
    row_name: Callable[[int], str],
) -> np.ndarray:  # fmt: skip
    """Return the value of each set, text [S], from a column that repeats the value in each row [P].

    Raises `UserError` if a cell is empty or two rows of a set differ.
    """
    number, names = encode(values)
    if "" in names:
        row = int(np.argmax(number == names.index("")))
        raise UserError(f"{field} = {column!r}: {row_name(row)} is empty: must be a text")
    first = np.empty(len(ids), np.int64)
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    differs = number != number[first][codes]
    if differs.any():
        row = int(np.argmax(differs))
        two = names[number[first[codes[row]]]], names[number[row]]
        raise UserError(
            f"{field} = {column!r}: set {ids[codes[row]]!r} has {two[0]!r} and {two[1]!r} "
            f"({row_name(row)}): must be the same in all rows of a set"
        )
    return np.array(names)[number[first]]
