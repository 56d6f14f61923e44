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

from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.dataset import PointSets
from tiny_diffusion_jax.models import make_model
from tiny_diffusion_jax.models.student import cycle, forced_sets
from tiny_diffusion_jax.point_sets import Conditioning


@functools.cache
def network(name, num_labels=0, share=0.5):
    """(model, weights that are all random, as numpy; jitted apply)."""
    config = default_config().model
    config.update(dict(
        name=name, labels=num_labels > 0, teacher_forcing=share, hidden_dim=SIZE,
        num_blocks=BLOCKS, num_frequencies=FREQUENCIES, scale=2.0, max_period=4.0,
        time_frequencies=CLOCK, time_scale=3.0,
    ))
    model = make_model(config, num_labels)
    x = jnp.zeros((1, 2, 2))
    shapes = jax.eval_shape(lambda key: model.init(
        key, x, jnp.zeros(1), Conditioning(history=PointSets(x), label=jnp.zeros(1, int))
    ), jax.random.key(0))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda a: np.float32(0.6 * rng.normal(size=a.shape)), shapes)
    return model, params, jax.jit(model.apply)


# ---------------------------------------------------------------- loops in float64


def seq2seq64(weights, x, time, label=None, target=None):
    """Output for one set; `target` is given only with teacher forcing."""
    known = [] if label is None else [weights["label"]["table"]["embedding"][label]]
    carry = np.zeros(SIZE), np.zeros(SIZE)
    for point in x:
        row = np.concatenate([place(point), time_features(time), *known])
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
    known = None if label is None else weights["label"]["table"]["embedding"][label]
    own, outputs = weights["context"], []
    for i, point in enumerate(x):
        context = np.zeros(SIZE)
        if len(history):
            asking = {
                1: place(history[i % len(history)]),
                2: np.concatenate([place(point), time_features(time)]),
            }[version]
            q = dense(own["query"], asking)
            logits = [q @ dense(own["key"], place(y)) / np.sqrt(SIZE) for y in history]
            weight = np.exp(logits - np.max(logits))
            weight /= weight.sum()
            context = np.tanh(sum(w * dense(own["value"], place(y))
                                  for w, y in zip(weight, history, strict=True)))
        outputs.append(trunk64(weights["trunk"], point, time, context, known))
    return np.array(outputs)


# ---------------------------------------------------------------- LSTM


X, TARGET = normal(1, 4, 5, 2), normal(2, 4, 5, 2)
TIME = np.float32([0.1, 0.4, 0.7, 1.0])
MASK = np.array([[1, 1, 1, 1, 1], [1, 0, 1, 1, 0], [0, 1, 1, 0, 1], [1, 1, 1, 0, 0]], bool)


def test_a_free_lstm_is_the_loop_over_gates():
    model, params, apply = network("seq2seq")
    out = apply(params, X, TIME)
    assert out.shape == X.shape and out.dtype == jnp.float32
    for b in range(4):
        allclose(out[b], seq2seq64(params["params"], X[b], TIME[b]))


@pytest.mark.parametrize("share, forced", [(0.5, [0, 2]), (0.6, [0, 1, 3]),
                                           (1.0, [0, 1, 2, 3])])
def test_forced_sets_are_told_the_answers_so_far(share, forced):
    model, params, apply = network("seq2seq", share=share)
    out = apply(params, X, TIME, target=TARGET)
    for b in range(4):
        known = TARGET[b] if b in forced else None
        allclose(out[b], seq2seq64(params["params"], X[b], TIME[b], target=known))


def test_the_lstm_passes_masked_points_by():
    """The encoder, the decoder and the targets skip masked points."""
    model, params, apply = network("seq2seq", num_labels=3)
    x, target = (np.where(MASK[..., None], a, np.nan) for a in (X, TARGET))
    label = np.array([2, -1, 0, 1])
    out = np.asarray(
        apply(params, x, TIME, target=target, conditioning=Conditioning(mask=MASK, label=label))
    )
    for b, row in enumerate([2, 3, 0, 1]):  # label -1 is the last row of the table
        there = MASK[b]
        known = TARGET[b, there] if b in [0, 2] else None
        alone = seq2seq64(params["params"], X[b, there], TIME[b], label=row, target=known)
        allclose(out[b, there], alone)


def test_masked_points_leave_no_trace_in_the_gradient():
    """Check for NaN as well, because 0 times NaN is NaN."""
    model, params, _ = network("seq2seq")

    @jax.jit
    def slope(x, target):
        def loss(params):
            out = model.apply(params, x, TIME, target=target, conditioning=Conditioning(mask=MASK))
            return (out**2).sum(where=MASK[..., None])

        return jax.grad(loss)(params)

    x, target = (np.where(MASK[..., None], a, np.nan) for a in (X, TARGET))
    jax.tree.map(allclose, slope(x, target), slope(X, TARGET))


def test_the_decoder_is_told_no_answer_ahead():
    model, params, apply = network("seq2seq")
    out = apply(params, X, TIME, target=TARGET)
    other = TARGET + 9.0 * (np.arange(5) == 2)[:, None]
    changed = np.abs(apply(params, X, TIME, target=other) - out)
    assert changed[:, :3].max() == 0  # the target of step 2 is an input of step 3
    assert changed[[0, 2], 3:].min(axis=(1, 2)).min() > 1e-4
    assert changed[[1, 3]].max() == 0


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 2 / 3, 1.0])
def test_forced_sets_are_spread_evenly(share):
    for num_sets in (1, 2, 7, 32):
        forced = forced_sets(num_sets, share)
        assert forced.dtype == bool and forced.shape == (num_sets,)
        assert forced.sum() == np.ceil(share * num_sets)
        count = np.concatenate([[0], np.cumsum(forced)])
        assert np.abs(count - share * np.arange(num_sets + 1)).max() < 1


# ---------------------------------------------------------------- attention over a history


HISTORY = normal(3, 4, 3, 2)
# all points, two points with a gap, one point, no point
THERE = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0]], bool)
VERSIONS = pytest.mark.parametrize("version", [1, 2])


@VERSIONS
@pytest.mark.parametrize("num_labels", [0, 3])
def test_attention_is_the_loop_over_points(version, num_labels):
    model, params, apply = network(f"attention_v{version}", num_labels)
    points = np.where(THERE[..., None], HISTORY, np.nan)
    label = np.array([1, -1, 2, 0])
    out = apply(params, X, TIME, Conditioning(history=PointSets(points, THERE), label=label))
    for b, row in enumerate([1, 3, 2, 0]):
        row = row if num_labels else None
        own = HISTORY[b, THERE[b]]
        allclose(out[b], attention64(params["params"], version, X[b], TIME[b], own, row))


@VERSIONS
def test_an_empty_history_is_a_context_of_zeros(version):
    model, params, apply = network(f"attention_v{version}")
    weights = {"params": params["params"]["trunk"]}
    alone = jax.jit(model.trunk.apply)(weights, X, TIME, per_point=jnp.zeros((4, 5, SIZE)))
    nobody = PointSets(HISTORY, np.zeros((4, 3), bool))
    for empty in (None, PointSets(HISTORY[:, :0]), nobody):
        np.testing.assert_allclose(
            apply(params, X, TIME, Conditioning(history=empty)), alone, atol=1e-6
        )
    assert (
        np.abs(apply(params, X, TIME, Conditioning(history=PointSets(HISTORY))) - alone).max()
        > 1e-2
    )


@VERSIONS
def test_attention_weights_are_shown(version):
    model, params, _ = network(f"attention_v{version}")
    apply = jax.jit(lambda history: model.apply(
        params, X, TIME, Conditioning(history=history), mutable="intermediates"
    ))
    (weights,) = apply(PointSets(HISTORY, THERE))[1]["intermediates"]["context"]["attention"]
    assert weights.shape == (4, 1, 5, 3)
    allclose(weights.sum(-1)[:3], 1.0)
    assert not weights[3].any()  # an empty history
    assert not weights[~np.broadcast_to(THERE[:, None, None], weights.shape)].any()
    if version == 1:  # the queries are the history's points in turn, whatever the point that asks
        np.testing.assert_array_equal(weights[0, 0, 3:], weights[0, 0, :2])
        assert np.abs(weights[0, 0, 0] - weights[0, 0, 1]).max() > 1e-3


def test_points_are_taken_in_turn():
    points = np.arange(8.0).reshape(2, 4, 1)
    there = np.array([[0, 1, 0, 1], [1, 1, 1, 0]], bool)
    index = np.array([[0, 1, 2, 5, 6], [4, 3, 2, 1, 0]])
    expected = [[1, 3, 1, 3, 1], [5, 4, 6, 5, 4]]
    np.testing.assert_array_equal(jax.jit(cycle)(points, there, index)[..., 0], expected)


# ---------------------------------------------------------------- no hidden state


@pytest.mark.parametrize("name", ["seq2seq", "attention_v1", "attention_v2"])
def test_nothing_is_remembered_between_calls(name):
    model, params, apply = network(name)
    assert set(params) == {"params"}  # no other collection, so no state to carry
    before = jax.tree.map(np.copy, params)
    first = np.asarray(apply(params, X, TIME, Conditioning(history=PointSets(HISTORY))))
    apply(params, -X, TIME, Conditioning(history=PointSets(5 * HISTORY)))
    again = np.asarray(apply(params, X, TIME, Conditioning(history=PointSets(HISTORY))))
    np.testing.assert_array_equal(first, again)
    jax.tree.map(np.testing.assert_array_equal, params, before)


@pytest.mark.parametrize("name, generation, shown", [
    ("seq2seq", "joint", ""),
    ("attention_v1", "chain", "previous_batch"),
    ("attention_v2", "chain", "previous_batch"),
    ("attention_v1_own", "chain", "same_set"),
    ("attention_v2_own", "chain", "same_set"),
])
def test_what_a_model_says_of_itself(name, generation, shown):
    traits = network(name)[0].traits
    assert (traits.generation, traits.shown, traits.latent_dim) == (generation, shown, 0)
    assert not traits.completes
