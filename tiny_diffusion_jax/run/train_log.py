"""The log of a training: rows of metrics.jsonl, TensorBoard, a progress bar or lines of text."""

import contextlib
import json
import logging
import sys
import time
from pathlib import Path

from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.files import atomic
from tiny_diffusion_jax.progress import TrainingBar, losses

log = logging.getLogger("tiny_diffusion_jax")
ROWS = "metrics.jsonl"
LOG_SECONDS = 10.0  # between log lines of a training without a terminal


class TrainLogger:
    """Write the row of each block of a training in `folder` that starts after step `first`."""

    def __init__(self, config, folder: Path, first: int):
        self.bar = TrainingBar(first, config.train.steps, sys.stderr.isatty())
        self.file = (folder / ROWS).open("a", encoding="utf-8")
        self.tensorboard = None
        if config.log.tensorboard:
            self.tensorboard = require_tensorboard().SummaryWriter(str(folder / "tensorboard"))
        self.last_line = time.perf_counter()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.bar.close()
        self.file.close()
        if self.tensorboard is not None:
            self.tensorboard.close()

    def write(self, row: dict) -> None:
        """Write a row of `loop.train_blocks`."""
        self.file.write(json.dumps(row) + "\n")
        self.file.flush()
        if self.tensorboard is not None:
            for name in ("loss", "heldout_loss", "grad_norm", "steps_per_second"):
                if row.get(name) is not None:
                    self.tensorboard.add_scalar(name, row[name], row["step"])
            self.tensorboard.flush()
        if "compile_seconds" in row:
            log.info("compiled the training step in %.1f s", row["compile_seconds"])
            self.last_line = time.perf_counter()
        self.bar.show(row)
        now, step, steps = time.perf_counter(), row["step"], self.bar.total
        if self.bar.disable and (now - self.last_line > LOG_SECONDS or step == steps):
            self.last_line = now
            values = ", ".join(f"{name} {value}" for name, value in losses(row).items())
            log.info("step %d of %d: %s, %.0f steps/s", step, steps, values,
                     row["steps_per_second"])


def require_tensorboard():
    """Return the package tensorboardX; raise UserError if it is missing."""
    try:
        import tensorboardX
    except ImportError as error:
        raise UserError("config.log.tensorboard", True, "False without the package tensorboardX",
                        "To install it: pip install tensorboardX") from error
    return tensorboardX


def read_rows(path: Path) -> list[dict]:
    """Read the rows of a metrics.jsonl, without rows that a crash cut short."""
    rows = []
    if path.exists():
        for line in path.read_text(errors="replace", encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError, TypeError, KeyError):  # not JSON, or not a row
                row = json.loads(line)
                rows.append(row | {"step": int(row["step"])})
    return rows


def rewind_rows(path: Path, last_step: int) -> None:
    """Remove the rows after `last_step`, which a resumed run will write again."""
    rows = [row for row in read_rows(path) if row["step"] <= last_step]
    with atomic(path) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def training_seconds(rows: list[dict]) -> dict:
    """{"compile", "train"}: total seconds, over all interruptions, from rows of metrics.jsonl."""
    train, previous = 0.0, 0
    for row in rows:
        train += (row["step"] - previous) / row["steps_per_second"]
        previous = row["step"]
    return {"compile": sum(row.get("compile_seconds", 0.0) for row in rows), "train": train}
