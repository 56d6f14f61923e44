"""Compare distances between draws of points with closed forms and explicit loops."""

import itertools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.metrics import points as metrics

BANDWIDTHS = jnp.array([0.5, 2.0])
SHIFT = np.array([3.0, -4.0], np.float32)  # length 5


def normal(seed, *shape):
    return np.float32(np.random.default_rng(seed).normal(size=(*shape, 2)))


def sliced(x, y, num_projections=64):
    return float(metrics.sliced_wasserstein2(x, y, num_projections))


DISTANCES = {
    "sliced_wasserstein2": sliced,
    "wasserstein2": metrics.wasserstein2,
    "energy_distance": lambda x, y: float(metrics.energy_and_mmd(x, y, BANDWIDTHS)[0]),
    "mmd_rbf": lambda x, y: float(metrics.energy_and_mmd(x, y, BANDWIDTHS)[1]),
}
UNBIASED = "energy_distance", "mmd_rbf"
METRICS = [DISTANCES["sliced_wasserstein2"], DISTANCES["wasserstein2"]]


# ---------------------------------------------------------------- Wasserstein


def test_a_translation_is_its_length_and_sliced_its_length_over_root_two():
    x = normal(0, 200)
    assert metrics.wasserstein2(x, x + SHIFT) == pytest.approx(5, rel=1e-5)
    for num_projections in (2, 64):  # the average of cos^2 is exact from two directions on
        assert sliced(x, x + SHIFT, num_projections) == pytest.approx(5 / 2**0.5, rel=1e-5)


def test_a_dilation_is_monotone_so_the_identity_is_the_best_coupling():
    x = normal(1, 200)
    cost = np.mean(np.sum((2 * x + SHIFT - x) ** 2, -1))
    assert metrics.wasserstein2(x, 2 * x + SHIFT) ** 2 == pytest.approx(cost, rel=1e-5)
    assert sliced(x, 2 * x + SHIFT) ** 2 == pytest.approx(cost / 2, rel=1e-5)


def test_two_gaussians_have_the_distance_of_the_closed_form():
    x, y = normal(2, 700), 3 * normal(3, 700) + SHIFT
    bures = 25 + 2 * (3 - 1) ** 2  # |mean difference|^2 + sum of (std difference)^2
    assert metrics.wasserstein2(x, y) == pytest.approx(bures**0.5, rel=0.05)
    assert sliced(x, y) == pytest.approx((bures / 2) ** 0.5, rel=0.05)


def test_wasserstein2_is_the_best_of_all_permutations():
    x, y = normal(4, 6), normal(5, 6)
    best = min(np.sum((x - y[list(p)]) ** 2) for p in itertools.permutations(range(6)))
    assert metrics.wasserstein2(x, y) == pytest.approx((best / 6) ** 0.5, rel=1e-6)


def test_directions_are_evenly_spaced_over_the_half_circle():
    x, y, k = normal(8, 50) * [1, 5], normal(9, 50) * [4, 1], 5
    angle = np.pi / k  # this rotation maps the set of directions (as lines) to itself
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    assert sliced(x @ turn, y @ turn, k) == pytest.approx(sliced(x, y, k), rel=1e-5)
    assert sliced(x @ turn, y, k) != pytest.approx(sliced(x, y, k), rel=1e-2)


@pytest.mark.parametrize("distance", METRICS)
def test_axioms_of_a_metric(distance):
    x, y, z = normal(10, 80), normal(11, 80) * 2, normal(12, 80) + 1
    assert distance(x, x) == pytest.approx(0, abs=1e-6)
    assert distance(x, y) == pytest.approx(distance(y, x), rel=1e-6)
    assert 0 < distance(x, z) < distance(x, y) + distance(y, z)


def test_sliced_is_at_most_the_exact_distance_over_root_two():
    x, y = normal(13, 200), normal(14, 200) ** 3
    assert 0.3 < sliced(x, y) / metrics.wasserstein2(x, y) < 2**-0.5


def test_exact_distance_refuses_too_many_points_and_two_sizes():
    with pytest.raises(UserError, match="len.x. = 2001: must be at most 2000"):
        metrics.wasserstein2(np.zeros((2001, 2)), np.zeros((2001, 2)))
    with pytest.raises(UserError, match="len.y. = 4: must be len.x. = 3"):
        metrics.wasserstein2(np.zeros((3, 2)), np.zeros((4, 2)))


# ---------------------------------------------------------------- energy, MMD


def test_between_two_deltas():
    x, y = np.zeros((3, 2), np.float32), np.tile(SHIFT, (5, 1))
    assert DISTANCES["energy_distance"](x, y) == pytest.approx(2 * 5, rel=1e-6)
    kernel = np.exp(-25 / (2 * 0.5**2)) + np.exp(-25 / (2 * 2.0**2))
    assert DISTANCES["mmd_rbf"](x, y) == pytest.approx(2 * (2 - kernel), rel=1e-6)


@pytest.mark.parametrize("n, m", [(2, 3), (70, 128)])  # below, across and at the edges of chunks
def test_unbiased_metrics_equal_loops_over_pairs(n, m):
    x, y = normal(15, n), normal(16, m) * 1.5 + 0.3

    def mean(kernel, a, b, distinct):
        pairs = [
            kernel(math.dist(p, q))
            for i, p in enumerate(a)
            for j, q in enumerate(b)
            if not (distinct and i == j)
        ]
        return math.fsum(pairs) / len(pairs)

    def statistic(kernel):
        return mean(kernel, x, x, True) + mean(kernel, y, y, True) - 2 * mean(kernel, x, y, False)

    energy = statistic(lambda r: -r)
    mmd = statistic(lambda r: math.exp(-(r**2) / 0.5) + math.exp(-(r**2) / 8))
    assert DISTANCES["energy_distance"](x, y) == pytest.approx(energy, abs=3e-6)
    assert DISTANCES["mmd_rbf"](x, y) == pytest.approx(mmd, abs=3e-6)


def test_unbiased_metrics_average_to_zero_between_draws_of_one_density():
    repeats, n, m = 2_000, 10, 15
    both = lambda x, y: metrics.energy_and_mmd(x, y, BANDWIDTHS)  # noqa: E731
    values = np.asarray(jax.vmap(both)(normal(17, repeats, n), normal(18, repeats, m)))
    error = values.std(0) / repeats**0.5
    assert (np.abs(values.mean(0)) < 4 * error).all()
    # including the diagonal would add about 1/n, far outside the bound
    assert (20 * error < 1 / n).all()


def test_gaussian_energy_distance_has_its_closed_form():
    x, y = normal(19, 2_000), 3 * normal(20, 2_000)
    # |N(0, s^2 I)| in the plane has mean s sqrt(pi / 2); the variances of differences add
    closed = math.sqrt(math.pi / 2) * (2 * math.sqrt(10) - math.sqrt(2) - math.sqrt(18))
    assert DISTANCES["energy_distance"](x, y) == pytest.approx(closed, rel=0.1)


def test_gaussian_mmd_has_its_closed_form():
    x, y, b = normal(21, 2_000), 3 * normal(22, 2_000), 0.7
    term = lambda variance: b**2 / (b**2 + variance)  # noqa: E731  E k of N(0, variance I)
    closed = term(2) + term(18) - 2 * term(10)
    assert float(metrics.energy_and_mmd(x, y, b)[1]) == pytest.approx(closed, rel=0.1)


def test_median_distance_of_three_points():
    x = np.array([[0, 0], [5, 0], [0, 12.0]])  # distances 5, 12, 13
    assert metrics.median_distance(x) == 12
    assert metrics.median_distance(np.concatenate([x, 100 + x]), max_points=3) == 12


@pytest.mark.parametrize("name", DISTANCES)
def test_the_order_of_the_points_does_not_matter(name):
    x, y = normal(23, 80), normal(24, 80) + 1
    again = DISTANCES[name](x[::-1], np.random.default_rng(0).permutation(y))
    assert again == pytest.approx(DISTANCES[name](x, y), rel=1e-4)


# ---------------------------------------------------------------- comparison with the floor


def test_compare_against_known_ratios():
    real = normal(25, 3, 80)
    result = metrics.compare(real + 2 * SHIFT, real, real + SHIFT, exact_points=50, exact_sets=2)
    for name, length in (("sliced_wasserstein2", 5 / 2**0.5), ("wasserstein2", 5)):
        entry = result[name]
        assert entry["floor"] == pytest.approx(length, rel=1e-4)
        assert entry["value"] == pytest.approx(2 * length, rel=1e-4)
        assert entry["ratio"] == pytest.approx(2, rel=1e-4)
        assert entry["ratio_se"] == pytest.approx(0, abs=1e-3)
    assert (result["wasserstein2"]["num_points"], result["wasserstein2"]["num_sets"]) == (50, 2)
    assert (result["mmd_rbf"]["num_points"], result["mmd_rbf"]["num_sets"]) == (80, 3)
    for name in UNBIASED:
        assert result[name]["ratio"] is None and result[name]["value"] > result[name]["floor"] > 0
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_compare_takes_means_and_errors_over_the_sets():
    samples, real_a, real_b = 1.2 * normal(26, 5, 80), normal(27, 5, 80), normal(28, 5, 80)
    entry = metrics.compare(samples, real_a, real_b)["energy_distance"]
    values = [DISTANCES["energy_distance"](s, a) for s, a in zip(samples, real_a, strict=True)]
    floors = [DISTANCES["energy_distance"](b, a) for b, a in zip(real_b, real_a, strict=True)]
    near = {"rel": 1e-5, "abs": 1e-6}
    assert entry["value"] == pytest.approx(np.mean(values), **near)
    assert entry["value_se"] == pytest.approx(np.std(values, ddof=1) / 5**0.5, **near)
    assert entry["floor"] == pytest.approx(np.mean(floors), **near)
    assert entry["floor_std"] == pytest.approx(np.std(floors, ddof=1), **near)
    assert entry["floor_se"] == pytest.approx(entry["floor_std"] / 5**0.5, rel=1e-5)


def test_compare_ratio_error_is_that_of_a_jackknife_over_the_sets():
    # values and floors are correlated, so their errors must cancel
    scale = np.arange(1, 6)[:, None, None]
    samples, real_a, real_b = (scale * normal(seed, 5, 80) for seed in (26, 27, 28))
    entry = metrics.compare(samples, real_a, real_b)["sliced_wasserstein2"]
    values = [sliced(s, a) for s, a in zip(samples, real_a, strict=True)]
    floors = [sliced(b, a) for b, a in zip(real_b, real_a, strict=True)]
    left_out = [np.delete(values, i).sum() / np.delete(floors, i).sum() for i in range(5)]
    assert entry["ratio"] == pytest.approx(sum(values) / sum(floors), rel=1e-5)
    assert entry["ratio_se"] == pytest.approx(np.std(left_out) * 4**0.5, rel=0.15)


def test_compare_tells_data_from_a_slightly_wrong_model():
    real = normal(29, 3, 8, 800)
    good = metrics.compare(*real)
    bad = metrics.compare(1.15 * real[0], *real[1:])
    for name in good:
        spread = good[name]["floor_std"]
        assert abs(good[name]["value"] - good[name]["floor"]) < 1.5 * spread
        # the floor of wasserstein2 at 800 points hides a change this small
        if name != "wasserstein2":
            assert bad[name]["value"] - bad[name]["floor"] > 3 * spread
    ratio = good["sliced_wasserstein2"]
    assert abs(ratio["ratio"] - 1) < 4 * ratio["ratio_se"] < 0.6


def test_compare_with_one_set_has_no_spread():
    entry = metrics.compare(*normal(30, 3, 1, 80))["sliced_wasserstein2"]
    assert entry["ratio"] > 0
    assert entry["value_se"] is entry["floor_se"] is entry["floor_std"] is entry["ratio_se"] is None


def test_compare_rulers_come_from_the_real_data_in_any_units():
    samples, real_a, real_b = normal(31, 3, 2, 80) * np.array([1.3, 1, 1])[:, None, None, None]
    small = metrics.compare(samples, real_a, real_b)["mmd_rbf"]["value"]
    large = metrics.compare(50 * samples, 50 * real_a, 50 * real_b)["mmd_rbf"]["value"]
    assert large == pytest.approx(small, rel=1e-3)


def test_compare_refuses_bad_input():
    x = normal(32, 2, 10)
    with pytest.raises(UserError, match=r"samples.shape = \(10, 2\)"):
        metrics.compare(x[0], x, x)
    with pytest.raises(UserError, match=r"real_b.shape = \(2, 9, 2\)"):
        metrics.compare(x, x, x[:, :9])
    spoiled = x.copy()
    spoiled[0, 3, 1] = np.nan
    with pytest.raises(UserError, match="samples: points that are not finite = 1: must be 0"):
        metrics.compare(spoiled, x, x)
