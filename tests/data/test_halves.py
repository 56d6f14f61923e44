"""Check that the halves of held-out data share no set and draw from their own sets only."""

import jax
import numpy as np
import pytest

import tiny_diffusion_jax as td
from tiny_diffusion_jax.data import halves
from tiny_diffusion_jax.data.densities import make_dataset, single_density
from tiny_diffusion_jax.data.image_sets import from_images
from tiny_diffusion_jax.data.observed import from_observed
from tiny_diffusion_jax.dataset import draw_points, draw_sets

KEY = jax.random.key(0)
NUM = 21
TRAIN = make_dataset(single_density(lambda key, n: jax.random.normal(key, (n, 2))))


def observed(num=NUM):
    """Observed sets: set s has s + 2 points, all equal to (s, -s), and label s mod 3."""
    number = np.arange(num)
    sizes = number + 2
    points = np.repeat(np.stack([number, -number], -1), sizes, axis=0)
    return from_observed(points, np.cumsum(sizes) - sizes, sizes, number % 3, normalize=False)


def images():
    """Image sets: image s has one bright pixel, in column s."""
    pixels = np.zeros((NUM, 2, NUM), np.uint8)
    pixels[np.arange(NUM), 1, np.arange(NUM)] = 255
    return from_images(pixels, np.arange(NUM) % 3, 0.0, True, False)


def table():
    rows = jax.numpy.stack([jax.numpy.arange(NUM), -jax.numpy.arange(NUM)], -1)
    return make_dataset(None, moments=(np.zeros(2), np.ones(2)), rows=rows.astype(float))


def both(heldout):
    data = halves.with_validation(TRAIN.replace(heldout=heldout))
    return data.validation, data.heldout


def numbers(points):
    """Numbers of the sets or images that the drawn points come from."""
    return set(np.floor(np.asarray(points)[..., 0]).astype(int).ravel().tolist())


@pytest.mark.parametrize("make", [observed, images, table])
def test_each_half_draws_from_its_own_sources(make):
    first, second = (numbers(draw_points(half, KEY, 400, 2)) for half in both(make()))
    assert len(first) == 11 and len(second) == 10 and first | second == set(range(NUM))
    # the split is always the same
    assert numbers(draw_points(both(make())[0], jax.random.key(1), 400, 2)) == first


@pytest.mark.parametrize("make", [observed, images])
def test_a_half_says_what_its_sources_are(make):
    for half in both(make()):
        every = np.arange(half.num_sources)
        sets = jax.jit(half.draw_from, static_argnums=2)(KEY, every, 2)
        number = np.floor(np.asarray(sets.points)[:, 0, 0]).astype(int)
        np.testing.assert_array_equal(half.source_labels, number % 3)
        np.testing.assert_array_equal(sets.label, number % 3)
        if half.sizes is not None:
            np.testing.assert_array_equal(half.sizes, number + 2)
            np.testing.assert_array_equal(half.points[half.offsets, 0], number)
        else:
            assert (np.asarray(half.images)[every, 1, number] == 255).all()
        drawn = draw_sets(half, KEY, 50, 2)
        np.testing.assert_array_equal(drawn.label, np.floor(drawn.points[:, 0, 0]) % 3)


def test_few_sets_are_not_split():
    few = TRAIN.replace(heldout=observed(halves.LEAST - 1))
    assert halves.with_validation(few) is few and halves.with_validation(TRAIN) is TRAIN
    assert halves.with_validation(TRAIN.replace(heldout=observed(halves.LEAST))).validation


@pytest.mark.parametrize("options, is_split", [
    ({"train.keep_best": True}, True), ({"train.keep_best": False}, False),
    ({"train.keep_best": True, "train.split_heldout": False}, False),
])  # fmt: skip
def test_held_out_rows_are_split_for_keep_best(tmp_path, options, is_split):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(400, 2)))
    config = td.default_config()
    config.update_from_flattened_dict({
        "data.name": "points", "data.path": str(tmp_path / "a.npy"), "data.jitter": "none",
    } | options)  # fmt: skip
    dataset = td.build(config).dataset
    assert len(dataset.heldout.rows) == (20 if is_split else 40)
    assert (dataset.validation is not None) == is_split
