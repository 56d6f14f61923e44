"""Draw data beside samples, and the density of the model."""

from collections.abc import Sequence

import numpy as np

from tiny_diffusion_jax.figures import style
from tiny_diffusion_jax.figures.page import Page
from tiny_diffusion_jax.figures.text import one_line, shortened

SIDE, SIDE_IN_SPACE = 3.6, 2.6  # inches
NAME = 1.8  # width of the longest name of an axis, in inches


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
    limits, pairs = style.square_limits(data), style.views(data.shape[1])
    in_space = len(pairs) > 1
    labels = axis_labels(origin, names or ("xyz" if in_space else ("", "")))
    columns, side = (3, SIDE_IN_SPACE) if in_space else (2 + (log_density is not None), SIDE)
    page = Page(title, columns, side, notice)
    row = page.panels(1 + in_space)
    parts = (data, style.DATA, "data"), (samples, style.SAMPLES, "samples")
    for i, (points, color, name) in enumerate(parts):
        for k, (a, b) in enumerate(pairs):
            column = k if in_space else i
            ax = page.axes(row + i * in_space, column, column)
            style.dots(ax, points[:, (a, b)], color, side, len(points))
            of_view = style.view_limits(limits, (a, b))
            _set_axes(ax, of_view, labels[a], labels[b], in_space or i == 0)
            note = _note(points, limits) if k == len(pairs) - 1 else ""
            style.heading(ax, "" if k else name, color, note)
    if log_density is not None and not in_space:
        ax = page.axes(row, 2, 2)
        _density(ax, np.asarray(log_density, np.float64), extent or limits)
        _set_axes(ax, limits, labels[0], "", False)
        style.heading(ax, "density", style.DENSITY[-2], "of the model")
    return page.finish()


def axis_labels(origin, names=("", "")) -> list[str]:
    """Labels of axes whose numbers lack their `origin`, such as "x - 388098".

    Without an origin, a label is the name alone.
    """
    labels = []
    for i, name in enumerate(names):
        name, add = shortened(one_line(name), NAME, 9), origin[i] if origin else 0.0
        sign = "+" if add < 0 else "\u2212"
        labels.append(f"{name or 'xy'[i]} {sign} {abs(add):.15g}" if add else name)
    return labels


def _set_axes(ax, limits, across: str, up: str, numbers_at_left: bool) -> None:
    ax.set(xlim=limits[:2], ylim=limits[2:], aspect="equal")
    style.quiet(ax)
    ax.tick_params(labelleft=numbers_at_left)
    ax.ticklabel_format(scilimits=(-4, 5))
    ax.set_xlabel(across, fontsize=9, color=style.MUTED, labelpad=1)
    if numbers_at_left:
        ax.set_ylabel(up, fontsize=9, color=style.MUTED, rotation=90 if len(up) > 1 else 0)


def _note(points, limits) -> str:
    note = f"{len(points):,} points"
    note += f", {style.MAX_DOTS:,} drawn" if len(points) > style.MAX_DOTS else ""
    outside = style.outside(points, limits)
    return note + (f", {outside:,} outside" if outside else "")


def _density(ax, log_density, extent) -> None:
    """Draw the density as an image, and its colours beside the image."""
    from matplotlib.colors import LinearSegmentedColormap

    density = np.nan_to_num(np.exp(log_density))
    falling = np.sort(density, axis=None)[::-1]
    # The densest 2 % of the mass share the darkest shade, so a sharp peak leaves the rest visible.
    top = falling[np.searchsorted(np.cumsum(falling), 0.02 * falling.sum())] or 1.0
    ramp = LinearSegmentedColormap.from_list("density", style.DENSITY)
    image = ax.imshow(density, ramp, vmin=0, vmax=top, extent=extent, origin="lower")
    image.set_interpolation("bilinear")
    bar = style.color_bar(image, ax, {0: "0", top: f"\u2265 {top:.2g}"})
    bar.set_ylabel("per unit area", fontsize=8, color=style.MUTED, labelpad=-10)
