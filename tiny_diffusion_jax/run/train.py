"""Train in a folder: write checkpoints and metrics.jsonl, handle signals and divergence."""

import contextlib
import json
import logging
import shlex
import sys
import time
from pathlib import Path

import jax
import numpy as np

from tiny_diffusion_jax import devices
from tiny_diffusion_jax.api import Experiment, train
from tiny_diffusion_jax.files import sync
from tiny_diffusion_jax.run import debug_step, processes, run_folder, tensorboard
from tiny_diffusion_jax.run.checkpoints import save
from tiny_diffusion_jax.run.signals import Abandoned, Interrupted, Signals
from tiny_diffusion_jax.training.loop import TrainingDiverged, losses

log = logging.getLogger("tiny_diffusion_jax")
LOG_SECONDS = 10.0  # between log lines of a training without a terminal


def train_in_folder(experiment: Experiment, state, saved, folder: Path):
    """Train from `state` to the final state, and write the files of the run.

    A signal abandons the current block of steps at once, even a long one. Then the state of the
    previous block is saved.
    """
    config, rows = experiment.config.train, folder / "metrics.jsonl"
    start = int(state.step)
    run_folder.rewind_rows(rows, start)
    if start == config.steps:
        log.info("already trained (step %d)", start)
        return state
    if start:
        log.info("resuming from step %d of %d", start, config.steps)
    terminal, before = sys.stderr.isatty(), state
    with Signals() as signals, TrainLogger(experiment.config, folder, start, not terminal) as diary:

        def keep(step: int) -> None:
            if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params)):
                done = step - int(before.step) - 1
                raise TrainingDiverged(f"weights are not finite at step {step}", before, done)
            sync(rows)
            save(saved, state)
            diary.last_saved = step

        def on_block(after, row) -> bool:
            nonlocal before, state
            with signals.held():
                before, state, step = state, after, row["step"]
                diary.write(row)
                if step - diary.last_saved >= config.checkpoint_every or step == config.steps:
                    keep(step)
            signals.received = processes.agree(signals.received)  # a signal of any process
            return bool(signals.received)

        # Several processes share a block, and no process can leave it alone, so wait for its end.
        at_once = signals.held() if devices.is_multiprocess() else signals.raised()
        try:
            with contextlib.suppress(Abandoned), at_once:
                train(experiment, state, on_block, progress=terminal)
            if signals.received and int(state.step) > diary.last_saved:
                keep(int(state.step))
        except TrainingDiverged as error:
            last = diary.last_saved
            kept = f"the checkpoint of step {last}" if last else "no checkpoint yet"
            debug_step.write(folder, experiment, error.state, error.done)
            raise TrainingDiverged(
                f"{error}: training stopped; last good state: {kept}, in {folder}; a lower "
                "config.train.learning_rate often helps; to do this step again and see what is not "
                f"finite: python main.py {shlex.quote(f'--workdir={folder}')} --mode=replay",
                error.state, error.done,
            ) from error
    if signals.received:
        last = diary.last_saved
        raise Interrupted("interrupted: " + (
            f"step {last} of {config.steps} is saved in {folder}; the same command resumes from "
            "there" if last else "no step is done yet; the same command starts again"
        ), signals.received)  # fmt: skip
    return state


class TrainLogger:
    """Write each block of a training: a row of metrics.jsonl, TensorBoard, and lines of the log."""

    def __init__(self, config, folder: Path, start: int, say_more: bool):
        self.steps, self.last_saved, self.say_more = config.train.steps, start, say_more
        self.writer = tensorboard.open_writer(folder) if config.log.tensorboard else None
        self.file = (folder / "metrics.jsonl").open("a", encoding="utf-8")
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
    """{"compile", "train"}: total seconds, over all interruptions, from rows of metrics.jsonl."""
    train, previous = 0.0, 0
    for row in rows:
        train += (row["step"] - previous) / row["steps_per_second"]
        previous = row["step"]
    return {"compile": sum(row.get("compile_seconds", 0.0) for row in rows), "train": train}
