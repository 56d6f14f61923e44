"""Fixtures of all benchmarks: small sizes, and runs that are trained once."""

import contextlib
from functools import partial

import common
import golden
import latency
import one_process
import pytest
import quality
import samplers
import speed
import transformer
from benchmark_files import FEW

from tiny_diffusion_jax.cli import commands
from tiny_diffusion_jax.metrics import separation


@contextlib.contextmanager
def shrunk():
    """Shrink what no option shrinks: processes, networks, matrices and draws of real sets."""
    def matmul_rate(rows, inner, length):
        return common.matmul_rate(min(rows, 32), min(inner, 32), min(length, 10))

    few_real = partial(separation.calibrate, num_reference=128, num_stray=128)
    with pytest.MonkeyPatch.context() as patch:
        for module in (common, golden, speed, latency):
            patch.setattr(module, "subprocess", one_process)
        for module in (speed, transformer):
            patch.setattr(module, "matmul_rate", matmul_rate)
        for module, sizes in ((speed, {"HIDDEN": 16, "FEATURES": 16}), (transformer, {"HIDDEN": 8}),
                              (samplers, {"STEPS": dict.fromkeys(samplers.STEPS, (10, 1000))})):
            for name, size in sizes.items():
                patch.setattr(module, name, size)
        patch.setattr(separation, "calibrate", few_real)
        # benchmarks do not read the pictures and pages of their runs
        patch.setattr(commands.reports, "_is_written", lambda *_: True)
        yield


@pytest.fixture(autouse=True, scope="module")
def small():
    with shrunk():
        yield


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Folder of the tiny runs that `quality` trained, next to its results."""
    folder = tmp_path_factory.mktemp("quality")
    with shrunk():  # the fixture of the module starts later
        quality.main(["--members=moons+circle", "--models=history", f"--runs={folder}",
                      f"--output={folder / 'quality.json'}", "--", *FEW,
                      f"--config.data.cache_dir={folder}"])  # fmt: skip
    return folder
