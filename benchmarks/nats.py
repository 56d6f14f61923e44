"""Measure the log-likelihood that a model misses on each analytic shape: nats to the truth.

    python benchmarks/nats.py                          # 24,000 steps each: 40 min on one CPU core
    python benchmarks/nats.py --steps=60000 -- --config.train.references=0     # other settings

Trains `--config=moons:SHAPE` for each number of steps. The log density of each shape is known
exactly (data/shapes.py), so the missing nats are E [log p(x) - log q(x)], the KL divergence. They
are measured on --points new points; q comes from the probability flow ODE. `outside` is the share
of generated points where p = 0, for shapes with a bounded support. `seconds` are CPU seconds of
training, with compilation. Words after `--` are options of main.py.

Prints a table and writes benchmarks/results/nats.json after each shape, which keeps other rows.
"""

import argparse
import time
from pathlib import Path

import jax
import numpy as np
from common import RESULTS, command, machine, markdown, stored, write

import tiny_diffusion_jax as td
from tiny_diffusion_jax.cli.flags import parse
from tiny_diffusion_jax.data.shapes import SHAPES

KEY = 123  # of the scored points, which no training uses


def missing_nats(experiment: td.Experiment, params, num_points: int):
    """Return new points f32[n, D] of the data, and log p(x) - log q(x) of each, f64[n]."""
    dataset, num_steps = experiment.dataset, experiment.config.evaluate.likelihood_steps
    points = dataset.draw(jax.random.key(KEY), 1, num_points).points[0]
    log_q = td.log_prob(experiment, params, points, num_steps)
    return points, np.asarray(dataset.log_prob(points), np.float64) - log_q


def measure(flags: list[str], num_points: int) -> dict:
    """Train a model of a shape; return the missing nats, and the share of points outside."""
    experiment = td.build(parse(["main.py", *flags]).config)
    began = time.process_time()
    params = td.train(experiment).sampled
    seconds = time.process_time() - began
    missing = missing_nats(experiment, params, num_points)[1]
    drawn = td.sample(experiment, params, num_sets=1, num_points=num_points)[0]
    outside = np.isneginf(np.asarray(experiment.dataset.log_prob(drawn)))
    return {
        "nats": missing.mean(), "nats_se": missing.std() / len(missing) ** 0.5,
        "outside": outside.mean(), "seconds": seconds, "num_points": num_points,
        "command": " ".join(["python main.py", *flags]), "machine": machine(),
    }  # fmt: skip


def table(results: dict[str, dict[str, dict]]) -> str:
    """Format {shape: {steps: row}} as a Markdown table."""
    lines = []
    for shape, rows in results.items():
        for steps, row in rows.items():
            outside = f"{100 * row['outside']:.2f} %" if row["outside"] else ""
            lines.append((shape, f"{int(steps):,}", f"{row['nats']:.4f} ± {row['nats_se']:.4f}",
                          outside, f"{row['seconds']:.0f} s"))  # fmt: skip
    return markdown(("shape", "steps", "nats to the truth", "outside", "training"), lines)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shapes", default=",".join(SHAPES), help="separated by commas")
    parser.add_argument("--steps", default="24000", help="training steps, separated by commas")
    parser.add_argument("--points", type=int, default=20_000, help="scored and generated points")
    parser.add_argument("--output", type=Path, default=RESULTS / "nats.json")
    parser.add_argument("options", nargs="*", help="options of main.py, after --")
    args = parser.parse_args(argv)
    results = stored(args.output, "results")
    for steps in args.steps.split(","):
        for shape in args.shapes.split(","):
            flags = [f"--config=configs/moons.py:{shape}", f"--config.train.steps={steps}"]
            row = measure([*flags, *args.options], args.points)
            results.setdefault(shape, {})[steps] = row
            write(args.output, {"command": command(__file__, argv), "results": results})
    print(table(results))


if __name__ == "__main__":
    main()
