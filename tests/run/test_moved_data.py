"""A trained run can be sampled without its data, and is evaluated only on its training data."""

import json
import shutil

import numpy as np
import pytest
from command_line import SETS, TINY, config, run

import tiny_diffusion_jax as td
from tiny_diffusion_jax import data
from tiny_diffusion_jax.cli import commands
from tiny_diffusion_jax.data.description import describe, restore
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.run import run_folder

ROWS = np.random.default_rng(0).normal(size=(80, 2)) * [3, 1] + [50, -20]
# label: (x, smallest number of points of a set); all sets are padded to 16 points, so few programs
# are compiled
LABELS = {"1": (-30, 9), "2": (0, 11), "3": (30, 13)}


def write_points(file, rows=ROWS):
    file.write_text("\n".join(["x,y", *(f"{x},{y}" for x, y in rows)]), "utf-8")


def write_sets(file):
    """Write 30 sets, ten per label; each label has two sizes and lies around one x."""
    lines, noise = ["plot,x,y,label"], np.random.default_rng(0)
    for number in range(30):
        label = str(number % 3 + 1)
        x, fewest = LABELS[label]
        size = fewest + noise.integers(2)
        lines += [f"{number},{x + noise.normal()},{noise.normal()},{label}" for _ in range(size)]
    file.write_text("\n".join(lines), "utf-8")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder with tables and the runs that were trained on them with relative paths."""
    home = tmp_path_factory.mktemp("trained")
    write_points(home / "t.csv")
    write_sets(home / "s.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commands.reports, "evaluate_run", lambda *_: None)
        patch.chdir(home)
        points = run(config("points:t.csv"), *TINY, "--workdir=points")
        sets = run(config("sets:s.csv"), *SETS, "--config.data.set_column=plot",
                   "--config.sample.num_points=0", "--workdir=sets")  # fmt: skip
    assert points.code == sets.code == 0, (points.err, sets.err)
    return home


@pytest.fixture
def moved(trained, tmp_path, monkeypatch):
    """Copies of the runs in another folder, without access to the tables."""
    for name in ("points", "sets"):
        shutil.copytree(trained / name, tmp_path / name)
        file = tmp_path / name / "config.json"
        text = file.read_text("utf-8").replace(str(trained), str(tmp_path / "gone"))
        file.write_text(text, "utf-8")
    monkeypatch.chdir("/")
    return tmp_path


@pytest.mark.parametrize("name", ["points", "sets"])
def test_samples_are_the_same_without_the_data(name, trained, moved):
    experiment, params = td.load(trained / name)
    theirs, weights = td.load(moved / name)
    assert experiment.dataset.has_points and not theirs.dataset.has_points
    assert data.about_built(theirs.dataset) == data.about_built(experiment.dataset)
    np.testing.assert_array_equal(td.sample(theirs, weights), td.sample(experiment, params))
    point = ROWS[:1]
    if name == "points":
        before, after = (td.log_prob(*of, point, num_steps=2)
                         for of in ((experiment, params), (theirs, weights)))  # fmt: skip
        np.testing.assert_array_equal(before, after)


def test_the_command_line_samples_completes_and_compares_without_the_data(moved):
    for name, picture in (("points", "samples.png"), ("sets", "sets.png")):
        result = run(f"--workdir={moved / name}", "--mode=sample")
        assert result.code == 0, result.err
        assert "sampling without the data (config.data.path = " in result.err
        assert (moved / name / picture).exists() and (moved / name / "report.html").exists()
    table = (moved / "sets" / "samples.csv").read_text("utf-8")
    assert table.startswith("plot,x,y,label\n")
    write_points(moved / "some.csv", [[0.5, 0.25], [-1, 0]])
    result = run(f"--workdir={moved / 'sets'}", "--mode=complete", f"--points={moved}/some.csv",
                 "--config.sample.num_points=16")  # fmt: skip
    assert result.code == 0, result.err
    assert run(f"--workdir={moved / 'points'}", "--mode=live").code == 0
    runs = f"{moved / 'points'},{moved / 'sets'}"
    assert run("--mode=compare", f"--runs={runs}", f"--workdir={moved}").code == 0


def test_a_label_is_drawn_by_its_name(moved):
    """The sizes of the sets identify the labels, even after little training."""
    here = [f"--workdir={moved / 'sets'}", "--mode=sample", "--config.sample.num_sets=2"]
    for label, (_, fewest) in LABELS.items():
        result = run(*here, f"--config.sample.label={label}")
        assert result.code == 0 and f"label: {label}\n" in result.err
        lines = (moved / "sets" / "samples.csv").read_text("utf-8").splitlines()[1:]
        assert 2 * fewest <= len(lines) <= 2 * fewest + 2
        assert all(line.endswith(f",{label}") for line in lines)
    result = run(*here, "--config.sample.label=0")
    assert result.code == 2 and result.err == (
        "error: config.sample.label = '0': must be one of 1, 2, 3, -1 for random ones, or -2 for "
        "none\n")  # fmt: skip


def test_only_the_data_of_the_run_are_measured(moved, monkeypatch):
    monkeypatch.setattr(commands.reports, "evaluate_run", lambda *_: None)
    here = [f"--workdir={moved / 'points'}", "--mode=evaluate"]
    missing = run(*here)
    assert missing.code == 2 and missing.err.splitlines()[-1].endswith(
        "must be an existing file. To measure the run, name the data that it was trained on: "
        "--config.data.path=FILE")  # fmt: skip
    write_points(moved / "new name.csv")
    same = run(*here, f"--config.data.path={moved}/new name.csv")
    assert same.code == 0, same.err
    write_points(moved / "changed.csv", ROWS[:, ::-1])
    other = run(*here, f"--config.data.path={moved}/changed.csv")
    assert other.code == 2 and "changed.csv': must be the data of the run in " in other.err
    assert "They differ in dataset.scale" in other.err or "dataset.sha256: " in other.err


def test_a_changed_table_is_not_in_the_way_of_samples(moved, trained):
    file = moved / "gone" / "t.csv"
    file.parent.mkdir()
    write_points(file, ROWS + 1)
    experiment, params = td.load(moved / "points")
    assert not experiment.dataset.has_points
    np.testing.assert_array_equal(
        td.sample(experiment, params), td.sample(*td.load(trained / "points")))


def test_training_resumes_from_any_working_directory(trained, moved, only_training):
    result = run(f"{config('points')}:{trained}/t.csv", *TINY, f"--workdir={moved / 'points'}")
    assert result.code == 0 and "already trained (step 40)" in result.err, result.err


def test_a_path_inside_of_the_run_is_relative_to_the_run(tmp_path, monkeypatch, only_training):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    write_points(tmp_path / "a" / "t.csv")
    assert run(config("points:a/t.csv"), *TINY, "--workdir=a").code == 0
    assert json.loads((tmp_path / "a/config.json").read_text("utf-8"))["data"]["path"] == "t.csv"
    (tmp_path / "a").rename(tmp_path / "b")
    monkeypatch.chdir("/")
    assert td.load(tmp_path / "b")[0].dataset.has_points
    assert run_folder.read_config(str(tmp_path / "b")).data.path == str(tmp_path / "b" / "t.csv")


def test_a_run_of_an_older_version_needs_its_data(moved):
    file = moved / "points" / "config.json"
    stored = json.loads(file.read_text("utf-8"))
    kept = ("title", "source", "shift", "scale")
    stored["dataset"] = {field: stored["dataset"][field] for field in kept}
    file.write_text(json.dumps(stored), "utf-8")
    with pytest.raises(UserError, match="must be an existing file"):
        td.load(moved / "points")
    write_points(moved / "t.csv")
    stored["data"]["path"] = str(moved / "t.csv")
    file.write_text(json.dumps(stored), "utf-8")
    assert td.load(moved / "points")[0].dataset.has_points


def test_what_the_network_sees_without_normalised_units_is_kept():
    settings = td.default_config()
    settings.data.update(name="moons", normalize=False)
    experiment = td.build(settings)
    facts = json.loads(json.dumps(describe(experiment.dataset, settings.data)))
    kept = td.api.assemble(settings, restore(facts)).process
    assert kept.sigma_data == experiment.process.sigma_data
    np.testing.assert_array_equal(kept.data_mean, experiment.process.data_mean)
