"""Build the package, and use it as a user does: installed, without the repository."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from command_line import ROOT, TINY

pytestmark = pytest.mark.slow
LARGEST = 6_000_000  # bytes of the wheel; the released models are 3.7 MB of them
IGNORED = shutil.ignore_patterns(
    ".git", ".venv*", ".*_cache", "__pycache__", "*.egg-info", "build", "runs")  # fmt: skip
PACKAGED = [
    "configs/moons.py", "configs/student/replay.py", "data/dinosaur.csv", "py.typed",
    "released/mnist.json", "released/mnist.npz", "released/dino+moons.npz", "__main__.py",
    "web/templates/report.html", "web/templates/parts/player.html", "web/static/player.js",
    "web/static/live/worker.js",
]  # fmt: skip


def check(*words, cwd: Path) -> str:
    """Run a command in `cwd` without this repository on its path, and return its output."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "MPLBACKEND")}
    done = subprocess.run([str(word) for word in words], cwd=cwd, env=environment,
                          capture_output=True, encoding="utf-8")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """Folder with the sdist, and with the wheel that is built from the sdist."""
    for package in ("build", "twine"):
        pytest.importorskip(package, reason="needs `pip install build twine`")
    folder = tmp_path_factory.mktemp("package")
    source = shutil.copytree(ROOT, folder / "source", ignore=IGNORED)
    check(sys.executable, "-m", "build", "--outdir", folder / "dist", cwd=source)
    return folder / "dist"


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> Path:
    """Folder of the programs of a fresh environment with the wheel and today's dependencies."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, symlinks=os.name != "nt")
    programs = home / ("Scripts" if os.name == "nt" else "bin")
    python = programs / "python"
    [wheel] = built.glob("*.whl")
    check(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps",
          "--no-index", wheel, cwd=home)  # fmt: skip
    packages = check(python, "-c", "import site; print(site.getsitepackages()[0])", cwd=home)
    # Use the dependencies of this environment. An editable installation in it has no effect,
    # because Python ignores .pth files of this folder.
    dependencies = Path(np.__file__).parents[1]
    (Path(packages.strip()) / "dependencies.pth").write_text(f"{dependencies}\n", "utf-8")
    return programs


def test_the_metadata_are_valid(built):
    output = check(sys.executable, "-m", "twine", "check", "--strict", *built.iterdir(), cwd=built)
    assert output.count("PASSED") == 2


def test_the_wheel_contains_the_package_alone(built):
    [wheel] = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"tiny_diffusion_jax"}
    assert {f"tiny_diffusion_jax/{name}" for name in PACKAGED} <= set(names)
    source = {f.relative_to(ROOT).as_posix() for f in (ROOT / "tiny_diffusion_jax").rglob("*")
              if f.is_file() and f.suffix != ".pyc"}  # fmt: skip
    assert source <= set(names)
    assert wheel.stat().st_size < LARGEST, f"{wheel.stat().st_size / 1e6:.1f} MB"


def test_the_sdist_has_what_the_wheel_is_built_from(built):
    [sdist] = built.glob("*.tar.gz")
    names = [name.partition("/")[2] for name in tarfile.open(sdist).getnames()]
    assert {f"tiny_diffusion_jax/{name}" for name in PACKAGED} <= set(names)
    assert {"README.md", "LICENSE", "pyproject.toml"} <= set(names)
    assert not [name for name in names if name.startswith(("tests", "benchmarks", "docs"))]
    assert sdist.stat().st_size < LARGEST


def test_a_model_is_trained_by_the_command(installed, tmp_path):
    options = [*TINY, "--config.train.steps=20"]
    check(installed / "tiny-diffusion", "--config=moons:dino", *options, cwd=tmp_path)
    folder = tmp_path / "runs" / "dino"
    config = json.loads((folder / "config.json").read_text("utf-8"))
    assert config["data"]["name"] == "dino" and config["train"]["steps"] == 20
    assert "tiny-diffusion --config=moons:dino" in (folder / "report.html").read_text("utf-8")
    assert np.isfinite(np.load(folder / "samples.npy")).all()


def test_own_sets_and_a_released_model_need_no_repository(installed, tmp_path):
    rows = [f"{row},{x},{row + x}" for row in range(8) for x in range(3)]
    (tmp_path / "cells.csv").write_text("\n".join(["set,x,y", *rows]), "utf-8")
    options = [option for option in TINY if "num_points" not in option]
    check(installed / "tiny-diffusion", "--config=sets:cells.csv", "--config.train.steps=4",
          *options, "--config.train.max_points=0", "--config.model.num_heads=2",
          "--config.model.num_inducing=2", cwd=tmp_path)  # fmt: skip
    assert (tmp_path / "runs" / "sets_cells" / "samples.npz").exists()
    check(installed / "python", "-m", "tiny_diffusion_jax", "--pretrained=mnist", "--mode=sample",
          "--config.sample.num_sets=2", cwd=tmp_path)  # fmt: skip
    assert len(np.load(tmp_path / "runs" / "pretrained_mnist" / "samples.npy")) == 2


def test_the_module_lists_the_configs(installed, tmp_path):
    output = check(installed / "python", "-m", "tiny_diffusion_jax", "--mode=list", cwd=tmp_path)
    assert "moons[:SHAPE] " in output and "student/replay:PART " in output
    output = check(installed / "python", "-m", "tiny_diffusion_jax", "--help", cwd=tmp_path)
    assert "  python -m tiny_diffusion_jax --config=mnist_digit " in output
    file = check(installed / "python", "-c", "import tiny_diffusion_jax as td; print(td.__file__)",
                 cwd=tmp_path)  # fmt: skip
    assert Path(file.strip()).is_relative_to(installed.parent)
    assert not Path(file.strip()).is_relative_to(ROOT)
