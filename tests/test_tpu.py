"""Programs compile for a TPU on a machine without one. Slow, and needs `pip install "jax[tpu]"`."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest
from command_line import ROOT

TPU = ROOT / "benchmarks" / "tpu.py"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")
@pytest.mark.parametrize("chips, programs, models", [
    (1, "train,sample,log_prob,metric", "fourier_mlp"), (4, "train,sample", "fourier_mlp"),
])  # fmt: skip
def test_programs_compile_for_a_tpu(tmp_path, chips, programs, models):
    # Start a separate process without the XLA_FLAGS of this process, which libtpu does not accept.
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    done = subprocess.run(
        [sys.executable, str(TPU), f"--programs={programs}", f"--models={models}",
         f"--chips={chips}", f"--output={tmp_path / 'tpu.json'}"],
        capture_output=True, encoding="utf-8", env=environment)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads((tmp_path / "tpu.json").read_text("utf-8"))["rows"]
    assert {name.split()[0] for name in rows} == set(programs.split(","))
    assert all(row["gflop"] > 0 and row["argument_mb"] > 0 for row in rows.values())
    assert all(line in done.stdout for line in rows)
