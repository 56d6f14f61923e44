"""Compare the LSTM that receives its query point with loops in numpy, and check its inputs."""

import functools

import jax
import numpy as np
import pytest
from loops import (
    BLOCKS,
    CLOCK,
    FREQUENCIES,
    SIZE,
    allclose,
    dense,
    normal,
    place,
    sigmoid,
    time_features,
    trunk64,
)
from weights import random_weights

from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.models import make_model
from tiny_diffusion_jax.point_sets import Conditioning

CELLS = 5
X, TIME = normal(1, 3, 4, 2), np.float32([0.1, 0.5, 1.0])
MASK = np.array([[1, 1, 1, 1], [1, 0, 1, 1], [0, 1, 1, 0]], bool)
LABEL = np.array([1, -1, 0])


@functools.cache
def network(encoder):
    """(model, weights that are all random, as numpy; jitted apply)."""
    config = default_config().model
    config.update(dict(
        name="seq2seq_aligned", labels=True, encoder=encoder, state_dim=CELLS, hidden_dim=SIZE,
        num_blocks=BLOCKS, num_frequencies=FREQUENCIES, scale=2.0, max_period=4.0,
        time_frequencies=CLOCK, time_scale=3.0,
    ))
    model = make_model(config, 2)
    return model, random_weights(model, scale=0.6), jax.jit(model.apply)


def lstm64(weights, rows, per_set, carry):
    """States at all rows, and the last (c, h)."""
    states = []
    for row in rows:
        inside = dense(weights["input"], row) + dense(weights["per_set"], per_set)
        c, h = carry
        i, f, g, o = np.split(inside + h @ np.float64(weights["recurrent"]), 4)
        c = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(g)
        carry = c, sigmoid(o) * np.tanh(c)
        states.append(carry[1])
    return states, carry


def aligned64(weights, encoder, x, time, label):
    """Output for one set without masked points."""
    vector = np.float64(weights["label"]["table"]["embedding"][label])
    per_set, rows = np.concatenate([time_features(time), vector]), [place(point) for point in x]
    empty = np.zeros(CELLS), np.zeros(CELLS)
    states, last = lstm64(weights["encoder"], rows, per_set, empty)
    if encoder == "both":
        back, _ = lstm64(weights["back"], rows[::-1], per_set, empty)
        rows = [np.concatenate(row) for row in zip(rows, states, back[::-1], strict=True)]
    states, _ = lstm64(weights["decoder"], rows, per_set, last)

    return np.array([trunk64(weights["trunk"], point, time, state, vector)
                     for point, state in zip(x, states, strict=True)])  # fmt: skip


@pytest.mark.parametrize("encoder", ["forward", "both"])
def test_it_is_the_loop_over_points_and_skips_masked_points(encoder):
    model, params, apply = network(encoder)
    x = np.where(MASK[..., None], X, np.nan)
    out = np.asarray(apply(params, x, TIME, Conditioning(LABEL, mask=MASK)))
    assert (model.traits.strategy, model.traits.history_source) == ("joint", "")
    for b, row in enumerate([1, 2, 0]):  # label -1 is the last row of the table
        expected = aligned64(params["params"], encoder, X[b, MASK[b]], TIME[b], row)
        allclose(out[b, MASK[b]], expected)


@pytest.mark.parametrize("encoder", ["forward", "both"])
def test_an_output_depends_on_all_points_and_most_on_its_own(encoder):
    """Each output depends on all points, and most on its own point.

    The LSTM of the student project does not receive the point that it predicts.
    """
    _, params, apply = network(encoder)
    conditioning = Conditioning(LABEL[:1], mask=MASK[:1])
    output = lambda x: apply(params, x[None], TIME[:1], conditioning)[0]
    slopes = np.abs(jax.jit(jax.jacobian(output))(X[0])).max((1, 3))  # [output, point]
    assert slopes.min() > 1e-6
    assert (np.diag(slopes) > slopes.mean(1)).all()
