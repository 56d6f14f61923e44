"""Compare features with numpy in float64, and check the symmetries of per-point networks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from weights import random_weights

from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.models import make_model
from tiny_diffusion_jax.models.layers import EMBEDDINGS, sin_turns, sinusoidal, waves
from tiny_diffusion_jax.point_sets import Conditioning, PointSets
from tiny_diffusion_jax.training.step import decays


def model_config(**changes):
    config = default_config().model
    config.update(dict(hidden_dim=16, num_blocks=2, num_frequencies=6, time_frequencies=4))
    config.update(changes)
    return config


def normal(seed, *shape):
    return np.float32(np.random.default_rng(seed).normal(size=shape))


# ---------------------------------------------------------------- features


def test_sin_turns_is_the_sine():
    turns = np.concatenate([
        np.linspace(-3, 3, 60_001),
        np.arange(-8, 9) / 4,  # points where the argument is folded
        np.array([1e-8, 100.1, -100.1, 0.0]),
    ]).astype(np.float32)
    exact = np.sin(2 * np.pi * np.float64(turns))
    sines = np.asarray(jax.jit(sin_turns)(turns))
    assert np.abs(sines - exact).max() < 2e-6
    # small angles keep their relative precision
    np.testing.assert_allclose(sines[turns == np.float32(1e-8)], 2e-8 * np.pi, rtol=1e-5)


def test_sin_turns_has_the_derivative_of_the_sine():
    """Training differentiates this function, and so does the divergence of the likelihood."""
    turns = np.linspace(-1.3, 1.3, 1001, dtype=np.float32)
    slope = jax.jit(jax.vmap(jax.grad(sin_turns)))(turns)
    exact = 2 * np.pi * np.cos(2 * np.pi * np.float64(turns))
    np.testing.assert_allclose(slope, exact, atol=2e-5)


def test_waves_are_sines_then_cosines():
    turns = np.float32([[0.1, 0.7]])
    expected = [np.sin(0.2 * np.pi), np.sin(1.4 * np.pi), np.cos(0.2 * np.pi), np.cos(1.4 * np.pi)]
    np.testing.assert_allclose(jax.jit(waves)(turns)[0], expected, atol=2e-6)


@pytest.mark.parametrize("num_frequencies", [1, 2, 5])
def test_sinusoidal_features_are_the_formula(num_frequencies):
    x = np.array([[0.3, -1.2], [2.0, 0.0]])
    features = jax.jit(lambda x: sinusoidal(x, num_frequencies, 12.0, 100.0))(np.float32(x))
    expected = []
    for point in x:
        row = []
        for coordinate in point:
            w = [12.0 * 100.0 ** (-i / max(num_frequencies - 1, 1)) for i in range(num_frequencies)]
            row += [np.sin(w_i * coordinate) for w_i in w] + [np.cos(w_i * coordinate) for w_i in w]
        expected.append(row)
    assert features.shape == (2, 4 * num_frequencies)
    np.testing.assert_allclose(features, expected, atol=1e-5)


@pytest.mark.parametrize("num_features, name", [(20, "sinusoidal"), (10, "gaussian"),
                                                (10, "learned"), (2, "identity")])
def test_features_have_their_size(name, num_features):
    module = EMBEDDINGS[name](5, 2.0, 100.0)
    x = normal(0, 3, 4, 2)
    features, variables = jax.jit(module.init_with_output)(jax.random.key(0), x)
    assert features.shape == (3, 4, num_features) and features.dtype == jnp.float32
    row = jax.jit(module.apply)(variables, x[1])
    np.testing.assert_allclose(features[1], row, atol=1e-6)
    if name == "identity":
        np.testing.assert_array_equal(features, x)


@pytest.mark.parametrize("name, parameter", [("gaussian", "fixed_frequency"),
                                             ("learned", "frequency")])
def test_random_features_are_waves_of_a_normal_projection(name, parameter):
    module = EMBEDDINGS[name](4000, 3.0, 0.0)
    x = normal(0, 2, 2)
    features, variables = jax.jit(module.init_with_output)(jax.random.key(1), x)
    frequency = np.float64(variables["params"][parameter])
    assert frequency.shape == (2, 4000)
    assert frequency.mean() == pytest.approx(0, abs=0.15)
    assert frequency.std() == pytest.approx(3.0, rel=0.04)
    angle = np.float64(x) @ frequency
    expected = np.concatenate([np.sin(angle), np.cos(angle)], axis=-1)
    np.testing.assert_allclose(features, expected, atol=2e-5)


@pytest.mark.parametrize("name, trained", [("gaussian", False), ("learned", True)])
def test_only_learned_frequencies_are_trained_and_decayed(name, trained):
    model = make_model(model_config(embedding=name))
    x, time = normal(0, 2, 3, 2), np.float32([0.1, 0.9])
    params = random_weights(model)
    grad = jax.jit(jax.grad(lambda p: (model.apply(p, x, time) ** 2).sum()))(params)
    features = jax.tree.leaves(grad["params"]["trunk"]["features"])
    assert len(features) == 1 and bool(np.any(features[0])) == trained
    assert jax.tree.leaves(decays(params)["params"]["trunk"]["features"]) == [trained]
    others = {k: v for k, v in grad["params"]["trunk"].items() if k != "features"}
    assert all(np.any(leaf) for leaf in jax.tree.leaves(others))


# ---------------------------------------------------------------- networks


TIME = np.float32([0.0, 0.4, 1.0])
X = normal(0, 3, 5, 2)


@pytest.fixture(params=[("fourier_mlp", e) for e in EMBEDDINGS], ids="-".join, scope="module")
def network(request):
    """(model, jitted function of the model with weights), with outputs in numpy."""
    name, embedding = request.param
    model = make_model(model_config(name=name, embedding=embedding))
    params = random_weights(model)
    apply = jax.jit(functools.partial(model.apply, params))
    return model, lambda *inputs: np.asarray(apply(*inputs))


def test_output_has_the_shape_of_the_points(network):
    out = network[1](X, TIME)
    assert out.shape == (3, 5, 2) and out.dtype == np.float32 and np.isfinite(out).all()


def test_permuting_points_permutes_the_output(network):
    order = np.array([2, 0, 4, 1, 3])
    out = network[1](X, TIME)
    np.testing.assert_allclose(network[1](X[:, order], TIME), out[:, order], atol=1e-5)
    assert np.abs(out[:, order] - out).max() > 1e-2


def test_a_batch_is_its_sets_one_by_one(network):
    out = network[1](X, TIME)
    for b in range(3):
        alone = network[1](X[b : b + 1], TIME[b : b + 1])
        np.testing.assert_allclose(out[b], alone[0], atol=1e-5)


def test_points_of_a_per_point_model_do_not_interact(network):
    model, apply = network
    assert model.traits.strategy == "independent"
    others = np.arange(5) != 3
    before, after = apply(X, TIME), apply(np.where(others[:, None], X, X + 7), TIME)
    np.testing.assert_allclose(after[:, others], before[:, others], atol=1e-6)
    assert np.abs(after[:, 3] - before[:, 3]).max() > 1e-2


def test_time_and_position_both_matter(network):
    out = network[1](X, TIME)
    assert np.abs(network[1](X, TIME + 0.3) - out).min(axis=(1, 2)).max() > 1e-3
    assert np.abs(network[1](X[:, ::-1], TIME) - out).max() > 1e-2


def test_features_fade_as_their_strength_says():
    """The strength 2 sigmoid(0) = 1 keeps features; a very negative bias removes them."""
    x, time = normal(1, 3, 5, 2), np.float32([0.0, 0.4, 0.9])
    plain, fading = (make_model(model_config(fade=fade), 0) for fade in (False, True))
    params = random_weights(fading)["params"]
    trunk, apply = params["trunk"], jax.jit(fading.apply)

    def with_strength(kernel, bias):
        fade = {"kernel": np.full_like(trunk["fade"]["kernel"], kernel),
                "bias": np.full_like(trunk["fade"]["bias"], bias)}  # fmt: skip
        return {"params": params | {"trunk": trunk | {"fade": fade}}}

    same = params | {"trunk": {k: v for k, v in trunk.items() if k != "fade"}}
    np.testing.assert_allclose(
        apply(with_strength(0.0, 0.0), x, time), jax.jit(plain.apply)({"params": same}, x, time),
        atol=1e-6)  # fmt: skip
    gone = np.asarray(apply(with_strength(0.0, -40.0), x, time))
    np.testing.assert_allclose(gone, np.broadcast_to(gone[:, :1], gone.shape), atol=1e-6)
    assert np.ptp(gone[:, 0], axis=0).min() > 1e-3  # the output still depends on the time
    # The strength depends on the time, so equal points of different sets have different outputs.
    same_points = np.broadcast_to(x[:1], x.shape)
    by_time = apply(with_strength(-1.0, 0.0), same_points, time)
    assert np.ptp(by_time - gone, axis=0).max() > 1e-3


@pytest.mark.parametrize("name", ["history", "set_transformer", "causal", "set_latent"])
def test_noisy_points_fade_wherever_a_network_reads_them(name):
    """Outputs at strength 0 do not depend on the noisy points.

    The clean points of a history do not fade.
    """
    model = make_model(model_config(name=name, fade=True, num_heads=2, num_inducing=2), 0)
    conditioning = Conditioning(history=PointSets(normal(2, 3, 4, 2)))
    params, apply = random_weights(model), jax.jit(model.apply)
    fade = params["params"]["trunk"]["fade"]
    fade["kernel"] = np.zeros_like(fade["kernel"])
    outputs = {}
    for bias in (0.0, -40.0):
        fade["bias"] = np.full_like(fade["bias"], bias)
        outputs[bias] = [apply(params, normal(seed, 3, 5, 2), TIME, conditioning)
                         for seed in (1, 4)]  # fmt: skip
    seen, gone = (np.abs(np.subtract(*pair)).max() for pair in outputs.values())
    assert seen > 1e-2 and gone < 1e-5


def test_each_set_has_a_time(network):
    same = np.broadcast_to(X[:1], X.shape)
    out = network[1](same, TIME)
    np.testing.assert_allclose(network[1](same, TIME[::-1]), out[::-1], atol=1e-6)
    assert np.abs(out[0] - out[1]).max() > 1e-2


def test_any_conditioning_is_accepted(network):
    """A network ignores the conditioning that it does not use."""
    conditioning = Conditioning(np.arange(3), np.full(3, 5), PointSets(X),
                                mask=np.ones((3, 5), bool))  # fmt: skip
    np.testing.assert_allclose(network[1](X, TIME, conditioning), network[1](X, TIME), atol=1e-6)


def test_memory_estimate_counts_the_widest_arrays():
    floats = lambda **changes: make_model(model_config(**changes)).traits.floats_per_point
    assert floats(hidden_dim=160) - floats(hidden_dim=16) >= 2 * 144
    assert floats(num_frequencies=60) > floats(num_frequencies=6)
