"""Check that six small runs still give the same numbers, bit for bit.

    python benchmarks/golden.py --record     # before a change that should change no number
    python benchmarks/golden.py              # afterwards: print what differs, exit with 1 if any

Each run is a whole command (train, sample, evaluate) of a few hundred steps. Samples are compared
by their hash, losses and metrics number by number. The numbers depend on the processor and on the
version of jax, so the record stays on the machine that made it (runs/golden/golden.json).
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from common import ROOT, write

FEW = [
    "--config.evaluate.gifs=False", "--config.evaluate.likelihood_sets=4",
    "--config.train.block=50", "--config.evaluate.density_size=32",
    "--config.evaluate.likelihood_steps=8", "--config.evaluate.set_likelihood_steps=8",
]  # fmt: skip
SETS = [
    "--config.train.steps=100", "--config.sample.num_sets=64", "--config.sample.num_points=48",
    "--config.sample.num_steps=10",
]  # fmt: skip
MIXTURE = "--config=configs/mixture.py:dino+moons"
RUNS = {
    "shape": ["--config=configs/moons.py:dino", "--config.train.steps=300", *FEW],
    "digit": ["--config=configs/mnist_digit.py:3", "--config.data.source=digits",
              "--config.train.steps=300", *FEW],
    "joint": [MIXTURE, *SETS, *FEW],
    "causal": [MIXTURE, "--config.model.name=causal", "--config.model.labels=True", *SETS, *FEW],
    "observed": ["--config=configs/sets.py:examples/sets.csv", "--config.train.steps=100",
                 "--config.sample.num_sets=40", "--config.sample.num_steps=10", *FEW],
    "released": ["--pretrained=dino+moons", "--mode=sample", "--config.sample.num_sets=20"],
}  # fmt: skip


def numbers(folder: Path) -> dict:
    """Hashes of the samples, the losses and the metrics of a finished run, {name: value}."""
    result = {}
    for file in sorted(folder.glob("samples.np*")):
        arrays = np.load(file)
        arrays = {"samples": arrays} if isinstance(arrays, np.ndarray) else dict(arrays)
        for name, array in arrays.items():
            digest = hashlib.sha256(array.tobytes()).hexdigest()[:16]
            result[f"{name} {array.dtype} {array.shape}"] = digest
    if (folder / "metrics.json").exists():
        metrics = json.loads((folder / "metrics.json").read_text("utf-8"))["metrics"]
        for metric, entry in metrics.items():
            result |= {f"{metric}.{field}": value for field, value in entry.items()}
    if (folder / "metrics.jsonl").exists():
        for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines():
            row = json.loads(line)
            result[f"loss {row['step']}"] = row["loss"]
    return result


def run(name: str, folder: Path, options: list[str]) -> dict:
    """The numbers of the run `name`, made anew in `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "main.py", *RUNS[name], *options, f"--workdir={folder}"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return numbers(folder)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--record", action="store_true", help="keep the numbers of this version")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "golden")
    parser.add_argument("--only", default=",".join(RUNS), help="names of runs, commas between")
    parser.add_argument("options", nargs="*", help="of main.py, after --")
    args = parser.parse_args(argv)
    args.runs.mkdir(parents=True, exist_ok=True)
    file = args.runs / "golden.json"
    result = {name: run(name, args.runs / name, args.options) for name in args.only.split(",")}
    if args.record:
        write(file, result)
        return 0
    recorded, num_changed = json.loads(file.read_text("utf-8")), 0
    for name, new in result.items():
        old = recorded[name]
        for field in sorted(old.keys() | new.keys()):
            if old.get(field) != new.get(field):
                num_changed += 1
                print(f"{name}: {field}: {old.get(field)} -> {new.get(field)}")
    print(f"{num_changed} numbers differ")
    return int(num_changed > 0)


if __name__ == "__main__":
    sys.exit(main())
