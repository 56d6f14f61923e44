"""Draw data beside samples, and the density of the model."""

from collections.abc import Sequence

import numpy as np

from tiny_diffusion_jax.figures.page import (
    DATA,
    DENSITY,
    MAX_DOTS,
    MUTED,
    SAMPLES,
    TICKS,
    Page,
    dots,
    heading,
    quiet,
    square_limits,
    view_limits,
    views,
)

SIDE, LEFT, BETWEEN = 3.6, 0.55, 0.3  # inches
LONGEST = 24  # largest number of letters in the name of an axis.
SMALL, APART = 2.6, 0.62  # sides and gaps of the projections of space, in inches.


def samples_figure(
    data, samples, title, notice="", log_density=None, extent=None, origin=(),
    names: Sequence[str] = (),
):  # fmt: skip
    """Draw data beside samples on the same axes, and the density of the model if it is given.

    Points in space are shown by three projections of the data above three projections of the
    samples, without a density. `data`, `samples`: f32[n, D], in centred units; axis labels name the
    `origin` of these units (see data/units.py). `log_density`: f32[G, G], the model's log p per
    unit area on a grid whose first row is the lowest y. `extent`: (left, right, bottom, top) of
    that grid, by default `square_limits(data)`, which are the limits of the axes. `notice`: a
    warning in red under the title. The axes hold all of the data; a text above the panel says how
    many samples fall outside. `names`: names of the coordinates for the axis labels, by default x,
    y, ... in space.
    """
    data, samples = np.asarray(data), np.asarray(samples)
    limits = square_limits(data)
    if data.shape[1] > 2:
        return _projections(data, samples, limits, title, notice, origin, names or "xyz")
    count = 2 if log_density is None else 3
    right = 0.3 if log_density is None else 0.95
    width = LEFT + count * SIDE + (count - 1) * BETWEEN + right
    page = Page(width, title, notice, alert=True)
    axes = page.row(count, SIDE, LEFT, BETWEEN)
    labels = axis_labels(origin, tuple(names) or ("", ""))
    for ax, points, color, name in (
        (axes[0], data, DATA, "data"),
        (axes[1], samples, SAMPLES, "samples"),
    ):
        dots(ax, points, color, SIDE, len(points))
        heading(ax, name, color, _note(points, limits))
    if log_density is not None:
        bar = page.axes(width - right + 0.03 * SIDE, TICKS, 0.03 * SIDE, SIDE)
        _density(axes[2], bar, np.asarray(log_density, np.float64), extent or limits)
        heading(axes[2], "density", DENSITY[-2], "of the model")
    for ax in axes:
        ax.set(xlim=limits[:2], ylim=limits[2:], aspect="equal")
        quiet(ax)
        ax.tick_params(labelleft=ax is axes[0])
        if any(labels):
            ax.set_xlabel(labels[0], fontsize=9, color=MUTED, labelpad=1)
    if any(labels):
        axes[0].set_ylabel(labels[1], fontsize=9, color=MUTED, labelpad=1)
        page.room(0.12)
    return page.finish()


def shorter(name: str) -> str:
    """Shorten a name so that it fits below an axis."""
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "\u2026"


def axis_labels(origin, names=("", "")) -> list[str]:
    """Labels of axes whose numbers lack their `origin`, such as "x - 388098".

    Without an origin, a label is the name alone.
    """
    labels = []
    for i, name in enumerate(names):
        name, add = shorter(name), origin[i] if origin else 0.0
        sign = "+" if add < 0 else "\u2212"
        labels.append(f"{name or 'xy'[i]} {sign} {abs(add):.15g}" if add else name)
    return labels


def _projections(data, samples, limits, title, notice, origin=(), axes="xyz"):
    labels = axis_labels(origin, axes)
    page = Page(LEFT + 3 * SMALL + 2 * APART + 0.3, title, notice, alert=True)
    for points, color, name in ((data, DATA, "data"), (samples, SAMPLES, "samples")):
        page.room(0.12)
        row = page.row(3, SMALL, LEFT, APART)
        for ax, (a, b) in zip(row, views(data.shape[1]), strict=True):
            dots(ax, points[:, (a, b)], color, SMALL, len(points))
            shown = view_limits(limits, (a, b))
            ax.set(xlim=shown[:2], ylim=shown[2:], aspect="equal")
            quiet(ax)
            ax.set_xlabel(labels[a], fontsize=9, color=MUTED, labelpad=1)
            upright = 90 * (len(labels[b]) > 1)
            ax.set_ylabel(labels[b], fontsize=9, color=MUTED, rotation=upright)
            ax.yaxis.set_label_coords(-0.16, 0.49)
        heading(row[0], name, color, "")
        heading(row[-1], "", color, _note(points, limits))
    page.room(0.12)
    return page.finish()


def _note(points, limits) -> str:
    low, high = np.array(limits).reshape(-1, 2).T
    outside = len(points) - int(((low <= points) & (points <= high)).all(-1).sum())
    note = f"{len(points):,} points"
    note += f", {MAX_DOTS:,} drawn" if len(points) > MAX_DOTS else ""
    return note + (f", {outside:,} outside" if outside else "")


def _density(ax, bar, log_density, extent) -> None:
    """Draw the density as an image, and its colours in the axes `bar`."""
    from matplotlib.colors import LinearSegmentedColormap

    density = np.nan_to_num(np.exp(log_density))
    falling = np.sort(density, axis=None)[::-1]
    # The densest 2 % of the mass share the darkest shade, so a sharp peak leaves the rest visible.
    top = falling[np.searchsorted(np.cumsum(falling), 0.02 * falling.sum())] or 1.0
    ramp = LinearSegmentedColormap.from_list("density", DENSITY)
    image = ax.imshow(density, ramp, vmin=0, vmax=top, extent=extent, origin="lower")
    image.set_interpolation("bilinear")
    ax.figure.colorbar(image, cax=bar, ticks=[0, top]).outline.set_visible(False)
    bar.set_yticklabels(["0", f"\u2265 {top:.2g}"])
    bar.tick_params(length=0, labelsize=8, labelcolor=MUTED)
    bar.set_ylabel("per unit area", fontsize=8, color=MUTED)
    bar.yaxis.set_label_coords(3.2, 0.5)
