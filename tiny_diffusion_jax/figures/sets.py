"""Sets as a grid of small scatter plots, each in the colour of its member."""

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
    square_limits,
)

MAX_PANELS = 64


def sets_figure(
    sets, title, notice="", member=None, names: Sequence[str] = (), bad=None, real=None,
    real_member=None, by_member=False, given=0,
):  # fmt: skip
    """Small scatter plots of generated sets f32[K, n, 2], all on the same square axes.

    `member`: i32[K], whose colour each set has (its nearest true member, or the label asked for);
    `names`: of the members. The line under the title gives each member's share of all K sets.
    `bad`: bool[K], sets in a red frame, which the two-sample test gives to no member. `real`:
    f32[R, n, 2], real sets of `real_member`, above the samples; they set the limits of the axes, as
    the samples do without them. `by_member`: sets of a member stand together, under its name, if
    they have one. `given`: so many points at the head of each set were known, not drawn: they are
    in slate blue, as data. `notice` stands under the title in red. At most 64 sets and two rows of
    real ones are drawn; the rest are counted all the same.

    Raises ValueError for `by_member` when it is not known which member the real sets are of.
    """
    sets = np.asarray(sets)
    member = None if member is None else np.asarray(member)
    num_members = max(len(names), 0 if member is None else int(member.max()) + 1, 1)
    names = [*names, *map(str, range(len(names), num_members))]
    by_member = by_member and member is not None
    if by_member and real is not None and real_member is None:
        raise ValueError("by_member: real sets need a real_member")
    grid = _grid(len(sets), num_members if by_member else 1)
    limits = _limits(sets if real is None else np.asarray(real))

    legend = _legend([] if by_member else names, member, bad)
    if given:
        legend += [("o", DATA, f"{given:,} points given"), ("o", SAMPLES, "drawn given these")]
    page = Page(max(grid.right + GAP / 2 + 2 * EDGE, 4.4), title, notice, legend, alert=True)
    if by_member:
        page.room(0.24)
        for k, name in enumerate(names):
            centre = grid.centre(k)
            page.text(centre, 0.1, name, MEMBERS[k % len(MEMBERS)], 9, weight="bold", ha="center")
    if real is not None:
        part = _Part("data", DATA, np.asarray(real), real_member)
        _draw(page, grid, part, limits, max_rows=2)
    part = _Part("samples", SAMPLES, sets, member, bad, given)
    _draw(page, grid, part, limits, max_rows=max(1, MAX_PANELS // grid.columns))
    return page.finish()


class _Part(NamedTuple):
    """Sets under one heading."""

    name: str
    color: str
    sets: np.ndarray
    member: Sequence[int] | None
    bad: np.ndarray | None = None
    given: int = 0


class _Grid(NamedTuple):
    """Columns of square panels, in inches: `groups` of `band` columns each, a gap `between`."""

    groups: int
    band: int
    between: float
    side: float

    @property
    def columns(self) -> int:
        return self.groups * self.band

    @property
    def right(self) -> float:
        """The right end of the last panel, from the left edge of the first."""
        return self.columns * self.side + (self.groups - 1) * self.between - GAP / 2

    def left(self, column: int) -> float:
        return EDGE + GAP / 2 + column * self.side + column // self.band * self.between

    def centre(self, group: int) -> float:
        return EDGE + (group + 0.5) * self.band * self.side + group * self.between


def _grid(num_sets: int, groups: int) -> _Grid:
    """As many columns as leave few places empty; with groups, at most eight of a width."""
    band = max(1, 8 // groups) if groups > 1 else _columns(num_sets)
    between = 0.16 if band > 1 else 0.0
    side = min((WIDTH - (groups - 1) * between) / (groups * band), WIDTH / 4)
    return _Grid(groups, band, between, side)


def _columns(count: int) -> int:
    """How many columns leave the fewest places empty: at least as many as rows, at most 8."""
    fewest = min(math.ceil(math.sqrt(count)), 8)
    return min(range(fewest, min(2 * fewest, 8) + 1), key=lambda c: (-count % c, c))


def _draw(page: Page, grid: _Grid, part: _Part, limits, max_rows: int) -> None:
    """A heading and, under it, a panel for each set that has a place."""
    group = part.member if grid.groups > 1 else np.zeros(len(part.sets), int)
    places = _places(group, grid.band, max_rows)
    rows, num_points = 1 + max(row for row, _ in places.values()), part.sets.shape[1]
    page.room(0.3)
    page.text(EDGE + GAP / 2, 0.08, part.name, part.color, 10, weight="bold")
    note = _note(part.sets, len(places), limits)
    page.text(EDGE + grid.right, 0.08, note, MUTED, 8.5, ha="right")
    page.room(rows * grid.side)
    for i, (row, column) in places.items():
        y = (rows - 1 - row) * grid.side + GAP / 2
        ax = page.panel(grid.left(column), y, grid.side - GAP, limits)
        color = part.color
        if part.member is not None:
            color = MEMBERS[int(part.member[i]) % len(MEMBERS)]
        dots(ax, part.sets[i][part.given :], color, grid.side, num_points)
        if part.given:
            dots(ax, part.sets[i][: part.given], DATA, grid.side, num_points)
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


def _limits(sets) -> tuple[float, float, float, float]:
    """The square that holds all points but the farthest in ten thousand on each side."""
    points = sets.reshape(-1, 2)
    points = points[np.isfinite(points).all(-1)]
    if not len(points):
        return -1.0, 1.0, -1.0, 1.0
    return square_limits(np.quantile(points, [1e-4, 1 - 1e-4], axis=0))


def _legend(names, member, bad) -> list[tuple[str, str, str]]:
    """(marker, colour, text) of each member, and of the sets that are of none."""

    def share(which):
        return f"{100 * np.mean(which):.{1 if len(which) >= 500 else 0}f} %"

    entries = [] if member is None else [
        ("o", MEMBERS[k % len(MEMBERS)], f"{name}: {share(member == k)}")
        for k, name in enumerate(names)
    ]  # fmt: skip
    if bad is not None:
        entries.append(("s", ALERT, f"not from one member: {share(bad)}"))
    return entries


def _note(sets, drawn: int, limits) -> str:
    """How many sets of how many points, how many of them shown, how many points outside."""
    count, points = len(sets), sets.shape[1]
    note = f"{count:,} set{'s' if count > 1 else ''} of {points:,} points"
    note += f", {drawn:,} shown" if drawn < count else ""
    left, right, bottom, top = limits
    x, y = sets[..., 0], sets[..., 1]
    inside = (left <= x) & (x <= right) & (bottom <= y) & (y <= top)
    outside = inside.size - int(inside.sum())
    return note + (f", {outside:,} point{'s' * (outside > 1)} outside" if outside else "")
