"""A distilled run is a run: it resumes, is sampled and evaluated, and refuses what it cannot do."""

import json
import shutil

import numpy as np
import pytest
from command_line import TINY, config, run
from run_files import arrays, losses, same

import tiny_diffusion_jax as td
from tiny_diffusion_jax import api
from tiny_diffusion_jax.errors import UserError

SHORT = ["--config.train.trajectories=32", "--config.train.steps=300"]


@pytest.fixture(scope="module")
def few(finished, tmp_path_factory):
    """(folder of a trained run, folder of the run distilled from it, log)."""
    folder = shutil.copytree(finished[0], tmp_path_factory.mktemp("few") / "run")
    result = run(f"--workdir={folder}", "--mode=distill", *SHORT)
    assert result.code == 0, result
    return folder, folder.with_name("run_few"), result.err


def test_the_loss_falls_and_the_report_has_no_likelihood(few):
    _, folder, log = few
    assert "starting from the weights of" in log
    assert "drawing 32 sets of 8 points with their trajectories (dpm++2m, 40 steps)" in log
    rows = losses(folder)
    assert rows[-1][1] < 0.9 * rows[0][1]
    metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
    assert metrics["sample"]["sampler"] == "consistency" and metrics["sample"]["num_steps"] == 2
    assert "sliced_wasserstein2" in metrics["metrics"]
    assert "log_likelihood" not in metrics["metrics"]
    assert np.load(folder / "samples.npy").shape == (2, 64, 2)


def test_it_resumes_bit_for_bit_with_either_command(few, tmp_path):
    first, folder, _ = few
    whole, rows = arrays(folder, 300), losses(folder)
    for command in ([f"--workdir={first}", "--mode=distill", *SHORT], [f"--workdir={folder}"]):
        shutil.rmtree(folder / "checkpoints" / "300")
        result = run(*command)
        assert result.code == 0 and "resuming from step 280 of 300" in result.err
        assert same(arrays(folder, 300), whole) and losses(folder) == rows
    assert "already trained" in (log := run(f"--workdir={folder}").err)
    assert "trajectories" not in log


def test_one_to_four_steps_are_drawn_by_the_command_line_and_from_python(few):
    experiment, params = td.load(str(few[1]))
    for num_steps in (1, 2, 4):
        sets = td.sample(experiment, params, num_steps=num_steps)
        assert sets.shape == (2, 64, 2) and np.isfinite(sets).all()
    result = run(f"--workdir={few[1]}", "--mode=sample", "--config.sample.num_steps=1")
    assert result.code == 0
    np.testing.assert_array_equal(np.load(few[1] / "samples.npy"),
                                  td.sample(experiment, params, num_steps=1))  # fmt: skip


def test_what_a_distilled_model_cannot_do_is_one_line(few):
    experiment, params = td.load(str(few[1]))
    teacher, weights = td.load(str(few[0]))
    for words, call in (
        ("likelihood", lambda: td.log_prob(experiment, params, np.zeros((3, 2)))),
        ("likelihood", lambda: td.sample(experiment, params, with_log_prob=True)),
        ("consistency", lambda: td.sample(experiment, params, sampler="ancestral")),
        ("another sampler", lambda: td.sample(teacher, weights, sampler="consistency")),
        ("distilled already", lambda: td.distill(experiment, params)),
        ("0 without the trajectories", lambda: td.train(
            td.build("moons", config={"train.trajectories": 8, "sample.sampler": "consistency"}))),
    ):  # fmt: skip
        with pytest.raises(UserError, match=words):
            call()
    result = run(f"--workdir={few[1]}", "--mode=distill")
    assert result.code == 2 and "distilled already" in result.err
    result = run(f"--workdir={few[0]}", "--mode=distill", "--config.model.hidden_dim=16")
    assert result.code == 2 and "model.hidden_dim: 8 -> 16" in result.err
    history = td.build("mixture", config={"model.name": "history"})
    with pytest.raises(UserError, match="one reverse process"):
        td.distill(history, api.init(history))


def test_a_config_cannot_be_distilled(tmp_path):
    """A config names no trained model that could be distilled."""
    for folder in ([], [f"--workdir={tmp_path / 'run'}"]):
        result = run("--config=moons", "--mode=distill", *folder)
        assert result.code == 2 and result.err == (
            "error: --config = 'moons': must be left out with --mode=distill: name the trained "
            "run, --workdir=FOLDER\n")  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_sets_of_two_members_are_distilled_from_python(tmp_path):
    options = [*TINY, "--config.train.steps=20", "--config.train.max_points=0",
               "--config.model.num_heads=2", "--config.model.num_inducing=2"]  # fmt: skip
    folder = tmp_path / "run"
    assert run(config("mixture:circle+moons"), *options, f"--workdir={folder}").code == 0
    experiment, params = td.load(str(folder))
    results = [td.distill(experiment, params, progress=False, trajectories=20, steps=20)
               for _ in range(2)]  # fmt: skip
    (few, state), (_, again) = results
    assert few.config.train.num_points == 64 and few.config.train.max_points == 0
    assert td.sample(few, state).shape == (2, 64, 2)
    assert all(map(np.array_equal, *map(_leaves, (state.ema, again.ema))))
    td.save(tmp_path / "few", few, state)
    loaded, weights = td.load(str(tmp_path / "few"))
    np.testing.assert_array_equal(td.sample(loaded, weights), td.sample(few, state))
    with pytest.raises(UserError, match="0 to complete sets"):
        td.complete(few, state, np.zeros((3, 2)))


def _leaves(tree):
    import jax

    return jax.tree.leaves(tree)


def test_a_model_of_sizes_on_a_mixture_is_distilled():
    options = {"model.hidden_dim": 8, "model.num_blocks": 1, "train.steps": 4, "train.block": 2,
               "train.num_sets": 8, "train.num_points": 8, "train.min_points": 4,
               "model.sizes": True, "sample.num_points": 8, "sample.num_sets": 4}  # fmt: skip
    experiment = td.build("mixture:dino+moons", config=options)
    state = td.train(experiment, progress=False)
    few, state = td.distill(experiment, state, progress=False, trajectories=32, steps=4)
    assert int(state.step) == 4 and td.sample(few, state).shape == (4, 8, 2)
