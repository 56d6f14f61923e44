"""Measure the probability mass of a model of sorted points on sequences that are out of order.

    python benchmarks/rows_order.py --workdir=runs/spatial_mnist_rows

Draws sets with the settings of a trained run, without labels. Counts the sets and the consecutive
pairs of points that are out of order (sets/order.py). Z is the share of sets in order. The
log-likelihood of sorted sets is a lower bound. If sets out of order were rejected during sampling,
the log-likelihood plus -log(Z) / N nats per point would be exact. The last number is -log(Z) / N.
`--num_steps=200` uses more sampling steps than the run, because coarse steps may blur the edges of
rows.

Prints the numbers and writes benchmarks/results/rows_order.json.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from common import RESULTS, ROOT, command, machine, write

import tiny_diffusion_jax as td
from tiny_diffusion_jax.config import editable
from tiny_diffusion_jax.data.label_option import NO_LABEL
from tiny_diffusion_jax.run.checkpoints import open_checkpoints
from tiny_diffusion_jax.sets import strategy_of
from tiny_diffusion_jax.sets.order import Key, out_of_order


def count(sets: np.ndarray, keys: tuple[Key, ...]) -> dict:
    """Count the sets f32[S, N, D] and the consecutive pairs of points that are out of order."""
    wrong = np.asarray(out_of_order(sets, keys))
    num_sets, num_points = sets.shape[:2]
    bad = int(wrong.any(1).sum())
    in_order = 1 - bad / num_sets
    missing = error = None  # unknown if no set is in order
    if in_order:
        missing = abs(float(np.log(in_order))) / num_points
        error = float(np.sqrt((1 - in_order) / (in_order * num_sets))) / num_points
    return {
        "num_sets": num_sets, "num_points": num_points, "sets_out_of_order": bad,
        "share_of_sets": bad / num_sets, "share_of_pairs": float(wrong.mean()),
        "missing_nats_per_point": missing, "missing_nats_se": error,
    }  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workdir", default=str(ROOT / "runs" / "spatial_mnist_rows"))
    parser.add_argument("--num_sets", type=int, default=10_000)
    parser.add_argument("--num_steps", type=int, default=0, help="sampling steps; 0: as in the run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULTS / "rows_order.json")
    args = parser.parse_args(argv)
    experiment, params = td.load(args.workdir)
    steps = open_checkpoints(Path(args.workdir) / "checkpoints").steps()
    keys = strategy_of(experiment.model).sort_keys
    if not keys:
        parser.error(f"--workdir = {args.workdir!r}: must be a run with config.model.order "
                     "other than 'random'.")  # fmt: skip
    config = editable(experiment.config.sample)
    config.update(num_sets=args.num_sets, seed=args.seed, label=NO_LABEL,
                  num_steps=args.num_steps or config.num_steps)  # fmt: skip
    began = time.perf_counter()
    result = count(td.sample(experiment, params, config, progress=True), keys)
    result |= {"num_steps": config.num_steps, "train_steps": steps[-1],
               "seconds": round(time.perf_counter() - began, 1)}  # fmt: skip
    write(args.output, {"command": command(__file__, argv), "machine": machine(), **result})
    print(f"sets out of order: {result['sets_out_of_order']} of {result['num_sets']} "
          f"({100 * result['share_of_sets']:.2f} %)")  # fmt: skip
    print(f"consecutive pairs out of order: {100 * result['share_of_pairs']:.3f} %")
    if result["missing_nats_per_point"] is None:
        print("-log(Z) / N: unknown, because no set is in order")
    else:
        print(f"-log(Z) / N: {result['missing_nats_per_point']:.5f} +- "
              f"{result['missing_nats_se']:.5f} nats per point")  # fmt: skip


if __name__ == "__main__":
    main()
