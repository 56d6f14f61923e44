"""Check sets of different sizes: the distribution of sizes, and independence of other sets."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from weights import random_weights

import tiny_diffusion_jax as td
from tiny_diffusion_jax import checks, sampling, scoring
from tiny_diffusion_jax.config import editable
from tiny_diffusion_jax.data.observed import from_observed
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.models.causal import Causal
from tiny_diffusion_jax.models.fourier_mlp import FourierTrunk
from tiny_diffusion_jax.point_sets import Conditioning, PointSets, lengths, padded, ragged
from tiny_diffusion_jax.sets import sizes, strategy_of
from tiny_diffusion_jax.sets.chunks import set_keys
from tiny_diffusion_jax.sets.likelihood import Estimate
from tiny_diffusion_jax.training.batches import draw_batches, make_batch_spec, size_range

SIZES = np.array([3, 3, 3, 7, 6, 6])
LABELS = np.array([0, 0, 0, 0, 1, 1])


def observed():
    points = np.random.default_rng(0).normal(size=(SIZES.sum(), 2))
    return from_observed(
        points, np.cumsum(SIZES) - SIZES, SIZES, LABELS, num_labels=2, label_names=("a", "b")
    )


@functools.cache
def setup(strategy):
    """(experiment, random weights)."""
    models = {"joint": "set_transformer", "autoregressive": "history", "latent": "set_latent"}
    config = td.default_config(models.get(strategy, strategy))
    config.update_from_flattened_dict({
        "data.name": "mixture", "data.members": "moons+circle", "model.labels": True,
        "model.sizes": True, "model.hidden_dim": 8, "model.num_blocks": 1, "model.num_heads": 2,
        "model.num_frequencies": 4, "model.time_frequencies": 4, "model.num_inducing": 0,
        "model.latent_dim": 4, "model.context_dim": 8, "model.scale": 1.0,
        "model.max_period": 1.0, "train.num_points": 4,
        "train.min_history": 1, "train.max_history": 8, "train.max_points": 0,
        "sample.num_steps": 2, "sample.first_block": 4, "sample.growth": 1.0,
    })  # fmt: skip
    built = td.build(config)
    return built._replace(dataset=observed()), random_weights(built.model)


def draw(strategy, num_sets, num_points=0, **arguments):
    built, params = setup(strategy)
    config = editable(built.config.sample)
    config.update(num_sets=num_sets, num_points=num_points, num_steps=2)
    return sampling.sample(built, params, config, **arguments)


@pytest.mark.parametrize("fields, observed_sizes, expected", [
    ({}, None, (8, 8)),
    ({"min_points": 3}, None, (3, 8)),
    ({"max_points": 128}, None, (8, 128)),
    # two blocks with different numbers of points
    ({"max_points": 128, "min_points": 1, "steps": 400}, None, (1, 32)),
    ({"min_points": 3}, SIZES, (3, 7)),  # sizes of complete sets
    ({"max_points": 128}, SIZES + 1, (4, 8)),
])  # fmt: skip
def test_the_range_of_sizes_in_training(fields, observed_sizes, expected):
    config = td.default_config().train
    config.update({"num_points": 8, "steps": 600, "block": 200} | fields)
    dataset = observed().replace(sizes=observed_sizes)
    assert size_range(config, dataset) == expected
    if observed_sizes is None:  # the sizes that the blocks draw
        draw, model = jax.jit(draw_batches, static_argnums=(2, 3, 4)), setup("joint")[0].model
        plain = dataset.replace(draw=Partial(lambda key, b, n: PointSets(jnp.zeros((b, n, 2)))))
        blocks = [make_batch_spec(config, model, block) for block in range(config.steps // 200)]
        drawn = [draw(jax.random.key(0), plain, 10, 40, spec) for spec in blocks]
        drawn = np.concatenate([batch.conditioning.size.ravel() for batch in drawn])
        assert (drawn.min(), drawn.max()) == expected


def warnings_of(caplog, function, *arguments, **named) -> list[str]:
    caplog.clear()
    function(*arguments, **named)
    return [record.getMessage() for record in caplog.records]


UNSEEN = ("warning: sets of %s points are outside of the range seen in training, 3 to 7 points "
          "(config.model.sizes = True)")  # fmt: skip


def test_a_number_of_points_outside_of_the_training_range_logs_a_warning(caplog, monkeypatch):
    monkeypatch.setattr(sampling.sets, "draw", lambda *_: np.zeros((2, 8, 2)))
    monkeypatch.setattr(scoring, "estimate", lambda *_: Estimate(np.zeros(3), np.zeros(3)))
    given = np.zeros((7, 2), np.float32)
    built, params = setup("joint")
    assert warnings_of(caplog, draw, "joint", 2, 8) == [UNSEEN % 8]
    assert warnings_of(caplog, draw, "joint", 2, 8, given=given) == [UNSEEN % 8]
    sets = np.zeros((3, 9, 2), np.float32)
    sets[0, 2:], sets[1, 5:] = np.nan, np.nan
    score = functools.partial(td.log_prob, built, params, num_steps=1)
    assert warnings_of(caplog, score, sets) == [UNSEEN % "2 to 9"]
    assert warnings_of(caplog, scoring.warn_if_unseen, built, np.array([3, 5, 7])) == []
    uncounted = built._replace(model=built.model.clone(counts=False))
    assert warnings_of(caplog, scoring.warn_if_unseen, uncounted, np.array([99])) == []
    [in_rows] = warnings_of(caplog, scoring.warn_if_unseen, uncounted._replace(
        model=Causal(FourierTrunk(), order="rows:0.5")), np.array([99]))  # fmt: skip
    assert in_rows.endswith("(config.model.order = rows:0.5)")


def test_points_of_own_sets_that_do_not_see_each_other_log_a_notice(caplog, monkeypatch):
    monkeypatch.setattr(sampling.sets, "draw", lambda *_: np.zeros((2, 8, 2)))

    def notices(first_block, growth, strategy="causal", num_points=8, **of_data):
        built, params = setup(strategy)
        config = editable(built.config)
        config.sample.update(num_sets=2, num_points=num_points, first_block=first_block,
                             growth=growth)  # fmt: skip
        config.data.update({"name": "sets"} | of_data)
        experiment = built._replace(config=config, model=built.model.clone(counts=False))
        sample = functools.partial(sampling.sample, experiment, params, config.sample)
        return [warnings_of(caplog, sample, given=given)
                for given in (None, np.zeros((4, 2), np.float32))]  # fmt: skip

    [[new], [completed]] = notices(1, 2.0)  # blocks of 1, 1, 2 and 4 points
    assert new == completed == (
        "notice: up to 4 points of a set are drawn without seeing each other (config.sample.growth "
        "= 2, first_block = 1). 1 and 1 draw point by point, for points that repel, attract or "
        "follow each other"
    )
    [[new], [completed]] = notices(3, 1.0)
    assert "up to 3 points" in new and "up to 3 points" in completed
    assert notices(1, 1.0) == notices(1, 2.0, jitter="uniform") == [[], []]
    assert notices(1, 2.0, name="mixture") == [[], []]
    # setup() has max_history = 8
    assert notices(1, 1.0, "autoregressive", 9) == notices(1, 1.0, "causal", 10) == [[], []]
    [[new], [completed]] = notices(1, 1.0, "autoregressive", 10)
    assert new == completed == (
        "notice: a point sees the last 8 of up to 9 earlier points of its set "
        "(config.train.max_history)"
    )


@functools.cache
def keys():
    return set_keys(jax.random.key(3), np.arange(2_000))


def test_sizes_are_as_frequent_as_in_the_data():
    drawn = sizes.draw_sizes(observed(), keys(), None)
    share = [np.mean(drawn == n) for n in (3, 6, 7)]
    np.testing.assert_allclose(share, [1 / 2, 1 / 3, 1 / 6], atol=0.04)
    labels = np.arange(2_000) % 2
    drawn = sizes.draw_sizes(observed(), keys(), labels)
    assert set(drawn[labels == 1]) == {6}
    assert np.mean(drawn[labels == 0] == 3) == pytest.approx(0.75, abs=0.05)


def test_completed_sets_have_the_sizes_of_the_larger_sets():
    drawn = sizes.draw_sizes(observed(), keys(), None, 4)
    assert set(drawn) == {6, 7} and np.mean(drawn == 7) == pytest.approx(1 / 3, abs=0.04)
    assert set(sizes.draw_sizes(observed(), keys()[:9], None, 9)) == {10}


def test_capacities_are_powers_of_two():
    assert [sizes.capacity(n) for n in (1, 2, 3, 4, 5, 64, 65)] == [1, 2, 4, 4, 8, 64, 128]
    groups = {w: list(index) for w, index in sizes.by_capacity(np.array([3, 9, 4, 16, 1]))}
    assert groups == {1: [4], 4: [0, 2], 16: [1, 3]}


def test_large_blocks_have_at_most_a_third_of_empty_slots():
    found = [sizes.block_capacity(n) for n in (1, 3, 12, 16, 17, 24, 25, 33, 48, 49, 65, 97)]
    assert found == [1, 4, 16, 16, 24, 24, 32, 48, 48, 64, 96, 128]
    empty = [1 - n / sizes.block_capacity(n) for n in range(17, 1000)]
    assert 0 <= min(empty) and max(empty) < 1 / 3


def test_ragged_undoes_the_padding():
    sets = np.arange(24.0).reshape(3, 4, 2)
    sets[1, 1] = np.nan  # a generated NaN is not padding
    cut = padded(sets, [4, 2, 1])
    assert [len(points) for points in ragged(cut)] == [4, 2, 1]
    assert list(lengths(cut)) == [4, 2, 1] and np.isinf(cut[1, 1]).all()
    np.testing.assert_array_equal(ragged(cut)[0], sets[0])


@pytest.mark.parametrize("strategy", ["joint", "autoregressive", "causal", "latent"])
def test_a_set_depends_on_its_number_only(strategy):
    few, many = draw(strategy, 2), draw(strategy, 5)
    drawn = lengths(many)
    built, _ = setup(strategy)
    config = editable(built.config.sample)
    config.update(num_sets=5, num_points=0)
    labels, expected = sampling.conditioning(built, config)
    np.testing.assert_array_equal(drawn, expected)
    assert set(drawn[np.asarray(labels) == 1]) <= {6} and set(drawn) <= {3, 6, 7}
    assert len(set(drawn)) > 1 and many.shape == (5, drawn.max(), 2)
    for a, b in zip(ragged(few), ragged(many)[:2], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    assert np.isfinite(np.concatenate(ragged(many))).all()


def test_a_requested_number_of_points_applies_to_all_sets():
    assert not np.isnan(draw("joint", 2, num_points=5)).any()


def test_all_levels_of_a_trajectory_have_the_same_padding():
    trajectory = draw("joint", 2, keep_trajectory=True)
    np.testing.assert_allclose(trajectory[-1], draw("joint", 2), rtol=1e-5)
    assert (np.isnan(trajectory) == np.isnan(trajectory[-1])).all() and len(trajectory) == 3


def test_a_joint_set_with_padding_is_the_same_set():
    """Apart from the noise, padding does not change the output for the real points."""
    built, params = setup("joint")
    x = np.float32(np.random.default_rng(1).normal(size=(1, 8, 2)))
    apply = jax.jit(lambda x, mask: built.model.apply(
        params, x, np.float32([0.5]), Conditioning(np.array([0]), np.array([3]), mask=mask)))
    unpadded = apply(x[:, :3], None)
    padded = np.asarray(apply(x, np.arange(8)[None] < 3))[:, :3]
    np.testing.assert_allclose(padded, unpadded, rtol=1e-4, atol=1e-5)
    joint = strategy_of(built.model)
    np.testing.assert_array_equal(joint.slots(jnp.array([3, 5]), 8, 2)[0],
                                  [1, 1, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0])  # fmt: skip
    assert joint.slots(None, 8) is None


@pytest.mark.parametrize("strategy", ["joint", "autoregressive", "latent"])
def test_completed_sets_start_with_the_given_points(strategy):
    given = np.random.default_rng(1).normal(size=(4, 2)).astype(np.float32)
    sets = draw(strategy, 2, given=given)
    assert set(lengths(sets)) <= {6, 7}
    np.testing.assert_allclose(sets[:, :4], np.stack([given] * 2), atol=2e-2 * np.abs(sets).max()
                               if strategy == "joint" else 1e-5)  # fmt: skip


def test_the_prior_of_latents_is_conditioned_on_the_size():
    """A linear prior receives sines and cosines of 28 * 128^(-i / 15) log n."""
    built, params = setup("latent")
    zero = jax.tree.map(np.zeros_like, params["params"])
    ones = lambda layer: {"kernel": np.ones_like(layer["kernel"]), "bias": layer["bias"]}
    linear = zero | {name: ones(zero[name]) for name in ("prior_label", "prior_out")}
    weights = np.random.default_rng(0).normal(size=(32, 8)).astype(np.float32)
    linear["label"] = zero["label"] | {"count": {"kernel": weights, "bias": np.zeros(8)}}
    size = np.array([1, 20, 25])
    prior = jax.jit(lambda size: built.model.apply(
        {"params": linear}, jnp.ones((3, 1, 4)), jnp.full(3, 0.5), Conditioning(size=size),
        method="prior"))(size)  # fmt: skip
    angle = 28 * 128.0 ** (-np.arange(16) / 15) * np.log(size)[:, None]
    waves = np.concatenate([np.sin(angle), np.cos(angle)], axis=1)
    # the layers of ones, 8 x 16 and 16 x 4, sum the features
    expected = 16 * (waves @ weights).sum(1)
    np.testing.assert_allclose(prior[:, 0], np.repeat(expected[:, None], 4, axis=1), rtol=1e-3)


def test_sizes_cannot_be_drawn_from_data_without_sizes():
    built, params = setup("joint")
    built = built._replace(dataset=built.dataset.replace(sizes=None))
    config = editable(built.config.sample)
    config.num_points = 0
    with pytest.raises(UserError, match="sample.num_points = 0: must be at least 1 for data whose"):
        sampling.sample(built, params, config)
    large = observed().replace(sizes=jnp.array([5_000]))
    with pytest.raises(UserError, match="the largest set of the data has 5000"):
        checks.check_drawn(large, built.model, config)


def test_the_number_of_points_has_its_posterior_given_points():
    """p(given | n) = exp(-n / 4) for each of 3 points; sizes 2 and 3 are too small for them."""
    data = types.SimpleNamespace(sizes=np.array([2, 3, 4, 4, 4, 6, 8, 8, 8]),
                                 source_labels=np.array([0, 0, 0, 0, 1, 1, 1, 1, 1]))
    given, labels = np.zeros((3, 2), np.float32), np.repeat([0, 1, -1], 20_000)
    seen = []

    def log_prob(points, labels, size):
        seen.append((points.shape, None if labels is None else labels.tolist(), size.tolist()))
        return -size / 4 / 3

    keys = set_keys(jax.random.key(0), jnp.arange(len(labels)))
    drawn = sizes.draw_sizes_given(log_prob, data, keys, labels, given)
    assert seen == [((3, 3, 2), [-1] * 3, [4, 6, 8]), ((1, 3, 2), [0], [4]),
                    ((3, 3, 2), [1] * 3, [4, 6, 8])]  # fmt: skip
    assert (drawn[labels == 0] == 4).all()
    for label, count in ((1, [1, 1, 3]), (-1, [3, 1, 3])):
        weight = count * np.exp(-np.array([4, 6, 8]) / 4)
        share = np.array([(drawn[labels == label] == n).mean() for n in (4, 6, 8)])
        np.testing.assert_allclose(share, weight / weight.sum(), atol=0.015)
    many = sizes.draw_sizes_given(log_prob, data, keys[:5], None, np.zeros((9, 2), np.float32))
    assert many.tolist() == [10] * 5


@pytest.mark.parametrize("strategy", ["autoregressive", "causal"])
def test_completed_sets_have_the_number_of_points_that_the_given_points_imply(
    strategy, monkeypatch, caplog
):
    """The stand-in density of the given points is largest for sets of 6 points."""
    caplog.set_level("INFO")
    monkeypatch.setattr(scoring, "log_prob_of_sets", lambda *a, sizes: Estimate(
        -9.0 * (sizes - 6) ** 2, np.zeros(len(sizes))))  # fmt: skip
    given = np.random.default_rng(1).normal(size=(3, 2)).astype(np.float32)
    assert set(lengths(draw(strategy, 8))) != {6}
    # sizes of the data are not drawn to be replaced
    monkeypatch.setattr(sampling, "draw_sizes", None)
    assert set(lengths(draw(strategy, 8, given=given))) == {6}
    assert "numbers of points, given the points: 6 to 6, median 6" in caplog.text
