"""Compile all programs for a TPU on a machine without a TPU: seconds, memory, arithmetic.

    pip install "jax[tpu]" && python benchmarks/tpu.py               # all programs, one v5e chip
    python benchmarks/tpu.py --programs=train --models=history       # one program
    python benchmarks/tpu.py --programs=train --chips=4              # 2x2 chips

libtpu compiles from array shapes. The programs are the training block of each model
with its recipe on dino + moons, each sampler, the likelihoods and the metrics of sets. The body of
a loop counts once in the arithmetic, so `train` and the samplers have the arithmetic of one step.
Prints a table and writes benchmarks/results/tpu.json, which keeps other rows.
"""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # so that libtpu queries no metadata server
os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # no chip, so processes need no lock

import jax
import jax.numpy as jnp
from common import RESULTS, command, machine, markdown, stored, write
from jax.experimental import topologies
from ml_collections import FrozenConfigDict

from tiny_diffusion_jax import api, default_config, devices
from tiny_diffusion_jax.diffusion.samplers import SAMPLERS, time_grid
from tiny_diffusion_jax.metrics import points, sets
from tiny_diffusion_jax.point_sets import NO_CONDITIONING
from tiny_diffusion_jax.recipes import RECIPES
from tiny_diffusion_jax.sets import likelihood, reverse, strategy_of
from tiny_diffusion_jax.training.batches import make_batch_spec
from tiny_diffusion_jax.training.step import make_train_block

TOPOLOGIES = {1: "v5e:1x1", 4: "v5e:2x2", 8: "v5e:2x4"}
SETS, POINTS = 64, 256  # generated and measured sets, points per set


def mesh_of(chips: int):
    """Return a mesh over v5e chips; raise RuntimeError without libtpu."""
    name = TOPOLOGIES[chips]
    extra = {"chips_per_host_bounds": (1, 1, 1)} if chips == 1 else {}
    chosen = topologies.get_topology_desc(platform="tpu", topology_name=name, **extra).devices
    return devices.make_mesh(list(chosen)[:chips])


def build(model: str) -> api.Experiment:
    config = default_config(model)
    config.data.update(name="mixture", members="dino+moons")
    return api.build(config)


def on_all(mesh, tree):
    """Shapes of the arrays in `tree`, replicated on every chip."""
    like = lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=devices.on_all(mesh))
    return jax.tree.map(like, jax.eval_shape(lambda: tree))


def by_set(mesh, *shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype, sharding=devices.by_set(mesh, shape[0]))


def train(mesh, model: str):
    """Trace the training block of a model with its recipe."""
    of = build(model)
    config = of.config.train
    state = jax.eval_shape(lambda: api.init(of))
    block = make_train_block(of.model, FrozenConfigDict(config), mesh, slices=1)
    arguments = state, of.dataset, of.process, jax.random.key(0)
    return block.trace(*on_all(mesh, arguments), steps=config.block,
                       spec=make_batch_spec(config, of.model))  # fmt: skip


def sample(mesh, model: str, sampler: str):
    """Trace the reverse process of whole sets, or of independent points."""
    of = build(model)
    params = jax.eval_shape(lambda: api.init(of)).params
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), SETS))
    grid = time_grid(of.process.schedule, of.config.sample.num_steps, "time")
    return reverse._run.trace(
        of.model, *on_all(mesh, (of.process, params)),
        by_set(mesh, SETS, dtype=keys.dtype), on_all(mesh, grid), 1.0, None, NO_CONDITIONING, None,
        sampler=sampler, eta=0.0, shape=(POINTS, 2), method=None, precision="default",
        keep_trajectory=False,
    )  # fmt: skip


def log_prob(mesh, model: str):
    """Trace the log-likelihood of whole sets."""
    of = build(model)
    params = jax.eval_shape(lambda: api.init(of)).params
    shared = on_all(mesh, (of.process, params, of.dataset.shift, of.dataset.scale))
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), SETS))
    return likelihood._log_prob.trace(
        *shared, 0, by_set(mesh, SETS, dtype=keys.dtype), by_set(mesh, SETS, POINTS, 2),
        by_set(mesh, SETS, dtype=jnp.int32),
        strategy=strategy_of(of.model), random_order=False, num_steps=16,
        max_history=of.config.train.max_history, origin=of.dataset.origin,
    )  # fmt: skip


def metric(mesh, name: str):
    """Trace a distance between sets, or between two draws of points."""
    x, draw = by_set(mesh, SETS, POINTS, 2), by_set(mesh, 4096, 2)
    if name == "chamfer":
        return sets._chamfer.trace(x, x, padded=False)
    if name == "sliced_w2":
        return jax.jit(points.sliced_wasserstein2, static_argnums=2).trace(draw, draw, 128)
    return jax.jit(points.energy_and_mmd).trace(draw, draw, on_all(mesh, jnp.ones(3)))


METRICS = ("chamfer", "sliced_w2", "mmd")
PROGRAMS = {
    "train": lambda models: [(train, (model,)) for model in models],
    "sample": lambda models: [
        (sample, (model, sampler)) for model in ("fourier_mlp", "set_transformer")
        if model in models for sampler in SAMPLERS
    ],
    "log_prob": lambda models: [
        (log_prob, (model,)) for model in ("fourier_mlp", "causal", "set_latent") if model in models
    ],
    "metric": lambda models: [(metric, (name,)) for name in METRICS],
}  # fmt: skip


def compiled(chips: int, trace, arguments: tuple) -> dict:
    """Compile a program for `chips` chips; return seconds, and memory and arithmetic per chip."""
    mesh = mesh_of(chips)
    traced, began = trace(mesh, *arguments), time.perf_counter()
    lowered = traced.lower(lowering_platforms=(mesh.devices.flat[0].platform,))
    lower_seconds, began = time.perf_counter() - began, time.perf_counter()
    program = lowered.compile()
    seconds = time.perf_counter() - began
    memory, cost = program.memory_analysis(), program.cost_analysis()
    return {
        "lower_seconds": lower_seconds, "compile_seconds": seconds,
        "argument_mb": memory.argument_size_in_bytes / 2**20,
        "temporary_mb": memory.temp_size_in_bytes / 2**20,
        "code_mb": memory.generated_code_size_in_bytes / 2**20,
        "gflop": cost["flops"] / 1e9, "gb_moved": cost["bytes accessed"] / 1e9,
    }  # fmt: skip


def table(rows: dict[str, dict]) -> str:
    columns = {
        "lower": ("lower_seconds", ".1f", " s"), "compile": ("compile_seconds", ".1f", " s"),
        "arguments": ("argument_mb", ".1f", " MB"), "temporary": ("temporary_mb", ".1f", " MB"),
        "arithmetic": ("gflop", ".2f", " GFLOP"),
    }  # fmt: skip
    return markdown(("program", *columns), [
        (name, *(f"{row[field]:{form}}{unit}" for field, form, unit in columns.values()))
        for name, row in rows.items()
    ])  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--programs", default=",".join(PROGRAMS), help="separated by commas")
    parser.add_argument("--models", default=",".join(RECIPES), help="separated by commas")
    parser.add_argument("--chips", type=int, default=1, choices=TOPOLOGIES)
    parser.add_argument("--output", type=Path, default=RESULTS / "tpu.json")
    args = parser.parse_args(argv)
    known = stored(args.output)
    for kind in args.programs.split(","):
        for trace, arguments in PROGRAMS[kind](args.models.split(",")):
            name = " ".join([kind, *arguments, f"x {args.chips}"])
            known[name] = compiled(args.chips, trace, arguments)
            print(name, f"{known[name]['compile_seconds']:.1f} s", flush=True)
    write(args.output, {"command": command(__file__, argv), "machine": machine(), "rows": known})
    print(table(known))


if __name__ == "__main__":
    main()
