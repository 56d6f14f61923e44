"""Three grades of a generator. The worst metric decides the grade.

    grade = 0 if excess <= max(same, chance),  1 if excess <= close,  else 2

`excess` is the distance of the value from its floor, in the unit of the metric's description.
`chance` is about three standard errors of the excess, so real data have grade 0 in nearly every
metric of nearly every run. Metrics over too few sets and metrics without a floor have no grade.
The number of sets is too small if the metric has a `note`, or if chance alone may reach grade 2.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

GRADES = (
    "cannot be told from the data by these measures",
    "close to the data",
    "differs from the data",
)
SHORT = "like data", "close", "differs"
ERRORS = 3  # standard errors that count as chance
DRAW_SPREAD = 0.35  # relative spread of one sliced W2 between two real draws


class Limit(NamedTuple):
    """Rule for the grade of a metric: its excess, its chance, and the largest excess of a grade."""

    excess: Callable[[dict], float | None]  # None: no grade
    chance: Callable[[dict], float]
    same: float
    close: float
    reason: str


class Graded(NamedTuple):
    """The grade of a metric, 0 best, and its excess over the limit of grade 0 or 1."""

    grade: int
    severity: float


# ---------------------------------------------------------------- excess of a metric m

_ratio = lambda m: None if m.get("ratio") is None else m["ratio"] - 1
_above = lambda m: None if m.get("floor") is None else m["value"] - m["floor"]
_below = lambda m: None if m.get("floor") is None else m["floor"] - m["value"]
_size_excess = lambda m: (m["value"] - m["floor"]) / max(m["true_sd"], 0.5)


def _missing_nats(metric: dict) -> float | None:
    """Nats to the truth, or nats to a Gaussian if that is better than the model."""
    if metric.get("below_gaussian"):
        return metric["gaussian"] - metric["value"]
    return None if metric.get("bound") else metric.get("nats_to_truth")


def spreads_above_floor(metric: dict) -> float | None:
    """Excess (value - floor) / floor_std, for distances with an expected floor of 0."""
    spread = metric.get("floor_std")
    return (metric["value"] - metric["floor"]) / spread if spread else None


# ---------------------------------------------------------------- chance of this excess

_nothing = lambda m: 0.0
_error = lambda m: math.hypot(*(m.get(name) or 0.0 for name in ("value_se", "floor_se")))
_error_chance = lambda m: ERRORS * _error(m)
_pooled_chance = lambda m: ERRORS * DRAW_SPREAD / m.get("num_sets", 1) ** 0.5
_relative_interval_chance = lambda m: _interval_chance(m) / m["floor"]
_size_chance = lambda m: (ERRORS + 1) * m["floor_std"] / max(m["true_sd"], 0.5)
_sd_excess = lambda m: (m["value"] - m["floor"]) / m["true_sd"] if m["true_sd"] else None
_sd_chance = lambda m: (ERRORS + 1) * m["floor_std"] / m["true_sd"]


def _student(count: int) -> float:
    """99.9 % quantile of Student's t, for a spread estimated from `count` sets."""
    from scipy.stats import t

    return float(t.ppf(0.999, max(count - 1, 1)))


def _ratio_chance(metric: dict) -> float:
    """Chance of a ratio, by Student's t for few sets; at most 1, the error for a single set."""
    error, count = metric.get("ratio_se"), metric.get("num_sets", 1)
    return 1.0 if error is None else min(1.0, _student(count) * error)


def _spreads_chance(metric: dict) -> float:
    """Chance of a difference of two means over few sets, whose spreads come from the same sets."""
    return _student(metric.get("num_sets", 2)) * _error(metric) / metric["floor_std"]


def _share_chance(metric: dict) -> float:
    """Three errors of the difference of two shares; positive even for shares of 0 and 1."""
    count = metric.get("num_sets", 1)
    pooled = (count * (metric["value"] + metric["floor"]) + 1) / (2 * count + 2)
    return ERRORS * (2 * max(pooled * (1 - pooled), 0.0) / count) ** 0.5


def _frequency_chance(metric: dict) -> float:
    """Three errors of the member share with the largest error."""
    variances = (weight * (1 - weight) for weight in metric.get("weights", ()))
    return ERRORS * (max(variances, default=0.0) / metric.get("num_sets", 1)) ** 0.5


def _interval_chance(metric: dict) -> float:
    """Chance from a 95 % interval, which is four standard errors wide."""
    ends = (metric.get(name) for name in ("interval", "floor_interval"))
    return ERRORS * math.hypot(*((high - low) / 4 for low, high in filter(None, ends)))


# ---------------------------------------------------------------- the table of limits

LIMITS = {
    "sliced_wasserstein2": Limit(_ratio, _ratio_chance, 0.1, 1.0,
        "2 x the floor is an error as large as the chance differences of two real draws"),
    "wasserstein2": Limit(_ratio, _ratio_chance, 0.1, 1.0, "as sliced W2"),
    "energy_distance": Limit(spreads_above_floor, _spreads_chance, 3.0, 10.0,
        "moons of 4,000 points with a sliced W2 of 1.5 and 3.4 x the floor: 3 and 30 spreads"),
    "mmd_rbf": Limit(spreads_above_floor, _spreads_chance, 3.0, 10.0, "as the energy distance"),
    "total_variation": Limit(_above, _nothing, 0.05, 0.25,
        "shares of the mass: 1 of 20, 1 of 4"),
    "log_likelihood": Limit(_missing_nats, _nothing, 0.05, 0.5,
        "by Pinsker's inequality at most 16 % and 50 % of the mass lies elsewhere"),
    "set_log_likelihood": Limit(_missing_nats, _nothing, 0.05, 0.5, "as the log-likelihood"),
    "separation": Limit(_below, _share_chance, 0.02, 0.1, "shares of sets: 1 of 50, 1 of 10"),
    "stray": Limit(_above, _error_chance, 0.002, 0.02,
        "0.1 % of real points are stray; 2 % are 5 points of a set of 256"),
    "frequency_error": Limit(lambda metric: metric["value"], _frequency_chance, 0.02, 0.1,
        "shares of sets: 1 of 50, 1 of 10"),
    "within_sliced_wasserstein2": Limit(_ratio, _pooled_chance, 0.2, 1.0,
        "as sliced W2, for the worst of several members"),
    "mmd_cd": Limit(_ratio, _relative_interval_chance, 0.1, 0.5,
        "the nearest sets are 1.1 and 1.5 times as far as nearest real sets"),
    "mmd_emd": Limit(_ratio, _relative_interval_chance, 0.1, 0.5, "as under the chamfer distance"),
    "cov_cd": Limit(_below, _interval_chance, 0.05, 0.2, "shares of real sets: 1 of 20, 1 of 5"),
    "cov_emd": Limit(_below, _interval_chance, 0.05, 0.2, "as under the chamfer distance"),
    "nna_cd": Limit(_above, _interval_chance, 0.05, 0.2,
        "a nearest neighbour that is right in 55 % and in 70 % of the cases"),
    "nna_emd": Limit(_above, _interval_chance, 0.05, 0.2, "as under the chamfer distance"),
    "copies": Limit(lambda metric: float(bool(metric.get("flagged"))), _nothing, 0.0, 0.0,
        "its own test: chance explains the copies with probability 0.001 at most"),
    "sizes": Limit(_size_excess, _size_chance, 0.1, 0.5,
        "in standard deviations of the real sizes"),
    "neighbours": Limit(_sd_excess, _sd_chance, 0.1, 0.5,
        "in standard deviations of the real distances; 0.6 if 52 points that keep a distance of "
        "0.06 in the unit square become uniform"),
    "outside": Limit(_above, _error_chance, 0.01, 0.05, "shares of points: 1 of 100, 1 of 20"),
    "label_accuracy": Limit(_below, _interval_chance, 0.03, 0.15,
        "shares of sets: 1 of 33, 1 of 7"),
}  # fmt: skip


def _excess(name: str, metric: dict) -> float | None:
    """Excess of a metric; None without a limit, a floor or enough sets."""
    limit = LIMITS.get(name)
    if limit is None or metric.get("note") or metric.get("value") is None:
        return None
    return limit.excess(metric)


def is_undecided(name: str, metric: dict) -> bool:
    """Whether the excess is within chance, and chance alone may reach the excess of grade 2."""
    excess = _excess(name, metric)
    if excess is None:
        return False
    chance = LIMITS[name].chance(metric)
    return excess <= chance and 0 < LIMITS[name].close <= chance


def grade(name: str, metric: dict) -> Graded | None:
    """Return the grade of one metric; None without a limit or a floor, and for too few sets."""
    excess = _excess(name, metric)
    if excess is None or is_undecided(name, metric):
        return None
    limit = LIMITS[name]
    least = max(limit.same, limit.chance(metric))
    if excess <= least:
        return Graded(0, excess / least if least else 0.0)
    return Graded(1 + (excess > limit.close), excess / limit.close if limit.close else math.inf)


def best(name: str, metrics: Sequence[dict | None]) -> int | None:
    """Index of the metric with the smallest excess, of several runs on the same data.

    None if fewer than two of them have an excess, or if the two smallest differ by less than the
    larger of their chances.
    """
    excess = {i: _excess(name, metric) for i, metric in enumerate(metrics) if metric}
    known = {i: value for i, value in excess.items() if value is not None}
    if len(known) < 2:
        return None
    limit = LIMITS[name]
    first, second = sorted(known, key=known.get)[:2]
    apart = known[second] - known[first]
    chance = max(limit.chance(metrics[i]) for i in (first, second))
    return first if apart > chance else None


def worst(metrics: dict) -> tuple[str, Graded, int] | None:
    """(name, grade, number of graded metrics) of the worst metric; None without graded metrics."""
    graded = {name: grade(name, metric) for name, metric in metrics.items()}
    graded = {name: of_metric for name, of_metric in graded.items() if of_metric is not None}
    if not graded:
        return None
    name = max(graded, key=graded.get)
    return name, graded[name], len(graded)
