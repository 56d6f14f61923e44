"""Pictures: data beside samples and the loss.

One look for all: data in slate blue, samples in burnt orange, on paper white; dense places darker,
so a picture keeps its meaning in a grey print. Every picture is a function of its arguments: no
pyplot, no global style, the same bytes for the same input. The figures are returned by
`*_figure` for notebooks and written by `save_*`.
"""

import math
import textwrap
from collections.abc import Sequence

import numpy as np

from tiny_diffusion_jax.figures.page import (
    ALERT,
    DATA,
    DENSITY,
    INK,
    MAX_DOTS,
    MUTED,
    PAPER,
    SAMPLES,
    quiet,
    save_figure,
    square_limits,
)

# ---------------------------------------------------------------- data beside samples


def save_samples(path, data, samples, title, notice="", log_density=None, extent=None) -> None:
    """Writes `samples_figure(...)` as a PNG."""
    save_figure(samples_figure(data, samples, title, notice, log_density, extent), path)


def samples_figure(data, samples, title, notice="", log_density=None, extent=None):
    """Data beside samples on the same axes, and the model's density when it is given.

    `data`, `samples`: f32[n, 2], in the data's units. `log_density`: f32[G, G], the model's log p
    per unit area on a grid whose first row is the lowest y; `extent`: (left, right, bottom, top)
    of that grid, by default `square_limits(data)`, which are the limits of the axes. `notice`
    stands under the title in red: what the reader must know first. The axes hold all of the data;
    how many samples fall outside of them is said above the panel.
    """
    data, samples = np.asarray(data), np.asarray(samples)
    limits = square_limits(data)
    names = ["data", "samples"] + ([] if log_density is None else ["density"])
    figure, axes = _panels(len(names), title, notice, right=0.3 if log_density is None else 0.95)
    for ax, points, color, name in zip(axes, (data, samples), (DATA, SAMPLES), names, strict=False):
        left, right, bottom, top = limits
        x, y = points.T
        outside = len(x) - int(np.sum((left <= x) & (x <= right) & (bottom <= y) & (y <= top)))
        note = f"{len(points):,} points"
        note += f", {MAX_DOTS:,} drawn" if len(points) > MAX_DOTS else ""
        note += f", {outside:,} outside" if outside else ""
        _dots(ax, points, color)
        _heading(ax, name, color, note)
    if log_density is not None:
        extent = limits if extent is None else extent
        _density(figure, axes[2], np.asarray(log_density, np.float64), extent)
        _heading(axes[2], "density", DENSITY[-2], "of the model")
    for ax in axes:
        _plane(ax, limits)
        ax.tick_params(labelleft=ax is axes[0])
    return figure


def save_grid(path, sets, title, color=SAMPLES) -> None:
    """Writes `grid_figure(...)` as a PNG."""
    save_figure(grid_figure(sets, title, color), path)


def grid_figure(sets, title, color=SAMPLES):
    """Small pictures of several sets `f32[K, n, 2]`, all on the same axes."""
    from matplotlib.figure import Figure

    sets = np.asarray(sets)
    columns = math.ceil(math.sqrt(len(sets)))
    rows = math.ceil(len(sets) / columns)
    side, edge, head, gap = 8 / max(columns, 3), 0.3, 0.55, 0.12  # inches
    width, height = columns * side + 2 * edge, rows * side + head + edge
    figure = Figure(figsize=(width, height), facecolor=PAPER)
    limits = square_limits(sets.reshape(-1, 2))
    for i, points in enumerate(sets):
        x, y = edge + i % columns * side, height - head - (i // columns + 1) * side
        size = (side - gap) / width, (side - gap) / height
        ax = figure.add_axes(((x + gap / 2) / width, (y + gap / 2) / height, *size))
        _dots(ax, points, color, scale=side / 3.6)
        _plane(ax, limits)
        ax.tick_params(left=False, bottom=False, labelleft=False, labelbottom=False)
    x, y = (edge + gap / 2) / width, 1 - 0.28 / height
    figure.text(x, y, title, fontsize=12.5, weight="bold", color=INK, va="center")
    return figure


def _dots(ax, points, color, scale=1.0) -> None:
    shown = np.asarray(points)[:MAX_DOTS]
    area = float(np.clip(9_000 / len(shown), 0.9, 16)) * scale**2
    alpha = float(np.clip(1_800 / len(shown), 0.25, 0.75))
    ax.scatter(*shown.T, s=area, color=color, alpha=alpha, linewidths=0)


def _density(figure, ax, log_density, extent) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    density = np.nan_to_num(np.exp(log_density))
    falling = np.sort(density, axis=None)[::-1]
    # the densest 2 % of the mass share the darkest shade: one sharp peak must not pale the rest
    top = falling[np.searchsorted(np.cumsum(falling), 0.02 * falling.sum())] or 1.0
    ramp = LinearSegmentedColormap.from_list("density", DENSITY)
    image = ax.imshow(density, ramp, vmin=0, vmax=top, extent=extent, origin="lower")
    image.set_interpolation("bilinear")
    box = ax.get_position()
    bar = figure.add_axes((box.x1 + 0.03 * box.width, box.y0, 0.03 * box.width, box.height))
    figure.colorbar(image, cax=bar, ticks=[0, top]).outline.set_visible(False)
    bar.set_yticklabels(["0", f"\u2265 {top:.2g}"])
    bar.tick_params(length=0, labelsize=8, labelcolor=MUTED)
    bar.set_ylabel("per unit area", fontsize=8, color=MUTED)
    bar.yaxis.set_label_coords(3.2, 0.5)


# ---------------------------------------------------------------- the loss


def save_loss(path, metrics_rows) -> None:
    """Writes `loss_figure(...)` as a PNG."""
    save_figure(loss_figure(metrics_rows), path)


def loss_figure(metrics_rows: Sequence[dict], title: str = "Training"):
    """The loss by step, the loss by noise level (early to late), the gradient norm by step.

    `metrics_rows`: the rows of metrics.jsonl, with the keys step, loss, grad_norm,
    steps_per_second and loss_by_time (one number per noise level, nearly clean first). A row may
    lack any of them but the step. Of rows with one step, which a resumed run writes, the last
    counts.
    """
    from matplotlib.ticker import LogLocator, NullLocator

    rows = [row for _, row in sorted({row["step"]: row for row in metrics_rows}.items())]
    speeds = [row["steps_per_second"] for row in rows if row.get("steps_per_second")]
    speed = f", {np.median(speeds):,.0f} steps/s" if speeds else ""
    figure, axes = _panels(3, f"{title}: {rows[-1]['step'] if rows else 0:,} steps{speed}", gap=0.7)
    for ax, key, name, color in (
        (axes[0], "loss", "loss", SAMPLES),
        (axes[2], "grad_norm", "gradient norm", DATA),
    ):
        kept = [(row["step"], row[key]) for row in rows if _positive(row.get(key))]
        _heading(ax, name, color, "by step" if kept else "none logged")
        if kept:
            steps, values = np.array(kept, float).T
            ax.plot(steps, values, color=color, alpha=0.28, linewidth=0.8)
            alone = "o" if len(kept) == 1 else None
            ax.plot(steps, _smooth(values), marker=alone, color=color, linewidth=1.8)
        ax.xaxis.set_major_formatter(lambda v, _: f"{v / 1000:g}k" if v >= 1000 else f"{v:g}")

    timed = [row for row in rows if row.get("loss_by_time")]
    _heading(axes[1], "loss", SAMPLES, "by noise level" if timed else "none logged")
    stages = np.array_split(np.arange(len(timed)), min(4, len(timed))) if timed else []
    for i, stage in enumerate(stages):
        levels = np.array([timed[j]["loss_by_time"] for j in stage], float)  # None becomes NaN
        count = np.isfinite(levels).sum(0)
        mean = np.where(count, np.nansum(levels, 0), np.nan) / np.maximum(count, 1)
        late = (i + 1) / len(stages)
        first, final = timed[stage[0]]["step"], timed[stage[-1]]["step"]
        steps = f"{first:,} to {final:,}" if first < final else f"{final:,}"
        axes[1].plot(
            mean, "-o", color=SAMPLES, alpha=late, linewidth=1 + late, markersize=3.5, label=steps
        )
    if timed:
        last = len(timed[-1]["loss_by_time"]) - 1
        axes[1].set_xticks([0, last] if last else [0], ["clean", "noise"][: last + 1])
        axes[1].legend(frameon=False, fontsize=7.5, labelcolor=MUTED, title="steps")
        axes[1].get_legend().get_title().set(color=MUTED, fontsize=7.5)
    for ax in axes:
        low, high = ax.dataLim.intervaly
        if 0 < low < high / 5:  # less than that has too few round numbers for a log axis
            ax.set_yscale("log")
            ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5), numticks=12))
            ax.yaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_major_formatter(lambda v, _: f"{v:g}")
        quiet(ax)
    return figure


def _positive(value) -> bool:
    return value is not None and math.isfinite(value) and value > 0


def _smooth(values: np.ndarray) -> np.ndarray:
    """Running geometric mean over about a twentieth of the curve.

    The window shrinks at the steep start, and looks back only at the end, where a shrinking one
    would end on the noise of a single row.
    """
    half = len(values) // 40
    total = np.concatenate([[0], np.cumsum(np.log(values))])
    index = np.arange(len(values))
    back = np.minimum(half, index)
    ahead = np.minimum(back, len(values) - 1 - index)
    return np.exp((total[index + ahead + 1] - total[index - back]) / (back + ahead + 1))


# ---------------------------------------------------------------- shared by the figures


def _panels(count, title, notice="", gap=0.3, right=0.3):
    """A row of square axes under a title, placed in inches so that every panel is one size."""
    from matplotlib.figure import Figure

    side, left, bottom = 3.6, 0.55, 0.45
    row = count * side + (count - 1) * gap
    lines = textwrap.wrap(notice, int(row / 0.078))  # a letter of the notice is 0.075 inch wide
    width, height = left + row + right, bottom + side + 0.8 + 0.17 * len(lines)
    figure = Figure(figsize=(width, height), facecolor=PAPER)
    lefts = [left + i * (side + gap) for i in range(count)]
    size = side / width, side / height
    axes = [figure.add_axes((x / width, bottom / height, *size)) for x in lefts]
    bold = {"x": left / width, "ha": "left", "va": "top", "weight": "bold"}
    figure.suptitle(title, y=1 - 0.2 / height, fontsize=13, color=INK, **bold)
    if lines:
        figure.text(y=1 - 0.48 / height, s="\n".join(lines), fontsize=9, color=ALERT, **bold)
    return figure, axes


def _heading(ax, name, color, note) -> None:
    """`name` in its colour at the panel's upper left, `note` in grey at its right."""
    ax.set_title(name, loc="left", fontsize=10, weight="bold", color=color, pad=6)
    ax.set_title(note, loc="right", fontsize=8.5, color=MUTED, pad=6)


def _plane(ax, limits) -> None:
    ax.set(xlim=limits[:2], ylim=limits[2:], aspect="equal")
    quiet(ax)
