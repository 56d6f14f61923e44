"""Check the accuracy of the classifier of point sets, and when it must report no accuracy."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import ROOT
from jax.tree_util import Partial

from tiny_diffusion_jax.data import image_sets as images
from tiny_diffusion_jax.data.densities import make_dataset, single_density
from tiny_diffusion_jax.metrics import classifier
from tiny_diffusion_jax.reports import summary

KEY = jax.random.key(0)


def blob(center, key, n):
    return jnp.asarray(center) + 0.3 * jax.random.normal(key, (n, 2))


def ring(radius, key, n):
    angle = 2 * jnp.pi * jax.random.uniform(key, (n,))
    return radius * jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1)


def labelled(*samples):
    """Sets drawn from one density each, with labels 0, 1, ..."""
    members = tuple(make_dataset(single_density(Partial(s)), normalize=False) for s in samples)
    whole = members[0].replace(draw=None, members=members, num_labels=len(members))
    return whole.reweighted(jnp.full(len(members), 1 / len(members)))


FAR = labelled(Partial(blob, (-3.0, 0.0)), Partial(blob, (3.0, 0.0)), Partial(ring, 3.0))


def draw(dataset, seed, num_sets):
    return draw_sets(dataset, jax.random.key(seed), num_sets)


draw_sets = jax.jit(lambda dataset, key, b: dataset.draw(key, b, 20), static_argnums=2)


@pytest.fixture(autouse=True)
def few_sets(monkeypatch):
    monkeypatch.setattr(classifier, "TRAIN_SETS", 400)


def test_shapes_that_lie_apart_are_named():
    sets = draw(FAR, 5, 200)
    real = classifier.real_sets(FAR, KEY, 400, 20)
    names = classifier.train(*real, use_size=False)(sets.points)
    np.testing.assert_array_equal(names, sets.label)
    result = classifier.accuracy(FAR, KEY, np.asarray(sets.points), np.asarray(sets.label))
    assert result["value"] == result["floor"] == 1.0
    assert result["value_se"] == result["floor_se"] == 0.0
    assert result["num_sets"] == 200 and result["num_points"] == 20


def test_accuracy_is_the_share_predicted_as_conditioned():
    sets = draw(FAR, 5, 200)
    labels = np.asarray(sets.label).copy()
    labels[:50] = (labels[:50] + 1) % 3
    result = classifier.accuracy(FAR, KEY, np.asarray(sets.points), labels)
    assert result["value"] == 0.75 and result["floor"] == 1.0
    assert result["value_se"] == pytest.approx(np.sqrt(0.75 * 0.25 / 200))


def test_shapes_that_are_the_same_are_guessed():
    same = labelled(Partial(ring, 3.0), Partial(ring, 3.0))
    sets = draw(same, 5, 400)
    result = classifier.accuracy(same, KEY, np.asarray(sets.points), np.asarray(sets.label))
    assert result["value"] == pytest.approx(0.5, abs=0.11)
    # the floor is measured on 1,000 real sets
    assert result["floor"] == pytest.approx(0.5, abs=0.07)
    assert result["floor_se"] == pytest.approx(0.5 / np.sqrt(1000), rel=0.05)


def test_the_floor_is_of_data_never_trained_on():
    """Held-out data have permuted labels, so every held-out set is classified wrongly."""
    def swapped(key, num_sets, num_points):
        sets = FAR.draw(key, num_sets, num_points)
        return sets._replace(label=(sets.label + 1) % 3)

    sets = draw(FAR, 5, 200)
    odd = FAR.replace(heldout=FAR.replace(draw=Partial(swapped)))
    result = classifier.accuracy(odd, KEY, np.asarray(sets.points), np.asarray(sets.label))
    assert result["value"] == 1.0 and result["floor"] == 0.0


def test_the_accuracy_of_few_sets_has_a_wide_interval_and_says_so():
    held_out = images.from_images(np.ones((8, 4, 4), np.uint8), np.zeros(8), 0.0, False, False)
    sets = draw(FAR, 5, 40)
    few, many = (classifier.accuracy(FAR, KEY, np.asarray(sets.points)[:count],
                                     np.asarray(sets.label)[:count]) for count in (5, 40))
    assert few["value"] == few["floor"] == 1 and few["num_real"] == 1_000
    assert few["interval"] == pytest.approx([0.5655, 1], abs=1e-3) and few["note"]
    assert many["interval"][0] > 0.9 and "note" not in many
    assert many["floor_interval"][0] > 0.99
    rare = FAR.replace(heldout=held_out)
    assert "note" in classifier.accuracy(rare, KEY, *map(np.asarray, (sets.points, sets.label)))


def test_a_single_label_has_no_accuracy():
    """A single label leaves nothing to classify, however many sets and labels are held out."""
    sets = draw(FAR, 5, 20)
    one = FAR.reweighted(jnp.array([0.0, 1.0, 0.0])).replace(heldout=FAR)
    assert classifier.accuracy(one, KEY, np.asarray(sets.points), np.asarray(sets.label)) is None


def test_the_floor_is_of_labels_that_were_trained_on():
    """A third of the held-out sets have a label that was not in training."""
    sets = draw(FAR, 5, 20)
    samples = np.asarray(sets.points), np.asarray(sets.label)
    two = FAR.reweighted(jnp.array([0.5, 0.5, 0.0]))
    assert classifier.accuracy(two.replace(heldout=FAR), KEY, *samples)["floor"] == 1.0
    rings = FAR.reweighted(jnp.array([0.0, 0.0, 1.0]))
    result = classifier.accuracy(two.replace(heldout=rings), KEY, *samples)
    assert result["floor"] is None and result["floor_se"] is None
    row = summary.rows({"label_accuracy": result | {"value": 0.5}})[0]
    assert row["floor"] == "" and row["text"].startswith("too few sets")


def test_the_box_of_histograms_holds_the_points_of_all_sets():
    sets = np.array([[[0, 1], [5, 2]], [[-3, 7], [np.nan, np.nan]]])
    np.testing.assert_array_equal(classifier.limits_of(sets), [[-3, 1], [5, 7]])


def test_histograms_count_points_in_their_squares():
    limits = np.array([[0.0, 0.0], [16.0, 16.0]])
    # x = 5, y = 3; two points outside the corners count in the corner cells
    sets = np.array([[[5.5, 3.5]] * 4, [[-9.0, -9.0]] * 2 + [[99.0, 99.0]] * 2])
    picture = classifier.histograms(sets, limits).reshape(2, 16, 16) ** 2
    # shares sum to 1, also after the blur
    np.testing.assert_allclose(picture.sum((1, 2)), 1.0, rtol=1e-4)
    assert np.unravel_index(picture[0].argmax(), (16, 16)) == (3, 5)
    assert picture[1, 0, 0] == pytest.approx(picture[1, 15, 15]) == picture[1].max()
    # neither the order nor the number of points matters
    shuffled = classifier.histograms(np.tile(sets[:, ::-1], (1, 3, 1)), limits)
    np.testing.assert_allclose(shuffled.reshape(2, 16, 16) ** 2, picture, atol=1e-6)


def test_importing_it_does_not_import_sklearn_or_scipy():
    """scikit-learn and scipy take a second to load, and most runs do not need them."""
    code = ("import sys, tiny_diffusion_jax.metrics.classifier\n"
            "sys.exit(any(name in sys.modules for name in ('sklearn', 'scipy.ndimage')))")
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_a_classifier_tells_two_kinds_of_sets_apart_only_if_they_differ():
    rng = np.random.default_rng(0)
    draw = lambda num, std: np.float32(std * rng.normal(size=(num, 20, 2)))
    assert abs(classifier.two_sample_accuracy(draw(200, 1.0), draw(200, 1.0)) - 0.5) < 0.1
    assert classifier.two_sample_accuracy(draw(200, 1.0), draw(200, 2.0)) > 0.9
