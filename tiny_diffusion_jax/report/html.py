"""Write report.html: one page for a run, which opens without a server and without a network."""

import json
from pathlib import Path

from tiny_diffusion_jax import __version__
from tiny_diffusion_jax.cli.command import COMMAND
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.report import overfitting
from tiny_diffusion_jax.report.data import ReportData
from tiny_diffusion_jax.report.panels import PARTS
from tiny_diffusion_jax.run.train_log import read_rows
from tiny_diffusion_jax.web import words
from tiny_diffusion_jax.web.live import live_text
from tiny_diffusion_jax.web.render import write_page
from tiny_diffusion_jax.web.weights import live_model

LARGEST = 5 * 2**20  # largest size of a page in bytes
SECONDS = {"start": "start", "compile": "compiling", "train": "training", "sample": "sampling",
           "evaluate": "measuring", "pictures": "pictures"}  # fmt: skip
# Descriptions of data sources by their names in metrics.json. Other names need no description.
SOURCES = {"analytic": "a formula", "points": "a table of points", "image": "a picture",
           "sets": "observed sets",
           "tfds": "TensorFlow Datasets", "openml": "OpenML",
           "digits": "8x8 digits of scikit-learn"}  # fmt: skip


def write(evidence: ReportData, folder: Path, description: dict, title: str = "") -> None:
    """Write report.html to the folder of a run.

    description: the content of metrics.json; samples that were not evaluated lack the keys
    `metrics` and `seconds`. title: a title in place of the title of the data.
    """
    metrics = description.get("metrics", {})
    data = {part.name: part.data(evidence, folder) for part in PARTS if part.when(evidence)}
    data = {name: value for name, value in data.items() if value is not None}
    optional = [("field", "field" in data), ("numbers", metrics), ("loss", "loss" in data)]
    shown = ["player", *(name for name, there in optional if there)]
    names = evidence.dataset.label_names
    live = _live(evidence)
    if len(json.dumps(data)) + len(live) > LARGEST:
        live = ""
    write_page(
        folder / "report.html", "report.html", title=title or evidence.dataset.title, data=data,
        live=live,
        parts=shown, numbers=words.rows(metrics, names), version=__version__,
        lead=_lead(evidence, metrics, names), facts=_facts(evidence, description),
        notices=_notices(evidence, folder, metrics), command=COMMAND.get() or _command(folder),
        config=json.dumps(evidence.experiment.config.to_dict(), indent=2),
    )  # fmt: skip


def _live(evidence: ReportData) -> str:
    """HTML of a page that samples the model in the browser; "" if a page cannot hold the model."""
    if evidence.params is None:
        return ""
    try:
        model = live_model(evidence.experiment, evidence.params)
    except UserError:
        return ""
    return live_text([model])


def _lead(evidence: ReportData, metrics: dict, names) -> str:
    """One or two sentences that say how the samples were drawn and how good they are."""
    if evidence.given is not None:
        count = len(evidence.given)
        return (f"All sets contain the same {count} given point{'s' * (count != 1)}, in rings. The "
        "model drew the other points of each set.")  # fmt: skip
    if metrics:
        headline = words.headline(metrics, names)
        return f"{headline}." if headline else "No measure has a floor to compare with."
    return "These samples were not measured. Use --mode=evaluate."


def _facts(evidence: ReportData, description: dict) -> list[tuple[str, str]]:
    """(name, text) of each fact under the title."""
    config, dataset = evidence.experiment.config, evidence.dataset
    source = ", ".join(SOURCES.get(name, name) for name in dataset.source.split(", "))
    sample = config.sample
    facts = [
        ("learned from", f"{dataset.title}, {source}" if source else dataset.title),
        *([("data", dataset.details)] if dataset.details else []),
        ("model", f"{config.model.name}, {description['parameters']:,} parameters"),
        ("trained for", f"{config.train.steps:,} steps"),
        ("drawn by", f"{sample.sampler}, {sample.num_steps} steps"),
        ("on", " ".join(dict.fromkeys(description["device"].split()))),  # "cpu", not "cpu cpu"
    ]
    seconds = description.get("seconds", {})
    took = [f"{SECONDS.get(name, name)} {words.duration(spent)}" for name, spent in seconds.items()
            if spent]
    if took:
        facts.append(("took", f"{words.duration(sum(seconds.values()))}: {', '.join(took)}"))
    return facts


def _notices(evidence: ReportData, folder: Path, metrics: dict) -> list[str]:
    """Warnings for the top of the page."""
    rows = read_rows(folder / "metrics.jsonl")
    keeps_best = evidence.experiment.config.train.keep_best
    notices = [*evidence.dataset.notice.split("\n"), overfitting.warning(rows, keeps_best)]
    notices += words.warnings(metrics)
    return [notice for notice in notices if notice]


def _command(folder: Path) -> str:
    return f"python main.py --workdir={folder} --mode=evaluate"
