"""Configure a quick compiler and a shared compilation cache for all tests and their processes.

Nearly every program here runs for a moment and is compiled for seconds. Less optimised code
compiles several times as fast. The workers of pytest-xdist inherit these settings from the process
that starts them.
"""

import gc
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter

import pytest

# jax reads these variables when it is imported, XLA when it first compiles.
QUICK = {
    "xla_backend_optimization_level": "0",
    "xla_llvm_disable_expensive_passes": "true",
    "xla_cpu_use_fusion_emitters": "false",
    "xla_cpu_parallel_codegen_split_count": "1",
    "xla_cpu_multi_thread_eigen": "false",  # one core per worker
}


def accepted(flags: str) -> bool:
    """Whether this version of XLA accepts all of `flags`; unknown flags abort the process."""
    probe = "from jaxlib import xla_client; xla_client.CompileOptions().executable_build_options"
    command = [sys.executable, "-c", f"{probe}.debug_options"]
    environment = os.environ | {"XLA_FLAGS": flags}
    return subprocess.run(command, env=environment, capture_output=True).returncode == 0


def pytest_collection_finish():
    """Freeze all imported objects, so that the garbage collector does not scan them repeatedly.

    Tracing in jax creates many objects and little garbage, so the collector also runs less often.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def pytest_terminal_summary(terminalreporter):
    """Print why tests were skipped: a line for each reason."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
    for reason, count in reasons.items():
        terminalreporter.line(f"{count} skipped: {reason}")


# A shell starts background jobs with Ctrl-C ignored. Processes that the tests start and interrupt
# would inherit this, so restore the default handler.
signal.signal(signal.SIGINT, signal.default_int_handler)

if "PYTEST_XDIST_WORKER" not in os.environ:
    CACHE = tempfile.TemporaryDirectory(prefix="xla_")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", CACHE.name)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # workers cannot share an accelerator
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if "XLA_FLAGS" not in os.environ:
        flags = [f"--{name}={value}" for name, value in QUICK.items()]
        if not accepted(" ".join(flags)):
            flags = [flag for flag in flags if accepted(flag)]
        os.environ["XLA_FLAGS"] = " ".join(flags)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """(folder, log) of a complete run on tiny moons, shared by all tests that only read the run."""
    # these modules import jax, which reads the environment only once
    from command_line import MOONS
    from shared_runs import shared_run

    return shared_run(tmp_path_factory, "moons", *MOONS)


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of the folder of a complete run, for tests that change the folder."""
    return shutil.copytree(finished[0], tmp_path / "run")
