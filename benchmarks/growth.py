"""Compare quality and time of autoregressive generation for several growths of its blocks.

    python benchmarks/growth.py --workdir=runs/mixture_dino+moons_history

Draws sets from a trained run of `history` or `causal` with several growths. The times are from a
second call, so they contain no compilation. CPU seconds are summed over all cores.
Writes benchmarks/results/growth.json and growth.png.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from common import RESULTS, ROOT, command, machine, write

GROWTHS = (1.0, 1.25, 1.5, 2.0, 4.0)


def measure(workdir: Path, growths: Sequence[float], num_sets: int) -> tuple[list[dict], dict]:
    """Return a row for each growth, and the separation and stray points of real sets."""
    import jax

    import tiny_diffusion_jax as td
    from tiny_diffusion_jax.config import editable
    from tiny_diffusion_jax.dataset import draw_points
    from tiny_diffusion_jax.metrics import separation
    from tiny_diffusion_jax.sets.autoregressive import block_sizes

    experiment, params = td.load(workdir)
    dataset, config = experiment.dataset, editable(experiment.config.sample)
    config.num_sets = num_sets
    calibration = separation.calibrate(dataset, jax.random.key(3), config.num_points)

    def summary(sets) -> dict:
        found = separation.summarize(separation.separate(calibration, sets), dataset.weights)
        return {name: found[name] for name in ("separation", "separation_se", "stray", "stray_se")}

    rows = []
    for growth in growths:
        config.growth = growth
        td.sample(experiment, params, config)  # compiles
        start, cpu_start = time.perf_counter(), time.process_time()
        sets = td.sample(experiment, params, config)
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
        _, blocks = block_sizes(config, config.num_points)
        rows.append({"growth": growth, "blocks": len(blocks), "seconds": seconds,
                     "cpu_seconds": cpu_seconds, "num_sets": num_sets} | summary(sets))  # fmt: skip
        print(rows[-1], flush=True)
    return rows, summary(draw_points(dataset, jax.random.key(5), num_sets, config.num_points))


def figure(rows: Sequence[dict], real: dict):
    """Plot separation, stray points and sampling time against the growth."""
    from tiny_diffusion_jax.figures.page import Page
    from tiny_diffusion_jax.figures.style import DATA, MEMBERS, MUTED, RULE, SAMPLES, heading, quiet

    x = np.arange(len(rows))
    page = Page("Growth of the blocks of points", 3)
    row = page.panels()
    axes = [page.axes(row, column, column) for column in range(3)]
    for ax, name, color, title, note in (
        (axes[0], "separation", SAMPLES, "separate", "% of sets"),
        (axes[1], "stray", MEMBERS[4], "stray", "% of points"),
    ):
        value, error = (100 * np.array([row[key] for row in rows]) for key in (name, f"{name}_se"))
        ax.errorbar(x, value, 1.96 * error, fmt="-o", color=color, markersize=4, capsize=3)
        ax.axhline(100 * real[name], color=DATA, linewidth=1.2, linestyle=(0, (4, 3)))
        heading(ax, title, color, note)
    axes[2].plot(x, [row["seconds"] for row in rows], "-o", color=DATA, markersize=4)
    axes[2].set_ylim(bottom=0)
    heading(axes[2], "time", DATA, f"seconds, {rows[0]['num_sets']:,} sets")
    for ax in axes:
        ax.set_xticks(x, [f"{row['growth']:g}" for row in rows])
        ax.grid(axis="y", color=RULE, linewidth=0.6, alpha=0.7)
        quiet(ax)
    page.text(page.row(), "growth g: a block has (g - 1) n points where n are drawn; "
              "dashed: real sets; bars: 95 % confidence", MUTED, 8.5)  # fmt: skip
    return page.finish()


def main(argv: list[str] | None = None) -> None:
    from tiny_diffusion_jax.figures.style import save_figure

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workdir", type=Path, default=ROOT / "runs/mixture_dino+moons_history")
    parser.add_argument("--growths", default=",".join(map(str, GROWTHS)))
    parser.add_argument("--num_sets", type=int, default=1000)
    parser.add_argument("--output", type=Path, default=RESULTS / "growth", help="without ending")
    args = parser.parse_args(argv)
    rows, real = measure(args.workdir, [float(g) for g in args.growths.split(",")], args.num_sets)
    write(args.output.with_suffix(".json"), {
        "command": command(__file__, argv), "machine": machine(), "rows": rows, "real": real,
    })  # fmt: skip
    save_figure(figure(rows, real), args.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
