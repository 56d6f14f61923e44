"""Check generated sets as data: complete sets in the units of their run, identified by content."""

import json
import shutil

import jax
import numpy as np
import pytest

from tiny_diffusion_jax import data
from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.data import generated
from tiny_diffusion_jax.dataset import draw_sets
from tiny_diffusion_jax.errors import UserError

SIZE, POINTS = 7, 6
# Point j of set s is (s, j).
SETS = np.stack(np.meshgrid(np.arange(SIZE), np.arange(POINTS), indexing="ij"), -1)


@pytest.fixture
def make_run(tmp_path):
    def make(sets=SETS, members="dino", name="mixture", **units):
        config = default_config()
        config.data.update(name=name, members=members, **units)
        dataset = {"title": "dino", "source": "", "shift": [1.0, 2.0], "scale": 4.0}
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / "config.json").write_text(
            json.dumps(config.to_dict() | {"dataset": dataset}), encoding="utf-8")  # fmt: skip
        np.save(tmp_path / "run" / "samples.npy", np.float32(sets))
        return tmp_path / "run"

    return make


def member(run, **changes):
    """The run as a member of a mixture, and the mixture."""
    config = default_config().data
    config.update(dict(name="mixture", members=f"{run}+moons") | changes)
    mixture = data.build(config)
    return mixture.members[0], mixture


def test_a_set_is_points_of_one_set(make_run):
    dataset, mixture = member(make_run(), align=False)
    assert mixture.label_names == ("dino", "moons") and mixture.title == "dino + moons"
    drawn = np.asarray(draw_sets(dataset, jax.random.key(0), 400, 4).points)
    which, place = drawn[..., 0], drawn[..., 1]
    assert (which == which[:, :1]).all() and set(which[:, 0]) == set(range(SIZE))
    assert all(len(set(row)) == 4 for row in place)  # the points of a set are different
    counts = np.bincount(place.ravel().astype(int), minlength=POINTS)
    assert counts.min() > 0.7 * counts.mean()
    assert {tuple(row) for row in place[which[:, 0] == 0]} > {tuple(place[which[:, 0] == 0][0])}


def test_each_coordinate_of_a_generated_set_has_a_name(make_run):
    """The description of the data names as many coordinates as the sets have."""
    run = make_run(np.zeros((2, 3, 5)), members="dino+moons")
    config = json.loads((run / "config.json").read_text("utf-8"))
    config["dataset"].update(shift=[0.0] * 5)
    (run / "config.json").write_text(json.dumps(config), "utf-8")
    options = default_config().data
    options.path = str(run)
    dataset = generated.build(options)
    assert dataset.coordinates == ("x0", "x1", "x2", "x3", "x4")
    assert "coordinates x0, x1, x2, x3, x4" in dataset.details


def test_a_set_goes_on_in_others_only_where_all_are_of_one_density(make_run):
    draw = lambda run: np.asarray(
        draw_sets(member(run, align=False)[0], jax.random.key(0), 50, 2 * POINTS).points
    )
    one = draw(make_run())
    assert len({tuple(point) for point in one[0]}) == 2 * POINTS
    assert (one[:, POINTS:, 0] == (one[:, :POINTS, 0] + 1) % SIZE).all()
    same = draw(make_run(members="table.csv?kind=cat"))
    np.testing.assert_array_equal(same, one)
    earlier = make_run()  # may have drawn sets of many densities
    for run in ({"members": "dino+moons"}, {"members": "table.csv?kind"}, {"name": "sets"},
                {"name": "mnist_sets"}, {"members": str(earlier)}):  # fmt: skip
        several = draw(make_run(**run))
        assert (several[..., 0] == several[:, :1, 0]).all()
        assert len({tuple(point) for point in several[0]}) == POINTS


def test_its_units_are_those_of_the_data_it_learned(make_run):
    """Aligned samples lie where the data of the run lie, whatever the moments of the samples."""
    dataset, mixture = member(make_run())
    drawn = np.asarray(draw_sets(dataset, jax.random.key(0), 400, 4).points)
    assert (mixture.shift == 0).all() and mixture.scale == 1
    assert {tuple(p) for p in (drawn.reshape(-1, 2) * 4 + [1, 2]).round()} <= {
        tuple(p) for p in SETS.reshape(-1, 2)}  # fmt: skip
    # without normalisation, the run has only the units of its samples
    own, _ = member(make_run(normalize=False))
    drawn = np.asarray(draw_sets(own, jax.random.key(0), 4000, 4).points).reshape(-1, 2)
    assert np.abs(drawn.mean(0)).max() < 0.1 and abs(drawn.var(0).mean() - 1) < 0.1


def test_other_samples_are_other_data(make_run):
    sources = {member(make_run(sets))[1].source for sets in (SETS, SETS, SETS + 1)}
    assert len(sources) == 2 and all(s.startswith("sets drawn by a run (crc32 ") for s in sources)


def test_bad_runs_are_one_line(make_run, tmp_path):
    def line(run):
        with pytest.raises(UserError) as error:
            member(run)
        assert "\n" not in str(error.value)
        return str(error.value)

    run = make_run()
    shutil.copytree(run, tmp_path / "new")
    (tmp_path / "new" / "samples.npy").unlink()
    words = "must be a run that has drawn {}: there is no samples.npy in it"
    assert words.format("its samples") in line(tmp_path / "new")
    (tmp_path / "new" / "samples.npz").touch()
    assert words.format("sets of one size, and this one drew sets of many") in line(
        tmp_path / "new")  # fmt: skip
    assert "samples.npy has shape (7, 2), or points that are not" in line(make_run(SETS[:, 0]))
    assert "files are damaged" in line(make_run(np.where(SETS == 3, np.nan, SETS)))
    (run / "config.json").write_text("{", "utf-8")
    place = f"config.data.members = '{run}+moons': '{run}': config.data.path = '{run}'"
    assert line(run).startswith(f"{place}: must be the folder of a run, but its files are damaged")
    assert "a file, or a run's folder, joined by +" in line("runs/nothing")
