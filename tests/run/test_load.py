"""Check that a run folder is complete: config, units of the data, weights."""

import json

import jax
import numpy as np
import pytest
from command_line import MOONS, run
from run_files import arrays

import tiny_diffusion_jax as td
from tiny_diffusion_jax.cli import commands
from tiny_diffusion_jax.config import default_config, flatten
from tiny_diffusion_jax.data.halves import part
from tiny_diffusion_jax.data.observed import from_observed
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.run import run_folder
from tiny_diffusion_jax.run.load import describe_weights
from tiny_diffusion_jax.run.versions import ADDED, migrate_config
from tiny_diffusion_jax.training.step import Best, TrainState


def test_load_gives_what_the_command_line_draws_with(finished):
    folder, _ = finished
    experiment, params = td.load(folder)
    assert experiment.config.to_dict() == run_folder.read_config(str(folder)).to_dict()
    assert experiment.config.train.steps == 40 and experiment.dataset.title == "moons"
    stored = {k: v for k, v in arrays(folder, 40).items() if k.startswith(".ema")}
    assert len(stored) == len(jax.tree.leaves(params)) > 4
    by_name = {f".ema{jax.tree_util.keystr(k)}": v
               for k, v in jax.tree_util.tree_leaves_with_path(params)}  # fmt: skip
    for name, array in stored.items():
        np.testing.assert_array_equal(by_name[name], array)
    sets = td.sample(experiment, params)
    np.testing.assert_array_equal(sets, np.load(folder / "samples.npy"))


def test_load_needs_no_right_to_write(finished, monkeypatch):
    def no_file(**_):
        raise OSError("read-only")

    monkeypatch.setattr(run_folder.tempfile, "TemporaryFile", no_file)
    td.load(str(finished[0]))
    with pytest.raises(UserError, match="must be a folder that can be written"):
        run_folder.make_writable(str(finished[0]), holds_run=True)


def test_the_folder_alone_is_enough_for_the_command_line(copy, monkeypatch):
    monkeypatch.setattr(commands.reports, "write_report", lambda *_: None)
    monkeypatch.delattr("tiny_diffusion_jax.run.train.train_blocks")
    drawn = np.load(copy / "samples.npy")
    (copy / "samples.npy").unlink()
    assert run(f"--workdir={copy}", "--mode=sample").code == 0
    np.testing.assert_array_equal(np.load(copy / "samples.npy"), drawn)
    given = ["--config.sample.num_points", "1", "--config.evaluate.frames=0",
             "--config.data.cache_dir=elsewhere", "--config.compilation_cache="]  # fmt: skip
    assert run(f"--workdir={copy}", "--mode=sample", *given).code == 0
    # a single point is drawn, but not evaluated
    assert np.load(copy / "samples.npy").shape == (2, 1, 2)
    stored = json.loads((copy / "config.json").read_text("utf-8"))
    assert stored["sample"]["num_points"] == 64  # the config of the run is not overwritten


def test_the_command_line_loads_with_the_same_function(copy, monkeypatch):
    calls = []

    def load(path, config, with_data):
        calls.append((path, config.sample.num_sets))
        raise UserError("loaded")

    monkeypatch.setattr(commands, "load", load)
    assert run(f"--workdir={copy}", "--mode=sample", "--config.sample.num_sets=3").code == 2
    assert run(*MOONS, f"--workdir={copy}", "--mode=evaluate").code == 2
    assert calls == [(str(copy), 3), (str(copy), 2)]


@pytest.mark.parametrize("change, words", [
    (lambda stored: stored.pop("model"),
     "it lacks model.context_blocks, model.context_dim, model.embedding"),
    (lambda stored: stored["sample"].update(redraw=5), "it has sample.redraw"),
    (lambda stored: stored.update(train=7), "it has train; it lacks train.block, train.chec"),
    (lambda stored: stored["sample"].update(growth="2"), "of another type are sample.growth = '2'"),
    (lambda stored: stored["model"].update(labels=1), "of another type are model.labels = 1"),
])  # fmt: skip
def test_a_config_of_another_version_is_named_and_not_guessed(change, words, copy):
    stored = json.loads((copy / "config.json").read_text("utf-8"))
    change(stored)
    (copy / "config.json").write_text(json.dumps(stored), "utf-8")
    with pytest.raises(UserError) as error:
        td.load(copy)
    message = str(error.value)
    assert words in message and message.endswith("Name the config of the run, --config=FILE")
    assert "must be a config of this version of the program, but" in message and "\n" not in message


def test_an_earlier_version_can_be_drawn_from_where_its_config_is_named(copy, monkeypatch):
    """The config of the model must match; the options of sampling come from the command."""
    monkeypatch.setattr(commands.reports, "write_report", lambda *_: None)
    stored = json.loads((copy / "config.json").read_text("utf-8"))
    stored["sample"]["redraw"] = stored["sample"].pop("burn_in")
    (copy / "config.json").write_text(json.dumps(stored), "utf-8")
    assert run(f"--workdir={copy}", "--mode=sample").code == 2
    assert run(*MOONS, f"--workdir={copy}", "--mode=sample").code == 0


def test_what_an_older_version_lacks_is_as_it_was(copy, monkeypatch):
    """Read, sample and resume a run that was written before sets existed."""
    drawn = np.load(copy / "samples.npy")
    stored = json.loads((copy / "config.json").read_text("utf-8"))
    defaults = default_config().to_dict()
    older = {part: {name: value for name, value in fields.items()
                    if value != defaults[part][name] or name == "fade"} if part != "dataset" and
             isinstance(fields, dict) else fields for part, fields in stored.items()}  # fmt: skip
    assert "members" not in older["data"] and "steps" in older["train"]
    (copy / "config.json").write_text(json.dumps(older), "utf-8")
    experiment, params = td.load(copy)
    np.testing.assert_array_equal(td.sample(experiment, params), drawn)
    monkeypatch.setattr(commands.reports, "evaluate_run", lambda *_: None)
    as_older = "--config.data.heldout=0", "--config.train.references=0"
    result = run(*MOONS, *as_older, f"--workdir={copy}")
    assert result.code == 0 and "already trained (step 40)" in result.err

    # features of this older model did not fade, whatever the default is now
    del older["model"]["fade"]
    (copy / "config.json").write_text(json.dumps(older), "utf-8")
    assert run_folder.read_config(str(copy)).model.fade is False
    assert "It differs in model.fade: False -> True" in run(
        *MOONS, *as_older, f"--workdir={copy}").err


def test_an_option_that_was_added_has_another_default_today():
    ours = flatten(default_config())
    for option, value in ADDED.items():
        assert type(value) is type(ours[option]) and value != ours[option], option
    for damaged in ({}, {"model": 3}, {"a": 1}):
        assert migrate_config(damaged) == damaged


@pytest.mark.parametrize("keep_best", [True, False])
def test_older_runs_chose_their_weights_on_all_held_out_sets(keep_best):
    """Runs without chosen weights equal runs of this version in this respect."""
    train = migrate_config({"train": {"keep_best": keep_best}})["train"]
    assert train["split_heldout"] is not keep_best
    assert migrate_config({"train": train})["train"] == train
    assert migrate_config({"train": {}})["train"]["split_heldout"] is True


def test_whole_numbers_stand_for_numbers(copy):
    stored = json.loads((copy / "config.json").read_text("utf-8"))
    stored["sample"]["growth"] = 2
    (copy / "config.json").write_text(json.dumps(stored), "utf-8")
    growth = run_folder.read_config(str(copy)).sample.growth
    assert growth == 2.0 and isinstance(growth, float)


def test_the_log_names_the_step_of_the_best_weights():
    state = TrainState(np.int32(40), None, None, None, Best(None, np.float32(0.25), np.int32(20)))
    line = "weights: the average at step 20 of 40, which has the lowest held-out loss, 0.2500, on "
    sets = from_observed(np.eye(4, 2), np.array([0, 2]), np.array([2, 2]), np.zeros(2, int),
                         num_labels=0, label_names=())  # fmt: skip
    assert describe_weights(state, sets) == line + "held-out sets"
    heldout = sets.replace(heldout=sets)
    assert describe_weights(state, heldout) == line + (
        "2 sets; 1-NNA and likelihood are measured on the same sets, which is optimistic")
    table = heldout.replace(rows=np.eye(2), validation=part(sets, np.array([0])))
    assert describe_weights(state, table) == line + (
        "1 rows; the likelihood is measured on 2 other rows")
    halves = heldout.replace(validation=part(sets, np.array([0])))
    assert describe_weights(state, halves) == line + (
        "1 sets; 1-NNA and likelihood are measured on 2 other sets")


@pytest.mark.parametrize("height, order", [(0.0, "random"), (1.0, "rows:1"), (0.7, "rows:0.7"),
                                           (1 / 28, f"rows:{1 / 28!r}")])  # fmt: skip
def test_a_run_in_rows_keeps_its_order(height, order):
    """The option `row_height` of older versions is the order `rows`."""
    model = migrate_config({"model": {"name": "causal", "row_height": height}})["model"]
    assert model["order"] == order and "row_height" not in model
