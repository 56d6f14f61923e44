"""Compare distances between sets, and the metrics computed from them, with explicit loops."""

import itertools
import json
import math

import jax
import numpy as np
import pytest
import scipy.optimize
import scipy.spatial.distance

from tiny_diffusion_jax.data.image_sets import from_images
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.metrics import intervals
from tiny_diffusion_jax.metrics import sets as set_metrics


def normal(seed, *shape):
    return np.float32(np.random.default_rng(seed).normal(size=(*shape, 2)))


def blobs(seed, num_sets, num_points=16, spread=3.0):
    """Sets that differ: each is a Gaussian around a different centre."""
    return normal(seed, num_sets, num_points) + spread * normal(seed + 1_000, num_sets, 1)


def chamfer_by_loops(x, y):
    to_y = [min(math.dist(p, q) ** 2 for q in y) for p in x]
    to_x = [min(math.dist(p, q) ** 2 for p in x) for q in y]
    return math.fsum(to_y) / len(to_y) + math.fsum(to_x) / len(to_x)


def emd_by_permutations(x, y):
    orders = itertools.permutations(range(len(y)))
    return min(sum(map(math.dist, x, y[list(p)])) for p in orders) / len(x)


def emd_by_scipy(x, y):
    cost = scipy.spatial.distance.cdist(x, y)
    return cost[scipy.optimize.linear_sum_assignment(cost)].mean()


# ---------------------------------------------------------------- distances


@pytest.mark.parametrize("num_y", [1, 5, 300])  # below and across a block
def test_chamfer_equals_loops_for_any_two_sizes(num_y):
    x, y = normal(0, 3, 7), 2 * normal(1, num_y, 4) + 0.5
    distances = set_metrics.chamfer(x, y)
    expected = [[chamfer_by_loops(a.astype(float), b.astype(float)) for b in y] for a in x]
    np.testing.assert_allclose(distances, expected, rtol=1e-5)


def test_a_copy_is_at_chamfer_distance_zero_wherever_it_lies():
    x = normal(2, 4, 64) + 1_000
    np.testing.assert_array_equal(np.diag(set_metrics.chamfer(x, x[:, ::-1])), 0)


def test_emd_is_the_best_of_all_permutations():
    x, y = normal(3, 3, 5), normal(4, 4, 5) + 0.3
    expected = [[emd_by_permutations(a, b) for b in y] for a in x]
    np.testing.assert_allclose(set_metrics.emd(x, y), expected, rtol=1e-6)


def test_emd_of_a_translation_is_its_length_and_of_other_sizes_an_error():
    x = normal(5, 2, 64)
    np.testing.assert_allclose(np.diag(set_metrics.emd(x, x + [3, -4])), 5, rtol=1e-6)
    with pytest.raises(UserError, match="points a set of y = 9: must be 64, as in x"):
        set_metrics.emd(x, x[:, :9])


def test_emd_of_sets_with_themselves_is_symmetric_and_the_same_as_of_a_copy():
    x = blobs(6, 12)
    distances = set_metrics.emd(x, x)
    np.testing.assert_array_equal(distances, distances.T)
    np.testing.assert_allclose(distances, set_metrics.emd(x, x.copy()), atol=1e-12)


@pytest.mark.parametrize("num_x, num_y", [(60, 90), (90, 60)])
def test_nearest_only_keeps_the_least_of_every_row_and_column(num_x, num_y):
    x, y = blobs(7, num_x), blobs(8, num_y)
    full, pruned = set_metrics.emd(x, y), set_metrics.emd(x, y, nearest_only=True)
    known = np.isfinite(pruned)
    assert 0.05 < known.mean() < 0.4  # pruning saves work here
    np.testing.assert_array_equal(pruned[known], full[known])
    for axis in (0, 1):
        np.testing.assert_array_equal(pruned.min(axis), full.min(axis))
        np.testing.assert_array_equal(pruned.argmin(axis), full.argmin(axis))


def test_nearest_is_exact_even_with_a_loose_bound(monkeypatch):
    monkeypatch.setattr(set_metrics, "DIRECTIONS", 1)
    # so that the first candidates are seldom the nearest sets
    monkeypatch.setattr(set_metrics, "ROUNDS", (1,))
    x, y = blobs(27, 40), blobs(28, 50)
    full, pruned = set_metrics.emd(x, y), set_metrics.emd(x, y, nearest_only=True)
    for axis in (0, 1):
        np.testing.assert_array_equal(pruned.argmin(axis), full.argmin(axis))


def test_nearest_only_looks_past_the_set_itself():
    x = blobs(9, 60)
    full, pruned = set_metrics.emd(x, x), set_metrics.emd(x, x, nearest_only=True)
    np.fill_diagonal(full, np.inf)
    np.testing.assert_array_equal(pruned.argmin(1), full.argmin(1))
    np.testing.assert_array_equal(pruned, pruned.T)
    assert np.isinf(np.diag(pruned)).all() and np.isfinite(pruned).mean() < 0.5


def test_nearest_only_does_not_miss_ties():
    x = np.repeat(blobs(10, 5), 9, 0)  # nine copies per set, more than the first candidates
    pruned = set_metrics.emd(x, x.copy(), nearest_only=True)
    assert (np.isfinite(pruned).sum(1) >= 9).all() and (pruned.min(1) == 0).all()


# ---------------------------------------------------------------- MMD, COV, 1-NNA


def numbers_by_loops(generated, real, distance):
    mmd = np.mean([min(distance(g, r) for g in generated) for r in real])
    covered = {min(range(len(real)), key=lambda j: distance(g, real[j])) for g in generated}
    everyone, right = [*generated, *real], 0
    for i, one in enumerate(everyone):
        others = [j for j in range(len(everyone)) if j != i]
        nearest = min(others, key=lambda j: distance(one, everyone[j]))
        right += (i < len(generated)) == (nearest < len(generated))
    return {"mmd": mmd, "cov": len(covered) / len(real), "nna": right / len(everyone)}


def matrices(generated, real, distance=set_metrics.chamfer):
    pairs = ((generated, generated), (generated, real), (real, real))
    return [distance(x, y) for x, y in pairs]


def test_mmd_cov_nna_equal_loops():
    generated, real = blobs(11, 9, 5, spread=1.0), blobs(12, 7, 5, spread=1.5)
    result = set_metrics.mmd_cov_nna(*matrices(generated, real))
    assert result == pytest.approx(numbers_by_loops(generated, real, chamfer_by_loops), rel=1e-5)
    # values at the ends of the ranges would test nothing
    assert 0 < result["cov"] < 1 and 0.3 < result["nna"] < 0.95


def test_nna_is_a_half_for_one_distribution_and_one_for_two_far_apart():
    generated, real = blobs(13, 300), blobs(14, 300)
    same = set_metrics.mmd_cov_nna(*matrices(generated, real))
    assert same["nna"] == pytest.approx(0.5, abs=0.07)  # the standard error is 0.02
    assert 0.5 < same["cov"] < 0.75
    assert set_metrics.mmd_cov_nna(*matrices(generated + 100, real))["nna"] == 1


def test_one_set_repeated_covers_one_real_set_and_wins_nothing_by_ties():
    real = blobs(15, 10)
    repeated = np.repeat(blobs(16, 1), 10, 0)
    result = set_metrics.mmd_cov_nna(*matrices(repeated, real))
    assert result["cov"] == 1 / 10 and result["nna"] > 0.9
    copied = set_metrics.mmd_cov_nna(*matrices(np.repeat(real[:1], 10, 0), np.repeat(real, 2, 0)))
    assert copied["cov"] == 1 / 20  # two real sets are equally near, and only one counts as covered


def test_a_set_as_near_to_its_own_kind_as_to_the_other_is_half_right():
    everything = np.ones((4, 4))
    assert set_metrics.mmd_cov_nna(everything, everything, everything)["nna"] == 0.5
    real = blobs(17, 10)
    stolen = set_metrics.mmd_cov_nna(*matrices(real.copy(), real))
    assert (stolen["nna"], stolen["cov"], stolen["mmd"]) == (0, 1, 0)


def test_the_halves_of_1_nna_tell_a_part_of_the_real_sets_from_noise():
    """Half of the real sets are far from all generated ones: their neighbours are real."""
    rng = np.random.default_rng(0)
    near, far, generated = (rng.normal(size=(100, 4, 2)) for _ in range(3))
    near, far, generated = (np.float32(c + 0.01 * x) for c, x in ((0, near), (50, far),
                                                                  (0, generated)))  # fmt: skip
    real = np.concatenate([near, far])
    of_generated, of_real = set_metrics.nna_halves(*matrices(generated, real))
    assert of_generated == pytest.approx(0.5, abs=0.15)
    assert of_real == pytest.approx(0.75, abs=0.1)
    assert set_metrics.nna_halves(*matrices(generated, far)) == (1, 1)


def test_mmd_cov_nna_do_not_change_their_input():
    given = np.zeros((3, 3))
    set_metrics.mmd_cov_nna(given, given, given)
    assert (given == 0).all()


# ---------------------------------------------------------------- comparison with the floor


def test_compare_sets_is_made_of_its_parts():
    samples, real_a, real_b = 1.3 * blobs(18, 7), blobs(19, 7), blobs(20, 7)
    result = set_metrics.compare_sets(samples, real_a, real_b, emd_sets=5)
    for suffix, distance, count in (("cd", chamfer_by_loops, 7), ("emd", emd_by_scipy, 5)):
        value, floor = (
            numbers_by_loops(sets[:count], real_a[:count], distance) for sets in (samples, real_b)
        )
        for name in ("mmd", "cov", "nna"):
            entry = result[f"{name}_{suffix}"]
            assert entry["value"] == pytest.approx(value[name], rel=1e-5)
            assert entry["floor"] == pytest.approx(floor[name], rel=1e-5)
            assert (entry["num_sets"], entry["num_points"]) == (count, 16)
        ratio = result[f"mmd_{suffix}"]["ratio"]
        assert ratio == pytest.approx(value["mmd"] / floor["mmd"], rel=1e-5)
        assert result[f"cov_{suffix}"]["ratio"] is result[f"nna_{suffix}"]["ratio"] is None
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_compare_sets_has_intervals_and_says_when_sets_are_too_few():
    samples, real_a, real_b = 1.3 * blobs(18, 32), blobs(19, 32), blobs(20, 32)
    result = set_metrics.compare_sets(samples, real_a, real_b, emd_sets=12)
    for suffix, count in (("cd", 32), ("emd", 12)):
        for name in intervals.NAMES:
            entry = result[f"{name}_{suffix}"]
            for number, ends in (("value", "interval"), ("floor", "floor_interval")):
                low, high = entry[ends]
                assert low < entry[number] < high
            assert entry.get("note", "") == ("" if count == 32 else intervals.TOO_FEW)
    exact = matrices(samples[:12], real_a[:12], set_metrics.emd)
    values = {name: result[f"{name}_emd"]["value"] for name in intervals.NAMES}
    # intervals from the bound are about as wide as intervals from the exact EMD
    for name, ends in intervals.bootstrap(*exact, values).items():
        assert np.ptp(result[f"{name}_emd"]["interval"]) == pytest.approx(np.ptp(ends), rel=0.3)


def test_large_sets_are_compared_by_their_first_points(monkeypatch):
    sets = 1.3 * blobs(18, 20), blobs(19, 20), blobs(20, 20)
    first = set_metrics.compare_sets(*(each[:, :16] for each in sets))
    more = [np.concatenate([each, each + 9], axis=1) for each in sets]  # sets of 32 points
    monkeypatch.setattr(set_metrics, "MOST_POINTS", 16)
    assert set_metrics.compare_sets(*more) == first


def spots(count):
    """Images u8[count, 6, 6] with one lit pixel each; all pixels differ."""
    return np.eye(36, dtype=np.uint8)[:count].reshape(count, 6, 6)


def test_real_sets_are_of_different_images():
    """Real sets use different images; with replacement, most of a small test split would repeat."""
    dataset = from_images(spots(21), np.arange(21), 0.0, True, normalize=False)
    for at_most, count in ((4, 4), (500, 10)):
        groups = set_metrics.different_real_sets(dataset, jax.random.key(0), at_most, 5)
        assert [group.shape for group in groups] == [(count, 5, 2)] * 2
        of_image = {tuple(points[0]) for group in groups for points in group}
        assert len(of_image) == 2 * count
    with pytest.raises(UserError, match="images to compare with = 0: must be at least 4"):
        set_metrics.different_real_sets(dataset.replace(images=None), jax.random.key(0), 2, 5)


def test_a_generator_that_is_shifted_or_superposes_shows_in_nna():
    real_a, real_b = blobs(22, 60), blobs(23, 60)
    fresh = blobs(24, 60)
    mixed = np.concatenate([fresh[:, :8], blobs(25, 60)[:, 8:]], 1)  # halves of two sets
    values = {
        name: set_metrics.compare_sets(sets, real_a, real_b, emd_sets=2)["nna_cd"]["value"]
        for name, sets in {"fresh": fresh, "shifted": fresh + 6, "mixed": mixed}.items()
    }
    assert values["fresh"] < 0.65 and values["shifted"] > 0.7 and values["mixed"] > 0.7, values


def test_matching_in_parts_is_the_same_and_small(monkeypatch):
    """All matrices of a row at once would take 4 GB per thread at 1,000 points and 500 sets."""
    x, y = blobs(29, 5, 12), blobs(30, 9, 12)
    whole, sizes, real = set_metrics.emd(x, y), [], scipy.spatial.distance.cdist

    def counted(a, b, *metric):
        sizes.append(len(a) * len(b))
        return real(a, b, *metric)

    monkeypatch.setattr("scipy.spatial.distance.cdist", counted)
    monkeypatch.setattr(set_metrics, "MATCHED", 300)
    np.testing.assert_array_equal(set_metrics.emd(x, y), whole)
    assert max(sizes) <= 300 and sum(sizes) == 5 * 9 * 12 * 12


def test_compare_sets_refuses_bad_input():
    x = blobs(26, 3)
    with pytest.raises(UserError, match=r"samples.shape = \(2, 16, 2\): must be"):
        set_metrics.compare_sets(x[:2], x, x)
    with pytest.raises(UserError, match=r"samples.shape = \(1, 16, 2\): must be .* at least 2"):
        set_metrics.compare_sets(x[:1], x[:1], x[:1])
    spoiled = x.copy()
    spoiled[0, 3, 1] = np.inf
    with pytest.raises(UserError, match="real_b: points that are not finite = 1: must be 0"):
        set_metrics.compare_sets(x, x, spoiled)
