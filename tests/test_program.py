"""Check that messages name the command that started the program."""

import shlex
import sys

import pytest
from command_line import ROOT, TINY, run

from tiny_diffusion_jax.cli.flags import parse
from tiny_diffusion_jax.program import program_name

PACKAGE = ROOT / "tiny_diffusion_jax"
STARTED = {
    "/venv/bin/tiny-diffusion": "tiny-diffusion",
    "tiny-diffusion.exe": "tiny-diffusion",
    str(PACKAGE / "__main__.py"): "python -m tiny_diffusion_jax",
    "main.py": "python main.py",
    str(ROOT / "main.py"): "python main.py",
    "/other/__main__.py": "python main.py",
    "ipykernel_launcher.py": "python main.py",
    "": "python main.py",
}


@pytest.mark.parametrize("path, name", STARTED.items())
def test_the_name_is_the_command_that_was_used(path, name, monkeypatch):
    monkeypatch.setattr(sys, "argv", [path])
    assert program_name() == name


@pytest.mark.parametrize("path", list(STARTED)[:4])
def test_help_report_and_pages_name_this_command(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [path])
    name = STARTED[path]
    assert f"\n  {name} --config=mnist_digit " in run("--help").out
    command = parse(["", "--config=moons:dino", "--config.name=two words"]).arguments["command"]
    assert command == f"{name} --config=moons:dino '--config.name=two words'"
    assert run("--mode=draw").code == 0
    assert f'data-program="{name}"' in (tmp_path / "draw.html").read_text("utf-8")


def test_a_loss_that_is_not_finite_names_it_too(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tiny-diffusion"])
    options = ["--config.train.learning_rate=5", "--config.train.weight_decay=1",
               "--config.train.warmup=0"]  # fmt: skip
    result = run("--config=moons", *TINY, *options, f"--workdir={tmp_path}")
    command = shlex.join([f"--workdir={tmp_path}"])
    assert result.err.endswith(f"finite: tiny-diffusion {command} --mode=replay\n")
