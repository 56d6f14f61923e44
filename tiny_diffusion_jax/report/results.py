"""The end of a run: write samples, metrics.json, figures and report.html to its folder."""

import json
import logging
import platform
import sys
import time
from pathlib import Path

import jax
import numpy as np

from tiny_diffusion_jax import __version__, api, data, devices
from tiny_diffusion_jax.api import Experiment, sample
from tiny_diffusion_jax.data.label_option import NO_LABEL, RANDOM
from tiny_diffusion_jax.figures.page import save_figure
from tiny_diffusion_jax.figures.sets import sets_figure
from tiny_diffusion_jax.files import write_json
from tiny_diffusion_jax.report import (
    evaluate as report,
)
from tiny_diffusion_jax.report import (
    html as page,
)
from tiny_diffusion_jax.report import (
    overfitting,
)
from tiny_diffusion_jax.report import (
    save_samples as outputs,
)
from tiny_diffusion_jax.report.attempts import Attempts
from tiny_diffusion_jax.report.data import ReportData
from tiny_diffusion_jax.report.metrics import shows_births
from tiny_diffusion_jax.run.train_log import read_rows, training_seconds
from tiny_diffusion_jax.web import words

log = logging.getLogger("tiny_diffusion_jax")
MOST_ON_THE_WAY = 2**22  # points of all sets in all steps of the trajectories: 32 MB if D = 2


class SamplesDiverged(RuntimeError):
    """Some drawn points, or numbers computed from them, are not finite."""

    exit_code = 1


def draw(
    experiment: Experiment, folder: Path, params, name: str = "samples", given=None
) -> tuple[np.ndarray, np.ndarray | None, str]:
    """Sets, their trajectories f32[steps + 1, S, N, D] or None, and the file name of the sets.

    Trajectories are kept if report.html shows them, so that one compiled program draws both. It
    shows the trajectories of several sets, unless these have too many points.
    """
    config = experiment.config.sample
    labels, sizes = api.conditioning(experiment, config, given)
    if experiment.model.num_labels:
        log.info("label: %s", label_in_words(experiment, config, given))
    on_the_way = config.num_sets * config.num_points * (config.num_steps + 1)
    keep = shows_births(experiment, given) and 0 < on_the_way <= MOST_ON_THE_WAY
    drawn = sample(
        experiment, params, keep_trajectory=keep, progress=sys.stderr.isatty(), given=given
    )
    samples, ways = (drawn[-1], drawn) if keep else (drawn, None)
    is_place = np.isnan(samples).all(-1) & (sizes is not None)  # padding after a smaller set
    bad = int((~np.isfinite(samples).all(-1) & ~is_place).sum())
    if bad:
        raise SamplesDiverged(
            f"{bad} of {(~is_place).sum()} sampled points are not finite numbers; nothing was "
            f"written to {folder}; other values of config.sample, or more training, may help"
        )
    file = outputs.write_sets(
        folder, name, samples, experiment.dataset, labels, same_size=sizes is None
    )
    return samples, ways, file


def label_in_words(experiment: Experiment, config, given=None) -> str:
    """Name of the label that sets are conditioned on; "random" or "none" without a single label."""
    index = api.label_of(experiment, config, given)
    words = {RANDOM: "random, as often as in the data", NO_LABEL: "none"}
    labels = data.about_built(experiment.dataset).labels
    return words[index] if index < 0 else (labels.titles or labels.names)[index]


def finish(experiment: Experiment, folder: Path, params, start_seconds: float) -> None:
    """Write samples, metrics and figures, with the wall time of each.

    metrics.json is written before the first figure, so an error in a figure cannot lose it. Raises
    ReportIncomplete after such an error, when all other files are written.
    """
    rows = read_rows(folder / "metrics.jsonl")
    times = {"start": start_seconds} | training_seconds(rows)
    began = time.perf_counter()
    samples, ways, _ = draw(experiment, folder, params)
    times["sample"] = time.perf_counter() - began
    began = time.perf_counter()
    evidence = ReportData(experiment, params, samples, ways=ways)
    metrics = report.evaluate(evidence)
    _require_finite(metrics, samples)
    times["evaluate"] = time.perf_counter() - began
    description = describe(experiment, params) | {"metrics": metrics, "seconds": _rounded(times)}
    write_json(folder / "metrics.json", description)
    _log_metrics(metrics)
    if overfit := overfitting.warning(rows, experiment.config.train.keep_best):
        log.warning("warning: %s", overfit)
    began = time.perf_counter()
    with Attempts(folder) as attempts:
        report.pictures(evidence, attempts)
        times["pictures"] = time.perf_counter() - began
        description["seconds"] = _rounded(times)
        write_json(folder / "metrics.json", description)
        attempts.write("report.html", lambda _: page.write(evidence, folder, description))
    log.info("wrote %s; open its report.html", folder)


def _rounded(times: dict[str, float]) -> dict[str, float]:
    return {name: round(seconds, 2) for name, seconds in times.items()}


def _log_metrics(metrics: dict) -> None:
    for line, metric in zip(report.lines(metrics), metrics.values(), strict=True):
        if metric.get("flagged"):
            log.warning("warning: %s", line)
        else:
            log.info("%s", line)
    if verdict := words.verdict(metrics):
        log.info("grade: %s", verdict[0].lower() + verdict[1:])


def _require_finite(metrics: dict, samples: np.ndarray) -> None:
    """Raise SamplesDiverged for NaN or infinity, so that metrics.json holds neither."""
    for name, metric in metrics.items():
        try:
            json.dumps(metric, allow_nan=False)
        except ValueError as error:
            points = samples.reshape(-1, samples.shape[-1])
            coincide = not np.nanstd(points, axis=0).any()
            raise SamplesDiverged(
                f"{name} is not a finite number, so metrics.json was not written; the samples were"
                + ("; all sampled points coincide" if coincide else "")
            ) from error


def describe(experiment: Experiment, params) -> dict:
    """Description of an evaluation: the data, the model, the program and the device."""
    config, dataset, device = experiment.config, experiment.dataset, jax.devices()[0]
    return {
        "name": config.name,
        "data": dataset.title,
        "data_source": dataset.source,
        "notice": dataset.notice,
        "sample": config.sample.to_dict(),
        "parameters": sum(p.size for p in jax.tree.leaves(params)),
        "terminal_snr": experiment.process.schedule.terminal_snr,
        "device": f"{device.platform} {device.device_kind}",
        "num_devices": jax.device_count(),
        "unused_accelerator": devices.unused_accelerator(),
        "versions": {"python": platform.python_version(), "jax": jax.__version__,
                     "numpy": np.__version__, "tiny_diffusion_jax": __version__},
    }


def draw_picture(
    experiment: Experiment, sets: np.ndarray, file: Path, title: str, **details
) -> None:
    """Write a figure with a grid of the sets; for `details` see `sets_figure`."""
    dataset = experiment.dataset
    figure = sets_figure(sets, title, dataset.notice, axes=outputs.coordinates(dataset), **details)
    save_figure(figure, file)
