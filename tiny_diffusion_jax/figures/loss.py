"""Draw the loss of a training by step and by noise level, and the gradient norm."""

import math
from collections.abc import Sequence

import numpy as np

from tiny_diffusion_jax.figures import style
from tiny_diffusion_jax.figures.page import Page

SIDE = 3.6  # inches


def loss_figure(metrics_rows: Sequence[dict], title: str = "Training"):
    """Draw the loss by step, the loss by noise level (early to late) and the gradient norm by step.

    `metrics_rows`: rows of metrics.jsonl, with the keys step, loss, grad_norm, steps_per_second,
    loss_by_time (one number per noise level, nearly clean first) and, for data with held-out sets,
    heldout_loss. A row may lack any key except step. A resumed run writes some steps twice; the
    last row of a step counts.
    """
    rows = [row for _, row in sorted({row["step"]: row for row in metrics_rows}.items())]
    speeds = [row["steps_per_second"] for row in rows if row.get("steps_per_second")]
    speed = f", {np.median(speeds):,.0f} steps/s" if speeds else ""
    steps = rows[-1]["step"] if rows else 0
    page = Page(f"{title}: {steps:,} steps{speed}", 3, SIDE)
    row = page.panels()
    by_step, by_level, gradient = axes = [page.axes(row, column, column) for column in range(3)]
    _draw_by_step(by_step, rows, "loss", "loss", style.SAMPLES)
    _draw_heldout(by_step, rows)
    _draw_by_step(gradient, rows, "grad_norm", "gradient norm", style.DATA)
    _draw_by_level(by_level, [row for row in rows if row.get("loss_by_time")])
    for ax in axes:
        _log_axis(ax)
        style.quiet(ax)
    return page.finish()


def _series(rows, key: str) -> tuple[np.ndarray, np.ndarray, str | None]:
    """Steps and positive values of a key, and the marker of a single value."""
    kept = [(row["step"], row[key]) for row in rows if _positive(row.get(key))]
    return *np.reshape(kept, (-1, 2)).T.astype(float), "o" if len(kept) == 1 else None


def _draw_by_step(ax, rows, key: str, name: str, color: str) -> None:
    """Draw the values as a thin pale line, and their running mean above it."""
    steps, values, marker = _series(rows, key)
    style.heading(ax, name, color, "by step" if len(steps) else "none logged")
    if len(steps):
        ax.plot(steps, values, color=color, alpha=0.28, linewidth=0.8)
        ax.plot(steps, smooth(values), marker=marker, color=color, linewidth=1.8)
    ax.xaxis.set_major_formatter(lambda v, _: f"{v / 1000:g}k" if v >= 1000 else f"{v:g}")


def _draw_heldout(ax, rows) -> None:
    """Draw the loss of held-out sets and its lowest value.

    This loss fluctuates little, so it has no running mean. It is measured with the EMA weights, so
    it may be below the training loss.
    """
    steps, values, marker = _series(rows, "heldout_loss")
    if not len(steps):
        return
    style.heading(ax, "loss", style.SAMPLES, "by step")
    lowest = int(values.argmin())
    ax.plot([], [], color=style.SAMPLES, linewidth=1.8, label="training")
    ax.plot(steps, values, marker=marker, color=style.DATA, linewidth=1.6, label="held-out sets")
    if 0 < lowest < len(steps) - 1:
        ax.plot(steps[lowest], values[lowest], "o", color=style.DATA, markersize=5, mec="white",
                label=f"its lowest, step {steps[lowest]:,.0f}")  # fmt: skip
    ax.legend(frameon=False, fontsize=7.5, labelcolor=style.MUTED, loc="upper right")


def _draw_by_level(ax, rows) -> None:
    """Draw one line for each quarter of the training; later quarters are darker."""
    style.heading(ax, "loss", style.SAMPLES, "by noise level" if rows else "none logged")
    if not rows:
        return
    lines = stages(rows)
    for i, (steps, _, mean) in enumerate(lines):
        late = (i + 1) / len(lines)
        ax.plot(mean, "-o", label=steps, color=style.SAMPLES, alpha=late, linewidth=1 + late,
                markersize=3.5)  # fmt: skip
    last = len(rows[-1]["loss_by_time"]) - 1
    ax.set_xticks([0, last] if last else [0], ["clean", "noise"][: last + 1])
    legend = ax.legend(frameon=False, fontsize=7.5, labelcolor=style.MUTED, title="steps")
    legend.get_title().set(color=style.MUTED, fontsize=7.5)


def stages(rows: Sequence[dict]) -> list[tuple[str, int, np.ndarray]]:
    """(its steps in words, its last step, mean loss f64[levels]) of each quarter of the training.

    The loss is NaN at a level without numbers. rows: the rows with `loss_by_time`.
    """
    result = []
    for quarter in np.array_split(np.arange(len(rows)), min(4, len(rows))) if rows else ():
        levels = np.array([rows[j]["loss_by_time"] for j in quarter], float)  # None becomes NaN
        count = np.isfinite(levels).sum(0)
        mean = np.where(count, np.nansum(levels, 0), np.nan) / np.maximum(count, 1)
        first, final = rows[quarter[0]]["step"], rows[quarter[-1]]["step"]
        steps = f"{first:,} to {final:,}" if first < final else f"{final:,}"
        result.append((steps, final, mean))
    return result


def _log_axis(ax) -> None:
    """Use a log axis if the values span more than a factor of 5, which has enough round numbers."""
    from matplotlib.ticker import LogLocator, NullLocator

    low, high = ax.dataLim.intervaly
    if 0 < low < high / 5:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5), numticks=12))
        ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(lambda v, _: f"{v:g}")


def _positive(value) -> bool:
    return value is not None and math.isfinite(value) and value > 0


def smooth(values: np.ndarray) -> np.ndarray:
    """Running geometric mean over about a twentieth of the curve.

    The window shrinks at the steep start. At the end it only looks back, because a shrinking window
    would end on the noise of a single row.
    """
    half = len(values) // 40
    total = np.concatenate([[0], np.cumsum(np.log(values))])
    index = np.arange(len(values))
    back = np.minimum(half, index)
    ahead = np.minimum(back, len(values) - 1 - index)
    return np.exp((total[index + ahead + 1] - total[index - back]) / (back + ahead + 1))
