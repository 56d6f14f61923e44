"""A flow from one density to another on the command line: run, report, resume, sample."""

import json

import numpy as np
import pytest
from command_line import TINY, config, run
from PIL import Image

import tiny_diffusion_jax as td
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.web.live import live_model

FLOW = [config("flow:eight_gaussians:line"), *TINY]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flow") / "run"
    result = run(*FLOW, f"--workdir={folder}")
    assert result.code == 0, result.err
    assert "flow from eight gaussians" in result.err
    return folder


def test_the_report_shows_the_start(folder):
    page = (folder / "report.html").read_text("utf-8")
    assert "reverse: eight gaussians to data" in page and "From eight gaussians to data" in page
    assert "noise to data" not in page
    metrics = json.loads((folder / "metrics.json").read_text("utf-8"))["metrics"]
    assert metrics["path_energy"]["value"] >= 1 and metrics["path_energy"]["curvature"] >= 0
    trajectory = np.load(folder / "trajectory.npy")
    np.testing.assert_allclose(np.hypot(*trajectory[0].T), 3, atol=1)
    assert Image.open(folder / "reverse.gif").n_frames == 2


def test_a_flow_whose_start_has_no_density_has_a_report_without_likelihood(tmp_path):
    result = run(config("flow:circle:line"), *TINY, f"--workdir={tmp_path / 'run'}")
    assert result.code == 0, result.err
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text("utf-8"))["metrics"]
    assert "path_energy" in metrics and "log_likelihood" not in metrics


def test_a_resumed_flow_equals_an_uninterrupted_one(folder):
    experiment, params = td.load(str(folder))
    state = td.train(experiment, on_block=lambda state, row: row["step"] == 20, progress=False)
    assert int(state.step) < 40
    state = td.train(experiment, state, progress=False)
    resumed, loaded = (td.sample(experiment, weights, num_sets=1) for weights in (state, params))
    np.testing.assert_array_equal(resumed, loaded)


def test_a_loaded_flow_draws_the_same_samples(folder):
    result = run(f"--workdir={folder}", "--mode=sample", "--config.sample.num_points=32")
    assert result.code == 0, result.err
    result = run(f"--workdir={folder}", "--mode=sample", "--config.sample.sampler=ancestral")
    assert result.code == 2 and "deterministic" in result.err


def test_another_start_is_another_run(folder):
    other = [config("flow:moons:line"), *TINY]
    result = run(*other, f"--workdir={folder}")
    assert result.code == 2 and "data.start" in result.err


def test_a_live_page_refuses_flows(folder):
    experiment, params = td.load(str(folder))
    with pytest.raises(UserError, match=r"config\.data\.start = 'eight_gaussians'.*live page"):
        live_model(experiment, params)
    pairs = td.build("moons", config={"train.pairs": "optimal", "schedule.name": "flow"})
    with pytest.raises(UserError, match=r"config\.train\.pairs = 'optimal': must be independent"):
        live_model(pairs, params)
