"""Summarise metrics in words, for readers who do not know them: rows, a verdict, warnings."""

import json
from collections.abc import Sequence
from pathlib import Path

from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.metrics import grades
from tiny_diffusion_jax.metrics.intervals import TOO_FEW
from tiny_diffusion_jax.reports import words
from tiny_diffusion_jax.reports.data import WEIGHTS_CHOSEN_ON
from tiny_diffusion_jax.reports.sections import SECTIONS

WORDS = {key: row for section in SECTIONS for key, row in section.words.items()}


def stored_metrics(path: str | Path) -> dict:
    """Metrics of a run from its metrics.json; {} if the run was not measured.

    Raises UserError if the file is damaged.
    """
    file = Path(path).expanduser() / "metrics.json"
    try:
        return json.loads(file.read_text("utf-8"))["metrics"] if file.exists() else {}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(str(file), allowed="the metrics that this program wrote, but is damaged",
                        hint=f"--mode=evaluate --workdir={path} writes them again") from error


def rows(metrics: dict, members: Sequence[str] = ()) -> list[dict]:
    """[{"name", "value", "floor", "grade", "text", "flagged"}] of the metrics, in their order.

    members: names of the members of a mixture.
    """
    result = []
    for key, metric in metrics.items():
        name, text = WORDS.get(key, (key.replace("_", " "), ""))
        result.append({
            "name": name, "value": words.number(metric["value"]), "floor": words.floor(metric),
            "grade": _short_grade(key, metric),
            "text": (metric.get("verdict") or _too_few(metric)
                     or words.describe(text, metric, members)) + _reservations(metric),
            "flagged": bool(metric.get("flagged")),
        })  # fmt: skip
    return result


def _short_grade(key: str, metric: dict) -> str:
    graded = grades.grade(key, metric)
    if graded is None:
        return "too few sets" if grades.is_undecided(key, metric) else ""
    return grades.SHORT[graded.grade]


def headline(metrics: dict, members: Sequence[str] = ()) -> str:
    """The verdict, with the value, floor and description of the worst metric; or ""."""
    worst = grades.worst(metrics)
    if worst is None or (worst[1].grade == 0 and _num_too_few(metrics)):
        return verdict(metrics)
    [row] = rows({worst[0]: metrics[worst[0]]}, members)
    floor = f" (floor {row['floor']})" if row["floor"] else ""
    return f"{verdict(metrics)}: {row['value']}{floor}, {row['text']}"


def verdict(metrics: dict) -> str:
    """Sentence that grades the samples by the worst metric and names this metric; or ""."""
    worst, num_noted = grades.worst(metrics), _num_too_few(metrics)
    num_too_few = num_noted + sum(grades.is_undecided(*item) for item in metrics.items())
    if worst is None:
        return TOO_FEW.capitalize() if num_too_few else ""
    key, graded, count = worst
    if num_noted and graded.grade == 0:
        others = f"{count} other measures see" if count > 1 else "another measure sees"
        return f"{TOO_FEW.capitalize()}; {others} no difference"
    measure = f"the worst of {count} measures" if count > 1 else "the only measure"
    without = f" (too few sets for {num_too_few} more)" if num_too_few else ""
    return f"{grades.GRADES[graded.grade].capitalize()}{without}; {measure} is {WORDS[key][0]}"


def warnings(metrics: dict) -> list[str]:
    """Warnings of the flagged metrics of a report, each as a notice."""
    return [
        metric.get("verdict") or f"{WORDS[key][0]}: {metric['warning']}"
        for key, metric in metrics.items() if metric.get("flagged")
    ]  # fmt: skip


def _num_too_few(metrics: dict) -> int:
    return sum(bool(metric.get("note")) for metric in metrics.values())


def _too_few(metric: dict) -> str:
    """Description of a metric over too few sets, in place of the usual one; or ""."""
    if not metric.get("note"):
        return ""
    return (f"{metric['note']}: 95 % interval {words.ends(metric['interval'])} over "
            f"{metric['num_sets']} sets")  # fmt: skip


def _reservations(metric: dict) -> str:
    """Reasons to trust a number less, to append to its description."""
    text = f"; {metric['warning']}" if metric.get("warning") else ""
    if metric.get("weights_chosen_on") == WEIGHTS_CHOSEN_ON[True]:
        text += "; optimistic, because the same held-out sets chose the weights"
    return text
