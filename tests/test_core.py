"""Check that the core works without the application, and without its dependencies."""

import subprocess
import sys

import pytest
from command_line import ROOT

APPLICATION = {"api", "checks", "cli", "config", "data", "figures", "metrics", "recipes", "report",
               "run", "web"}  # fmt: skip
DEPENDENCIES = {"jinja2", "matplotlib", "ml_collections", "pandas", "tqdm"}


@pytest.mark.parametrize("module", [
    "sets",
    "training.loop",
])  # fmt: skip
def test_the_core_imports_nothing_of_the_application(module):
    code = f"import sys, tiny_diffusion_jax.{module}; print(*sys.modules, sep='\\n')"
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    forbidden = DEPENDENCIES | {f"tiny_diffusion_jax.{name}" for name in APPLICATION}
    assert not forbidden & set(process.stdout.split())
