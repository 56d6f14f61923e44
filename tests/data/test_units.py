"""Check own units at any offset and scale: float64 on the host, as exact as the file."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from weights import random_weights

import tiny_diffusion_jax as td
from tiny_diffusion_jax import api, data
from tiny_diffusion_jax.data import units
from tiny_diffusion_jax.data.description import describe, restore
from tiny_diffusion_jax.dataset import draw_points, draw_sets
from tiny_diffusion_jax.diffusion.schedules import make_schedule
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.figures.samples import axis_labels, samples_figure
from tiny_diffusion_jax.figures.style import square_limits
from tiny_diffusion_jax.files import write_json
from tiny_diffusion_jax.reports import save_samples
from tiny_diffusion_jax.reports.data import ReportData
from tiny_diffusion_jax.run.same_run import data_differences
from tiny_diffusion_jax.sets.order import order_of, parse_order
from tiny_diffusion_jax.training.batches import draw_batches, make_batch_spec
from tiny_diffusion_jax.web.live import live_model
from tiny_diffusion_jax.web.trajectories import pack_trajectories

UTM = np.array([388098.25, 5603948.7])  # y is 0.7 times an integer
PLANE = np.random.default_rng(0).normal(size=(90, 2)) * (3.0, 1.5)
SIZES = 5 + np.arange(12) % 3


def write_table(path, points, name="x,y"):
    np.savetxt(path, points, "%.17g", ",", header=name, comments="")
    return str(path)


def write_sets(path, points):
    rows = np.column_stack([np.repeat(np.arange(12), SIZES), points[: SIZES.sum()]])
    return write_table(path, rows, "set,x,y")


def small(name, path="", model="fourier_mlp", **fields):
    config = td.default_config(model)
    config.data.update(name=name, path=path, **fields)
    config.model.update(
        hidden_dim=8, num_blocks=1, num_frequencies=4, time_frequencies=4, num_heads=2,
        num_inducing=2, context_dim=8, context_blocks=1,
    )  # fmt: skip
    config.sample.update(num_sets=2, num_points=6, num_steps=3, sampler="ddim")
    return config


# ---------------------------------------------------------------- which origin


@pytest.mark.parametrize("mean, std, origin", [
    (0, 1, ()), (1e3, 1, ()), (4e3, 1, ()), (-1e6, 300, ()), (1e-3, 1e-6, ()),
    (5e3, 1, (5e3, 5e3)), (-5e3, 1, (-5e3, -5e3)), (1.7e9, 1e5, (1.7e9, 1.7e9)),
    (116.397, 0.01, (116.397, 116.397)), (1e6, 20, (1e6, 1e6)), (2e12, 1e6, (2e12, 2e12)),
])  # fmt: skip
def test_an_origin_only_where_float32_rounds_too_much(mean, std, origin):
    spread = np.linspace(-1.7, 1.7, 101)[:, None] * (1, -1)
    found = units.choose_origin(mean + std * spread)
    assert found == pytest.approx(origin, abs=0.51 * std)
    # An origin is a rounded number, so that the label of an axis can show it.
    assert all(len(f"{x:.15g}".strip("0").replace(".", "")) < 9 for x in found)


def test_each_coordinate_has_an_origin_of_its_own():
    times = np.column_stack([1.7e9 + 1e5 * PLANE[:, 0], PLANE[:, 1]])
    assert units.choose_origin(times) == (pytest.approx(1.7e9, abs=1e5), 0.0)
    for constant, expected in ((0.1, ()), (5603948.9, (5603948.9, 0.0))):
        points = np.column_stack([np.full(90, constant), PLANE[:, 1]])
        assert units.choose_origin(points) == pytest.approx(expected, abs=1)
    assert units.choose_origin(np.full((5, 2), 7.0)) == ()


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6, 1e9])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_own_units_survive_the_device(offset, scale):
    own = offset + scale * PLANE
    origin = units.choose_origin(own)
    centred = units.to_centred(origin, own)
    again = units.to_own(origin, np.float32(centred))
    step = np.spacing(np.abs(own).max())  # float64 step of the values in the file
    assert np.abs(again - own).max() <= 2**-24 * max(np.abs(centred).max(), 1e-300) + step
    assert np.abs(again - own).max() <= 2**-11 * scale + step
    if not origin:
        assert centred is own and units.to_own((), own) is own


@pytest.mark.parametrize("scale", [1e-36, 1e-46, 1e-60, 1e-200, 1e-300])
def test_a_spread_that_float32_cannot_hold_is_refused(scale, tmp_path):
    message = ("config.data.path = '.*.csv': the points spread over .*e-.*: must be at least "
               "1e-33, because numbers are float32. Write the points in other units")  # fmt: skip
    for name, path in (("points", write_table(tmp_path / "a.csv", scale * PLANE)),
                       ("sets", write_sets(tmp_path / "b.csv", scale * PLANE))):  # fmt: skip
        for per_axis in (False, True):
            config = small(name, path, per_axis=per_axis).data
            with pytest.raises(UserError, match=message):
                data.build(config)
    narrow = write_table(tmp_path / "c.csv", PLANE * (1, scale))
    with pytest.raises(UserError, match=message):
        data.build(small("points", narrow, per_axis=True).data)
    assert "coordinate y" in data.build(small("points", narrow).data).notice
    held = write_table(tmp_path / "d.csv", 1e-30 * PLANE)
    assert float(data.build(small("points", held).data).scale) > 0


# ---------------------------------------------------------------- data without an offset


# key -> (first drawn point, shift, scale, first and last point sampled by an untrained model),
# recorded before origins existed.
BEFORE = {
    "moons": ((-0.32173681, 1.45321441), (0.60553813, 0.64274842), 1.61248147,
              (-0.42371285, 0.75396943), (1.04866552, -0.45350593)),
    "points": ((42.0511017, 99.7024002), (40.3689842, 99.9501343), 2.21723676,
               (38.9537163, 100.103065), (40.9783058, 98.4427338)),
    "jitter": ((39.3594513, 101.370834), (40.3292313, 99.9527588), (2.89301682, 0.96792048),
               (38.4826126, 100.01952), (41.1242638, 99.2947159)),
    "sets": ((48.9071007, 51.4570007), (49.8157730, 49.8660049), 0.84155041,
             (49.0386085, 50.5466232), (49.9369698, 50.1054497)),
    "mixture": ((-0.54814541, -0.00909479), (0, 0), 1.0,
                (-0.92349333, 0.80876875), (0.14401597, 0.28452796)),
    "unaligned": ((-0.27833614, 0.62808322), (20.4673843, 50.2977524), 37.8639374,
                  (-14.4997101, 80.9209213), (25.9203949, 61.0711021)),
}  # fmt: skip


@pytest.mark.parametrize("key", BEFORE)
def test_data_that_float32_holds_well_are_as_they_were(key, tmp_path):
    rng = np.random.default_rng(0)
    plane = np.column_stack([40 + 3 * rng.normal(size=90), 100 + rng.normal(size=90)])
    table, sets = tmp_path / "t.csv", tmp_path / "s.csv"
    np.savetxt(table, plane, "%.4f", ",", header="x,y", comments="")
    rng = np.random.default_rng(1)
    rows = [(s, *(50 + rng.normal(size=2))) for s in range(12) for _ in range(5 + s % 3)]
    np.savetxt(sets, rows, ("%d", "%.4f", "%.4f"), ",", header="set,x,y", comments="")
    jitter = {"jitter": "gaussian", "jitter_std": 0.1, "per_axis": True}
    members = {"model": "set_transformer", "members": f"moons+{table}"}
    config = {
        "moons": lambda: small("moons"), "points": lambda: small("points", str(table)),
        "jitter": lambda: small("points", str(table), **jitter),
        "sets": lambda: small("sets", str(sets), model="set_transformer"),
        "mixture": lambda: small("mixture", **members),
        "unaligned": lambda: small("mixture", align=False, **members),
    }[key]()  # fmt: skip
    setup = td.build(config)
    drawn = draw_sets(setup.dataset, jax.random.key(0), 3, 4).points
    sampled = td.sample(setup, api.init(setup).params)
    assert setup.dataset.origin == () and sampled.dtype == np.float32
    found = drawn[0, 0], setup.dataset.shift, setup.dataset.scale, sampled[0, 0], sampled[-1, -1]
    for value, expected in zip(found, BEFORE[key], strict=True):
        np.testing.assert_allclose(value, expected, rtol=2e-5, atol=2e-6)


# ---------------------------------------------------------------- data at an offset


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """{"points": (near, far), "sets": ...}: the same data around 0 and at a UTM offset."""
    folder = tmp_path_factory.mktemp("units")
    found = {}
    for name, write, model in (("points", write_table, "fourier_mlp"),
                               ("sets", write_sets, "causal")):  # fmt: skip
        setups = []
        for place, points in (("near", PLANE), ("far", PLANE + UTM)):
            config = small(name, write(folder / f"{place}_{name}.csv", points), model)
            # an untrained network with high frequencies amplifies rounding errors
            config.model.scale = 2.0
            if model == "causal":
                config.model.order = "rows:0.7"
                config.sample.update(num_points=6, first_block=1, growth=1.0)
            setups.append(td.build(config))
        found[name] = setups
    return found


@pytest.mark.parametrize("name", ["points", "sets"])
def test_a_far_table_is_read_as_exactly_as_a_near_one(name, pairs):
    near, far = (setup.dataset for setup in pairs[name])
    assert near.origin == () and np.abs(np.subtract(far.origin, UTM)).max() < 1.5
    np.testing.assert_allclose(far.scale, near.scale, rtol=1e-6)
    for one, other in ((near, far), (near.heldout, far.heldout)):
        assert other.origin == far.origin
        a, b = (np.asarray(d.rows if name == "points" else d.points, np.float64)
                for d in (one, other))  # fmt: skip
        own = units.to_own(far.origin, b)
        # 500,000 times finer than the float32 step at this offset
        np.testing.assert_allclose(own, a + UTM, rtol=0, atol=1e-6)
        assert len(np.unique(own[:, 1])) == len(a)
        np.testing.assert_allclose(other.normalize(b), one.normalize(a), atol=2e-6)


@pytest.mark.parametrize("name", ["points", "sets"])
def test_samples_and_likelihoods_do_not_depend_on_the_offset(name, pairs):
    near, far = pairs[name]
    params = random_weights(near.model)
    drawn = td.sample(far, params)
    assert drawn.dtype == np.float64 and len(np.unique(drawn[..., 1])) == drawn[..., 1].size
    np.testing.assert_allclose(drawn - UTM, td.sample(near, params), atol=1e-4)
    path = td.sample(far, params, keep_trajectory=True)
    np.testing.assert_allclose(path[-1], drawn, atol=1e-6)
    points = PLANE[:12] if name == "points" else PLANE[:12].reshape(2, 6, 2)
    log_p = td.log_prob(near, params, points, 4)
    np.testing.assert_allclose(td.log_prob(far, params, points + UTM, 4), log_p, atol=1e-4)


def test_rows_of_a_page_are_counted_in_own_units():
    """Rows in centred units would have different borders, and so a different order of points."""
    points = np.random.default_rng(2).uniform(0, 8, (40, 2)) + UTM
    height, origin = 0.7, (388098.0, 5603949.0)
    keys = parse_order("rows:0.7", ("x", "y"))
    expected = np.lexsort((points[:, 0], -np.floor(points[:, 1] / height)))
    centred = jnp.asarray(units.to_centred(origin, points))
    np.testing.assert_array_equal(order_of(centred, keys, None, origin), expected)
    assert np.any(np.asarray(order_of(centred, keys)) != expected)


def test_training_sees_the_rows_of_own_units(pairs):
    near, far = pairs["sets"]
    plan = make_batch_spec(near.config.train, near.model)
    assert near.model.order == "rows:0.7" and far.dataset.origin[1] % 0.7 > 0.1
    draw = jax.jit(draw_batches, static_argnums=(2, 3, 4))
    a, b = (draw(jax.random.key(0), setup.dataset, 10, 2, plan) for setup in (near, far))
    np.testing.assert_allclose(a.x_0, b.x_0, atol=2e-6)


def test_given_points_are_in_own_units(tmp_path):
    near, far = (
        td.build(small("sets", write_sets(tmp_path / f"{i}.csv", PLANE + i * UTM), "history"))
        for i in (0, 1)
    )
    params, given = random_weights(near.model), PLANE[:2]
    drawn = td.sample(far, params, given=given + UTM)
    np.testing.assert_allclose(drawn[:, :2] - UTM, np.stack([given] * 2), atol=1e-6)
    np.testing.assert_allclose(drawn - UTM, td.sample(near, params, given=given), atol=1e-3)


# ---------------------------------------------------------------- mixtures


def mixture(members, **fields):
    return data.build(small("mixture", members=members, jitter_std=0.1, **fields).data)


def test_members_at_an_offset_share_one_origin(tmp_path):
    a, b = (write_table(tmp_path / f"{i}.csv", PLANE + UTM + (10 * i, 0)) for i in (0, 1))
    dataset = mixture(f"{a}+{b}", align=False)
    assert len({dataset.origin, *(member.origin for member in dataset.members)}) == 1
    shift = units.to_own(dataset.origin, np.asarray(dataset.shift, np.float64))
    np.testing.assert_allclose(shift, PLANE.mean(0) + UTM + (5, 0), atol=1e-5)
    for i, member in enumerate(dataset.members):
        drawn = units.to_own(dataset.origin, draw_points(member, jax.random.key(0), 50, 40))
        error = drawn.reshape(-1, 2).mean(0) - (PLANE.mean(0) + UTM + (10 * i, 0))
        np.testing.assert_allclose(error, 0, atol=5 * 3 / 2000**0.5)
        assert len(np.unique(drawn[..., 1])) > 1900
    near = [write_table(tmp_path / f"n{i}.csv", PLANE + (10 * i, 0)) for i in (0, 1)]
    points = np.float32(PLANE[:20])
    found = dataset.log_prob(jnp.asarray(units.to_centred(dataset.origin, points + UTM)))
    expected = mixture("+".join(near), align=False).log_prob(jnp.asarray(points))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_a_member_without_an_offset_is_moved_to_the_common_origin(tmp_path):
    far = write_table(tmp_path / "far.csv", PLANE + UTM)
    dataset = mixture(f"moons+{far}", align=False)
    means = [units.to_own(dataset.origin, draw_points(member, jax.random.key(0), 20, 100)).mean(
        (0, 1)) for member in dataset.members]  # fmt: skip
    np.testing.assert_allclose(means, [(0.5, 0.6), UTM], atol=1)


def test_aligned_members_need_no_origin(tmp_path):
    near, far = (write_table(tmp_path / f"{i}.csv", PLANE + i * UTM) for i in (0, 1))
    dataset = mixture(f"{near}+{far}")
    assert dataset.origin == () and all(member.origin == () for member in dataset.members)
    a, b = (draw_points(member, jax.random.key(0), 3, 50) for member in dataset.members)
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_run_at_an_offset_is_a_member(tmp_path):
    samples = np.random.default_rng(0).permutation(PLANE)[:80].reshape(4, 20, 2) + UTM
    folder = tmp_path / "run"
    folder.mkdir()
    np.save(folder / "samples.npy", samples)
    write_json(folder / "config.json", {
        "data": {"name": "points", "normalize": True},
        "dataset": {"title": "cells", "shift": (PLANE.mean(0) + UTM).tolist(), "scale": 2.0,
                    "origin": [388098.0, 5603949.0]},
    })  # fmt: skip
    member, = mixture(str(folder)).members
    drawn = np.asarray(draw_points(member, jax.random.key(0), 8, 20)).reshape(-1, 2)
    assert len(np.unique(drawn[:, 1])) > 60
    near = (samples.reshape(-1, 2) - UTM - PLANE.mean(0)) / 2
    distance = np.abs(drawn[:, None] - near).max(-1).min(1)
    assert distance.max() < 1e-5


# ---------------------------------------------------------------- files and pages


def test_a_run_keeps_its_units(pairs):
    dataset = pairs["points"][1].dataset
    facts = describe(dataset)
    rows = units.to_own(dataset.origin, dataset.rows)
    np.testing.assert_allclose(facts["shift"], rows.mean(0), rtol=0, atol=1e-6)
    assert facts["origin"] == list(dataset.origin)
    assert data_differences(facts, facts) == []
    older = {key: value for key, value in facts.items() if key != "origin"}
    older["shift"] = np.float32(facts["shift"]).tolist()
    # files written by the version without origins are still accepted
    assert data_differences(older, facts) == []
    moved = facts | {"shift": [facts["shift"][0], facts["shift"][1] + 100]}
    assert "dataset.shift" in data_differences(moved, facts)[0]
    assert "origin" not in describe(pairs["points"][0].dataset)
    again = restore(facts)
    assert again.origin == dataset.origin
    np.testing.assert_allclose(again.shift, dataset.shift, atol=1e-6)


def test_files_of_samples_keep_millimetres(tmp_path, pairs):
    dataset = pairs["sets"][1].dataset
    sets = np.full((3, 4, 2), np.nan)
    sets[0], sets[1, :2], sets[2, :3] = PLANE[:4] + UTM, PLANE[4:6] + UTM, PLANE[6:9] + UTM
    own = sets[~np.isnan(sets[..., 0])]
    save_samples.write_sets(tmp_path, "samples", sets, dataset, None, same_size=False)
    with np.load(tmp_path / "samples.npz") as arrays:
        assert arrays["points"].dtype == np.float64
        np.testing.assert_array_equal(arrays["points"], own)
    table = np.genfromtxt(tmp_path / "samples.csv", delimiter=",", skip_header=1)
    np.testing.assert_array_equal(table[:, 1:], own)
    save_samples.write_sets(tmp_path, "samples", sets[:1], dataset, None, same_size=True)
    np.testing.assert_array_equal(np.load(tmp_path / "samples.npy"), sets[:1])


def test_pages_have_own_units(tmp_path, pairs):
    setup = pairs["points"][1]
    params = random_weights(setup.model)
    sets = td.sample(setup, params)
    report_data = ReportData(setup, params, sets)
    assert report_data.samples.dtype == np.float32
    np.testing.assert_allclose(units.to_own(setup.dataset.origin, report_data.samples), sets,
                               rtol=0, atol=1e-6)  # fmt: skip
    packed = save_samples.table_panel(report_data)
    low = np.array(packed["points"]["offset"])
    np.testing.assert_array_equal(low, sets.min((0, 1)))
    assert packed["digits"] == 9 + 7  # 5,603,948 m with a resolution of 1 m
    model = live_model(setup, params)
    np.testing.assert_allclose(model["shift"], PLANE.mean(0) + UTM, rtol=0, atol=0.3)
    assert model["shift"] == describe(setup.dataset)["shift"]


def test_axes_say_what_their_numbers_lack():
    assert axis_labels(()) == ["", ""] and axis_labels((), "ab") == ["a", "b"]
    assert axis_labels((388098.0, 0.0)) == ["x \u2212 388098", ""]
    assert axis_labels((-0.25, 1.7e9), "ab") == ["a + 0.25", "b \u2212 1700000000"]
    for dim in (2, 3):
        points = np.random.default_rng(0).normal(size=(20, dim)).astype(np.float32)
        figure = samples_figure(points, points, "t", origin=(388098.0, 5603948.0, 0.0)[:dim])
        assert {"x \u2212 388098", "y \u2212 5603948"} <= {
            label for ax in figure.axes for label in (ax.get_xlabel(), ax.get_ylabel())
        }


@pytest.mark.parametrize("scale", [1e-9, 1e-6, 1e6])
def test_pictures_are_the_same_at_any_scale(scale):
    ways = np.random.default_rng(0).normal(size=(30, 2, 50, 2)).astype(np.float32) + 0.3
    limits = square_limits(ways.reshape(-1, 2))
    np.testing.assert_allclose(square_limits(scale * ways.reshape(-1, 2)),
                               scale * np.array(limits), rtol=1e-5, atol=1e-5 * scale)  # fmt: skip
    schedule = make_schedule("karras", 29, sigma_min=0.002, sigma_max=12.0)
    pack = lambda ways: pack_trajectories(ways, np.arange(30)[::-1], schedule)["view"]
    one, other = pack(ways), pack(np.float32(scale) * ways)
    for name in ("centre", "half"):
        np.testing.assert_allclose(np.array(other[name]) / scale, one[name], rtol=1e-4, atol=1e-5)
    assert square_limits(np.zeros((3, 2)))[1] > 0 and square_limits(np.full((3, 2), 7.0))[1] > 7


def test_points_that_coincide_are_refused_at_any_offset(tmp_path):
    np.save(tmp_path / "a.npy", np.full((60, 2), 5603948.9))
    config = small("points", str(tmp_path / "a.npy"))
    with pytest.raises(UserError, match="normalize = True: must be False where all points"):
        data.build(ConfigDict(config.data))
