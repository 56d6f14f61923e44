"""Check the figure of attention weights: one scale, and a panel and a cross for each query."""

import numpy as np
import pytest
from drawn import all_inside, texts

from tiny_diffusion_jax.figures.attention import attention_figure
from tiny_diffusion_jax.figures.style import save_figure

SETS = np.random.default_rng(0).normal(size=(2, 20, 2)).astype(np.float32)


def weights_of(queries, points, width):
    w = np.exp(-((points[None] - queries[:, None]) ** 2).sum(-1) / width)
    return w / w.sum(1, keepdims=True)


@pytest.mark.parametrize("count", [1, 3, 4, 6])
def test_a_panel_for_each_query_with_its_cross_and_the_heaviest_points_largest(count):
    points, queries = SETS[0], SETS[1, :count]
    w = weights_of(queries, points, 0.5)
    figure = attention_figure(points, w, queries, "a title")
    panels = [ax for ax in figure.axes if ax.lines]
    assert len(panels) == count and "a title" in texts(figure)
    for q, ax in enumerate(panels):
        order = np.argsort(w[q])
        drawn = ax.collections[0]
        np.testing.assert_allclose(drawn.get_offsets(), points[order])
        sizes = drawn.get_sizes()
        assert (np.diff(sizes) >= 0).all() and sizes[-1] > sizes[0]
        colors = drawn.get_facecolors()
        assert colors[-1, :3].sum() < colors[0, :3].sum()
        np.testing.assert_allclose(ax.lines[0].get_xydata()[0], queries[q])
    assert all_inside(figure)


def test_the_panels_share_one_scale_and_say_how_many_points_count():
    points = SETS[0]
    w = np.stack([np.eye(20)[3], np.full(20, 1 / 20)])
    figure = attention_figure(points, w, points[:2], "t")
    assert {"attends to 1.0 of 20 points", "attends to 20 of 20 points"} <= set(texts(figure))
    sharp, flat = [ax.collections[0] for ax in figure.axes if ax.lines]
    assert sharp.get_sizes().max() > 3 * flat.get_sizes().max()
    # the other half of the attention goes to other tokens
    half = attention_figure(points, w / 2, points[:2], "t")
    assert "attends to 20 of 20 points" in texts(half)


def test_queries_may_be_no_points_and_are_at_most_six():
    w = np.full((2, 20), 1 / 20)
    figure = attention_figure(SETS[0], w, None, "t")
    assert not any(ax.lines for ax in figure.axes[:2])
    for count in (0, 7):
        with pytest.raises(ValueError, match=f"{count} queries"):
            attention_figure(SETS[0], np.ones((count, 20)), SETS[1, :count], "t")


def test_attention_png_repeats(tmp_path):
    w = weights_of(SETS[1, :2], SETS[0], 1.0)
    for name in "ab":
        save_figure(attention_figure(SETS[0], w, SETS[1, :2], "t"), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


