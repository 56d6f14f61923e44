"""Every mistake on the command line prints one line, exits with code 2 and changes no file.

The tables below are the contract: (arguments, text that the line must contain). {files} is a folder
of damaged files. In the last part `run` is a trained run, copied for each line. Options out of
range are in tests/test_checks.py.
"""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from command_line import ROOT, TINY, config, run
from PIL import Image

from tiny_diffusion_jax.run import checkpoints
from tiny_diffusion_jax.training import step as training

MOONS = config("moons")
RUN = [MOONS, *TINY, "--config.train.checkpoint_every=40", "--workdir=run"]
TABLE_CONFIG = config("points")
IMAGE, TABLE = config("image") + ":{files}/", TABLE_CONFIG + ":{files}/"
SETS = config("sets") + ":{files}/"

COMMAND = {
    "no config": (
        [], "--config: must be given. Name a config of --mode=list, or the --workdir of a run\n"),
    "config absent": (
        ["--config=configs/nope.py"],
        "--config = 'configs/nope.py': must be a config file or one of flow, "),
    "config a folder": (["--config={files}"], "must be a config file or one of"),
    "config with a syntax error": (["--config={files}/syntax.py"], "syntax.py: line 1: "),
    "config that fails": (
        ["--config={files}/fails.py"],
        "fails.py: line 2: NameError: name 'undefined' is not defined"),
    "config with a misspelt field": (
        ["--config={files}/misspelt.py"],
        "misspelt.py: line 4: config.train.step: must be an option. Did you mean config.train.s"),
    "config without get_config": (
        ["--config={files}/empty.py"], "empty.py: get_config = None: must be a function"),
    "config of nothing": (
        ["--config={files}/nothing.py"], "get_config() = None: must be a ConfigDict"),
    "argument not taken": (
        ["--config={files}/nothing.py:7"], "nothing.py: TypeError: get_config() takes 0"),
    "argument not a digit": ([config("mnist_digit:abc")], "mnist_digit:abc: must be a digit"),
    "argument missing": ([config("image")], "'image': must be followed by a pi"),
    "argument missing for sets": ([config("sets")], "'sets': must be followed by a table"),
    "argument missing for a table": ([config("points")], "'points': must be followed by a"),
    "option unknown": (
        [MOONS, "--config.data.bla=1"],
        "config.data.bla: must be an option. Options of data: align, array, augment_reflect, "),
    "option misspelt": (
        [MOONS, "--config.train.step=1"],
        "config.train.step: must be an option. Did you mean config.train.steps?\n"),
    "option of another part": (
        [MOONS, "--config.model.steps=1"],
        "config.model.steps: must be an option. Did you mean config.train.steps?\n"),
    "option as a flag": (
        [MOONS, "--train.steps=1"], "--train.steps: must be a flag. Did you mean --config.train.s"),
    "option unknown at the top": ([MOONS, "--config.bla=1"], "config.bla: must be an option. Opti"),
    "option below a value": (
        [MOONS, "--config.train.steps.x=1"],
        "config.train.steps.x: must be an option. Did you mean config.train.steps?"),
    "group set as a value": ([MOONS, "--config.train=1"], "config.train: must be an option. Opt"),
    "text for a whole number": (
        [MOONS, "--config.train.steps=abc"],
        "config.train.steps = 'abc': must be a whole number"),
    "fraction for a whole number": (
        [MOONS, "--config.train.steps=1.5"], "config.train.steps = '1.5': must be a whole number"),
    "text for a number": (
        [MOONS, "--config.train.learning_rate=fast"],
        "config.train.learning_rate = 'fast': must be a number"),
    "text for a switch": (
        [MOONS, "--config.log.tensorboard=maybe"],
        "config.log.tensorboard = 'maybe': must be True or False"),
    "options without a config": (["--config.train.steps=4"], "--config: must be given. Name a"),
    "no to what is no switch": (
        [MOONS, "--noconfig.train.steps"],
        "--noconfig.train.steps: must be a flag of True or False"),
    "text after a space": (
        [MOONS, "--config.train.steps", "abc"],
        "config.train.steps = 'abc': must be a whole number"),
    "text after one dash": (
        [MOONS, "-config.train.steps=abc"], "config.train.steps = 'abc': must be a whole number"),
    "a switch with a value after a space": (
        [MOONS, "--config.data.normalize", "no"], "no: must be a flag with --, see --help"),
    "sample without a config or a run": (
        ["--mode=sample"], "--config: must be given. Name a config of --mode=list, or the --work"),
    "train without a config": (
        ["--workdir={files}"], "--config: must be given. Name a config of --mode=list, or the --"),
    "config of other fields": (
        ["--config={files}/own.py"], "own.py: get_config(): must be a changed "
        "default_config(): it has color; it lacks compilation_cache, data.align, "),
    "flag misspelt": (["--confg=x"], "--confg: must be a flag. Did you mean --config?"),
    "flag without a value": (["--config"], "--config: must be followed by a value"),
    "word without a flag": ([MOONS, "train"], "train: must be a flag with --, see --help"),
    "mode unknown": (
        [MOONS, "--mode=dance"],
        "--mode = 'dance': must be one of train, sample, evaluate, complete, distill, live, "
        "compare, draw, replay, list"),
    "runs without comparing": ([MOONS, "--runs=a,b"], "must be left out without --mode=compare"),
    "comparing nothing": (["--mode=compare"], "--mode = 'compare': must be given with --runs"),
    "comparing one run": (
        ["--mode=compare", "--runs=run,"],
        "--runs = 'run,': must be the folders of two or more runs, commas between"),
    "comparing what is no run": (
        ["--mode=compare", "--runs={files}/no,{files}/run"],
        "/no': must be the folder of a run. Train one first, --mode=train"),
    "comparing with a config": (
        ["--mode=compare", "--runs=a,b", MOONS], "must be left out, because trained"),
    "points without completing": (
        [MOONS, "--points={files}/good.csv"], "must be left out without --mode=complete"),
    "completing without points": (
        [config("mixture"), "--mode=complete"],
        "--mode = 'complete': must be given with --points. A table of points that every set"),
    "model unknown to a config": (
        [config("mixture"), "--config.model.name=mamba"],
        "config.model.name = 'mamba': must be one of fourier_mlp, history, causal, set_"),
    "student digit": ([config("student/digit:ten")], "student/digit:ten: must be a digit, 0..9"),
}  # fmt: skip

DATA = {
    "digit 12": (
        [config("mnist_digit:12")],
        "config.data.digit = 12: must be in [0, 9]"),
    "image of the class": (
        [config("mnist_digit"), "--config.data.source=digits", "--config.data.index=9999"],
        "config.data.index = 9999: must be within 0.."),
    "source absent": (
        [config("mnist_digit"), "--config.data.source=tfds", "--config.data.data_dir={files}"],
        "config.data.source = 'tfds': must be one that is at hand (tfds: "),
    "picture missing": ([IMAGE + "no.png"], "no.png': must be an existing picture file"),
    "picture unreadable": ([IMAGE + "text.png"], "text.png': must be a picture that Pillow can"),
    "picture blank": ([IMAGE + "blank.png"], "blank.png': must be a picture with some ink"),
    "one point": (
        [IMAGE + "dot.png", "--config.data.jitter=none"], "config.data.normalize = True: must be"),
    "table missing": ([TABLE + "no.csv"], "no.csv': must be an existing file"),
    "table of unknown kind": ([TABLE + "good.docx"], "good.docx': must be a .csv, .tsv, .tab,"),
    "table empty": ([TABLE + "empty.csv"], "empty.csv': must hold at least one row of data"),
    "table with NaN": (
        [TABLE + "nan.csv"], "nan.csv': line 3, column 'y' holds 'nan': must be a finite number"),
    "array with NaN": (
        [TABLE + "nan.npy"], "nan.npy': row 1, column '1' holds 'nan': must be a finite number"),
    "array of one axis": ([TABLE + "line.npy"], "line.npy': has shape (6,): must be (rows, col"),
    "array damaged": ([TABLE + "damaged.npz"], "damaged.npz': must be a numpy file of numbers"),
    "array not in the file": (
        [TABLE + "two.npz", "--config.data.array=c"], "config.data.array = 'c': must be one of a"),
    "table of words": ([TABLE + "words.csv"], "words.csv': has 0 numeric columns: must be at"),
    "rows of unlike length": ([TABLE + "ragged.csv"], "ragged.csv': line 3 has 3 cells: must be 2"),
    "columns absent": (
        [TABLE + "good.csv", "--config.data.columns=x,z"],
        "config.data.columns = 'x,z': no column 'z'; there are set, x, y"),
    "a column twice": (
        [TABLE + "good.csv", "--config.data.columns=x,y,x"], "must be two different columns or mo"),
    "filter of nothing": (
        [TABLE + "good.csv", "--config.data.where=set=c"],
        "config.data.where = 'set=c': matches no row; 'set' holds a, b"),
    "filter without =": (
        [TABLE + "good.csv", "--config.data.where=set"],
        "config.data.where = 'set': must be 'column=value'"),
    "jitter infinite": (
        [TABLE + "good.csv", "--config.data.jitter_std=inf"],
        "config.data.jitter_std = inf: must be a finite number"),
}  # fmt: skip

DATA |= {  # more in tests/data/test_sets.py
    "sets of no file": ([SETS + "no.csv"], "no.csv': must be an existing file or folder"),
    "a single set": (
        [SETS + "good.csv", "--config.data.where=set=a"], "holds a single set, 'a': must hold sev"),
    "no set column": (
        [SETS + "nan.csv"], "config.data.set_column = '': must name the column that says which"),
    "too few sets": ([SETS + "two.npz"], "two.npz': must hold an array points; there are a"),
    "a set of one point": ([SETS + "good.csv"], "set 'b' has 1 point: must be at least 2"),
}  # fmt: skip

OPTIONS = {  # some errors of tests/test_checks.py, to check that the user sees them unchanged
    "steps negative": ([MOONS, "--config.train.steps=-5"], "config.train.steps = -5: must be in "),
    "measured after training only": (
        [MOONS, "--config.evaluate.exact_points=3000"],
        "config.evaluate.exact_points = 3000: must be in [1, 2000]"),
    "member unknown": (
        [config("mixture:dino+heart")],
        "config.data.members = 'dino+heart': 'heart': must be one of moons, circle, line, "),
    "one point is not compared": (
        [MOONS, "--config.sample.num_points=1"],
        "config.sample.num_points = 1: must be at least 2, to be compared with real sets; --mode="),
    "one set is not compared": (
        [config("mnist_sets"), "--config.sample.num_sets=1"],
        "config.sample.num_sets = 1: must be at least 2, to be compared with real sets; --mode="),
    "sets from nothing": (
        [config("mixture"), "--config.model.name=history", "--config.train.history_drop=0"],
        "config.train.history_drop = 0.0: must be above 0 to draw new sets"),
}  # fmt: skip

COMPLETE = {name: ([config("mixture"), "--mode=complete", *arguments], line)
            for name, (arguments, line) in {
    "points missing": (
        ["--points={files}/no.csv"], "no.csv': must be an existing file"),
    "points of no kind": (["--points="], "--points = '': must be a .csv, .tsv, .tab, .txt, .dat, "),
    "points with NaN": (
        ["--points={files}/nan.csv"],
        "nan.csv': line 3, column 'y' holds 'nan': must be a finite number"),
    "points enough": (
        ["--points={files}/good.csv", "--config.sample.num_points=3"],
        "--points: shape = (3, 2): must be (n, 2), n in 1..2 (config.sample.num_points)"),
    "points do not see each other": (
        ["--points={files}/good.csv", "--config.model.name=fourier_mlp"],
        "config.model.name = 'fourier_mlp': must be a model that completes sets: history, causal"),
    "points given to a model that cannot": (
        ["--points={files}/good.csv", "--config.model.name=seq2seq"],
        "config.model.name = 'seq2seq': must be a model that completes sets: history, causal, se"),
    "points before a run": (
        ["--points={files}/good.csv", "--workdir={files}/none"],
        "none': must be the folder of a run. Train one first, --mode=train"),
}.items()}  # fmt: skip

FOLDERS = {
    "workdir empty": ([MOONS, "--workdir="], "--workdir = '': must be the path of a folder"),
    "workdir a file": (
        [MOONS, "--workdir={files}/good.csv"],
        "good.csv': must be a folder that can be written (it is a file)"),
    "workdir below a file": (
        [MOONS, "--workdir={files}/good.csv/run"], "must be a folder that can be written (Not a"),
    "workdir read-only": ([MOONS, "--workdir=/proc/run"], "'/proc/run': must be a folder that can"),
    "sample without a run": (
        [MOONS, "--mode=sample", "--workdir={files}/none"],
        "none': must be the folder of a run. Train one first, --mode=train"),
    "evaluate below a file": (
        [MOONS, "--mode=evaluate", "--workdir={files}/good.csv/run"], "must be the folder of a r"),
}  # fmt: skip


def cut(*names):
    """Function that halves each file of a run with one of these names or in such a folder."""
    def damage(run: Path):
        for file in [f for name in names for f in (run / name, *(run / name).rglob("*"))]:
            if file.is_file():
                file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    return damage


def write(name, text):
    return lambda run: (run / name).write_text(text, "utf-8")


def delete(name):
    return lambda run: (shutil.rmtree if (run / name).is_dir() else Path.unlink)(run / name)


def rewritten(change):
    """Function that applies `change` to the dictionary in config.json."""
    def damage(run: Path):
        stored = json.loads((run / "config.json").read_text("utf-8"))
        change(stored)
        (run / "config.json").write_text(json.dumps(stored), "utf-8")
    return damage


earlier_version = rewritten(
    lambda stored: stored["sample"].update(redraw=stored["evaluate"].pop("density_steps"))
)
retyped = rewritten(lambda stored: stored["train"].update(steps="40"))
lacking = rewritten(lambda stored: stored["data"].pop("heldout"))


def other_model(run: Path):
    """Replace the last checkpoint by a different network, as if copied from another run."""
    state = training.TrainState(jnp.int32(50), {"w": jnp.ones(3)}, {"w": jnp.ones(3)}, ())
    checkpoints.save(checkpoints.open_checkpoints(run / "checkpoints", keep=2), state)


def checkpoints_file(run: Path):
    delete("checkpoints")(run)
    write("checkpoints", "")(run)


RUNS = {  # arguments, the line, and the damage to the folder `run` before the command
    "another config": (
        [*RUN, "--config.train.steps=50", "--config.model.scale=9"],
        "--workdir = 'run': must be a run of the same config and the same data. It differs in "
        "model.scale: 100.0 -> 9.0. Use another --workdir\n", None),
    "other data": (
        [config("points") + ":table.csv", *TINY, "--workdir=points"],
        "It differs in dataset.scale: ", None),
    "many differences": ([MOONS, "--workdir=run"], " more. Use another --workdir\n", None),
    "config.json damaged": (RUN, "config.json: must be the config that", cut("config.json")),
    "config.json of others": (RUN, "must be a run of the same", write("config.json", '{"a": 1}')),
    "config.json of an earlier version": (
        RUN, "must be a run of the same config and the same data. It differs in "
        "data.heldout: 0.0 -> 0.1. Use another --workdir\n", lacking),
    "config.json no object": (RUN, "config.json: must be the config", write("config.json", "[]")),
    "config.json lost": (
        RUN, "must be a folder with the config.json that says what made its checkpoints. Use",
        delete("config.json")),
    "checkpoint damaged": (
        RUN, "checkpoints/40: must be one that this version can read, but is damaged, and there "
        "is no other. Put back a copy, or train in another --workdir\n", cut("checkpoints")),
    "checkpoints of one run alone, damaged": (
        [*RUN, "--mode=sample"], "checkpoints/40: must be one that this version can read, but",
        cut("checkpoints")),
    "checkpoint of another model": (
        RUN, "checkpoints/50: must be of the same model, but its .ema['params']", other_model),
    "checkpoints a file": (RUN, "must be a folder of checkpoints", checkpoints_file),
    "sample before a checkpoint": (
        [*RUN, "--mode=sample"], "--workdir = 'run': must be a run with a checkpoint. Train fi",
        delete("checkpoints/40")),
    "more steps than levels": (
        [*RUN, "--mode=sample", "--config.sample.num_steps=2000"],
        "config.sample.num_steps = 2000: must be at most config.sch", None),
    "completing what is drawn point by point": (
        [*RUN, "--mode=complete", "--points=table.csv"],
        "config.model.name = 'fourier_mlp': must be a model that completes sets", None),
    "an option of the training changed": (
        ["--workdir=run", "--mode=sample", "--config.train.steps=50"],
        "--config.train.steps = 50: must be 40, with which the run in 'run' was trained. Train an",
        None),
    "the model changed": (
        ["--workdir=run", "--mode=evaluate", "--config.model.name", "history"],
        "--config.model.name = 'history': must be 'fourier_mlp', with which the run in 'run' was",
        None),
    "an option of samples out of its range": (
        ["--workdir=run", "--mode=sample", "--config.sample.num_steps=2000"],
        "config.sample.num_steps = 2000: must be at most config.sch", None),
    "an option of samples of no type": (
        ["--workdir=run", "--mode=sample", "--config.sample.num_sets=some"],
        "config.sample.num_sets = 'some': must be a whole number", None),
    "a run alone, damaged": (
        ["--workdir=run", "--mode=sample"], "config.json: must be the config that this program "
        "wrote, but is damaged (", cut("config.json")),
    "a run alone, of an earlier version": (
        ["--workdir=run", "--mode=sample"],
        "run/config.json: must be a config of this version of the program, but it has "
        "sample.redraw. Name the config of the run, --config=FILE\n",
        earlier_version),
    "a run alone, of other types": (
        ["--workdir=run", "--mode=evaluate"],
        "this version of the program, but of another type are train.steps = '40'. Name", retyped),
    "a run alone, without a checkpoint": (
        ["--workdir=run", "--mode=sample"], "'run': must be a run with a checkpoint. Train fi",
        delete("checkpoints/40")),
    "nothing to replay": (
        ["--workdir=run", "--mode=replay"],
        "--workdir = 'run': must be a run with a diverged.npz, but all steps were finite\n", None),
    "no points": (
        [*RUN, "--mode=evaluate", "--config.sample.num_points=0"],
        "config.sample.num_points = 0: must be at least 1", None),
}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Folder of configs, pictures and tables, each with an error."""
    folder = tmp_path_factory.mktemp("files")
    texts = {
        "syntax.py": "def get_config(:\n", "empty.py": "x = 1\n",
        "nothing.py": "def get_config():\n    pass\n",
        "fails.py": "def get_config():\n    return undefined\n",
        "own.py": "from ml_collections import ConfigDict\ndef get_config():\n"
                  "    return ConfigDict(dict(color='red'))\n",
        "misspelt.py": "from tiny_diffusion_jax.config import default_config\ndef get_config():\n"
                       "    config = default_config()\n    config.train.step = 4\n",
        "text.png": "not a picture", "empty.csv": "x,y\n", "nan.csv": "x,y\n1,2\n3,nan\n",
        "words.csv": "a,b\nc,d\n", "ragged.csv": "x,y\n1,2\n1,2,3\n", "good.docx": "",
        "good.csv": "set,x,y\na,1,2\na,3,4\nb,5,7\n", "damaged.npz": "PK\x03\x04",
    }  # fmt: skip
    for name, text in texts.items():
        (folder / name).write_text(text, "utf-8")
    Image.new("L", (9, 9), 255).save(folder / "blank.png")
    dot = Image.new("L", (9, 9), 255)
    dot.putpixel((4, 4), 0)
    dot.save(folder / "dot.png")
    np.save(folder / "nan.npy", [[1.0, 2.0], [3.0, np.nan]])
    np.save(folder / "line.npy", np.arange(6.0))
    np.savez(folder / "two.npz", a=np.ones((3, 2)), b=np.ones((3, 2)))
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder with a trained `run`, and with `points`, a run whose table has changed since."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("tiny_diffusion_jax.reports.evaluate_run", lambda *_: None)
        Path("table.csv").write_text("0,0\n1,1\n3,2\n", "utf-8")
        for start in ([MOONS, "--workdir=run"], [f"{TABLE_CONFIG}:table.csv", "--workdir=points"]):
            result = run(*start, *TINY, "--config.train.checkpoint_every=40")
            assert result.code == 0, result.err
        Path("table.csv").write_text("0,0\n1,1\n3,9\n", "utf-8")
    return folder


def contents(*folders) -> dict:
    return {f: f.read_bytes() for folder in folders for f in folder.rglob("*") if f.is_file()}


def refuses(arguments, line, *folders) -> None:
    """Run the command, and check that it prints one line and changes no file."""
    before = contents(*folders)
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr("tiny_diffusion_jax.run.train.train_blocks")  # training would fail here
        result = run(*arguments)
    assert result.code == 2, result
    assert result.err.startswith("error: ") and result.err.count("\n") == 1, result.err
    assert line in result.err and result.out == ""
    assert contents(*folders) == before


TABLE_OF_ALL = COMMAND | OPTIONS | DATA | COMPLETE | FOLDERS

assert len(TABLE_OF_ALL) == sum(map(len, (COMMAND, OPTIONS, DATA, COMPLETE, FOLDERS)))


@pytest.mark.parametrize("arguments, line", TABLE_OF_ALL.values(), ids=TABLE_OF_ALL)
def test_a_mistake_is_one_line(arguments, line, files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refuses([a.replace("{files}", str(files)) for a in arguments], line, files, tmp_path)
    assert not any(tmp_path.iterdir())


def test_what_needs_no_data_is_checked_before_they_are_read(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tiny_diffusion_jax.data.build", lambda _: pytest.fail("read the data"))
    for arguments, line in (OPTIONS | COMPLETE).values():
        refuses([a.replace("{files}", str(files)) for a in arguments], line, tmp_path)


@pytest.mark.parametrize("arguments, line, damage", RUNS.values(), ids=RUNS)
def test_a_run_that_does_not_fit_is_left_alone(
    arguments, line, damage, trained, tmp_path, monkeypatch
):
    monkeypatch.chdir(shutil.copytree(trained, tmp_path / "copy"))
    if damage:
        damage(Path("run"))
    refuses(arguments, line, tmp_path)


def test_no_device(monkeypatch, tmp_path):
    def none():
        raise RuntimeError("Unable to initialize backend 'cuda': no GPU\nmore")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jax.devices", none)
    refuses([MOONS], "JAX finds no device to run on (Unable to initialize backend 'cuda': no GPU)")


@pytest.mark.skipif(importlib.util.find_spec("tensorboardX") is not None, reason="is installed")
def test_tensorboard_that_is_not_installed(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    refuses([MOONS, "--config.log.tensorboard"], "must be False without the package tensorboardX.")
    assert not any(tmp_path.iterdir())


def test_so_it_is_for_a_real_process(files, tmp_path):
    arguments, line = TABLE_OF_ALL["workdir a file"]
    arguments = [a.replace("{files}", str(files)) for a in arguments]
    command = [sys.executable, str(ROOT / "main.py"), *arguments]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", cwd=tmp_path)
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.count("\n") == 1 and line in result.stderr
