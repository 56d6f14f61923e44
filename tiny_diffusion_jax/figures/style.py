"""The common style of all figures: colours, dots, headings and limits.

Data are slate blue and samples burnt orange, on white paper. Dense regions are darker, so a figure
is readable in grey print. There is no pyplot and no global style, so equal input gives equal bytes.
"""

from pathlib import Path

import numpy as np

from tiny_diffusion_jax.files import atomic

PAPER, INK, MUTED, RULE = "#fbfaf7", "#22303c", "#7d8790", "#d9d6cf"
DATA, SAMPLES, ALERT = "#2b4a6f", "#d9622b", "#b3261e"
DENSITY = ("#ffffff", "#fde6cf", "#f4ae76", SAMPLES, "#8f2d3a", "#33132e")  # low to high
WARM = (PAPER, "#f4ae76", SAMPLES, "#8f2d3a")  # dots of an animation, from one to many
COOL = (PAPER, "#9fb4cc", DATA, "#101d33")
# Colours of the members of a mixture, of labels and of other kinds, in the order of a legend. None
# of them is the colour of data or samples, because sets of a member are often both. Colour-blind
# readers can distinguish them: as seen without red or green cones, any two of the ten, data and
# samples differ by 0.072 in OKLab, and any two of the first four, data and samples by 0.12.
# web/static/page.css has the same colours, and colours of the same hues for dark pages.
MEMBERS = (
    "#358389", "#9320b9", "#095710", "#4c95ec", "#c858b1", "#54a384", "#5d1618", "#a0ad34",
    "#716d57", "#1f253e",
)  # fmt: skip
MAX_DOTS = 20_000  # more dots would be a filled shape, and slow to draw.
DPI = 160


def member_color(member: int) -> str:
    """Colour of a member of a mixture, or of a label; the colours repeat after ten."""
    return MEMBERS[member % len(MEMBERS)]


def views(dim: int) -> list[tuple[int, int]]:
    """Pairs of coordinates that show points f32[n, dim]: one pair in the plane, three in space.

    Points with more than three coordinates are shown by the first three.
    """
    return [(0, min(1, dim - 1))] if dim < 3 else [(0, 1), (0, 2), (1, 2)]


def view_limits(limits, view: tuple[int, int]) -> tuple[float, float, float, float]:
    """(left, right, bottom, top) of one of `views`, from the `square_limits` of all coordinates."""
    return tuple(limits[2 * axis + end] for axis in view for end in (0, 1))


def square_limits(points) -> tuple[float, ...]:
    """Square that holds points f32[n, 2] with a margin: (left, right, bottom, top).

    For D coordinates, the cube: low and high of each coordinate, 2 D numbers.
    """
    low, high = points.min(0), points.max(0)
    centre, half = (low + high) / 2, 0.56 * max(float((high - low).max()), smallest_side(points))
    return tuple(float(v) for c in centre for v in (c - half, c + half))


def smallest_side(points) -> float:
    """Side of the square for points f[...] that all coincide: 1e-6, or less near 0."""
    return 1e-6 * min(1.0, float(np.abs(points).max())) or 1e-6


def outside(points, limits) -> int:
    """Number of points f32[..., D] that are not within the limits."""
    low, high = np.reshape(limits, (-1, 2)).T
    return int((~((low <= points) & (points <= high))).any(-1).sum())


def dots(ax, points, color: str, side: float, count: int, ring: str | None = None) -> None:
    """Draw points f32[n, 2] of a set of `count` in a panel `side` inches wide.

    Sets with fewer points have larger dots. `ring`: colour of a ring around each dot.
    """
    diameter = np.clip(30 * side / count**0.5, 0.9, min(3.2 * side, 5))
    alpha = float(np.clip(450 * side / count, 0.3, 0.8))
    edge = {"linewidths": 0} if ring is None else {"linewidths": 0.8, "edgecolors": ring}
    ax.scatter(*points[:MAX_DOTS].T, s=diameter**2, facecolors=color, alpha=alpha, **edge)


def heading(ax, name: str, color: str, note: str) -> None:
    """Write `name` in its colour at the upper left of a panel, and `note` in grey at its right."""
    ax.set_title(name, loc="left", fontsize=10, weight="bold", color=color, pad=6)
    ax.set_title(note, loc="right", fontsize=8.5, color=MUTED, pad=6)


def color_bar(mappable, ax, ticks: dict[float, str]):
    """Draw the colours of `mappable` at the right of a panel; return the axes of the colours."""
    bar = ax.figure.colorbar(mappable, ax=ax, aspect=32, fraction=0.04, pad=0.03)
    bar.outline.set_visible(False)
    bar.ax.set_yticks([*ticks], [*ticks.values()])
    bar.ax.set_yticks([], minor=True)
    bar.ax.tick_params(length=0, labelsize=8, labelcolor=MUTED)
    return bar.ax


def quiet(ax) -> None:
    """Draw thin pale axes on white."""
    ax.set_facecolor("white")
    ax.tick_params(which="both", length=2.5, color=RULE, labelsize=8, labelcolor=MUTED)
    for side in ax.spines.values():
        side.set(color=RULE, linewidth=0.8)


def save_figure(figure, path) -> None:
    """Write a figure as a PNG at `DPI` dots per inch, completely or not at all."""
    with atomic(Path(path)) as file:
        figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
