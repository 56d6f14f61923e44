"""More steps in the same command resume a run, and keep the numbers of the old length."""

import json

import jax
import numpy as np
from command_line import MOONS, run
from run_files import arrays, losses, same

from tiny_diffusion_jax.api import build, init, train
from tiny_diffusion_jax.cli.flags import parse
from tiny_diffusion_jax.run import checkpoints

LONGER = [*MOONS, "--config.train.steps=60"]


def test_more_steps_continue_the_run_with_the_schedule_of_the_new_length(copy, only_training):
    metrics, rows = (copy / "metrics.json").read_bytes(), losses(copy)
    result = run(*LONGER, f"--workdir={copy}")
    assert result.code == 0, result.err
    [line] = [line for line in result.err.splitlines() if "changing" in line]
    assert line == (
        "changing the number of steps from 40 to 60 (learning rate: the schedule of 60 "
        "steps from step 40 on; numbers of the old length: metrics_40.json)")
    assert "resuming from step 40 of 60\n" in result.err
    assert (copy / "metrics_40.json").read_bytes() == metrics
    assert losses(copy)[:4] == rows
    assert [row[0] for row in losses(copy)] == [10, 20, 30, 40, 50, 60]
    assert json.loads((copy / "config.json").read_text("utf-8"))["train"]["steps"] == 60

    # Train with the library from the same state, with the schedule of 60 steps.
    experiment = build(parse(["main.py", *LONGER]).config)
    saved = checkpoints.open_checkpoints(copy / "checkpoints")
    like = jax.eval_shape(lambda: init(experiment))
    first = checkpoints.from_arrays(saved.load(40), like)
    state = train(experiment, first, progress=False)
    expected = {name: np.asarray(a) for name, a in checkpoints.named_leaves(state).items()}
    assert same(arrays(copy, 60), expected)

    # After an interruption, the longer run ends in the same state.
    before = arrays(copy, 60)
    (copy / "checkpoints" / "60").rename(copy / "60")
    again = run(*LONGER, f"--workdir={copy}")
    assert again.code == 0 and "changing" not in again.err
    assert same(arrays(copy, 60), before)


def test_fewer_steps_than_are_done_are_refused(copy):
    before = {file.name: file.stat().st_mtime_ns for file in copy.rglob("*")}
    result = run(*MOONS, "--config.train.steps=30", f"--workdir={copy}")
    assert result.code == 2 and result.err.splitlines()[-1] == (
        f"error: config.train.steps = 30: must be at least 40, the steps that the run in "
        f"{str(copy)!r} has done. Train for fewer steps in another --workdir")  # fmt: skip
    assert {file.name: file.stat().st_mtime_ns for file in copy.rglob("*")} == before


def test_another_length_is_no_reason_to_sample_with_another_config(copy):
    result = run(*LONGER, "--mode=sample", f"--workdir={copy}")
    assert result.code == 2 and "It differs in train.steps: 40 -> 60" in result.err
