"""Draw the points of a set by their attention weights."""

import math

import numpy as np

from tiny_diffusion_jax.figures import style
from tiny_diffusion_jax.figures.page import Page

SHADES = ("#b9b7b2", "#f4ae76", style.SAMPLES, "#5c1a2b")  # from small to large weights


def attention_figure(points, weights, queries, title):
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
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm

    points, weights = np.asarray(points), np.asarray(weights, np.float64)
    title += ", seen along z" if points.shape[1] > 2 else ""
    points, queries = points[:, :2], queries if queries is None else np.asarray(queries)[:, :2]
    if not 1 <= len(weights) <= 6:
        raise ValueError(f"{len(weights)} queries: must be 1..6")
    limits = style.square_limits(points if queries is None else np.concatenate([points, queries]))
    top = float(weights.max()) or 1.0
    colors = LinearSegmentedColormap.from_list("weight", SHADES)
    scale = ScalarMappable(PowerNorm(0.5, 0, top), colors)
    columns = len(weights) if len(weights) <= 3 else math.ceil(len(weights) / 2)
    page = Page(title, columns)
    row = page.panels(math.ceil(len(weights) / columns))
    for q, weight in enumerate(weights):
        ax = page.panel(row + q // columns, q % columns, limits)
        _draw(ax, points, weight, scale, page.side, None if queries is None else queries[q])
        equal = _effective(weight)
        text = f"attends to {equal:.{0 if equal >= 9.95 else 1}f} of {len(points):,} points"
        ax.set_title(text, loc="left", fontsize=8.5, color=style.MUTED, pad=4)
    bar = style.color_bar(scale, ax, {0: "0", top / 4: f"{top / 4:.2g}", top: f"{top:.2g}"})
    bar.set_title("weight", fontsize=8, color=style.MUTED, pad=8, loc="left")
    return page.finish()


def _draw(ax, points, weights, scale, side: float, query) -> None:
    """Draw points by weight, the largest weight on top, and a cross at the query."""
    order = np.argsort(weights)
    base = np.clip(12 * side / math.sqrt(len(points)), 0.8, 2.5) ** 2
    area = base + (4 * side) ** 2 * weights[order] / scale.norm.vmax
    shades = scale.cmap(scale.norm(weights[order]))
    ax.scatter(*points[order].T, s=area, c=shades, alpha=0.85, linewidths=0)
    for thick, color in ((2.6, "white"), (1.2, style.INK)) if query is not None else ():
        ax.plot(*query, "x", color=color, markersize=5.5, mew=thick)


def _effective(weights) -> float:
    """exp of the entropy of weights[N], scaled to sum to 1."""
    shares = weights / max(weights.sum(), 1e-300)
    return math.exp(-float(np.sum(shares * np.log(np.maximum(shares, 1e-300)))))
