"""Compare laws of the noise levels in training, by the nats to the truth after equal steps.

    python benchmarks/levels.py --output=benchmarks/results/levels.json

Trains each config with each law of config.diffusion.levels. Prints the mean of
log p_data - log p_model at points of the data (`nats`, with its standard error), and the sliced W2
to the data over its floor.
"""

import argparse
from pathlib import Path

import numpy as np
from common import command, machine, markdown, write

LAWS = ("uniform", "log_normal", "distances")


def measure(name: str, law: str, steps: int, seed: int, num_points: int) -> dict:
    """Train one config with one law and return its row."""
    import jax

    import tiny_diffusion_jax as td
    from tiny_diffusion_jax.dataset import draw_points
    from tiny_diffusion_jax.metrics.points import sliced_wasserstein2

    options = {"train.steps": steps, "diffusion.levels": law, "seed": seed}
    experiment = td.build(name, config=options)
    state = td.train(experiment, progress=False)
    dataset = experiment.dataset
    points = np.asarray(draw_points(dataset, jax.random.key(77), 1, num_points))[0]
    gap = np.asarray(dataset.log_prob(points)) - td.log_prob(experiment, state, points)
    sets = td.sample(experiment, state, num_sets=8, num_points=num_points)
    real = np.asarray(draw_points(dataset, jax.random.key(5), 16, num_points))
    distance = lambda x, y: np.mean([sliced_wasserstein2(*pair, 128)
                                     for pair in zip(x, y, strict=True)])  # fmt: skip
    ratio = distance(np.asarray(sets, np.float32), real[:8]) / distance(real[8:], real[:8])
    return {"config": name, "law": law, "nats": float(gap.mean()),
            "nats_se": float(gap.std() / num_points**0.5), "ratio": float(ratio), "steps": steps,
            "seed": seed}  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--configs", default="moons:dino", help="joined by commas")
    parser.add_argument("--laws", default=",".join(LAWS))
    parser.add_argument("--steps", type=int, default=4_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--num_points", type=int, default=4_000)
    args = parser.parse_args(argv)
    rows = []
    for name in args.configs.split(","):
        for law in args.laws.split(","):
            rows.append(measure(name, law, args.steps, args.seed, args.num_points))
            print(rows[-1], flush=True)
            write(args.output, {"command": command(__file__, argv), "machine": machine(),
                                "rows": rows})  # fmt: skip
    print(markdown(("config", "law", "nats", "sliced W2 / floor"), [
        (row["config"], row["law"], f"{row['nats']:.3f} ± {row['nats_se']:.3f}",
         f"{row['ratio']:.2f}") for row in rows]))  # fmt: skip


if __name__ == "__main__":
    main()
