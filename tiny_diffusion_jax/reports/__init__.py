"""Measure and draw a finished run: samples, metrics.json, figures and report.html."""

import contextlib
import json
import logging
import platform
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import numpy as np

from tiny_diffusion_jax import __version__, devices, sampling
from tiny_diffusion_jax import api as api
from tiny_diffusion_jax import data as datasets
from tiny_diffusion_jax.api import Experiment
from tiny_diffusion_jax.data.label_option import NO_LABEL, RANDOM
from tiny_diffusion_jax.errors import reason_of
from tiny_diffusion_jax.files import write_json
from tiny_diffusion_jax.reports import summary, words
from tiny_diffusion_jax.reports.data import ReportData
from tiny_diffusion_jax.reports.html import write_html
from tiny_diffusion_jax.reports.save_samples import write_sets
from tiny_diffusion_jax.reports.sections import sections_of
from tiny_diffusion_jax.reports.training import overfitting
from tiny_diffusion_jax.run.snapshots import read_snapshots
from tiny_diffusion_jax.run.train_log import read_rows, training_seconds
from tiny_diffusion_jax.training.loop import run_in_thread

log = logging.getLogger("tiny_diffusion_jax")
KEPT_POINTS = 2**22  # points of all sets in all steps of the trajectories: 32 MB if D = 2


class SamplesDiverged(RuntimeError):
    """Some drawn points, or numbers computed from them, are not finite."""

    exit_code = 1


class ReportIncomplete(RuntimeError):
    """Some figures or pages were not written."""

    exit_code = 1


def evaluate_run(
    experiment: Experiment, folder: Path, params, start_seconds: float, command: str = ""
) -> None:
    """Write samples, metrics, figures and report.html, with the wall time of each.

    start_seconds: time before the training. command: the command that the page shows. metrics.json
    is written before the first figure, so an error in a figure cannot lose it. Raises
    ReportIncomplete after such an error, when all other files are written.
    """
    rows = read_rows(folder / "metrics.jsonl")
    seconds = {name: round(spent, 2) for name, spent in
               ({"start": start_seconds} | training_seconds(rows)).items()}  # fmt: skip
    with _timed(seconds, "sample"):
        data, _ = draw_samples(experiment, folder, params)
    with _timed(seconds, "evaluate"):
        metrics = measure(data)
    description = describe(experiment, params) | {"metrics": metrics, "seconds": seconds}
    write_json(folder / "metrics.json", description)
    for name, metric in metrics.items():
        line = words.log_line(name, metric)
        if metric.get("flagged"):
            log.warning("warning: %s", line)
        else:
            log.info("%s", line)
    if verdict := summary.verdict(metrics):
        log.info("grade: %s", verdict[0].lower() + verdict[1:])
    if warning := overfitting(data):
        log.warning("warning: %s", warning)
    write_report(data, folder, description, command)
    log.info("wrote %s; open its report.html", folder)


def sample_run(
    experiment: Experiment, folder: Path, params, command: str = "", given=None
) -> None:
    """Write samples, or sets that are completed from `given` points, with figures and report.html.

    Without the data, as for a released model, the only figure shows the samples. The report keeps
    the metrics of the run, and says that they are of earlier samples.
    """
    earlier = summary.stored_metrics(folder) if given is None else {}
    data, file = draw_samples(experiment, folder, params, given)
    description = describe(experiment, params) | {"earlier_metrics": earlier}
    write_report(data, folder, description, command)
    log.info("wrote %s; open %s", file, folder / "report.html")


def draw_samples(
    experiment: Experiment, folder: Path, params, given=None
) -> tuple[ReportData, Path]:
    """Draw sets and write them to samples.* or, with `given` points, to completed.*.

    Trajectories are kept if report.html shows them, so that one compiled program draws both. The
    page shows trajectories of several sets, unless these have too many points. Raises
    SamplesDiverged, and writes nothing, if a point is not finite.
    """
    options, is_terminal = experiment.config.sample, sys.stderr.isatty()
    labels, same_size = sampling.labels_of_sets(experiment, options, given), options.num_points > 0
    if experiment.model.num_labels:
        log.info("label: %s", _label_in_words(experiment, given))
    num_points = options.num_sets * options.num_points * (options.num_steps + 1)
    shows_sets = given is not None or experiment.dataset.sets_differ
    keep = shows_sets and 0 < num_points <= KEPT_POINTS
    samples, trajectories = sampling.sample(
        experiment, params, keep_trajectory=keep, progress=is_terminal, given=given), None
    if keep:
        samples, trajectories = samples[-1], samples
    is_padding = np.isnan(samples).all(-1) & (not same_size)
    bad = int((~np.isfinite(samples).all(-1) & ~is_padding).sum())
    if bad:
        raise SamplesDiverged(
            f"{bad} of {(~is_padding).sum()} sampled points are not finite numbers; nothing was "
            f"written to {folder}; other values of config.sample, or more training, may help"
        )
    name = "samples" if given is None else "completed"
    file = write_sets(folder, name, samples, experiment.dataset, labels, same_size=same_size)
    rows = read_rows(folder / "metrics.jsonl")
    snapshots = read_snapshots(folder) if given is None else []
    data = ReportData(experiment, params, samples, given, trajectories, rows, snapshots)
    return data, folder / file


def measure(data: ReportData) -> dict:
    """Metrics of all sections as plain numbers; each metric of the samples has its floor.

    The sections are measured in threads, because a compilation occupies only one core. Raises
    SamplesDiverged for NaN or infinity, so that metrics.json holds neither.
    """
    results = [run_in_thread(partial(section.metrics, data)) for section in sections_of(data)]
    metrics = {}
    for result in results:
        metrics |= result.result()
    for name, metric in metrics.items():
        try:
            json.dumps(metric, allow_nan=False)
        except ValueError as error:
            coincide = not np.nanstd(data.samples, axis=(0, 1)).any()
            raise SamplesDiverged(
                f"{name} is not a finite number, so metrics.json was not written; the samples were"
                + ("; all sampled points coincide" if coincide else "")
            ) from error
    return metrics


def write_report(data: ReportData, folder: Path, description: dict, command: str = "") -> None:
    """Write the figures of all sections and report.html.

    description: the content of metrics.json, see `write_html`; if it has metrics, metrics.json gets
    the wall time of the figures, too. An error in one file does not stop the next files. Raises
    ReportIncomplete at the end if a file was not written.
    """
    figures = {name: partial(figure, data) for section in sections_of(data)
               for name, figure in section.figures.items()}  # fmt: skip
    times = {}
    with _timed(times, "pictures"):
        failed = [name for name, write in figures.items() if not _is_written(folder / name, write)]
    if "metrics" in description:
        description = description | {"seconds": description["seconds"] | times}
        write_json(folder / "metrics.json", description)
    write = lambda file: write_html(data, file, description, command)
    if not _is_written(folder / "report.html", write):
        failed.append("report.html")
    if failed:
        raise ReportIncomplete(
            f"{', '.join(failed)} could not be written (see the warnings above); all other files "
            f"are in {folder}"
        )


def _is_written(file: Path, write: Callable[[Path], bool | None]) -> bool:
    """Call `write(file)`; after an error, log a warning and return False.

    After an error, the file of an earlier call is removed, because it shows other samples.
    """
    try:
        write(file)
        return True
    except Exception as error:
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}"
        log.warning("warning: %s was not written (%s: %s)", file.name, place, reason_of(error))
        return False


@contextlib.contextmanager
def _timed(seconds: dict, name: str):
    """Store the wall time of the block in seconds[name]."""
    began = time.perf_counter()
    yield
    seconds[name] = round(time.perf_counter() - began, 2)


def _label_in_words(experiment: Experiment, given) -> str:
    """Name of the label that sets are conditioned on; "random" or "none" without a single label."""
    index = sampling.label_of(experiment, experiment.config.sample, given)
    if index < 0:
        return {RANDOM: "random, as often as in the data", NO_LABEL: "none"}[index]
    labels = datasets.about_built(experiment.dataset).labels
    return (labels.titles or labels.names)[index]


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
