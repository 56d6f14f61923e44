"""Check nearest neighbours within sets, and points outside of the box of the data."""

import json

import jax
import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from tiny_diffusion_jax.metrics import grades, neighbours, outside
from tiny_diffusion_jax.point_sets import pad_sets

KEY = jax.random.key(0)
LIKE, CLOSE, DIFFERS = range(3)


def grid(rng, spread: float) -> np.ndarray:
    """Points of a square grid with step 1, moved by up to `spread`, without a random part."""
    side = rng.integers(4, 7)
    points = np.stack(np.meshgrid(*[np.arange(side)] * 2), -1).reshape(-1, 2)
    keep = rng.permutation(len(points))[: rng.integers(10, len(points))]
    return points[keep] + rng.uniform(-spread, spread, (len(keep), 2))


def drawn(seed: int, count: int, spread: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return pad_sets([grid(rng, spread) for _ in range(count)])


# ---------------------------------------------------------------- neighbours


def test_distances_are_those_to_the_nearest_other_point():
    sets = pad_sets([np.array([[0, 0], [3, 4], [3, 5]]), np.ones((1, 2)), np.zeros((2, 2))])
    first, second = neighbours.distances(sets)  # a single point has no neighbour
    np.testing.assert_allclose(first, [5, 1, 1])
    np.testing.assert_array_equal(second, [0, 0])


def test_the_value_is_the_difference_of_two_known_distances():
    pair = lambda distance: np.array([[0.0, 0.0], [distance, 0.0]])
    real = pad_sets([pair(1.0), pair(3.0)] * 20)
    metric = neighbours.compare(KEY, pad_sets([pair(2.5)] * 30), real[:20], real[20:])
    assert metric["value"] == pytest.approx((1.5 + 0.5) / 2)
    assert metric["mean"] == pytest.approx(2.5) and metric["sd"] == 0
    assert metric["true_mean"] == pytest.approx(2) and metric["true_sd"] == pytest.approx(1)
    # half of the sets are at 1: |share at 1 in one group - in the other| x 2, of 30 and 20 sets
    deviation = (1 / 4 * (1 / 30 + 1 / 20)) ** 0.5
    assert metric["floor"] == pytest.approx(2 * deviation * (2 / np.pi) ** 0.5, rel=0.25)
    assert json.loads(json.dumps(metric, allow_nan=False)) == metric


def test_the_value_is_that_of_scipy():
    own, trained, heldout = (drawn(seed, count, 0.3) for seed, count in ((0, 9), (1, 7), (2, 5)))
    metric = neighbours.compare(KEY, own, trained, heldout)
    own, real = (np.concatenate(neighbours.distances(sets)) for sets in (own, heldout))
    assert metric["value"] == pytest.approx(wasserstein_distance(own, real), rel=1e-9)
    assert metric["num_sets"] == 9 and metric["num_real"] == 5


@pytest.mark.parametrize("num_heldout", [4, 40])
def test_real_sets_pass_and_points_that_do_not_repel_are_caught(num_heldout):
    real = drawn(0, 60, 0.2), drawn(1, num_heldout, 0.2)
    for seed in range(3):
        like = neighbours.compare(KEY, drawn(2 + seed, 100, 0.2), *real)
        if num_heldout == 4:  # too few to see a difference, unless it is as large as below
            assert grades.is_undecided("neighbours", like), like
        else:
            assert grades.grade("neighbours", like).grade == LIKE, like
        loose = neighbours.compare(KEY, drawn(2 + seed, 100, 0.5), *real)
        assert grades.grade("neighbours", loose).grade == DIFFERS, loose


def test_without_held_out_sets_the_training_sets_are_real():
    metric = neighbours.compare(KEY, drawn(2, 50, 0.2), drawn(0, 60, 0.2))
    assert metric["num_real"] == 60 and grades.grade("neighbours", metric).grade == LIKE


def test_only_the_first_points_of_a_large_set_are_measured(monkeypatch):
    monkeypatch.setattr(neighbours, "MOST_POINTS", 2)
    (found,) = neighbours.distances(np.array([[[0.0, 0], [5, 0], [5, 1], [9, 9]]]))
    np.testing.assert_array_equal(found, [5, 1])


def test_sets_of_single_points_have_no_neighbours():
    assert neighbours.compare(KEY, np.zeros((3, 1, 2)), drawn(0, 5, 0.2)) == {}
    assert neighbours.compare(KEY, drawn(0, 5, 0.2), np.zeros((3, 1, 2))) == {}


def test_equal_distances_of_all_real_points_have_no_grade():
    metric = neighbours.compare(KEY, drawn(2, 50, 0.2), np.array([[[0.0, 0], [1, 0]]] * 5))
    assert metric["true_sd"] == 0 and grades.grade("neighbours", metric) is None


# ---------------------------------------------------------------- the box


def test_the_box_of_real_points_is_exact():
    real = pad_sets([np.array([[0.0, 0], [1, 1]]), np.array([[2.0, 0.5]])])  # [0, 2] x [0, 1]
    sets = pad_sets([np.array([[2, 1], [0, 0], [1.5, 1.01], [-0.1, 0.5]]), np.array([[2, 0.0]])])
    metric = outside.compare(sets, real)
    assert metric["value"] == pytest.approx(2 / 5)
    # of three real points, the first two are outside of the other set's box, and so is the third
    assert metric["floor"] == 1
    assert json.loads(json.dumps(metric, allow_nan=False)) == metric
    assert outside.compare(sets, real[:1])["floor"] is None


def test_the_floor_is_the_share_of_new_points_outside():
    rng = np.random.default_rng(0)
    normal = lambda count: rng.normal(size=(count, 10, 2))
    real = [outside.compare(normal(400), normal(50)) for _ in range(50)]
    value, floor = (np.mean([metric[name] for metric in real]) for name in ("value", "floor"))
    assert value == pytest.approx(floor, rel=0.15)
    graded = [grades.grade("outside", metric).grade for metric in real]
    assert graded == [LIKE] * len(real)


@pytest.mark.parametrize("spread, expected", [(1.0, LIKE), (1.02, CLOSE), (1.5, DIFFERS)])
def test_points_beyond_the_window_are_graded(spread, expected):
    rng = np.random.default_rng(0)
    window = lambda count, side: rng.uniform(0, side, (count, 30, 2))
    metric = outside.compare(window(200, spread), window(40, 1.0))
    assert grades.grade("outside", metric).grade == expected, metric
