"""Check that the notebook runs from top to bottom and contains its pictures."""

import json
from pathlib import Path

import numpy as np
import pytest

NOTEBOOK = Path(__file__).resolve().parent.parent / "notebooks" / "tiny_diffusion_jax.ipynb"
CELLS = [cell for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
         if cell["cell_type"] == "code"]  # fmt: skip


def test_outputs_are_kept():
    outputs = [output for cell in CELLS for output in cell["outputs"]]
    assert all(cell["execution_count"] for cell in CELLS)
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 7
    assert not any(output["output_type"] == "error" for output in outputs)


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
    assert np.isfinite(names["learned"]).all() and names["learned"].shape == (2000, 2)
    # A heart 32 wide and about 29 high, with tolerance for a tenth of the training.
    assert 20 < np.ptp(np.quantile(names["learned"][:, 0], [0.01, 0.99])) < 45
