"""What `main.py` does: train, sample and evaluate in a working directory."""

import json
import logging
import platform
import signal
import time
from pathlib import Path

import jax
import numpy as np

from tiny_diffusion_jax import __version__, checkpoints, experiment, report, schedules, workdir
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.experiment import Experiment, TrainingDiverged

log = logging.getLogger("tiny_diffusion_jax")


class Interrupted(Exception):
    """Ctrl-C or SIGTERM arrived; `exit_code` is 128 + the signal's number, as shells have it."""

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.exit_code = 128 + signal_number


class Signals:
    """Remembers Ctrl-C and SIGTERM while training, which ends after the block it is in."""

    def __enter__(self):
        self.received = 0
        self._previous = {
            s: signal.signal(s, self._receive) for s in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def _receive(self, number, frame):
        self.received = number

    def __exit__(self, *_):
        for number, handler in self._previous.items():
            signal.signal(number, handler)


def start(config, path: str, must_exist: bool) -> tuple[Experiment, Path]:
    """Checks the folder, builds the experiment and logs what was decided."""
    if config.compilation_cache:
        folder = Path(config.compilation_cache).expanduser()
        jax.config.update("jax_compilation_cache_dir", str(folder))
        # Small programs count here: by default those that compile in under 1 s are not kept.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    experiment_ = experiment.build(config)  # before the folder: a bad config leaves no trace
    folder = workdir.open_workdir(path, config, must_exist)
    _check_source(folder, experiment_.dataset)
    device = jax.devices()[0]
    log.info("device: %s x %d (%s)", device.platform, jax.device_count(), device.device_kind)
    log.info("data: %s, from %s", experiment_.dataset.title, experiment_.dataset.source)
    if experiment_.dataset.notice:
        log.warning("!!! %s", experiment_.dataset.notice)
    snr = experiment_.process.schedule.terminal_snr
    log.info("schedule: %s, terminal SNR %.2g", config.schedule.name, snr)
    if snr > schedules.TERMINAL_SNR_WARNING:
        log.warning(
            "terminal SNR %.2g is above %g: x_T is far from pure noise, and samples will be fuzzy; "
            "use more levels or larger betas", snr, schedules.TERMINAL_SNR_WARNING,
        )
    return experiment_, folder


def _check_source(folder: Path, dataset) -> None:
    """A run keeps its data source: `auto` must not change it between two calls."""
    record = folder / "data_source.json"
    ours = {"title": dataset.title, "source": dataset.source}
    if not record.exists():
        workdir.write_json(record, ours)
    elif (theirs := json.loads(record.read_text())) != ours:
        raise UserError(
            f"{folder}: was trained on {theirs['title']} from {theirs['source']}, but the data "
            f"found now is {ours['title']} from {ours['source']}; use another --workdir, or name "
            "the source in config.data"
        )


def train(config, path: str) -> None:
    """Trains, or goes on training, then draws samples and evaluates them."""
    began = time.perf_counter()
    setup, folder = start(config, path, must_exist=False)
    rows = folder / "metrics.jsonl"
    times = {"start": time.perf_counter() - began, "compile": 0.0}
    with checkpoints.open_checkpoints(folder / "checkpoints", config.train.keep) as saved:
        state = checkpoints.restore_latest(saved, experiment.init(setup))
        first = 0 if state is None else int(state.step)
        if first:
            log.info("going on from step %d of %d", first, config.train.steps)
        workdir.rewind_rows(rows, first)
        state, times["train"], times["compile"] = _train(setup, state, saved, rows, folder)
    _finish(setup, folder, state.ema, times)


def _train(setup: Experiment, state, saved, rows: Path, folder: Path):
    """The training loop with its files: (final state, training seconds, compile seconds)."""
    config = setup.config.train
    writer = report.tensorboard_writer(folder) if setup.config.log.tensorboard else None
    compile_seconds = 0.0
    last_saved = 0 if state is None else int(state.step)
    began = time.perf_counter()
    with Signals() as signals, rows.open("a") as file:

        def on_block(state, row) -> bool:
            nonlocal last_saved, compile_seconds
            file.write(json.dumps(row) + "\n")
            file.flush()
            if writer is not None:
                report.write_tensorboard(writer, row)
            if "compile_seconds" in row:
                compile_seconds += row["compile_seconds"]
                log.info("compiled the training step in %.1f s", row["compile_seconds"])
            due = row["step"] - last_saved >= config.checkpoint_every
            if due or signals.received or row["step"] == config.steps:
                checkpoints.save(saved, state)
                last_saved = row["step"]
            return bool(signals.received)

        try:
            state = experiment.train(setup, state, on_block)
        except TrainingDiverged as error:
            kept = f"checkpoint of step {last_saved}" if last_saved else "no checkpoint yet"
            raise TrainingDiverged(
                f"{error}; training stopped; last good state: {kept} in {folder}. "
                "A lower config.train.learning_rate often helps"
            ) from error
    step = int(state.step)
    if step < config.steps:
        raise Interrupted(
            f"interrupted: step {step} of {config.steps} is saved in {folder}; the same command "
            "goes on from there", signals.received,
        )
    return state, time.perf_counter() - began - compile_seconds, compile_seconds


def restore(config, path: str) -> tuple[Experiment, Path, dict]:
    """The experiment in `path`, its folder, and the averaged weights of its newest checkpoint."""
    setup, folder = start(config, path, must_exist=True)
    with checkpoints.open_checkpoints(folder / "checkpoints") as saved:
        state = checkpoints.restore_latest(saved, experiment.init(setup))
    if state is None:
        raise UserError(f"--workdir = {path!r}: holds no checkpoint yet; use --mode=train")
    log.info("restored step %d", int(state.step))
    return setup, folder, state.ema


def sample(config, path: str) -> None:
    """Draws from the newest checkpoint: samples.npy, trajectory.npy and the pictures."""
    setup, folder, params = restore(config, path)
    samples = _draw(setup, folder, params)
    report.pictures(setup, folder, params, samples)
    log.info("wrote %s", folder / "samples.npy")


def evaluate(config, path: str) -> None:
    """Draws from the newest checkpoint and measures: as the end of `train`."""
    setup, folder, params = restore(config, path)
    _finish(setup, folder, params, {})


def _draw(setup: Experiment, folder: Path, params) -> np.ndarray:
    samples = experiment.sample(setup, params, progress=True)
    workdir.write_array(folder / "samples.npy", samples)
    return samples


def _finish(setup: Experiment, folder: Path, params, times: dict) -> None:
    """Samples, metrics and pictures; `times` holds the wall times so far, in seconds."""
    began = time.perf_counter()
    samples = _draw(setup, folder, params)
    times["sample"] = time.perf_counter() - began
    began = time.perf_counter()
    metrics = report.evaluate(setup, params, samples)
    times["evaluate"] = time.perf_counter() - began
    began = time.perf_counter()
    report.pictures(setup, folder, params, samples)
    times["pictures"] = time.perf_counter() - began
    earlier = folder / "metrics.json"
    if "train" not in times and earlier.exists():  # evaluate: keep what training took
        times = json.loads(earlier.read_text())["seconds"] | times
    workdir.write_json(earlier, {
        "name": setup.config.name,
        "data": setup.dataset.title,
        "data_source": setup.dataset.source,
        "notice": setup.dataset.notice,
        "metrics": metrics,
        "parameters": sum(p.size for p in jax.tree.leaves(params)),
        "terminal_snr": setup.process.schedule.terminal_snr,
        "seconds": {name: round(t, 2) for name, t in times.items()},
        "device": f"{jax.devices()[0].platform} {jax.devices()[0].device_kind}",
        "versions": {"python": platform.python_version(), "jax": jax.__version__,
                     "numpy": np.__version__, "tiny_diffusion_jax": __version__},
    })
    for line in report.lines(metrics):
        log.info("%s", line)
    log.info("wrote %s", folder)
