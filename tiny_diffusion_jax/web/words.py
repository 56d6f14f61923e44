"""Describe metrics in words, for readers who do not know them."""

from collections.abc import Callable, Sequence

from tiny_diffusion_jax.metrics import grades
from tiny_diffusion_jax.metrics.intervals import TOO_FEW


def rows(metrics: dict, members: Sequence[str] = ()) -> list[dict]:
    """[{"name", "value", "floor", "grade", "text", "flagged"}] of the metrics, in their order.

    members: names of the members of a mixture.
    """
    result = []
    for key, metric in metrics.items():
        name, say = WORDS.get(key, (key.replace("_", " "), _nothing))
        graded = grades.grade(key, metric)
        result.append({
            "name": name, "value": _number(metric["value"]), "floor": floor_text(metric),
            "grade": "" if graded is None else grades.SHORT[graded.grade],
            "text": (metric.get("verdict") or _too_few(metric) or say(metric, members))
                    + _reservations(metric),
            "flagged": bool(metric.get("flagged")),
        })  # fmt: skip
    return result


def headline(metrics: dict, members: Sequence[str] = ()) -> str:
    """The verdict, with the value, floor and description of the worst metric; or ""."""
    found = grades.worst(metrics)
    if found is None or (found[1].grade == 0 and _num_too_few(metrics)):
        return verdict(metrics)
    row = rows({found[0]: metrics[found[0]]}, members)[0]
    beside = f" (floor {row['floor']})" if row["floor"] else ""
    return f"{verdict(metrics)}: {row['value']}{beside}, {row['text']}"


def verdict(metrics: dict) -> str:
    """Sentence that grades the samples by the worst metric and names this metric; or ""."""
    found, few = grades.worst(metrics), _num_too_few(metrics)
    if found is None:
        return TOO_FEW.capitalize() if few else ""
    key, graded, count = found
    if few and graded.grade == 0:
        others = f"{count} other measures see" if count > 1 else "another measure sees"
        return f"{TOO_FEW.capitalize()}; {others} no difference"
    number = f"the worst of {count} measures" if count > 1 else "the only measure"
    without = f"; for {few} more there are {TOO_FEW}" if few else ""
    return f"{grades.GRADES[graded.grade].capitalize()}{without}; {number} is {WORDS[key][0]}"


def _num_too_few(metrics: dict) -> int:
    return sum(bool(metric.get("note")) for metric in metrics.values())


def floor_text(metric: dict) -> str:
    """The floor and its spread by chance, such as "0.0295 ± 0.0041"; "" without a floor.

    All reports show the floor in this form.
    """
    number = metric.get("floor")
    if number is None:
        return ""
    if metric.get("floor_interval"):
        low, high = metric["floor_interval"]
        return f"{_number(number)} ({_number(low)} to {_number(high)})"
    spread = metric.get("floor_std") or metric.get("floor_se")
    return _number(number) + (f" ± {spread:.2g}" if spread else "")


def warnings(metrics: dict) -> list[str]:
    """Warnings of the flagged metrics of a report, each as a notice."""
    return [
        metric.get("verdict") or f"{WORDS[key][0]}: {metric['warning']}"
        for key, metric in metrics.items() if metric.get("flagged")
    ]  # fmt: skip


def duration(seconds: float) -> str:
    """A duration in words: "48 s", "3 min 20 s" or "2 h 5 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _number(value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _percent(share: float) -> str:
    if share in (0, 1):
        return f"{100 * share:.0f} %"
    near_an_end = min(share, 1 - share) < 0.01
    return f"{100 * share:.{2 if near_an_end else 1}f} %"


def _reservations(metric: dict) -> str:
    """Reasons to trust a number less, to append to its description."""
    texts = [metric.get("warning")]
    if metric.get("weights_chosen_on") == "the same held-out sets":
        texts.append("optimistic, because the same held-out sets chose the weights")
    return "".join(f"; {text}" for text in texts if text)


def _nothing(metric: dict, members) -> str:
    return ""


def _too_few(metric: dict) -> str:
    """Description of a metric over too few sets, in place of the usual one; or ""."""
    if not metric.get("note"):
        return ""
    low, high = metric["interval"]
    return (f"{metric['note']}: 95 % interval {_number(low)} to {_number(high)} over "
            f"{metric['num_sets']} sets")  # fmt: skip


def _interval(metric: dict) -> str:
    if not metric.get("interval"):
        return ""
    low, high = metric["interval"]
    return f"; 95 % interval {_number(low)} to {_number(high)}"


def _distance(metric: dict, members=()) -> str:
    """Describe a distance by its ratio to the distance between two real samples."""
    ratio = metric.get("ratio")
    return "" if ratio is None else f"{ratio:.2f} x the floor{_interval(metric)}"


def _near_zero(metric: dict, members=()) -> str:
    """Describe a distance whose expected value between two real samples is 0."""
    spreads = grades.spreads_above_floor(metric)
    if spreads is None:
        return "0 would be the same distribution"
    side = "above" if spreads >= 0 else "below"
    return f"{abs(spreads):.1f} spreads {side} the floor"


def _total_variation(metric: dict, members=()) -> str:
    return (f"{_percent(metric['value'])} of the mass lies elsewhere than in the data; the floor "
            f"is {_percent(metric['floor'])}")  # fmt: skip


def _log_likelihood(metric: dict, members=()) -> str:
    missing = metric.get("nats_to_truth")
    text = f"mean log-density that the model gives to {metric.get('points', 'real points')}"
    if missing is None:
        return text + "; the larger, the better"
    return f"{text}; the true density gives {missing:.3f} nats a point more"


def _set_likelihood(metric: dict, members=()) -> str:
    missing = metric.get("nats_to_truth")
    text = f"log-density of whole {metric.get('sets', 'real sets')}, for each point"
    text += ", given the label of each set" if metric.get("given_labels") else ""
    text += ", a lower bound" if metric.get("bound") else ""
    return text if missing is None else f"{text}; the truth gives {missing:.3f} nats more"


def _separation(metric: dict, members=()) -> str:
    return (f"{_percent(metric['value'])} of the sets are one member and nothing else; of real "
            f"sets {_percent(metric['floor'])} pass the test")  # fmt: skip


def _stray(metric: dict, members=()) -> str:
    return (f"{_percent(metric['value'])} of the points are far from their set's member; of "
    f"real points {_percent(metric['floor'])}")  # fmt: skip


def _frequency(metric: dict, members=()) -> str:
    shares, weights = metric.get("members", []), metric.get("weights", [])
    names = members if len(members) == len(shares) else [f"member {k}" for k in range(len(shares))]
    parts = [f"{name} {_percent(share)} (should be {_percent(weight)})"
             for name, share, weight in zip(names, shares, weights, strict=False)]  # fmt: skip
    return "how often each member comes: " + ", ".join(parts)


def _nna(metric: dict, members=()) -> str:
    return (f"accuracy of telling real from generated sets by the nearest neighbour: 0.5 is "
    f"chance, 1 is always right; real sets score {_number(metric['floor'])}"
            f"{_interval(metric)}")  # fmt: skip


def _coverage(metric: dict, members=()) -> str:
    return (f"{_percent(metric['value'])} of real sets are the nearest to some generated one; real "
            f"sets reach {_percent(metric['floor'])}{_interval(metric)}")  # fmt: skip


def _copies(metric: dict, members=()) -> str:
    return (f"{_percent(metric['value'])} of the sets are suspiciously close to a training set; of "
            f"new real ones {_percent(metric['floor'])}")  # fmt: skip


def _sizes(metric: dict, members=()) -> str:
    return (f"sets have {metric['mean']:.1f} ± {metric['sd']:.1f} points, real ones "
            f"{metric['true_mean']:.1f} ± {metric['true_sd']:.1f}")  # fmt: skip


def _labels(metric: dict, members=()) -> str:
    floor, share = metric.get("floor"), _percent(metric["value"])
    text = f"a classifier finds the label of {share} of the generated sets"
    text += "" if floor is None else f", and of {_percent(floor)} of the real sets"
    return text + _interval(metric)


WORDS: dict[str, tuple[str, Callable]] = {
    "sliced_wasserstein2": ("Sliced W2", _distance),
    "wasserstein2": ("W2, exact", _distance),
    "energy_distance": ("Energy distance", _near_zero),
    "mmd_rbf": ("MMD", _near_zero),
    "total_variation": ("Mass elsewhere", _total_variation),
    "log_likelihood": ("Log-likelihood", _log_likelihood),
    "set_log_likelihood": ("Log-likelihood of sets", _set_likelihood),
    "separation": ("Separate sets", _separation),
    "stray": ("Stray points", _stray),
    "frequency_error": ("Frequency error", _frequency),
    "within_sliced_wasserstein2": ("Sliced W2 within a member", _distance),
    "mmd_cd": ("MMD, chamfer", _distance),
    "mmd_emd": ("MMD, earth mover", _distance),
    "cov_cd": ("Coverage, chamfer", _coverage),
    "cov_emd": ("Coverage, earth mover", _coverage),
    "nna_cd": ("1-NNA, chamfer", _nna),
    "nna_emd": ("1-NNA, earth mover", _nna),
    "copies": ("Copies", _copies),
    "sizes": ("Sizes of sets", _sizes),
    "label_accuracy": ("Label accuracy", _labels),
}
