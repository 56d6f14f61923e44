"""Draw sets as a grid of small scatter plots, each in the colour of its member.

A set in space has three plots side by side: its projections on xy, xz and yz.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tiny_diffusion_jax.figures.page import (
    ALERT,
    DATA,
    EDGE,
    GAP,
    MEMBERS,
    MUTED,
    SAMPLES,
    WIDTH,
    Page,
    dots,
    embedded,
    one_line,
    shortened,
    square_limits,
    text_width,
    view_limits,
    views,
)

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
    each set, in slate blue like data. `notice`: a warning in red under the title. At most 64 panels
    (45 in space) and two rows of real sets are drawn; the text counts the rest. Points that are NaN
    are padding. `axes`: names of the coordinates, for projections. With `by_member`, all three
    projections are drawn for at most four members, otherwise only the first projection.

    Raises ValueError if `by_member` is True and the members of the real sets are unknown.
    """
    sets = np.asarray(sets)
    member = None if member is None else np.asarray(member)
    num_members = max(len(names), 0 if member is None else int(member.max()) + 1, 1)
    names = [*names, *map(str, range(len(names), num_members))]
    by_member = by_member and member is not None
    if by_member and real is not None and real_member is None:
        raise ValueError("by_member: real sets need a real_member")
    groups, shown = num_members if by_member else 1, views(sets.shape[-1])
    if by_member and len(shown) * groups > MOST_ACROSS:
        shown = shown[:1]
    # The single view of a plane needs no name if its coordinates are x and y.
    is_named = sets.shape[-1] > 2 or tuple(axes[:2]) != ("x", "y")
    names_of_views = [view_name(axes[a], axes[b]) for a, b in shown] if is_named else []
    names_of_views = [one_line(name) for name in names_of_views]
    grid = _grid(len(sets), groups, tuple(shown), tuple(names_of_views))
    within = real if within is None else within
    limits = _limits(sets if within is None else np.asarray(within))

    legend = _legend([] if by_member else names, member, bad)
    if given:
        legend += [("o", DATA, f"{given:,} points given"), ("o", SAMPLES, "drawn given these")]
    page = Page(max(grid.right + GAP / 2 + 2 * EDGE, 4.4), title, notice, legend, alert=True)
    if by_member:
        page.room(0.24)
        for k, name in enumerate(names):
            centre = grid.centre(k)
            name = shortened(one_line(name), grid.band * grid.width, 9, "bold")
            page.text(centre, 0.1, name, MEMBERS[k % len(MEMBERS)], 9, weight="bold", ha="center")
    if real is not None:
        part = _Part("data", DATA, np.asarray(real), real_member)
        _draw(page, grid, part, limits, max_rows=2)
    part = _Part("samples", SAMPLES, sets, member, bad, given)
    most = MAX_PANELS if len(shown) == 1 else MAX_PANELS_IN_SPACE
    across = grid.columns * len(shown)
    _draw(page, grid, part, limits, max_rows=max(1, most // across))
    return page.finish()


def view_name(across: str, up: str) -> str:
    """Axis label of a projection: "xy", or the column names if they are words."""
    return across + up if len(across) == len(up) == 1 else f"{across}, {up}"


class _Part(NamedTuple):
    """Sets under one heading."""

    name: str
    color: str
    sets: np.ndarray
    member: Sequence[int] | None
    bad: np.ndarray | None = None
    given: int = 0


class _Grid(NamedTuple):
    """Columns of sets, in inches: `groups` of `band` columns each, with gaps of `between`.

    A set has one square panel per view, side by side, and `space` after them.
    """

    groups: int
    band: int
    between: float
    side: float
    views: tuple[tuple[int, int], ...] = ((0, 1),)
    view_names: tuple[str, ...] = ()
    space: float = 0.0

    @property
    def width(self) -> float:
        """Width of one set."""
        return len(self.views) * self.side + self.space

    @property
    def columns(self) -> int:
        return self.groups * self.band

    @property
    def right(self) -> float:
        """Right end of the last panel, from the left edge of the first panel."""
        across = self.columns * self.width - self.space
        return across + (self.groups - 1) * self.between - GAP / 2

    def left(self, column: int) -> float:
        return EDGE + GAP / 2 + column * self.width + column // self.band * self.between

    def centre(self, group: int) -> float:
        centre = EDGE + (group + 0.5) * self.band * self.width + group * self.between
        return centre - self.space / 2


def _grid(num_sets: int, groups: int, shown=((0, 1),), view_names=()) -> _Grid:
    """Grid with few empty panels; with groups, at most eight panels of equal width in a row."""
    panels = len(shown)
    band = max(1, 8 // (groups * panels)) if groups > 1 else _columns(num_sets, 10 // panels)
    between = 0.16 if band > 1 else 0.0
    space = 0.14 if panels > 1 else 0.0
    room = WIDTH - (groups - 1) * between - groups * band * space
    side = min(room / (groups * band * panels), WIDTH / 4)
    return _Grid(groups, band, between, side, shown, view_names, space)


def _columns(count: int, most: int) -> int:
    """Number of columns, at most 8, that leaves the fewest empty panels.

    There are at least as many columns as rows.
    """
    most = min(most, 8)
    fewest = min(math.ceil(math.sqrt(count)), most)
    return min(range(fewest, min(2 * fewest, most) + 1), key=lambda c: (-count % c, c))


def _draw(page: Page, grid: _Grid, part: _Part, limits, max_rows: int) -> None:
    """Draw a heading and, under it, a panel for each set that fits."""
    group = part.member if grid.groups > 1 else np.zeros(len(part.sets), int)
    places = _places(group, grid.band, max_rows)
    rows = 1 + max(row for row, _ in places.values())
    page.room(0.3)
    page.text(EDGE + GAP / 2, 0.08, part.name, part.color, 10, weight="bold")
    note = _note(part.sets, len(places), limits)
    page.text(EDGE + grid.right, 0.08, note, MUTED, 8.5, ha="right")
    if grid.view_names:
        page.room(0.16)
        columns = sorted({column for _, column in places.values()})
        if len(grid.view_names) == 1 and text_width(grid.view_names[0], 8) > grid.side - GAP:
            page.text(grid.left(0), 0.04, grid.view_names[0], MUTED, 8)
            columns = []
        for column in columns:
            for k, name in enumerate(grid.view_names):
                x = grid.left(column) + k * grid.side + (grid.side - GAP) / 2
                name = shortened(name, grid.side - GAP, 8)
                page.text(x, 0.04, name, MUTED, 8, ha="center")
    page.room(rows * grid.side)
    for i, (row, column) in places.items():
        y = (rows - 1 - row) * grid.side + GAP / 2
        for k, view in enumerate(grid.views):
            x = grid.left(column) + k * grid.side
            ax = page.panel(x, y, grid.side - GAP, view_limits(limits, view))
            _draw_set(ax, part, i, view, grid.side)


def _draw_set(ax, part: _Part, i: int, view: tuple[int, int], side: float) -> None:
    """Draw one set in its panel."""
    points = part.sets[i][:, view]
    count = max(1, int((~np.isnan(points)).all(-1).sum()))
    color = part.color
    if part.member is not None:
        color = MEMBERS[int(part.member[i]) % len(MEMBERS)]
    dots(ax, points[part.given :], color, side, count)
    if part.given:
        dots(ax, points[: part.given], DATA, side, count)
    if part.bad is not None and part.bad[i]:
        for spine in ax.spines.values():
            spine.set(color=ALERT, linewidth=1.4)


def _places(group, band: int, max_rows: int) -> dict[int, tuple[int, int]]:
    """{set: (row, column)}: the sets of a group fill its band of columns, row by row."""
    places, filled = {}, {}
    for i, g in enumerate(np.asarray(group).tolist()):
        number = filled[g] = filled.get(g, -1) + 1
        if number < max_rows * band:
            places[i] = (number // band, g * band + number % band)
    return places


def _limits(sets) -> tuple[float, ...]:
    """Square that holds all points except the farthest 1 in 10,000 on each side."""
    points = sets.reshape(-1, sets.shape[-1])
    points = points[np.isfinite(points).all(-1)]
    if not len(points):
        return (-1.0, 1.0) * sets.shape[-1]
    return square_limits(np.quantile(points, [1e-4, 1 - 1e-4], axis=0))


def _legend(names, member, bad) -> list[tuple[str, str, str]]:
    """(marker, colour, text) of each member, and of the sets that belong to no member."""

    def share(which):
        return f"{100 * np.mean(which):.{1 if len(which) >= 500 else 0}f} %"

    entries = [] if member is None else [
        ("o", MEMBERS[k % len(MEMBERS)], f"{embedded(name)}: {share(member == k)}")
        for k, name in enumerate(names)
    ]  # fmt: skip
    if bad is not None:
        entries.append(("s", ALERT, f"not from one member: {share(bad)}"))
    return entries


def _note(sets, drawn: int, limits) -> str:
    """Text with the numbers of sets, points, drawn sets, and points outside the axes."""
    count, there = len(sets), ~np.isnan(sets).any(-1)
    fewest, most = int(there.sum(1).min()), int(there.sum(1).max())
    points = f"{most:,}" if fewest == most else f"{fewest:,} to {most:,}"
    note = f"{count:,} set{'s' if count > 1 else ''} of {points} points"
    note += f", {drawn:,} shown" if drawn < count else ""
    low, high = np.array(limits).reshape(-1, 2).T
    outside = int(there.sum() - ((low <= sets) & (sets <= high)).all(-1).sum())
    return note + (f", {outside:,} point{'s' * (outside > 1)} outside" if outside else "")
