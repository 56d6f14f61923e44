"""The curve of the training loss, and a warning of overfitting."""

from pathlib import Path

import numpy as np

from tiny_diffusion_jax.diffusion.schedules import Schedule
from tiny_diffusion_jax.figures import loss
from tiny_diffusion_jax.figures.style import save_figure
from tiny_diffusion_jax.reports.data import ReportData

PAGE_ROWS = 1_000  # rows of metrics.jsonl on the page.
RISE = 1.02  # ratio to the lowest loss; smaller rises are noise of a small held-out batch


def loss_figure(data: ReportData, file: Path) -> bool | None:
    if not data.rows:
        return False
    save_figure(loss.loss_figure(data.rows), file)


def loss_panel_of(data: ReportData) -> dict | None:
    return loss_panel(data.rows, data.experiment.process.schedule)


def loss_panel(rows: list[dict], schedule: Schedule) -> dict | None:
    """Loss by step and by noise level of the rows of metrics.jsonl, for the page."""
    rows = {row["step"]: row for row in rows if row.get("loss")}
    if not rows:
        return None
    rows = [row for _, row in sorted(rows.items())]
    smooth = loss.smooth(np.array([row["loss"] for row in rows]))
    kept = np.unique(np.linspace(0, len(rows) - 1, PAGE_ROWS).astype(int))
    column = lambda name: [rows[i].get(name) for i in kept]
    stages = loss.stages([row for row in rows if row.get("loss_by_time")])
    sigma = np.asarray(schedule.sigma)
    count = len(stages[0][2]) if stages else 0
    middle = np.round((np.arange(count) + 0.5) / max(count, 1) * (len(sigma) - 1)).astype(int)
    return {
        "step": column("step"), "loss": column("loss"), "smooth": smooth[kept].tolist(),
        "heldout": column("heldout_loss") if any(row.get("heldout_loss") for row in rows) else None,
        "sigma": sigma[middle].tolist(),
        "stages": [
            {"name": f"step {name}", "values": [None if np.isnan(v) else float(v) for v in values]}
            for name, _, values in stages
        ],
    }  # fmt: skip


def overfitting(data: ReportData) -> str:
    """Warning if the held-out loss has risen from its minimum; or "".

    The held-out loss falls while a model learns the distribution of sets. It rises when the model
    starts to memorise its training sets. The end of the curve is the median of its last tenth, so
    no single block decides.
    """
    curve = [(row["heldout_loss"], row["step"]) for row in data.rows if row.get("heldout_loss")]
    if not curve:
        return ""
    lowest, step = min(curve)
    last = float(np.median([loss for loss, _ in curve[-max(1, len(curve) // 10) :]]))
    if last <= RISE * lowest:
        return ""
    keeps_best = data.experiment.config.train.keep_best
    advice = ("samples are drawn with the weights of that step" if keeps_best else
              "config.train.keep_best=True draws with the weights of that step")  # fmt: skip
    return (f"overfitting: the held-out loss was {lowest:.4f} at step {step} and is {last:.4f} "
            f"at the end; {advice}; more sets, or moved ones (config.data.augment_*), "
            "help")  # fmt: skip
