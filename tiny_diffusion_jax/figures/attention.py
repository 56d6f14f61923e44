"""Draw the points of a set by their attention weights."""

import math

import numpy as np

from tiny_diffusion_jax.figures.page import (
    EDGE,
    GAP,
    INK,
    MUTED,
    SAMPLES,
    WIDTH,
    Page,
    square_limits,
)

SHADES = ("#b9b7b2", "#f4ae76", SAMPLES, "#5c1a2b")  # from small to large weights


def attention_figure(points, weights, queries, title, note=""):
    """Draw the attention weights of up to six queries, one panel per query.

    `points: f32[N, D]`: the set or the history. `weights: f32[Q, N]`: the weight of each point for
    each query, 0 or more. `queries: f32[Q, D]`, drawn as crosses; None for queries that are not
    points. The area of a dot grows with its weight, and its colour changes from grey to dark. All
    panels share one scale. The text above each panel is the number of points with equal weights and
    the same entropy:

        exp(-sum_n w_n log w_n),   1 (one point) to N (all alike), for w scaled to sum to 1.

    Points in space are drawn seen along z, and the title adds these words. Raises ValueError for no
    query or more than six.
    """
    points, weights = np.asarray(points), np.asarray(weights, np.float64)
    title += ", seen along z" if points.shape[1] > 2 else ""
    points, queries = points[:, :2], queries if queries is None else np.asarray(queries)[:, :2]
    count = len(weights)
    if not 1 <= count <= 6:
        raise ValueError(f"{count} queries: must be 1..6")
    limits = square_limits(points if queries is None else np.concatenate([points, queries]))
    scale = _scale(float(weights.max()) or 1.0)
    columns = count if count <= 3 else math.ceil(count / 2)
    side = min(WIDTH / columns, WIDTH / 2.4)
    page = Page(columns * side + 2 * EDGE + 0.75, title, note)
    for q in range(count):
        if q % columns == 0:
            page.room(0.3 + side)
        x, y = EDGE + q % columns * side + GAP / 2, GAP / 2
        equal = _effective(weights[q])
        text = f"attends to {equal:.{0 if equal >= 9.95 else 1}f} of {len(points):,} points"
        page.text(x, y + side - GAP + 0.13, text, MUTED, 8.5)
        ax = page.panel(x, y, side - GAP, limits)
        _draw(ax, points, weights[q], scale, side, None if queries is None else queries[q])
    _draw_bar(page.axes(EDGE + columns * side + 0.06, GAP / 2, 0.11, side - GAP), scale)
    return page.finish()


def _scale(top: float):
    """Colours of weights from 0 to `top`."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm

    colors = LinearSegmentedColormap.from_list("weight", SHADES)
    return ScalarMappable(PowerNorm(0.5, 0, top), colors)


def _draw(ax, points, weights, scale, side: float, query) -> None:
    """Draw points by weight, the largest weight on top, and a cross at the query."""
    order = np.argsort(weights)
    base = np.clip(12 * side / math.sqrt(len(points)), 0.8, 2.5) ** 2
    area = base + (4 * side) ** 2 * weights[order] / scale.norm.vmax
    shades = scale.cmap(scale.norm(weights[order]))
    ax.scatter(*points[order].T, s=area, c=shades, alpha=0.85, linewidths=0)
    for thick, color in ((2.6, "white"), (1.2, INK)) if query is not None else ():
        ax.plot(*query, "x", color=color, markersize=5.5, mew=thick)


def _draw_bar(bar, scale) -> None:
    top = scale.norm.vmax
    bar.figure.colorbar(scale, cax=bar).outline.set_visible(False)
    bar.set_yticks([0, top / 4, top], ["0", f"{top / 4:.2g}", f"{top:.2g}"])
    bar.set_yticks([], minor=True)
    bar.tick_params(length=0, labelsize=8, labelcolor=MUTED)
    bar.set_title("weight", fontsize=8, color=MUTED, pad=8, loc="left")


def _effective(weights) -> float:
    """exp of the entropy of weights[N], scaled to sum to 1."""
    shares = weights / max(weights.sum(), 1e-300)
    return math.exp(-float(np.sum(shares * np.log(np.maximum(shares, 1e-300)))))
