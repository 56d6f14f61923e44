"""Share one run of the command line between all tests and workers that only read the run."""

import fcntl
import os
import shutil
from pathlib import Path

from command_line import run

from tiny_diffusion_jax.training import loop


def shared_run(tmp_path_factory, name: str, *arguments: str) -> tuple[Path, str]:
    """(folder, log) of a run with `arguments`; the first worker of pytest-xdist makes the run."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # each worker has its own folder there
    home = base / f"shared_{name}"
    home.mkdir(exist_ok=True)
    folder, log = home / "run", home / "log.txt"
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not log.exists():
            shutil.rmtree(folder, ignore_errors=True)  # left by a worker whose run failed
            # as in a new process: the program is compiled, and the log reports the compilation
            loop._programs.clear()
            result = run(*arguments, f"--workdir={folder}")
            assert result.code == 0 and result.out == "", result
            log.write_text(result.err, "utf-8")
    return folder, log.read_text("utf-8")
