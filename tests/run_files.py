"""Read the files of a run folder."""

from pathlib import Path

import jax
import numpy as np

from tiny_diffusion_jax.run import checkpoints
from tiny_diffusion_jax.run.checkpoints import open_checkpoints
from tiny_diffusion_jax.run.train_log import read_rows
from tiny_diffusion_jax.training.step import TrainState

FILES = {  # files of a run of one density
    "config.json", "metrics.jsonl", "metrics.json", "samples.npy", "trajectory.npy", "samples.png",
    "reverse.gif", "forward.gif", "loss.png", "report.html", "checkpoints", "snapshots",
}  # fmt: skip


def arrays(folder: Path, step: int) -> dict:
    """Contents of the checkpoint of a step: weights, EMA weights, state of the optimiser."""
    return open_checkpoints(folder / "checkpoints").load(step)


def same(a: dict, b: dict) -> bool:
    """Whether all arrays are equal bit for bit."""
    return a.keys() == b.keys() and all(
        np.asarray(a[k]).tobytes() == np.asarray(b[k]).tobytes() for k in a
    )


def losses(folder: Path) -> list:
    """Rows of metrics.jsonl about training, without times."""
    rows = read_rows(folder / "metrics.jsonl")
    return [(row["step"], row["loss"], row["grad_norm"], row["loss_by_time"]) for row in rows]


def state_of(step: int) -> TrainState:
    """A state of the given step, with weights that depend on the step."""
    weights = np.random.default_rng(step).normal(size=(40, 40)).astype(np.float32)
    return TrainState(np.int32(step), {"w": weights}, {"w": weights + 1}, ())


def restored(folder: Path, keep=None) -> TrainState | None:
    """The newest state in a folder of checkpoints; each was written from `state_of`."""
    saved = checkpoints.open_checkpoints(folder, keep)
    state = checkpoints.restore_latest(saved, jax.eval_shape(lambda: state_of(1)))
    if state is not None:
        np.testing.assert_array_equal(state.params["w"], state_of(int(state.step)).params["w"])
    return state
