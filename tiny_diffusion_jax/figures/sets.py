"""Draw sets as a grid of small scatter plots, each in the colour of its member.

A set in space has three plots side by side: its projections on xy, xz and yz.
"""

import math
from collections.abc import Sequence

import numpy as np

from tiny_diffusion_jax.figures import style
from tiny_diffusion_jax.figures.page import Page
from tiny_diffusion_jax.figures.text import embedded, one_line, shortened

MAX_PANELS, MAX_PANELS_IN_SPACE = 64, 45
MOST_ACROSS = 12  # largest number of panels in a row, for sets in space with a column per member


def sets_figure(
    sets, title, notice="", member=None, names: Sequence[str] = (), bad=None, real=None,
    real_member=None, by_member=False, given=0, axes: Sequence[str] = "xyz", within=None,
):  # fmt: skip
    """Draw generated sets f32[K, n, D] as small scatter plots, all on the same square axes.

    `member`: i32[K], the member that colours each set (its nearest true member, or its label).
    `names`: names of the members. The line under the title gives each member's share of all K sets.
    `bad`: bool[K], sets that the two-sample test rejects for every member, in a red frame. `real`:
    f32[R, m, D], real sets of `real_member`, above the samples. `within`: sets that give the limits
    of the axes, by default the real sets, or the samples if there are no real sets. `by_member`:
    group the sets by member, under its name. `given`: the number of given points at the start of
    each set, in slate blue like data and in rings. `notice`: a warning in red under the title. At
    most 64 panels (45 in space) and two rows of real sets are drawn; the text counts the rest.
    Points that are NaN are padding. `axes`: names of the coordinates, for projections. With
    `by_member`, all three projections are drawn for at most four members, otherwise only the first
    projection.

    Raises ValueError if `by_member` is True and the members of the real sets are unknown.
    """
    sets = np.asarray(sets)
    member = None if member is None else np.asarray(member)
    num_members = max(len(names), 0 if member is None else int(member.max()) + 1, 1)
    names = [*names, *map(str, range(len(names), num_members))]
    by_member = by_member and member is not None
    if by_member and real is not None and real_member is None:
        raise ValueError("by_member: real sets need a real_member")
    groups, pairs = num_members if by_member else 1, style.views(sets.shape[-1])
    if by_member and len(pairs) * groups > MOST_ACROSS:
        pairs = pairs[:1]
    band = _sets_in_a_row(len(sets), groups, len(pairs))
    columns = groups * band * len(pairs)
    legend = _legend([] if by_member else names, member, bad)
    if given:
        legend.append(("o", style.DATA, f"{given:,} points given"))
        legend.append(("o", style.SAMPLES, "drawn given these"))
    between = len(pairs) if len(pairs) > 1 else band if band > 1 else 0
    page = Page(title, columns, notice=notice, legend=legend, band=between)
    if by_member:
        row, width = page.row(), columns // groups
        for k, name in enumerate(names):
            name = shortened(one_line(name), width * page.side, 9, "bold")
            ends = {"first": k * width, "last": (k + 1) * width - 1}
            page.text(row, name, style.member_color(k), 9, "center", **ends, weight="bold")

    within = real if within is None else within
    limits = _limits(sets if within is None else np.asarray(within))
    # The single view of a plane needs no name if its coordinates are x and y.
    is_named = sets.shape[-1] > 2 or tuple(axes[:2]) != ("x", "y")
    view_names = [_view_name(axes[a], axes[b]) for a, b in pairs] if is_named else []
    most_rows = max(1, (MAX_PANELS if len(pairs) == 1 else MAX_PANELS_IN_SPACE) // columns)
    parts = [("samples", style.SAMPLES, sets, member, bad, given, most_rows)]
    if real is not None:
        parts.insert(0, ("data", style.DATA, np.asarray(real), real_member, None, 0, 2))
    for heading, color, points, of_member, rejected, num_given, rows in parts:
        group = of_member if by_member else np.zeros(len(points), int)
        cells = _cells(group, band, rows)
        page.row()  # space
        row = page.row()
        page.text(row, heading, color, 10, weight="bold")
        page.text(row, _note(points, len(cells), limits), style.MUTED, 8.5, "right")
        if len(view_names) == 1:
            page.text(page.row(), shortened(view_names[0], columns * page.side, 8), style.MUTED, 8)
        row = page.panels(1 + max(down for down, _ in cells.values()))
        for i, (down, across) in cells.items():
            for k, view in enumerate(pairs):
                column = across * len(pairs) + k
                ax = page.panel(row + down, column, style.view_limits(limits, view))
                of_set = color if of_member is None else style.member_color(of_member[i])
                _draw_set(ax, points[i][:, view], of_set, num_given, page.side)
                if rejected is not None and rejected[i]:
                    for spine in ax.spines.values():
                        spine.set(color=style.ALERT, linewidth=1.4)
                if len(view_names) > 1 and down == 0:
                    name = shortened(view_names[k], page.side, 8)
                    ax.set_title(name, fontsize=8, color=style.MUTED, pad=2)
    return page.finish()


def _view_name(across: str, up: str) -> str:
    """Name of a projection: "xy", or the column names if they are words."""
    return one_line(across + up if len(across) == len(up) == 1 else f"{across}, {up}")


def _sets_in_a_row(num_sets: int, groups: int, num_views: int) -> int:
    """Number of sets in a row of each group: about eight panels in a row, and few empty panels.

    There are at least as many columns as rows.
    """
    if groups > 1:
        return max(1, 8 // (groups * num_views))
    most = min(10 // num_views, 8)
    fewest = min(math.ceil(math.sqrt(num_sets)), most)
    return min(range(fewest, min(2 * fewest, most) + 1), key=lambda c: (-num_sets % c, c))


def _cells(group, band: int, max_rows: int) -> dict[int, tuple[int, int]]:
    """{set: (row, column)}: the sets of a group fill its band of columns, row by row."""
    cells, sizes = {}, {}
    for i, g in enumerate(np.asarray(group).tolist()):
        number = sizes[g] = sizes.get(g, -1) + 1
        if number < max_rows * band:
            cells[i] = (number // band, g * band + number % band)
    return cells


def _draw_set(ax, points, color: str, num_given: int, side: float) -> None:
    """Draw the points of one set, and the given points in the colour of data, in rings."""
    count = max(1, int((~np.isnan(points)).all(-1).sum()))
    style.dots(ax, points[num_given:], color, side, count)
    if num_given:
        style.dots(ax, points[:num_given], style.DATA, side, count, style.INK)


def _limits(sets) -> tuple[float, ...]:
    """Square that holds all points except the farthest 1 in 10,000 on each side."""
    points = sets.reshape(-1, sets.shape[-1])
    points = points[np.isfinite(points).all(-1)]
    if not len(points):
        return (-1.0, 1.0) * sets.shape[-1]
    return style.square_limits(np.quantile(points, [1e-4, 1 - 1e-4], axis=0))


def _legend(names, member, bad) -> list[tuple[str, str, str]]:
    """(marker, colour, text) of each member, and of the sets that belong to no member."""

    def share(which):
        return f"{100 * np.mean(which):.{1 if len(which) >= 500 else 0}f} %"

    entries = [] if member is None else [
        ("o", style.member_color(k), f"{embedded(name)}: {share(member == k)}")
        for k, name in enumerate(names)
    ]  # fmt: skip
    if bad is not None:
        entries.append(("s", style.ALERT, f"not from one member: {share(bad)}"))
    return entries


def _note(sets, drawn: int, limits) -> str:
    """Text with the numbers of sets, points, drawn sets, and points outside the axes."""
    exists = ~np.isnan(sets).any(-1)
    fewest, most = int(exists.sum(1).min()), int(exists.sum(1).max())
    points = f"{most:,}" if fewest == most else f"{fewest:,} to {most:,}"
    note = f"{len(sets):,} set{'s' if len(sets) > 1 else ''} of {points} points"
    note += f", {drawn:,} shown" if drawn < len(sets) else ""
    outside = style.outside(sets[exists], limits)
    return note + (f", {outside:,} point{'s' * (outside > 1)} outside" if outside else "")
