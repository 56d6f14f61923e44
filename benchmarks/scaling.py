"""Measure how the cost of a training step grows with points, sets and width.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --models=causal --axes=points

Changes one option of a base at a time. The base has sets of 64 points, batches of 32 sets and the
width of the recipe. Reports the time per step (median over calls of a block of steps), and the
temporary memory and the arithmetic of a step as counted by the compiler. Between two values of an
option, reports the exponent p of cost ~ value^p. Writes benchmarks/results/scaling.json.
"""

import argparse
import math
import time
from pathlib import Path

import jax
from common import RESULTS, command, machine, markdown, median_seconds, write
from ml_collections import FrozenConfigDict

from tiny_diffusion_jax import api, default_config, devices
from tiny_diffusion_jax.training.batches import block_key, make_batch_spec
from tiny_diffusion_jax.training.step import make_train_block

MODELS = ("fourier_mlp", "set_transformer", "history", "causal", "set_latent")
BASE = {"train.num_sets": 32, "train.num_points": 64, "train.max_points": 0}
AXES = {
    "points": ("train.num_points", (16, 64, 256)),
    "sets": ("train.num_sets", (8, 32, 128)),
    "width": ("model.hidden_dim", (32, 128, 512)),
}
STEPS = 10  # steps per block


def step(model: str, option: str, value: int, calls: int) -> dict:
    """Cost of a training step of `model` with one option changed."""
    config = default_config(model)
    config.update_from_flattened_dict(BASE | {"train.block": STEPS, option: value})
    config.data.update(name="mixture", members="dino+moons")
    made = api.build(config)
    block = make_train_block(made.model, FrozenConfigDict(config.train), devices.make_mesh())
    state = api.init(made)
    arguments = made.dataset, made.process, block_key(0)
    began = time.perf_counter()
    program = block.lower(state, *arguments, steps=STEPS,
                          spec=make_batch_spec(config.train, made.model)).compile()  # fmt: skip
    compile_seconds = time.perf_counter() - began
    seconds = median_seconds(lambda: jax.block_until_ready(program(state, *arguments)), calls)
    return {
        "milliseconds": 1e3 * seconds / STEPS, "compile_seconds": compile_seconds,
        "temporary_mb": program.memory_analysis().temp_size_in_bytes / 2**20,
        "gflop": program.cost_analysis()["flops"] / 1e9,  # one step: loop bodies count once
    }  # fmt: skip


def exponents(rows: list[dict], column: str) -> list[float]:
    """Exponents p of cost ~ value^p between successive rows."""
    return [
        math.log(b[column] / a[column]) / math.log(b["value"] / a["value"])
        for a, b in zip(rows, rows[1:], strict=False)
    ]


def table(rows: dict[str, list[dict]]) -> str:
    """Format the rows as a Markdown table."""
    columns = "model", "changed", "milliseconds a step", "exponents", "memory", "GFLOP a step"
    lines = []
    each = lambda found, column, form: ", ".join(f"{row[column]:{form}}" for row in found)
    for name, found in rows.items():
        model, axis = name.split()
        powers = ", ".join(f"{p:.2f}" for p in exponents(found, "milliseconds"))
        lines.append((
            f"`{model}`", f"{axis} {each(found, 'value', 'd')}",
            each(found, "milliseconds", ".1f"), powers,
            f"{each(found, 'temporary_mb', '.0f')} MB", each(found, "gflop", ".2f"),
        ))  # fmt: skip
    return markdown(columns, lines)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", default=",".join(MODELS), help="separated by commas")
    parser.add_argument("--axes", default=",".join(AXES), help="separated by commas")
    parser.add_argument("--calls", type=int, default=5)
    parser.add_argument("--largest", type=int, default=2**31, help="largest value of an option")
    parser.add_argument("--output", type=Path, default=RESULTS / "scaling.json")
    args = parser.parse_args(argv)
    rows = {}
    for model in args.models.split(","):
        for axis in args.axes.split(","):
            option, values = AXES[axis]
            rows[f"{model} {axis}"] = [
                {"value": value} | step(model, option, value, args.calls)
                for value in values if value <= args.largest
            ]  # fmt: skip
            print(f"{model} {axis}: done", flush=True)
    print(table(rows))
    write(args.output, {"command": command(__file__, argv), "machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()
