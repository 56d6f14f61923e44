"""Check when a run is said to overfit."""

from types import SimpleNamespace

import tiny_diffusion_jax as td
from tiny_diffusion_jax.reports.training import overfitting


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
