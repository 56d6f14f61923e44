"""Check that redrawn training images are detected and that new images are not flagged."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tiny_diffusion_jax import data
from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.data.image_sets import from_images
from tiny_diffusion_jax.dataset import draw_sets
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.metrics import memorization, ragged

N = 64


def strokes(seed, count):
    """Images u8[count, 12, 12] of one random walk each; all images differ."""
    rng = np.random.default_rng(seed)
    images = np.zeros((count, 12, 12), np.uint8)
    for image in images:
        place = rng.integers(3, 9, 2)
        for _ in range(40):
            place = np.clip(place + rng.integers(-1, 2, 2), 0, 11)
            image[tuple(place)] = rng.integers(100, 256)
    return images


@pytest.fixture(scope="module")
def dataset():
    train, heldout = (
        from_images(strokes(seed, count), np.zeros(count), 1.0, True, normalize=False)
        for seed, count in ((0, 600), (1, 400))
    )
    return train.replace(heldout=heldout)


@pytest.fixture(scope="module")
def fresh():
    """Sets of 200 images that are neither in training nor held out."""
    new = from_images(strokes(2, 200), np.zeros(200), 1.0, True, normalize=False)
    return ragged.one_set_each(new, jax.random.key(3), 200, N)[0]


def test_a_generator_that_draws_new_images_is_not_flagged(dataset, fresh):
    result = memorization.compare(dataset, jax.random.key(0), fresh)
    assert not result["flagged"] and result["verdict"].startswith("no more")
    assert result["value"] == pytest.approx(result["floor"], abs=4 * result["value_se"])
    assert result["floor"] == pytest.approx(4 / 401) and 0.001 < result["value_se"] < 0.02
    assert result["ceiling"] > 0.5
    assert [result[f"num_{name}"] for name in ("sets", "points", "train", "heldout")] == [
        200, 64, 600, 400]  # fmt: skip
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_a_generator_that_copies_one_set_in_ten_is_flagged(dataset, fresh):
    redrawn = ragged.one_set_each(dataset, jax.random.key(4), 20, N)[0]
    result = memorization.compare(dataset, jax.random.key(0), np.concatenate([redrawn, fresh[20:]]))
    assert result["flagged"] and result["verdict"].startswith("COPIES")
    assert 0.05 < result["value"] < 0.12 and result["p_value"] < 1e-3


def test_a_generator_that_knows_one_training_set_by_heart_is_flagged(dataset, fresh):
    copied = ragged.one_set_each(dataset, jax.random.key(5), 1, N)[0].repeat(100, 0)
    spread = np.concatenate([copied + 0.05, fresh[:100]])
    result = memorization.compare(dataset, jax.random.key(0), spread)
    assert result["flagged"] and result["value"] > 0.45


@pytest.mark.parametrize("num_train, num_heldout", [(1, 1), (1, 100), (2, 2), (5, 100)])
def test_fewer_images_than_the_score_has_rivals(num_train, num_heldout, fresh):
    """All numbers are finite, sets of a training image are close, and new sets are not close."""
    train = from_images(strokes(0, num_train), None, 1.0, True, normalize=False)
    heldout = from_images(strokes(1, num_heldout), None, 1.0, True, normalize=False)
    few = train.replace(heldout=heldout)
    redrawn = np.asarray(draw_sets(train, jax.random.key(4), 40, N).points)
    for sets, least, most in ((redrawn, 1.0, 1.0), (fresh[:40], 0.0, 0.7)):
        result = memorization.compare(few, jax.random.key(0), sets)
        assert json.loads(json.dumps(result, allow_nan=False)) == result
        assert result["num_train"] == num_train and result["num_heldout"] == num_heldout
        assert least <= result["value"] <= most
        if num_heldout == 100:
            assert result["flagged"] is (least == 1.0)


def test_on_the_bundled_digits():
    """200 test images are held out, 97 are new; about a third of the 40 copies are conspicuous."""
    config = default_config().data
    config.update(name="mnist_sets", jitter="uniform", source="digits")
    digits = data.build(config)
    order = np.random.default_rng(0).permutation(digits.heldout.num_sources)
    images, labels = (np.asarray(array)[order] for array in digits.heldout.draw.args[1:3])
    half = from_images(images[:200], labels[:200], 1.0, True, normalize=False)
    new = digits.heldout.draw_from(jax.random.key(0), order[200:], 1_000).points
    redrawn = ragged.one_set_each(digits, jax.random.key(1), 97, 1_000)[0][:40]
    for sets, flagged in ((new, False), (np.concatenate([redrawn, new[40:]]), True)):
        result = memorization.compare(digits.replace(heldout=half), jax.random.key(2), sets)
        assert result["num_train"] == 1500 and result["flagged"] is flagged, result


def test_scores_of_images_of_one_pixel(monkeypatch):
    """The blur spreads a pixel over 3 x 3; pixels farther away have only the background."""
    monkeypatch.setattr(memorization, "CHUNK", 7)
    lit = [(5, 5), (5, 6), (6, 6), *((9, column) for column in range(11))]  # row, column
    images = np.zeros((14, 12, 12), np.uint8)
    for image, pixel in zip(images, lit, strict=True):
        image[pixel] = 200
    tail = np.exp(-0.5 / 0.3**2)
    near, centre = tail / (1 + 2 * tail), 1 / (1 + 2 * tail)  # weights of the blur along one axis
    log = lambda share: np.log(0.999 * share + 0.001 / 144)
    same, side, corner, far = map(log, (centre**2, centre * near, near**2, 0.0))

    def points(*pixels):  # y points up
        return [[column + 0.5, 11 - row + 0.5] for row, column in pixels]

    sets = np.array([
        points((5, 5), (5, 5)), points((5, 5), (5, 6)), points((9, 0), (9, 1)),
        points((0, 0), (0, 9)),
    ])  # fmt: skip
    expected = [
        same - (side + corner + 3 * far) / 5,  # the same image, and its lead over five others
        # two images fit equally well, so half each; the third has a side and a corner
        *2 * [(same + side) / 2],
        far - far + far - same,  # no image contains this pixel
    ]
    expected[1] += -((same + side) / 2 + (side + corner) / 2 + 3 * far) / 5 + expected[1] - same
    beside = (side + far) / 2  # mean log p under the image that is lit in column 2
    expected[2] += -((same + side) / 2 + beside + 3 * far) / 5 + expected[2] - same
    np.testing.assert_allclose(memorization.scores(images, sets), expected, atol=1e-4)


def test_densities_are_the_images_lightly_blurred():
    images = np.zeros((1, 5, 5), np.uint8)
    images[0, 2, 2] = 200
    log_density, expected = memorization.log_densities(jnp.asarray(images))
    density = np.exp(log_density[0]).reshape(5, 5)
    assert density.sum() == pytest.approx(1, abs=1e-5) and density[2, 2] > 0.95
    assert density[0, 0] == pytest.approx(memorization.BACKGROUND / 25, rel=1e-3)
    assert expected[0] == pytest.approx(np.log(density[2, 2]), rel=1e-5)


def test_points_outside_of_the_picture_count_at_its_edge():
    points = np.array([[[-5.0, 9.0], [0.5, 2.5], [3.5, 0.5], [99, -1]]])
    count = memorization.pixel_counts(points, 3, 4)
    assert count.reshape(3, 4).tolist() == [[0.5, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0.5]]


def test_bad_input_is_one_line(dataset):
    with pytest.raises(UserError, match="held-out images = 0: must be at least 1"):
        memorization.compare(dataset.replace(heldout=None), jax.random.key(0), np.zeros((2, 3, 2)))
    with pytest.raises(UserError, match="sets: points that are not finite = 1"):
        memorization.compare(dataset, jax.random.key(0), np.array([[[0, np.nan]]]))
