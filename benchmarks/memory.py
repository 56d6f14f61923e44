"""Measure the memory of large samples, and the time of checkpoints and of resuming a run.

    python benchmarks/memory.py
    python benchmarks/memory.py --points=20000 --steps=400

memory: the peak memory of `--mode=sample` with this number of points of the main job, as counted by
the operating system. going_on: seconds from the parsed options to the first step, without the
imports before and without compilation, for an interrupted run that resumes and for a new run.
checkpoint: seconds to save a checkpoint of the
main job, as a share of the training time between two checkpoints. Words after `--` are options of
main.py. Writes benchmarks/results/memory.json.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import RESULTS, ROOT, command, machine, median_seconds, write

MAIN = f"--config={ROOT / 'configs' / 'mnist_digit.py'}"


def main_py(*flags: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, str(ROOT / "main.py"), *flags], cwd=ROOT,
                            stderr=subprocess.PIPE, encoding="utf-8")  # fmt: skip


def finish(process: subprocess.Popen) -> None:
    _, said = process.communicate()
    if process.returncode:
        raise RuntimeError(said)


def results(run: Path) -> dict:
    return json.loads((run / "metrics.json").read_text("utf-8"))


def going_on(folder: Path, flags: list[str]) -> dict:
    """Seconds from the parsed options to the first step, for a new run and for a resumed run."""
    finish(main_py(MAIN, *flags, f"--workdir={folder / 'whole'}"))
    run = folder / "stopped"
    process = main_py(MAIN, *flags, f"--workdir={run}")
    rows = run / "metrics.jsonl"
    while process.poll() is None and not (rows.exists() and rows.read_text("utf-8")):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    if process.returncode != 128 + signal.SIGTERM:
        raise RuntimeError("the run ended before it was stopped; increase --steps")
    finish(main_py(MAIN, *flags, f"--workdir={run}"))
    start = {name: results(folder / name)["seconds"]["start"] for name in ("whole", "stopped")}
    return {"new": start["whole"], "goes_on": start["stopped"],
            "seconds_more": start["stopped"] - start["whole"]}  # fmt: skip


def sampling_memory(run: Path, points: int) -> dict:
    """Peak memory of sampling `points` points, in MiB."""
    flags = [f"--workdir={run}", "--mode=sample", "--config.sample.num_sets=1",
             f"--config.sample.num_points={points}", "--config.evaluate.frames=0"]  # fmt: skip
    process = main_py(*flags)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(process.stderr.read())
    return {"points": points, "mib": used.ru_maxrss / 1024}


def checkpoint(folder: Path, flags: list[str], steps_per_second: float) -> dict:
    """Seconds to save a checkpoint of the main job, and seconds of training between two."""
    import jax

    from tiny_diffusion_jax import api
    from tiny_diffusion_jax.cli.flags import parse
    from tiny_diffusion_jax.run.checkpoints import open_checkpoints, save

    made = api.build(parse(["", MAIN, *flags]).config)
    state, saved = jax.block_until_ready(api.init(made)), open_checkpoints(folder, 1)
    step = iter(range(1, 100))
    seconds = median_seconds(lambda: save(saved, state.replace(step=state.step + next(step))))
    between = made.config.train.checkpoint_every / steps_per_second
    return {"seconds": seconds, "between": between, "share": seconds / between}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=2_000, help="training steps of the main job")
    parser.add_argument("--output", type=Path, default=RESULTS / "memory.json")
    parser.add_argument("options", nargs="*", help="options of main.py, after --")
    args = parser.parse_args(argv)
    flags = [f"--config.train.steps={args.steps}", *args.options]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        start = going_on(folder, flags)
        seconds = results(folder / "whole")["seconds"]["train"]
        memory = sampling_memory(folder / "whole", args.points)
        saving = checkpoint(folder / "saved", flags, args.steps / seconds)
    print(f"{args.points:,} points: {memory['mib']:.0f} MiB at most",
          f"a resumed run starts in {start['goes_on']:.1f} s, a new run in "
          f"{start['new']:.1f} s",
          f"a checkpoint: {1e3 * saving['seconds']:.0f} ms, {100 * saving['share']:.2f} % of the "
          f"{saving['between']:.0f} s of training between two checkpoints", sep="\n")  # fmt: skip
    found = {"memory": memory, "going_on": start, "checkpoint": saving}
    write(args.output, {"command": command(__file__, argv), "machine": machine()} | found)


if __name__ == "__main__":
    main()
