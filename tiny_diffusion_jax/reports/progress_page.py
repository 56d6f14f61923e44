"""report.html of a run that is training: it reloads itself, until the report replaces it."""

import contextlib
import logging
import time
from pathlib import Path

import jax
import numpy as np

from tiny_diffusion_jax import __version__, devices
from tiny_diffusion_jax.api import Experiment
from tiny_diffusion_jax.data import units
from tiny_diffusion_jax.dataset import draw_points
from tiny_diffusion_jax.errors import reason_of
from tiny_diffusion_jax.figures.style import square_limits
from tiny_diffusion_jax.point_sets import lengths
from tiny_diffusion_jax.reports import words
from tiny_diffusion_jax.reports.training import loss_panel
from tiny_diffusion_jax.run.snapshots import POINTS, has_field, read_snapshots
from tiny_diffusion_jax.run.train_log import ROWS, read_rows
from tiny_diffusion_jax.web.packing import pack
from tiny_diffusion_jax.web.render import render, write_page

log = logging.getLogger("tiny_diffusion_jax")
SECONDS = 10  # between two versions of the page, and between two reloads.
RECENT = 10  # last blocks, whose speed predicts the time left.
SETS = 4  # sets of a snapshot.
REAL_POINTS = 4_096  # real points of a density
SHARE = 0.99  # share of the samples that is in view, if no real points are known.
MARK = "data-progress="  # in the HTML of this page, and not of a report


class ProgressPage:
    """Write the page of a training in `folder`. Its state is one of `STATES`."""

    STATES = ("training", "measuring", "stopped")

    def __init__(self, experiment: Experiment, folder: Path, command: str = ""):
        self.experiment, self.command = experiment, command
        self.folder, self.file = folder, folder / "report.html"
        self.written, self.real, self.is_broken = 0.0, None, False
        self.taken: dict[int, np.ndarray] = {}  # step -> sets f[SETS, N, 2] of its snapshot

    def announce(self) -> None:
        """Log which page to open."""
        log.info("open %s, which reloads itself", self.file)

    def is_due(self) -> bool:
        """Return whether the page is older than SECONDS."""
        return time.time() - self.written > SECONDS

    def write(self, step: int, state: str) -> None:
        """Write the page after `step` steps. An error stops only this page, with a warning."""
        if self.is_broken:
            return
        try:
            write_page(self.file, self.html(step, state))
            self.written = time.time()
        except Exception as error:
            self.is_broken = True
            log.warning("warning: %s is not updated: %s", self.file.name, reason_of(error))

    def stop(self) -> None:
        """Say on the page that the program has ended, unless the report has replaced the page."""
        with contextlib.suppress(OSError):  # an error of the training matters more
            if self.file.exists() and MARK in self.file.read_text("utf-8", errors="replace"):
                rows = read_rows(self.folder / ROWS)
                self.write(rows[-1]["step"] if rows else 0, "stopped")

    def html(self, step: int, state: str) -> str:
        """HTML of the page."""
        experiment, rows = self.experiment, read_rows(self.folder / ROWS)
        rows = [row for row in rows if row["step"] <= step]
        steps, dataset = experiment.config.train.steps, experiment.dataset
        data = {"loss": loss_panel(rows, experiment.process.schedule),
                "snapshots": self.pictures(step)}  # fmt: skip
        return render(
            "progress.html", title=dataset.title, data={k: v for k, v in data.items() if v},
            version=__version__, step=step, steps=steps, state=state, seconds=SECONDS,
            left=words.duration(seconds_left(rows, steps)) if rows else "",
            written=int(1000 * time.time()), clock=time.strftime("%H:%M:%S"),
            command=self.command, config=experiment.config.to_dict(),
            notices=list(filter(None, dataset.notice.split("\n"))),
        )  # fmt: skip

    def pictures(self, step: int) -> dict | None:
        """Sets of each snapshot up to `step`, and real points, in one square."""
        origin = self.experiment.dataset.origin
        for each in read_snapshots(self.folder, known=self.taken):
            drawn = each.arrays["trajectory"][-1, :SETS]
            self.taken[each.step] = units.to_centred(origin, drawn)[..., :2]
        snapshots = [(number, sets) for number, sets in self.taken.items() if number <= step]
        if not snapshots:
            return None
        if self.real is None and has_field(self.experiment):
            draw = devices.without_float64(draw_points)
            real = draw(self.experiment.dataset, jax.random.key(0), 1, REAL_POINTS)
            self.real = np.asarray(real)[:, :POINTS]
        shown = snapshots[-1][1] if self.real is None else self.real
        flat = shown[np.isfinite(shown).all(-1)]
        if self.real is None and len(flat):
            low, high = np.quantile(flat, [(1 - SHARE) / 2, (1 + SHARE) / 2], axis=0)
            flat = np.clip(flat, low, high)
        left, right, bottom, top = square_limits(flat) if len(flat) else (-1.0, 1.0, -1.0, 1.0)
        packed = lambda sets: {"points": pack(np.where(np.isfinite(sets), sets, np.nan)),
                               "sizes": lengths(sets).tolist()}  # fmt: skip
        return {
            "view": {"x": (left + right) / 2, "y": (bottom + top) / 2, "half": (right - left) / 2},
            "real": None if self.real is None else packed(self.real),
            "taken": [{"step": number} | packed(sets) for number, sets in snapshots],
        }  # fmt: skip


def seconds_left(rows: list[dict], steps: int) -> float:
    """Seconds that the remaining steps need at the speed of the last rows of metrics.jsonl."""
    recent = rows[-RECENT:]
    per_step = float(np.mean([1 / row["steps_per_second"] for row in recent]))
    return (steps - rows[-1]["step"]) * per_step
