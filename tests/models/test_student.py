"""Compare the LSTM and the two attention models with loops; their histories are arguments."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from loops import (
    BLOCKS,
    CLOCK,
    FREQUENCIES,
    SIZE,
    allclose,
    dense,
    lstm64,
    normal,
    place,
    time_features,
    trunk64,
)
from weights import random_weights

from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.models import make_model
from tiny_diffusion_jax.models.student import cycle, forced_sets
from tiny_diffusion_jax.point_sets import Conditioning, PointSets


@functools.cache
def network(name, num_labels=0):
    """(model, weights that are all random, as numpy; jitted apply)."""
    config = default_config().model
    config.update(dict(
        name=name, labels=num_labels > 0, hidden_dim=SIZE, num_blocks=BLOCKS,
        num_frequencies=FREQUENCIES, scale=2.0, max_period=4.0, time_frequencies=CLOCK,
        time_scale=3.0,
    ))
    model = make_model(config, num_labels)
    return model, random_weights(model, scale=0.6), jax.jit(model.apply)


# ---------------------------------------------------------------- loops in float64


def seq2seq64(weights, x, time, label=None, target=None):
    """Output for one set; `target` is given only with teacher forcing."""
    embedding = [] if label is None else [weights["label"]["table"]["embedding"][label]]
    carry = np.zeros(SIZE), np.zeros(SIZE)
    for point in x:
        row = np.concatenate([place(point), time_features(time), *embedding])
        carry = lstm64(weights["encoder"]["lstm"], carry, row)
    answers, row = [], np.float64(weights["start"])
    for i in range(len(x)):
        carry = lstm64(weights["decoder"]["lstm"], carry, row)
        answers.append(dense(weights["decoder"]["to_output"], carry[1]))
        previous = answers[-1] if target is None else target[i]
        row = dense(weights["decoder"]["from_answer"], previous)
    return np.array(answers)


def attention64(weights, version, x, time, history, label=None):
    """Output for one set; `history` contains real points only."""
    embedding = None if label is None else weights["label"]["table"]["embedding"][label]
    layers, outputs = weights["context"], []
    for i, point in enumerate(x):
        context = np.zeros(SIZE)
        if len(history):
            queried = {
                1: place(history[i % len(history)]),
                2: np.concatenate([place(point), time_features(time)]),
            }[version]
            q = dense(layers["query"], queried)
            logits = [q @ dense(layers["key"], place(y)) / np.sqrt(SIZE) for y in history]
            weight = np.exp(logits - np.max(logits))
            weight /= weight.sum()
            context = np.tanh(sum(w * dense(layers["value"], place(y))
                                  for w, y in zip(weight, history, strict=True)))
        outputs.append(trunk64(weights["trunk"], point, time, context, embedding))
    return np.array(outputs)


# ---------------------------------------------------------------- LSTM


X, TARGET = normal(1, 4, 5, 2), normal(2, 4, 5, 2)
TIME = np.float32([0.1, 0.4, 0.7, 1.0])
MASK = np.array([[1, 1, 1, 1, 1], [1, 0, 1, 1, 0], [0, 1, 1, 0, 1], [1, 1, 1, 0, 0]], bool)
FORCED = np.array([True, False, True, False])


def test_a_free_lstm_is_the_loop_over_gates():
    model, params, apply = network("seq2seq")
    out = apply(params, X, TIME)
    assert out.shape == X.shape and out.dtype == jnp.float32
    for b in range(4):
        allclose(out[b], seq2seq64(params["params"], X[b], TIME[b]))


@pytest.mark.parametrize("share, forced", [(0.5, [0, 2]), (0.6, [0, 1, 3]),
                                           (1.0, [0, 1, 2, 3])])
def test_the_decoder_of_forced_sets_reads_the_targets_so_far(share, forced):
    model, params, apply = network("seq2seq")
    out = apply(params, X, TIME, target=TARGET, forced=forced_sets(4, share))
    for b in range(4):
        target = TARGET[b] if b in forced else None
        allclose(out[b], seq2seq64(params["params"], X[b], TIME[b], target=target))


def test_the_lstm_skips_masked_points():
    """The encoder, the decoder and the targets skip masked points."""
    model, params, apply = network("seq2seq", num_labels=3)
    x, target = (np.where(MASK[..., None], a, np.nan) for a in (X, TARGET))
    conditioning = Conditioning(np.array([2, -1, 0, 1]), mask=MASK)
    out = np.asarray(apply(params, x, TIME, conditioning, target=target, forced=FORCED))
    for b, row in enumerate([2, 3, 0, 1]):  # label -1 is the last row of the table
        kept = MASK[b]
        expected = seq2seq64(params["params"], X[b, kept], TIME[b], label=row,
                             target=TARGET[b, kept] if FORCED[b] else None)  # fmt: skip
        allclose(out[b, kept], expected)


def test_masked_points_leave_no_trace_in_the_gradient():
    """Check for NaN as well, because 0 times NaN is NaN."""
    model, params, _ = network("seq2seq")

    @jax.jit
    def slope(x, target):
        def loss(params):
            out = model.apply(params, x, TIME, Conditioning(mask=MASK), target, FORCED)
            return (out**2).sum(where=MASK[..., None])

        return jax.grad(loss)(params)

    x, target = (np.where(MASK[..., None], a, np.nan) for a in (X, TARGET))
    jax.tree.map(allclose, slope(x, target), slope(X, TARGET))


def test_the_decoder_reads_no_target_ahead():
    model, params, apply = network("seq2seq")
    out = apply(params, X, TIME, target=TARGET, forced=FORCED)
    other = TARGET + 9.0 * (np.arange(5) == 2)[:, None]
    changed = np.abs(apply(params, X, TIME, target=other, forced=FORCED) - out)
    assert changed[:, :3].max() == 0  # the target of step 2 is an input of step 3
    assert changed[[0, 2], 3:].min(axis=(1, 2)).min() > 1e-4
    assert changed[[1, 3]].max() == 0


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 2 / 3, 1.0])
def test_forced_sets_are_spread_evenly(share):
    for num_sets in (1, 2, 7, 32):
        forced = forced_sets(num_sets, share)
        assert forced.dtype == bool and forced.shape == (num_sets,)
        assert forced.sum() == np.ceil(share * num_sets)
        total = np.concatenate([[0], np.cumsum(forced)])
        assert np.abs(total - share * np.arange(num_sets + 1)).max() < 1


# ---------------------------------------------------------------- attention over a history


HISTORY = normal(3, 4, 3, 2)
# all points, two points with a gap, one point, no point
PRESENT = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0]], bool)
VERSIONS = pytest.mark.parametrize("version", [1, 2])


@VERSIONS
@pytest.mark.parametrize("num_labels", [0, 3])
def test_attention_is_the_loop_over_points(version, num_labels):
    model, params, apply = network(f"attention_v{version}", num_labels)
    points = np.where(PRESENT[..., None], HISTORY, np.nan)
    label = np.array([1, -1, 2, 0])
    out = apply(params, X, TIME, Conditioning(history=PointSets(points, PRESENT), label=label))
    for b, row in enumerate([1, 3, 2, 0]):
        row = row if num_labels else None
        history = HISTORY[b, PRESENT[b]]
        allclose(out[b], attention64(params["params"], version, X[b], TIME[b], history, row))


@VERSIONS
def test_an_empty_history_is_a_context_of_zeros(version):
    model, params, apply = network(f"attention_v{version}")
    weights = {"params": params["params"]["trunk"]}
    expected = jax.jit(model.trunk.apply)(weights, X, TIME, per_point=jnp.zeros((4, 5, SIZE)))
    output = lambda history: apply(params, X, TIME, Conditioning(history=history))
    masked = PointSets(HISTORY, np.zeros((4, 3), bool))
    for empty in (None, PointSets(HISTORY[:, :0]), masked):
        np.testing.assert_allclose(output(empty), expected, atol=1e-6)
    assert np.abs(output(PointSets(HISTORY)) - expected).max() > 1e-2


@VERSIONS
def test_attention_weights_are_recorded(version):
    model, params, _ = network(f"attention_v{version}")
    apply = jax.jit(lambda history: model.apply(
        params, X, TIME, Conditioning(history=history), mutable="intermediates"
    ))
    (weights,) = apply(PointSets(HISTORY, PRESENT))[1]["intermediates"]["context"]["attention"]
    assert weights.shape == (4, 1, 5, 3)
    allclose(weights.sum(-1)[:3], 1.0)
    assert not weights[3].any()  # an empty history
    assert not weights[~np.broadcast_to(PRESENT[:, None, None], weights.shape)].any()
    if version == 1:  # the queries are the points of the history in turn, not the noisy points
        np.testing.assert_array_equal(weights[0, 0, 3:], weights[0, 0, :2])
        assert np.abs(weights[0, 0, 0] - weights[0, 0, 1]).max() > 1e-3


def test_points_are_taken_in_turn():
    points = np.arange(8.0).reshape(2, 4, 1)
    mask = np.array([[0, 1, 0, 1], [1, 1, 1, 0]], bool)
    index = np.array([[0, 1, 2, 5, 6], [4, 3, 2, 1, 0]])
    expected = [[1, 3, 1, 3, 1], [5, 4, 6, 5, 4]]
    np.testing.assert_array_equal(jax.jit(cycle)(points, mask, index)[..., 0], expected)


# ---------------------------------------------------------------- no hidden state


@pytest.mark.parametrize("name", ["seq2seq", "attention_v1", "attention_v2"])
def test_nothing_is_remembered_between_calls(name):
    model, params, apply = network(name)
    assert set(params) == {"params"}  # no other collection, so no state to carry
    before = jax.tree.map(np.copy, params)
    output = lambda x, points: np.asarray(
        apply(params, x, TIME, Conditioning(history=PointSets(points)))
    )
    first = output(X, HISTORY)
    output(-X, 5 * HISTORY)
    np.testing.assert_array_equal(first, output(X, HISTORY))
    jax.tree.map(np.testing.assert_array_equal, params, before)


@pytest.mark.parametrize("name, strategy, history_source", [
    ("seq2seq", "joint", ""),
    ("attention_v1", "autoregressive", "previous_batch"),
    ("attention_v2", "autoregressive", "previous_batch"),
    ("attention_v1_same_set", "autoregressive", "same_set"),
    ("attention_v2_same_set", "autoregressive", "same_set"),
])
def test_traits_of_the_models(name, strategy, history_source):
    traits = network(name)[0].traits
    assert (traits.strategy, traits.history_source) == (strategy, history_source)
    assert not traits.completes

