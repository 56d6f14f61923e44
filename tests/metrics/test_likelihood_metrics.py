"""Check the likelihood of held-out points, and the image of the model's density."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy.stats import gaussian_kde, multivariate_normal

from tiny_diffusion_jax.data import halves
from tiny_diffusion_jax.data.densities import make_dataset, single_density
from tiny_diffusion_jax.data.observed import from_observed
from tiny_diffusion_jax.metrics import grades
from tiny_diffusion_jax.metrics import likelihood_metrics as likelihood
from tiny_diffusion_jax.point_sets import PointSets, lengths, ragged
from tiny_diffusion_jax.reports import summary, words

EXTENT = (-4.0, 4.0, -5.0, 3.0)


def normal(key, num):
    return 0.5 * jax.random.normal(key, (num, 2))


def log_normal(points):
    return -0.5 * ((points / 0.5) ** 2).sum(-1) - np.log(2 * np.pi * 0.25)


def counting(calls):
    def log_prob(points):
        calls.append(points.shape)
        return np.asarray(log_normal(points))

    return log_prob


GAUSSIAN = make_dataset(
    single_density(Partial(normal)), normalize=False, log_prob=Partial(log_normal)
)


def test_a_model_that_is_the_density_itself_has_its_negative_entropy():
    calls = []
    entry = likelihood.compare(GAUSSIAN, counting(calls), jax.random.key(0), 4_000)
    assert entry["value"] == pytest.approx(entry["floor"], abs=1e-5)
    expected = -1 - np.log(2 * np.pi * 0.25)
    assert entry["value"] == pytest.approx(expected, abs=4 * entry["value_se"])
    assert entry["value_se"] == pytest.approx(1 / np.sqrt(4_000), rel=0.1)
    assert entry["points"] == "fresh draws of the data" and calls == [(4_000, 2)]
    shifted = likelihood.compare(
        GAUSSIAN, lambda points: np.asarray(log_normal(points - 0.5)), jax.random.key(0), 4_000
    )
    assert shifted["value"] < shifted["floor"] - 0.5


def test_rows_of_a_table_are_the_ones_held_out_each_once():
    rows, held = (np.asarray(normal(jax.random.key(seed), 30)) for seed in (1, 2))
    seen = []

    def log_prob(points):
        seen.append(points)
        return np.asarray(log_normal(points))

    table = GAUSSIAN.replace(rows=jnp.asarray(rows), log_prob=None)
    of_training = likelihood.compare(table, counting([]), jax.random.key(0), 2_000)
    assert of_training["points"] == "rows that were trained on"
    assert of_training["num_points"] == 30 and of_training["floor"] is None
    assert of_training["value"] == pytest.approx(float(log_normal(rows).mean()), rel=1e-5)
    split = table.replace(heldout=GAUSSIAN.replace(rows=jnp.asarray(held)))
    entry = likelihood.compare(split, log_prob, jax.random.key(0), 20)
    assert entry["points"] == "rows held out from training" and entry["num_points"] == 20
    [points] = seen
    row = {tuple(point): i for i, point in enumerate(held.tolist())}
    assert len({row[tuple(point)] for point in points.tolist()}) == 20
    assert entry["value"] == pytest.approx(float(log_normal(points).mean()), rel=1e-5)


@pytest.mark.parametrize("is_split", [False, True])
def test_the_rows_of_a_sorted_table_are_measured_at_random(is_split):
    """The first 500 of 10,000 sorted values of N(0, 0.5^2) have a mean of -1.03."""
    rows = np.asarray(normal(jax.random.key(1), 10_000))
    table = GAUSSIAN.replace(rows=jnp.asarray(rows[np.argsort(rows[:, 0])]), log_prob=None)
    if is_split:
        table = GAUSSIAN.replace(rows=jnp.asarray(rows[:50]), heldout=table)
    means = []
    for seed in (0, 1):
        points, _ = likelihood.real_points(table, jax.random.key(seed), 500)
        means.append(points[:, 0].mean())
        assert len(points) == 500 and abs(means[-1]) < 4 * 0.5 / 500**0.5
    assert means[0] != means[1]


def split_table(training, held):
    table = GAUSSIAN.replace(rows=jnp.asarray(training, jnp.float32), log_prob=None)
    return table.replace(heldout=table.replace(rows=jnp.asarray(held, jnp.float32)))


def test_held_out_rows_of_a_grid_are_also_training_rows():
    """Spikes at the 25 points of an integer grid reach any likelihood, but learn no density."""
    grid = np.random.default_rng(0).integers(-2, 3, (4_000, 2)).astype(np.float32)
    spikes = lambda points: np.full(len(points), 50.0)
    entry = likelihood.compare(split_table(grid[400:], grid[:400]), spikes, jax.random.key(0), 400)
    assert entry["value"] == 50 and entry["duplicates"] == 1.0 and entry["flagged"]
    assert entry["warning"].startswith("100.0 % of the scored points equal a training point")
    row = summary.rows({"log_likelihood": entry})[0]
    assert row["flagged"] and row["text"].endswith(entry["warning"])
    assert summary.warnings({"log_likelihood": entry}) == [f"Log-likelihood: {entry['warning']}"]
    assert words.log_line("log_likelihood", entry) == f"log_likelihood: 50: {entry['warning']}"


def test_new_rows_have_no_warning_and_duplicates_are_counted():
    rows = np.asarray(normal(jax.random.key(1), 1_000))
    # 3 of 204 rows are training rows
    held = np.concatenate([rows[800:], rows[:3], -0.0 * rows[:1]])
    count = lambda held: likelihood.compare(
        split_table(np.append(rows[:800], [[0.0, 0.0]], axis=0), held), counting([]),
        jax.random.key(0), 500)  # fmt: skip
    new = count(rows[800:])
    assert new["duplicates"] == 0 and "flagged" not in new and "warning" not in new
    assert count(held)["duplicates"] == pytest.approx(4 / 204)  # -0 equals 0
    assert "warning" in count(held)
    one = count(held[:201])
    assert one["duplicates"] == pytest.approx(1 / 201) and "warning" not in one


@pytest.mark.parametrize(("width", "grade"), [(0.005, 2), (0.2, None), (30.0, 2)])
def test_a_model_that_memorises_its_rows_is_below_a_gaussian(width, grade):
    """A kernel density of the rows: of narrow kernels it is spikes, of wide ones it is too flat."""
    rows, held = np.split(np.asarray(normal(jax.random.key(1), 260)), [200])
    make = lambda rows: make_dataset(single_density(Partial(normal)), rows=jnp.asarray(rows),
                                     normalize=False)  # fmt: skip
    kernels = gaussian_kde(rows.T, bw_method=width / 0.5)
    entry = likelihood.compare(make(rows).replace(heldout=make(held)),
                               lambda points: kernels.logpdf(points.T), jax.random.key(0), 60)
    exact = multivariate_normal(rows.mean(0), np.cov(rows.T)).logpdf(held).mean()
    assert entry["gaussian"] == pytest.approx(exact, rel=1e-5)
    graded = grades.grade("log_likelihood", entry)
    assert (None if graded is None else graded.grade) == grade
    assert bool(entry.get("flagged")) == (grade == 2) == ("memorised" in entry.get("warning", ""))
    assert f"a Gaussian gives {exact:.3f}" in words.log_likelihood(entry, ())


def test_draws_that_repeat_have_the_warning_too():
    """Check pixel centres, and rows of a table without a held-out split."""
    centres = make_dataset(single_density(
        lambda key, n: jax.random.randint(key, (n, 2), 0, 28) + 0.5), normalize=False)  # fmt: skip
    entry = likelihood.compare(centres, counting([]), jax.random.key(0), 200)
    assert entry["points"] == "fresh draws of the data" and entry["duplicates"] > 0.99
    table = GAUSSIAN.replace(rows=normal(jax.random.key(1), 30), log_prob=None)
    assert likelihood.compare(table, counting([]), jax.random.key(0), 20)["duplicates"] == 1
    assert likelihood.compare(GAUSSIAN, counting([]), jax.random.key(0), 500)["duplicates"] == 0


@pytest.mark.parametrize("decimals, expected", [(0, 1.0), (9, 0.0)])
def test_held_out_sets_of_points_on_a_grid_have_the_warning(decimals, expected):
    points = np.random.default_rng(0).normal(size=(200, 3)).round(decimals)
    if decimals == 0:
        points = points.clip(-1, 1)
    whole = from_observed(points, np.arange(0, 200, 10), np.full(20, 10), normalize=False)
    heldout = halves.part(whole, np.arange(15, 20))
    dataset = halves.part(whole, np.arange(15)).replace(heldout=heldout)
    zeros = lambda sets, labels, sizes: (np.zeros(len(sets)), np.zeros(len(sets)))
    entry = likelihood.compare_whole_sets(dataset, zeros, jax.random.key(0), 5, 12)
    assert entry["sets"] == "held-out sets" and entry["num_sets"] == 5
    assert entry["duplicates"] == pytest.approx(expected, abs=0.1)
    assert entry.get("flagged", False) == (decimals == 0)


def test_points_are_drawn_in_blocks_of_one_size():
    calls, points = [], np.asarray(normal(jax.random.key(3), 25))
    found = likelihood.in_blocks(counting(calls), points, 10)
    assert calls == [(10, 2)] * 3
    np.testing.assert_allclose(found, log_normal(points), rtol=1e-6)


def full_picture(size):
    left, right, bottom, top = EXTENT
    x = (np.arange(size) + 0.5) / size * (right - left) + left
    y = (np.arange(size) + 0.5) / size * (top - bottom) + bottom
    return np.asarray(log_normal(np.stack(np.meshgrid(x, y), -1)))


def test_the_picture_agrees_with_that_of_every_pixel_where_there_is_mass():
    """Cover all but 1 % of the mass of 100,000 samples, exactly, with a fifth of the pixels."""
    calls, size = [], 80
    samples = np.asarray(normal(jax.random.key(4), 100_000))
    found = likelihood.picture(counting(calls), EXTENT, size, samples, 100)
    full, known = full_picture(size), np.isfinite(found)
    np.testing.assert_allclose(found[known], full[known], rtol=1e-5, atol=1e-5)
    assert np.exp(full)[~known].sum() < 0.01 * np.exp(full).sum()
    assert np.exp(full)[~known].max() < 0.02 * np.exp(full).max()
    assert np.exp(found).sum() * 0.1**2 == pytest.approx(1, abs=0.01)
    assert sum(shape[0] for shape in calls) < size**2 / 5


def test_a_faint_half_beside_a_dense_one_is_not_left_out():
    """Half of the points share a pixel, half are spread out; a cut by height loses the latter."""
    rng = np.random.default_rng(0)
    points = np.concatenate([np.zeros((50_000, 2)), rng.uniform((-4, -5), (4, 3), (50_000, 2))])
    assert likelihood.occupied(EXTENT, 40, points).mean() > 0.97


def test_few_points_reach_farther():
    points = np.random.default_rng(0).uniform((-4, -5), (4, 3), (100, 2))
    assert likelihood.occupied(EXTENT, 160, points).mean() > 0.9  # no gaps between 100 points
    one = likelihood.occupied(EXTENT, 160, np.tile(points[:1], (100_000, 1)))
    assert one.sum() == 9
    row, column = np.argwhere(one).mean(0)  # the pixel that contains the point
    left, bottom = EXTENT[0] + column / 20, EXTENT[2] + row / 20
    assert left <= points[0, 0] <= left + 1 / 20 and bottom <= points[0, 1] <= bottom + 1 / 20


def test_a_picture_with_no_point_in_it_is_empty():
    calls = []
    found = likelihood.picture(counting(calls), EXTENT, 8, np.full((3, 2), 1e9), 4)
    assert np.isneginf(found).all() and calls == []


# ---------------------------------------------------------------- whole sets


def two_members():
    """Sets of N((3, 0), I) or N((-3, 0), I), in the ratio 1 : 3."""
    def member(centre):
        log_prob = lambda points: log_normal(points - jnp.array(centre))
        draw = single_density(lambda key, n: jax.random.normal(key, (n, 2)) + jnp.array(centre))
        return make_dataset(draw, normalize=False, log_prob=Partial(log_prob))

    members = member((3.0, 0.0)), member((-3.0, 0.0))

    def draw(key, sets, points):
        label = 1 - jax.random.bernoulli(key, 0.25, (sets,)).astype(int)
        around = members[0].draw(key, sets, points).points
        return PointSets(around * (1 - 2 * label[:, None, None]), None, label)

    return members[0].replace(draw=Partial(draw), members=members, log_prob=None,
                              weights=jnp.array([0.25, 0.75]))  # fmt: skip


def test_the_true_likelihood_of_a_set_is_that_of_its_member_and_its_share():
    """Members do not overlap, so log p(X) = log w_k + sum_i log p_k(x_i)."""
    rng = np.random.default_rng(0)
    sets = np.float32(rng.normal(size=(2, 5, 2)) + np.array([[[3, 0]], [[-3, 0]]]))
    each = [log_normal(sets[0] - np.array([3, 0])).sum() + np.log(0.25),
            log_normal(sets[1] + np.array([3, 0])).sum() + np.log(0.75)]  # fmt: skip
    assert likelihood.true_log_prob(two_members(), sets) == pytest.approx(
        np.mean(each) / 5, rel=1e-5
    )


def test_the_true_likelihood_of_a_set_with_a_label_is_that_of_its_member():
    sets = np.float32(np.random.default_rng(0).normal(size=(4, 5, 2)))
    labels = np.array([1, 0, 0, 1])
    each = [log_normal(points + np.array([6 * label - 3, 0])).mean()
            for points, label in zip(sets, labels, strict=True)]  # fmt: skip
    found = likelihood.true_log_prob(two_members(), sets, labels)
    assert found == pytest.approx(np.mean(each), rel=1e-5)


def test_a_model_that_is_given_the_label_is_compared_with_the_member_of_that_label():
    """If the floor ignored the label, it would be lower by the entropy of the labels."""
    def member(sets, labels, sizes):
        assert sizes is None
        where = np.array([[3, 0], [-3, 0]])[labels][:, None]
        return np.asarray(log_normal(sets - where)).mean(1), np.zeros(len(sets))

    found = likelihood.compare_whole_sets(two_members(), member, jax.random.key(0), 40, 4, True)
    assert found["given_labels"] and found["nats_to_truth"] == pytest.approx(0, abs=1e-5)


def test_fresh_draws_of_sets_of_different_sizes_have_no_point_twice():
    sizes = np.array([2, 7])
    points = np.arange(18.0).reshape(9, 2)
    dataset = from_observed(points, np.cumsum(sizes) - sizes, sizes, normalize=False)
    seen = []

    def estimate(sets, labels, sizes):
        seen.append((sets, sizes))
        return np.zeros(len(sets)), np.zeros(len(sets))

    likelihood.compare_whole_sets(dataset, estimate, jax.random.key(0), 20, 5)
    [(sets, counts)] = seen
    np.testing.assert_array_equal(lengths(sets), np.minimum(counts, 5))
    assert set(counts.tolist()) == {2, 7}
    assert all(len(np.unique(x, axis=0)) == len(x) for x in ragged(sets))


def test_a_superposition_lacks_what_the_set_knows():
    """An independent model adds log(w_k) for every point, because it ignores the shared member."""
    dataset, calls = two_members(), []

    def superposed(sets, labels, sizes):
        assert labels is None and sizes is None
        calls.append(sets.shape)
        shifted = [log_normal(sets - s * np.array([3, 0])) + np.log(w)
                   for s, w in ((1, 0.25), (-1, 0.75))]  # fmt: skip
        return np.logaddexp(*shifted).mean(1), np.full(len(sets), 0.01)

    found = likelihood.compare_whole_sets(dataset, superposed, jax.random.key(0), 400, 16)
    assert calls == [(400, 16, 2)] and found["sets"] == "fresh draws of the data"
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    assert found["nats_to_truth"] == pytest.approx(entropy * 15 / 16, abs=0.05)
    assert found["value"] == pytest.approx(found["floor"] - found["nats_to_truth"])
    assert found["spread"] == pytest.approx(0.01)
