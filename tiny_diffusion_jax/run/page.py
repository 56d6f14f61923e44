"""report.html: all of a run on one page that opens without a server and without a network."""

import json
from pathlib import Path

from tiny_diffusion_jax import __version__
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.pages import words
from tiny_diffusion_jax.pages.live import live_text
from tiny_diffusion_jax.pages.render import write_page
from tiny_diffusion_jax.pages.weights import live_model
from tiny_diffusion_jax.run import overfitting, workdir
from tiny_diffusion_jax.run.command import COMMAND
from tiny_diffusion_jax.run.evidence import Evidence
from tiny_diffusion_jax.run.parts import PARTS

LARGEST = 5 * 2**20  # bytes of a page
SECONDS = {"start": "start", "compile": "compiling", "train": "training", "sample": "sampling",
           "evaluate": "measuring", "pictures": "pictures"}  # fmt: skip
# Of the data, by the names that metrics.json has; others say it themselves.
SOURCES = {"analytic": "a formula", "points": "a table of points", "image": "a picture",
           "sets": "observed sets",
           "tfds": "TensorFlow Datasets", "openml": "OpenML",
           "digits": "8x8 digits of scikit-learn"}  # fmt: skip


def write(evidence: Evidence, folder: Path, description: dict, title: str = "") -> None:
    """Writes report.html to the folder of a run.

    description: what metrics.json holds, or, of samples that were not measured, what it holds
    without `metrics` and `seconds`. title: what is shown, if it is not the data alone.
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


def _live(evidence: Evidence) -> str:
    """A page that samples the model in the browser; "" of a model that it cannot hold."""
    if evidence.params is None:
        return ""
    try:
        model = live_model(evidence.experiment, evidence.params)
    except UserError:
        return ""
    return live_text([model])


def _lead(evidence: Evidence, metrics: dict, names) -> str:
    """What was learned and how good it is, in a sentence or two."""
    if evidence.given is not None:
        count = len(evidence.given)
        return (f"Sets that begin with the same {count} given point{'s' * (count != 1)}, which are "
                "ringed; the model drew the rest to go with them.")  # fmt: skip
    if metrics:
        headline = words.headline(metrics, names)
        return f"{headline}." if headline else "No measure has a floor to compare with."
    return "These samples were not measured; --mode=evaluate puts numbers here."


def _facts(evidence: Evidence, description: dict) -> list[tuple[str, str]]:
    """(name, text) of what stands under the title."""
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


def _notices(evidence: Evidence, folder: Path, metrics: dict) -> list[str]:
    """What must be known first, each shown loudly."""
    rows = workdir.read_rows(folder / "metrics.jsonl")
    keeps_best = evidence.experiment.config.train.keep_best
    notices = [*evidence.dataset.notice.split("\n"), overfitting.warning(rows, keeps_best)]
    notices += words.warnings(metrics)
    return [notice for notice in notices if notice]


def _command(folder: Path) -> str:
    return f"python main.py --workdir={folder} --mode=evaluate"
