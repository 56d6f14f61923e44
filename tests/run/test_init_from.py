"""A run can start from the weights of another run, and train on its generated sets."""

import shutil

import jax
import numpy as np
import pytest
from command_line import TINY, config, run
from run_files import arrays, losses, same

import tiny_diffusion_jax as td
from tiny_diffusion_jax.cli import commands
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.run import run_folder
from tiny_diffusion_jax.run.load import start_from

SMALL = [*TINY, "--config.model.name=fourier_mlp", "--config.train.num_points=2",
         "--config.train.steps=20", "--config.train.checkpoint_every=10"]  # fmt: skip


def train(members, folder, *options):
    return run(config(f"mixture:{members}"), *SMALL, *options, f"--workdir={folder}")


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A run trained on circles, and sets that it could have generated."""
    folder = tmp_path_factory.mktemp("first") / "circles"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commands.reports, "evaluate_run", lambda *_: None)
        assert train("circle", folder).code == 0
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, (5, 64))
    np.save(folder / "samples.npy", np.float32(np.stack([np.cos(angle), np.sin(angle)], -1)))
    return folder


def test_it_starts_with_the_averaged_weights_and_resumes_bit_for_bit(first, tmp_path,
                                                                     only_training):
    folder, init = tmp_path / "run", f"--config.train.init_from={first}"
    result = train(f"{first}+moons", folder, init)
    assert result.code == 0 and "data: circle + moons, from sets drawn by a run (crc" in result.err
    assert f"starting from the weights of {first} (step 20, crc32 " in result.err
    stored = run_folder._read_description(folder)["dataset"]
    assert stored["init_from"].startswith("step 20, crc32 ") and "crc32" in stored["source"]
    experiment = td.build(run_folder.read_config(str(folder)))
    state, _ = start_from(str(first), experiment)
    theirs = [v for k, v in arrays(first, 20).items() if k.startswith(".ema")]
    for tree in (state.params, state.ema):
        assert all(map(np.array_equal, sorted(jax.tree.leaves(tree), key=np.size),
                       sorted(theirs, key=np.size))) and state.step == 0  # fmt: skip

    whole, rows = arrays(folder, 20), losses(folder)
    shutil.rmtree(folder / "checkpoints" / "20")
    assert "resuming from step 10" in train(f"{first}+moons", folder, init).err
    assert same(arrays(folder, 20), whole) and losses(folder) == rows

    # Different weights or samples at the same path count as a different run.
    moved = shutil.copytree(first, tmp_path / "kept")
    try:
        np.save(first / "samples.npy", np.load(first / "samples.npy")[:4])
        assert "It differs in dataset.source: " in train(f"{first}+moons", folder, init).err
        shutil.copy(moved / "samples.npy", first / "samples.npy")
        shutil.rmtree(first / "checkpoints" / "20")
        line = train(f"{first}+moons", folder, init).err.splitlines()[-1]
        assert "It differs in dataset.init_from: 'step 20, " in line and "-> 'step 10, " in line
        td.load(folder)  # a trained run can be sampled, whatever happened to the other run
    finally:
        shutil.rmtree(first)
        moved.rename(first)


def test_what_cannot_be_started_from_is_one_line(first, tmp_path, only_training):
    def refused(path, *options):
        result = train("moons", tmp_path / "new", f"--config.train.init_from={path}", *options)
        assert result.code == 2 and not (tmp_path / "new").exists()
        [line] = [line for line in result.err.splitlines() if line.startswith("error: ")]
        prefix = f"error: config.train.init_from = '{path}': "
        assert line.startswith(prefix)
        return line.removeprefix(prefix)

    assert refused(tmp_path / "none") == "must be the folder of a run"
    assert refused(first, "--config.model.hidden_dim=16") == (
        "must be a run of the same model; it differs in config.model.hidden_dim: 8 -> 16"
    )
    other = shutil.copytree(first, tmp_path / "copy")
    text = (other / "config.json").read_text("utf-8").replace('"hidden_dim": 8', '"hidden_dim": 16')
    (other / "config.json").write_text(text, "utf-8")
    assert "must be of the same model, but its .ema['params']" in refused(
        other, "--config.model.hidden_dim=16"
    )
    shutil.rmtree(other / "checkpoints")
    assert refused(other, "--config.model.hidden_dim=16") == (
        "must be a run with a checkpoint. Train that run first"
    )


def test_in_python_the_state_is_given(first, tmp_path):
    settings = run_folder.read_config(str(first))
    settings.train.init_from = str(first)
    with pytest.raises(UserError, match="config.train.init_from = .*: must be '' if no state"):
        td.train(td.build(settings), progress=False)
