"""Check the command line in notebooks, in 64-bit projects and in minimal containers."""

import os
import subprocess
import sys

import numpy as np
from command_line import MOONS, ROOT, TINY

NOTEBOOK = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
DOUBLE = {"JAX_ENABLE_X64": "1"}
CONTAINER = {"LC_ALL": "C", "PYTHONUTF8": "0"}


def command(environment, *arguments: str, cwd=ROOT) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(ROOT / "main.py"), *arguments], cwd=cwd, capture_output=True,
        env=os.environ | environment, encoding="utf-8")  # fmt: skip


def test_a_run_is_sampled_as_in_a_plain_environment(copy):
    before = np.load(copy / "samples.npy")
    for file in ("samples.npy", "samples.png"):
        (copy / file).unlink()
    result = command(NOTEBOOK | DOUBLE, *MOONS, "--mode=sample", f"--workdir={copy}")
    assert result.returncode == 0, result.stderr
    drawn = np.load(copy / "samples.npy")
    assert drawn.dtype == np.float32 and (drawn == before).all()
    assert (copy / "samples.png").exists()


def test_names_that_are_not_ascii_are_read_and_written_in_any_locale(tmp_path):
    rows = np.random.default_rng(0).normal(size=(60, 2))
    lines = ["größe,höhe", *(f"{x},{y}" for x, y in rows)]
    (tmp_path / "café.csv").write_text("\n".join(lines), "utf-8")
    options = [f"--config={ROOT / 'configs/points.py'}:café.csv", *TINY, "--config.evaluate.gifs=0",
               "--config.data.columns=größe,höhe", "--config.train.steps=10"]  # fmt: skip
    result = command(CONTAINER, *options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "runs" / "points_café"
    assert result.stderr.startswith("data: café.csv: ")
    assert f"wrote {folder.relative_to(tmp_path)}" in result.stderr
    assert "café" in (folder / "report.html").read_text("utf-8")
