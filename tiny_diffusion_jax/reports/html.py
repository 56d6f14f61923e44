"""Write report.html: one page for a run, which opens without a server and without a network."""

import json
from pathlib import Path

from tiny_diffusion_jax import __version__
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.program import program_name
from tiny_diffusion_jax.reports import summary, words
from tiny_diffusion_jax.reports.data import ReportData
from tiny_diffusion_jax.reports.sections import sections_of
from tiny_diffusion_jax.reports.training import overfitting
from tiny_diffusion_jax.web.live import live_model, live_page
from tiny_diffusion_jax.web.render import render, write_page

LARGEST = 5 * 2**20  # largest size of a page in bytes


def write_html(data: ReportData, file: Path, description: dict, command: str = "") -> None:
    """Write the page of a run.

    description: the content of metrics.json; samples that were not evaluated lack the keys
    `metrics` and `seconds`, and may have `earlier_metrics` of other samples of the run. command:
    the command that wrote the run.
    """
    metrics = description.get("metrics") or description.get("earlier_metrics", {})
    members = data.dataset.label_names
    panels = {name: panel(data) for section in sections_of(data)
              for name, panel in section.panels.items()}  # fmt: skip
    panels = {name: panel for name, panel in panels.items() if panel is not None}
    config, live = data.experiment.config.to_dict(), _live(data)
    if len(json.dumps(panels)) + len(live) > LARGEST:
        live = ""
    notices = [*data.dataset.notice.split("\n"), overfitting(data), *summary.warnings(metrics)]
    write_page(file, render(
        "report.html", title=data.title, data=panels, live=live, version=__version__,
        notices=list(filter(None, notices)), numbers=summary.rows(metrics, members),
        headline=summary.headline(metrics, members), is_measured="metrics" in description,
        duration=words.duration,
        num_given=0 if data.given is None else len(data.given), dataset=data.dataset,
        description={"seconds": {}} | description, config=config,
        config_json=json.dumps(config, indent=2),
        command=command or f"{program_name()} --workdir={file.parent} --mode=evaluate",
    ))  # fmt: skip


def _live(data: ReportData) -> str:
    """HTML of a page that samples the model in the browser; "" if a page cannot hold the model."""
    if data.params is None:
        return ""
    try:
        return live_page([live_model(data.experiment, data.params)])
    except UserError:
        return ""
