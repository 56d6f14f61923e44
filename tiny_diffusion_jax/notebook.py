"""Show sets, trajectories and reports in a notebook, or write them to files."""

import html
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tiny_diffusion_jax import __version__, reports
from tiny_diffusion_jax.api import Experiment, with_options
from tiny_diffusion_jax.errors import UserError, require
from tiny_diffusion_jax.figures.sets import sets_figure
from tiny_diffusion_jax.point_sets import pad_sets
from tiny_diffusion_jax.reports.data import ReportData
from tiny_diffusion_jax.reports.player import sets_player
from tiny_diffusion_jax.run.load import load
from tiny_diffusion_jax.web.render import render, write_page

HEIGHT = 720  # of a page in a notebook, in pixels


class Page(NamedTuple):
    """A page in HTML, which a notebook shows in place."""

    html: str
    path: Path | None = None  # the file that holds the page

    def _repr_html_(self) -> str:
        return (f'<iframe srcdoc="{html.escape(self.html)}" width="100%" height="{HEIGHT}" '
                'style="border: 0"></iframe>')  # fmt: skip

    def save(self, path) -> None:
        """Write the page to the file `path`."""
        write_page(Path(path), self.html)


def report(path) -> Page:
    """Draw samples of the run in the folder `path`, evaluate them, and return report.html.

    Writes samples, figures, metrics.json and report.html into the folder, like --mode=evaluate.
    Without the data, the report has samples only. Raises UserError if there is no run.
    """
    began, folder = time.perf_counter(), Path(path).expanduser()
    experiment, params = load(str(path))
    if experiment.dataset.has_points:
        reports.evaluate_run(experiment, folder, params, time.perf_counter() - began)
    else:
        reports.sample_run(experiment, folder, params)
    file = folder / "report.html"
    return Page(file.read_text("utf-8"), file)


def show(sets, experiment: Experiment | None = None, title: str = "", **options):
    """Draw sets f[S, N, D], points f[N, D] or a list of sets as a figure of matplotlib.

    Trajectories f[steps + 1, S, N, D] of `sample(..., keep_trajectory=True)` need the experiment,
    and become a page with a player. options: the options of `sample` that drew the trajectories.
    """
    sets = pad_sets(sets) if isinstance(sets, (list, tuple)) else np.asarray(sets)
    sets = sets[None] if sets.ndim == 2 else sets
    require(sets.ndim in (3, 4) and sets.size > 0, "sets.shape", sets.shape,
            "(S, N, D) for sets, (N, D) for points, or (steps + 1, S, N, D) for trajectories")
    title = title or (experiment.dataset.title if experiment else "samples")
    if sets.ndim == 3:
        return sets_figure(sets, title)
    if experiment is None:
        raise UserError("experiment", None, "given to show trajectories")
    options |= {"num_steps": len(sets) - 1, "num_sets": sets.shape[1]}
    experiment = with_options(experiment, "sample", options)
    data = ReportData(experiment, None, sets[-1], trajectories=sets)
    return Page(render("player.html", title=title, version=__version__,
                       data={"player": sets_player(data, is_marked=False)}))  # fmt: skip
