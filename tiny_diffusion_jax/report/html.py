"""Write report.html: one page for a run, which opens without a server and without a network."""

import json
from pathlib import Path

from tiny_diffusion_jax import __version__
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.report import summary, words
from tiny_diffusion_jax.report.data import ReportData
from tiny_diffusion_jax.report.sections import sections_of
from tiny_diffusion_jax.report.training import overfitting
from tiny_diffusion_jax.web.live import live_model, live_page
from tiny_diffusion_jax.web.render import render, write_page

LARGEST = 5 * 2**20  # largest size of a page in bytes
SECONDS = {"start": "start", "compile": "compiling", "train": "training", "sample": "sampling",
           "evaluate": "measuring", "pictures": "pictures"}  # fmt: skip
# Descriptions of data sources by their names in metrics.json. Other names need no description.
SOURCES = {"analytic": "a formula", "points": "a table of points", "image": "a picture",
           "sets": "observed sets",
           "tfds": "TensorFlow Datasets", "openml": "OpenML",
           "digits": "8x8 digits of scikit-learn"}  # fmt: skip


def write_html(data: ReportData, file: Path, description: dict, command: str = "") -> None:
    """Write the page of a run.

    description: the content of metrics.json; samples that were not evaluated lack the keys
    `metrics` and `seconds`. command: the command that wrote the run.
    """
    metrics, members = description.get("metrics", {}), data.dataset.label_names
    panels = {name: panel(data) for section in sections_of(data)
              for name, panel in section.panels.items()}  # fmt: skip
    panels = {name: panel for name, panel in panels.items() if panel is not None}
    live = _live(data)
    if len(json.dumps(panels)) + len(live) > LARGEST:
        live = ""
    notices = [*data.dataset.notice.split("\n"), overfitting(data), *summary.warnings(metrics)]
    write_page(file, render(
        "report.html", title=data.title, data=panels, live=live, version=__version__,
        lead=_lead(data, metrics), facts=_facts(data, description),
        notices=list(filter(None, notices)), numbers=summary.rows(metrics, members),
        command=command or f"python main.py --workdir={file.parent} --mode=evaluate",
        config=json.dumps(data.experiment.config.to_dict(), indent=2),
    ))  # fmt: skip


def _live(data: ReportData) -> str:
    """HTML of a page that samples the model in the browser; "" if a page cannot hold the model."""
    if data.params is None:
        return ""
    try:
        return live_page([live_model(data.experiment, data.params)])
    except UserError:
        return ""


def _lead(data: ReportData, metrics: dict) -> str:
    """One or two sentences that say how the samples were drawn and how good they are."""
    if data.given is not None:
        count = len(data.given)
        return (f"All sets contain the same {count} given point{'s' * (count != 1)}, in rings. The "
                "model drew the other points of each set.")  # fmt: skip
    if not metrics:
        return "These samples were not measured. Use --mode=evaluate."
    headline = summary.headline(metrics, data.dataset.label_names)
    return f"{headline}." if headline else "No measure has a floor to compare with."


def _facts(data: ReportData, description: dict) -> list[tuple[str, str]]:
    """(name, text) of each fact under the title."""
    config, dataset = data.experiment.config, data.dataset
    source = ", ".join(SOURCES.get(name, name) for name in dataset.source.split(", "))
    seconds = description.get("seconds", {})
    stages = [f"{SECONDS.get(name, name)} {words.duration(spent)}"
              for name, spent in seconds.items() if spent]  # fmt: skip
    facts = [
        ("learned from", ", ".join(filter(None, (dataset.title, source)))),
        ("data", dataset.details),
        ("model", f"{config.model.name}, {description['parameters']:,} parameters"),
        ("trained for", f"{config.train.steps:,} steps"),
        ("drawn by", f"{config.sample.sampler}, {config.sample.num_steps} steps"),
        ("on", " ".join(dict.fromkeys(description["device"].split()))),  # "cpu", not "cpu cpu"
        ("took", stages and f"{words.duration(sum(seconds.values()))}: {', '.join(stages)}"),
    ]
    return [(name, text) for name, text in facts if text]
