"""Released models are sampled without data and checkpoints, and evaluated with the data only."""

import json
import re

import jax
import numpy as np
import pytest
from command_line import SETS, config, run
from release import release

import tiny_diffusion_jax as td
from tiny_diffusion_jax.config import config_mismatch, editable, flatten
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.metrics import classifier
from tiny_diffusion_jax.run import released
from tiny_diffusion_jax.run.versions import migrate_config

CAUSAL = [*SETS, "--config.data.source=digits", "--config.model.context_dim=8",
          "--config.model.context_blocks=1", "--config.train.optimizer=muon"]  # fmt: skip
REAL = released.names()


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """(folder of released models, run folder of one of them)."""
    home = tmp_path_factory.mktemp("released")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tiny_diffusion_jax.reports.evaluate_run", lambda *_: None)
        made = run(config("spatial_mnist:causal"), *CAUSAL, f"--workdir={home}/run")
    assert made.code == 0, made
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(released, "FOLDER", home)
        release("tiny", *td.load(home / "run"), "python main.py ...", {"ppll": -3.0})
    return home


@pytest.fixture(autouse=True)
def in_place(digits, monkeypatch, tmp_path):
    monkeypatch.setattr(released, "FOLDER", digits)
    monkeypatch.chdir(tmp_path)


def no_data(monkeypatch):
    def build(config):
        raise AssertionError("the data were built")

    for module in ("tiny_diffusion_jax.data.mnist", "tiny_diffusion_jax.api.data"):
        monkeypatch.setattr(f"{module}.build", build)


def test_it_draws_what_the_run_draws_without_its_data(digits, monkeypatch):
    experiment, params = td.load(digits / "run")
    labels = np.arange(6) % 10
    drawn = td.sample(experiment, params, labels=labels)
    no_data(monkeypatch)
    theirs, weights = td.load("tiny")
    np.testing.assert_allclose(td.sample(theirs, weights, labels=labels), drawn, atol=1e-4)
    given = drawn[0, :5]
    finished = td.sample(theirs, weights, given=given)
    np.testing.assert_allclose(finished[:, :5], np.broadcast_to(given, (6, 5, 2)), atol=1e-5)
    np.testing.assert_allclose(td.log_prob(theirs, weights, drawn, 2),
                               td.log_prob(experiment, params, drawn, 2), atol=1e-4)  # fmt: skip


def test_another_config_is_refused_where_the_command_line_refuses_it():
    config = released.config_of("tiny")
    config.update_from_flattened_dict({"sample.num_sets": 3, "data.cache_dir": "elsewhere"})
    experiment, _ = td.load("tiny", config)
    assert experiment.config.sample.num_sets == 3
    for field, value in {"schedule.name": "linear", "diffusion.prediction": "x0",
                         "train.max_history": 9, "seed": 5}.items():  # fmt: skip
        config = released.config_of("tiny")
        config.update_from_flattened_dict({field: value})
        with pytest.raises(UserError) as error:
            td.load("tiny", config)
        assert str(error.value).startswith(f"config.{field} = {value!r}: must be ")
        assert str(error.value).endswith("with which the released model 'tiny' is trained")
        typed = run("--pretrained=tiny", "--mode=sample", f"--config.{field}={value}")
        assert typed.code == 2 and f"--config.{field} = {value!r}: must be " in typed.err
        assert "with which the released model 'tiny' was trained" in typed.err


def test_a_folder_of_that_name_comes_first(monkeypatch, tmp_path):
    (tmp_path / "tiny").mkdir()
    with pytest.raises(UserError, match="--workdir = 'tiny': must be the folder of a run"):
        td.load("tiny")


def test_the_command_line_draws_and_completes(monkeypatch, tmp_path):
    no_data(monkeypatch)
    (tmp_path / "some.csv").write_text("x,y\n3,4\n3.5,5\n4,6\n", "utf-8")
    for mode in (["--mode=sample", "--config.sample.label=3"],
                 ["--mode=complete", "--points=some.csv"]):  # fmt: skip
        done = run("--pretrained=tiny", *mode)
        assert done.code == 0, done
        assert "trained by python main.py ..." in done.err
    home = tmp_path / "runs" / "pretrained_tiny"
    found = {file.name for file in home.iterdir()}
    assert found == {"samples.npy", "sets.png", "completed.npy", "completed.png", "report.html"}
    assert np.isfinite(np.load(home / "samples.npy")).all()


def test_labels_come_as_often_as_in_the_data(digits):
    shares = released.describe("tiny")["labels"]
    assert list(shares) == list("0123456789") and sum(shares.values()) == pytest.approx(1)
    experiment, _ = td.load("tiny")
    drawn = experiment.dataset.draw(jax.random.key(0), 5_000, 1)
    counts = np.bincount(drawn.label, minlength=10) / 5_000
    np.testing.assert_allclose(counts, list(shares.values()), atol=0.02)
    assert np.isnan(drawn.points).all()  # NaN marks that these points are not data


def test_it_is_measured_on_its_own_data(tmp_path, monkeypatch):
    monkeypatch.setattr(classifier, "TRAIN_SETS", 200)
    monkeypatch.setattr("tiny_diffusion_jax.reports.write_report", lambda *_: None)
    small = ["--config.sample.num_sets=4", "--config.evaluate.max_sets=4"]
    done = run("--pretrained=tiny", "--mode=evaluate", *small)
    assert done.code == 0, done
    file = tmp_path / "runs/pretrained_tiny/metrics.json"
    metrics = json.loads(file.read_text("utf-8"))["metrics"]
    assert {"nna_cd", "copies", "label_accuracy"} <= metrics.keys()


def test_other_data_are_refused(digits, monkeypatch, tmp_path):
    stored = json.loads((digits / "tiny.json").read_text("utf-8"))
    stored["dataset"]["scale"] *= 2
    (tmp_path / "tiny.json").write_text(json.dumps(stored), "utf-8")
    (tmp_path / "tiny.npz").write_bytes((digits / "tiny.npz").read_bytes())
    monkeypatch.setattr(released, "FOLDER", tmp_path)
    done = run("--pretrained=tiny", "--mode=evaluate")
    assert done.code == 2 and "must be measured on the data that it was trained on" in done.err


def test_a_damaged_file_is_named(digits, monkeypatch, tmp_path):
    data = bytearray((digits / "tiny.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "tiny.npz").write_bytes(data)
    (tmp_path / "tiny.json").write_text((digits / "tiny.json").read_text("utf-8"), "utf-8")
    monkeypatch.setattr(released, "FOLDER", tmp_path)
    with pytest.raises(UserError, match="tiny.npz: must be the file with the hash in tiny.json"):
        td.load("tiny")


@pytest.mark.parametrize("typed, words", [
    (["--pretrained=nope", "--mode=sample"], "--pretrained = 'nope': must be one of tiny"),
    (["--pretrained=tiny"], "must be left out without --mode=sample or"),
    (["--pretrained=tiny", "--mode=sample", config("moons")], "must be left out, because tr"),
    (["--pretrained=tiny", "--mode=sample", "--config.model.hidden_dim=9"],
     "--config.model.hidden_dim = 9: must be 8, with which the released model 'tiny' was trained"),
    (["--pretrained=tiny", "--mode=complete"], "must be given with --points"),
    (["--pretrained=tiny", "--mode=sample", "--workdir={run}"], "must be a folder without a run"),
])  # fmt: skip
def test_what_does_not_go_together(typed, words, digits):
    done = run(*(word.format(run=digits / "run") for word in typed))
    assert done.code == 2 and done.err.count("\n") == 1, done
    assert words in done.err


@pytest.mark.parametrize("name", REAL)
def test_what_comes_with_the_package_draws(name, monkeypatch):
    monkeypatch.undo()
    description = released.describe(name)
    assert description["command"].startswith("python ") and description["scores"]
    assert (released.FOLDER / f"{name}.npz").stat().st_size < 4e6
    assert not config_mismatch(migrate_config(description["config"]))
    for option in re.findall(r"--config\.([\w.]+)=", description["command"]):
        # the log prints this command, so that the user can repeat it
        assert option in flatten(td.default_config()), option
    experiment, params = td.load(name)
    few = editable(experiment.config.sample)
    few.update(num_sets=2, num_points=6, num_steps=3)
    sets = td.sample(experiment, params, few)
    assert sets.shape == (2, 6, 2) and np.isfinite(sets).all()
