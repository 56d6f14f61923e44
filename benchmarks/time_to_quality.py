"""Measure how good a single density is after how many seconds of training.

    python benchmarks/time_to_quality.py --config=mnist_digit --steps=1000,3000,7400 \\
        --settings "train.learning_rate=0.003,schedule.rho=7" --epochs=10,50,200

Trains the config once for each number of steps (0: of the config), with its own options and with
each of the `--settings`; `--options` hold for all of them. The learning rate falls to 0 at the last
step, so each point of a curve is a separate run. A row has the seconds of the training (wall and
CPU, with compilation), the mean of log p_data - log p_model at real points (`nats`, with its
standard error), and the sliced W2 of the samples to the data over its floor.

With `--epochs`, a plain PyTorch loop of the kind of tiny-diffusion is trained on 8,000 points, and
measured after these epochs: the network, levels, batch and optimizer of benchmarks/pytorch.py. Its
weights are copied into `fourier_mlp`, whose ancestral sampler visits all 50 levels. Writes a table
and a figure of nats against CPU seconds. Several configs go to one file with `--append`.
"""

import argparse
import json
import time
from pathlib import Path

from common import RESULTS, command, machine, markdown, write

SETS = 8  # sets of the sliced W2
PYTORCH = "PyTorch, as tiny-diffusion"


def as_pytorch() -> dict:
    """Options with the network, the levels and the sampler of benchmarks/pytorch.py."""
    from pytorch import FEATURES, HIDDEN, T

    return {
        "model.name": "fourier_mlp", "model.embedding": "sinusoidal", "model.fade": False,
        "model.num_frequencies": FEATURES // 2, "model.scale": 25.0, "model.max_period": 1e4,
        "model.time_frequencies": FEATURES // 2, "model.time_scale": float(T),
        "model.hidden_dim": HIDDEN, "model.num_blocks": 3,
        "schedule.name": "linear", "schedule.num_levels": T, "schedule.beta_min": 1e-4,
        "schedule.beta_max": 0.02, "diffusion.prediction": "eps",
        "sample.sampler": "ancestral", "sample.num_steps": T,
    }  # fmt: skip


def measure(name: str, options: dict, num_points: int) -> dict:
    """Train one config with `options` and return its row."""
    import jax

    import tiny_diffusion_jax as td

    experiment = td.build(name, config=options)
    wall, cpu = time.perf_counter(), time.process_time()
    state = jax.block_until_ready(td.train(experiment, progress=False))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"steps": experiment.config.train.steps, "wall": round(wall, 1), "cpu": round(cpu, 1),
            **quality(experiment, state, num_points)}  # fmt: skip


def measure_pytorch(name: str, options: dict, num_points: int, epochs: list[int]) -> list[dict]:
    """Train the PyTorch loop on the data of one config, and return a row for each of `epochs`."""
    import jax
    import numpy as np
    import pytorch

    import tiny_diffusion_jax as td
    from tiny_diffusion_jax.dataset import draw_points

    experiment = td.build(name, config=options | as_pytorch())
    data = experiment.dataset
    points = data.normalize(draw_points(data, jax.random.key(1), 1, pytorch.NUM_DATA))[0]
    rows = []
    for epoch, wall, cpu, params in pytorch.train(np.array(points), epochs):
        row = {"steps": epoch * len(points) // pytorch.BATCH, "epochs": epoch}
        row |= {"wall": round(wall, 1), "cpu": round(cpu, 1)}
        rows.append(row | quality(experiment, params, num_points))
    return rows


def quality(experiment, weights, num_points: int) -> dict:
    """Missing nats and sliced W2 over its floor of a trained model, with standard errors."""
    import jax
    import numpy as np

    import tiny_diffusion_jax as td
    from tiny_diffusion_jax.dataset import draw_points
    from tiny_diffusion_jax.metrics.points import compare

    dataset = experiment.dataset
    points = np.asarray(draw_points(dataset, jax.random.key(77), 1, num_points))[0]
    log_p = td.log_prob(experiment, weights, points + np.asarray(dataset.origin or 0.0))
    gap = np.asarray(dataset.log_prob(points)) - log_p
    sets = td.sample(experiment, weights, num_sets=SETS, num_points=num_points)
    sets = sets - np.asarray(dataset.origin or 0.0)
    real = np.asarray(draw_points(dataset, jax.random.key(5), 2 * SETS, num_points))
    distance = compare(sets, real[:SETS], real[SETS:], kernel_sets=1, exact_sets=1,
                       exact_points=2, num_projections=128)["sliced_wasserstein2"]  # fmt: skip
    return {"nats": float(gap.mean()), "nats_se": float(gap.std() / num_points**0.5),
            "ratio": distance["ratio"], "ratio_se": distance["ratio_se"]}  # fmt: skip


def parse(settings: str) -> dict:
    """Options {"train.learning_rate": 0.003, ...} of a text "train.learning_rate=0.003,..."."""
    from tiny_diffusion_jax.cli.flags import PARSERS
    from tiny_diffusion_jax.options import OPTIONS

    pairs = (pair.split("=", 1) for pair in filter(None, settings.split(",")))
    return {name: PARSERS[type(OPTIONS[name].default)].parse(value) for name, value in pairs}


def plot(file: Path, rows: list[dict]) -> None:
    """Draw nats against CPU seconds: a panel for each density, a line for each setting."""
    from matplotlib.figure import Figure

    titles = list(dict.fromkeys(row["data"] for row in rows))
    figure = Figure((3.6 * len(titles) + 0.8, 3.6), layout="constrained")
    for axes, title in zip(figure.subplots(1, len(titles), squeeze=False)[0], titles, strict=True):
        of_title = [row for row in rows if row["data"] == title]
        for settings in dict.fromkeys(row["settings"] for row in of_title):
            line = [row for row in of_title if row["settings"] == settings]
            axes.errorbar([r["cpu"] for r in line], [r["nats"] for r in line],
                          [r["nats_se"] for r in line], marker="o",
                          label=settings or "this library")  # fmt: skip
        axes.set(title=title, xscale="log", yscale="log",
                 xlabel="CPU seconds of training, with compilation")  # fmt: skip
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter("{x:g}")
            axis.get_minor_locator().set_params(subs=(2, 5))
        axes.legend(frameon=False, fontsize="small")
    figure.axes[0].set_ylabel("log p_data - log p_model, nats per point")
    figure.savefig(file, dpi=150)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", default="mnist_digit")
    parser.add_argument("--options", default="", help="option=value,option=value of all rows")
    parser.add_argument("--steps", default="0", help="numbers of steps, with commas; 0: as config")
    parser.add_argument("--settings", nargs="*", default=[], help="option=value,option=value ...")
    parser.add_argument("--epochs", default="", help="epochs of the PyTorch loop, with commas")
    parser.add_argument("--num_points", type=int, default=16_000)
    parser.add_argument("--title", default="", help="name of the density; default: the config")
    parser.add_argument("--append", action="store_true", help="keep the other rows of --output")
    parser.add_argument("--output", type=Path, default=RESULTS / "time_to_quality.json")
    args = parser.parse_args(argv)
    result = {"command": command(__file__, argv), "machine": machine(), "rows": []}
    if args.append and args.output.exists():
        before = json.loads(args.output.read_text("utf-8"))
        result["command"] = f"{before['command']} && {result['command']}"
        result["rows"] = before["rows"]
    rows, title = result["rows"], args.title or args.config

    def add(settings: str, row: dict) -> None:
        rows.append({"data": title, "settings": settings} | row)
        print(rows[-1], flush=True)
        write(args.output, result)

    for settings in ["", *args.settings]:
        for steps in map(int, args.steps.split(",")):
            options = parse(args.options) | parse(settings)
            options |= {"train.steps": steps} if steps else {}
            add(settings, measure(args.config, options, args.num_points))
    if epochs := [int(epoch) for epoch in args.epochs.split(",") if epoch]:
        for row in measure_pytorch(args.config, parse(args.options), args.num_points, epochs):
            add(PYTORCH, row)
    plot(args.output.with_suffix(".png"), rows)
    print(markdown(("data", "settings", "steps", "CPU s", "nats", "sliced W2 / floor"), [
        (row["data"], row["settings"], f"{row['steps']:,}", f"{row['cpu']:.0f}",
         f"{row['nats']:.3f} ± {row['nats_se']:.3f}", f"{row['ratio']:.2f}")
        for row in rows]))  # fmt: skip


if __name__ == "__main__":
    main()
