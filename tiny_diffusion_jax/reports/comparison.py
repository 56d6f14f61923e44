"""compare.html: samples of several runs side by side, and their metrics in one table."""

from pathlib import Path

import numpy as np

from tiny_diffusion_jax import __version__, api, sampling
from tiny_diffusion_jax.api import Experiment
from tiny_diffusion_jax.config import flatten
from tiny_diffusion_jax.errors import rename_fields
from tiny_diffusion_jax.metrics import grades
from tiny_diffusion_jax.reports import player, summary
from tiny_diffusion_jax.reports.data import ReportData
from tiny_diffusion_jax.reports.training import loss_panel_of
from tiny_diffusion_jax.run.load import load
from tiny_diffusion_jax.run.run_folder import read_facts
from tiny_diffusion_jax.run.same_run import data_differences
from tiny_diffusion_jax.run.train_log import read_rows
from tiny_diffusion_jax.web.render import render, write_page
from tiny_diffusion_jax.web.trajectories import MOST_NUMBERS

SETS, POINTS = 6, 1_000  # largest numbers for each run, if the sets of a run differ.
DENSITY_POINTS = 4_000  # points of the single set, if every run is of one density.


def write_comparison(folder: Path, paths: list[str], options) -> Path:
    """Write compare.html of the runs in `paths` to `folder`.

    options: the `sample` part of a config. Its seed and its numbers of sets and points hold for all
    runs; each run keeps its own sampler and steps. Raises UserError if a folder holds no trained
    run.
    """
    with rename_fields({"--workdir": "--runs"}):
        loaded = [load(path) for path in paths]
    many = any(experiment.dataset.sets_differ for experiment, _ in loaded)
    num_sets, num_points = (SETS, POINTS) if many else (1, DENSITY_POINTS)
    common = {"seed": options.seed, "num_sets": min(options.num_sets, num_sets),
              "num_points": min(options.num_points, num_points)}  # fmt: skip
    runs = [_draw(*run, common, path) for run, path in zip(loaded, paths, strict=True)]
    data = {"players": [player.sets_player(run, MOST_NUMBERS // len(runs)) for run in runs],
            "losses": [loss_panel_of(run) for run in runs]}  # fmt: skip
    first, *others = map(read_facts, paths)
    differs = sorted({name for facts in others for name in data_differences(first, facts)})
    last = [Path(path).name for path in paths]
    file = folder / "compare.html"
    write_page(file, render(
        "compare.html", title=f"{len(runs)} runs side by side", data=data,
        runs=[{"path": path, "title": run.dataset.title,
               "notice": run.dataset.notice.replace("\n", "; "),
               "model": run.experiment.config.model.name}
              for path, run in zip(paths, runs, strict=True)],
        names=last if len(set(last)) == len(last) else list(paths),
        numbers=_numbers([summary.stored_metrics(path) for path in paths], not differs),
        data_differ=bool(differs), has_losses=any(data["losses"]),
        options=_differences(runs), noise=_same_noise(runs),
        forward_of=data["players"][0]["forward_of"], version=__version__,
    ))  # fmt: skip
    return file


def _draw(experiment: Experiment, params, options: dict, path: str) -> ReportData:
    """Samples of a run with the common `options`, and its losses."""
    experiment = api.with_options(experiment, "sample", options)
    rows = read_rows(Path(path).expanduser() / "metrics.jsonl")
    return ReportData(experiment, params, sampling.sample(experiment, params), rows=rows)


def _numbers(metrics: list[dict], is_comparable: bool) -> list[dict]:
    """[{"name", "cells", "best"}] of each metric; best: the index of the better run, or None."""
    result = []
    for key in dict.fromkeys(key for of_run in metrics for key in of_run):
        cells = [summary.rows({key: of_run[key]})[0] if key in of_run else None
                 for of_run in metrics]  # fmt: skip
        best = grades.best(key, [of_run.get(key) for of_run in metrics]) if is_comparable else None
        name = next(cell["name"] for cell in cells if cell)
        result.append({"name": name, "cells": cells, "best": best})
    return result


def _differences(runs: list[ReportData]) -> list[tuple[str, list]]:
    """Options in which the runs differ, except their names, as (option, value of each run)."""
    configs = [flatten(run.experiment.config.to_dict()) for run in runs]
    values = {name: [config.get(name) for config in configs] for name in configs[0]}
    return [(name, row) for name, row in values.items()
            if name != "name" and any(value != row[0] for value in row)]  # fmt: skip


def _same_noise(runs: list[ReportData]) -> str:
    """Sentence that says whether all runs start from the same noise."""
    first, *others = (
        np.asarray(run.dataset.normalize(run.trajectories[0][0])).ravel() for run in runs
    )
    if all(noise.size == first.size and np.corrcoef(first, noise)[0, 1] > 0.999
           for noise in others):  # fmt: skip
        return "All runs start from the same noise."
    return ("All runs have the same seed. Models that generate sets in different ways do not "
            "start from the same noise.")  # fmt: skip
