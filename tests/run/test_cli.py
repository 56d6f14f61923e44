"""The command line apart from mistakes: the list, the help, the configs, ends of all kinds."""

import errno
import gc
import logging
import os
import re
import resource
import signal
import subprocess
import sys
import time

import jax
import pytest
from command_line import ROOT, config, run
from tqdm import tqdm

import main
from tiny_diffusion_jax import data, experiment, models
from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.models import recipes as seed
from tiny_diffusion_jax.run import checkpoints
from tiny_diffusion_jax.run import modes as runs
from tiny_diffusion_jax.training import step as training

CONFIGS = sorted((ROOT / "configs").rglob("*.py"))


def test_the_list_shows_every_config_and_how_to_name_it():
    result = run("--mode=list")
    assert result.code == 0 and result.err == ""
    lines = result.out.splitlines()
    assert len(lines) == len(CONFIGS) and max(map(len, lines)) <= 100
    for line, file in zip(lines, CONFIGS, strict=True):
        usage, about = re.split(" {2,}", line)
        assert usage.startswith(f"configs/{file.relative_to(ROOT / 'configs')}")
        assert len(about) > 20 and about[-1] in ".?"


@pytest.mark.parametrize("flag", ["--help", "--helpfull"])
def test_help(flag):
    command = [sys.executable, str(ROOT / "main.py"), flag]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0 and result.stderr == ""
    assert "python main.py --config=configs/mnist_digit.py" in result.stdout
    for name in ("--config", "--mode", "--workdir"):
        assert f"\n  {name}: " in result.stdout
    assert "'None'" not in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 100


def test_commands_of_the_help_and_the_headers_are_real():
    """Every `python main.py` line that users are shown parses: its config, its options."""
    shown = [main.__doc__, *(file.read_text() for file in CONFIGS)]
    commands = [c for text in shown for c in re.findall(r"python main\.py ((?:\\\n|.)+)", text)]
    assert len(commands) >= 10
    for command in commands:
        for argument in command.replace("\\", " ").split():
            if match := re.fullmatch(r"--config\.([\w.]+)=(.*)", argument):
                main.check_option(default_config(), *match.groups())
            elif argument.startswith("--config="):
                assert (ROOT / argument.removeprefix("--config=").partition(":")[0]).exists()


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_a_config_has_the_fields_that_there_are(file):
    argument = ":some.csv" if re.search(r"py:[A-Z]", file.read_text()) else ""
    ours = main.load_config(f"{file}{argument}").to_dict()
    fields = default_config().to_dict()
    assert ours.keys() == fields.keys()
    for part, value in fields.items():
        if isinstance(value, dict):
            assert {k: type(v) for k, v in ours[part].items()} == {
                k: type(v) for k, v in value.items()}  # fmt: skip
    assert ours["name"] and "/" not in ours["name"]


def test_options_reach_the_run_and_its_folder_has_the_configs_name(monkeypatch):
    calls = []
    monkeypatch.setattr(runs, "train", lambda *call: calls.append(call))
    monkeypatch.setattr(runs, "evaluate", lambda *call: calls.append(("evaluate", *call)))
    assert run(config("mnist_digit:7"), "--config.train.steps=2000", "--config.sample.eta", ".5",
               "--noconfig.data.normalize").code == 0  # fmt: skip
    [(used, path)] = calls
    assert path == "runs/mnist_7" and used.data.digit == 7 and used.data.normalize is False
    assert used.train.steps == 2000 and used.sample.eta == 0.5 and used.train.num_sets == 64
    calls.clear()
    assert run(config("moons:pinwheel"), "--mode=evaluate", "--workdir=here").code == 0
    assert calls[0][0] == "evaluate" and calls[0][1].data.name == "pinwheel"
    assert calls[0][2] == "here"


def test_points_reach_the_completion(monkeypatch):
    calls = []
    monkeypatch.setattr(runs, "complete", lambda *call: calls.append(call))
    assert run(config("mixture:dino+circle"), "--mode=complete", "--points=some.csv").code == 0
    [(used, path, table)] = calls
    assert table == "some.csv" and path == "runs/mixture_dino+circle_set_transformer"
    assert used.data.members == "dino+circle"


# Each with the models that it has settings for, or takes.
MANY = {"mixture": models.MODELS, "mnist_sets": models.MODELS, "seed/digit": seed.MODELS,
        "seed/sequential": seed.MODELS, "seed/shuffled": seed.MODELS}  # fmt: skip


def test_every_config_that_takes_a_model_is_looked_at():
    for name in main.config_files():
        file = name.removeprefix("configs/").removesuffix(".py")
        assert ('model: str = "' in (ROOT / name).read_text()) == (file in MANY), name


@pytest.fixture(scope="module")
def some_sets():
    """Two members to stand for any data: what is built from a config is not the data's matter."""
    settings = default_config().data
    settings.update(name="mixture", members="line+circle")
    return data.build(settings)


@pytest.mark.parametrize("name", MANY)
def test_every_config_goes_with_every_model_it_takes(name, some_sets, monkeypatch):
    monkeypatch.setattr(data, "build", lambda _: some_sets)
    calls = []
    monkeypatch.setattr(runs, "train", lambda *call: calls.append(call))
    names = set()
    for model in MANY[name]:
        result = run(config(name), f"--config.model.name={model}")
        assert result.code == 0, result
        used, _ = calls.pop()
        setup = experiment.build(used)
        # the settings were chosen for the model, and not the model put into those of another
        assert used.model.name == model
        assert used == main.load_config(f"{ROOT}/configs/{name}.py", model)
        names.add(used.name)
        plan = training.make_plan(used.train, setup.model)
        assert plan.history == setup.model.history and plan.num_sets * plan.num_points <= 8192
    assert len(names) == len(MANY[name])  # each model has a folder of its own


def test_an_option_of_the_user_wins_over_those_of_the_model(monkeypatch):
    calls = []
    monkeypatch.setattr(runs, "train", lambda *call: calls.append(call))
    assert run(config("mixture"), "--config.train.steps=7", "--config.model.name=history",
               "--config.model.scale=3").code == 0  # fmt: skip
    [(used, path)] = calls
    assert path == "runs/mixture_dino+moons_history" and used.train.steps == 7
    assert used.model.scale == 3.0 and used.model.max_period == 200.0


def ends_with(error, monkeypatch):
    def train(config, path):
        raise error

    monkeypatch.setattr(runs, "train", train)
    return run(config("moons"))


@pytest.mark.parametrize("error, code, line", [
    (KeyboardInterrupt(), 130, "interrupted: every file written is whole, and the same command "),
    (KeyboardInterrupt(signal.SIGTERM), 143, "interrupted: every file written is whole"),
    (OSError(errno.ENOSPC, "No space left on device", "runs/x/samples.npy"), 1,
     "[Errno 28] No space left on device: 'runs/x/samples.npy'"),
    (MemoryError("Unable to allocate 9 TiB"), 1,
     "out of memory: lower config.sample.num_points, num_sets or memory_mb, or "
     "config.train.num_sets (Unable to allocate 9 TiB)"),
    (RuntimeError("RESOURCE_EXHAUSTED: Out of memory\nlong story"), 1,
     "config.train.num_sets (RESOURCE_EXHAUSTED: Out of memory)\n"),
    (runs.Interrupted("interrupted: step 4 is saved", signal.SIGINT), 130, "interrupted: step 4"),
    (checkpoints.SaveFailed("the checkpoint of step 4"), 1, "the checkpoint of step 4"),
], ids=str)  # fmt: skip
def test_ends_are_one_line(error, code, line, monkeypatch):
    result = ends_with(error, monkeypatch)
    assert result.code == code and result.err.count("\n") == 1
    assert result.err.startswith("error: ") and line in result.err


def test_a_mistake_of_ours_is_not_hidden(monkeypatch):
    with pytest.raises(ZeroDivisionError):
        ends_with(ZeroDivisionError("a bug"), monkeypatch)


def test_a_full_disk_does_no_harm(tmp_path):
    """A limit on the size of files stands for the end of the disk: writing fails half-way."""
    weights = {"w": jax.random.normal(jax.random.key(0), (100, 100))}
    state = training.TrainState(jax.numpy.int32(1), weights, weights, ())
    later = state.replace(step=jax.numpy.int32(2))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with checkpoints.open_checkpoints(tmp_path, keep=2) as saved:
        checkpoints.save(saved, state)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
            with pytest.raises(checkpoints.SaveFailed, match="step 2 cannot .* disk full"):
                checkpoints.save(saved, later)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    for step in (1, 2):  # what was there is there, and with room again all is well
        with checkpoints.open_checkpoints(tmp_path, keep=2) as saved:
            restored = checkpoints.restore_latest(saved, state)
            assert restored.step == step and (restored.params["w"] == weights["w"]).all()
            checkpoints.save(saved, later)


def test_messages_stand_above_the_bar(capsys):
    logger = logging.getLogger("some.test")
    logger.addHandler(main.Console())
    with tqdm(total=10, file=sys.stderr, ncols=60, desc="train") as bar:
        bar.update(5)
        logger.warning("message %d", 1)
    lines = [line.rsplit("\r", 1)[-1] for line in capsys.readouterr().err.split("\n")]
    assert lines[0] == "message 1" and lines[1].startswith("train: ") and lines[2:] == [""]


class Dying:
    """Calls a signal handler from `__del__`, where Python can only print what is raised."""

    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)  # the handler runs here


def test_a_signal_that_struck_in_a_destructor_is_not_lost(monkeypatch):
    def train(config, path):
        Dying()
        gc.collect()
        time.sleep(5)
        pytest.fail("went on")

    monkeypatch.setattr(runs, "train", train)
    result = run(config("moons"))
    assert result.code == 143 and result.err.count("\n") == 1



def test_the_list_needs_no_jax():
    code = "import sys, main; main.config_list(); sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
