"""compare.html: samples of several runs side by side, and their metrics in one table."""

import json
from pathlib import Path

import numpy as np

from tiny_diffusion_jax import __version__
from tiny_diffusion_jax.api import Experiment, sample
from tiny_diffusion_jax.config import flatten
from tiny_diffusion_jax.errors import UserError, rename_fields
from tiny_diffusion_jax.report import panels as parts
from tiny_diffusion_jax.report.data import ReportData
from tiny_diffusion_jax.report.metrics import is_many
from tiny_diffusion_jax.run.load import load
from tiny_diffusion_jax.web import words
from tiny_diffusion_jax.web.render import write_page
from tiny_diffusion_jax.web.trajectories import MOST_NUMBERS

SETS, POINTS = 6, 1_000  # largest numbers for each run, if the sets of a run differ.
ALONE = 4_000  # points of the single set, if every run is of one density.


def write(folder: Path, paths: list[str], wanted) -> Path:
    """Write compare.html of the runs in `paths` to `folder`.

    wanted: the `sample` part of a config. Its seed and its numbers of sets and points hold for all
    runs; each run keeps its own sampler and steps. Raises UserError if a folder holds no trained
    run.
    """
    runs = [_load(path) for path in paths]
    many = any(is_many(experiment) for experiment, _ in runs)
    size = (SETS, POINTS) if many else (1, ALONE)
    shown = [_evidence(*run, wanted, *size) for run in runs]
    share = MOST_NUMBERS // len(runs)
    data = {"players": [parts.births(evidence, folder, share) for evidence in shown]}
    file = folder / "compare.html"
    write_page(
        file, "compare.html", title=f"{len(runs)} runs side by side", data=data,
        runs=[{"path": path, "title": evidence.dataset.title,
               "notice": evidence.dataset.notice.replace("\n", "; "),
               "model": evidence.experiment.config.model.name}
              for path, evidence in zip(paths, shown, strict=True)],
        names=_short(paths), numbers=_numbers(paths), options=_differences(shown),
        noise=_same_noise(shown), forward_of=data["players"][0]["forward_of"], version=__version__,
    )  # fmt: skip
    return file


def _load(path: str) -> tuple[Experiment, dict]:
    with rename_fields({"--workdir": "--runs"}):
        return load(path)


def _evidence(experiment: Experiment, params, wanted, sets: int, points: int) -> ReportData:
    """Samples of a run with the common seed, and the data that show them."""
    config = experiment.config.copy_and_resolve_references()
    config.sample.update(
        seed=wanted.seed, num_sets=min(wanted.num_sets, sets),
        num_points=min(wanted.num_points, points),
    )  # fmt: skip
    experiment = experiment._replace(config=config)
    return ReportData(experiment, params, sample(experiment, params))


def _numbers(paths: list[str]) -> list[dict]:
    """One row for each metric that a run has: its name, and its value and floor for each run."""
    found = []
    for path in paths:
        found.append({row["name"]: row for row in words.rows(_metrics(path))})
    names = dict.fromkeys(name for rows in found for name in rows)
    return [{"name": name, "cells": [rows.get(name) for rows in found]} for name in names]


def _metrics(path: str) -> dict:
    """Metrics of a run from its metrics.json; {} if the run was not measured."""
    file = Path(path).expanduser() / "metrics.json"
    try:
        return json.loads(file.read_text("utf-8"))["metrics"] if file.exists() else {}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(str(file), allowed="the metrics that this program wrote, but is damaged",
                        hint=f"--mode=evaluate --workdir={path} writes them again") from error


def _differences(shown: list[ReportData]) -> list[tuple[str, list]]:
    """Options in which the runs differ, except their names, as (option, value of each run)."""
    fields = [flatten(evidence.experiment.config.to_dict()) for evidence in shown]
    return [(name, [each.get(name) for each in fields]) for name in fields[0]
            if name != "name" and any(each.get(name) != fields[0][name] for each in fields)]


def _same_noise(shown: list[ReportData]) -> str:
    """Sentence that says whether all runs start from the same noise."""
    starts = [np.asarray(evidence.dataset.normalize(evidence.births[0][0])) for evidence in shown]
    first = starts[0].ravel()
    if all(start.size == first.size and np.corrcoef(first, start.ravel())[0, 1] > 0.999
           for start in starts[1:]):  # fmt: skip
        return "All runs start from the same noise."
    return ("All runs have the same seed. Models that generate sets in different ways do not "
    "start from the same noise.")  # fmt: skip


def _short(paths: list[str]) -> list[str]:
    """Last part of each path, or the whole paths if two of the last parts are equal."""
    last = [Path(path).name for path in paths]
    return last if len(set(last)) == len(last) else list(paths)
