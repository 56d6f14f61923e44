"""Check that each benchmark has a test, and the benchmarks of the program itself.

Each benchmark runs at a tiny size through its own command line, and exits with an error if one of
its parts fails.
"""

import json
import re
import time
from pathlib import Path

import common
import flow
import fuzz
import golden
import kill_resume
import numpy as np
import pytest
import shapes_3d
from benchmark_files import FEW, read, stored_metrics
from command_line import ROOT, SETS
from hypothesis import strategies as st
from PIL import Image

from tiny_diffusion_jax.errors import UserError

pytestmark = pytest.mark.slow


def test_each_benchmark_has_a_test():
    files = {file.stem for file in (ROOT / "benchmarks").glob("*.py")}
    tests = "".join(file.read_text("utf-8") for file in Path(__file__).parent.glob("test_*.py"))
    tests = " ".join(f"{name}_" for name in re.findall(r"^def (test_\w+)", tests, re.MULTILINE))
    parts = {"common", "frechet", "pytorch", "release"}  # of other benchmarks
    assert {file for file in files if f"test_{file}_" not in tests} == parts


def test_points_are_grouped_by_the_number_of_their_set():
    points, number = np.arange(10.0).reshape(5, 2), np.array([7, 2, 7, 2, 5])
    sets = common.grouped(points, number)
    assert [x[:, 0].tolist() for x in sets] == [[2, 6], [8], [0, 4]]


def test_rows_are_added_to_a_results_file(tmp_path):
    path = tmp_path / "a.json"
    assert common.add_rows(path, "a.py", ["--x"], {"a": 1}, "models") == {"a": 1}
    assert common.add_rows(path, "a.py", [], {"b": 2}, "models") == {"a": 1, "b": 2}
    assert read(path)["models"] == {"a": 1, "b": 2} and read(path)["command"].endswith("a.py")


def test_fuzz(tmp_path):
    fuzz.main(["--quick", f"--output={tmp_path / 'fuzz.json'}"])
    result = read(tmp_path / "fuzz.json")
    assert result["failures"] == {} and result["cases"] == 40
    assert {kind: sum(count.values()) for kind, count in result["counts"].items()} == {
        "config": 23, "file": 16, "run": 1}
    assert result["counts"]["config"]["done"] and result["counts"]["file"]["done"]


def test_fuzz_catches_a_traceback_long_lines_and_a_hang(monkeypatch):
    def fail(kind, folder):
        if kind == "hang":
            time.sleep(10)
        texts = {"line": "x" * 5_000, "two lines": "a = 1: must be 0.\nSee b."}
        raise UserError(texts[kind]) if kind in texts else KeyError("no such thing")

    monkeypatch.setattr(fuzz, "LONGEST", 1)
    for kind, error in (("traceback", "KeyError"), ("line", "xxx"),
                        ("two lines", "See b."), ("hang", "TimeoutError")):
        counts, failure = fuzz.examine(st.just(kind), fail, 1, 0)
        assert error in failure and not counts and f"case='{kind}'" in failure


def test_golden_numbers_are_repeated_and_a_change_is_named(tmp_path, capsys):
    args = [f"--runs={tmp_path}", "--only=released", "--", "--config.sample.num_points=16"]
    seeds = [*args, "--config.sample.num_steps=2", "--config.sample.seed=7"]
    assert golden.main(["--record", *seeds]) == 0
    assert golden.main(seeds) == 0 and "0 numbers differ" in capsys.readouterr().out
    assert golden.main([*args, "--config.sample.num_steps=3"]) == 1
    assert "released: samples float32 (20, 16, 2)" in capsys.readouterr().out


def test_kill_resume(tmp_path):
    """Kill a real run at random with SIGKILL: each time it resumes with identical results."""
    kill_resume.main(["--quick", f"--output={tmp_path / 'kill_resume.json'}", "--",
                "--config.compilation_cache="])  # fmt: skip
    result = read(tmp_path / "kill_resume.json")
    assert result["exact"] == result["kills"] == len(result["each"]) == 5 and result["seed"] == 0
    assert result["each"][-1]["went_on"]["step"] == result["steps"]


@pytest.mark.parametrize("options, change", [
    (["--config.train.learning_rate=0.5"], "train.learning_rate: 0.002 -> 0.5"),
    (["--config.sample.num_sets=3"], "sample.num_sets: 6 -> 3"),
])  # fmt: skip
def test_a_finished_run_of_other_options_is_refused(runs, capsys, options, change):
    folder = runs / "mixture_moons+circle_history"
    flags = ["--config=configs/mixture.py:moons+circle", "--config.model.name=history", *FEW]
    assert common.finished(folder, flags) == stored_metrics(folder, flags)
    with pytest.raises(SystemExit, match="2"):
        common.finished(folder, [*flags, *options])
    line, = capsys.readouterr().err.splitlines()
    assert line.startswith("error: --workdir = ") and f"It differs in {change}. Move" in line


def test_a_finished_run_of_other_data_is_refused(tmp_path, capsys):
    small = [f"--runs={tmp_path}", f"--output={tmp_path / 'a.json'}", "--real=20"]
    options = ["--", *SETS, "--config.sample.num_points=0", "--config.evaluate.frames=0"]
    shapes_3d.main([*small, "--num_sets=40", *options])
    shapes_3d.main([*small, "--num_sets=40", *options])
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        shapes_3d.main([*small, "--num_sets=41", *options])
    line, = capsys.readouterr().err.splitlines()
    assert "must be the data of the run" in line and "dataset.sha256" in line


def test_flow_draws_finished_runs(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    np.save(folder / "trajectory.npy", np.random.default_rng(0).normal(size=(11, 50, 2)))
    facts = {"dataset": {"title": "moons", "start": {"title": "rings"}}}
    (folder / "config.json").write_text(json.dumps(facts), "utf-8")
    flow.main([f"--figure={tmp_path / 'flow.png'}", f"--runs={folder},{folder}"])
    assert Image.open(tmp_path / "flow.png").width > 900
