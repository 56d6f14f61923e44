"""Quality against network evaluations, for every sampler, on a trained run.

    python main.py --config=configs/moons.py:dino
    python benchmarks/samplers.py --workdir=runs/dino --output=benchmarks/results/samplers_dino

Draws 32 sets of 4,000 points with each sampler and number of steps, and prints the sliced
2-Wasserstein distance to real points over its floor between two real draws. All share the same real
draws, so the ratios can be compared with each other more closely than with 1.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

STEPS = {
    "ancestral": (10, 20, 50, 100, 250, 1000),
    "ddim": (5, 10, 15, 20, 50, 100, 250),
    "dpm++2m": (5, 8, 10, 12, 15, 20, 30, 50),
    "heun": (3, 5, 8, 10, 15, 25, 50),
}
NUM_SETS, NUM_POINTS = 32, 4_000


def load(workdir: Path):
    """The experiment of a run and the averaged weights of its newest checkpoint."""
    from ml_collections import ConfigDict

    import tiny_diffusion_jax as td
    from tiny_diffusion_jax import experiment
    from tiny_diffusion_jax.run import checkpoints

    setup = td.build(ConfigDict(json.loads((workdir / "config.json").read_text())))
    with checkpoints.open_checkpoints(workdir / "checkpoints") as saved:
        state = checkpoints.restore_latest(saved, experiment.init(setup))
    return setup, state.ema


def measure(setup, params) -> list[dict]:
    """A row for each sampler and number of steps."""
    import jax
    import numpy as np

    import tiny_diffusion_jax as td
    from tiny_diffusion_jax.diffusion import samplers
    from tiny_diffusion_jax.evaluate import clouds as metrics
    from tiny_diffusion_jax.run import report

    real = report.draw_real(setup, 11, 2 * NUM_SETS, NUM_POINTS)
    distance = jax.jit(jax.vmap(lambda x, y: metrics.sliced_wasserstein2(x, y, 128)))
    floors = np.asarray(distance(real[:NUM_SETS], real[NUM_SETS:]))
    rows = []
    for name, all_steps in STEPS.items():
        for steps in all_steps:
            config = setup.config.sample.copy_and_resolve_references()
            config.update(sampler=name, num_steps=steps, num_sets=NUM_SETS, num_points=NUM_POINTS)
            start = time.perf_counter()
            values = np.asarray(distance(td.sample(setup, params, config), real[:NUM_SETS]))
            ratio = values.mean() / floors.mean()
            spread = (values - ratio * floors).std(ddof=1) / floors.mean() / NUM_SETS**0.5
            evaluations = (steps - 1) * samplers.SAMPLERS[name](0.0).evaluations + 1
            rows.append({
                "sampler": name, "steps": steps, "evaluations": evaluations,
                "ratio": round(float(ratio), 3), "ratio_se": round(float(spread), 3),
                "seconds": round(time.perf_counter() - start, 2),
            })
            print(json.dumps(rows[-1]), flush=True)
    return rows


def figure(rows: list[dict], title: str, path: Path) -> None:
    """Ratio to the floor against network evaluations, a line a sampler."""
    from matplotlib.figure import Figure

    from tiny_diffusion_jax.figures.clouds import INK, MUTED, PAPER

    colors = {"ancestral": "#8a8f98", "ddim": "#2c4a6e", "dpm++2m": "#d65f2a", "heun": "#6b9080"}
    picture = Figure(figsize=(6.4, 4.4), facecolor=PAPER, layout="constrained")
    ax = picture.subplots()
    reference = next(r for r in rows if r["sampler"] == "ancestral" and r["steps"] == 1000)["ratio"]
    ax.axhspan(1, 1.1 * reference, color="#d65f2a", alpha=0.08, linewidth=0)
    ax.axhline(1, color=MUTED, linewidth=1, linestyle=":")
    for name, color in colors.items():
        own = [r for r in rows if r["sampler"] == name]
        x, y = [r["evaluations"] for r in own], [r["ratio"] for r in own]
        ax.plot(x, y, "-o", color=color, label=name, markersize=4, linewidth=1.8)
    ax.set_xscale("log")
    ax.set_yscale("log")
    top = max(r["ratio"] for r in rows)
    ticks = [t for t in (1, 1.1, 1.2, 1.5, 2, 3, 5, 10, 20, 50, 100) if t <= top * 1.1]
    ax.set_yticks(ticks, [f"{t:g}" for t in ticks])
    ax.set_yticks([], minor=True)
    ax.set_xticks([5, 10, 20, 50, 100, 250, 1000], ["5", "10", "20", "50", "100", "250", "1000"])
    ax.set_xticks([], minor=True)
    ax.set_xlabel("network evaluations per point", color=INK)
    ax.set_ylabel("sliced W2 / floor between real draws", color=INK)
    ax.set_title(title, loc="left", color=INK, weight="bold")
    ax.text(0.98, 0.01, "shaded: within 10 % of ancestral, 1,000 steps", color=MUTED, fontsize=8,
            transform=ax.transAxes, ha="right", va="bottom")
    ax.legend(frameon=False)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    picture.savefig(path, dpi=160)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", required=True, type=Path, help="a finished run")
    parser.add_argument("--output", type=Path, help="write OUTPUT.json and OUTPUT.png")
    args = parser.parse_args()
    setup, params = load(args.workdir)
    rows = measure(setup, params)
    by_name = {name: [r for r in rows if r["sampler"] == name] for name in STEPS}
    slow = by_name["ancestral"][-1]["ratio"]
    fast = min(r["ratio"] for r in by_name["dpm++2m"] if r["steps"] <= 15)
    print(f"dpm++2m, at most 15 steps: {fast:.3f}; ancestral, 1,000 steps: {slow:.3f}; "
          f"ratio {fast / slow:.3f}; {statistics.mean(r['ratio_se'] for r in rows):.3f} se")
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        result = {"command": f"python benchmarks/samplers.py --workdir={args.workdir}",
                  "title": setup.dataset.title, "fast_over_slow": round(fast / slow, 3),
                  "rows": rows}
        args.output.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
        figure(rows, setup.dataset.title, args.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
