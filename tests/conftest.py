"""A quick compiler for all tests, and one cache of its programs, also for processes they start.

Nearly every program here runs for a moment and is compiled for seconds: less optimised code is
several times as fast to make. The workers of pytest-xdist take all of it over from the process
that starts them.
"""

import gc
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter

import pytest

# Read once, by jax when it is imported and by XLA when it first compiles.
QUICK = {
    "xla_backend_optimization_level": "0",
    "xla_llvm_disable_expensive_passes": "true",
    "xla_cpu_use_fusion_emitters": "false",
    "xla_cpu_parallel_codegen_split_count": "1",
    "xla_cpu_multi_thread_eigen": "false",  # each worker keeps to its own core
}


def accepted(flags: str) -> bool:
    """Whether this version of XLA knows all of `flags`; the process would abort if not."""
    probe = "from jaxlib import xla_client; xla_client.CompileOptions().executable_build_options"
    command = [sys.executable, "-c", f"{probe}.debug_options"]
    environment = os.environ | {"XLA_FLAGS": flags}
    return subprocess.run(command, env=environment, capture_output=True).returncode == 0


def pytest_collection_finish():
    """All that is imported by now stays: the collector need not look at it again and again.

    Nor often at what jax makes as it traces, which is much and of which little is garbage.
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


# A shell starts what it runs in the background with Ctrl-C ignored, and so would be every process
# that tests start and interrupt.
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
    """(folder, what was logged) of a whole run of the tiny moons, for all who only look at it."""
    from command_line import MOONS, run  # these import jax, which reads the environment once

    from tiny_diffusion_jax.training import loop

    folder = tmp_path_factory.mktemp("finished") / "run"
    loop._program.cache_clear()  # as in a new process: it is compiled, and says so
    result = run(*MOONS, f"--workdir={folder}")
    assert result.code == 0 and result.out == "", result
    return folder, result.err
