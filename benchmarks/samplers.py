"""Plot quality against network evaluations, for every sampler, on a trained run.

    python main.py --config=configs/moons.py:dino
    python main.py --workdir=runs/dino --mode=distill
    python benchmarks/samplers.py --workdir=runs/dino --few=runs/dino_few --output=few_dino

Draws 32 sets of 4,000 points. Repeats this with each sampler and number of steps, and with the
distilled run --few. Prints the sliced 2-Wasserstein distance to real points, divided by its floor
(the distance between two real draws). All ratios use the same real draws, so their differences are
more precise than their values. `stray` is the share of points that are farther from the density
than 99.9 % of real points (metrics/separation.py). For a mixture the row has the ratio of the
worse member, and `separate`, the share of sets that are a draw from one member.
"""

import argparse
import time
from pathlib import Path

from common import command, machine, write

FEW = (1, 2, 4, 8, 15, 25)
STEPS = {
    "ancestral": (*FEW, 50, 100, 250, 1000),
    "ddim": (*FEW, 50, 100, 250),
    "dpm++2m": (*FEW, 50),
    "sde-dpm++2m": (*FEW, 50, 100),
    "heun": (*FEW, 50),
    "consistency": FEW,
}


def measure(
    experiment, params, num_sets: int, num_points: int, max_steps: int, few=None
) -> list[dict]:
    """Return a row for each sampler and number of steps; few: a distilled run and its weights."""
    import tiny_diffusion_jax as td
    from tiny_diffusion_jax.config import editable
    from tiny_diffusion_jax.diffusion import samplers

    score = make_score(experiment.dataset, num_sets, num_points)
    rows = []
    for name, steps in [(name, n) for name, counts in STEPS.items() for n in counts]:
        is_few = name == "consistency"
        if steps > max_steps or is_few and few is None:
            continue
        model = few if is_few else (experiment, params)
        config = editable(model[0].config.sample)
        config.update(sampler=name, num_steps=steps, num_sets=num_sets, num_points=num_points)
        td.sample(*model, config)  # compiles
        start = time.perf_counter()
        sets = td.sample(*model, config)
        seconds = time.perf_counter() - start
        rows.append({
            "sampler": name, "steps": steps,
            "evaluations": (steps - 1) * samplers.SAMPLERS[name](0.0).evaluations + 1,
            **score(sets), "seconds": round(seconds, 2),
        })  # fmt: skip
        print(rows[-1], flush=True)
    return rows


def make_score(dataset, num_sets: int, num_points: int):
    """Return a function from sets to the entries of a row that compare them with real sets."""
    import jax
    import numpy as np

    from tiny_diffusion_jax.dataset import draw_points
    from tiny_diffusion_jax.metrics import separation
    from tiny_diffusion_jax.metrics.points import sliced_wasserstein2

    keys = jax.random.split(jax.random.key(12))
    calibration = separation.calibrate(dataset, keys[0], num_points, num_real=200)
    if dataset.members:
        def score(sets) -> dict:
            result = separation.separate(calibration, sets)
            entries = separation.compare(dataset, keys[1], sets, calibration, result)
            names = {"separate": "separation", "stray": "stray"}
            row = {new: round(entries[old]["value"], 4) for new, old in names.items()}
            within = entries.get("within_sliced_wasserstein2")
            return row | {"ratio": within and round(within["ratio"], 3)}

        return score
    real = draw_points(dataset, jax.random.key(11), 2 * num_sets, num_points)
    distance = jax.jit(jax.vmap(lambda x, y: sliced_wasserstein2(x, y, 128)))
    floors = np.asarray(distance(real[:num_sets], real[num_sets:]))

    def score(sets) -> dict:
        values = np.asarray(distance(sets, real[:num_sets]))
        ratio = values.mean() / floors.mean()
        spread = (values - ratio * floors).std(ddof=1) / floors.mean() / num_sets**0.5
        stray = separation.separate(calibration, sets).stray.mean()
        return {"ratio": round(float(ratio), 3), "ratio_se": round(float(spread), 3),
                "stray": round(float(stray), 4)}  # fmt: skip

    return score


def slowest(rows: list[dict]) -> dict:
    """Row of ancestral sampling with the most steps, the reference for the other samplers."""
    return max((r for r in rows if r["sampler"] == "ancestral"), key=lambda r: r["steps"])


def figure(rows: list[dict], title: str, path: Path) -> None:
    """Plot the ratio to the floor against network evaluations, one line per sampler."""
    from matplotlib.figure import Figure

    from tiny_diffusion_jax.figures.style import INK, MUTED, PAPER, save_figure

    colors = {"ancestral": "#8a8f98", "ddim": "#2c4a6e", "dpm++2m": "#d65f2a", "heun": "#6b9080",
              "sde-dpm++2m": "#b08bbf", "consistency": "#1f1f1f"}  # fmt: skip
    picture = Figure(figsize=(6.4, 4.4), facecolor=PAPER, layout="constrained")
    ax = picture.subplots()
    rows = [r for r in rows if r["ratio"] is not None]
    reference = slowest(rows)["ratio"]
    ax.axhspan(1, 1.1 * reference, color="#d65f2a", alpha=0.08, linewidth=0)
    ax.axhline(1, color=MUTED, linewidth=1, linestyle=":")
    for name, color in colors.items():
        curve = [r for r in rows if r["sampler"] == name]
        if not curve:
            continue
        name = f"{name} (distilled)" if name == "consistency" else name
        x, y = [r["evaluations"] for r in curve], [r["ratio"] for r in curve]
        ax.plot(x, y, "-o", color=color, label=name, markersize=4, linewidth=1.8)
    ax.set_xscale("log")
    ax.set_yscale("log")
    top = max(r["ratio"] for r in rows)
    ticks = [t for t in (1, 1.2, 1.5, 2, 3, 5, 10, 20, 50, 100) if t <= top * 1.1]
    ax.set_yticks(ticks, [f"{t:g}" for t in ticks])
    ax.set_yticks([], minor=True)
    ticks = [t for t in (1, 2, 4, 8, 15, 25, 50, 100, 250, 1000) if t <= slowest(rows)["steps"]]
    ax.set_xticks(ticks, map(str, ticks))
    ax.set_xticks([], minor=True)
    ax.set_xlabel("network evaluations per point", color=INK)
    ax.set_ylabel("sliced W2 / floor between real draws", color=INK)
    ax.set_title(title, loc="left", color=INK, weight="bold")
    note = f"shaded: within 10 % of ancestral, {slowest(rows)['steps']:,} steps"
    ax.text(0.98, 0.01, note, color=MUTED, fontsize=8, transform=ax.transAxes, ha="right",
            va="bottom")
    ax.legend(frameon=False)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    save_figure(picture, path)


def main(argv: list[str] | None = None) -> None:
    import tiny_diffusion_jax as td

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", required=True, type=Path, help="a finished run")
    parser.add_argument("--few", type=Path, help="the run distilled from it")
    parser.add_argument("--output", required=True, type=Path, help="writes OUTPUT.json, OUTPUT.png")
    parser.add_argument("--num_sets", type=int, default=32)
    parser.add_argument("--num_points", type=int, default=4_000)
    parser.add_argument("--max_steps", type=int, default=1000)
    args = parser.parse_args(argv)
    experiment, params = td.load(args.workdir)
    few = None if args.few is None else td.load(args.few)
    rows = measure(experiment, params, args.num_sets, args.num_points, args.max_steps, few)
    slow = slowest(rows)
    fast = min(r["ratio"] for r in rows if r["sampler"] == "dpm++2m" and 4 < r["steps"] <= 15)
    print(f"dpm++2m, at most 15 steps: {fast:.3f}; ancestral, {slow['steps']:,} steps: "
          f"{slow['ratio']:.3f}; ratio {fast / slow['ratio']:.3f}")
    write(args.output.with_suffix(".json"), {
        "command": command(__file__, argv), "machine": machine(),
        "title": experiment.dataset.title, "fast_over_slow": round(fast / slow["ratio"], 3),
        "rows": rows,
    })  # fmt: skip
    figure(rows, experiment.dataset.title, args.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
