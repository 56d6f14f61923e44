"""Measure how good a single density is after how many seconds of training.

    python benchmarks/time_to_quality.py --config=mnist_digit --steps=1000,3000,7400 \\
        --settings "train.learning_rate=0.003,schedule.rho=7"

Trains the config once for each number of steps (0: of the config), with its own options and with
each of the `--settings`. The learning rate falls to 0 at the last step, so each point of a curve
is a separate run. A row has the seconds of the training (wall and CPU, with compilation), the mean
of log p_data - log p_model at real points (`nats`, with its standard error), and the sliced W2 of
the samples to the data over its floor. Writes a table and a figure of nats against CPU seconds.
"""

import argparse
import time
from pathlib import Path

from common import RESULTS, command, machine, markdown, write

SETS = 8  # sets of the sliced W2


def measure(name: str, options: dict, num_points: int) -> dict:
    """Train one config with `options` and return its row."""
    import jax
    import numpy as np

    import tiny_diffusion_jax as td
    from tiny_diffusion_jax.dataset import draw_points
    from tiny_diffusion_jax.metrics.points import compare

    experiment = td.build(name, config=options)
    wall, cpu = time.perf_counter(), time.process_time()
    state = jax.block_until_ready(td.train(experiment, progress=False))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    dataset = experiment.dataset
    points = np.asarray(draw_points(dataset, jax.random.key(77), 1, num_points))[0]
    gap = np.asarray(dataset.log_prob(points)) - td.log_prob(experiment, state, points)
    sets = td.sample(experiment, state, num_sets=SETS, num_points=num_points)
    real = np.asarray(draw_points(dataset, jax.random.key(5), 2 * SETS, num_points))
    distance = compare(sets, real[:SETS], real[SETS:], kernel_sets=1, exact_sets=1,
                       exact_points=2, num_projections=128)["sliced_wasserstein2"]  # fmt: skip
    return {"steps": experiment.config.train.steps, "wall": round(wall, 1), "cpu": round(cpu, 1),
            "nats": float(gap.mean()), "nats_se": float(gap.std() / num_points**0.5),
            "ratio": distance["ratio"], "ratio_se": distance["ratio_se"]}  # fmt: skip


def parse(settings: str) -> dict:
    """Options {"train.learning_rate": 0.003, ...} of a text "train.learning_rate=0.003,..."."""
    from tiny_diffusion_jax.options import OPTIONS

    pairs = (pair.split("=") for pair in filter(None, settings.split(",")))
    return {name: type(OPTIONS[name].default)(value) for name, value in pairs}


def plot(file: Path, title: str, rows: list[dict]) -> None:
    """Draw nats against CPU seconds, a line for each setting."""
    from matplotlib.figure import Figure

    figure = Figure((6, 4), layout="constrained")
    axes = figure.subplots()
    for settings in dict.fromkeys(row["settings"] for row in rows):
        line = [row for row in rows if row["settings"] == settings]
        axes.errorbar([r["cpu"] for r in line], [r["nats"] for r in line],
                      [r["nats_se"] for r in line], marker="o", label=settings or "as the config")
    axes.set(title=title, xlabel="CPU seconds of training, with compilation",
             ylabel="log p_data - log p_model, nats per point", yscale="log")
    axes.legend(frameon=False, fontsize="small")
    figure.savefig(file, dpi=150)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", default="mnist_digit")
    parser.add_argument("--steps", default="0", help="numbers of steps, with commas; 0: as config")
    parser.add_argument("--settings", nargs="*", default=[], help="option=value,option=value ...")
    parser.add_argument("--num_points", type=int, default=16_000)
    parser.add_argument("--output", type=Path, default=RESULTS / "time_to_quality.json")
    args = parser.parse_args(argv)
    rows: list[dict] = []
    for settings in ["", *args.settings]:
        for steps in map(int, args.steps.split(",")):
            options = parse(settings) | ({"train.steps": steps} if steps else {})
            row = {"settings": settings} | measure(args.config, options, args.num_points)
            rows.append(row)
            print(row, flush=True)
            write(args.output, {"command": command(__file__, argv), "machine": machine(),
                                "rows": rows})  # fmt: skip
    plot(args.output.with_suffix(".png"), args.config, rows)
    print(markdown(("settings", "steps", "CPU s", "nats", "sliced W2 / floor"), [
        (row["settings"], f"{row['steps']:,}", f"{row['cpu']:.0f}",
         f"{row['nats']:.3f} ± {row['nats_se']:.3f}", f"{row['ratio']:.2f}")
        for row in rows]))  # fmt: skip


if __name__ == "__main__":
    main()
