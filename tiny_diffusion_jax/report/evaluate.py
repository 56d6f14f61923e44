"""Metrics and figures at the end of a run, section by section."""

from tiny_diffusion_jax.api import Experiment
from tiny_diffusion_jax.report.attempts import Attempts
from tiny_diffusion_jax.report.data import ReportData
from tiny_diffusion_jax.report.metrics import SECTIONS, Section


def evaluate(evidence: ReportData) -> dict:
    """Metrics of all sections as plain numbers; each metric of the samples has its floor."""
    result = {}
    for section in chosen(evidence.experiment):
        result |= section.numbers(evidence)
    return result


def pictures(evidence: ReportData, attempts: Attempts) -> dict[str, list[str]]:
    """Write the figures of all sections; return the names of the files of each section."""
    return {
        section.name: [
            name for name, draw in section.figures.items()
            if attempts.write(name, lambda file, draw=draw: draw(evidence, file))
        ]
        for section in chosen(evidence.experiment)
    }  # fmt: skip


def chosen(experiment: Experiment) -> list[Section]:
    """Sections that suit this data and this model."""
    return [section for section in SECTIONS if section.when(experiment)]


def lines(result: dict) -> list[str]:
    """One line per metric, for the log."""
    return [
        f"{name}: {m['value']:.4g}"
        + ("" if m["floor"] is None else f", floor {m['floor']:.4g}{_spread(m)}")
        + (f", ratio {m['ratio']:.3f}" if m.get("ratio") is not None else "")
        + (f", 95 % interval {_ends(m['interval'])}" if m.get("interval") else "")
        + (f", {m['note']}" if m.get("note") else "")
        + (f": {m.get('verdict') or m['warning']}" if m.get("flagged") else "")
        for name, m in result.items()
    ]


def _spread(metric: dict) -> str:
    if metric.get("floor_interval"):
        return f" ({_ends(metric['floor_interval'])})"
    return f" ± {metric['floor_std']:.2g}" if metric.get("floor_std") else ""


def _ends(interval) -> str:
    low, high = interval
    return f"{low:.3g} to {high:.3g}"
