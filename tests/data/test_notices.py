"""Check the notices about points that harm training, and that ordinary points cause none."""

import numpy as np
import pytest
from weights import random_weights

import tiny_diffusion_jax as td
from tiny_diffusion_jax import data
from tiny_diffusion_jax.checks import check
from tiny_diffusion_jax.data import notices, units
from tiny_diffusion_jax.errors import UserError

RNG = np.random.default_rng(0)
PLANE = RNG.normal(size=(200, 2))
LEFT_OUT = "; 1 outlier left out (line 2); 20 rows are held out (config.data.heldout)"
NAMES = [f"line {i + 2}" for i in range(100_000)]


def table(tmp_path, points, header="x,y", **fields):
    np.savetxt(tmp_path / "t.csv", points, "%.17g", ",", header=header, comments="")
    config = td.default_config()
    sets = header.startswith("set")
    config.data.update(name="sets" if sets else "points", path=str(tmp_path / "t.csv"), **fields)
    return config


def with_rows(*rows):
    return np.concatenate([np.array(rows, float), PLANE])


def sets_of(points):
    return np.column_stack([np.arange(len(points)) // 10, points])


# ---------------------------------------------------------------- outliers


def test_an_outlier_is_named_and_can_be_left_out(tmp_path):
    config = table(tmp_path, with_rows((1e6, 1e6)))
    dataset = data.build(config.data)
    assert dataset.notice.startswith("line 2 is ") and float(dataset.scale) > 1e4
    assert "000 times as far from the median as 99 % of the other rows" in dataset.notice
    assert dataset.notice.endswith("config.data.clip_outliers=True leaves it out")
    config.data.clip_outliers = True
    dataset = data.build(config.data)
    assert dataset.notice == "" and dataset.details.endswith(LEFT_OUT)
    rows = np.concatenate([dataset.rows, dataset.heldout.rows])
    assert len(rows) == 200 and abs(float(dataset.scale) - 1) < 0.2


def test_times_are_those_of_the_distance_from_the_median():
    """The numbers 0, 1, .. 100 have median 50 and range 50; 99 % lie within 0.99 ranges of 50."""
    points = np.column_stack([np.arange(101.0), np.zeros(101)])
    found = notices.find_outliers(np.concatenate([points, [(50 + 50_000, 0)]]))
    assert found.rows.nonzero()[0].tolist() == [101]
    assert found.times == pytest.approx(1000 / 0.99, rel=0.03)


def test_several_outliers_are_counted():
    found = notices.find_outliers(with_rows(*[(0.0, -999.0)] * 5))
    notice = notices.outliers(found, NAMES.__getitem__)
    assert notice.startswith("line 2, line 3, line 4 and 2 more are up to ")
    assert notices.left_out(found, NAMES.__getitem__) == (
        "5 outliers left out (line 2, line 3, line 4 and 2 more)")  # fmt: skip


@pytest.mark.parametrize("points", [
    RNG.normal(size=(50_000, 2)), RNG.exponential(size=(50_000, 2)), RNG.uniform(size=(60, 2)),
    RNG.lognormal(0, 1, size=(50_000, 2)), np.zeros((9, 2)), PLANE[:3], PLANE[:1],
    np.concatenate([PLANE, PLANE[:60] + 1e5]), np.column_stack([PLANE[:, 0], np.full(200, 7.0)]),
    np.column_stack([PLANE[:, 0], RNG.random(200) < 0.2]), PLANE * (1e6, 1e-6) + 1e6,
])  # fmt: skip
def test_ordinary_points_have_no_outliers(points):
    found = notices.find_outliers(np.asarray(points, float))
    assert not found.rows.any() and notices.outliers(found, NAMES.__getitem__) == ""


def test_outliers_of_sets_are_points(tmp_path):
    points = PLANE.copy()
    points[3], points[10:19] = (1e6, 0), (0, -1e6)
    config = table(tmp_path, sets_of(points), "set,x,y")
    dataset = data.build(config.data)
    assert "the point (1000000, 0), the point (0, -1000000), " in dataset.notice
    config.data.clip_outliers = True
    dataset = data.build(config.data)
    assert "10 outliers left out" in dataset.details
    assert "1 sets left out, of fewer than 2 other points" in dataset.details
    sizes = np.concatenate([dataset.sizes, dataset.heldout.sizes])
    assert sorted(sizes.tolist()) == [9] + [10] * 18 and float(dataset.scale) < 2
    check(config)
    config.data.name = "moons"
    with pytest.raises(UserError, match="data.clip_outliers = True: must be False for data that"):
        check(config)


def test_outliers_do_not_decide_on_the_origin(tmp_path):
    """GPS without a fix writes 0, 0. If this row counted, float32 would round all other rows."""
    far = with_rows((0, 0)) + np.array([4e5, 5e6]) * (np.arange(201) > 0)[:, None]
    dataset = data.build(table(tmp_path, far, clip_outliers=True).data)
    assert dataset.details.endswith(LEFT_OUT)
    rows = units.to_own(dataset.origin, np.concatenate([dataset.rows, dataset.heldout.rows]))
    assert len(np.unique(rows[:, 1])) == 200


# ---------------------------------------------------------------- coordinates


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_ordinary_tables_bring_no_notice(scale, offset, tmp_path):
    points = scale * (PLANE + offset)
    for header, rows in (("x,y", points), ("set,x,y", sets_of(points))):
        assert data.build(table(tmp_path, rows, header).data).notice == ""


@pytest.mark.parametrize("points, step", [
    (np.floor(28 * RNG.random((200, 2))), 1), (np.floor(28 * RNG.random((200, 2))) / 10, 0.1),
    (1e-6 * np.floor(28 * RNG.random((200, 2))), 1e-6), (np.rint(30 * PLANE) + 4e6, 1),
    (1e6 * np.rint(9 * PLANE), 1e6), (np.round(PLANE, 1) + 0.5, 0.1),
])  # fmt: skip
def test_a_grid_is_noticed_with_its_step(points, step, tmp_path):
    expected = f"coordinates x, y are on a grid of step {step:g}: "
    for header, rows, says in (("x,y", points, f"config.data.jitter_std={0.3 * step:.1g} fills"),
                               ("set,x,y", sets_of(points), "round them")):  # fmt: skip
        notice = data.build(table(tmp_path, rows, header).data).notice
        assert notice.splitlines()[0].startswith(expected) and says in notice
    jittered = table(tmp_path, points, jitter="gaussian", jitter_std=0.3 * step)
    assert data.build(jittered.data).notice == ""


@pytest.mark.parametrize("points", [
    np.rint(500 * PLANE), np.round(PLANE, 3), PLANE, np.rint(9 * PLANE)[:15],
])  # fmt: skip
def test_fine_grids_and_few_rows_are_no_grid(points):
    assert notices.grid(points, "xy", True) == ""


def test_repeated_rows_are_counted(tmp_path):
    points = np.concatenate([PLANE, PLANE[:100]])
    notice = data.build(table(tmp_path, points, heldout=0.0).data).notice
    assert notice.startswith("33 % of the rows repeat an earlier row; config.data.jitter=gaussian ")
    # each point has two repetitions in its set
    rows = np.column_stack([np.arange(300) % 100 // 10, points])
    notice = data.build(table(tmp_path, rows, "set,x,y").data).notice
    assert notice.startswith("33 % of the rows repeat an earlier row of their set; ")
    apart = np.column_stack([np.arange(300) // 10, points])  # repetitions lie in different sets
    assert data.build(table(tmp_path, apart, "set,x,y").data).notice == ""


def test_repeats_are_exact_at_an_offset():
    points = np.column_stack([5e6 + np.arange(1000) / 1024, np.zeros(1000)])
    assert notices.repeated(points) == 0
    assert notices.repeated(np.repeat(points, 4, axis=0)) == 0.75 * 4000 / 3999


def test_constant_and_uneven_coordinates_have_a_notice_each(tmp_path):
    points = np.column_stack([1000 * PLANE[:, 0], np.full(200, 0.1), PLANE[:, 1]])
    for header, rows in (("x,y,z", points), ("set,x,y,z", sets_of(points))):
        config = table(tmp_path, rows, header, columns="x,y,z")
        constant, uneven = data.build(config.data).notice.splitlines()
        assert constant.startswith("coordinate y never changes: ")
        assert constant.endswith("config.data.columns chooses other coordinates")
        assert uneven.startswith("coordinate x has a spread of") and "coordinate z one of" in uneven
        config.data.per_axis = True
        with pytest.raises(UserError, match="per_axis = True: must be False where .*never changes"):
            data.build(config.data)


def test_each_notice_is_a_line_of_the_log(tmp_path, caplog):
    points = np.column_stack([1000 * PLANE[:, 0], np.rint(PLANE[:, 1])])
    dataset = data.build(table(tmp_path, points).data)
    assert [record.getMessage() for record in caplog.records] == [
        f"notice: {line}" for line in dataset.notice.splitlines()
    ]
    assert len(caplog.records) == 2


def test_notices_of_a_mixture_name_the_member(tmp_path):
    config = table(tmp_path, with_rows((1e6, 1e6)))
    config.data.update(name="mixture", members=f"moons+{config.data.path}", path="")
    assert data.build(config.data).notice.startswith("t: line 2 is ")


# ---------------------------------------------------------------- points to complete


@pytest.mark.parametrize("given, far", [
    ([(14.0, 20.0), (3.0, 25.0)], 0), ([(0.2, 0.7), (0.5, 0.1), (0.9, 0.9)], 3),
    ([(14.0, 20.0), (15.0, 20.0), (16.0, 500.0)], 1), ([(14.0, 20.0), (15.0, 20.0), (16, 29)], 0),
])  # fmt: skip
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_given_points_outside_of_the_data_are_noticed(given, far, offset, tmp_path):
    points = offset + np.random.default_rng(1).uniform(2, 26, (400, 2))
    config = table(tmp_path, np.column_stack([np.arange(400) // 10, points]), "set,x,y")
    dataset = data.build(config.data)
    notice = notices.far_from_data(dataset, units.to_centred(dataset.origin, np.array(given)
                                                             + offset))  # fmt: skip
    assert bool(notice) == bool(far)
    if far:
        assert notice.startswith(f"{far} of {len(given)} given points are outside of the data (")
    if far and offset:
        assert "(x from 100000" in notice and "y from 100000" in notice
    if far and not offset:
        assert "(x from 2." in notice or "(x from 1." in notice


def test_points_in_0_to_1_are_noticed_without_data_too():
    dataset = td.load("mnist")[0].dataset
    pixels = np.float32([(14, 20), (10, 8), (18, 15)])
    assert notices.far_from_data(dataset, pixels) == ""
    notice = notices.far_from_data(dataset, pixels / 28)
    assert notice.startswith("3 of 3 given points are outside of the data (x from 2.5")


def test_sampling_says_it(tmp_path, caplog):
    config = td.default_config("history")
    path = table(tmp_path, sets_of(100 + 10 * PLANE), "set,x,y").data
    config.data.update(name="sets", path=path.path)
    config.model.update(hidden_dim=8, num_blocks=1, num_heads=2, num_frequencies=4)
    config.sample.update(num_sets=1, num_points=4, num_steps=2, sampler="ddim")
    setup = td.build(config)
    params = random_weights(setup.model)
    td.sample(setup, params, given=np.array([[100.0, 95.0]]))
    assert not caplog.records
    td.sample(setup, params, given=np.array([[0.5, 0.5]]))
    assert caplog.records[0].getMessage().startswith("notice: 1 of 1 given points are outside of")
