"""What a run left in its folder."""

from pathlib import Path

import numpy as np

from tiny_diffusion_jax.run import workdir
from tiny_diffusion_jax.run.checkpoints import open_checkpoints

FILES = {  # of a run of one density
    "config.json", "metrics.jsonl", "metrics.json", "samples.npy", "trajectory.npy", "samples.png",
    "reverse.gif", "forward.gif", "loss.png", "report.html", "checkpoints",
}  # fmt: skip


def arrays(folder: Path, step: int) -> dict:
    """Everything in the checkpoint of a step: weights, their average, the optimiser's state."""
    return open_checkpoints(folder / "checkpoints").load(step)


def same(a: dict, b: dict) -> bool:
    """Equal bit for bit."""
    return a.keys() == b.keys() and all(
        np.asarray(a[k]).tobytes() == np.asarray(b[k]).tobytes() for k in a
    )


def losses(folder: Path) -> list:
    """What metrics.jsonl says of training, without the times it took."""
    rows = workdir.read_rows(folder / "metrics.jsonl")
    return [(row["step"], row["loss"], row["grad_norm"], row["loss_by_time"]) for row in rows]
