"""Check the README: its notebook code runs, and its links and commands are valid."""

import re
import runpy
from pathlib import Path

import numpy as np

import tiny_diffusion_jax as td
from tiny_diffusion_jax.config import default_config

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def test_notebook_code_runs_as_it_stands(monkeypatch, tmp_path):
    """Use a small network and small batches, because the default ones take five times as long."""
    [code] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(code.splitlines()) <= 16
    small = {"model.hidden_dim": 32, "model.num_blocks": 1, "model.num_frequencies": 16,
             "model.time_frequencies": 16, "train.num_sets": 16}  # fmt: skip
    build = td.build
    monkeypatch.setattr(td, "build", lambda data, config: build(data=data, config=config | small))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    assert len(names["plt"].gca().collections) == 1
    names["plt"].close("all")
    sets, log_p = names["sets"], names["log_p"]
    assert sets.shape == (4, 2000, 2) and np.isfinite(sets).all()
    assert log_p.shape == (2000,) and np.isfinite(log_p).all()
    low, high = np.quantile(sets, [0.01, 0.99], axis=(0, 1))
    expected = np.quantile(names["table"], [0.01, 0.99], axis=0)
    np.testing.assert_allclose([low, high], expected, atol=0.2)
    assert (tmp_path / "runs/my_moons/data.npz").exists()


def test_links_lead_to_files():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert len(links) > 8
    for link in links:
        assert (ROOT / link).exists(), link


def test_commands_name_real_configs_and_fields():
    for config in re.findall(r"--config=(configs/\w+\.py)", README):
        assert (ROOT / config).exists(), config
    for part, field in re.findall(r"--config\.([a-z]+)\.(\w+)=", README):
        assert field in default_config()[part], f"config.{part}.{field}"


def test_commands_name_files_that_exist():
    commands = "\n".join(re.findall(r"^python main.py.*", README, re.MULTILINE))
    named = re.findall(r"(?:points|image|sets)\.py:(\S+)|--points=(\S+)", commands)
    assert len(named) >= 4
    for file in map("".join, named):
        assert (ROOT / file).exists(), file


def test_examples_are_what_their_script_makes(tmp_path):
    runpy.run_path(str(ROOT / "examples" / "make.py"))["main"](tmp_path)
    for file in tmp_path.iterdir():
        if file.suffix == ".csv":
            assert file.read_text() == (ROOT / "examples" / file.name).read_text(), file.name
    assert {f.name for f in tmp_path.iterdir()} | {"make.py"} == {
        f.name for f in (ROOT / "examples").iterdir() if f.is_file()}  # fmt: skip
