"""Measure latency: the parts of the main job, and the first and second call of functions.

    python benchmarks/latency.py
    python benchmarks/latency.py --other=../before --pairs=3      # in turn with another version

Each run is a separate process with an empty compilation cache. `--other` is the root folder of
another version of this repository. Then both versions run in turn, and the ratios ours / other are
computed for each pair. Words after `--` are options of main.py. Writes
benchmarks/results/latency.json.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import RESULTS, ROOT, command, machine, write

CALLS = """
import json, sys, time
sys.path.insert(0, ".")
import numpy as np
import tiny_diffusion_jax as td

config = td.default_config()
config.data.name, config.train.steps, config.train.block = "moons", 2, 1
config.train.warmup = 0
config.sample.num_points = int(sys.argv[1])
experiment = td.build(config)
params = td.train(experiment, progress=False).ema
points = np.zeros((config.sample.num_points, 2), np.float32)
seconds = {}
for name, call in (("sample", lambda: td.sample(experiment, params)),
                   ("log_prob", lambda: td.log_prob(experiment, params, points, 16))):
    for number in ("first", "second"):
        start = time.perf_counter()
        call()
        seconds[f"{number} td.{name}"] = round(time.perf_counter() - start, 3)
print(json.dumps(seconds))
"""


def main_job(root: Path, options: list[str]) -> dict:
    """Wall seconds of the main job in the repository at `root`, in total and for each part."""
    with tempfile.TemporaryDirectory() as folder:
        flags = ["--config=configs/mnist_digit.py", f"--workdir={folder}/run",
                 f"--config.compilation_cache={folder}/cache", *options]  # fmt: skip
        start = time.perf_counter()
        subprocess.run([sys.executable, "main.py", *flags], cwd=root, check=True,
                       stderr=subprocess.DEVNULL)  # fmt: skip
        whole = time.perf_counter() - start
        parts = json.loads(Path(folder, "run/metrics.json").read_text("utf-8"))["seconds"]
    measured = parts["evaluate"] + parts["pictures"]
    return {"whole": round(whole, 2)} | parts | {"evaluate + pictures": round(measured, 2)}


def calls(root: Path, num_points: int) -> dict:
    """Seconds of the first and second td.sample and td.log_prob with sets of `num_points`."""
    words = [sys.executable, "-c", CALLS, str(num_points)]
    done = subprocess.run(words, cwd=root, check=True, encoding="utf-8", stdout=subprocess.PIPE)
    return json.loads(done.stdout.splitlines()[-1])


def summary(rows: list[dict]) -> dict:
    """Medians of the times of both versions, and of the ratios of the pairs."""
    median = statistics.median
    result = {name: {key: round(median(row[name][key] for row in rows), 3)
                     for key in rows[0][name]} for name in rows[0]}  # fmt: skip
    if "other" in result:
        shared = [key for key in result["ours"] if key in result["other"]]
        result["ratio"] = {
            key: round(median(r["ours"][key] / max(r["other"][key], 1e-3) for r in rows), 3)
            for key in shared
        }
    return result


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--other", type=Path, help="root folder of another version")
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--num_points", type=int, default=4_000, help="points per set in the calls")
    parser.add_argument("--output", type=Path, default=RESULTS / "latency.json")
    parser.add_argument("options", nargs="*", help="options of main.py, after --")
    args = parser.parse_args(argv)
    roots = {"ours": ROOT} | ({"other": args.other.resolve()} if args.other else {})
    runs, seconds = [], []
    for _ in range(args.pairs):
        runs.append({name: main_job(root, args.options) for name, root in roots.items()})
        seconds.append({name: calls(root, args.num_points) for name, root in roots.items()})
        print(json.dumps(runs[-1] | {"calls": seconds[-1]}), flush=True)
    result = {"command": command(__file__, argv), "machine": machine(),
              "main_job": summary(runs), "calls": summary(seconds), "pairs": runs}
    print(json.dumps(result["main_job"], indent=1), json.dumps(result["calls"], indent=1))
    write(args.output, result)


if __name__ == "__main__":
    main()
