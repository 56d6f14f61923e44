"""Numbers in words: what each metric of metrics.json says, for readers who do not know it."""

from collections.abc import Callable, Sequence


def rows(metrics: dict, members: Sequence[str] = ()) -> list[dict]:
    """[{"name", "value", "floor", "text", "flagged"}] of the metrics of a report, in their order.

    members: what the members of a mixture are called.
    """
    result = []
    for key, metric in metrics.items():
        name, say = WORDS.get(key, (key.replace("_", " "), _nothing))
        floor = metric.get("floor")
        result.append({
            "name": name, "value": _number(metric["value"]),
            "floor": "" if floor is None else _number(floor),
            "text": (metric.get("verdict") or say(metric, members)) + _reservations(metric),
            "flagged": bool(metric.get("flagged")),
        })  # fmt: skip
    return result


def headline(metrics: dict, members: Sequence[str] = ()) -> str:
    """How good the samples are, in a sentence: the first metric that a report leads with; or ""."""
    for key in ("separation", "sliced_wasserstein2", "nna_emd", "nna_cd"):
        if key in metrics:
            metric = metrics[key]
            return f"{WORDS[key][0]} {_number(metric['value'])}: {WORDS[key][1](metric, members)}"
    return ""


def warnings(metrics: dict) -> list[str]:
    """Warnings of the flagged metrics of a report, each as a notice."""
    return [
        metric.get("verdict") or f"{WORDS[key][0]}: {metric['warning']}"
        for key, metric in metrics.items() if metric.get("flagged")
    ]  # fmt: skip


def duration(seconds: float) -> str:
    """"48 s", "3 min 20 s" or "2 h 5 min"."""
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
    """Reasons to trust a number less, to follow its words."""
    texts = [metric.get("note"), metric.get("warning")]
    if metric.get("weights_chosen_on") == "the same held-out sets":
        texts.append("optimistic, because the same held-out sets chose the weights")
    return "".join(f"; {text}" for text in texts if text)


def _nothing(metric: dict, members) -> str:
    return ""


def _distance(metric: dict, members=()) -> str:
    """Of a distance with a ratio to that between two real samples."""
    ratio = metric.get("ratio")
    if ratio is None:
        return ""
    times = f"{ratio:.2f} x the distance between two real samples: "
    if ratio < 1.1:
        return times + "as close as real samples are to each other"
    if ratio < 1.5:
        return times + "nearly as close as real samples are to each other"
    if ratio < 3:
        return times + "close to the data, but to be told apart from them"
    return times + "the samples are not those of the data yet"


def _near_zero(metric: dict, members=()) -> str:
    """Of a distance that is 0 on average between two real samples."""
    spread = metric.get("floor_std")
    if not spread:
        return "0 would be the same distribution"
    off, same = (metric["value"] - metric["floor"]) / spread, "0 would be the same distribution"
    if off < 2:
        return f"{same}; no farther from it than real samples come by chance"
    return f"{same}; {off:.0f} x the chance spread of real samples away"


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
    return (f"{_percent(metric['value'])} of the points lie where their set's member has none; of "
            f"real points {_percent(metric['floor'])}")  # fmt: skip


def _frequency(metric: dict, members=()) -> str:
    shares, weights = metric.get("members", []), metric.get("weights", [])
    names = members if len(members) == len(shares) else [f"member {k}" for k in range(len(shares))]
    parts = [f"{name} {_percent(share)} (should be {_percent(weight)})"
             for name, share, weight in zip(names, shares, weights, strict=False)]  # fmt: skip
    return "how often each member comes: " + ", ".join(parts)


def _nna(metric: dict, members=()) -> str:
    return (f"how often a set's nearest neighbour tells whether it is real: 0.5 is a coin toss, 1 "
            f"gives the model away; real sets score {_number(metric['floor'])}")  # fmt: skip


def _coverage(metric: dict, members=()) -> str:
    return (f"{_percent(metric['value'])} of real sets are the nearest to some generated one; real "
            f"sets reach {_percent(metric['floor'])}")  # fmt: skip


def _copies(metric: dict, members=()) -> str:
    return (f"{_percent(metric['value'])} of the sets are suspiciously close to a training set; of "
            f"new real ones {_percent(metric['floor'])}")  # fmt: skip


def _sizes(metric: dict, members=()) -> str:
    return (f"sets have {metric['mean']:.1f} ± {metric['sd']:.1f} points, real ones "
            f"{metric['true_mean']:.1f} ± {metric['true_sd']:.1f}")  # fmt: skip


def _labels(metric: dict, members=()) -> str:
    floor, share = metric.get("floor"), _percent(metric["value"])
    text = f"a classifier sees the label that was asked for in {share} of the sets"
    return text if floor is None else f"{text}; of real ones it names {_percent(floor)}"


WORDS: dict[str, tuple[str, Callable]] = {
    "sliced_wasserstein2": ("Sliced W2", _distance),
    "wasserstein2": ("W2, exact", _distance),
    "energy_distance": ("Energy distance", _near_zero),
    "mmd_rbf": ("MMD", _near_zero),
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
