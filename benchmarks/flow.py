"""Measure flows from one density to another: distance to the target, path energy and likelihood.

    python benchmarks/flow.py --output=benchmarks/results/flow.json
    python benchmarks/flow.py --figure=docs/flow.png --runs=runs/flow_moons,runs/flow_digits

Trains each case with independent and with optimal pairs. `theirs` is eight gaussians -> moons with
the densities of the code of arXiv 2302.00482 (github.com/atong01/conditional-flow-matching): radius
5 and standard deviation 0.1^(1/4); moons 3 x - 1 with one uniform number of [0, 0.6] added to both
coordinates. Columns, in the units of the data:

    W2             exact 2-Wasserstein distance of samples to the target
    floor          the same distance between two real draws of the same size
    path energy    E integral |dx/dt|^2 dt over W2(start, samples)^2; 1 = optimal transport
    curvature      path energy over E |x_0 - x_1|^2, minus 1; 0 = straight paths
    nats           mean of log p_data - log p_model at points of the target
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from common import command, machine, markdown, write

CASES = {
    "moons": "flow:eight_gaussians:moons",
    "theirs": "flow:{folder}/start.csv:{folder}/target.csv",
    "digits": "flow:mnist:3:mnist:8",
}
MOMENTS = (1.0, 0.8, 0.6, 0.4, 0.2, 0.0)  # t of the pictures of a row
SAMPLERS = (("heun", 25), ("ddim", 1), ("ddim", 5))
COLUMNS = ("case", "pairs", "W2", "floor", "path energy", "curvature", "nats", "one step",
           "5 steps", "seconds")  # fmt: skip


def eight_gaussians(rng, num: int) -> np.ndarray:
    """Draw points f64[num, 2] of the start of `theirs`."""
    angle = np.pi / 4 * rng.integers(0, 8, num)
    return 5 * np.stack([np.cos(angle), np.sin(angle)], 1) + 0.1**0.25 * rng.normal(size=(num, 2))


def moons(rng, num: int) -> np.ndarray:
    """Draw points f64[num, 2] of the target of `theirs`."""
    angle, lower = np.pi * rng.random(num), rng.integers(0, 2, num)
    x = np.where(lower, 1 - np.cos(angle), np.cos(angle))
    y = np.where(lower, 0.5 - np.sin(angle), np.sin(angle))
    return 3 * (np.stack([x, y], 1) + 0.2 * rng.random((num, 1))) - 1


def measure(case: str, pairs: str, steps: int, num_sets: int, num_points: int) -> dict:
    """Train one flow and return its row."""
    import jax

    import tiny_diffusion_jax as td
    from tiny_diffusion_jax.dataset import draw_points
    from tiny_diffusion_jax.metrics.points import wasserstein2
    from tiny_diffusion_jax.metrics.transport import straightness
    from tiny_diffusion_jax.sets.reverse import visited_levels

    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(0)
        for name, draw in (("start", eight_gaussians), ("target", moons)):
            np.savetxt(Path(folder) / f"{name}.csv", draw(rng, 50_000), "%.6g", ",", header="x,y",
                       comments="")  # fmt: skip
        options = {"train.steps": steps, "train.pairs": pairs}
        experiment = td.build(CASES[case].format(folder=folder), config=options)
        began = time.perf_counter()
        state = td.train(experiment, progress=False)
        seconds = time.perf_counter() - began
    dataset = experiment.dataset
    real = np.asarray(draw_points(dataset, jax.random.key(11), 2 * num_sets, num_points))
    other, real = real[num_sets:], real[:num_sets]
    distance = lambda sets: [wasserstein2(a, b) for a, b in zip(sets, real, strict=True)]
    drawn = {}
    for name, num in SAMPLERS:
        path = td.sample(experiment, state, keep_trajectory=True, num_sets=num_sets,
                         num_points=num_points, sampler=name, num_steps=num)  # fmt: skip
        drawn[name, num] = path
    path, floors, values = drawn[SAMPLERS[0]], distance(other), distance(drawn[SAMPLERS[0]][-1])
    config = experiment.config.sample
    levels = visited_levels(experiment.process.schedule, config, SAMPLERS[0][1])
    times = levels / experiment.process.schedule.num_levels
    energies = [straightness(path[:, k], times, num_points) for k in range(num_sets)]
    row = {
        "case": case, "pairs": pairs, "w2": float(np.mean(values)),
        "w2_se": float(np.std(values, ddof=1) / num_sets**0.5),
        "floor": float(np.mean(floors)),
        "floor_se": float(np.std(floors, ddof=1) / num_sets**0.5),
        "path_energy": float(np.mean([e["value"] for e in energies])),
        "curvature": float(np.mean([e["curvature"] for e in energies])),
        "nats": None, "w2_one_step": float(np.mean(distance(drawn["ddim", 1][-1]))),
        "w2_five_steps": float(np.mean(distance(drawn["ddim", 5][-1]))),
        "steps": steps, "num_sets": num_sets, "num_points": num_points, "seconds": round(seconds),
    }  # fmt: skip
    if dataset.log_prob is not None and dataset.start.log_prob is not None:
        points = real.reshape(-1, 2)[:2000]
        gap = np.asarray(dataset.log_prob(points)) - td.log_prob(experiment, state, points)
        row["nats"] = float(gap.mean())
    return row


def table(rows: list[dict]) -> str:
    """Markdown table of the rows."""
    fields = ("w2", "floor", "path_energy", "curvature", "nats", "w2_one_step", "w2_five_steps")
    text = lambda x: "" if x is None else f"{x:.3f}"
    return markdown(COLUMNS, [(row["case"], row["pairs"], *(text(row[f]) for f in fields),
                               str(row["seconds"])) for row in rows])  # fmt: skip


def figure(folders: list[str], path: Path) -> None:
    """Draw six moments of one set of each finished run, a row for each run."""
    import json

    from matplotlib.figure import Figure

    from tiny_diffusion_jax.figures.style import INK, PAPER, SAMPLES, save_figure

    shape = (1.7 * len(MOMENTS), 1.8 * len(folders))
    picture = Figure(figsize=shape, facecolor=PAPER, layout="constrained")
    axes = picture.subplots(len(folders), len(MOMENTS), squeeze=False)
    for row, folder in zip(axes, folders, strict=True):
        path_of_set = np.load(Path(folder) / "trajectory.npy")[:, :2000, :2]
        facts = json.loads((Path(folder) / "config.json").read_text("utf-8"))["dataset"]
        names = {1.0: facts["start"]["title"], 0.0: facts["title"]}
        low, high = path_of_set.min((0, 1)), path_of_set.max((0, 1))
        centre, half = (low + high) / 2, 0.53 * (high - low).max()
        for ax, t in zip(row, MOMENTS, strict=True):
            x, y = path_of_set[round((1 - t) * (len(path_of_set) - 1))].T
            ax.scatter(x, y, s=0.6, color=SAMPLES, linewidths=0)
            ax.set(xlim=(centre[0] - half, centre[0] + half), aspect="equal", xticks=[], yticks=[],
                   ylim=(centre[1] - half, centre[1] + half))  # fmt: skip
            ax.set_title(names.get(t, f"t = {t:g}"), fontsize=9, color=INK)
            ax.set_frame_on(False)
    save_figure(picture, path)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="file for the rows")
    parser.add_argument("--figure", type=Path, help="draw the finished runs of --runs instead")
    parser.add_argument("--runs", default="", help="folders joined by commas")
    parser.add_argument("--cases", default=",".join(CASES), help="joined by commas")
    parser.add_argument("--pairs", default="independent,optimal")
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--num_sets", type=int, default=8)
    parser.add_argument("--num_points", type=int, default=1000, help="of a W2; at most 2000")
    args = parser.parse_args(argv)
    if args.figure:
        figure(args.runs.split(","), args.figure)
        return
    if args.output is None:
        parser.error("name --output or --figure")
    rows = []
    for case in args.cases.split(","):
        for pairs in args.pairs.split(","):
            rows.append(measure(case, pairs, args.steps, args.num_sets, args.num_points))
            print(rows[-1], flush=True)
            write(args.output, {"command": command(__file__, argv), "machine": machine(),
                                "rows": rows})  # fmt: skip
    print(table(rows))


if __name__ == "__main__":
    main()
