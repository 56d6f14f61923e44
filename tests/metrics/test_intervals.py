"""Check that intervals over few sets contain the expected value as often as stated."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import binom

from tiny_diffusion_jax.metrics import intervals
from tiny_diffusion_jax.metrics.sets import mmd_cov_nna


def matrices(generated, real):
    return cdist(generated, generated), cdist(generated, real), cdist(real, real)


def normal_pair(rng, count, dim, shift):
    """Distances between `count` points of N(shift, I) and `count` points of N(0, I).

    Each point is used as a set.
    """
    return matrices(shift + rng.normal(size=(count, dim)), rng.normal(size=(count, dim)))


@pytest.mark.parametrize("count, dim, shift", [(6, 4, 0.0), (20, 4, 0.7), (30, 10, 0.0)])
def test_the_interval_holds_the_expected_value_about_95_times_in_100(
    monkeypatch, count, dim, shift
):
    monkeypatch.setattr(intervals, "RESAMPLES", 200)
    rng = np.random.default_rng(0)
    expected = [mmd_cov_nna(*normal_pair(rng, count, dim, shift)) for _ in range(2_000)]
    expected = {name: np.mean([numbers[name] for numbers in expected]) for name in intervals.NAMES}
    held = {name: [] for name in intervals.NAMES}
    widths = {name: [] for name in intervals.NAMES}
    for _ in range(200):
        distances = normal_pair(rng, count, dim, shift)
        found = intervals.bootstrap(*distances, mmd_cov_nna(*distances))
        for name, (low, high) in found.items():
            held[name].append(low <= expected[name] <= high)
            widths[name].append(high - low)
    for name in intervals.NAMES:
        assert np.mean(held[name]) > 0.9
    assert np.mean(held["mmd"]) < 0.99 and np.mean(held["nna"]) < 0.99
    assert np.mean(widths["nna"]) < 2 / count**0.5 and np.mean(widths["cov"]) < 2.1 / count**0.5


def test_wilsons_interval_holds_a_share_about_95_times_in_100():
    for count, share in ((10, 0.8), (25, 0.5), (200, 0.97)):
        cases = np.arange(count + 1)
        found = np.array([intervals.of_share(k / count, count) for k in cases])
        held = (found[:, 0] <= share) & (share <= found[:, 1])
        assert binom.pmf(cases[held], count, share).sum() == pytest.approx(0.95, abs=0.03)
    assert intervals.of_share(1.0, 5) == pytest.approx([0.5655, 1.0], abs=1e-3)
    assert intervals.of_share(0.0, 5) == pytest.approx([0.0, 0.4345], abs=1e-3)


def numbers_by_loops(gg, gr, rr, generated, real):
    """MMD, COV, 1-NNA of a resample; copies of a set do not count as its neighbours."""
    present = [np.flatnonzero(generated), np.flatnonzero(real)]
    back = {r: min(gr[g, r] for g in present[0]) for r in present[1]}
    covered = {min(present[1], key=lambda r: gr[g, r]) for g in present[0]}
    right = 0.0
    for g in present[0]:
        same = min((gg[g, h] for h in present[0] if h != g), default=np.inf)
        right += generated[g] * (same < min(gr[g, r] for r in present[1]))
    for r in present[1]:
        same = min((rr[r, h] for h in present[1] if h != r), default=np.inf)
        right += real[r] * (same < back[r])
    return [sum(real[r] * back[r] for r in back) / real.sum(),
            sum(real[r] for r in covered) / real.sum(),
            right / (generated.sum() + real.sum())]  # fmt: skip


def test_numbers_of_a_resample_equal_loops():
    rng = np.random.default_rng(1)
    distances = matrices(rng.normal(size=(7, 2)), rng.normal(size=(5, 2)))
    generated = intervals._multiplicities(rng, 30, 7)
    real = intervals._multiplicities(rng, 30, 5)
    real[:2] = [[0, 5, 0, 0, 0], [1, 1, 1, 1, 1]]  # one set five times, and each set once
    assert (generated.sum(1) == 7).all() and (real.sum(1) == 5).all()
    found = intervals._numbers(*distances, generated, real)
    expected = [numbers_by_loops(*distances, *pair) for pair in zip(generated, real, strict=True)]
    np.testing.assert_allclose(found.T, expected, rtol=1e-12)
    all_of_them = intervals._numbers(*distances, np.ones((1, 7), int), np.ones((1, 5), int))
    np.testing.assert_allclose(all_of_them[:, 0], list(mmd_cov_nna(*distances).values()))


def test_two_sets_a_group_have_an_interval_that_judges_nothing():
    rng = np.random.default_rng(2)
    for shift in (0.0, 100.0):
        distances = normal_pair(rng, 2, 3, shift)
        found = intervals.bootstrap(*distances, mmd_cov_nna(*distances))
        low, high = found["nna"]
        assert 0 <= low < high <= 1 and high - low > 0.4
        assert found["mmd"][0] < found["mmd"][1] and found["cov"][0] < found["cov"][1]
        # the bootstrap uses a fixed key
        assert found == intervals.bootstrap(*distances, mmd_cov_nna(*distances))


def test_copies_have_an_interval_at_zero():
    real = np.random.default_rng(3).normal(size=(12, 3))
    distances = matrices(real.copy(), real)
    found = intervals.bootstrap(*distances, mmd_cov_nna(*distances))
    assert found["mmd"][0] == 0 and found["nna"][0] == 0 and found["cov"][1] == 1
