"""Check the figure of a training run: rows of metrics.jsonl are drawn at their steps."""

import numpy as np
import pytest
from drawn import panels, texts
from PIL import Image

from tiny_diffusion_jax.figures.loss import loss_figure, smooth
from tiny_diffusion_jax.figures.style import save_figure


def rows(count=60):
    return [
        {
            "step": 50 * (i + 1),
            "loss": 2.0 / (i + 1),
            "grad_norm": 1.0 / (i + 1),
            "steps_per_second": 1234.0,
            "loss_by_time": [4.0 / (i + 1), 2.0, 1.0],
        }
        for i in range(count)
    ]


def test_loss_figure_draws_the_rows(tmp_path):
    figure = loss_figure(rows())
    loss, by_time, grad = panels(figure)
    np.testing.assert_allclose(loss.lines[0].get_xdata(), 50 * np.arange(1, 61))
    np.testing.assert_allclose(loss.lines[0].get_ydata(), 2 / np.arange(1, 61))
    np.testing.assert_allclose(grad.lines[0].get_ydata(), 1 / np.arange(1, 61))
    assert {ax.get_yscale() for ax in panels(figure)} == {"log"}
    assert "Training: 3,000 steps, 1,234 steps/s" in texts(figure)
    assert len(by_time.lines) == 4  # one line per quarter of the training, from early to late
    latest = by_time.lines[-1].get_ydata()
    np.testing.assert_allclose(latest, [np.mean(4 / np.arange(46, 61)), 2, 1])
    save_figure(figure, tmp_path / "loss.png")
    assert Image.open(tmp_path / "loss.png").width > 1_000


def test_loss_figure_takes_gaps_and_repeated_steps():
    log = [*rows(3), {"step": 100, "loss": 7.0}, {"step": 200, "loss": float("nan")}]
    log[0]["loss_by_time"] = [None, 2.0, float("nan")]
    figure = loss_figure(log)
    assert panels(figure)[0].lines[0].get_ydata().tolist() == [2.0, 7.0, pytest.approx(2 / 3)]
    first = panels(figure)[1].lines[0].get_ydata()
    assert np.isnan(first[[0, 2]]).all() and first[1] == 2
    for empty in ([], [{"step": 1}]):
        assert texts(loss_figure(empty)).count("none logged") == 3


def test_the_loss_of_held_out_sets_is_drawn_beside_that_of_the_training():
    log = [row | {"heldout_loss": 1.0 + abs(i - 20) / 10} for i, row in enumerate(rows())]
    log[5]["heldout_loss"] = None
    loss = panels(loss_figure(log))[0]
    [heldout] = [line for line in loss.lines if line.get_label() == "held-out sets"]
    np.testing.assert_allclose(heldout.get_ydata()[-1], 1 + 39 / 10)
    assert len(heldout.get_xdata()) == 59
    legend = [text.get_text() for text in loss.get_legend().get_texts()]
    assert legend == ["training", "held-out sets", "its lowest, step 1,050"]
    assert panels(loss_figure(rows()))[0].get_legend() is None


def testsmoothing_keeps_a_constant_and_a_power_law():
    assert smooth(np.full(200, 3.0)) == pytest.approx(3.0)
    falling = np.exp(-0.01 * np.arange(200))
    inner = slice(0, 195)  # the last five rows are smoothed over past rows only
    assert smooth(falling)[inner] == pytest.approx(falling[inner])
    noisy = np.exp(np.random.default_rng(0).normal(size=200))
    assert np.log(smooth(noisy)).std() < 0.5 * np.log(noisy).std()
