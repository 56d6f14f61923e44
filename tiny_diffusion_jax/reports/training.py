"""The curve of the training loss, and a warning of overfitting."""

from pathlib import Path

import jax
import numpy as np

from tiny_diffusion_jax.call_checks import is_flow
from tiny_diffusion_jax.diffusion.schedules import Schedule
from tiny_diffusion_jax.figures import loss
from tiny_diffusion_jax.figures.style import save_figure
from tiny_diffusion_jax.metrics.lowest_loss import lowest_loss
from tiny_diffusion_jax.reports.data import ReportData
from tiny_diffusion_jax.training.step import NUM_TIME_BINS

PAGE_ROWS = 1_000  # rows of metrics.jsonl on the page.
RISE = 1.02  # ratio to the lowest loss; smaller rises are noise of a small held-out batch


def loss_figure(data: ReportData, file: Path) -> bool | None:
    if not data.rows:
        return False
    save_figure(loss.loss_figure(data.rows), file)


def loss_panel_of(data: ReportData) -> dict | None:
    """Loss of a run, see `loss_panel`, and its lowest possible value, see `lowest_losses`."""
    panel, lowest = loss_panel(data.rows, data.experiment.process.schedule), lowest_losses(data)
    return panel if panel is None or lowest is None else panel | {"lowest": lowest}


def lowest_losses(data: ReportData) -> dict | None:
    """{"total", "by_level"}: lowest expected loss of the training, and of each bin of t.

    Both are means over the noise levels that the training draws (config.diffusion.levels), computed
    from two levels in each bin. A bin without a drawn level has None. The result is None if the
    loss is not known: for sets, flows, and rows of a table without noise.
    """
    process, dataset = data.experiment.process, data.dataset
    if not data.has_density or is_flow(data.experiment.config) or dataset.log_prob is None:
        return None
    T = process.schedule.num_levels
    law = np.arange(1, T + 1) if process.law is None else np.sort(np.asarray(process.law)[1:])
    in_bin = (law - 1) * NUM_TIME_BINS // T
    bins = [_quartiles(law[in_bin == i]) for i in range(NUM_TIME_BINS)]
    levels = np.unique(np.concatenate(bins))
    losses = lowest_loss(dataset, process, data.counts, levels, jax.random.fold_in(data.key, 8))
    if not np.isfinite(losses).all():  # a schedule of few levels that ends in pure noise
        return None
    mean_at = lambda t: float(np.interp(t, levels, losses).mean())
    return {"total": mean_at(law), "by_level": [mean_at(t) if len(t) else None for t in bins]}


def _quartiles(t: np.ndarray) -> np.ndarray:
    """Lower and upper quartile i[2] of the sorted levels i[n]; empty if there are none."""
    index = np.round(np.array([0.25, 0.75]) * len(t)).astype(int) - 1
    return t[np.maximum(index, 0)] if len(t) else t


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
    config = data.experiment.config
    widths = "config.model.hidden_dim"
    if config.model.name == "causal":
        widths += ", context_dim and context_blocks"
    advice = ("samples are drawn with the weights of that step" if config.train.keep_best else
              "config.train.keep_best=True draws with the weights of that step")  # fmt: skip
    more = ("more sets, moved ones (config.data.augment_*)" if data.dataset.rows is None else
            "more rows, jitter (config.data.jitter_std)")  # fmt: skip
    return (f"overfitting: the held-out loss was {lowest:.4f} at step {step} and is {last:.4f} "
            f"at the end; {advice}; {more} or a smaller network ({widths}) help")
