"""Check when a run is said to overfit, and the lowest possible loss."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

import tiny_diffusion_jax as td
from tiny_diffusion_jax.metrics import score_field
from tiny_diffusion_jax.reports.training import lowest_losses, overfitting


def warning(*losses, keep_best=False):
    config = td.default_config()
    config.train.keep_best = keep_best
    rows = [{"step": 10 * i + 10, "heldout_loss": loss} for i, loss in enumerate(losses)]
    return overfitting(SimpleNamespace(rows=rows, experiment=SimpleNamespace(config=config)))


def test_a_held_out_loss_that_rises_is_warned_of():
    text = warning(3.0, 1.0, 1.1, 1.3, keep_best=True)
    assert "held-out loss was 1.0000 at step 20 and is 1.3000 at the end" in text
    assert "keep_best=True" in warning(1.0, 2.0)
    for losses in ((3.0, 2.0, 1.0), (3.0, 1.0, 1.01), (None,), ()):
        assert warning(*losses) == ""


@pytest.mark.parametrize("levels", ["uniform", "log_normal"])
def test_the_lowest_loss_of_one_gaussian_is_1(levels):
    """The loss of F with preconditioning, whose target has variance 1 given x_t."""
    draw = lambda key, n: 3 + 2 * jax.random.normal(key, (n, 2))
    log_prob = lambda x: -((x - 3) ** 2).sum(-1) / 8 - jnp.log(8 * jnp.pi)
    setup = td.build(data=draw, log_prob=log_prob, config={"diffusion.levels": levels})
    counts = score_field.count(setup.dataset, jax.random.key(0), (-7, 13, -7, 13))
    data = SimpleNamespace(experiment=setup, dataset=setup.dataset, counts=counts, has_density=True,
                           key=jax.random.key(1))  # fmt: skip
    lowest = lowest_losses(data)
    assert lowest["total"] == pytest.approx(1, rel=0.01) and len(lowest["by_level"]) == 10
    assert lowest["by_level"] == pytest.approx([1] * 10, rel=0.01)
    data.has_density = False
    assert lowest_losses(data) is None
