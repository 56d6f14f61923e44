"""What `main.py` does: train, sample, evaluate, complete, replay in a folder; compare, draw."""

import contextlib
import json
import logging
import platform
import re
import shlex
import sys
import time
from pathlib import Path

import jax
import numpy as np

from tiny_diffusion_jax import __version__, data, devices, generation
from tiny_diffusion_jax.checks import check, check_measured, check_sample
from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.data.points import load_points
from tiny_diffusion_jax.diffusion.schedules import TERMINAL_SNR_WARNING
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.experiment import Experiment, build, init, sample, train
from tiny_diffusion_jax.figures.page import save_figure
from tiny_diffusion_jax.figures.sets import sets_figure
from tiny_diffusion_jax.pages.live import write_live
from tiny_diffusion_jax.pages.render import write_page
from tiny_diffusion_jax.pages.weights import live_model
from tiny_diffusion_jax.run import (
    comparison,
    outputs,
    overfitting,
    page,
    processes,
    released,
    replay,
    report,
    tensorboard,
    workdir,
)
from tiny_diffusion_jax.run.checkpoints import open_checkpoints, restore_latest, save
from tiny_diffusion_jax.run.evidence import Evidence
from tiny_diffusion_jax.run.flags import runs_of
from tiny_diffusion_jax.run.load import load, start_from
from tiny_diffusion_jax.run.signals import Abandoned, Interrupted, Signals
from tiny_diffusion_jax.training import diverged
from tiny_diffusion_jax.training.loop import TrainingDiverged, losses

log = logging.getLogger("tiny_diffusion_jax")

LOG_SECONDS = 10.0  # between lines on the progress of training, where there is no terminal


class SamplesDiverged(RuntimeError):
    """Some points drawn, or numbers made of them, are not finite."""

    exit_code = 1


# ---------------------------------------------------------------- the modes


def train_run(config, path: str, distributed: str = "") -> None:
    """Trains, or goes on training, then draws samples and evaluates them.

    distributed: how to meet other processes that train along, see processes.py.
    """
    began = time.perf_counter()
    check_measured(config)
    processes.join(distributed)
    set_up(config)
    with processes.together():
        experiment = build(config)
        if processes.is_first():
            _train_and_finish(experiment, path, began)
        else:
            processes.follow(experiment)


def _train_and_finish(experiment: Experiment, path: str, began: float) -> None:
    config, first, source = experiment.config, None, ""
    if config.train.init_from:
        first, source = start_from(config.train.init_from, experiment)
    with workdir.open_to_train(path, config, experiment.dataset, source) as folder:
        saved = open_checkpoints(folder / "checkpoints", config.train.keep)
        state = restore_latest(saved, jax.eval_shape(lambda: init(experiment)))
        announce(experiment)
        if first is not None:
            log.info("weights: those of %s, %s", config.train.init_from, source)
        if state is None:
            state = init(experiment) if first is None else first
        state = processes.from_first(state)
        start_seconds = time.perf_counter() - began
        state = _train(experiment, state, saved, folder)
        if state.best is not None:
            log.info("%s", overfitting.which_weights(state))
        _finish(experiment, folder, jax.device_get(state.sampled), start_seconds)


def sample_run(config, path: str, pretrained: str = "") -> None:
    """Draws from the newest checkpoint: the samples, trajectory.npy, the pictures and report.html.

    pretrained: a released model in place of a checkpoint; its data are not at hand, and of the
    pictures there is sets.png.
    """
    check(config)
    check_sample(config, config.sample)
    experiment, folder, params = _open(config, path, pretrained)
    samples, file = _draw(experiment, folder, params)
    evidence = Evidence(experiment, params, samples)
    if pretrained:
        _picture(experiment, samples, folder / "sets.png", experiment.dataset.title)
    else:
        report.pictures(evidence, folder)
    page.write(evidence, folder, _description(experiment, params))
    log.info("wrote %s", folder / file)


def evaluate_run(config, path: str, pretrained: str = "") -> None:
    """Draws from the newest checkpoint and measures: as the end of `train_run`."""
    began = time.perf_counter()
    check_measured(config)
    experiment, folder, params = _open(config, path, pretrained, with_data=True)
    _finish(experiment, folder, params, time.perf_counter() - began)


def complete_run(config, path: str, points: str, pretrained: str = "") -> None:
    """Draws sets that begin with the points of the table `points`, in the data's own units.

    Writes completed.npy, or completed.npz of different sizes, completed.png and report.html.
    """
    check(config)
    try:
        dim = 2 if pretrained else workdir.dim(path)
        given = load_points(points, dim=dim, usual=data.about(config.data).columns)
        check_sample(config, config.sample, given=given, dim=dim)
    except UserError as error:
        message = re.sub(r"^(given|config\.data\.path)\b", "--points", str(error))
        raise UserError(message) from error
    experiment, folder, params = _open(config, path, pretrained)
    sets, file = _draw(experiment, folder, params, "completed", given)
    title = f"{experiment.dataset.title}: completed from {len(given)} points"
    _picture(experiment, sets, folder / "completed.png", title, given=len(given))
    evidence = Evidence(experiment, params, sets, given)
    page.write(evidence, folder, _description(experiment, params), title)
    log.info("wrote %s", folder / file)


def live_run(config, path: str, pretrained: str = "") -> None:
    """Writes live.html, which samples the newest checkpoint, or a released model, in the browser.

    Without a config it holds all released models, and those with labels come first.
    """
    if config is None:
        set_up(default_config())
        workdir.make_for_samples(path)
        found = [live_model(*released.load_released(name), name) for name in released.names()]
        found.sort(key=lambda model: -len(model["labels"]))
    else:
        check(config)
        experiment, _, params = _open(config, path, pretrained)
        found = [live_model(experiment, params)]
    file = Path(path).expanduser() / "live.html"
    write_live(file, found)
    log.info("wrote %s", file)


def compare_run(config, path: str, runs: str) -> None:
    """Writes compare.html: two or more runs side by side, drawn from with the seed of the first."""
    folder = workdir.make(path)
    set_up(config)
    file = comparison.write(folder, runs_of(runs), config.sample)
    log.info("wrote %s", file)


def draw_run(config, path: str) -> None:
    """Writes draw.html, a page on which to draw shapes to learn."""
    file = workdir.make(path) / "draw.html"
    write_page(file, "draw.html", title="Draw what is to be learned", version=__version__)
    log.info("wrote %s; open it in a browser", file)


def replay_run(config, path: str) -> None:
    """Does the step again at which a loss was not finite, from diverged.npz, and prints what is.

    It changes no file.
    """
    set_up(config)
    experiment = build(config)
    folder = workdir.open_to_read(path, config, experiment.dataset)
    print(*diverged.lines(experiment, replay.read(folder, experiment)), sep="\n")


def _picture(experiment: Experiment, sets: np.ndarray, file: Path, title: str, **details) -> None:
    dataset = experiment.dataset
    figure = sets_figure(sets, title, dataset.notice, axes=outputs.coordinates(dataset), **details)
    save_figure(figure, file)


# ---------------------------------------------------------------- start


def set_up(config) -> None:
    """What a process needs before the first array. Touches no file: a bad config leaves no trace.

    Raises UserError without a device or a package that is asked for.
    """
    if config.compilation_cache:
        folder = Path(config.compilation_cache).expanduser()
        jax.config.update("jax_compilation_cache_dir", str(folder))
        # Small programs count here: by default those that compile in under 1 s are not kept.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    if config.log.tensorboard:
        tensorboard.require_package()
    try:
        jax.devices()
    except RuntimeError as error:
        raise UserError(f"JAX finds no device to run on: {_first_line(error)}") from error


def _open(
    config, path: str, pretrained: str = "", with_data: bool = False
) -> tuple[Experiment, Path, dict]:
    """The experiment in `path`, its folder, and the averaged weights of its newest checkpoint.

    Or those of a released model, whose samples go to `path`.
    """
    if pretrained:
        workdir.make_for_samples(path)
        set_up(config)
        experiment, params = released.load_released(pretrained, config, with_data)
    else:
        workdir.check_writable(path)
        set_up(config)
        experiment, params = load(path, config)
    announce(experiment)
    return experiment, Path(path).expanduser(), params


def announce(experiment: Experiment) -> None:
    """Logs what was decided about data, device and schedule."""
    dataset, device = experiment.dataset, jax.devices()[0]
    source = "" if dataset.source in ("analytic", "") else f", from {dataset.source}"
    details = f"; {dataset.details}" if dataset.details else ""
    log.info("data: %s%s%s", dataset.title, source, details)
    log.info("device: %d x %s", jax.device_count(), device.device_kind)
    if unused := devices.unused_accelerator():
        log.warning("warning: %s", unused)
    snr = experiment.process.schedule.terminal_snr
    log.info("schedule: %s, terminal SNR %.2g", experiment.config.schedule.name, snr)
    if snr > TERMINAL_SNR_WARNING:
        log.warning(
            "warning: terminal SNR above %g: the last noise level still shows the data, and "
            "samples will be fuzzy; use more levels or more noise", TERMINAL_SNR_WARNING,
        )


# ---------------------------------------------------------------- training


def _train(experiment: Experiment, state, saved, folder: Path):
    """The training loop with its files: from `state` to the final state.

    A signal ends the block of steps at once, however long that takes, and then the state of the
    block before it is saved.
    """
    config, rows = experiment.config.train, folder / "metrics.jsonl"
    start = int(state.step)
    workdir.rewind_rows(rows, start)
    if start == config.steps:
        log.info("trained already, to step %d", start)
        return state
    if start:
        log.info("going on from step %d of %d", start, config.steps)
    terminal, before = sys.stderr.isatty(), state
    with Signals() as signals, Diary(experiment.config, folder, start, not terminal) as diary:

        def keep(step: int) -> None:
            if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params)):
                done = step - int(before.step) - 1
                raise TrainingDiverged(f"weights are not finite at step {step}", before, done)
            save(saved, state)
            diary.last_saved = step

        def on_block(after, row) -> bool:
            nonlocal before, state
            with signals.held():
                before, state, step = state, after, row["step"]
                diary.write(row)
                if step - diary.last_saved >= config.checkpoint_every or step == config.steps:
                    keep(step)
            signals.received = processes.agree(signals.received)  # by any of the processes
            return bool(signals.received)

        # A block that several processes share is waited for: none can leave it alone.
        at_once = signals.held() if devices.are_several() else signals.raised()
        try:
            with contextlib.suppress(Abandoned), at_once:
                train(experiment, state, on_block, progress=terminal)
            if signals.received and int(state.step) > diary.last_saved:
                keep(int(state.step))
        except TrainingDiverged as error:
            last = diary.last_saved
            kept = f"the checkpoint of step {last}" if last else "no checkpoint yet"
            replay.write(folder, experiment, error.state, error.done)
            raise TrainingDiverged(
                f"{error}: training stopped; last good state: {kept}, in {folder}; a lower "
                "config.train.learning_rate often helps; to do this step again and see what is not "
                f"finite: python main.py {shlex.quote(f'--workdir={folder}')} --mode=replay",
                error.state, error.done,
            ) from error
    if signals.received:
        last = diary.last_saved
        raise Interrupted("interrupted: " + (
            f"step {last} of {config.steps} is saved in {folder}; the same command goes on from "
            "there" if last else "no step is done yet; the same command begins again"
        ), signals.received)  # fmt: skip
    return state


class Diary:
    """What is written of each block: a row of metrics.jsonl, TensorBoard, and lines of the log."""

    def __init__(self, config, folder: Path, start: int, say_more: bool):
        self.steps, self.last_saved, self.say_more = config.train.steps, start, say_more
        self.writer = tensorboard.open_writer(folder) if config.log.tensorboard else None
        self.file = (folder / "metrics.jsonl").open("a")
        self.last_line = time.perf_counter()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        if self.writer is not None:
            self.writer.close()

    def write(self, row: dict) -> None:
        self.file.write(json.dumps(row) + "\n")
        self.file.flush()
        if self.writer is not None:
            tensorboard.write(self.writer, row)
        if "compile_seconds" in row:
            log.info("compiled the training step in %.1f s", row["compile_seconds"])
        now, step = time.perf_counter(), row["step"]
        if self.say_more and (now - self.last_line > LOG_SECONDS or step == self.steps):
            self.last_line = now
            shown = ", ".join(f"{name} {value}" for name, value in losses(row).items())
            log.info("step %d of %d: %s, %.0f steps/s", step, self.steps, shown,
                     row["steps_per_second"])


def training_seconds(rows: list[dict]) -> dict:
    """{"compile", "train"}: seconds in all, over the interruptions, from rows of metrics.jsonl."""
    train, previous = 0.0, 0
    for row in rows:
        train += (row["step"] - previous) / row["steps_per_second"]
        previous = row["step"]
    return {"compile": sum(row.get("compile_seconds", 0.0) for row in rows), "train": train}


# ---------------------------------------------------------------- samples and measures


def _draw(
    experiment: Experiment, folder: Path, params, name: str = "samples", given=None
) -> tuple[np.ndarray, str]:
    """Sets, written to the folder, and the name of the file of the array."""
    config = experiment.config.sample
    labels, sizes = generation.asked(experiment, config, given)
    samples = sample(experiment, params, progress=sys.stderr.isatty(), given=given)
    is_place = np.isnan(samples).all(-1) & (sizes is not None)  # that has no point, on purpose
    bad = int((~np.isfinite(samples).all(-1) & ~is_place).sum())
    if bad:
        raise SamplesDiverged(
            f"{bad} of {(~is_place).sum()} sampled points are not finite numbers; nothing was "
            f"written to {folder}; other values of config.sample, or more training, may help"
        )
    file = outputs.write_sets(
        folder, name, samples, experiment.dataset, labels, same_size=sizes is None
    )
    return samples, file


def _finish(experiment: Experiment, folder: Path, params, start_seconds: float) -> None:
    """Samples, metrics and pictures, with the wall time of each."""
    rows = workdir.read_rows(folder / "metrics.jsonl")
    times = {"start": start_seconds} | training_seconds(rows)
    began = time.perf_counter()
    samples, _ = _draw(experiment, folder, params)
    times["sample"] = time.perf_counter() - began
    began = time.perf_counter()
    evidence = Evidence(experiment, params, samples)
    metrics = report.evaluate(evidence)
    _require_finite(metrics)
    times["evaluate"] = time.perf_counter() - began
    began = time.perf_counter()
    report.pictures(evidence, folder)
    times["pictures"] = time.perf_counter() - began
    description = _description(experiment, params) | {
        "metrics": metrics,
        "seconds": {name: round(seconds, 2) for name, seconds in times.items()},
    }  # fmt: skip
    workdir.write_json(folder / "metrics.json", description)
    page.write(evidence, folder, description)
    for line, metric in zip(report.lines(metrics), metrics.values(), strict=True):
        if metric.get("flagged"):
            log.warning("warning: %s", line)
        else:
            log.info("%s", line)
    if overfit := overfitting.warning(rows, experiment.config.train.keep_best):
        log.warning("warning: %s", overfit)
    log.info("wrote %s", folder)


def _require_finite(metrics: dict) -> None:
    """Raises SamplesDiverged for a number that is none, so that metrics.json never has one."""
    for name, metric in metrics.items():
        try:
            json.dumps(metric, allow_nan=False)
        except ValueError as error:
            raise SamplesDiverged(
                f"{name} is not a finite number, so metrics.json was not written; the samples "
                "were; do all points coincide?"
            ) from error


def _description(experiment: Experiment, params) -> dict:
    """What was measured, by what and on what."""
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


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
