"""Check the benchmarks of the student project.

Each benchmark runs at a tiny size through its own command line, and exits with an error if one of
its parts fails.
"""

import json
import shutil

import numpy as np
import pytest
import separate
import student
import student_fixes
import student_replay
from benchmark_files import FEW, read, stored_metrics
from command_line import SETS
from PIL import Image

from tiny_diffusion_jax import api, checks
from tiny_diffusion_jax.cli.flags import parse

pytestmark = pytest.mark.slow


def test_separate_draws_the_first_sets_of_both_runs(runs):
    folder = runs / "mixture_moons+circle_history"
    sets = np.load(folder / "samples.npy")[:2]
    figure = separate.figure(sets, sets, [0, 1])
    assert len([ax for ax in figure.axes if ax.collections]) == 4
    separate.main([f"--alone={folder}", f"--together={folder}", f"--output={runs / 'a.png'}"])
    assert Image.open(runs / "a.png").width > 1000


def options_of(commands):
    """Configs of the commands; each config must be valid for training and evaluation."""
    for words in commands:
        config = parse(words.split()[1:]).config
        checks.check_measured(config)
        yield config


def test_student_fixes_writes_a_table_and_a_figure_of_its_runs(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(student_fixes, "finished", stored_metrics)
    for _, _, name, _ in student_fixes.ROWS["attention_v2"][1]:
        shutil.copytree(runs / "mixture_moons+circle_history", tmp_path / name)
    student_fixes.main(["--rows=attention_v2", f"--runs={tmp_path}",
                        f"--output={tmp_path / 'm.json'}",
                        f"--figure={tmp_path / 'm.png'}"])  # fmt: skip
    cells = read(tmp_path / "m.json")["rows"]["attention_v2"]
    changes = [(c.data.align, c.diffusion.prediction, c.train.history_drop, c.model.name)
               for c in options_of(cell["command"] for cell in cells)]  # fmt: skip
    assert changes == [
        (False, "eps", 0.7, "attention_v2"), (False, "eps", 0.15, "attention_v2_same_set"),
        (True, "edm", 0.15, "attention_v2_same_set"),
    ]  # fmt: skip
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 5 and len({line.count("|") for line in lines}) == 1
    assert Image.open(tmp_path / "m.png").width > 1000


def test_student_fixes_keeps_rows_whose_runs_are_absent(runs, tmp_path, capsys, monkeypatch):
    """A fresh clone has rows of runs that it lacks: the table has them, the figure does not."""
    monkeypatch.setattr(student_fixes, "finished", stored_metrics)
    drawn = []
    figure = student_fixes.figure
    monkeypatch.setattr(student_fixes, "figure",
                        lambda title, rows: drawn.extend(rows) or figure(title, rows))  # fmt: skip
    for _, _, name, _ in student_fixes.ROWS["attention_v1"][1]:
        shutil.copytree(runs / "mixture_moons+circle_history", tmp_path / name)
    words = ["--rows=attention_v1", f"--runs={tmp_path}", f"--output={tmp_path / 'm.json'}",
             f"--figure={tmp_path / 'm.png'}"]  # fmt: skip
    student_fixes.main(words)
    cells = read(tmp_path / "m.json")["rows"]["attention_v1"]
    (tmp_path / "m.json").write_text(json.dumps({"rows": {"attention_v2": cells}}))
    drawn.clear()
    capsys.readouterr()
    student_fixes.main(words)
    assert read(tmp_path / "m.json")["rows"] == {"attention_v1": cells, "attention_v2": cells}
    assert [name for name, _ in drawn] == ["attention V1"]
    assert capsys.readouterr().out.count("| attention V2 |") == len(cells)


def test_student_fixes_measures_the_effect_of_the_order():
    _, model, _, flags = student_fixes.ROWS["seq2seq"][1][2]
    setup = api.build(parse(["", *flags, f"--config.model.name={model}", *SETS]).config)
    for row in student_fixes.of_orders(setup, api.init(setup).params):
        assert 0 < row["spread"] < row["error"] and row["error_of_mean"] < row["error"]


def test_student_replay_measures_every_part_against_the_true_members(
    runs, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(student_replay, "finished", stored_metrics)
    for part in student_replay.PARTS:
        folder = tmp_path / f"student_replay_{part}_attention_v2_same_set"
        shutil.copytree(runs / "mixture_moons+circle_history", folder)
    student_replay.main([f"--runs={tmp_path}", f"--output={tmp_path / 'r.json'}",
                 f"--figure={tmp_path / 'r.png'}"])  # fmt: skip
    rows = read(tmp_path / "r.json")["rows"]
    first = str(tmp_path / "student_replay_first_attention_v2_same_set")
    asked = [(c.data.members, c.train.init_from)
             for c in options_of(row["command"] for row in rows.values())]  # fmt: skip
    assert asked == [("dino", ""), ("moons", first), (f"{first}+moons", first)]
    assert all(sum(row["frequencies"]) == pytest.approx(1) for row in rows.values())
    assert len(capsys.readouterr().out.strip().splitlines()) == 5
    assert Image.open(tmp_path / "r.png").width > 1000


def test_student(tmp_path):
    """A finished run is not trained again, so its losses can be replaced by known numbers."""
    arguments = ["--only=sequential", "--models=fourier_mlp", f"--runs={tmp_path}",
             f"--output={tmp_path / 'student.json'}", f"--figures={tmp_path}", "--",
             *FEW, f"--config.data.cache_dir={tmp_path}"]  # fmt: skip
    student.main(arguments)
    folder = tmp_path / "student_sequential_fourier_mlp"
    losses = (9.0, 8.0, 1.0, 2.0, 3.0, 4.0, 10.0)
    rows = "".join(json.dumps({"step": i, "loss": loss}) + "\n" for i, loss in enumerate(losses))
    (folder / "metrics.jsonl").write_text(rows)
    (tmp_path / "student_sequential.png").unlink()
    before = {"first_loss": 2.0}
    (tmp_path / "student.json").write_text(json.dumps({"runs": {"digit fourier_mlp": before}}))
    student.main(arguments)
    rows = read(tmp_path / "student.json")["runs"]
    assert rows.keys() == {"digit fourier_mlp", "sequential fourier_mlp"}
    assert rows["digit fourier_mlp"] == before
    result = rows["sequential fourier_mlp"]
    # last_loss is the mean of the last five
    assert (result["first_loss"], result["last_loss"]) == (9.0, 4.0)
    assert result["metrics"] == json.loads((folder / "metrics.json").read_text())["metrics"]
    assert Image.open(tmp_path / "student_sequential.png").width > 800
