"""Check draws of observed sets: the points, the sets they come from, and the sizes."""

import jax
import numpy as np
import pytest
import scipy.stats

from tiny_diffusion_jax.data.observed import from_observed, moments
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.point_sets import PointSets

SIZES = np.array([2, 5, 9, 3])
LABELS = np.array([1, 0, 1, 1])
OFFSETS = np.cumsum(SIZES) - SIZES
# Point number p of set s is (s, p, p^2), so that the values identify set and point.
POINTS = np.array([(s, p, p * p) for s, size in enumerate(SIZES) for p in range(size)])
NUM = 20_000


def made(labels=LABELS, **fields):
    return from_observed(POINTS, OFFSETS, SIZES, labels, normalize=False, **fields)


@pytest.fixture(scope="module")
def sets() -> PointSets:
    """Sets of at most 4 points, drawn by one program with the arrays as arguments."""
    draw = jax.jit(lambda dataset, key: dataset.draw(key, NUM, 4))
    return jax.tree.map(np.asarray, draw(made(num_labels=2), jax.random.key(0)))


def test_what_never_changes_has_no_spread_however_its_mean_is_rounded():
    same = np.full((SIZES.sum(), 2), np.float32(0.1))
    with pytest.raises(UserError, match="must be False where all points coincide"):
        from_observed(same, OFFSETS, SIZES)
    flat = same + np.array([1, 0]) * np.arange(len(same))[:, None]
    assert from_observed(flat, OFFSETS, SIZES).notice.startswith("coordinate 1 never changes")


def test_shapes_and_units():
    dataset = made()
    assert dataset.dim == 3 and dataset.num_sources == 4 and dataset.columns == ("0", "1", "2")
    np.testing.assert_array_equal(dataset.sizes, SIZES)
    np.testing.assert_array_equal(dataset.source_labels, LABELS)
    # the points of each set are stored in a random order
    for offset, size in zip(OFFSETS, SIZES, strict=True):
        own = np.asarray(dataset.points)[offset : offset + size]
        np.testing.assert_array_equal(own[np.argsort(own[:, 1])], POINTS[offset : offset + size])


def test_every_set_is_as_likely_and_comes_with_its_label_and_size(sets):
    source = sets.points[..., 0].astype(int)
    assert sets.points.shape == (NUM, 4, 3) and np.all(source == source[:, :1])
    assert scipy.stats.chisquare(np.bincount(source[:, 0])).pvalue > 1e-3
    np.testing.assert_array_equal(sets.label, LABELS[source[:, 0]])
    np.testing.assert_array_equal(sets.size, SIZES[source[:, 0]])


def test_points_differ_and_small_sets_come_whole(sets):
    np.testing.assert_array_equal(sets.mask.sum(1), np.minimum(sets.size, 4))
    assert np.all(sets.mask[:, :-1] >= sets.mask[:, 1:])  # real points precede the padding
    number = np.where(sets.mask, sets.points[..., 1], -1 - np.arange(4))
    assert np.all(np.diff(np.sort(number, 1), axis=1) > 0)
    # padded slots hold points of the same set
    assert np.all(sets.points[..., 1] < sets.size[:, None])


def test_every_point_is_as_likely_in_every_place(sets):
    for s, size in enumerate(SIZES):
        own = sets.points[sets.points[:, 0, 0] == s, : min(size, 4), 1].astype(int)
        for place in own.T:
            assert scipy.stats.chisquare(np.bincount(place, minlength=size)).pvalue > 1e-4


def test_a_whole_set_comes_in_every_order(sets):
    own = sets.points[sets.points[:, 0, 0] == 3, :3, 1].astype(int)
    orders = np.bincount(own @ [9, 3, 1], minlength=27)
    assert scipy.stats.chisquare(orders[orders > 0]).pvalue > 1e-3 and (orders > 0).sum() == 6


def test_no_mask_where_all_have_enough_and_sources_can_be_asked_for():
    dataset, index = made(labels=None), np.array([3, 0, 0, 2])
    sets = jax.jit(lambda d, key: d.draw_from(key, index, 2))(dataset, jax.random.key(1))
    assert sets.mask is None and sets.label is None
    np.testing.assert_array_equal(sets.points[..., 0], np.tile(index[:, None], (1, 2)))


def test_sizes_follow_those_of_the_label():
    label = np.repeat([-1, 0, 1, 7], 4000)  # no set has label 7
    draw = jax.jit(lambda d, key, label: d.draw_sizes(key, label, len(label)))
    sizes = np.asarray(draw(made(), jax.random.key(0), label)).reshape(4, -1)
    for drawn, known in zip(sizes, [SIZES, [5], [2, 9, 3], SIZES], strict=True):
        values, counts = np.unique(drawn, return_counts=True)
        assert values.tolist() == sorted(known)
        assert len(known) == 1 or scipy.stats.chisquare(counts).pvalue > 1e-3
    of_any = np.asarray(made(labels=None).draw_sizes(jax.random.key(1), None, 4000))
    assert scipy.stats.chisquare(np.unique(of_any, return_counts=True)[1]).pvalue > 1e-3


def test_a_large_set_is_subsampled():
    points = np.stack([np.arange(100_000)] * 2, axis=1)
    dataset = from_observed(points, np.array([0, 50_000]), np.array([50_000, 50_000]))
    draw = jax.jit(lambda dataset, key: dataset.draw(key, 8, 64).points[..., 0])
    drawn = np.asarray(draw(dataset, jax.random.key(0)))
    assert all(len(set(row)) == 64 for row in drawn.tolist())
    assert scipy.stats.kstest(drawn.ravel() % 50_000 / 50_000, "uniform").pvalue > 1e-3
    assert np.asarray(dataset.normalize(drawn[..., None])).std() == pytest.approx(1, abs=0.1)


def test_moments_are_exact_and_every_set_counts_the_same():
    groups = np.split(POINTS, OFFSETS[1:])
    mean = np.mean([g.mean(0) for g in groups], axis=0)
    variance = np.mean([((g - mean) ** 2).mean(0) for g in groups], axis=0)
    np.testing.assert_allclose(moments(POINTS, OFFSETS, SIZES), (mean, variance), rtol=1e-12)
    dataset = from_observed(POINTS, OFFSETS, SIZES)
    np.testing.assert_allclose(dataset.scale, np.sqrt(variance.mean()), rtol=1e-6)
    each = from_observed(POINTS, OFFSETS, SIZES, per_axis=True)
    np.testing.assert_allclose(each.scale, np.sqrt(variance), rtol=1e-6)
    flat = POINTS * [1, 0, 1]
    assert from_observed(flat, OFFSETS, SIZES).scale > 0
    with pytest.raises(UserError, match="per_axis = True: must be False where coordinate 1 never"):
        from_observed(flat, OFFSETS, SIZES, per_axis=True)
    with pytest.raises(UserError, match="normalize = True: must be False where all points coinc"):
        from_observed(flat * 0, OFFSETS, SIZES)
