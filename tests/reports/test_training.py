"""Check when a run is said to overfit, and the lowest possible loss."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tiny_diffusion_jax as td
from tiny_diffusion_jax.metrics import score_field
from tiny_diffusion_jax.metrics.score_field import noise
from tiny_diffusion_jax.reports.training import lowest_losses, overfitting


def warning(*losses, keep_best=False, model="", is_table=False):
    config = td.default_config(model)
    config.train.keep_best = keep_best
    rows = [{"step": 10 * i + 10, "heldout_loss": loss} for i, loss in enumerate(losses)]
    dataset = SimpleNamespace(rows=np.zeros((9, 2)) if is_table else None)
    experiment = SimpleNamespace(config=config)
    return overfitting(SimpleNamespace(rows=rows, experiment=experiment, dataset=dataset))


def test_a_held_out_loss_that_rises_is_warned_of():
    text = warning(3.0, 1.0, 1.1, 1.3, keep_best=True)
    assert "held-out loss was 1.0000 at step 20 and is 1.3000 at the end" in text
    assert "keep_best=True" in warning(1.0, 2.0)
    assert "(config.model.hidden_dim) help" in text
    assert "(config.model.hidden_dim, context_dim and context" in warning(1.0, 2.0, model="causal")
    assert "more sets, moved ones" in text
    assert "more rows, jitter (config.data.jitter_std)" in warning(1.0, 2.0, is_table=True)
    for losses in ((3.0, 2.0, 1.0), (3.0, 1.0, 1.01), (None,), ()):
        assert warning(*losses) == ""


def gaussian_run(**options):
    """Report data of a run on a Gaussian of mean (3, 3) and standard deviation 2."""
    draw = lambda key, n: 3 + 2 * jax.random.normal(key, (n, 2))
    log_prob = lambda x: -((x - 3) ** 2).sum(-1) / 8 - jnp.log(8 * jnp.pi)
    options = {f"diffusion.{name}": value for name, value in options.items()}
    setup = td.build(data=draw, log_prob=log_prob, config=options)
    counts = score_field.count(setup.dataset, jax.random.key(0), (-7, 13, -7, 13))
    return SimpleNamespace(experiment=setup, dataset=setup.dataset, counts=counts,
                           has_density=True, key=jax.random.key(1))  # fmt: skip


@pytest.mark.parametrize("levels", ["uniform", "log_normal", "distances"])
def test_the_lowest_loss_by_noise_level_is_of_the_levels_that_training_draws(levels):
    """Compare min(1 / nu^2, 5) nu^2 / (1 + nu^2) over drawn levels, as training bins its loss."""
    data = gaussian_run(levels=levels, weighting="min_snr")
    process = data.experiment.process
    T = process.schedule.num_levels
    t = np.arange(1, T + 1) if levels == "uniform" else np.asarray(process.law)[1:]
    nu2 = np.array(noise(process, t)) ** 2
    exact = np.minimum(1 / nu2, 5) * nu2 / (1 + nu2)
    bins = (t - 1) * 10 // T
    expected = [exact[bins == i].mean() if (bins == i).any() else None for i in range(10)]
    lowest = lowest_losses(data)
    assert lowest["total"] == pytest.approx(exact.mean(), rel=0.02)
    assert [x is None for x in lowest["by_level"]] == [x is None for x in expected]
    known = [i for i in range(10) if expected[i] is not None]
    for i in known:
        assert lowest["by_level"][i] == pytest.approx(expected[i], rel=0.15, abs=5e-4)
    assert (len(known) < 10) == (levels == "distances")


@pytest.mark.parametrize("levels", ["uniform", "log_normal"])
def test_the_lowest_loss_of_one_gaussian_is_1(levels):
    """The loss of F with preconditioning, whose target has variance 1 given x_t."""
    data = gaussian_run(levels=levels)
    lowest = lowest_losses(data)
    assert lowest["total"] == pytest.approx(1, rel=0.01) and len(lowest["by_level"]) == 10
    assert lowest["by_level"] == pytest.approx([1] * 10, rel=0.01)
    data.has_density = False
    assert lowest_losses(data) is None
