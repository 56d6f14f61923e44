import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from tiny_diffusion_jax import data
from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.data import image_sets, mnist, mnist_sources
from tiny_diffusion_jax.errors import UserError

needs_tfds = pytest.mark.skipif(
    not list(Path(os.environ.get("TFDS_DATA_DIR", "/nowhere")).glob("mnist/*/dataset_info.json")),
    reason="TFDS_DATA_DIR holds no prepared MNIST",
)

# Two images of 3 x 4 pixels without a common lit pixel; the sum of the first image is odd.
TINY = np.zeros((2, 3, 4), np.uint8)
TINY[0, 0, :3] = 255, 1, 100
TINY[0, 2, 3] = 51
TINY[1, 1] = 10, 20, 30, 40


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr(mnist_sources, "probe", lambda url: False)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "sklearn"))


@pytest.fixture
def splits(monkeypatch):
    """Simulate a training split lit on the left and a test split lit on the right.

    Returns the list of calls.
    """
    calls = []
    train, test = np.zeros((2, 40, 4, 4), np.uint8)
    train[:, :, 0], test[:, :, 3] = 200, 100
    train[7] = 0  # an image without lit pixels
    labels = np.arange(40) % 10

    def load_images(source, data_dir, cache_dir, split="train"):
        calls.append((source, split))
        return (train if split == "train" else test), labels, "openml", "its notice"

    monkeypatch.setattr(mnist, "load_images", load_images)
    return calls


def build(**fields):
    config = default_config().data
    config.update(**{"name": "mnist_sets", "jitter": "uniform", **fields})
    return data.build(config)


draw = jax.jit(lambda dataset, key, b, n: dataset.draw(key, b, n), static_argnums=(2, 3))


_draw = jax.jit(lambda draw, key, b, n: draw(key, b, n), static_argnums=(2, 3))


def draw_tiny(seed, b, n, images=TINY, jitter=1.0, replace=True):
    """b sets of n points; the labels of the images are 4, 5, ..."""
    labels = np.arange(len(images)) + 4
    made = image_sets.from_images(images, labels, jitter, replace, normalize=False)
    return _draw(made.draw, jax.random.key(seed), b, n)


def pixels(points, height):
    """Row and column of the pixels that contain the points."""
    column, up = np.moveaxis(np.floor(np.asarray(points)).astype(int), -1, 0)
    return height - 1 - up, column


def test_pixels_come_in_proportion_to_their_intensity():
    sets = draw_tiny(0, 4000, 64)
    assert sets.points.shape == (4000, 64, 2) and sets.points.dtype == jnp.float32
    assert sets.mask is None and sets.label.dtype == jnp.int32
    row, column = pixels(sets.points, 3)
    assert abs((sets.label == 4).mean() - 0.5) < 5 * np.sqrt(0.25 / 4000)
    for label, image in zip((4, 5), TINY, strict=True):
        own = np.asarray(sets.label) == label
        counts = np.zeros((3, 4))
        np.add.at(counts, (row[own], column[own]), 1)
        assert np.all(counts[image == 0] == 0)
        lit = image > 0
        expected = image[lit] / image[lit].sum(dtype=int) * counts.sum()
        assert scipy.stats.chisquare(counts[lit], expected).pvalue > 1e-3


def test_a_set_is_drawn_from_one_image_and_labelled_by_it():
    rng = np.random.default_rng(0)
    images = np.zeros((50, 10, 10), np.uint8)
    for number, image in enumerate(images):  # image k has two pixels that no other image uses
        image.flat[2 * number : 2 * number + 2] = rng.integers(1, 256, 2)
    sets = draw_tiny(1, 5000, 8, images)
    row, column = pixels(sets.points, 10)
    np.testing.assert_array_equal(
        (10 * row + column) // 2, np.tile(np.asarray(sets.label)[:, None] - 4, (1, 8))
    )
    assert scipy.stats.chisquare(np.bincount(sets.label - 4, minlength=50)).pvalue > 1e-3


def test_each_label_comes_as_often_as_it_has_images():
    images, labels = np.full((8, 2, 2), 9, np.uint8), np.array([0, 2, 2, 2, 0, 2, 2, 2])
    made = image_sets.from_images(images, labels, 1.0, True, False, num_labels=4)
    np.testing.assert_array_equal(made.label_shares, [0.25, 0, 0.75, 0])


def test_points_are_uniform_within_their_pixel_or_its_centre():
    points = np.asarray(draw_tiny(2, 4000, 64).points)
    within = (points[:, :4] % 1).reshape(-1, 2)
    for axis in within.T:
        assert scipy.stats.kstest(axis, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(within.T)[0, 1]) < 5 / np.sqrt(len(within))
    points = np.asarray(draw_tiny(2, 4000, 64, jitter=0.0).points)
    np.testing.assert_array_equal(points % 1, 0.5)


def test_sets_are_drawn_from_the_images_asked_for():
    dataset = image_sets.from_images(TINY, np.array([4, 5]), 1.0, True, normalize=False)
    assert dataset.num_sources == 2
    index = np.array([1, 0, 0, 1, 1] * 200)
    draw_from = jax.jit(lambda dataset, key, index: dataset.draw_from(key, index, 8))
    sets = draw_from(dataset, jax.random.key(0), index)
    np.testing.assert_array_equal(sets.label, index + 4)
    row, column = pixels(sets.points, 3)
    assert (TINY[index[:, None], row, column] > 0).all()  # the two images have no common lit pixel
    counts = [((row == 1) & (column == c)).sum() for c in range(4)]
    expected = np.array([10, 20, 30, 40]) / 100 * sum(counts)
    assert scipy.stats.chisquare(counts, expected).pvalue > 1e-3
    again = draw_from(dataset, jax.random.key(0), index)
    np.testing.assert_array_equal(sets.points, again.points)


@pytest.mark.parametrize("replace", [True, False])
def test_images_too_large_for_memory_are_drawn_in_parts(monkeypatch, replace):
    monkeypatch.setattr(image_sets, "MAX_PIXELS", 8 * TINY[0].size)
    sets = draw_tiny(3, 401, 3, replace=replace)
    row, column = pixels(sets.points, 3)
    image = np.asarray(sets.label) - 4
    assert np.all(TINY[image[:, None], row, column] > 0)
    assert abs(image.mean() - 0.5) < 5 * np.sqrt(0.25 / 401)
    assert len(np.unique(np.asarray(sets.points).reshape(-1, 2), axis=0)) == 401 * 3
    different = np.array([len(set(own)) for own in (4 * row + column).tolist()])
    assert replace or np.all(different == 3)


def test_draws_have_the_random_numbers_they_always_had():
    """A resumed run must draw the same sets as an uninterrupted run."""
    expected = [[[1.205998, 1.258441], [2.035979, 1.979251]],
                [[0.1832762, 2.493065], [2.262553, 2.873754]]]  # fmt: skip
    sets = draw_tiny(7, 2, 2)
    np.testing.assert_allclose(sets.points, expected, rtol=1e-6)


def test_no_point_falls_off_the_edge_of_a_large_image():
    images = np.zeros((1, 1, 300), np.uint8)
    images[0, 0, 299] = 1  # 299 + u rounds up to 300 about once in 10^5 draws
    points = np.asarray(draw_tiny(3, 512, 1024, images).points)
    assert points[..., 0].min() >= 299 and points[..., 0].max() < 300


def test_without_replacement_pixels_differ_where_there_are_enough():
    images = np.zeros((2, 5, 5), np.uint8)
    images[0].flat[:12] = np.arange(12) * 20 + 1
    images[1].flat[20:23] = 5, 100, 200
    for num, enough in ((3, [True, True]), (4, [True, False]), (26, [False, False])):
        sets = draw_tiny(num, 200, num, images, replace=False)
        row, column = pixels(sets.points, 5)
        different = np.array([len(set(own)) for own in 5 * row + column])
        image = np.asarray(sets.label) - 4
        assert np.all(images[image[:, None], row, column] > 0)
        for number in (0, 1):
            own = different[image == number]
            assert np.all(own == num) if enough[number] else own.min() < num


def test_without_replacement_the_next_pixel_is_in_proportion_among_those_left():
    image = np.array([[[50, 100, 0], [0, 0, 150]]], np.uint8)
    sets = draw_tiny(4, 40_000, 2, image, replace=False)
    row, column = pixels(sets.points, 2)
    w = np.array([1, 2, 3]) / 6
    drawn = lambda i, j: w[i] * w[j] / (1 - w[i])  # the drawn points are then put in a random order
    expected = {(i, j): (drawn(i, j) + drawn(j, i)) / 2
                for i in range(3) for j in range(3) if i != j}  # fmt: skip
    index = {0: 0, 1: 1, 5: 2}
    pairs = [tuple(index[p] for p in pair) for pair in (3 * row + column).tolist()]
    counts = [pairs.count(pair) for pair in expected]
    assert sum(counts) == 40_000
    assert scipy.stats.chisquare(counts, np.array(list(expected.values())) * 40_000).pvalue > 1e-3


@pytest.mark.parametrize("jitter", [0.0, 1.0])
def test_moments_are_exact_and_every_image_counts_the_same(jitter):
    mean, variance = image_sets.moments(TINY, jitter)
    y, x = np.meshgrid([2.5, 1.5, 0.5], np.arange(4) + 0.5, indexing="ij")
    mass = sum(image / image.sum(dtype=int) for image in TINY) / 2
    np.testing.assert_allclose(mean, [(mass * x).sum(), (mass * y).sum()], rtol=1e-12)
    square = np.array([(mass * x**2).sum(), (mass * y**2).sum()])
    np.testing.assert_allclose(variance, square - mean**2 + jitter / 12, rtol=1e-12)
    many = np.concatenate([TINY] * 5000)  # processed in several chunks
    np.testing.assert_allclose(image_sets.moments(many, jitter), (mean, variance), rtol=1e-9)


def test_the_test_split_is_held_out_and_normalised_as_the_training_split(splits):
    dataset = build(source="auto")
    # the test split comes from the source that "auto" selected
    assert splits == [("auto", "train"), ("openml", "test")]
    x = draw(dataset, jax.random.key(0), 100, 16).points[..., 0]
    assert float(x.min()) >= 0 and float(x.max()) < 1
    held = draw(dataset.heldout, jax.random.key(0), 100, 16).points[..., 0]
    assert float(held.min()) >= 3 and float(held.max()) < 4
    np.testing.assert_allclose(dataset.shift, [0.5, 2.0], rtol=1e-6)
    np.testing.assert_allclose(dataset.scale, np.sqrt((1 + 16) / 24), rtol=1e-6)
    np.testing.assert_array_equal(dataset.heldout.shift, dataset.shift)
    np.testing.assert_array_equal(dataset.heldout.scale, dataset.scale)
    for each in (dataset, dataset.heldout):
        assert each.title == "MNIST sets" and each.notice == "its notice"
        assert each.source == "openml" and each.num_labels == 10
        assert each.label_names == tuple("0123456789")
        assert each.members == () and not each.sequential and each.at(0.5) is each
    assert dataset.heldout.heldout is None
    bare = build(source="auto", normalize=False)
    assert float(bare.scale) == float(bare.heldout.scale) == 1 and not bare.shift.any()


def test_dark_images_are_left_out_and_chosen_digits_keep_their_names(splits):
    labels = np.asarray(build().draw.args[2])
    # 40 images, less one of the four sevens, which is dark
    assert len(labels) == 39 and (labels == 7).sum() == 3
    dataset = build(digits="017")
    for each in (dataset, dataset.heldout):
        assert set(np.asarray(each.draw.args[2])) == {0, 1, 7}
    assert dataset.num_labels == 10 and dataset.title == "MNIST sets 017"


def test_the_threshold_darkens_what_is_below_it():
    images, labels = np.array([[[0, 127, 128, 255]], [[9, 9, 9, 9]]], np.uint8), np.array([3, 4])
    kept, names = mnist._lit(images, labels, "", 128 / 255, "train")
    assert kept.tolist() == [[[0, 0, 128, 255]]] and names.tolist() == [3]
    np.testing.assert_array_equal(mnist._lit(images, labels, "", 0.0, "train")[0], images)


def test_the_bundled_digits_stand_in_loudly(tmp_path, monkeypatch):
    lines, find_spec = [], mnist_sources.find_spec
    no_tensorflow = lambda name: None if name == "tensorflow" else find_spec(name)
    monkeypatch.setattr(mnist_sources, "find_spec", no_tensorflow)
    monkeypatch.setattr(mnist_sources.log, "warning", lambda text, *args: lines.append(text % args))
    dataset = build(data_dir=str(tmp_path), cache_dir=str(tmp_path), threshold=250 / 255)
    assert dataset.title == "8x8 digit sets" and dataset.source == "digits"
    assert dataset.notice.startswith("MNIST not found: using scikit-learn's bundled 8x8 digits")
    assert "threshold lowered from 0.98 to 0.5" in dataset.notice
    assert len(lines) == 1 and lines[0].startswith("notice: MNIST not found")
    sets = draw(dataset, jax.random.key(0), 20, 8)
    assert len(dataset.draw.args[2]) == 1500 and len(dataset.heldout.draw.args[2]) == 297
    assert float(sets.points.min()) >= 0 and float(sets.points.max()) < 8


def test_draws_are_pure_and_two_data_sets_share_a_program():
    dataset, again = build(source="digits"), build(source="digits")
    one, two = (draw(d, jax.random.key(1), 20, 8) for d in (dataset, again))
    np.testing.assert_array_equal(one.points, two.points)
    np.testing.assert_array_equal(one.label, two.label)
    assert jax.tree.structure(dataset) == jax.tree.structure(again)
    assert np.abs(one.points - draw(dataset, jax.random.key(2), 20, 8).points).max() > 1
    assert len(np.unique(np.asarray(one.points).reshape(-1, 2), axis=0)) == 160


def test_normalised_points_have_mean_0_and_variance_1():
    dataset = build(source="digits")
    # one point per set, so that the points are independent
    points = draw(dataset, jax.random.key(5), 40_000, 1).points
    points = np.asarray(dataset.normalize(points)).reshape(-1, 2)
    assert np.all(np.abs(points.mean(0)) < 5 / 200)
    assert abs(points.var(0).mean() - 1) < 5 * (points**2).mean(1).std() / 200


@pytest.mark.parametrize("fields, message", [
    ({"threshold": 0.9}, r"config\.data\.threshold = 0\.9: must be lower, for it leaves no pixel "
                         r"of the 40 images of the train split"),
    ({"threshold": 0.5}, r"config\.data\.threshold = 0\.5: must be lower, .* of the test split"),
])  # fmt: skip
def test_bad_fields_are_one_clear_line(splits, fields, message):
    with pytest.raises(UserError, match=message) as error:
        build(**fields)
    assert "\n" not in str(error.value)


@needs_tfds
@pytest.mark.slow  # 70,000 images are decoded
def test_sets_of_mnist(tmp_path):
    dataset = build(source="tfds", cache_dir=str(tmp_path), threshold=0.5)
    assert dataset.title == "MNIST sets" and dataset.notice == ""
    images, labels = (np.asarray(array) for array in dataset.draw.args[1:3])
    assert images.shape == (60_000, 28, 28) and images.dtype == np.uint8
    test_images = np.asarray(dataset.heldout.draw.args[1])
    assert len(test_images) == 10_000
    assert not {image.tobytes() for image in test_images} & {image.tobytes() for image in images}

    sets = draw(dataset, jax.random.key(0), 2000, 64)
    share = np.bincount(labels, minlength=10) / 60_000
    counts = np.bincount(sets.label, minlength=10)
    assert scipy.stats.chisquare(counts, 2000 * share).pvalue > 1e-3
    row, column = pixels(sets.points[:10], 28)
    for number in range(10):  # 64 points almost always identify the image
        own = images[:, row[number], column[number]].all(1)
        assert 1 <= own.sum() <= 100 and int(sets.label[number]) in labels[own]


def test_the_first_images_alone_are_trained_on_and_all_test_images_held_out(splits):
    few, every = build(max_images=10), build()
    # one image is dark
    np.testing.assert_array_equal(few.source_labels, [0, 1, 2, 3, 4, 5, 6, 8, 9])
    assert every.num_sources == 39 and few.heldout.num_sources == every.heldout.num_sources == 40
    assert build(max_images=100).num_sources == 39


def test_too_few_images_for_the_digits_are_refused_by_the_option_at_fault(splits):
    assert build(max_images=1).num_sources == 1
    assert build(max_images=4, digits="39").num_sources == 1
    with pytest.raises(UserError, match=r"^config.data.max_images = 3: must be 0 or larger: no "
                       r"image of the first 3 is one of config.data.digits = '39'$"):  # fmt: skip
        build(max_images=3, digits="39")
