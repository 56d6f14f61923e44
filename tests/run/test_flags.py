"""Check that all spellings of options give one config, and that all config files are valid."""

import json
import re
from pathlib import Path

import pytest
from command_line import ROOT, config

from tiny_diffusion_jax import build, checks
from tiny_diffusion_jax.cli.flags import parse, read
from tiny_diffusion_jax.cli.main import USAGE
from tiny_diffusion_jax.config import default_config, flatten
from tiny_diffusion_jax.config_files import config_files, find_config, load_config
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.models import MODELS, make_model
from tiny_diffusion_jax.recipes import QUICK_TRAINING, RECIPES, STUDENT_RECIPES
from tiny_diffusion_jax.training.batches import make_batch_spec

CONFIGS = config_files()
# Recipes that each config file accepts.
TAKEN = {name: STUDENT_RECIPES if name.startswith("student/") else RECIPES for name in CONFIGS}
TAKEN["flow"] = {"fourier_mlp": RECIPES["fourier_mlp"]}  # a flow moves single points


def command(*arguments):
    return parse(["main.py", *arguments])


# ---------------------------------------------------------------- spellings


@pytest.mark.parametrize("dash", ["-", "--"])
@pytest.mark.parametrize("join", ["=", " "])
@pytest.mark.parametrize("first", [True, False])
def test_every_spelling_of_an_option_means_the_same(dash, join, first):
    """An option before or after the config selects the recipe, is checked, and sets its field."""
    typed = [f"{dash}config.model.name{join}history", f"{dash}config.sample.seed{join}7",
             f"{dash}config.train.learning_rate{join}1e-4"]  # fmt: skip
    options = [word for option in typed for word in option.split(" ")]
    where = config("mixture:moons+circle").replace("--config=", f"{dash}config{join}").split(" ")
    used = command(*(options + where if first else where + options)).config
    want = load_config(f"{ROOT}/configs/mixture.py:moons+circle", "history")
    want.update_from_flattened_dict({"sample.seed": 7, "train.learning_rate": 1e-4})
    assert used == want and used.train.steps == RECIPES["history"]["train.steps"]


@pytest.mark.parametrize("spelling, value", [
    ("--noconfig.data.normalize", False), ("-noconfig.data.normalize", False),
    ("--config.data.normalize", True), ("--config.data.normalize=false", False),
    ("--config.data.normalize=1", True)])  # fmt: skip
def test_switches(spelling, value):
    assert read(["main.py", spelling])[1] == {"data.normalize": value}


def test_values_keep_their_signs_and_types():
    _, options = read(["main.py", "--config.sample.label", "-2", "--config.sample.eta", "1",
                       "--config.data.weights=0.5+0.5", "--config.train.steps=0x10",
                       "--config.data.where=dataset=dino"])  # fmt: skip
    assert options == {"sample.label": "-2", "sample.eta": 1.0, "data.weights": "0.5+0.5",
                       "train.steps": 16, "data.where": "dataset=dino"}  # fmt: skip
    assert [type(v) for v in (options["sample.eta"], options["train.steps"])] == [float, int]


def test_the_last_of_two_wins():
    used = command(config("moons"), "--config.train.steps=7", "--config.train.steps", "8").config
    assert used.train.steps == 8


def test_an_option_of_the_user_wins_over_the_recipe():
    done = command(config("mixture"), "--config.train.steps=7", "--config.model.name=history",
                   "--config.model.scale=3")  # fmt: skip
    assert done.workdir == "runs/mixture_dino+moons_history" and done.config.train.steps == 7
    assert done.config.model.scale == 3.0 and done.config.train.learning_rate == 2e-3


def test_the_folder_has_the_configs_name_or_that_of_workdir():
    done = command(config("mnist_digit:7"), "--noconfig.data.normalize")
    assert done.mode == "train" and done.workdir == "runs/mnist_7" and done.config.data.digit == 7
    assert done.config.data.normalize is False
    done = command(config("moons:pinwheel"), "--mode=evaluate", "--workdir=here")
    assert (done.mode, done.workdir, done.config.data.name) == ("evaluate", "here", "pinwheel")
    done = command(config("mixture:dino+circle"), "--mode", "complete", "--points", "some.csv")
    assert done.workdir == "runs/mixture_dino+circle_set_transformer"
    assert done.arguments["points"] == "some.csv"


# ---------------------------------------------------------------- configs


def test_commands_of_the_help_and_the_headers_are_real():
    """Every `python main.py` line in the help and headers parses, with its config and options."""
    usage = USAGE.format(program="python main.py")
    shown = [usage, *(file.read_text("utf-8") for file in CONFIGS.values())]
    commands = [c for text in shown for c in re.findall(r"python main\.py ((?:\\\n|.)+)", text)]
    assert len(commands) >= 10
    for line in commands:
        words = [word for word in re.split(r"\s{2,}(?=\w)", line)[0].replace("\\", " ").split()]
        values, _ = read(["main.py", *words])
        if values["config"]:
            find_config(values["config"])


def test_configs_are_found_from_any_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config("configs/moons.py:dino").data.name == "dino"
    relative, config = (load_config(f"{p}configs/student/digit.py") for p in ("./", ""))
    assert relative.name == config.name
    Path("configs").mkdir()  # a config in the user's folder has precedence
    Path("configs/moons.py").write_text((ROOT / "configs" / "image.py").read_text("utf-8"), "utf-8")
    assert load_config("configs/moons.py:dino.png").data.name == "image"
    with pytest.raises(UserError, match=r"--config = 'configs/none.py': must be a config file or "):
        load_config("configs/none.py:dino")


@pytest.mark.parametrize("path", [
    r"C:\Users\me\table.csv", "C:/table.csv", "data:2024/table.csv", "s3.py:cells.csv"])
def test_a_path_with_colons_reaches_the_config_whole(path):
    assert load_config(f"{ROOT}/configs/points.py:{path}").data.path == path


def test_the_file_of_a_config_may_have_colons(tmp_path):
    for folder in ("C:", "a:b"):
        file = tmp_path / folder / "own.py"
        file.parent.mkdir()
        file.write_text((ROOT / "configs" / "points.py").read_text("utf-8"), "utf-8")
        assert load_config(f"{file}:x:y.csv").data.path == "x:y.csv"
        assert find_config(str(file)) == (str(file), "")


def loaded(name, model=""):
    argument = ":some.csv" if name in ("image", "points", "sets") else ""
    return load_config(f"{name}{argument}", model)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_has_the_fields_that_there_are_and_takes_every_model(name, monkeypatch, tmp_path):
    # some.csv is here; configs read it to determine the shape of the sets
    monkeypatch.chdir(tmp_path)
    rows = [f"{number},{x},{number + x}" for number in range(8) for x in range(3)]
    Path("some.csv").write_text("\n".join(["set,x,y", *rows]), "utf-8")
    defaults, names = flatten(default_config()), set()
    for model in TAKEN[name]:
        used = loaded(name, model)
        fields = flatten(used)
        assert {k: type(v) for k, v in fields.items()} == {k: type(v) for k, v in defaults.items()}
        checks.check_measured(used)
        assert used.model.name == model and "/" not in used.name
        names.add(used.name)
        plan = make_batch_spec(used.train, make_model(used.model, 2))
        assert plan.num_sets * plan.num_points <= 8192
    assert len(names) == len(TAKEN[name])  # each model has a separate run folder
    # `rows` is a strategy to train `causal`, with a separate run folder
    default = {"spatial_mnist": {"spatial_mnist_rows"}}.get(name, names)
    assert loaded(name).name in default


def test_every_model_has_a_recipe():
    assert list(RECIPES) == list(MODELS) and STUDENT_RECIPES.keys() <= MODELS.keys()


def changed(fields: dict) -> dict:
    """Fields that differ from the default config."""
    return {k: v for k, v in fields.items() if v != flatten(default_config())[k]}


@pytest.mark.parametrize("model", RECIPES)
def test_default_config_of_a_model_is_its_recipe_and_nothing_else(model):
    used = default_config(model)
    assert changed(flatten(used)) == changed(RECIPES[model] | {"model.name": model})
    with pytest.raises(UserError, match="config.model.nmae: must be an option. Did you mean"):
        used.model.nmae = "x"


def test_digits_with_latents_have_the_settings_of_latents():
    used = loaded("mnist_sets", "set_latent")
    assert (used.model.scale, used.train.max_history, used.model.hidden_dim) == (100.0, 64, 128)
    assert used.train.steps == RECIPES["set_latent"]["train.steps"] and used.model.labels


# Values used for the figures and numbers of README.md and docs/.
PUBLISHED = {
    ("mnist_sets", "set_transformer"): {
        "model.hidden_dim": 64, "model.num_blocks": 4, "model.num_inducing": 0,
        "train.steps": 12_000, "train.num_sets": 64, "train.num_points": 64, "train.max_points": 0,
        "train.block": 200, "train.learning_rate": 2e-3, "sample.num_sets": 500,
        "sample.num_points": 64, "sample.sampler": "sde-dpm++2m", "sample.num_steps": 30},
    ("mixture", "set_transformer"): {
        "model.num_inducing": 16, "train.steps": 12_000, "train.num_sets": 128,
        "train.num_points": 32, "train.max_points": 2048, "train.block": 50,
        "sample.num_sets": 1_000, "sample.num_points": 256, "sample.sampler": "sde-dpm++2m"},
    ("mixture", "fourier_mlp"): {"train.steps": 20_000, "train.num_points": 16},
    ("mixture", "history"): {"train.steps": 20_000, "train.num_sets": 32, "sample.first_block": 1},
    ("mixture", "set_latent"): {"train.steps": 18_000, "train.max_history": 64},
    ("mixture", "attention_v1"): {"train.history_drop": 0.1, "sample.burn_in": 250,
                                  "sample.first_block": 250, "sample.growth": 1.0},
    ("student/shuffled", "attention_v2"): {"sample.burn_in": 250, "sample.guidance_scale": 1.7},
    ("student/shuffled", "fourier_mlp"): {"sample.burn_in": 0, "train.num_sets": 250},
    ("moons", "fourier_mlp"): {},
    ("mnist_digit", "fourier_mlp"): {"train.steps": 7_400, "train.num_sets": 256,
                                     "train.num_points": 4, "train.learning_rate": 0.01},
}  # fmt: skip


@pytest.mark.parametrize("name, model", PUBLISHED)
def test_published_settings_stay(name, model):
    fields = flatten(loaded(name, model))
    assert {k: fields[k] for k in PUBLISHED[name, model]} == PUBLISHED[name, model]
    if not PUBLISHED[name, model]:
        assert changed(fields) == {"name": "moons"}


def test_a_quick_run_is_shorter_and_says_so():
    """Options of the command line have the last word; a run that is shorter stays as it is."""
    words = ["main.py", "--config=moons", "--quick", "--config.sample.num_sets=3"]
    quick = parse(words).config
    assert quick.quick and quick.name == "moons_quick" and quick.sample.num_sets == 3
    assert quick.train.steps == QUICK_TRAINING["fourier_mlp"]["train.steps"]
    assert parse([*words, "--config.train.steps=10"]).config.train.steps == 10
    dataset = build(quick).dataset
    assert dataset.notice == "quick run: 1,000 steps, too short to judge the denoiser"
    for wrong, line in (["--mode=sample", "--quick = True: must be left out without --mode=train"],
                        ["--noquick", "--noquick: must be a flag"]):  # fmt: skip
        with pytest.raises(UserError, match=line):
            parse(["main.py", "--quick", "--config=moons", wrong])


@pytest.mark.parametrize("path, expected", [
    (".", "{}/run_few"), ("..", "{}_few"), ("./", "{}/run_few"), ("../run/", "../run_few"),
])  # fmt: skip
def test_a_distilled_run_lies_beside_its_run(path, expected, tmp_path, monkeypatch):
    for folder in (tmp_path, tmp_path / "run"):
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps(default_config().to_dict()), "utf-8")
    monkeypatch.chdir(tmp_path / "run")
    parsed = command(f"--workdir={path}", "--mode=distill")
    assert parsed.workdir == expected.format(tmp_path.resolve())
    assert parsed.config.train.init_from == path
