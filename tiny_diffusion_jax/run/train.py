"""Train in a folder: write checkpoints and metrics.jsonl, handle signals and divergence."""

import contextlib
import logging
import shlex
from pathlib import Path
from typing import Protocol

import jax
import numpy as np

from tiny_diffusion_jax import devices
from tiny_diffusion_jax.api import Experiment, train_blocks
from tiny_diffusion_jax.diffusion.posterior_mean import group_sizes
from tiny_diffusion_jax.files import sync
from tiny_diffusion_jax.program import program_name
from tiny_diffusion_jax.run import debug_step, processes
from tiny_diffusion_jax.run.checkpoints import Checkpoints, save
from tiny_diffusion_jax.run.signals import Interrupted, abandon_at_signal, held_signals
from tiny_diffusion_jax.run.snapshots import Snapshots
from tiny_diffusion_jax.run.train_log import ROWS, TrainLogger, rewind_rows
from tiny_diffusion_jax.training.loop import TrainingDiverged

log = logging.getLogger("tiny_diffusion_jax")


class Page(Protocol):
    """A page that shows the training while it runs, see reports/progress_page.py."""

    def announce(self) -> None: ...
    def is_due(self) -> bool: ...
    def write(self, step: int, state: str) -> None: ...


def train_in_folder(
    experiment: Experiment, state, checkpoints: Checkpoints, folder: Path, page: Page | None = None
):
    """Train from `state` to the final state, and write the files of the run and its page.

    A signal abandons the current block of steps at once, even a long one. Then the state of the
    previous block is saved.
    """
    config, rows = experiment.config.train, folder / ROWS
    saved_step = int(state.step)
    rewind_rows(rows, saved_step)
    snapshots = Snapshots(experiment, folder, saved_step)
    if saved_step == config.steps:
        log.info("already trained (step %d)", saved_step)
        return state
    if saved_step:
        log.info("resuming from step %d of %d", saved_step, config.steps)
    before, signals = state, []
    if most := experiment.process.references:
        log.info("targets: mean of x_0 given x_t over %d points of a batch "
                 "(config.train.references)",
                 group_sizes(config.num_sets * config.num_points, most)[1])  # fmt: skip
    if page:
        page.announce()
    during_block, during_write = abandon_at_signal, held_signals
    if devices.is_multiprocess():
        # Several processes share a block, and no process can leave it alone, so wait for its end.
        during_block, during_write = held_signals, contextlib.nullcontext
    with TrainLogger(experiment.config, folder, saved_step) as logger:
        try:
            with during_block(signals):
                snapshots.take(saved_step - 1, state)
                if page:
                    page.write(saved_step, "training")
                for block in train_blocks(experiment, state):
                    with during_write(signals):
                        before, state, row = block
                        step = row["step"]
                        logger.write(row)
                    # A run that resumes here after a signal takes the snapshot.
                    is_new = not signals and snapshots.take(int(before.step), state)
                    is_last = step == config.steps
                    if page and (is_new or is_last or page.is_due()):
                        page.write(step, "measuring" if is_last else "training")
                    with during_write(signals):
                        if step - saved_step >= config.checkpoint_every or step == config.steps:
                            saved_step = _save(checkpoints, before, state, rows)
                    if processes.agree(signals):
                        break
            if signals and int(state.step) > saved_step:
                saved_step = _save(checkpoints, before, state, rows)
        except TrainingDiverged as error:
            debug_step.write(folder, experiment, error.state, error.done)
            last = f"the checkpoint of step {saved_step}" if saved_step else "no checkpoint yet"
            raise TrainingDiverged(
                f"{error}: training stopped; last good state: {last}, in {folder}; a lower "
                "config.train.learning_rate often helps; to do this step again and see what is not "
                f"finite: {program_name()} {shlex.quote(f'--workdir={folder}')} --mode=replay",
                error.state, error.done,
            ) from error
    if signals:
        raise Interrupted("interrupted: " + (
            f"step {saved_step} of {config.steps} is saved in {folder}; the same command resumes "
            "from there" if saved_step else "no step is done yet; the same command starts again"
        ), signals[0])  # fmt: skip
    return state


def _save(checkpoints: Checkpoints, before, state, rows: Path) -> int:
    """Save `state` and return its step. Raises TrainingDiverged if a weight is not finite."""
    step = int(state.step)
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params)):
        done = step - int(before.step) - 1
        raise TrainingDiverged(f"weights are not finite at step {step}", before, done)
    sync(rows)
    save(checkpoints, state)
    return step
