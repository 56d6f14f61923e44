"""Compare quality and time of autoregressive generation for several growths of its blocks.

    python benchmarks/growth.py --workdir=runs/mixture_dino+moons_history
    python benchmarks/growth.py --workdir=runs/A,runs/B --growths=1.5 --repeats=6

Draws sets from trained runs of `history` or `causal` with several growths. All runs and growths are
timed in turn, --repeats times after a call that compiles. CPU seconds are summed over all cores.
Prints a table with medians, and writes benchmarks/results/growth.json.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import jax
from common import RESULTS, ROOT, command, machine, markdown, write

import tiny_diffusion_jax as td
from tiny_diffusion_jax.config import editable
from tiny_diffusion_jax.dataset import draw_points
from tiny_diffusion_jax.metrics import separation
from tiny_diffusion_jax.sets.autoregressive import block_sizes

GROWTHS = (1.0, 1.25, 1.5, 2.0, 4.0)


def measure(
    folders: Sequence[Path], growths: Sequence[float], num_sets: int, repeats: int
) -> tuple[list[dict], dict]:
    """Return a row for each run and growth, and the separation and stray points of real sets."""
    runs = [td.load(folder) for folder in folders]
    dataset, num_points = runs[0][0].dataset, runs[0][0].config.sample.num_points
    calibration = separation.calibrate(dataset, jax.random.key(3), num_points)

    def summary(sets) -> dict:
        found = separation.summarize(separation.separate(calibration, sets), dataset.weights)
        return {name: found[name] for name in ("separation", "separation_se", "stray", "stray_se")}

    cases = []
    for folder, (experiment, params) in zip(folders, runs, strict=True):
        for growth in growths:
            config = editable(experiment.config.sample)
            config.update(num_sets=num_sets, growth=growth)
            row = {"run": folder.name, "growth": growth, "num_sets": num_sets,
                   "blocks": len(block_sizes(config, num_points)[1])}  # fmt: skip
            cases.append((row, experiment, params, config))
    for repeat in range(repeats + 1):
        for row, *arguments in cases:
            start, cpu_start = time.perf_counter(), time.process_time()
            sets = td.sample(*arguments)
            seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
            if repeat == 0:
                row |= summary(sets) | {"seconds": [], "cpu_seconds": []}
            else:
                row["seconds"].append(seconds)
                row["cpu_seconds"].append(cpu_seconds)
    real = summary(draw_points(dataset, jax.random.key(5), num_sets, num_points))
    return [row for row, *_ in cases], real


def table(rows: list[dict], real: dict) -> str:
    """Format the rows, and the real sets, as a Markdown table."""
    quality = lambda row: (f"{100 * row['separation']:.1f} %",
                           f"{100 * row['stray']:.2f} % ± {100 * row['stray_se']:.2f}")  # fmt: skip
    return markdown(
        ("run", "g", "blocks", "separate sets", "stray points", "seconds", "CPU seconds"),
        [(row["run"], f"{row['growth']:g}", str(row["blocks"]), *quality(row),
          f"{median(row['seconds']):.2f}", f"{median(row['cpu_seconds']):.2f}") for row in rows]
        + [("real sets", "", "", *quality(real), "", "")],
    )  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workdir", default=str(ROOT / "runs/mixture_dino+moons_history"),
                        help="run folders, separated by commas")  # fmt: skip
    parser.add_argument("--growths", default=",".join(map(str, GROWTHS)))
    parser.add_argument("--num_sets", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=1, help="timed draws, at least 1")
    parser.add_argument("--output", type=Path, default=RESULTS / "growth.json")
    args = parser.parse_args(argv)
    folders = [Path(folder) for folder in args.workdir.split(",")]
    growths = [float(growth) for growth in args.growths.split(",")]
    rows, real = measure(folders, growths, args.num_sets, args.repeats)
    write(args.output, {"command": command(__file__, argv), "machine": machine(), "rows": rows,
                        "real": real})  # fmt: skip
    print(table(rows, real))


if __name__ == "__main__":
    main()
