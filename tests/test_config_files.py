"""Check the configs of the package: their names, their files and the errors for other names."""

import ast

import pytest
from command_line import ROOT

from tiny_diffusion_jax.config_files import CONFIGS, config_files, find_config, load_config
from tiny_diffusion_jax.errors import UserError

NAMES = config_files()


@pytest.mark.parametrize("name", NAMES)
def test_a_name_means_the_same_config_as_the_file_beside_main(name):
    argument = ":digits.csv" if name in ("image", "points", "sets") else ""
    file = ROOT / "configs" / f"{name}.py"
    packaged = load_config(f"{name}{argument}", "attention_v2")
    assert packaged == load_config(f"{file}{argument}", "attention_v2")
    assert find_config(name) == (str(CONFIGS / f"{name}.py"), "")
    # `file` imports the packaged config, so that there is one copy of its code.
    docstring, statement = ast.parse(file.read_text("utf-8")).body
    assert isinstance(docstring, ast.Expr) and isinstance(statement, ast.ImportFrom)


def test_each_config_has_a_file_beside_main():
    files = (ROOT / "configs").rglob("*.py")
    names = sorted(f.relative_to(ROOT / "configs").as_posix().removesuffix(".py") for f in files)
    assert names == list(NAMES)


@pytest.mark.parametrize("text, argument", [
    ("moons:dino", "dino"), ("moons", ""), ("moons:", ""),
    ("points:s3.py:cells.csv", "s3.py:cells.csv"), ("sets:C:\\data\\a.csv", "C:\\data\\a.csv"),
    ("configs/moons.py:dino", "dino"), ("./configs/moons.py", "")])  # fmt: skip
def test_the_argument_follows_the_first_colon(text, argument, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a folder without configs/
    assert find_config(text) == (str(NAMES[find_name(text)]), argument)


def find_name(text: str) -> str:
    return next(name for name in NAMES if name in text.partition(":")[0])


@pytest.mark.parametrize("text", ["moon", "moon:dino", "configs/moon.py", "digit", "C:/moons", ""])
def test_an_unknown_name_lists_the_names(text):
    allowed = "must be a config file or one of flow, image, mixture, "
    with pytest.raises(UserError, match=allowed) as info:
        load_config(text)
    assert info.value.field == "--config" and "student/replay" in str(info.value)


def test_a_file_of_the_user_has_precedence_over_a_path_but_not_over_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "moons").mkdir()
    (tmp_path / "configs").mkdir()
    code = (CONFIGS / "image.py").read_text("utf-8")
    (tmp_path / "configs" / "moons.py").write_text(code, "utf-8")
    assert load_config("configs/moons.py:cat.png").data.name == "image"
    assert load_config("moons:dino").data.name == "dino"
