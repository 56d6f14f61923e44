"""An error in a figure or page keeps metrics.json and all other files."""

import csv
import json
import os
import re

import numpy as np
import pytest
from command_line import SETS, config, run
from run_files import FILES

from tiny_diffusion_jax import reports


def fail(*_, **__):
    raise ValueError("no such\n  font")


def again(copy, mode="evaluate"):
    """(result of a command that draws other samples, files that the command wrote)."""
    for file in copy.iterdir():
        if file.is_file():
            os.utime(file, (0, 0))
    result = run(f"--workdir={copy}", f"--mode={mode}", "--config.sample.seed=7")
    written = {file.name for file in copy.iterdir() if file.is_file() and file.stat().st_mtime > 0}
    return result, written


WRITTEN = FILES - {"config.json", "metrics.jsonl", "checkpoints", "snapshots"}


@pytest.mark.parametrize("where, failed", [
    (("samples.samples_figure",), ["samples.png"]),
    (("loss.loss_figure", "film.save_film"), ["loss.png", "reverse.gif", "forward.gif"]),
])  # fmt: skip
def test_pictures_that_fail_are_named_and_all_others_written(where, failed, copy, monkeypatch):
    for name in where:
        monkeypatch.setattr(f"tiny_diffusion_jax.figures.{name}", fail)
    result, written = again(copy)
    assert result.code == 1 and "Traceback" not in result.err
    assert written == WRITTEN - set(failed)
    # old files would show other samples, so they are removed
    assert not any((copy / name).exists() for name in failed)
    stored = json.loads((copy / "metrics.json").read_text())
    assert stored["sample"]["seed"] == 7 and "sliced_wasserstein2" in stored["metrics"]
    warned = [line for line in result.err.splitlines() if line.startswith("warning: ")]
    for line, name in zip(warned, failed, strict=True):
        pattern = rf"warning: {name} was not written \(ValueError at test_incomplete.py:\d+: (.*)\)"
        assert re.fullmatch(pattern, line)[1] == "no such"
    assert result.err.splitlines()[-1] == (
        f"error: {', '.join(failed)} could not be written (see the warnings above); all other "
        f"files are in {copy}")  # fmt: skip
    assert "sliced_wasserstein2: " in result.err and "open its report.html" not in result.err


def test_a_page_that_fails_leaves_the_numbers_and_the_pictures(copy, monkeypatch):
    monkeypatch.setattr(reports, "write_html", fail)
    result, written = again(copy)
    assert result.code == 1 and written == WRITTEN - {"report.html"}
    assert "warning: report.html was not written (ValueError at " in result.err
    assert json.loads((copy / "metrics.json").read_text())["seconds"].keys() >= {"pictures"}


def test_samples_alone_are_left_as_well(copy, monkeypatch):
    monkeypatch.setattr("tiny_diffusion_jax.figures.samples.samples_figure", fail)
    result, written = again(copy, "sample")
    assert result.code == 1 and "error: samples.png could not be written" in result.err
    assert written == WRITTEN - {"metrics.json", "samples.png"}


def test_metrics_are_written_before_the_first_picture(copy, monkeypatch):
    """The metrics remain even if the process ends while figures are drawn."""
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(reports, "write_report", stop)
    (copy / "metrics.json").unlink()
    assert again(copy)[0].code == 130
    stored = json.loads((copy / "metrics.json").read_text())
    assert stored["sample"]["seed"] == 7 and stored["seconds"]["evaluate"] > 0


# ---------------------------------------------------------------- names that users choose

NAMES = ["$x_$", "a_$%_", "back\\slash\\", "\u05e9\u05dc\u05d5\u05dd e\u0301", "</script>\"'&<b>",
         "y" * 300]  # fmt: skip


def test_a_run_of_a_table_with_names_of_any_kind(tmp_path, monkeypatch):
    """Names of the file, of the columns and of two labels are kept from training to the page."""
    numbers = {"nna_cd": {"value": 0.5, "floor": 0.5}}
    monkeypatch.setattr(reports, "measure", lambda _: numbers)
    monkeypatch.setattr(reports.sets, "LABELLED", 4)
    a, b, c, d, e, f = NAMES
    file = tmp_path / f"{a}.csv"
    rng = np.random.default_rng(0)
    with file.open("w", newline="", encoding="utf-8") as out:
        rows = csv.writer(out)
        rows.writerow([b, c, d, e, "kind"])
        for i in range(12):
            rows.writerows([i, *rng.normal(size=3), (e, f)[i % 2]] for _ in range(4))
    folder = tmp_path / "run"
    columns = [f"--config.data.set_column={b}", f"--config.data.columns={c},{d},{e}",
               "--config.data.label_column=kind", "--config.train.steps=1",
               "--config.evaluate.frames=2"]  # fmt: skip
    result = run(config("sets") + f":{file}", *SETS, *columns, "--config.model.labels=True",
                 f"--workdir={folder}")  # fmt: skip
    assert result.code == 0, result.err
    assert "was not written" not in result.err and "Traceback" not in result.err
    assert {file.name for file in folder.iterdir()} >= {
        "metrics.json", "sets.png", "labels.png", "birth.gif", "report.html"}  # fmt: skip
    text = (folder / "report.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    assert data["samples"]["columns"] == [c, d, e] and data["samples"]["setColumn"] == b
    assert text.count("<script") == text.count("</script>")
    with (folder / "samples.csv").open(newline="", encoding="utf-8") as written:
        first, *rest = csv.reader(written)
    assert first == [b, c, d, e, "kind"] and {row[-1] for row in rest} <= {e, f}
