"""Notices about points from a file that hinder training, and the options that help."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from tiny_diffusion_jax.data import units
from tiny_diffusion_jax.dataset import Dataset, draw_points

# Ratio of two spreads. Above it, the narrow coordinate vanishes if there is one common scale.
MAX_SPREAD_RATIO = 100.0

# Distance of an outlier from the median, over the distance of 99 % of the other rows.
FAR = 20.0

# Share of all rows. If more rows are far, these rows are part of the distribution.
MOST_OUTLIERS = 0.1

# Grid steps per standard deviation. A network cannot resolve a finer grid.
COARSE = 100.0

FEWEST = 20  # rows; with fewer rows a grid may be chance

MANY_REPEATS = 0.1  # of all rows

NAMED = 3  # rows in a notice

# Real points that define the box of the data, and their share beyond each side.
BOX_DRAWS, BOX_TAIL = 1_024, 0.005

BOX_SCALES = 2.5  # half a side of the box of a model without data, in scales


class Outliers(NamedTuple):
    """Rows that are far from all other rows."""

    rows: np.ndarray  # bool[P]
    times: float  # distance of the farthest, over the distance of 99 % of the other rows


def join(*notices: str) -> str:
    """Join the notices that are not empty, with line breaks."""
    return "\n".join(filter(None, notices))


# ---------------------------------------------------------------- outliers


def find_outliers(points: np.ndarray) -> Outliers:
    """Find rows of f64[P, D] more than 20 times as far from the median as 99 % of the others.

    d(x) = max over coordinates of |x - median| / (interquartile range)

    Outliers strongly change the mean and the variance. They hardly change the median and the
    interquartile range.
    """
    distance = (np.abs(points - np.median(points, axis=0)) / _robust_spread(points)).max(1)
    near = distance <= FAR
    typical = np.quantile(distance[near], 0.99) if near.any() else 0.0
    rows = distance > FAR * typical
    if typical == 0 or rows.mean() > MOST_OUTLIERS or not rows.any():
        return Outliers(np.zeros(len(points), bool), 0.0)
    return Outliers(rows, float(distance.max() / typical))


def _robust_spread(points: np.ndarray) -> np.ndarray:
    """Interquartile range f64[D], or a wider range if most rows agree; infinite if all agree."""
    spread = np.zeros(points.shape[1])
    for tail in (0.25, 0.1, 0.01):
        if (spread > 0).all():
            return spread
        low, high = np.quantile(points, [tail, 1 - tail], axis=0)
        spread = np.where(spread > 0, spread, high - low)
    return np.where(spread > 0, spread, np.inf)


def outliers(found: Outliers, name: Callable[[int], str]) -> str:
    """Notice about outliers that were read; name(i) is the name of row i, as "line 7"."""
    if not found.rows.any():
        return ""
    is_, them = ("are up to", "them") if found.rows.sum() > 1 else ("is", "it")
    times = float(f"{found.times:.2g}")
    return (
        f"{name_rows(found.rows, name)} {is_} {times:,.0f} times as far from the median as 99 % "
        "of the other rows: the scale at which the model learns follows from such rows; "
        f"config.data.clip_outliers=True leaves {them} out"
    )


def left_out(found: Outliers, name: Callable[[int], str]) -> str:
    """Details about outliers that were left out."""
    num = int(found.rows.sum())
    return f"{num:,} outlier{'s' * (num > 1)} left out ({name_rows(found.rows, name)})"


def name_rows(rows: np.ndarray, name: Callable[[int], str]) -> str:
    """Describe the rows bool[P] in words: "line 2, line 7 and 5 more"."""
    index = np.flatnonzero(rows).tolist()
    more = f" and {len(index) - NAMED:,} more" if len(index) > NAMED else ""
    return ", ".join(map(name, index[:NAMED])) + more


# ---------------------------------------------------------------- coordinates


def spreads(variance: np.ndarray, columns: Sequence[str]) -> str:
    """Notices about constant coordinates, and about very different standard deviations.

    variance: f64[D]. With one common scale, a narrow coordinate would be nearly constant for the
    network.
    """
    std = np.sqrt(variance)
    flat = [name for name, s in zip(columns, std, strict=True) if s == 0]
    constant = uneven = ""
    if flat and len(flat) < len(columns):
        constant = (
            f"{_coordinates(flat)} never change{'s' * (len(flat) == 1)}: points drawn will differ "
            "in it by a little; config.data.columns chooses other coordinates")  # fmt: skip
    varying = np.where(std > 0, std, np.inf)
    wide, narrow = int(np.argmax(std)), int(np.argmin(varying))
    if std[wide] > MAX_SPREAD_RATIO * varying[narrow]:
        uneven = (
            f"coordinate {columns[wide]} has a spread of {std[wide]:.3g} and coordinate "
            f"{columns[narrow]} one of {std[narrow]:.2g}: with one scale for both the narrow one "
            "is learned as a constant; config.data.per_axis=True gives each a scale of its own")
    return join(constant, uneven)


def grid(points: np.ndarray, columns: Sequence[str], can_jitter: bool) -> str:
    """Notice about coordinates of points f64[P, D] that are multiples of a coarse step."""
    steps = [grid_step(x) for x in points.T]
    names = [name for name, step in zip(columns, steps, strict=True) if step]
    if not names:
        return ""
    step = max(steps)
    says = ("config.data.jitter=gaussian with config.data.jitter_std="
            f"{0.3 * step:.1g} fills the gaps" if can_jitter else "round them if they must be")
    return (f"{_coordinates(names)} {'is' if len(names) == 1 else 'are'} on a grid of step "
            f"{step:g}: points drawn will not be on it exactly; {says}")  # fmt: skip


def grid_step(x: np.ndarray) -> float:
    """Largest power of ten that divides all x f64[P]; 0.0 if this step is not coarse."""
    std = float(x.std())
    if len(x) < FEWEST or np.ptp(x) == 0 or std < units.SMALLEST:
        return 0.0
    for exponent in range(math.floor(math.log10(std)) + 1, math.ceil(math.log10(std / COARSE)) - 1,
                          -1):  # fmt: skip
        if _are_multiples(x[:1_000], exponent) and _are_multiples(x, exponent):
            return float(f"1e{exponent}")
    return 0.0


def _are_multiples(x: np.ndarray, exponent: int) -> bool:
    steps = x / float(f"1e{exponent}")
    rounding = 8 * np.spacing(np.abs(steps).max())
    return bool(np.all(np.abs(steps - np.rint(steps)) <= max(1e-9, rounding)))


def repeats(points: np.ndarray, sets: np.ndarray | None, can_jitter: bool) -> str:
    """Notice about rows of f64[P, D] that repeat an earlier row (of the same set, i64[P])."""
    share = repeated(points if sets is None else np.column_stack([points, sets]))
    if share <= MANY_REPEATS:
        return ""
    of_set = "" if sets is None else " of their set"
    std = float(f"{0.01 * math.sqrt(points.var(0).mean()):.1g}")
    says = (f"config.data.jitter=gaussian with config.data.jitter_std={std:g} makes every draw a "
            "new point" if can_jitter else "points drawn will not repeat exactly")  # fmt: skip
    return f"{100 * share:.0f} % of the rows repeat an earlier row{of_set}; {says}"


def repeated(rows: np.ndarray) -> float:
    """Share of rows f64[P, C] that are equal to an earlier row.

    Rows are compared by one random linear combination of their cells, because sorting complete rows
    takes ten times as long.
    """
    weights = np.random.default_rng(0).uniform(1, 2, rows.shape[1])
    key = sum(column * weight for column, weight in zip(rows.T, weights, strict=True))
    key.sort()
    return float(np.mean(key[1:] == key[:-1])) if len(key) > 1 else 0.0


def _coordinates(names: Sequence[str]) -> str:
    return f"coordinate{'s' * (len(names) > 1)} {', '.join(names)}"


# ---------------------------------------------------------------- points to complete


def far_from_data(dataset: Dataset, given: np.ndarray) -> str:
    """Notice about points `given` f32[n, D] in centred units that are far outside of the data.

    The box of the data holds 99 % of the data in each coordinate. Points are far if at least half
    of them are outside of the box, or if the distance of one point from the box exceeds the width
    of the box.
    """
    low, high = _box(dataset)
    beyond = np.maximum(low - given, given - high)
    outside = (beyond > 0).any(1)
    if outside.mean() < 0.5 and not (beyond > high - low).any():
        return ""
    own = units.to_own(dataset.origin, np.stack([low, high]))
    digits = 3 if not dataset.origin else units.significant_digits(own) - 4
    box = ", ".join(
        f"{name} from {a:.{digits}g} to {b:.{digits}g}"
        for name, a, b in zip(dataset.coordinates, *own, strict=True)
    )
    return (f"{outside.sum()} of {len(given)} given points are outside of the data ({box}); "
            "given points must be in the units of the data")  # fmt: skip


def _box(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return the box (low f64[D], high f64[D]) of the data."""
    if not dataset.has_points:
        shift, half = np.asarray(dataset.shift), BOX_SCALES * np.asarray(dataset.scale)
        return shift - half, shift + half
    points = np.asarray(draw_points(dataset, jax.random.key(0), BOX_DRAWS, 1))[:, 0]
    low, high = np.quantile(points, [BOX_TAIL, 1 - BOX_TAIL], axis=0)
    return low, high
