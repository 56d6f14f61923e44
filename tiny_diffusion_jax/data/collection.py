"""Common form of all files of observed sets: points, sizes, labels."""

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import NamedTuple

import numpy as np

from tiny_diffusion_jax.data import notices
from tiny_diffusion_jax.data.cells import encode
from tiny_diffusion_jax.errors import UserError, require

HELDOUT_WORDS = ("test", "heldout", "held_out", "held-out", "valid", "validation", "val", "dev")
TRAIN_WORDS = ("train", "training")
MIN_HELDOUT = 4  # sets; metrics compare two halves, and each half needs two sets
MIN_TRAIN = 2
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")  # as the name of a set
SHOWN = 8  # names in a message


class Collection(NamedTuple):
    """S observed sets with P points in all, in the order of the file."""

    points: np.ndarray  # f64[P, D], set after set
    sizes: np.ndarray  # i64[S], each at least 2
    labels: np.ndarray | None  # i64[S]: label k is names[k]
    names: tuple[str, ...]
    heldout: np.ndarray  # bool[S]
    columns: tuple[str, ...]  # names in the file: of the coordinates,
    set_column: str  # of the set,
    label_column: str  # and of the label; "": no label
    notice: str  # decisions that the user may want to change
    remarks: str  # columns that are not read, and outliers that were left out, in words

    @property
    def set_of_point(self) -> np.ndarray:
        """Index i64[P] of the set of each point."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    def without_outliers(self) -> "Collection":
        """Remove outliers, and then sets with fewer than 2 remaining points."""
        outliers = notices.find_outliers(self.points)
        if not outliers.rows.any():
            return self
        index = self.set_of_point
        sizes = np.bincount(index[~outliers.rows], minlength=len(self.sizes))
        kept = sizes >= 2
        remarks = f"{self.remarks}; {notices.left_out(outliers, self.name_of_point)}"
        if not kept.all():
            remarks += f"; {(~kept).sum()} sets left out, of fewer than 2 other points"
        return self._replace(
            points=self.points[~outliers.rows & kept[index]], sizes=sizes[kept], remarks=remarks,
            labels=None if self.labels is None else self.labels[kept], heldout=self.heldout[kept],
        )  # fmt: skip

    def name_of_point(self, index: int) -> str:
        """Name of a point in notices: "the point (1.5, 2)"."""
        return f"the point ({', '.join(f'{x:.7g}' for x in self.points[index])})"


def collect(
    points: np.ndarray, codes: np.ndarray, ids: Sequence[str], config, *,
    label: np.ndarray | None, split: np.ndarray | None, columns: Sequence[str], set_column: str,
    label_column: str, others: Sequence[str] = (), notice: str = "", remarks: str = "",
) -> Collection:  # fmt: skip
    """Collect the sets ids[k] = points[codes == k]; points keep their order.

    points: f64[P, D], finite; codes: int[P]; label, split: text [S] of each set, or None; others:
    other columns that could name the set. With `config.skip_small` sets of 0 or 1 points are left
    out, and `notice` counts them.
    Without `split` the share `config.heldout` of the sets is held out, the same sets in every run.
    Raises `UserError` for a single set, for a set of a single point, for an unknown word in
    `split`, and if too few sets remain for training or for metrics.
    """
    sizes = np.bincount(codes, minlength=len(ids))
    if len(ids) == 1:
        raise UserError(
            problem=f"holds a single set, {ids[0]!r}: must hold several, told apart by "
            "config.data.set_column; one set of points is learned by --config=points"
        )
    small, kept = np.flatnonzero(sizes < 2), np.flatnonzero(sizes > 1)
    if len(small) and config.skip_small and len(kept):
        left_out = (f"left out: {len(small):,} of {len(sizes):,} sets with fewer than 2 points "
                    f"(the first is {ids[small[0]]!r})")  # fmt: skip
        notice = "; ".join(filter(None, (notice, left_out)))
        points, codes = points[sizes[codes] > 1], codes[sizes[codes] > 1]
        codes, sizes, ids = np.searchsorted(kept, codes), sizes[kept], [ids[k] for k in kept]
        label, split = (None if texts is None else texts[kept] for texts in (label, split))
    elif len(small):
        more = f" (and {len(small) - 1} more sets)" if len(small) > 1 else ""
        size = int(sizes[small[0]])
        column = (f"; sets by column {set_column!r}; config.data.set_column names another "
                  f"({listed(others)})") if others else ""  # fmt: skip
        raise UserError(
            problem=f"set {ids[small[0]]!r} has {size} point{'s' * (size != 1)}{more}",
            allowed=f"at least 2{column}; config.data.skip_small=True leaves small sets out",
        )
    if np.any(codes[1:] < codes[:-1]):
        points = points[np.argsort(codes, kind="stable")]
    held = held_out(config, ids, split)
    labels, names = number_labels(label)
    return Collection(
        np.asarray(points, np.float64), sizes, labels, names, held, tuple(columns), set_column,
        label_column if names else "", notice, remarks,
    )  # fmt: skip


def join_equal(codes: np.ndarray, ids: Sequence[str]) -> tuple[np.ndarray, list[str], str]:
    """Join sets whose names are equal numbers, such as 3 and 3.0; return (codes, ids, notice).

    The first of the equal names stays. Numbers are compared exactly, with all their digits.
    """
    keys = [Decimal(name) if NUMBER.fullmatch(name) else name for name in ids]
    firsts = {key: i for i, key in reversed([*enumerate(keys)])}
    kept = sorted(firsts.values())
    if len(kept) == len(ids):
        return codes, list(ids), ""
    index = np.array([firsts[key] for key in keys])
    again = int(np.argmax(index != np.arange(len(ids))))
    num = len(set(index[index != np.arange(len(ids))].tolist()))
    notice = (f"set names that are equal numbers are one set: {num:,} number{'s' * (num > 1)}, "
              f"such as {ids[index[again]]} and {ids[again]}")  # fmt: skip
    return np.searchsorted(kept, index)[codes], [ids[i] for i in kept], notice


def listed(names: Sequence[str]) -> str:
    """Join at most 8 names with commas; a name that contains a comma is quoted."""
    quoted = [f'"{name}"' if "," in name else name for name in names[:SHOWN]]
    return ", ".join(quoted) + (", ..." if len(names) > SHOWN else "")


def number_labels(label: Sequence[str] | None) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """(labels i64[S], names) with sorted names; names are sorted as numbers if all are numbers."""
    if label is None:
        return None, ()
    names, labels = np.unique(np.asarray(label, str), return_inverse=True)
    order = np.arange(len(names))
    if all(name.isdecimal() for name in names):
        order = np.argsort([int(name) for name in names])
    return np.argsort(order)[labels], tuple(names[order].tolist())


def held_out(config, ids: Sequence[str], split: Sequence[str] | None, what: str = "sets"):
    """Return bool[S], True for the held-out sets among `ids`; see `collect`."""
    num = len(ids)
    if split is None:
        require(config.heldout > 0, "config.data.heldout", config.heldout,
                f"above 0 for {what}, which are compared with held-out ones")  # fmt: skip
        if num < MIN_HELDOUT + MIN_TRAIN:
            raise UserError(
                problem=f"holds {num} {what}", allowed=f"at least {MIN_HELDOUT + MIN_TRAIN}, of "
                f"which {MIN_HELDOUT} are held out to compare with")  # fmt: skip
        count = max(MIN_HELDOUT, round(config.heldout * num))
        return np.isin(np.arange(num), np.random.default_rng(0).permutation(num)[:count])
    words = np.char.lower(np.asarray(split, str))
    held, is_known = np.isin(words, HELDOUT_WORDS), np.isin(words, HELDOUT_WORDS + TRAIN_WORDS)
    if not is_known.all():
        index = int(np.argmin(is_known))
        raise UserError(problem=f"the split of set {ids[index]!r} is {str(words[index])!r}",
                        allowed=f"one of {', '.join(TRAIN_WORDS + HELDOUT_WORDS)}")  # fmt: skip
    for count, least, use in ((held.sum(), MIN_HELDOUT, "held out"),
                              ((~held).sum(), MIN_TRAIN, "to train on")):  # fmt: skip
        if count < least:
            raise UserError(problem=f"has {count} {what} {use}", allowed=f"at least {least}")
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
        raise UserError(field, column, "a text", problem=f"{row_name(row)} is empty")
    first = np.empty(len(ids), np.int64)
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    differs = number != number[first][codes]
    if differs.any():
        row = int(np.argmax(differs))
        two = names[number[first[codes[row]]]], names[number[row]]
        problem = f"set {ids[codes[row]]!r} has {two[0]!r} and {two[1]!r} ({row_name(row)})"
        raise UserError(field, column, "the same in all rows of a set", problem=problem)
    return np.array(names)[number[first]]
