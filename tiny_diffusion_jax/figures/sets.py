"""Pictures of sets: many small scatter plots, what a denoiser looks at, speed against separation.

The look is that of `plotting`; each member of a mixture has its own colour. As there, `*_figure`
returns a figure and `save_*` writes it, the same bytes for the same input.
"""

import math
from collections.abc import Sequence

import numpy as np

from tiny_diffusion_jax.figures.page import (
    ALERT,
    DATA,
    EDGE,
    GAP,
    INK,
    MAX_DOTS,
    MEMBERS,
    MUTED,
    RULE,
    SAMPLES,
    Page,
    quiet,
    save_figure,
    square_limits,
)

MAX_PANELS = 64
WIDTH = 8.4  # inches, of all panels together


# ---------------------------------------------------------------- a grid of sets


def save_sets(path, sets, title, notice="", **options) -> None:
    """Writes `sets_figure(...)` as a PNG."""
    save_figure(sets_figure(sets, title, notice, **options), path)


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
    real = None if real is None else np.asarray(real)
    limits = _limits(sets if real is None else real)

    groups = num_members if by_member else 1
    band = max(1, 8 // groups) if by_member else _columns(len(sets))
    columns = groups * band
    group = member if by_member else np.zeros(len(sets), int)
    blocks = [(sets, member, bad, group, max(1, MAX_PANELS // columns), "samples", SAMPLES)]
    if real is not None:
        if by_member and real_member is None:
            raise ValueError("by_member: real sets need a real_member")
        real_group = np.asarray(real_member) if by_member else np.zeros(len(real), int)
        blocks.insert(0, (real, real_member, None, real_group, 2, "data", DATA))
    places = [_places(block[3], band, block[4]) for block in blocks]
    rows = [1 + max(row for row, _ in place.values()) for place in places]

    between = 0.16 if band > 1 else 0.0  # two groups, in inches
    side = min((WIDTH - (groups - 1) * between) / columns, WIDTH / 4)
    right = columns * side + (groups - 1) * between - GAP / 2
    width = right + GAP / 2 + 2 * EDGE
    legend = _legend([] if by_member else names, member, bad)
    if given:
        legend += [("o", DATA, f"{given:,} points given"), ("o", SAMPLES, "drawn given these")]
    page = Page(max(width, 4.4), title, notice, legend, alert=True)
    if by_member:
        page.room(0.24)
        for k, name in enumerate(names):
            centre = EDGE + (k + 0.5) * band * side + k * between
            page.text(centre, 0.1, name, MEMBERS[k % len(MEMBERS)], 9, weight="bold", ha="center")
    for place, count, (shown, whose, wrong, _, _, name, color) in zip(
        places, rows, blocks, strict=True
    ):
        page.room(0.3)
        page.text(EDGE + GAP / 2, 0.08, name, color, 10, weight="bold")
        note = _note(shown, len(place), limits if name == "samples" else None)
        page.text(EDGE + right, 0.08, note, MUTED, 8.5, ha="right")
        page.room(count * side)
        for i, (row, column) in place.items():
            x = EDGE + column * side + column // band * between + GAP / 2
            ax = page.panel(x, (count - 1 - row) * side + GAP / 2, side - GAP, limits)
            own = color if whose is None else MEMBERS[int(whose[i]) % len(MEMBERS)]
            known = given if name == "samples" else 0
            _dots(ax, shown[i][known:], own, side, shown.shape[1])
            if known:
                _dots(ax, shown[i][:known], DATA, side, shown.shape[1])
            if wrong is not None and wrong[i]:
                for spine in ax.spines.values():
                    spine.set(color=ALERT, linewidth=1.4)
    return page.finish()


def _columns(count: int) -> int:
    """How many columns leave the fewest places empty: at least as many as rows, at most 8."""
    fewest = min(math.ceil(math.sqrt(count)), 8)
    return min(range(fewest, min(2 * fewest, 8) + 1), key=lambda c: (-count % c, c))


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
    count, points = len(sets), sets.shape[1]
    note = f"{count:,} set{'s' if count > 1 else ''} of {points:,} points"
    note += f", {drawn:,} shown" if drawn < count else ""
    if limits is not None:
        left, right, bottom, top = limits
        x, y = sets[..., 0], sets[..., 1]
        inside = (left <= x) & (x <= right) & (bottom <= y) & (y <= top)
        outside = inside.size - int(inside.sum())
        note += f", {outside:,} point{'s' * (outside > 1)} outside" if outside else ""
    return note


def _dots(ax, points, color, side: float, count: int) -> None:
    """Points of a set of `count`; the fewer, the larger, in a panel `side` inches wide."""
    diameter = np.clip(30 * side / math.sqrt(count), 0.9, 3.2 * side)
    alpha = float(np.clip(400 / count, 0.35, 0.85))
    ax.scatter(*points[:MAX_DOTS].T, s=diameter**2, color=color, alpha=alpha, linewidths=0)


# ---------------------------------------------------------------- what it looks at


def save_attention(path, points, weights, queries, title, note="") -> None:
    """Writes `attention_figure(...)` as a PNG."""
    save_figure(attention_figure(points, weights, queries, title, note), path)


def attention_figure(points, weights, queries, title, note=""):
    """What each query looks at: up to six panels, a query in each.

    `points: f32[N, 2]`, the set or the history; `weights: f32[Q, N]`, what each query f32[Q, 2]
    (a cross; None for queries that are not points) gives to each point, none negative. The area
    of a dot grows with its weight and its colour goes from grey to dark, on one scale for all
    panels. Above each panel: how many points with equal weights have the same entropy,

        exp(-sum_n w_n log w_n),   1 (one point) to N (all alike), for w scaled to sum to 1.

    Raises ValueError for no query or more than six.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm

    points, weights = np.asarray(points), np.asarray(weights, np.float64)
    count = len(weights)
    if not 1 <= count <= 6:
        raise ValueError(f"{count} queries: must be 1..6")
    top = float(weights.max()) or 1.0
    limits = square_limits(points if queries is None else np.concatenate([points, queries]))
    colors = LinearSegmentedColormap.from_list("weight", ("#b9b7b2", "#f4ae76", SAMPLES, "#5c1a2b"))
    norm = PowerNorm(0.5, 0, top)

    columns = count if count <= 3 else math.ceil(count / 2)
    side, head = min(WIDTH / columns, WIDTH / 2.4), 0.3
    page = Page(columns * side + 2 * EDGE + 0.75, title, note)
    for row in range(math.ceil(count / columns)):
        page.room(head + side)
        for q in range(row * columns, min((row + 1) * columns, count)):
            x, y = EDGE + (q - row * columns) * side + GAP / 2, GAP / 2
            w = weights[q]
            equal = _effective(w)
            text = f"looks at {equal:.{0 if equal >= 9.95 else 1}f} of {len(points):,} points"
            page.text(x, y + side - GAP + 0.13, text, MUTED, 8.5)
            ax = page.panel(x, y, side - GAP, limits)
            order = np.argsort(w)  # the heaviest on top
            base = np.clip(12 * side / math.sqrt(len(points)), 0.8, 2.5) ** 2
            area = base + (4 * side) ** 2 * w / top
            shades = colors(norm(w[order]))
            ax.scatter(*points[order].T, s=area[order], c=shades, alpha=0.85, linewidths=0)
            for thick, color in ((2.6, "white"), (1.2, INK)) if queries is not None else ():
                ax.plot(*queries[q], "x", color=color, markersize=5.5, mew=thick)
    bar = page.axes(EDGE + columns * side + 0.06, GAP / 2, 0.11, side - GAP)
    page.figure.colorbar(ScalarMappable(norm, colors), cax=bar).outline.set_visible(False)
    bar.set_yticks([0, top / 4, top], ["0", f"{top / 4:.2g}", f"{top:.2g}"])
    bar.set_yticks([], minor=True)
    bar.tick_params(length=0, labelsize=8, labelcolor=MUTED)
    bar.set_title("weight", fontsize=8, color=MUTED, pad=8, loc="left")
    return page.finish()


def _effective(weights) -> float:
    """exp of the entropy of weights[N], scaled to sum to 1."""
    shares = weights / max(weights.sum(), 1e-300)
    return math.exp(-float(np.sum(shares * np.log(np.maximum(shares, 1e-300)))))


# ---------------------------------------------------------------- speed against separation


def save_tradeoff(path, rows, title, real=None, note="") -> None:
    """Writes `tradeoff_figure(...)` as a PNG."""
    save_figure(tradeoff_figure(rows, title, real, note), path)


def tradeoff_figure(rows: Sequence[dict], title: str, real: float | None = None, note: str = ""):
    """Separation above, sampling time below, a place for each row in the order given.

    `rows`: dicts with label (under the axis, "g = 2"), separation (share in [0, 1]), seconds and,
    if known, separation_se and stray. `real`: the separation of real sets, a line.
    """
    from matplotlib.ticker import LogLocator, NullLocator

    x, page = np.arange(len(rows)), Page(6.6, title, note)
    axes = []
    for height in (2.1, 1.6):
        page.room(0.3 + height)
        axes.append(page.axes(0.75, 0, page.width - 1.0, height))
    page.room(0.22)
    upper, lower = axes

    share = 100 * np.array([row["separation"] for row in rows], float)
    error = 196 * np.array([row.get("separation_se") or 0 for row in rows], float)
    upper.errorbar(x, share, error, fmt="-o", color=SAMPLES, linewidth=1.8, markersize=5, capsize=3)
    for place, value, down in zip(x, share, error, strict=True):
        _write(upper, place, value - down, f"{value:.1f} %", SAMPLES, below=True)
    low, high = min(share - error), max(share + error)
    if real is not None:
        low, high = min(low, 100 * real), max(high, 100 * real)
        upper.axhline(100 * real, color=DATA, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
        upper.text(0.99, 100 * real, f"real sets {100 * real:.1f} %", color=DATA, fontsize=8.5,
                   transform=upper.get_yaxis_transform(), ha="right", va="bottom")  # fmt: skip
    room = max(high - low, 2.0)
    upper.set_ylim(low - 0.25 * room, high + 0.15 * room)
    upper.yaxis.set_major_formatter(lambda v, _: f"{v:g} %" if 0 <= v <= 100 else "")

    seconds = np.array([row["seconds"] for row in rows], float)
    lower.plot(x, seconds, "-o", color=DATA, linewidth=1.8, markersize=5)
    lower.set(yscale="log", ylim=(seconds.min() / 1.5, seconds.max() * 2.2))
    lower.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    lower.yaxis.set_minor_locator(NullLocator())
    lower.yaxis.set_major_formatter(lambda v, _: f"{v:g}")
    for place, value in zip(x, seconds, strict=True):
        text = f"{value:.0f} s" if value >= 99.5 else f"{value:.2g} s"
        _write(lower, place, value, text, DATA)

    bars = ", bars: 95 % confidence" if any(error) else ""
    for ax, name, note, color in (
        (upper, "separation", "sets that come from one member" + bars, SAMPLES),
        (lower, "sampling time", "seconds, on a log scale", DATA),
    ):
        quiet(ax)
        ax.set(xlim=(-0.5, len(rows) - 0.5), axisbelow=True)
        ax.set_xticks(x, [row["label"] for row in rows] if ax is lower else [])
        ax.tick_params(axis="x", labelsize=9, labelcolor=INK, length=0)
        ax.set_title(name, loc="left", fontsize=10, weight="bold", color=color, pad=6)
        ax.set_title(note, loc="right", fontsize=8.5, color=MUTED, pad=6)
        ax.grid(axis="y", color=RULE, linewidth=0.6, alpha=0.7)
    return page.finish()


def _write(ax, x, y, text, color, below=False) -> None:
    """A value beside its dot, on a white edge that lines do not cross."""
    from matplotlib.patheffects import withStroke

    ax.annotate(text, (x, y), (0, -5 if below else 6), textcoords="offset points", ha="center",
                va="top" if below else "bottom", fontsize=8.5, color=color, weight="bold",
                path_effects=[withStroke(linewidth=2.5, foreground="white")])  # fmt: skip
