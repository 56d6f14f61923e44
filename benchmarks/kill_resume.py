"""Kill a run at random moments, and count how often it resumes with exactly the same results.

    python benchmarks/kill_resume.py
    python benchmarks/kill_resume.py --quick      # few kills of a short run

The reference run is trained without interruption. The same run, in another folder, is killed by
SIGKILL at a random time after its first step and started again, many times. It saves a checkpoint
after every block of ten steps, so many kills happen while a checkpoint is written. After each kill
all checkpoints must be intact. The last checkpoint, and all rows of metrics.jsonl up to it, must
equal the reference run bit for bit. A kill counts as survived if this is also true after the run
has resumed. Words after `--` are options of main.py. Writes benchmarks/results/kill_resume.json.
"""

import argparse
import multiprocessing
import os
import random
import shutil
import signal
import tempfile
import time
from pathlib import Path

import numpy as np
from common import RESULTS, ROOT, command, machine, write

from tiny_diffusion_jax.cli import main as cli
from tiny_diffusion_jax.run.checkpoints import Checkpoints
from tiny_diffusion_jax.run.train_log import read_rows

RUN = [f"--config={ROOT / 'configs' / 'moons.py'}", *(f"--config.{option}" for option in (
    "data.name=circle", "train.block=10", "train.checkpoint_every=10", "train.num_sets=8",
    "model.hidden_dim=16", "model.num_blocks=1"))]  # fmt: skip
SOME = ("loss", "grad_norm", "loss_by_time")  # fields of a row that do not depend on timing
# New processes are forked from one that has imported all modules, so a start takes a second, not
# four.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tiny_diffusion_jax.cli.commands"])


def train(flags: list[str]) -> None:
    """Run `python main.py FLAGS` to the end of training (target of a child process)."""
    from tiny_diffusion_jax.cli import commands

    commands.reports.evaluate_run = lambda *_: None
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    cli.main(["main.py", *flags])


def start(folder: Path, flags: list[str]):
    process = PROCESSES.Process(target=train, args=([*flags, f"--workdir={folder}"],))
    process.start()
    return process


def finish(process) -> None:
    process.join()
    if process.exitcode:
        raise RuntimeError(f"main.py failed: exit code {process.exitcode}")


def rows(folder: Path) -> dict:
    """Return {step: fields of the block that ends at this step, without times}."""
    found = read_rows(folder / "metrics.jsonl")
    return {row["step"]: [row[name] for name in SOME] for row in found}


def wait_to_train(process, folder: Path) -> None:
    """Wait until metrics.jsonl has a new row, or the process has ended."""
    before = len(rows(folder))
    while process.is_alive() and len(rows(folder)) <= before:
        time.sleep(0.005)


def check(folder: Path, whole: Path) -> dict:
    """Last step of the run in `folder`, and whether it equals the uninterrupted run up to there."""
    ours = Checkpoints(folder / "checkpoints", None)
    theirs, loaded = Checkpoints(whole / "checkpoints", None), [ours.load(s) for s in ours.steps()]
    if not loaded:  # killed before its first checkpoint
        return {"step": 0, "exact": True}
    step, state = ours.steps()[-1], loaded[-1]
    expected, rows_expected, found = theirs.load(step), rows(whole), rows(folder)
    exact = (
        all(arrays is not None for arrays in loaded)
        and all(np.array_equal(state[name], expected[name]) for name in expected)
        and all(found[s] == rows_expected[s] for s in rows_expected if s <= step)
    )
    return {"step": step, "exact": bool(exact)}


def killed_run(folder: Path, whole: Path, flags: list[str], kills: int, most: float, rng) -> list:
    """Train a run in `folder` with at most `kills` kills; return a dictionary for each kill."""
    found = []
    for _ in range(kills):
        process, seconds = start(folder, flags), rng.uniform(0, most)
        wait_to_train(process, folder)
        process.join(seconds)
        process.kill()
        process.join()
        if process.exitcode != -signal.SIGKILL:  # the run has ended or failed
            break
        found.append({"after": round(seconds, 3), "left": check(folder, whole)})
    else:
        process = start(folder, flags)
    finish(process)
    checks = [each["left"] for each in found] + [check(folder, whole)]
    return [each | {"went_on": after} for each, after in zip(found, checks[1:], strict=True)]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--steps", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0, help="seed of the random moments")
    parser.add_argument("--quick", action="store_true", help="5 kills in 100 steps")
    parser.add_argument("--output", type=Path, default=RESULTS / "kill_resume.json")
    parser.add_argument("options", nargs="*", help="options of main.py, after --")
    args = parser.parse_args(argv)
    kills, steps = (5, 100) if args.quick else (args.kills, args.steps)
    flags, found = [*RUN, f"--config.train.steps={steps}", *args.options], []
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder, "whole")
        process = start(whole, [*flags, f"--config.train.keep={steps}"])
        wait_to_train(process, whole)
        began = time.perf_counter()
        finish(process)
        # A kill comes after most / 2 on average, so the run is usually killed before its end.
        most = (time.perf_counter() - began) / kills
        while len(found) < kills:  # start a new run if this one ended before its last kill
            here = Path(folder, "killed")
            found += killed_run(here, whole, flags, kills - len(found), most, rng)
            shutil.rmtree(here)
    exact = sum(each["left"]["exact"] and each["went_on"]["exact"] for each in found)
    print(f"{exact} of {kills} kills: the run resumed with exactly the same results")
    write(args.output, {"command": command(__file__, argv), "machine": machine(),
                        "seed": args.seed, "steps": steps, "kills": kills, "exact": exact,
                        "each": found})  # fmt: skip


if __name__ == "__main__":
    main()
