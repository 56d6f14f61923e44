"""Check that real data have the best grade, and that every metric detects its failures."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from tiny_diffusion_jax.data.densities import make_dataset, single_density
from tiny_diffusion_jax.data.observed import from_observed
from tiny_diffusion_jax.dataset import Dataset, draw_points
from tiny_diffusion_jax.metrics import grades, memorization, score_field, separation, sets, sizes
from tiny_diffusion_jax.metrics import likelihood_metrics as likelihood
from tiny_diffusion_jax.metrics import points as point_metrics

LIKE, CLOSE, DIFFERS = 0, 1, 2


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def levels(metrics):
    graded = {name: grades.grade(name, metric) for name, metric in metrics.items()}
    return {name: found.grade for name, found in graded.items() if found is not None}


# ---------------------------------------------------------------- one density


def metrics_of_points(change, num_sets=8):
    samples, real_a, real_b = (normal(seed, num_sets, 500, 2) for seed in (1, 2, 3))
    options = {"num_projections": 16, "exact_points": 300}
    return point_metrics.compare(change(samples), real_a, real_b, **options)


def undecided(metrics):
    return {name for name, metric in metrics.items() if grades.is_undecided(name, metric)}


@pytest.mark.parametrize("num_sets", [1, 2, 8])
def test_real_points_have_the_best_grade(num_sets):
    metrics = metrics_of_points(lambda points: points, num_sets)
    if num_sets == 8:
        assert levels(metrics) == dict.fromkeys(metrics, LIKE) and not undecided(metrics)
    else:
        assert levels(metrics) == {}
        assert undecided(metrics) >= {"sliced_wasserstein2", "wasserstein2"}


def test_too_few_sets_to_see_a_difference_have_no_grade():
    metric = {"value": 0.05, "floor": 0.03, "ratio": 1.6, "ratio_se": 0.1, "num_sets": 8}
    few = metric | {"ratio_se": 0.3}  # chance is 1.4, above the limit of "close"
    assert levels({"sliced_wasserstein2": metric}) == {"sliced_wasserstein2": CLOSE}
    assert levels({"sliced_wasserstein2": few}) == {} and undecided({"sliced_wasserstein2": few})
    assert levels({"wasserstein2": few | {"ratio": 4.0}}) == {"wasserstein2": DIFFERS}


@pytest.mark.parametrize("change", [
    lambda points: points + 0.5,  # shifted
    lambda points: 0.6 * points,  # shrunk
    lambda points: np.tile(points[:, :5], (1, 100, 1)),  # copies of five points
    lambda points: 4 * normal(9, *points.shape),  # noise
])  # fmt: skip
def test_every_distance_of_points_sees_wrong_points(change):
    metrics = metrics_of_points(change)
    assert grades.worst(metrics)[1].grade == DIFFERS
    found = levels(metrics)
    assert found["mmd_rbf"] == DIFFERS
    # The floor of the exact distance at 300 points is large, so not every change is visible.
    assert min(found["sliced_wasserstein2"], found["energy_distance"]) >= CLOSE, found


def log_normal(points, centre=0.0):
    return -0.5 * ((points - centre) ** 2).sum(-1) - np.log(2 * np.pi)


def test_nats_that_are_missing_are_graded_and_those_without_a_floor_are_not():
    dataset = make_dataset(single_density(lambda key, n: jax.random.normal(key, (n, 2))),
                           normalize=False, log_prob=Partial(log_normal))  # fmt: skip
    # the log-likelihood is shift^2 nats too low
    for shift, expected in ((0.0, LIKE), (0.5, CLOSE), (2.0, DIFFERS)):
        log_prob = lambda points, shift=shift: np.asarray(log_normal(points, shift))
        entry = likelihood.compare(dataset, log_prob, jax.random.key(0), 500)
        assert entry["nats_to_truth"] == pytest.approx(shift**2, abs=0.2)
        assert grades.grade("log_likelihood", entry).grade == expected
    entry["nats_to_truth"] = None
    assert grades.grade("log_likelihood", entry) is None
    bound = {"value": 1.0, "nats_to_truth": 3.0, "bound": True}
    assert grades.grade("set_log_likelihood", bound) is None


def test_mass_elsewhere_is_the_total_variation_beside_that_of_the_truth():
    extent, size = (-4.0, 4.0, -4.0, 4.0), 40
    centres = likelihood.centres(extent, size)
    true = log_normal(centres)
    points = normal(4, 200_000, 2)
    share, *_ = np.histogram2d(points[:, 1], points[:, 0], bins=size, range=[[-4, 4], [-4, 4]])
    share = share / share.sum()
    same = score_field.total_variation(true, share, len(points), true)
    assert same["value"] == same["floor"] < 0.03
    assert grades.grade("total_variation", same).grade == LIKE
    chance = score_field.total_variation(true, share, len(points))
    # the difference is counting noise only
    assert chance["floor"] == pytest.approx(same["floor"], rel=0.2)
    moved = score_field.total_variation(log_normal(centres, 1.0), share, len(points), true)
    # the total variation of N(0, I) and N(d, I) is 2 Phi(|d| / 2) - 1, with |d| = sqrt(2)
    assert moved["value"] == pytest.approx(0.5205, abs=0.02)
    assert grades.grade("total_variation", moved).grade == DIFFERS


# ---------------------------------------------------------------- members


def member(centre):
    draw = lambda key, n: 0.3 * jax.random.normal(key, (n, 2)) + jnp.asarray(centre)
    return make_dataset(single_density(draw), normalize=False)


@pytest.fixture(scope="module")
def two():
    members = member((-1.0, 0.0)), member((1.0, 0.0))
    whole = Dataset(draw=None, shift=jnp.zeros(2), scale=jnp.ones(()), members=members)
    return whole.reweighted(jnp.array([0.5, 0.5]))


@pytest.fixture(scope="module")
def member_metrics(two):
    calibration = separation.calibrate(two, jax.random.key(0), 100, num_real=300, num_stray=4_000)

    def metrics(change):
        points = change(np.asarray(draw_points(two, jax.random.key(1), 256, 100)))
        found = separation.separate(calibration, points)
        return separation.compare(two, jax.random.key(2), points, calibration, found)

    return metrics


def superpose(points):
    """Replace half of the points of each set by points of another set."""
    return np.concatenate([points[:, :50], np.roll(points, 1, axis=0)[:, 50:]], 1)


@pytest.mark.parametrize("change, decides", [
    (lambda points: points, None),
    (superpose, "separation"),
    (lambda points: points + np.float32([0, 3]), "stray"),
    (lambda points: np.abs(points[..., :1]) * np.float32([1, 0]) + points * np.float32([0, 1]),
     "frequency_error"),
    (lambda points: points * np.float32([1, 0.2]), "within_sliced_wasserstein2"),
], ids=["real", "superposed", "shifted", "one member", "shrunk"])  # fmt: skip
def test_members_are_graded_by_the_metric_that_must_catch_it(member_metrics, change, decides):
    metrics = member_metrics(change)
    found = levels(metrics)
    if decides is None:
        assert set(found.values()) == {LIKE} and len(found) == 4, metrics
    else:
        assert found[decides] == DIFFERS == grades.worst(metrics)[1].grade, metrics


# ---------------------------------------------------------------- sets


def blobs(seed, count):
    return normal(seed, count, 16, 2) + 3 * normal(seed + 100, count, 1, 2)


def compared(samples, count=60):
    return sets.compare_sets(samples[:count], blobs(1, count), blobs(2, count), emd_sets=count)


def test_real_sets_have_the_best_grade():
    names = {"mmd_cd", "cov_cd", "nna_cd", "mmd_emd", "cov_emd", "nna_emd"}
    few, many = (compared(blobs(3, count), count) for count in (60, 160))
    assert levels(many) == dict.fromkeys(names, LIKE)
    assert levels(few) == {"mmd_emd": LIKE} and undecided(few) == names - {"mmd_emd"}


@pytest.mark.parametrize("change", [
    lambda points: points + 8,  # shifted
    lambda points: 0.2 * points,  # shrunk
    lambda points: np.repeat(points[:1], len(points), axis=0),  # one set
    lambda points: np.concatenate([points[:, :8], np.roll(points, 1, axis=0)[:, 8:]], 1),
], ids=["shifted", "shrunk", "one set", "superposed"])  # fmt: skip
def test_wrong_sets_are_caught(change):
    assert grades.worst(compared(change(blobs(3, 60))))[1].grade == DIFFERS


def test_few_sets_have_no_grade():
    metrics = compared(blobs(3, 60) + 8, 6)
    assert levels(metrics) == {} and grades.worst(metrics) is None


def observed(seed, count):
    points = blobs(seed, count)
    offsets, each = np.arange(0, 16 * count, 16), np.full(count, 16)
    return from_observed(points.reshape(-1, 2), offsets, each, normalize=False)


def test_copies_and_sizes_are_graded():
    dataset = observed(5, 120).replace(heldout=observed(6, 120))
    compare = partial(memorization.compare, dataset, jax.random.key(0))
    training = np.asarray(dataset.points).reshape(120, 16, 2)
    assert grades.grade("copies", compare(blobs(7, 100))).grade == LIKE
    assert grades.grade("copies", compare(training[:100])).grade == DIFFERS
    rng = np.random.default_rng(0)
    each = rng.integers(5, 30, 200)
    ragged = from_observed(normal(8, each.sum(), 2), np.cumsum(each) - each, each, normalize=False)
    for low, high, expected in ((5, 30, LIKE), (5, 10, DIFFERS)):
        count = rng.integers(low, high, 100)[:, None]
        drawn = np.where(np.arange(30) < count, 0.0, np.nan)[..., None].repeat(2, -1)
        entry = sizes.compare(ragged, jax.random.key(0), drawn)
        assert grades.grade("sizes", entry).grade == expected, entry


def test_wrong_labels_are_graded():
    entry = {"value": 0.97, "floor": 0.98, "num_sets": 200,
             "interval": [0.94, 0.99], "floor_interval": [0.97, 0.99]}  # fmt: skip
    assert grades.grade("label_accuracy", entry).grade == LIKE
    assert grades.grade("label_accuracy", entry | {"value": 0.5}).grade == DIFFERS
    assert grades.grade("label_accuracy", entry | {"note": "too few"}) is None
    assert grades.grade("label_accuracy", entry | {"floor": None, "floor_interval": None}) is None


def test_the_worst_metric_decides_and_all_limits_have_reasons():
    good = {"value": 1.0, "floor": 1.0, "ratio": 1.0, "ratio_se": 0.01, "num_sets": 32}
    far = {"value": 1.19, "floor": 0.01, "floor_std": 0.09, "ratio": None, "num_sets": 8}
    name, graded, count = grades.worst({"sliced_wasserstein2": good, "energy_distance": far,
                                        "wasserstein2": good, "unknown": good})  # fmt: skip
    assert (name, graded.grade, count) == ("energy_distance", DIFFERS, 3)
    assert all(limit.reason and limit.same <= limit.close for limit in grades.LIMITS.values())
