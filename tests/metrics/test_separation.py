"""Check which member each set is assigned to: real, mixed and spoiled sets of known shapes."""

import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy.spatial.distance import cdist

from tiny_diffusion_jax.data import points
from tiny_diffusion_jax.data.densities import make_dataset, single_density
from tiny_diffusion_jax.data.shapes import SHAPES
from tiny_diffusion_jax.dataset import Dataset, draw_points
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.metrics import embedding, separation
from tiny_diffusion_jax.metrics import points as metrics

N = 128  # points per set


def aligned(name):
    """A shape with mean 0 and mean variance 1, so that members differ only in their strokes."""
    shape = make_dataset(single_density(SHAPES[name].sample))
    sample = Partial(lambda shape, key, num: shape.normalize(shape.draw(key, 1, num).points[0]))
    return make_dataset(single_density(Partial(sample, shape)), normalize=False)


def mixture(*names, weights=None):
    members = tuple(map(aligned, names))
    weights = jnp.full(len(names), 1 / len(names)) if weights is None else jnp.asarray(weights)
    whole = Dataset(draw=None, shift=jnp.zeros(2), scale=jnp.ones(()), members=members)
    return whole.reweighted(weights)


def draw(dataset, seed, num_sets, num_points=N):
    return np.asarray(draw_points(dataset, jax.random.key(seed), num_sets, num_points))


@pytest.fixture(scope="module")
def two():
    return mixture("moons", "circle", weights=[0.3, 0.7])


@pytest.fixture(scope="module")
def calibration(two):
    return separation.calibrate(two, jax.random.key(0), N, num_real=1_000)


# ---------------------------------------------------------------- the statistic


def test_discrepancy_equals_its_definition_in_float64():
    sets, bandwidth = draw(mixture("line"), 2, 3, 20), np.array([0.4, 1.5], np.float32)
    reference = np.stack([draw(mixture(name), 1, 1, 200)[0] for name in ("moons", "circle")])

    def mean(x, y, b):
        return np.exp(-cdist(x.astype(float), y.astype(float), "sqeuclidean") / (2 * b**2)).mean()

    distinct = lambda x, b: (mean(x, x, b) * len(x) - 1) / (len(x) - 1)
    pairs = [*zip(reference, bandwidth.astype(float), strict=True)]
    pictures, centre, self_kernel = embedding.embed_reference(reference, bandwidth)
    np.testing.assert_allclose(self_kernel, [distinct(*pair) for pair in pairs], rtol=1e-5)
    expected = [[distinct(s, b) + distinct(r, b) - 2 * mean(s, r, b) for r, b in pairs]
                for s in sets]  # fmt: skip
    result = embedding.discrepancy(pictures, centre, bandwidth, self_kernel, sets)
    np.testing.assert_allclose(result, expected, atol=1e-6)
    expected = metrics.energy_and_mmd(sets[0], reference[1], bandwidth[1])[1]
    assert float(result[0, 1]) == pytest.approx(float(expected), abs=1e-6)


def test_points_far_away_count_at_the_border():
    """21 bandwidths from the centre nothing overflows, and the kernel with the member is 0."""
    near, far = np.zeros((50, 2), np.float32), np.full((50, 2), 1e6, np.float32)
    origin, one = np.zeros(2, np.float32), np.float32(1)
    of_near, of_far, of_border = (
        embedding.embed(points, origin, one) for points in (near, far, near + 30.0)
    )
    assert float((of_far**2).sum()) == pytest.approx(1, abs=1e-5)
    assert float((of_far * of_near).sum()) == pytest.approx(0, abs=1e-6)
    np.testing.assert_array_equal(of_far, of_border)


def test_calibration_holds_independent_draws_of_each_member(two, calibration):
    assert calibration.embedding.shape == (2, embedding.NODES, embedding.NODES)
    assert calibration.stray_reference.shape == (2, 16384, 2)
    fresh = np.stack([draw(member, 3, 1, 4096)[0] for member in two.members])
    to_fresh = embedding.discrepancy(*calibration[:4], fresh)
    for k in range(2):
        reference = calibration.stray_reference[k]
        assert len(np.unique(reference, axis=0)) > 0.999 * len(reference)  # no point is used twice
        ruler = metrics.median_distance(fresh[k]) / 8
        assert calibration.bandwidth[k] == pytest.approx(ruler, rel=0.05)
        assert abs(to_fresh[k, k]) < 0.2 * calibration.threshold[k]


def test_calibration_is_computed_once_for_one_kind_of_sets(two, tmp_path, monkeypatch):
    computed = []

    def counted(drawn, *sizes):
        computed.append(sizes)
        return separation.Calibration(*[drawn.mean((1, 2, 3))] * 8, drawn.shape[2])

    monkeypatch.setattr(separation, "_calibrate", counted)
    sizes = {"num_real": 100, "num_reference": 256, "num_stray": 256, "folder": tmp_path / "new"}

    def calibrate(dataset=two, num_points=16, **fields):
        return separation.calibrate(dataset, jax.random.key(0), num_points, **sizes | fields)

    first, again = calibrate(), calibrate()
    assert len(computed) == 1 and again.num_points == 16
    for name, one, other in zip(first._fields, first, again, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=name)
    calibrate(mixture("moons", "line"))  # other data, set sizes or counts need another cache entry
    calibrate(num_points=17)
    calibrate(num_real=101)
    assert len(computed) == 4 and len(list((tmp_path / "new").iterdir())) == 4

    for file in (tmp_path / "new").iterdir():  # a damaged file is computed and written again
        file.write_bytes(file.read_bytes()[:1000])
    np.testing.assert_array_equal(calibrate().threshold, first.threshold)
    calibrate()
    assert len(computed) == 5
    # a path that is not a folder disables the cache
    (tmp_path / "file").write_text("", encoding="utf-8")
    np.testing.assert_array_equal(calibrate(folder=tmp_path / "file").threshold, first.threshold)


def test_the_work_of_calibrating_goes_with_the_number_of_sets():
    assert [separation.enough_real(n) for n in (1, 3, 500, 10_000)] == [200, 200, 1_000, 2_000]


# ---------------------------------------------------------------- real sets and spoiled sets


def test_real_sets_score_99_per_cent_and_know_their_member(two, calibration):
    drawn = jax.jit(lambda dataset, key: dataset.draw(key, 1_000, N))(two, jax.random.key(4))
    found = separation.separate(calibration, drawn.points)
    np.testing.assert_array_equal(found.member, drawn.label)
    for k in range(2):
        assert found.accepted[found.member == k].mean() == pytest.approx(0.99, abs=0.01)
        strays = found.stray[found.member == k].mean()
        assert strays == pytest.approx(0.001, abs=0.0005)
    summary = separation.summarize(found, two.weights)
    assert summary["separation"] == pytest.approx(0.99, abs=0.01)
    assert summary["frequencies"] == pytest.approx([0.3, 0.7], abs=0.04)
    assert summary["frequency_error"] < 0.04


def test_superposed_sets_score_zero(two, calibration):
    sets = np.concatenate([draw(member, 5, 300) for member in two.members], 1)
    picked = np.random.default_rng(0).permuted(np.arange(2 * N)[None].repeat(300, 0), axis=1)
    superposed = np.take_along_axis(sets, picked[:, :N, None], 1)
    assert separation.separate(calibration, superposed).accepted.sum() == 0


def test_a_few_points_of_elsewhere_are_stray_though_the_test_accepts(two, calibration):
    sets = draw(two.members[0], 6, 300).copy()
    count = round(0.06 * N)
    clean = separation.separate(calibration, sets)
    sets[:, :count] = draw(two.members[1], 7, 300, count)
    found = separation.separate(calibration, sets)
    assert (found.member == 0).all() and found.accepted.mean() > 0.7
    assert clean.stray.mean() < 0.002 and 0.04 < found.stray.mean() < 0.065


def test_statistic_is_one_at_the_border():
    """Sets and members of one repeated point have MMD^2 = 2 - 2 exp(-d^2 / (2 b^2)).

    d is the distance between the two points.
    """
    place, bandwidth = np.array([[0.0, 0.0], [10.0, 0.0]]), np.array([1.0, 2.0])
    at_one_bandwidth = 2 - 2 * np.exp(-0.5)
    references = np.float32(np.broadcast_to(place[:, None], (2, 50, 2)))
    calibration = separation.Calibration(
        *embedding.embed_reference(references, np.float32(bandwidth))[:2], np.float32(bandwidth),
        np.ones(2, np.float32), np.full(2, at_one_bandwidth, np.float32),
        references, np.array([0.995, 3.0], np.float32), np.array([1_000, 1_000]), 8,
    )  # fmt: skip
    centre = np.array([[0.99, 0], [0, -1.01], [10, 1.98], [10, 2.02], [13.01, 0]])
    found = separation.separate(calibration, np.repeat(centre[:, None], 8, axis=1))
    distance = cdist(centre, place) / bandwidth
    expected = (2 - 2 * np.exp(-(distance**2) / 2)) / at_one_bandwidth
    np.testing.assert_allclose(found.statistic, expected, atol=1e-5)
    np.testing.assert_array_equal(found.member, [0, 0, 1, 1, 1])
    np.testing.assert_array_equal(found.accepted, [True, False, True, False, False])
    np.testing.assert_array_equal(found.stray, [0, 1, 0, 0, 1])


def test_thresholds_are_the_quantiles_of_the_real_sets(two, calibration):
    """Exactly 990 of 1,000 real sets lie at or below their 99 % quantile."""
    for k, member in enumerate(two.members):
        num_sets = 1_000 + -(-(4_096 + 16_384) // N)
        real = draw_points(member, jax.random.fold_in(jax.random.key(0), k), num_sets, N)[:1_000]
        statistic = separation.separate(calibration, real).statistic[:, k]
        assert (statistic <= 1).sum() == 990


def test_evenly_spaced_points_look_better_than_real_ones(calibration):
    """Show why the calibration avoids scikit-learn's moons: their points are not independent."""
    from sklearn.datasets import make_moons

    moons = [make_moons(N, noise=0.03, random_state=i)[0] for i in range(100)]
    seed = make_dataset(single_density(SHAPES["moons"].sample))
    even = seed.normalize((np.stack(moons) + 0.3) * np.array([2, 3]) - 1)
    independent = draw(mixture("moons"), 9, 100)
    statistics = [separation.separate(calibration, s).statistic[:, 0] for s in (even, independent)]
    assert np.quantile(statistics[0], 0.99) < 0.1 * np.quantile(statistics[1], 0.99)


def test_a_member_that_is_there_twice_is_no_error():
    twins = mixture("circle", "circle")
    found = separation.separate(
        separation.calibrate(twins, jax.random.key(10), 32, num_real=200), draw(twins, 11, 300, 32)
    )
    assert found.accepted.mean() > 0.94 and set(found.member) == {0, 1}


def test_a_single_density_is_its_own_member():
    dataset = make_dataset(single_density(SHAPES["circle"].sample))
    calibration = separation.calibrate(dataset, jax.random.key(12), 32, num_real=200)
    found = separation.separate(calibration, draw(dataset, 13, 300, 32))
    assert (found.member == 0).all() and found.accepted.mean() > 0.96


# ---------------------------------------------------------------- points that are drawn again


def table(rows, std=0.0):
    """Rows drawn with replacement, plus Gaussian jitter, as a member of a mixture."""
    rows = jnp.asarray(rows, jnp.float32)
    return make_dataset(points._draw(rows, std), normalize=False)


def normal_rows(seed, num):
    return np.random.default_rng(seed).normal(size=(num, 2)).astype(np.float32)


ROWS = normal_rows(0, 3_000)


@pytest.mark.parametrize("rows, std", [
    (ROWS, 0.0), (ROWS, 0.02), (ROWS[:80], 0.02),
    # each of 2,000 rows occurs once or twice
    (np.repeat(ROWS, np.arange(3_000) % 3, axis=0), 0.0),
], ids=["rows", "jitter", "few with jitter", "duplicates"])  # fmt: skip
def test_real_points_of_a_table_are_stray_as_often_as_any(rows, std):
    """Rows are drawn repeatedly, so a threshold from distances 0 would flag all other points."""
    member = table(rows, std)
    calibration = separation.calibrate(member, jax.random.key(0), N, num_real=500)
    share = lambda sets: separation.separate(calibration, sets).stray.mean()
    real = draw(member, 1, 400)
    assert share(real) == pytest.approx(0.001, abs=0.0008)
    assert share(real + np.float32(1e-4)) < 0.002
    assert share(real + np.float32([8, 0])) == 1
    if std == 0:  # new points of the density that the rows were drawn from
        fresh = normal_rows(2, 400 * N).reshape(400, N, 2)
        assert share(fresh) == pytest.approx(0.001, abs=0.002)


def test_a_member_of_few_rows_has_no_stray_points():
    """80 or 5 distances have no 99.9 % quantile; other members keep their share of stray points."""
    members = table(ROWS[:5]), table(3 + ROWS[:80]), aligned("moons")
    whole = Dataset(draw=None, shift=jnp.zeros(2), scale=jnp.ones(()), members=members)
    few = whole.replace(members=members[:2]).reweighted(jnp.array([0.5, 0.5]))
    calibration = separation.calibrate(few, jax.random.key(0), N, num_real=200, num_stray=2_000)
    np.testing.assert_array_equal(calibration.distinct, [5, 80])
    sets = draw(few, 1, 20) + np.float32(1e-4)
    found = separation.separate(calibration, sets)
    assert not found.is_stray.any() and np.isnan(found.stray).all()
    result = separation.compare(few, jax.random.key(2), sets, calibration, found)
    assert "stray" not in result and result["separation"]["floor"] > 0.9

    dataset = whole.reweighted(jnp.full(3, 1 / 3))
    calibration = separation.calibrate(dataset, jax.random.key(0), N, num_real=200, num_stray=2_000)
    sets = draw(dataset, 1, 80)
    found = separation.separate(calibration, sets)
    np.testing.assert_array_equal(np.isnan(found.stray), found.member != 2)
    summary = separation.summarize(found, dataset.weights)
    assert summary["stray"] == pytest.approx(0.001, abs=0.002)
    assert summary["stray"] == pytest.approx(found.stray[found.member == 2].mean())


# ---------------------------------------------------------------- metrics


def test_summary_of_known_sets():
    found = SimpleNamespace(
        member=np.array([0, 0, 0, 1]), accepted=np.array([True, True, False, True]),
        stray=np.array([0, 0, 0.5, 0.1]),
    )  # fmt: skip
    summary = separation.summarize(found, [0.5, 0.25, 0.25])
    assert summary["separation"] == 0.75
    assert summary["separation_se"] == pytest.approx((0.75 * 0.25 / 4) ** 0.5)
    assert summary["frequencies"] == [0.75, 0.25, 0]
    assert summary["frequency_error"] == 0.25
    assert summary["frequency_error_se"] == pytest.approx((0.75 * 0.25 / 4) ** 0.5)
    assert summary["stray"] == pytest.approx(0.15)
    assert summary["stray_se"] == pytest.approx(np.std([0, 0, 0.5, 0.1], ddof=1) / 2)


def test_compare_puts_each_number_beside_that_of_real_sets(two, calibration):
    sets = draw(two, 14, 300)
    found = separation.separate(calibration, sets)
    result = separation.compare(two, jax.random.key(15), sets, calibration, found)
    expected = separation.summarize(found, two.weights)
    for name in ("separation", "stray", "frequency_error"):
        entry = result[name]
        assert entry["value"] == expected[name] and entry["value_se"] == expected[f"{name}_se"]
        assert (entry["num_sets"], entry["num_points"], entry["ratio"]) == (300, N, None)
    assert result["separation"]["floor"] == pytest.approx(0.99, abs=0.02)
    assert result["stray"]["floor"] == pytest.approx(0.001, abs=0.001)
    assert result["frequency_error"]["members"] == expected["frequencies"]
    assert result["frequency_error"]["weights"] == pytest.approx([0.3, 0.7])
    pooled = result["within_sliced_wasserstein2"]
    assert pooled["ratio"] == max(pooled["members"]) == pytest.approx(1, abs=0.35)
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_pooled_distance_is_the_sliced_one_between_draws(two):
    draws = draw(two.members[0], 16, 2, separation.DRAW_POINTS)
    first, second = separation._as_vectors(draws)
    expected = metrics.sliced_wasserstein2(*draws, separation.NUM_PROJECTIONS)
    assert np.linalg.norm(first - second) == pytest.approx(float(expected), rel=1e-4)


def test_pooled_distances_see_a_member_that_is_spoilt_or_missing(two):
    size = separation.DRAW_POINTS
    first, second = (draw(member, 17 + k, 300)[:100] for k, member in enumerate(two.members))
    sets = np.concatenate([first, 1.1 * second])
    member = np.repeat([0, 1], 100)
    right, wrong = separation.pooled_distances(two, jax.random.key(19), sets, member)
    assert right["ratio"] == pytest.approx(1, abs=0.3) and wrong["ratio"] > 3
    assert (right["num_sets"], right["num_points"]) == (100 * N // size, size)
    few, enough = separation.pooled_distances(two, jax.random.key(19), sets[69:], member[69:])
    assert few is None and enough["ratio"] > 3  # 31 sets of 128 points are fewer than 4,000 points


def test_compare_leaves_out_what_has_too_few_points(two):
    small = separation.calibrate(two, jax.random.key(0), 32, num_real=200)
    sets = draw(two, 21, 40, 32)
    found = separation.separate(small, sets)
    result = separation.compare(two, jax.random.key(20), sets, small, found)
    assert set(result) == {"separation", "stray", "frequency_error"}
    assert result["separation"]["value"] > 0.9


def test_bad_input_is_one_line(calibration):
    with pytest.raises(UserError, match=r"sets.shape = \(3, 100, 2\): must be \(num_sets, 128, 2"):
        separation.separate(calibration, np.zeros((3, 100, 2)))
    with pytest.raises(UserError, match="sets: points that are not finite = 128: must be 0"):
        separation.separate(calibration, np.full((1, N, 2), np.nan))
    with pytest.raises(UserError, match="num_points = 1: must be at least 2"):
        separation.calibrate(mixture("circle"), jax.random.key(0), 1)
