"""What `main.py` does: train, sample and evaluate in a working directory."""

import json
import logging
import platform
import signal
import sys
import time
from pathlib import Path

import jax
import numpy as np

from tiny_diffusion_jax import __version__, experiment, generation
from tiny_diffusion_jax.data.points import load_points
from tiny_diffusion_jax.diffusion import schedules
from tiny_diffusion_jax.errors import UserError, require
from tiny_diffusion_jax.experiment import Experiment, TrainingDiverged
from tiny_diffusion_jax.figures import sets as set_plots
from tiny_diffusion_jax.run import checkpoints, report, tensorboard, workdir
from tiny_diffusion_jax.run.evidence import Evidence

log = logging.getLogger("tiny_diffusion_jax")

LOG_SECONDS = 10.0  # between lines on the progress of training, where there is no terminal


class Interrupted(Exception):
    """Ctrl-C or SIGTERM arrived; `exit_code` is 128 + the signal's number, as shells have it."""

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.exit_code = 128 + signal_number


class SamplesDiverged(RuntimeError):
    """Some points drawn are not finite numbers."""

    exit_code = 1


class Signals:
    """Remembers Ctrl-C and SIGTERM while training, which ends after the block it is in.

    A second one is not waited with: it goes where it went before.
    """

    def __enter__(self):
        self.received = 0
        self._previous = {
            s: signal.signal(s, self._receive) for s in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def _receive(self, number, frame):
        self.received = number
        self._restore()

    def _restore(self):
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def __exit__(self, *_):
        self._restore()


def prepare(config) -> Experiment:
    """The experiment of `config`. Touches no file: a bad config leaves no trace."""
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
    return experiment.build(config)


def announce(setup: Experiment) -> None:
    """Logs what was decided about data, device and schedule."""
    dataset, device = setup.dataset, jax.devices()[0]
    source = "" if dataset.source in ("analytic", "") else f", from {dataset.source}"
    log.info("data: %s%s", dataset.title, source)
    if dataset.notice:
        log.warning("!!! %s", dataset.notice)
    log.info("device: %d x %s", jax.device_count(), device.device_kind)
    snr = setup.process.schedule.terminal_snr
    log.info("schedule: %s, terminal SNR %.2g", setup.config.schedule.name, snr)
    if snr > schedules.TERMINAL_SNR_WARNING:
        log.warning(
            "warning: terminal SNR above %g: the last noise level still shows the data, and "
            "samples will be fuzzy; use more levels or more noise", schedules.TERMINAL_SNR_WARNING,
        )


def train(config, path: str) -> None:
    """Trains, or goes on training, then draws samples and evaluates them."""
    began = time.perf_counter()
    _check_measured(config)
    setup = prepare(config)
    with workdir.open_to_train(path, config, setup.dataset) as folder:
        with checkpoints.open_checkpoints(folder / "checkpoints", config.train.keep) as saved:
            like = jax.eval_shape(lambda: experiment.init(setup))
            state = checkpoints.restore_latest(saved, like)
            announce(setup)
            start_seconds = time.perf_counter() - began
            state = _train(setup, state, saved, folder)
        _finish(setup, folder, state.ema, start_seconds)


def _train(setup: Experiment, state, saved, folder: Path):
    """The training loop with its files: from `state` (None: the start) to the final state."""
    config, rows = setup.config.train, folder / "metrics.jsonl"
    last_saved = 0 if state is None else int(state.step)
    workdir.rewind_rows(rows, last_saved)
    if last_saved == config.steps:
        log.info("trained already, to step %d", last_saved)
        return state
    if last_saved:
        log.info("going on from step %d of %d", last_saved, config.steps)
    writer = tensorboard.open_writer(folder) if setup.config.log.tensorboard else None
    terminal = sys.stderr.isatty()
    last_line = time.perf_counter()

    def on_block(state, row) -> bool:
        nonlocal last_saved, last_line
        file.write(json.dumps(row) + "\n")
        file.flush()
        if writer is not None:
            tensorboard.write(writer, row)
        step, now = row["step"], time.perf_counter()
        if "compile_seconds" in row:
            log.info("compiled the training step in %.1f s", row["compile_seconds"])
        if not terminal and (now - last_line > LOG_SECONDS or step == config.steps):
            last_line = now
            log.info("step %d of %d: loss %.4f, %.0f steps/s", step, config.steps, row["loss"],
                     row["steps_per_second"])
        due = step - last_saved >= config.checkpoint_every
        if due or signals.received or step == config.steps:
            if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params)):
                raise TrainingDiverged(f"weights are not finite at step {step}")
            checkpoints.save(saved, state)
            last_saved = step
        return bool(signals.received)

    with Signals() as signals, rows.open("a") as file:
        try:
            state = experiment.train(setup, state, on_block, progress=terminal)
        except TrainingDiverged as error:
            kept = f"the checkpoint of step {last_saved}" if last_saved else "no checkpoint yet"
            raise TrainingDiverged(
                f"{error}: training stopped; last good state: {kept}, in {folder}; a lower "
                "config.train.learning_rate often helps"
            ) from error
        finally:
            if writer is not None:
                writer.close()
    if signals.received:
        raise Interrupted(
            f"interrupted: step {last_saved} of {config.steps} is saved in {folder}; the same "
            "command goes on from there", signals.received,
        )
    return state


def restore(config, path: str) -> tuple[Experiment, Path, dict]:
    """The experiment in `path`, its folder, and the averaged weights of its newest checkpoint."""
    setup = prepare(config)
    folder = workdir.open_to_read(path, config, setup.dataset)
    with checkpoints.open_checkpoints(folder / "checkpoints") as saved:
        state = checkpoints.restore_latest(saved, jax.eval_shape(lambda: experiment.init(setup)))
    if state is None:
        raise UserError(f"--workdir = {path!r}: holds no checkpoint yet; train first, --mode=train")
    announce(setup)
    log.info("restored step %d", int(state.step))
    return setup, folder, state.ema


def sample(config, path: str) -> None:
    """Draws from the newest checkpoint: samples.npy, trajectory.npy and the pictures."""
    setup, folder, params = restore(config, path)
    samples = _draw(setup, folder, params)
    report.pictures(Evidence(setup, params, samples), folder)
    log.info("wrote %s", folder / "samples.npy")


def complete(config, path: str, table: str) -> None:
    """Draws sets that begin with the points of `table`, in the data's own units.

    Writes completed.npy and completed.png.
    """
    try:
        given = load_points(table)
    except UserError as error:
        raise UserError(str(error).replace("config.data.path", "--points")) from error
    generation.check_given(experiment.make_model(config), given, config.sample.num_points)
    setup, folder, params = restore(config, path)
    sets = _draw(setup, folder, params, "completed.npy", given)
    with workdir.atomic(folder / "completed.png") as path:
        title = f"{setup.dataset.title}: completed from {len(given)} points"
        set_plots.save_sets(path, sets, title, setup.dataset.notice, given=len(given))
    log.info("wrote %s", folder / "completed.npy")


def evaluate(config, path: str) -> None:
    """Draws from the newest checkpoint and measures: as the end of `train`."""
    began = time.perf_counter()
    _check_measured(config)
    setup, folder, params = restore(config, path)
    _finish(setup, folder, params, time.perf_counter() - began)


def _check_measured(config) -> None:
    """Raises UserError for samples that can be drawn but not compared with real ones."""
    count = config.sample.num_sets
    require(config.data.name != "mnist_sets" or count >= 2, "config.sample.num_sets", count,
            "at least 2, to be compared with real sets; --mode=sample draws any number")


def _draw(
    setup: Experiment, folder: Path, params, name: str = "samples.npy", given=None
) -> np.ndarray:
    samples = experiment.sample(setup, params, progress=sys.stderr.isatty(), given=given)
    bad = int((~np.isfinite(samples).all(-1)).sum())
    if bad:
        raise SamplesDiverged(
            f"{bad} of {samples[..., 0].size} sampled points are not finite numbers; nothing was "
            f"written to {folder}; other values of config.sample, or more training, may help"
        )
    workdir.write_array(folder / name, samples)
    return samples


def _finish(setup: Experiment, folder: Path, params, start_seconds: float) -> None:
    """Samples, metrics and pictures, with the wall time of each."""
    rows = workdir.read_rows(folder / "metrics.jsonl")
    times = {"start": start_seconds} | training_seconds(rows)
    began = time.perf_counter()
    samples = _draw(setup, folder, params)
    times["sample"] = time.perf_counter() - began
    began = time.perf_counter()
    evidence = Evidence(setup, params, samples)
    metrics = report.evaluate(evidence)
    times["evaluate"] = time.perf_counter() - began
    began = time.perf_counter()
    report.pictures(evidence, folder)
    times["pictures"] = time.perf_counter() - began
    device = jax.devices()[0]
    workdir.write_json(folder / "metrics.json", {
        "name": setup.config.name,
        "data": setup.dataset.title,
        "data_source": setup.dataset.source,
        "notice": setup.dataset.notice,
        "metrics": metrics,
        "sample": setup.config.sample.to_dict(),
        "parameters": sum(p.size for p in jax.tree.leaves(params)),
        "terminal_snr": setup.process.schedule.terminal_snr,
        "seconds": {name: round(seconds, 2) for name, seconds in times.items()},
        "device": f"{device.platform} {device.device_kind}",
        "versions": {"python": platform.python_version(), "jax": jax.__version__,
                     "numpy": np.__version__, "tiny_diffusion_jax": __version__},
    })
    for line in report.lines(metrics):
        log.info("%s", line)
    log.info("wrote %s", folder)


def training_seconds(rows: list[dict]) -> dict:
    """{"compile", "train"}: seconds in all, over the interruptions, from rows of metrics.jsonl."""
    train, previous = 0.0, 0
    for row in rows:
        train += (row["step"] - previous) / row["steps_per_second"]
        previous = row["step"]
    return {"compile": sum(row.get("compile_seconds", 0.0) for row in rows), "train": train}


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
