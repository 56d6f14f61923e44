"""Metrics and other numbers as text, for the log and for pages."""

from collections.abc import Callable, Sequence

from tiny_diffusion_jax.metrics import grades

# A text with {fields} of a metric ({share:%} is a percentage, {interval} the 95 % interval), or a
# function of the metric and the names of the members. The text is "" if the metric lacks a field.
Text = str | Callable[[dict, Sequence[str]], str]


class _Number(float):
    """A number that formats itself with three digits, or as a percentage."""

    def __format__(self, spec: str) -> str:
        if spec == "%":
            return percent(self)
        return float.__format__(self, spec or ".3g")


def describe(text: Text, metric: dict, members: Sequence[str] = ()) -> str:
    """Describe a metric by a `Text`."""
    if callable(text):
        return text(metric, members)
    fields = {name: _Number(value) if isinstance(value, int | float) else value
              for name, value in metric.items() if value is not None}  # fmt: skip
    try:
        return text.format_map(fields | {"interval": _interval(metric)})
    except KeyError:
        return ""


def log_line(name: str, metric: dict) -> str:
    """One line that shows a metric in the log."""
    value, floor, ratio = (metric.get(field) for field in ("value", "floor", "ratio"))
    return (
        f"{name}: {value:.4g}"
        + ("" if floor is None else f", floor {floor:.4g}{_spread(metric, 'floor_std')}")
        + ("" if ratio is None else f", ratio {ratio:.3f}")
        + _interval(metric).replace(";", ",")
        + (f", {metric['note']}" if metric.get("note") else "")
        + (f": {metric.get('verdict') or metric['warning']}" if metric.get("flagged") else "")
    )


def floor(metric: dict) -> str:
    """The floor and its spread by chance, such as "0.0295 ± 0.0041"; "" without a floor."""
    if metric.get("floor") is None:
        return ""
    return number(metric["floor"]) + _spread(metric, "floor_std", "floor_se")


def _spread(metric: dict, *fields: str) -> str:
    """Spread of the floor by chance: its 95 % interval, or the first of `fields`; or ""."""
    if metric.get("floor_interval"):
        return f" ({ends(metric['floor_interval'])})"
    spread = next(filter(None, map(metric.get, fields)), None)
    return f" ± {spread:.2g}" if spread else ""


def _interval(metric: dict) -> str:
    return f"; 95 % interval {ends(metric['interval'])}" if metric.get("interval") else ""


def ends(interval) -> str:
    low, high = interval
    return f"{number(low)} to {number(high)}"


def number(value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def percent(share: float) -> str:
    """A share in per cent, with two digits near 0 and near 1."""
    if share in (0, 1):
        return f"{100 * share:.0f} %"
    return f"{100 * share:.{2 if min(share, 1 - share) < 0.01 else 1}f} %"


def duration(seconds: float) -> str:
    """A duration in words: "48 s", "3 min 20 s" or "2 h 5 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


# ---------------------------------------------------------------- texts of single metrics


def near_zero(metric: dict, members) -> str:
    """Describe a distance whose expected value between two real samples is 0."""
    spreads = grades.spreads_above_floor(metric)
    if spreads is None:
        return "0 would be the same distribution"
    if abs(spreads) < 0.05:
        return "at the floor"
    return f"{abs(spreads):.1f} spreads {'above' if spreads > 0 else 'below'} the floor"


def log_likelihood(metric: dict, members) -> str:
    missing = metric.get("nats_to_truth")
    return (f"mean log-density that the model gives to {metric.get('points', 'real points')}; "
            + ("the larger, the better" if missing is None else
               f"the true density gives {missing:.3f} nats a point more")
            + (f"; a Gaussian gives {metric['gaussian']:.3f}" if "gaussian" in metric else "")
    )  # fmt: skip


def set_log_likelihood(metric: dict, members) -> str:
    missing = metric.get("nats_to_truth")
    return (f"log-density of whole {metric.get('sets', 'real sets')}, for each point"
            + (", given the label of each set" if metric.get("given_labels") else "")
            + (", a lower bound" if metric.get("bound") else "")
            + ("" if missing is None else f"; the truth gives {missing:.3f} nats more")
    )  # fmt: skip


def frequencies(metric: dict, members) -> str:
    shares, weights = metric.get("members", []), metric.get("weights", [])
    names = members if len(members) == len(shares) else [f"member {k}" for k in range(len(shares))]
    return "how often each member comes: " + ", ".join(
        f"{name} {percent(share)} (should be {percent(weight)})"
        for name, share, weight in zip(names, shares, weights, strict=False)
    )


def label_accuracy(metric: dict, members) -> str:
    real = metric.get("floor")
    return (f"a classifier finds the label of {percent(metric['value'])} of the generated sets"
            + ("" if real is None else f", and of {percent(real)} of the real sets")
            + _interval(metric))  # fmt: skip
