import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from tiny_diffusion_jax import data
from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.data import mnist_sources
from tiny_diffusion_jax.errors import UserError


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr(mnist_sources, "probe", lambda url: False)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "sklearn"))


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Write a.csv around (100, 0), b.npy around (0, -50), and c.png with ink in one pixel row."""
    rng = np.random.default_rng(0)
    np.savetxt(tmp_path / "a.csv", rng.normal((100, 0), (1, 2), (500, 2)), delimiter=",")
    np.save(tmp_path / "b.npy", rng.normal((0, -50), 3, (400, 2)))
    pixels = np.full((4, 6), 255, np.uint8)
    pixels[2, 1:5] = 0
    Image.fromarray(pixels).save(tmp_path / "c.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def config(members, **fields):
    config = default_config().data
    config.update(name="mixture", members=members, source="digits", **fields)
    return config


def build(members, **fields):
    return data.build(config(members, **fields))


log_prob = jax.jit(lambda dataset, points: dataset.log_prob(points))
draw = jax.jit(lambda dataset, key, b, n: dataset.draw(key, b, n), static_argnums=(2, 3))


def moments(points):
    """Mean and mean variance of independent points, each with its standard error."""
    points = np.asarray(points, np.float64).reshape(-1, 2)
    spread = ((points - points.mean(0)) ** 2).mean(1)
    root = np.sqrt(len(points))
    return points.mean(0), points.std(0) / root, spread.mean(), spread.std() / root


@pytest.mark.parametrize("weights, expected", [
    ("", (1 / 3, 1 / 3, 1 / 3)),
    ("0.2 + 0.5 + 0.3", (0.2, 0.5, 0.3)),
    ("0.01+0.98+1e-2", (0.01, 0.98, 0.01)),
])  # fmt: skip
def test_members_come_with_their_weights(weights, expected):
    dataset, num = build("line+moons+circle", weights=weights), 20_000
    np.testing.assert_allclose(dataset.weights, expected, rtol=1e-6)
    np.testing.assert_allclose(dataset.label_shares, expected, rtol=1e-6)
    sets = draw(dataset, jax.random.key(0), num, 1)
    assert sets.points.shape == (num, 1, 2) and sets.label.shape == (num,)
    assert sets.points.dtype == jnp.float32 and sets.label.dtype == jnp.int32
    assert sets.mask is None
    share = np.bincount(sets.label, minlength=3) / num
    expected = np.array(expected)
    assert np.all(np.abs(share - expected) < 5 * np.sqrt(expected * (1 - expected) / num))


def test_every_set_comes_whole_from_the_member_its_label_names(files):
    dataset = build("line+a.csv+b.npy", align=False, normalize=False)
    sets = draw(dataset, jax.random.key(1), 600, 32)
    homes = np.array([(0, 0), (100, 0), (0, -50)])
    nearest = np.linalg.norm(sets.points[:, :, None] - homes, axis=-1).argmin(-1)
    np.testing.assert_array_equal(nearest, np.tile(sets.label[:, None], (1, 32)))
    assert set(np.asarray(sets.label)) == {0, 1, 2}


def test_aligned_members_are_told_apart_by_their_likelihood_and_by_the_label_alike():
    dataset = build("dino+moons+line")
    sets = draw(dataset, jax.random.key(2), 16, 32)
    score = [log_prob(member, sets.points).sum(-1) for member in dataset.members]
    np.testing.assert_array_equal(np.argmax(score, axis=0), sets.label)
    assert dataset.num_labels == 3 and dataset.label_names == ("dino", "moons", "line")
    assert dataset.title == "dino + moons + line" and dataset.source == "analytic"


def test_sets_are_independent_draws():
    # If all sets shared their points, or points were repeated, the means of sets would vary less.
    dataset = build("line+line", align=False, normalize=False)
    sets = draw(dataset, jax.random.key(3), 4000, 16)
    assert len(np.unique(np.asarray(sets.points).reshape(-1, 2), axis=0)) > 63_900
    means = np.asarray(sets.points.mean(1))
    np.testing.assert_allclose(means.var(0), np.array([4, 16]) / 3 / 16, rtol=0.12)


def test_align_brings_every_member_to_mean_0_and_variance_1(files):
    dataset = build("moons+c.png+a.csv+mnist:3", jitter_std=0.5, threshold=0.4)
    np.testing.assert_array_equal(dataset.shift, [0, 0])
    assert float(dataset.scale) == 1
    for member in dataset.members:
        sets = draw(member, jax.random.key(4), 30_000, 1)
        mean, mean_error, variance, error = moments(sets.points)
        # moments of shapes are measured on 65,536 points
        assert np.all(np.abs(mean) < 5 * mean_error + 0.02)
        assert abs(variance - 1) < 5 * error + 0.02
        assert float(member.scale) == 1
    # The density of c.png is known in closed form: uniform in [1, 5] x [1, 2].
    points = draw(dataset.members[1], jax.random.key(4), 30_000, 1).points.reshape(-1, 2)
    scale = np.sqrt((16 + 1) / 12 / 2)
    np.testing.assert_allclose(points.max(0), np.array([2, 0.5]) / scale, rtol=1e-3)
    np.testing.assert_allclose(points.min(0), np.array([-2, -0.5]) / scale, rtol=1e-3)


def test_moments_of_a_mixture_in_its_own_units(files):
    dataset = build("c.png+a.csv", align=False, weights="0.25+0.75", jitter_std=0.5)
    table = np.loadtxt(files / "a.csv", delimiter=",")
    picture = np.array([3.0, 1.5])
    mean = 0.25 * picture + 0.75 * table.mean(0)
    square = 0.25 * (picture**2 + np.array([16, 1]) / 12)
    square += 0.75 * ((table**2).mean(0) + 0.25)
    np.testing.assert_allclose(dataset.shift, mean, rtol=1e-5)
    np.testing.assert_allclose(dataset.scale, np.sqrt((square - mean**2).mean()), rtol=1e-5)
    # members have the units of the mixture, so their sets are normalised in the same way
    for member in dataset.members:
        np.testing.assert_array_equal(member.shift, dataset.shift)
        np.testing.assert_array_equal(member.scale, dataset.scale)
    points = dataset.normalize(draw(dataset, jax.random.key(5), 20_000, 1).points)
    mean, mean_error, variance, error = moments(points)
    assert np.all(np.abs(mean) < 5 * mean_error) and abs(variance - 1) < 5 * error


@pytest.mark.parametrize("align", [True, False])
def test_no_units_where_normalize_is_false(files, align):
    dataset = build("line+a.csv", normalize=False, align=align)
    assert np.all(np.asarray(dataset.shift) == 0) and float(dataset.scale) == 1
    points = draw(dataset.members[0], jax.random.key(0), 4000, 1).points
    high = 4 / np.sqrt(20 / 6) if align else 4
    assert float(points.max()) == pytest.approx(high, rel=0.02)


def test_log_prob_is_that_of_one_point(files):
    dataset = build("line+checkerboard", weights="0.3+0.7")
    line, board = dataset.members
    scale = np.sqrt(20 / 6)  # of the line; measured on a sample, hence the tolerance
    assert float(line.log_prob(jnp.zeros(2))) == pytest.approx(np.log(scale**2 / 32), abs=0.02)
    points = jax.random.uniform(jax.random.key(0), (50, 3, 2), minval=-2, maxval=2)
    expected = 0.3 * np.exp(log_prob(line, points)) + 0.7 * np.exp(log_prob(board, points))
    np.testing.assert_allclose(np.exp(log_prob(dataset, points)), expected, rtol=1e-5)
    axis = np.arange(-3, 3, 0.02) + 0.01
    grid = np.stack(np.meshgrid(axis, axis), -1).astype(np.float32)
    assert np.exp(log_prob(dataset, grid)).sum() * 0.02**2 == pytest.approx(1, abs=0.02)
    assert build("line+a.csv").log_prob is None  # a table without jitter has no density


def test_at_shows_the_members_of_a_sequential_mixture_one_after_the_other():
    dataset = build("line+moons+circle", order="sequential", weights="0.1+0.1+0.8")
    assert dataset.sequential

    @jax.jit
    def labels(dataset, progress):
        return dataset.at(progress).draw(jax.random.key(0), 32, 4).label

    for steps in (3, 12_000, 299_999):
        for step in (0, 1, steps // 3, (2 * steps) // 3, steps - 1):
            label = labels(dataset, jnp.float32(step) / steps)
            np.testing.assert_array_equal(label, np.full(32, 3 * step // steps))
    one = dataset.at(0.5)
    np.testing.assert_array_equal(one.weights, [0, 1, 0])
    assert jax.tree.structure(one) == jax.tree.structure(dataset)
    # the weights of the dataset itself are mixed as well
    np.testing.assert_allclose(dataset.weights, [0.1, 0.1, 0.8])
    assert len(set(np.asarray(draw(dataset, jax.random.key(0), 64, 4).label))) == 3


def test_at_of_one_member_has_its_density_and_its_draws():
    dataset = build("line+moons", order="sequential")
    points = jax.random.uniform(jax.random.key(0), (20, 2), minval=-1, maxval=1)
    for progress, member in zip((0.0, 0.5), dataset.members, strict=True):
        one = dataset.at(progress)
        np.testing.assert_allclose(log_prob(one, points), log_prob(member, points), atol=1e-5)
        drawn = draw(one, jax.random.key(3), 4, 16).points
        assert np.isfinite(log_prob(member, drawn)).all()


def test_at_of_a_shuffled_mixture_and_of_one_density_is_itself():
    for dataset in (build("line+moons"), data.build(default_config().data)):
        assert dataset.at(0.7) is dataset


def test_draws_are_pure_and_the_same_in_jit():
    dataset = build("line+mnist:3", threshold=0.4)
    one, two = (draw(dataset, jax.random.key(7), 50, 8) for _ in range(2))
    np.testing.assert_array_equal(one.points, two.points)
    np.testing.assert_array_equal(one.label, two.label)
    outside = dataset.draw(jax.random.key(7), 50, 8)
    np.testing.assert_array_equal(one.label, outside.label)
    np.testing.assert_allclose(one.points, outside.points, atol=1e-5)
    assert np.abs(one.points - draw(dataset, jax.random.key(8), 50, 8).points).max() > 0.1
    # uses the program that was compiled for the first dataset
    again = build("line+mnist:3", threshold=0.4)
    assert jax.tree.structure(again) == jax.tree.structure(dataset)


@pytest.mark.parametrize("member, fields", [
    ("dino", {"name": "dino"}),
    ("mnist:3", {"name": "mnist", "digit": 3, "jitter": "uniform"}),
    ("mnist:4:7", {"name": "mnist", "digit": 4, "index": 7, "jitter": "uniform"}),
    ("c.png", {"name": "image", "path": "c.png", "jitter": "uniform"}),
    ("a.csv", {"name": "points", "path": "a.csv", "jitter": "gaussian"}),
    ("./b.npy", {"name": "points", "path": "./b.npy", "jitter": "gaussian"}),
])  # fmt: skip
def test_a_mixture_of_one_is_the_density_itself(files, member, fields):
    shared = {"jitter_std": 0.25, "threshold": 0.4, "max_side": 5}
    dataset = build(member, align=False, **shared)
    alone = default_config().data
    alone.update(source="digits", **shared, **fields)
    alone = data.build(alone)
    points = draw(dataset.members[0], jax.random.key(1), 8, 16).points
    np.testing.assert_array_equal(points, draw(alone, jax.random.key(1), 8, 16).points)
    np.testing.assert_allclose(dataset.shift, alone.shift, rtol=1e-6)
    np.testing.assert_allclose(dataset.scale, alone.scale, rtol=1e-6)
    np.testing.assert_allclose(log_prob(dataset, points), log_prob(alone, points), rtol=1e-4)
    assert len(dataset.members) == dataset.num_labels == 1 and dataset.title.startswith(alone.title)


def test_members_that_are_rows_of_one_table(files):
    rows = [f"{name},{x},{y}" for name, y in (("dino", 0), ("star", 9)) for x in range(3)]
    (files / "t.csv").write_text("\n".join(["dataset,x,y", *rows]), "utf-8")
    by_name = build("t.csv?dataset=star + t.csv?dataset=dino", jitter_std=1e-3, align=False)
    assert by_name.label_names == ("star", "dino") and by_name.title == "star + dino"
    every = build("t.csv?dataset", jitter_std=1e-3, align=False)
    assert every.label_names == ("dino", "star")
    for dataset, heights in ((by_name, [9, 0]), (every, [0, 9])):
        sets = draw(dataset, jax.random.key(0), 20, 8)
        expected = np.array(heights)[np.asarray(sets.label)]
        np.testing.assert_allclose(sets.points[..., 1] - expected[:, None], 0, atol=0.01)
    for members, line in (
        ("t.csv?dataset=cat", "config.data.where = 'dataset=cat': matches no row; 'dataset' h"),
        ("t.csv?kind=cat", "config.data.where = 'kind=cat': no column 'kind'; there are data"),
        ("t.csv?kind", "'t.csv?kind': column = 'kind': no column 'kind'; there are dataset, x, y"),
    ):
        with pytest.raises(UserError) as error:
            build(f"dino+{members}")
        assert str(error.value).startswith("config.data.members = 'dino+t.csv?")
        assert line in str(error.value)


@pytest.mark.parametrize("cell, words", [("", "is empty"), ("nan", "holds 'nan'")])
def test_an_empty_cell_is_no_member(files, cell, words):
    text = "\n".join(["dataset,x,y", "dino,0,1", f"{cell},1,2", "star,2,1"])
    (files / "t.csv").write_text(text, "utf-8")
    line = f"'t.csv[?]dataset': line 3, column 'dataset' {words}: must be the name of a member"
    with pytest.raises(UserError, match=line):
        build("t.csv?dataset")


def test_titles_sources_and_notices_are_joined(files):
    dataset = build(" dino + mnist:3:7+mnist:3 +c.png+dino", threshold=0.9)
    assert dataset.title == "dino + digit 3 (8x8) #7 + digit 3 (8x8) + c + dino"
    assert dataset.label_names[1] == "digit 3 (8x8) #7" and dataset.source == "digits, image"
    assert dataset.notice == "8x8 digits, threshold lowered from 0.9 to 0.5: their ink is grey"
    assert dataset.num_labels == 5 and dataset.heldout is None


@pytest.mark.parametrize("fields, message", [
    ({"members": "dino+sun"}, r"members = 'dino\+sun': 'sun': must be one of moons, .*, tree, "
                              r"mnist:DIGIT, mnist:DIGIT:INDEX, a file, or a run's folder, "
                              r"joined by \+"),
    ({"members": ""}, r"members = '': '': must be one of moons"),
    ({"members": "dino+"}, r"members = 'dino\+': '': must be one of moons"),
    ({"members": "mnist"}, r"members = 'mnist': 'mnist': must be mnist:DIGIT or mnist:DIGIT:INDEX"),
    ({"members": "mnist:x"}, r"'mnist:x': must be mnist:DIGIT or"),
    ({"members": "mnist:3:-1"}, r"'mnist:3:-1': must be mnist:DIGIT or"),
    ({"members": "mnist:3:1:2"}, r"'mnist:3:1:2': must be mnist:DIGIT or"),
    ({"members": "line+mnist:12"}, r"members = 'line\+mnist:12': 'mnist:12': must be a digit of 0"),
    ({"members": "mnist:3:9999"}, r"members = .*'mnist:3:9999': config\.data\.index = 9999: must "),
    ({"members": "line+no.png"}, r"members = .*'no\.png': config\.data\.path = 'no\.png': must be "
                                 r"an existing picture file"),
    ({"members": "line+no.csv"}, r"'no\.csv': config\.data\.path = 'no\.csv': must be an existing"),
    ({"weights": "0.5+x"}, r"config\.data\.weights = '0\.5\+x': must be numbers joined by \+"),
    ({"weights": "1"}, r"config\.data\.weights = '1': must be 2 numbers, one for each member"),
    ({"weights": "0.2+0.3+0.5"}, r"must be 2 numbers, one for each member"),
    ({"weights": "0+1"}, r"config\.data\.weights = '0\+1': must be positive numbers"),
    ({"weights": "1.5+-0.5"}, r"must be positive numbers"),
    ({"weights": "nan+1"}, r"must be positive numbers"),
    ({"weights": "inf+1"}, r"must be positive numbers"),
    ({"weights": "0.5+0.500002"}, r"must be numbers of sum 1, not 1\.000002"),
])  # fmt: skip
def test_bad_fields_are_one_clear_line(files, fields, message):
    with pytest.raises(UserError, match=message) as error:
        build(**{"members": "line+moons", **fields})
    assert str(error.value).startswith("config.data.") and "\n" not in str(error.value)


def test_a_run_in_space_is_refused(tmp_path):
    described = {"shift": [0.0] * 3, "scale": 1.0, "title": "space", "columns": ["x", "y", "z"]}
    stored = {"data": {"name": "points", "normalize": True}, "dataset": described}
    (tmp_path / "config.json").write_text(json.dumps(stored))
    np.save(tmp_path / "samples.npy", np.random.default_rng(0).normal(size=(2, 50, 3)))
    with pytest.raises(UserError, match=r"must be in the plane.* 3 coordinates"):
        build(f"moons+{tmp_path}")


def test_weights_may_be_off_by_their_rounding():
    np.testing.assert_allclose(build("line+line", weights="0.5+0.5000005").weights, 0.5, rtol=1e-5)


def test_coinciding_points_have_no_scale_but_may_stay_in_their_own_units(tmp_path):
    np.save(tmp_path / "dot.npy", np.ones((5, 2)))
    member = str(tmp_path / "dot.npy")
    with pytest.raises(UserError, match=r"members = .*dot\.npy': .*all points coincide"):
        build(member)
    dataset = build(member, align=False, normalize=False)
    points = draw(dataset, jax.random.key(0), 2, 3).points
    np.testing.assert_array_equal(points, np.ones((2, 3, 2)))
