"""Every mistake: one line that names field, value and what is allowed; exit code 2; no trace.

The table below is the contract: (what is typed, what the one line must say). Here {files} is a
folder of damaged files; in the last part `run` is a trained run, copied afresh for each line.
"""

import importlib.util
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

COMMAND = {
    "no config": ([], "--config is missing: name a file, or see them all with --mode=list"),
    "config absent": (
        ["--config=configs/nope.py"],
        "--config = 'configs/nope.py': must be a config file; there are configs/image.py, "),
    "config a folder": (["--config={files}"], "must be a config file; there are"),
    "config with a syntax error": (["--config={files}/syntax.py"], "syntax.py: line 1: "),
    "config that fails": (
        ["--config={files}/fails.py"],
        "fails.py: line 2: NameError: name 'undefined' is not defined"),
    "config with a misspelt field": (
        ["--config={files}/misspelt.py"],
        'misspelt.py: line 4: AttributeError: Key "step" does not exist'),
    "config without get_config": (
        ["--config={files}/empty.py"], "empty.py: get_config = None: must be a function"),
    "config of nothing": (
        ["--config={files}/nothing.py"], "get_config() = None: must be a ConfigDict"),
    "argument not taken": (
        ["--config={files}/nothing.py:7"], "nothing.py: TypeError: get_config() takes 0"),
    "argument not a digit": ([config("mnist_digit:abc")], "mnist_digit.py:abc: must be a digit"),
    "argument missing": ([config("image")], "configs/image.py: name a picture"),
    "argument missing for a table": ([config("points")], "configs/points.py: name a table"),
    "option unknown": (
        [MOONS, "--config.data.bla=1"],
        "--config.data.bla: no such option; config.data has align, array, cache_dir, columns"),
    "option unknown at the top": ([MOONS, "--config.bla=1"], "--config.bla: no such option; conf"),
    "option below a value": (
        [MOONS, "--config.train.steps.x=1"],
        "--config.train.steps.x: no such option; config.train.steps is a single value"),
    "group set as a value": ([MOONS, "--config.train=1"], "--config.train: set one field of it"),
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
    "options before the config": (
        ["--config.train.steps=4", MOONS], "--config=FILE must stand before the options set in"),
    "options without a config": (
        ["--config.train.steps=4"], "--config=FILE must stand before the options set in it"),
    "flag misspelt": (["--confg=x"], "Unknown command line flag 'confg'. Did you mean: config ?"),
    "flag without a value": (["--config"], "Missing value for flag --config"),
    "word without a flag": ([MOONS, "train"], "'train' is not a flag; flags start with --"),
    "mode unknown": (
        [MOONS, "--mode=dance"],
        "--mode = 'dance': must be one of train, sample, evaluate, complete, list"),
    "points without completing": (
        [MOONS, "--points={files}/good.csv"], "--points goes with --mode=complete: a table of"),
    "completing without points": (
        [config("mixture"), "--mode=complete"], "--points goes with --mode=complete: a table of"),
    "model unknown to a config": (
        [config("mixture"), "--config.model.name=mamba"],
        "config.model.name = 'mamba': must be one of fourier_mlp, history, set_transformer, set_"),
    "seed's digit": ([config("seed/digit:ten")], "digit.py:ten: must be a digit, 0..9"),
}  # fmt: skip

OPTIONS = {  # option: (value, what is allowed)
    "name": ("a/b", "must be the name of a folder in runs/"),
    "seed": (-1, "must be"),
    "data.name": ("heart", "must be one of moons, circle, line, "),
    "schedule.name": ("bogus", "must be one of linear, quadratic, seed_cosine, cosine, "),
    "schedule.num_levels": (0, "must be at least 1"),
    "schedule.beta_min": (0.0, "must be between 0 and 1"),
    "schedule.beta_max": (1.5, "must be in [beta_min, 1)"),
    "schedule.sigma_min": (-1.0, "must be above 0"),
    "schedule.sigma_max": (0.001, "must be above sigma_min"),
    "schedule.rho": (0.0, "must be above 0"),
    "diffusion.prediction": ("y", "must be one of eps, x0, v, edm"),
    "diffusion.weighting": ("heavy", "must be one of simple, min_snr, likelihood"),
    "model.name": ("transformer9", "must be one of fourier_mlp"),
    "model.embedding": ("wavelet", "must be one of sinusoidal, gaussian, learned, identity"),
    "model.hidden_dim": (0, "must be at least 1"),
    "model.num_blocks": (-1, "must be 0 or more"),
    "model.num_frequencies": (0, "must be at least 1"),
    "model.scale": (float("nan"), "must be above 0"),
    "model.labels": (True, "must be False for data without labels"),
    "train.steps": (-5, "must be"),
    "train.min_points": (9, "must be at most config.train.num_points = 8"),
    "train.max_points": (-1, "must be at least 0"),
    "train.min_history": (0, "must be at least 1"),
    "train.max_history": (0, "must be at least config.train.min_history = 1"),
    "train.history_drop": (1.5, "must be in [0, 1]"),
    "train.label_drop": (-0.1, "must be in [0, 1]"),
    "train.num_sets": (0, "must be at least 1"),
    "train.num_points": (0, "must be at least 1"),
    "train.learning_rate": (0.0, "must be above 0"),
    "train.warmup": (12000, "must be below config.train.steps = 12000"),
    "train.weight_decay": (float("nan"), "must be 0 or more"),
    "train.clip_norm": (0.0, "must be above 0"),
    "train.ema_decay": (1.0, "must be in [0, 1)"),
    "train.block": (0, "must be at least 1"),
    "train.shards": (7, "must be a divisor of config.train.num_sets = 64"),
    "train.checkpoint_every": (0, "must be at least 1"),
    "train.keep": (0, "must be at least 1"),
    "sample.sampler": ("euler9", "must be one of ancestral, ddim, dpm++2m, sde-dpm++2m, heun"),
    "sample.eta": (1.5, "must be between 0"),
    "sample.num_steps": (1001, "must be in 1..1000"),
    "sample.spacing": ("wide", "must be one of time, log_snr"),
    "sample.num_sets": (0, "must be at least 1"),
    "sample.num_points": (0, "must be at least 1"),
    "sample.seed": (-1, "must be"),
    "sample.memory_mb": (0, "must be at least 1"),
    "sample.label": (0, "must be -1 for a model without labels; train one with config.model."),
    "sample.guidance_scale": (2.0, "must be 1 for a model without labels or history"),
    "sample.first_block": (0, "must be at least 1"),
    "sample.growth": (0.5, "must be a finite number, at least 1"),
    "sample.redraw": (-1, "must be 0 or more"),
    "evaluate.seed": (-1, "must be"),
    "evaluate.num_projections": (0, "must be at least 1"),
    "evaluate.exact_points": (0, "must be at least 1"),
    "evaluate.likelihood_steps": (0, "must be at least 1"),
    "evaluate.heldout_points": (0, "must be at least 1"),
    "evaluate.density_size": (-1, "must be 0 or more"),
    "evaluate.frames": (-1, "must be 0 or more"),
    "evaluate.max_sets": (1, "must be at least 2"),
    "evaluate.guidance_scale": (float("nan"), "must be a finite number"),
}  # fmt: skip

MIXED = {
    "learning rate nan": (
        [MOONS, "--config.train.learning_rate=nan"],
        "config.train.learning_rate = nan: must be above 0"),
    "eps from pure noise": (
        [MOONS, "--config.schedule.name=flow", "--config.diffusion.prediction=eps"],
        "config.diffusion.prediction = 'eps': must be x0, v or edm"),
    "seed too large": (
        [MOONS, f"--config.seed={10**20}"], f"config.seed = {10**20}: must be in "),
    "steps too many": (
        [MOONS, f"--config.train.steps={10**20}"], f"config.train.steps = {10**20}: must"),
}  # fmt: skip

DATA = {
    "digit 12": (
        [config("mnist_digit:12")],
        "config.data.digit = 12: must be one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"),
    "image of the class": (
        [config("mnist_digit"), "--config.data.source=digits", "--config.data.index=9999"],
        "config.data.index = 9999: must be within 0.."),
    "threshold": (
        [config("mnist_digit"), "--config.data.source=digits", "--config.data.threshold=2"],
        "config.data.threshold = 2.0: must be within 0..1"),
    "source unknown": (
        [config("mnist_digit"), "--config.data.source=web"],
        "config.data.source = 'web': must be one of auto, tfds, openml, digits"),
    "source absent": (
        [config("mnist_digit"), "--config.data.source=tfds", "--config.data.data_dir={files}"],
        "config.data.source = 'tfds': must be one that is at hand (tfds: "),
    "picture missing": ([IMAGE + "no.png"], "no.png': must be an existing picture file"),
    "picture unreadable": ([IMAGE + "text.png"], "text.png': must be a picture that Pillow can"),
    "picture blank": ([IMAGE + "blank.png"], "blank.png': must be a picture with some ink"),
    "invert": (
        [IMAGE + "dot.png", "--config.data.invert=perhaps"],
        "config.data.invert = 'perhaps': must be one of auto, yes, no"),
    "jitter": (
        [IMAGE + "dot.png", "--config.data.jitter=wild"],
        "config.data.jitter = 'wild': must be one of uniform, gaussian, none"),
    "max_side": ([IMAGE + "dot.png", "--config.data.max_side=0"], "config.data.max_side = 0: must"),
    "one point": (
        [IMAGE + "dot.png", "--config.data.jitter=none"], "config.data.normalize = True: must be"),
    "table missing": ([TABLE + "no.csv"], "no.csv': must be an existing file"),
    "table of unknown kind": ([TABLE + "good.xlsx"], "good.xlsx': must be a .csv, .tsv, .npy or"),
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
    "columns three": (
        [TABLE + "good.csv", "--config.data.columns=x,y,x"], "must be two columns, as 'x,y'"),
    "filter of nothing": (
        [TABLE + "good.csv", "--config.data.where=set=c"],
        "config.data.where = 'set=c': matches no row; 'set' holds a, b"),
    "filter without =": (
        [TABLE + "good.csv", "--config.data.where=set"],
        "config.data.where = 'set': must be 'column=value'"),
    "header": (
        [TABLE + "good.csv", "--config.data.header=2"],
        "config.data.header = '2': must be one of auto, yes, no"),
    "jitter negative": (
        [TABLE + "good.csv", "--config.data.jitter_std=-1"],
        "config.data.jitter_std = -1.0: must be a finite number, 0 or more"),
    "jitter infinite": (
        [TABLE + "good.csv", "--config.data.jitter_std=inf"],
        "config.data.jitter_std = inf: must be a finite number, 0 or more"),
}  # fmt: skip

MEMBERS = {  # of a mixture: {option: value}, the line
    "member unknown": (
        "dino+heart", {},
        "config.data.members = 'dino+heart': 'heart': must be one of moons, circle, line, "),
    "member left out": ("dino+", {}, "config.data.members = 'dino+': '': must be one of moons, "),
    "digit of a member": (
        "mnist:12+moons", {},
        "config.data.members = 'mnist:12+moons': 'mnist:12': must be a digit of 0..9"),
    "digit of a member in words": (
        "mnist:two", {}, "'mnist:two': must be mnist:DIGIT or mnist:DIGIT:INDEX"),
    "weights in words": (
        "dino+moons", {"data.weights": "0.5+half"},
        "config.data.weights = '0.5+half': must be numbers joined by +, as '0.3+0.7', or ''"),
    "weights too few": (
        "dino+moons+circle", {"data.weights": "0.5+0.5"},
        "config.data.weights = '0.5+0.5': must be 3 numbers, one for each member"),
    "weights of another sum": (
        "dino+moons", {"data.weights": "0.5+0.6"},
        "config.data.weights = '0.5+0.6': must be numbers of sum 1, not 1.1"),
    "weights below 0": (
        "dino+moons", {"data.weights": "-0.5+1.5"},
        "config.data.weights = '-0.5+1.5': must be positive numbers"),
    "order": (
        "dino+moons", {"data.order": "random"},
        "config.data.order = 'random': must be one of shuffled, sequential"),
    "label of no member": (
        "dino+moons", {"model.labels": True, "sample.label": 2},
        "config.sample.label = 2: must be in 0..1, "),
    "label below all": (
        "dino+moons", {"model.labels": True, "sample.label": -3},
        "config.sample.label = -3: must be a label, "),
    "label for a model without": (
        "dino+moons", {"sample.label": 1}, "config.sample.label = 1: must be -1 for a model with"),
    "guidance to no label": (
        "dino+moons", {"sample.guidance_scale": 2.0},
        "config.sample.guidance_scale = 2.0: must be 1 for a model without labels or history"),
    "guidance without the label": (
        "dino+moons", {"sample.guidance_scale": 2.0, "model.labels": True, "sample.label": -2},
        "config.sample.guidance_scale = 2.0: must be 1 without a label to guide to: set config."),
    "guidance of a latent": (
        "dino+moons", {"sample.guidance_scale": 2.0, "model.name": "set_latent"},
        "config.sample.guidance_scale = 2.0: must be 1 for a model without labels or history"),
    "guidance nan": (
        "dino+moons", {"sample.guidance_scale": float("nan"), "model.name": "history"},
        "config.sample.guidance_scale = nan: must be a finite number"),
    "heads": (
        "dino+moons", {"model.num_heads": 5},
        "config.model.num_heads = 5: must be a divisor of config.model.hidden_dim = 64"),
    "heads of a history": (
        "dino+moons", {"model.num_heads": 0, "model.name": "history"},
        "config.model.num_heads = 0: must be a divisor of config.model.hidden_dim = 128"),
    "inducing points": (
        "dino+moons", {"model.num_inducing": -1},
        "config.model.num_inducing = -1: must be 0 (full attention) or more"),
    "latent of one number": (
        "dino+moons", {"model.latent_dim": 1, "model.name": "set_latent"},
        "config.model.latent_dim = 1: must be at least 2"),
    "blur of the latent": (
        "dino+moons", {"model.latent_noise": -0.1, "model.name": "set_latent"},
        "config.model.latent_noise = -0.1: must be 0 or more"),
    "teacher forcing": (
        "dino+moons", {"model.teacher_forcing": 2.0, "model.name": "seq2seq"},
        "config.model.teacher_forcing = 2.0: must be between 0 and 1"),
    "one point tells no member": (
        "dino+moons", {"sample.num_points": 1},
        "config.sample.num_points = 1: must be at least 2, for a set to be told apart"),
    "too large for full attention": (
        "dino+moons", {"model.num_inducing": 0, "sample.num_points": 4097},
        "config.sample.num_points = 4097: must be at most 4096 for full attention; "
        "config.model.num_inducing = 16 takes any number"),
    "too large to train full attention": (
        "dino+moons", {"model.num_inducing": 0, "train.num_points": 4097},
        "config.train.num_points = 4097: must be at most 4096 for full attention; config.model."),
    "growing too large for full attention": (
        "dino+moons", {"model.num_inducing": 0, "train.max_points": 8192},
        "config.train.max_points = 8192: must be at most 4096 for full attention; config.model."),
    "too long a sequence": (
        "dino+moons", {"model.name": "seq2seq", "sample.num_points": 5000},
        "config.sample.num_points = 5000: must be at most 4096 for this model"),
}  # fmt: skip

DIGITS = [config("mnist_sets"), "--config.data.source=digits"]
SETS = {name: ([config(f"mixture:{members}"),
                *(f"--config.{option}={value}" for option, value in options.items())], line)
        for name, (members, options, line) in MEMBERS.items()} | {
    "label of no digit": (
        [*DIGITS, "--config.sample.label=10"], "config.sample.label = 10: must be in 0..9, "),
    "digits": (
        [config("mnist_sets:0x")], "config.data.digits = '0x': must be digits such as '017', or"),
    "one set is not compared": (
        [*DIGITS, "--config.sample.num_sets=1"],
        "config.sample.num_sets = 1: must be at least 2, to be compared with real sets; --mode="),
}  # fmt: skip

COMPLETE = {name: ([config("mixture"), "--mode=complete", *arguments], line)
            for name, (arguments, line) in {
    "points missing": (
        ["--points={files}/no.csv"], "no.csv': must be an existing file"),
    "points of no kind": (["--points="], "--points = '': must be a .csv, .tsv, .npy or .npz file"),
    "points with NaN": (
        ["--points={files}/nan.csv"],
        "nan.csv': line 3, column 'y' holds 'nan': must be a finite number"),
    "points enough": (
        ["--points={files}/good.csv", "--config.sample.num_points=3"],
        "--points: number of points = 3: must be in 1..2, fewer than config.sample.num_points = 3"),
    "points do not see each other": (
        ["--points={files}/good.csv", "--config.model.name=fourier_mlp"],
        "config.model.name = 'fourier_mlp': must be a model whose points see each other, to"),
    "points before a run": (
        ["--points={files}/good.csv", "--workdir={files}/none"],
        "none': holds no run; train one first, --mode=train"),
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
        "none': holds no run; train one first, --mode=train"),
    "evaluate below a file": (
        [MOONS, "--mode=evaluate", "--workdir={files}/good.csv/run"], "holds no run; train one"),
}  # fmt: skip


def cut(*names):
    """Halves every file of the run that lies in one of the folders named, or is one of them."""
    def damage(run: Path):
        for file in [f for name in names for f in (run / name, *(run / name).rglob("*"))]:
            if file.is_file():
                file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    return damage


def flip_a_bit(run: Path):
    """Of the largest file of the last checkpoint, in its middle: among the weights."""
    file = max((run / "checkpoints/40").rglob("*"), key=lambda f: f.is_file() * f.stat().st_size)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 16
    file.write_bytes(data)


def write(name, text):
    return lambda run: (run / name).write_text(text)


def delete(name):
    return lambda run: (shutil.rmtree if (run / name).is_dir() else Path.unlink)(run / name)


def other_model(run: Path):
    """The last checkpoint holds another network, as if copied from another run."""
    state = training.TrainState(jnp.int32(50), {"w": jnp.ones(3)}, {"w": jnp.ones(3)}, ())
    with checkpoints.open_checkpoints(run / "checkpoints", keep=2) as saved:
        checkpoints.save(saved, state)


def checkpoints_file(run: Path):
    delete("checkpoints")(run)
    write("checkpoints", "")(run)


RUNS = {  # what is typed, the line, and what has happened to the folder `run` before
    "another config": (
        [*RUN, "--config.train.steps=50", "--config.model.scale=9"],
        "--workdir = 'run': holds a run of another config or other data; use another --workdir, "
        "or delete it. It differs in model.scale: 12.0 -> 9.0, train.steps: 40 -> 50\n", None),
    "other data": (
        [config("points") + ":table.csv", *TINY, "--workdir=points"],
        "It differs in dataset.scale: ", None),
    "many differences": ([MOONS, "--workdir=run"], " more\n", None),
    "config.json damaged": (RUN, "config.json: must be the config that", cut("config.json")),
    "config.json of others": (RUN, "holds a run of another", write("config.json", '{"a": 1}')),
    "config.json no object": (RUN, "config.json: must be the config", write("config.json", "[]")),
    "config.json lost": (
        RUN, "holds checkpoints but no config.json that says what made it", delete("config.json")),
    "checkpoint damaged": (
        RUN, "checkpoints/40: is damaged; delete this folder to go on from the one before it",
        cut("checkpoints/40")),
    "checkpoint with one bit changed": (
        [*RUN, "--mode=sample"], "checkpoints/40: is damaged; delete", flip_a_bit),
    "checkpoint of another model": (
        RUN, "checkpoints/50: was made by another model (.ema['params']", other_model),
    "checkpoints a file": (RUN, "must be a folder of checkpoints", checkpoints_file),
    "sample before a checkpoint": (
        [*RUN, "--mode=sample"], "--workdir = 'run': holds no checkpoint yet; train first, --mode=",
        delete("checkpoints/40")),
    "more steps than levels": (
        [*RUN, "--mode=sample", "--config.sample.num_steps=2000"],
        "config.sample.num_steps = 2000: must be in 1..1000", None),
    "completing what is drawn point by point": (
        [*RUN, "--mode=complete", "--points=table.csv"],
        "config.model.name = 'fourier_mlp': must be a model whose points see each other", None),
    "no points": (
        [*RUN, "--mode=evaluate", "--config.sample.num_points=0"],
        "config.sample.num_points = 0: must be at least 1", None),
}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Configs, pictures and tables with something wrong in each."""
    folder = tmp_path_factory.mktemp("files")
    texts = {
        "syntax.py": "def get_config(:\n", "empty.py": "x = 1\n",
        "nothing.py": "def get_config():\n    pass\n",
        "fails.py": "def get_config():\n    return undefined\n",
        "misspelt.py": "from tiny_diffusion_jax.config import default_config\ndef get_config():\n"
                       "    config = default_config()\n    config.train.step = 4\n",
        "text.png": "not a picture", "empty.csv": "x,y\n", "nan.csv": "x,y\n1,2\n3,nan\n",
        "words.csv": "a,b\nc,d\n", "ragged.csv": "x,y\n1,2\n1,2,3\n", "good.xlsx": "",
        "good.csv": "set,x,y\na,1,2\na,3,4\nb,5,7\n", "damaged.npz": "PK\x03\x04",
    }  # fmt: skip
    for name, text in texts.items():
        (folder / name).write_text(text)
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
    """A folder with a trained `run`, and `points` of a table that has changed since."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("tiny_diffusion_jax.runs._finish", lambda *_: None)
        Path("table.csv").write_text("0,0\n1,1\n3,2\n")
        for start in ([MOONS, "--workdir=run"], [f"{TABLE_CONFIG}:table.csv", "--workdir=points"]):
            result = run(*start, *TINY, "--config.train.checkpoint_every=40")
            assert result.code == 0, result.err
        Path("table.csv").write_text("0,0\n1,1\n3,9\n")
    return folder


def contents(*folders) -> dict:
    return {f: f.read_bytes() for folder in folders for f in folder.rglob("*") if f.is_file()}


def refuses(arguments, line, *folders) -> None:
    """Runs the command; all that is there was there before, and what is said is one line."""
    before = contents(*folders)
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr("tiny_diffusion_jax.experiment.train")  # a mistake let through: seen at once
        result = run(*arguments)
    assert result.code == 2, result
    assert result.err.startswith("error: ") and result.err.count("\n") == 1, result.err
    assert line in result.err and result.out == ""
    assert contents(*folders) == before


TABLE_OF_ALL = COMMAND | MIXED | DATA | SETS | COMPLETE | FOLDERS | {
    option: ([MOONS, f"--config.{option}={value}"], f"config.{option} = {value!r}: {allowed}")
    for option, (value, allowed) in OPTIONS.items()
}

assert len(TABLE_OF_ALL) == sum(
    map(len, (COMMAND, MIXED, DATA, SETS, COMPLETE, FOLDERS, OPTIONS)))


@pytest.mark.parametrize("arguments, line", TABLE_OF_ALL.values(), ids=TABLE_OF_ALL)
def test_a_mistake_is_one_line(arguments, line, files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refuses([a.replace("{files}", str(files)) for a in arguments], line, files, tmp_path)
    assert not any(tmp_path.iterdir())


def test_what_needs_no_data_is_checked_before_they_are_read(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tiny_diffusion_jax.data.build", lambda _: pytest.fail("read the data"))
    checked = [mistake for mistake in TABLE_OF_ALL.values() if mistake[1].startswith(
        ("config.seed", "config.model", "config.train", "config.sample", "config.evaluate",
         "config.schedule", "config.diffusion", "--points"))]  # fmt: skip
    assert len(checked) > 80
    for arguments, line in checked:
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
    refuses([MOONS], "JAX finds no device to run on: Unable to initialize backend 'cuda': no GPU\n")


@pytest.mark.skipif(importlib.util.find_spec("tensorboardX") is not None, reason="is installed")
def test_tensorboard_that_is_not_installed(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    refuses([MOONS, "--config.log.tensorboard"], "needs the package tensorboardX (pip install")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["option unknown", "digit 12", "workdir a file"])
def test_so_it_is_for_a_real_process(name, files, tmp_path):
    arguments = [a.replace("{files}", str(files)) for a in TABLE_OF_ALL[name][0]]
    command = [sys.executable, str(ROOT / "main.py"), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.count("\n") == 1 and TABLE_OF_ALL[name][1] in result.stderr
