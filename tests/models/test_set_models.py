"""Check the interface of all denoisers: order, masks, batches, histories, labels, latents."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from weights import random_weights

from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.models import MODELS, make_model
from tiny_diffusion_jax.point_sets import Conditioning, PointSets

# The models of the same set are the attention models with other batches in training.
VARIANTS = {name: {} for name in MODELS if not name.endswith("_same_set")} | {
    "set_transformer": dict(num_inducing=3),
    "set_transformer, full attention": dict(name="set_transformer", num_inducing=0),
}
# models whose output depends on the order of the points
ORDERED = {"seq2seq", "seq2seq_aligned", "attention_v1"}
READERS = {"history", "causal", "set_latent", "attention_v1", "attention_v2"}  # with a history
EVERY = pytest.mark.parametrize("variant", VARIANTS)
READING = pytest.mark.parametrize("variant", sorted(READERS))
NUM_LABELS = 3


def model_config(**changes):
    config = default_config().model
    small = dict(hidden_dim=16, num_heads=2, num_blocks=2, num_frequencies=4, time_frequencies=4,
                 latent_dim=6, context_dim=16, context_blocks=2, scale=3.0, max_period=4.0,
                 time_scale=5.0)  # fmt: skip
    config.update(small | changes)
    return config


def variant_config(variant, **changes):
    return model_config(**dict(name=variant) | VARIANTS[variant] | changes)


@functools.cache
def network(variant, num_labels=NUM_LABELS):
    """(model, weights, jitted apply) with random weights, because zeros would hide errors."""
    model = make_model(variant_config(variant, labels=num_labels > 0), num_labels)
    return model, random_weights(model), jax.jit(model.apply, static_argnames="method")


def normal(seed, *shape):
    return np.float32(np.random.default_rng(seed).normal(size=shape))


# Three sets of five points and two masked points, with a history of four points and two masked
# points. All tests use these shapes, so that each model is compiled once.
B, N, M = 3, 5, 4
MASK = np.array([[1, 1, 1, 1, 1, 0, 0], [0, 1, 1, 0, 1, 1, 1], [1, 0, 1, 1, 1, 0, 1]], bool)
SEEN = np.array([[1, 1, 1, 1, 0, 0], [0, 1, 1, 1, 0, 1], [1, 0, 1, 1, 1, 0]], bool)
X, HISTORY = normal(1, B, N, 2), normal(2, B, M, 2)
TIME, LABEL = np.float32([0.1, 0.5, 0.9]), np.array([2, 0, 1])


def pad(points, mask, fill):
    out = np.full((*mask.shape, 2), fill, np.float32)
    out[mask] = points.reshape(-1, 2)
    return out


def call(variant, x=X, history=HISTORY, seen=SEEN, label=LABEL, fill=0.0, time=TIME):
    """Output f32[B, N, 2] at the real points; all other points are set to `fill`."""
    model, params, apply = network(variant)
    conditioning = Conditioning(
        label, history=PointSets(pad(history, SEEN, fill), seen), mask=MASK
    )
    out = apply(params, pad(x, MASK, fill), time, conditioning)
    assert out.shape == (*MASK.shape, 2) and out.dtype == jnp.float32
    return np.asarray(out)[MASK].reshape(B, N, 2)


def call_bare(variant):
    """Output of the network in `call`, but without history and label."""
    model, params, apply = network(variant)
    out = apply(params, pad(X, MASK, 0), TIME, Conditioning(mask=MASK))
    return np.asarray(out)[MASK].reshape(B, N, 2)


def same(a, b):
    np.testing.assert_allclose(a, b, atol=2e-5, rtol=1e-4)


def distance(a, b):
    """Largest difference in each set, f32[B]."""
    return np.abs(a - b).max(axis=(1, 2))


def test_every_model_is_tested():
    tested = {config.get("name", key) for key, config in VARIANTS.items()}
    assert {MODELS[name][0] for name in tested} == {module for module, _ in MODELS.values()}


# ---------------------------------------------------------------- order, masks, batches


@EVERY
def test_another_order_of_the_points_orders_the_output(variant):
    order = np.array([3, 0, 4, 1, 2])
    out, moved = call(variant), call(variant, X[:, order])
    if variant in ORDERED:
        assert distance(moved, out[:, order]).min() > 1e-3
    else:
        same(moved, out[:, order])
    assert distance(out, out[:, order]).min() > 1e-2


@EVERY
@pytest.mark.parametrize("fill", [3e4, np.nan])
def test_the_values_of_masked_points_change_nothing(variant, fill):
    same(call(variant, fill=fill), call(variant))


@EVERY
def test_a_single_unpadded_set_has_the_output_of_the_batch(variant):
    """Batches equal single sets, and padded inputs equal unpadded ones (points and history)."""
    model, params, apply = network(variant)
    out = call(variant, fill=np.nan)
    for b in range(B):
        one = slice(b, b + 1)
        conditioning = Conditioning(LABEL[one], history=PointSets(HISTORY[one]))
        same(apply(params, X[one], TIME[one], conditioning), out[one])


@EVERY
def test_a_set_does_not_see_its_neighbours(variant):
    index = np.array([0, 1, 0])
    out = call(variant)
    moved = call(variant, X[index], HISTORY[index], label=LABEL[index], time=TIME[index])
    same(moved[:2], out[:2])
    assert distance(moved, out)[2] > 1e-2


@EVERY
def test_points_interact_in_joint_models_only(variant):
    """A joint model must let points interact, otherwise its sets would be incoherent."""
    model, _, _ = network(variant)
    others = np.arange(N) != 1
    moved = np.where(others[:, None], X, X + 1)
    change = distance(call(variant, moved)[:, others], call(variant)[:, others])
    if model.traits.strategy != "joint":
        # points interact only through the history or the latent, if at all
        assert change.max() < 1e-5
    else:
        assert change.min() > 1e-4


@EVERY
def test_time_matters(variant):
    time = TIME + np.float32([0.05, 0.0, 0.05])
    changed = distance(call(variant, time=time), call(variant))
    assert changed[[0, 2]].min() > 1e-3 and changed[1] < 1e-5


# ---------------------------------------------------------------- history


@EVERY
def test_only_models_with_a_history_read_it(variant):
    # a causal model is trained on whole sets, so it has no separate history
    traits = network(variant)[0].traits
    assert (bool(traits.history_source) or traits.strategy == "causal") == (variant in READERS)
    change = distance(call(variant, history=HISTORY + 1), call(variant))
    assert change.min() > 1e-3 if variant in READERS else change.max() == 0


@READING
def test_a_history_has_no_order(variant):
    moved = call(variant, history=HISTORY[:, [2, 0, 3, 1]])
    if variant in ORDERED | {"causal"}:  # these models read the history in sequence
        assert distance(moved, call(variant)).min() > 1e-3
    else:
        same(moved, call(variant))


@READING
def test_a_masked_history_is_none(variant):
    model, params, apply = network(variant)
    unnamed, nobody = np.full(B, -1), np.zeros_like(SEEN)
    nothing = call(variant, seen=nobody, label=unnamed, fill=np.nan)
    same(nothing, call_bare(variant))
    no_points = PointSets(np.zeros((B, 0, 2), np.float32))
    none = apply(params, pad(X, MASK, 0), TIME, Conditioning(mask=MASK, history=no_points))
    same(np.asarray(none)[MASK].reshape(X.shape), nothing)
    # each set has a separate history: an empty history does not affect other sets
    out = call(variant, label=unnamed)
    beside = call(variant, seen=SEEN * (np.arange(B) != 1)[:, None], label=unnamed)
    same(beside, np.where((np.arange(B) == 1)[:, None, None], nothing, out))
    assert distance(nothing, out).min() > 1e-3


@pytest.mark.parametrize("variant, size", [
    ("history", (2, 7, 7)), ("attention_v1", (1, 7, 6)), ("attention_v2", (1, 7, 6)),
    ("set_transformer", (2, 3, 7)), ("set_transformer, full attention", (2, 7, 7)),
])  # fmt: skip
def test_attention_weights_are_recorded(variant, size):
    """Weights [B, heads, queries, keys] that sum to 1 and are 0 for masked points."""
    model, params, _ = network(variant)
    conditioning = Conditioning(history=PointSets(pad(HISTORY, SEEN, 0), SEEN), mask=MASK)
    apply = jax.jit(lambda params: model.apply(
        params, pad(X, MASK, 0), TIME, conditioning, mutable="intermediates")[1])  # fmt: skip
    layers = jax.tree.leaves(apply(params))
    assert len(layers) == (2 if "transformer" in variant else 1)
    keys = {7: MASK, 6: SEEN}[size[-1]]
    if variant == "history":  # the first token is always present
        keys = np.pad(SEEN, ((0, 0), (1, 0)), constant_values=True)
    for weights in layers:
        assert weights.shape == (B, *size)
        np.testing.assert_allclose(weights.sum(-1), 1.0, atol=1e-5)
        attended = np.asarray(weights).max(axis=(1, 2)) > 0
        np.testing.assert_array_equal(attended, keys)


# ---------------------------------------------------------------- labels


def output_by_label(variant):
    """Function of the label: the prior of a latent model, otherwise the denoiser."""
    model, params, apply = network(variant)
    if variant == "set_latent":
        z = normal(5, B, 1, model.latent_dim)
        return lambda label: np.asarray(
            apply(params, z, TIME, Conditioning(label=label), method="prior")
        )
    return lambda label: call(variant, label=label, seen=np.zeros_like(SEEN))


@EVERY
def test_each_label_has_its_output_and_minus_one_is_no_label(variant):
    output = output_by_label(variant)
    unnamed = output(np.full(B, -1))
    same(output(None) if variant == "set_latent" else call_bare(variant), unnamed)
    outputs = [unnamed] + [output(np.full(B, k)) for k in range(NUM_LABELS)]
    for i, one in enumerate(outputs):
        for other in outputs[:i]:
            assert distance(one, other).min() > 1e-3
    # each set has a separate label
    mixed = output(np.array([-1, 2, 0]))
    same(mixed, np.stack([outputs[0][0], outputs[3][1], outputs[1][2]]))


@EVERY
def test_a_model_without_labels_reads_none(variant):
    model, params, apply = network(variant, num_labels=0)
    assert "label" not in params["params"]
    run = lambda label: model.apply(
        params, X, TIME, Conditioning(history=PointSets(HISTORY), label=label)
    )
    program = jax.make_jaxpr(run)(LABEL).jaxpr
    (label,) = program.invars
    assert not any(label in equation.invars for equation in program.eqns)


@pytest.mark.parametrize("variant", ["fourier_mlp", "seq2seq", "set_latent"])
def test_the_table_of_labels_is_trained(variant):
    """Rows in use have a gradient, including "unnamed"; all other rows have none."""
    model, params, _ = network(variant)
    method, x = ("prior", normal(5, B, 1, 6)) if variant == "set_latent" else (None, X)

    @jax.jit
    def slope(params, label):
        output = lambda p: model.apply(p, x, TIME, Conditioning(label=label), method=method)
        loss = lambda p: (output(p) ** 2).sum()
        return jax.grad(loss)(params)["params"]["label"]["table"]["embedding"]

    used = np.abs(slope(params, np.array([1, -1, 1]))).max(1) > 1e-6
    np.testing.assert_array_equal(used, [False, True, False, True])


# ---------------------------------------------------------------- one latent per set


def encode(points, seen=None):
    model, params, apply = network("set_latent")
    return np.asarray(apply(params, PointSets(points, seen), method="encode"))


def test_a_latent_describes_the_set_and_not_its_order():
    z = encode(HISTORY)
    assert z.shape == (B, 1, 6) and network("set_latent")[0].latent_dim == 6
    same(encode(HISTORY[:, [1, 3, 0, 2]]), z)
    same(encode(pad(HISTORY, SEEN, np.nan), SEEN), z)
    np.testing.assert_allclose(z.mean(-1), 0, atol=1e-6)
    np.testing.assert_allclose(z.var(-1), 1, atol=1e-3)
    assert distance(encode(HISTORY + 0.5), z).min() > 1e-2
    # repeating all points keeps the density, so only the mean over points may count
    same(encode(np.concatenate([HISTORY, HISTORY], axis=1)), z)


def test_points_are_denoised_given_the_latent():
    model, params, apply = network("set_latent")
    by_history = apply(params, X, TIME, Conditioning(history=PointSets(HISTORY), label=LABEL))
    by_latent = lambda z: apply(params, X, TIME, Conditioning(latent=z))
    same(by_latent(encode(HISTORY)), by_history)
    assert distance(by_latent(encode(HISTORY)[::-1]), by_history)[0] > 1e-2


def test_the_prior_denoises_the_latent_of_each_set_independently():
    model, params, apply = network("set_latent")
    prior = lambda z, time, label: apply(params, z, time, Conditioning(label), method="prior")
    z = normal(5, B, 1, 6)
    out = prior(z, TIME, LABEL)
    assert out.shape == z.shape
    for b in range(B):
        one = slice(b, b + 1)
        same(prior(z[one], TIME[one], LABEL[one]), out[one])
    assert distance(out, prior(z, TIME + 0.1, LABEL)).min() > 1e-3


# ---------------------------------------------------------------- cost


def array_sizes(jaxpr):
    """Sizes of all arrays that a program computes, including its inner programs."""
    for equation in jaxpr.eqns:
        yield from (int(np.prod(v.aval.shape)) for v in equation.outvars)
        is_program = lambda value: hasattr(value, "eqns")
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=is_program):
            if is_program(value):
                yield from array_sizes(value)


def program_sizes(variant, num_points):
    model, _, _ = network(variant)
    x = jax.ShapeDtypeStruct((1, num_points, 2), jnp.float32)
    time = jax.ShapeDtypeStruct((1,), jnp.float32)
    program = jax.make_jaxpr(model.apply)(random_weights(model), x, time)
    return list(array_sizes(program.jaxpr))


def test_inducing_points_make_the_cost_linear():
    """4,096 points need no array of pairs, and twice the array elements of 2,048 points."""
    large, half = (program_sizes("set_transformer", n) for n in (4096, 2048))
    assert max(large) < 4096 * 200
    assert sum(large) < 2.001 * sum(half)
    full = program_sizes("set_transformer, full attention", 4096)
    assert max(full) == 2 * 4096**2  # two heads


@EVERY
def test_memory_per_point_is_a_sane_number(variant):
    small, wide = (
        make_model(variant_config(variant, hidden_dim=h)).traits.floats_per_point
        for h in (16, 160)
    )
    assert isinstance(small, int) and 16 <= small < 10_000
    assert wide - small >= 144


def test_a_model_has_labels_only_with_the_option():

    for name in MODELS:
        assert make_model(model_config(name=name), 7).num_labels == 0
        assert make_model(model_config(name=name, labels=True), 7).num_labels == 7
