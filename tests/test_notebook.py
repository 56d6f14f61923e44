"""Check that the notebook runs from top to bottom and contains its pictures."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

NOTEBOOK = Path(__file__).resolve().parent.parent / "notebooks" / "tiny_diffusion_jax.ipynb"
EVERY_CELL = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
CELLS = [cell for cell in EVERY_CELL if cell["cell_type"] == "code"]
TEXTS = ["".join(cell["source"]) for cell in EVERY_CELL if cell["cell_type"] == "markdown"]


def test_outputs_are_kept():
    outputs = [output for cell in CELLS for output in cell["outputs"]]
    assert all(cell["execution_count"] for cell in CELLS)
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 11
    assert not any(output["output_type"] == "error" for output in outputs)
    printed = "".join(map(str, outputs))
    assert "separate sets" in printed and "docs/live.html" in printed


def test_formulas_are_latex():
    """A doubled backslash starts a new line, so a browser shows no formula."""
    formulas = [formula for text in TEXTS for formula in re.findall(r"\$+([^$]+)\$+", text)]
    assert len(formulas) >= 10
    for formula in formulas:
        assert "\\\\" not in formula and formula.count("{") == formula.count("}"), formula
    assert sum("\\" in formula for formula in formulas) >= 7


def test_exercises_check_their_answers():
    exercises = [text for text in TEXTS if re.match(r"(?:## Exercises|\d\. )", text)]
    checked = [cell for cell in CELLS if "answer = " in "".join(cell["source"])]
    assert len(exercises) == len(checked) == 4
    assert all(re.search(r"^(?:assert |np\.testing\.assert)", "".join(cell["source"]), re.MULTILINE)
               for cell in checked)  # fmt: skip


@pytest.mark.slow
def test_it_runs(tmp_path, monkeypatch):
    """Run a tenth of the training, without the shell commands for Colab."""
    monkeypatch.setenv("QUICK", "1")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.syspath_prepend(NOTEBOOK.parent.parent)
    (tmp_path / "tiny_diffusion_jax").symlink_to(NOTEBOOK.parent.parent / "tiny_diffusion_jax")
    monkeypatch.chdir(tmp_path)
    names = {}
    for cell in CELLS:
        lines = "".join(cell["source"]).splitlines()
        code = [line if line.strip()[:1] not in ("!", "%") else "    pass" for line in lines]
        exec("\n".join(code), names)
    names["plt"].close("all")
    assert names["completed"].shape == (6, 50, 2)
    np.testing.assert_allclose(names["completed"][:, :10], np.tile(names["ten"], (6, 1, 1)))
    assert names["separate_share"](names["superposed"]) == 0
    assert names["separate_share"](names["sets"]) > 0.9
    assert np.isfinite(names["learned"]).all() and names["learned"].shape == (2000, 2)
    # A heart 32 wide and about 29 high, with tolerance for a tenth of the training.
    assert 20 < np.ptp(np.quantile(names["learned"][:, 0], [0.01, 0.99])) < 45
