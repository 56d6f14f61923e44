"""Check sets of different sizes with three coordinates: distances, sizes, labels, copies."""

import itertools
import json
import math

import jax
import numpy as np
import pytest

from tiny_diffusion_jax.data.observed import from_observed
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.metrics import classifier, memorization, ragged, sizes
from tiny_diffusion_jax.metrics import points as point_metrics
from tiny_diffusion_jax.metrics import sets as set_metrics
from tiny_diffusion_jax.point_sets import lengths

KEY = jax.random.key(0)


def shape(rng, kind, least=8, most=24):
    """A ring (0) or a helix (1) in space, with random radius, noise and number of points."""
    turn, radius = rng.uniform(0, 2 * np.pi, rng.integers(least, most + 1)), rng.uniform(0.6, 1.4)
    height = np.zeros_like(turn) if kind == 0 else turn / np.pi - 1
    points = np.stack([radius * np.cos(turn), radius * np.sin(turn), height], -1)
    return points + rng.uniform(0.02, 0.08) * rng.normal(size=points.shape)


def shapes(seed, count, **sizes):
    rng = np.random.default_rng(seed)
    return [shape(rng, k % 2, **sizes) for k in range(count)], np.arange(count) % 2


def padded(sets):
    most = max(map(len, sets))
    full = [np.pad(s, ((0, most - len(s)), (0, 0)), constant_values=np.nan) for s in sets]
    return np.float32(full)


def observed(seed, count):
    sets, labels = shapes(seed, count)
    lengths = np.array([len(points) for points in sets])
    return from_observed(np.concatenate(sets), np.cumsum(lengths) - lengths, lengths, labels,
                         num_labels=2)  # fmt: skip


@pytest.fixture(scope="module")
def dataset():
    return observed(0, 200).replace(heldout=observed(1, 120))


# ---------------------------------------------------------------- the form


def test_real_sets_hold_the_points_of_their_sources_first(dataset):
    index = np.array([3, 0, 7])
    drawn = ragged.real_sets(dataset, KEY, index)
    size, offset = np.asarray(dataset.sizes)[index], np.asarray(dataset.offsets)[index]
    assert drawn.shape == (3, int(np.max(dataset.sizes)), 3)
    np.testing.assert_array_equal(lengths(drawn), size)
    for points, first, n in zip(drawn, offset, size, strict=True):
        of_source = np.asarray(dataset.points)[first : first + n]
        np.testing.assert_array_equal(np.sort(points[:n], 0), np.sort(of_source, 0))
    assert ragged.real_sets(dataset, KEY, 5, 4).shape == (5, 4, 3)
    # every set has at least 4 points
    assert not ragged.is_ragged(ragged.real_sets(dataset, KEY, 5, 4))


def test_one_size_is_the_set_repeated_as_evenly_as_can_be():
    points = np.random.default_rng(2).normal(size=(7, 3))
    for size in (7, 14, 16, 5):
        one = ragged.to_one_size(points[None], size)[0]
        found, count = np.unique(one, axis=0, return_counts=True)
        assert set(count) <= {size // 7, -(-size // 7)} and count.sum() == size
        assert {tuple(p) for p in found} <= {tuple(p) for p in points}
        # the result does not depend on the order of the points
        again = ragged.to_one_size(points[None, ::-1], size)[0]
        np.testing.assert_array_equal(np.sort(again, 0), np.sort(one, 0))


def test_padding_in_the_wrong_place_is_an_error():
    good = padded(shapes(3, 3)[0])
    ragged.require_padded("sets", good)
    for place, value, message in (
        ((0, 0), np.nan, "sets: missing points"), ((1, 2, 1), np.nan, "sets: missing points"),
        ((0, 1, 2), np.inf, "sets: points that are not finite = 1"),
    ):  # fmt: skip
        bad = good.copy()
        bad[place] = value
        with pytest.raises(UserError, match=message):
            ragged.require_padded("sets", bad)


# ---------------------------------------------------------------- distances


def test_chamfer_of_padded_sets_equals_loops():
    x, y = shapes(4, 3)[0], shapes(5, 4)[0]

    def by_loops(a, b):
        there = [min(math.dist(p, q) ** 2 for q in b) for p in a]
        back = [min(math.dist(p, q) ** 2 for p in a) for q in b]
        return math.fsum(there) / len(there) + math.fsum(back) / len(back)

    expected = [[by_loops(a, b) for b in y] for a in x]
    np.testing.assert_allclose(set_metrics.chamfer(padded(x), padded(y)), expected, rtol=1e-4)


def test_emd_of_two_sizes_is_that_of_their_measures():
    """The EMD is exact if one size divides the other: compare with all permutations."""
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(1, 6, 3)), rng.normal(size=(1, 3, 3))
    twice = np.repeat(y[0], 2, 0)
    orders = itertools.permutations(range(6))
    best = min(np.linalg.norm(x[0] - twice[list(p)], axis=1).sum() for p in orders) / 6
    padding = np.full((1, 3, 3), np.nan)
    found = set_metrics.emd(x, np.concatenate([y, padding], 1))
    np.testing.assert_allclose(found, [[best]], rtol=1e-9)


def test_emd_of_sizes_that_do_not_divide_is_off_by_little():
    x = np.random.default_rng(7).uniform(size=(1, 12, 3))
    padding = np.full((1, 8, 3), np.nan)
    fewer = np.concatenate([x, padding], 1)
    np.testing.assert_allclose(set_metrics.emd(fewer, fewer + [0.5, 0, 0]), 0.5, rtol=1e-9)
    sized = ragged.to_one_size(fewer, 20)
    off = set_metrics.emd(np.repeat(sized, 3, 1), np.repeat(x, 5, 1))[0, 0]
    # 8 * 4 / (12 * 20) of the mass is misplaced, but not far: a random position is 0.66 away
    assert 0 < off < 0.6 * 8 * 4 / (12 * 20) * 0.66


def test_numbers_of_padded_sets_tell_new_sets_from_wrong_ones(dataset):
    real_a, real_b = set_metrics.different_real_sets(dataset.heldout, KEY, 60, 0)
    good = padded(shapes(8, 60)[0])
    bad = good * [1, 1, 1.6]
    found = [set_metrics.compare_sets(sets, real_a, real_b, 30) for sets in (good, bad)]
    for name in ("nna_cd", "nna_emd"):
        assert found[0][name]["value"] < 0.65 < found[1][name]["value"], name
    assert json.loads(json.dumps(found[0], allow_nan=False)) == found[0]
    with pytest.raises(UserError, match="missing points"):
        set_metrics.compare_sets(good[:, ::-1], real_a, real_b)


# ---------------------------------------------------------------- sizes, labels, copies


def test_sizes_are_those_of_real_sets_or_not(dataset):
    real, short = padded(shapes(9, 300)[0]), padded(shapes(10, 300, least=4, most=12)[0])
    good, bad = (sizes.compare(dataset, KEY, sets) for sets in (real, short))
    assert good["ratio"] < 2.5 < 8 < bad["ratio"]
    assert good["mean"] == pytest.approx(16, abs=1) and bad["mean"] == pytest.approx(8, abs=1)
    assert good["true_sd"] == pytest.approx(np.std(np.arange(8, 25)), abs=0.6)
    assert json.loads(json.dumps(good, allow_nan=False)) == good


def test_labels_of_sets_in_space_are_told(dataset):
    sets, labels = shapes(11, 100)
    found = classifier.accuracy(dataset, KEY, padded(sets), labels)
    assert found["value"] > 0.95 and found["floor"] > 0.95
    wrong = classifier.accuracy(dataset, KEY, padded(sets), 1 - labels)
    assert wrong["value"] < 0.05


def copied(dataset, count, how):
    """Sets of `count` different training sets, each changed by `how(points)`."""
    rng = np.random.default_rng(12)
    index = rng.permutation(dataset.num_sources)[:count]
    drawn = ragged.real_sets(dataset, KEY, index)
    found = [points[:n] for points, n in zip(drawn, lengths(drawn), strict=True)]
    return [how(points, rng) for points in found]


HOW = {
    "whole": lambda points, rng: points,
    "moved": lambda points, rng: points + 0.03 * rng.normal(size=points.shape),
    "half of the points": lambda points, rng: points[::2],
}


@pytest.mark.parametrize("how", HOW)
def test_one_set_in_ten_copied_is_flagged(dataset, how):
    new = shapes(13, 180)[0]
    result = memorization.compare(dataset, KEY, padded(copied(dataset, 20, HOW[how]) + new))
    assert result["flagged"] and result["verdict"].startswith("COPIES: more sets follow one tra")
    assert 0.06 < result["value"] < 0.14 and result["ceiling"] > 0.9


def test_new_sets_are_not_flagged_and_sit_at_the_floor(dataset):
    result = memorization.compare(dataset, KEY, padded(shapes(14, 200)[0]))
    assert not result["flagged"] and "training set closely" in result["verdict"]
    assert result["value"] == pytest.approx(result["floor"], abs=4 * result["value_se"])
    assert (result["num_train"], result["num_heldout"]) == (200, 120)
    few = dataset.replace(heldout=observed(15, 5))
    result = memorization.compare(few, KEY, padded(shapes(14, 200)[0]))
    assert result["num_heldout"] == 205 and not result["flagged"]


def test_only_the_sets_most_like_it_are_looked_at_in_full(monkeypatch, dataset):
    monkeypatch.setattr("tiny_diffusion_jax.metrics.set_memorization.BUDGET", 1)
    new = shapes(13, 180)[0]
    for first, flagged in ((copied(dataset, 20, HOW["moved"]), True), (shapes(16, 20)[0], False)):
        assert memorization.compare(dataset, KEY, padded(first + new))["flagged"] is flagged


# ---------------------------------------------------------------- points in space


def test_sliced_distance_in_space_of_a_shift_is_its_length_over_root_three():
    x = np.float32(np.random.default_rng(17).normal(size=(50, 3)))
    for shift in np.float32([[3, 0, 0], [0, -3, 0], [1, 2, 2]]):
        value = float(point_metrics.sliced_wasserstein2(x, x + shift, 128))
        assert value == pytest.approx(3 / 3**0.5, rel=0.01)
    directions = point_metrics.even_directions(3, 128)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=0), 1)
    np.testing.assert_allclose(directions @ directions.T / 128, np.eye(3) / 3, atol=0.01)


def test_points_in_space_are_compared_by_all_four():
    sets = np.float32(np.random.default_rng(18).normal(size=(3, 2, 80, 3)))
    result = point_metrics.compare(sets[0] + np.float32([1, 0, 0]), *sets[1:], exact_points=50)
    for name in ("sliced_wasserstein2", "wasserstein2", "energy_distance", "mmd_rbf"):
        assert result[name]["value"] > 1.3 * result[name]["floor"], name
