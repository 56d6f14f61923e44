"""Check networks that are conditioned on the number of points of a set."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from weights import random_weights

from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.models import make_model
from tiny_diffusion_jax.point_sets import Conditioning, PointSets


@pytest.mark.parametrize("name", [
    "fourier_mlp", "history", "causal", "set_transformer", "seq2seq", "attention_v2",
])  # fmt: skip
def test_a_size_acts_as_the_map_of_its_sines(name):
    """Replacing W by a bias W waves(n) gives the same output.

    waves(n) has the angles 28 * 128^(-i / 15) log n.
    """
    config = default_config().model
    config.update(name=name, count=True, hidden_dim=8, num_blocks=1, num_frequencies=2,
                  time_frequencies=2, num_heads=2, num_inducing=2, context_dim=8,
                  context_blocks=1, scale=1.0, max_period=2.0)  # fmt: skip
    model = make_model(config)
    rng = np.random.default_rng(0)
    x, history = (rng.normal(size=(2, n, 2)).astype(np.float32) for n in (4, 3))
    history = PointSets(history)
    apply = jax.jit(lambda params, size: model.apply(
        params, x, jnp.full(2, 0.3), Conditioning(size=size, history=history)))  # fmt: skip
    params = random_weights(model, scale=0.4)
    layer = params["params"]["label"]["count"]
    angle = 28 * 128.0 ** (-np.arange(16) / 15) * np.log(20)
    waves = np.concatenate([np.sin(angle), np.cos(angle)])
    bias = np.float32(waves @ layer["kernel"] + layer["bias"])
    moved = {"kernel": np.zeros_like(layer["kernel"]), "bias": bias}
    by_hand = {"params": params["params"] | {"label": params["params"]["label"] | {"count": moved}}}
    output = apply(params, jnp.array([20, 20]))
    np.testing.assert_allclose(output, apply(by_hand, jnp.array([20, 20])), atol=2e-4)
    assert np.abs(output - apply(params, jnp.array([25, 25]))).max() > 5e-3

