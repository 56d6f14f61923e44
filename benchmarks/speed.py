"""Measure training and sampling speed of a small network, and the time of a start.

    python benchmarks/speed.py

Trains one network (2 x 128 sinusoidal features of the point and 128 of t, hidden 128, 3 residual
GELU blocks, AdamW, gradients clipped to 1; T = 50 linear betas, eps-prediction) with this library.
If PyTorch is installed, also trains it with a plain PyTorch loop, eager and compiled. Each
measurement runs in a separate process, so threads of one library do not disturb the other. The two
libraries alternate, so a drift of the machine's speed cancels in the ratio of a pair. Also
measures the share of the machine's matmul rate, the points sampled per second, and the time from
process start to the first training step. Writes benchmarks/results/speed.json. If one part fails,
the benchmark stops.
"""

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import RESULTS, ROOT, command, machine, matmul_rate, median_seconds, write

T, HIDDEN, FEATURES, NUM_DATA = 50, 128, 128, 8_000
# Multiply-adds of a step per point. The gradient of the first layer's input is not needed.
MACS = 2 * 3 * FEATURES * HIDDEN + 3 * (3 * HIDDEN * HIDDEN + 2 * HIDDEN)


# ---------------------------------------------------------------- run in a separate process


def experiment(batch: int, steps: int):
    """Build dataset, process, model, state, training block of `steps`, and batch spec."""
    import jax
    from ml_collections import FrozenConfigDict

    from tiny_diffusion_jax import default_config, devices, diffusion, models
    from tiny_diffusion_jax.data.densities import make_dataset
    from tiny_diffusion_jax.diffusion.schedules import make_schedule
    from tiny_diffusion_jax.point_sets import PointSets
    from tiny_diffusion_jax.training.batches import make_batch_spec
    from tiny_diffusion_jax.training.step import init_state, make_train_block

    def draw(table, key, num_sets, num_points):
        index = jax.random.randint(key, (num_sets, num_points), 0, len(table))
        return PointSets(table[index])

    config = default_config()
    config.model.update(
        num_frequencies=FEATURES // 2, scale=25.0, max_period=1e4,
        time_frequencies=FEATURES // 2, time_scale=float(T), hidden_dim=HIDDEN, fade=False,
    )
    config.train.update(num_sets=batch, num_points=1, block=steps)
    table = jax.random.normal(jax.random.key(1), (NUM_DATA, 2))
    dataset = make_dataset(jax.tree_util.Partial(draw, table), normalize=False)
    process = diffusion.make_process(make_schedule("linear", T), "eps")
    model = models.make_model(config.model, 0)
    state = init_state(jax.random.key(0), model, FrozenConfigDict(config.train))
    block = make_train_block(model, FrozenConfigDict(config.train), devices.make_mesh())
    return dataset, process, model, state, block, make_batch_spec(config.train, model)


def ours(batch: int, steps: int) -> dict:
    """Microseconds per step of this library, and matmul rates in GFLOP/s."""
    import jax

    dataset, process, _, state, block, spec = experiment(batch, steps)
    key = jax.random.key(0)

    def run():
        nonlocal state  # each call continues from the last state
        state, metrics = block(state, dataset, process, key, steps=steps, spec=spec)
        metrics.loss.block_until_ready()

    return {
        "us": median_seconds(run) / steps * 1e6,
        "same_shape_gflops": matmul_rate(batch, HIDDEN, 500),
        "large_gflops": matmul_rate(1024, 1024, 10),
    }


def theirs(batch: int, kind: str, steps: int) -> dict:
    """Microseconds per step of the PyTorch loop."""
    import pytorch

    return {"us": pytorch.microseconds(batch, kind, steps)}


def sampling(num_points: int) -> dict:
    """Points per second and network evaluations per second of each sampler, for 8 sets."""
    import jax

    from tiny_diffusion_jax.diffusion import samplers
    from tiny_diffusion_jax.diffusion.process import make_denoise

    _, process, model, state, *_ = experiment(256, 1)
    keys, result = jax.random.split(jax.random.key(0), 8), {}
    for name, steps in (("ancestral", 50), ("ddim", 50), ("dpm++2m", 15), ("heun", 25)):
        sampler = samplers.make_sampler(name)
        grid = jax.numpy.asarray(samplers.time_grid(process.schedule, steps))
        denoise = make_denoise(process, model.apply, state.params)
        run = jax.jit(lambda k, s=sampler, g=grid, d=denoise: samplers.sample(
            process, s, d, g, k, (num_points, 2)))
        seconds = median_seconds(lambda run=run: run(keys).block_until_ready(), 3)
        evaluations = (steps - 1) * sampler.evaluations + 1
        result[name] = {
            "steps": steps, "points_per_second": round(8 * num_points / seconds),
            "evaluations_per_second": round(8 * num_points * evaluations / seconds),
        }
    return result


# ---------------------------------------------------------------- combine the measurements


def measure(task: str, batch: int = 0, steps: int = 0, num_points: int = 0) -> dict:
    """Run one task in a separate process; raise CalledProcessError if the process fails."""
    words = [f"--task={task}", f"--batches={batch}", f"--steps={steps}",
             f"--num_points={num_points}"]  # fmt: skip
    done = subprocess.run([sys.executable, __file__, *words], stdout=subprocess.PIPE, check=True,
                          encoding="utf-8")  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def training(batch: int, pairs: int, steps: int, kinds: list[str]) -> dict:
    """Time this library and each kind of PyTorch loop in turn, `pairs` times; return medians."""
    rows = [{kind: measure(kind, batch, steps) for kind in ("ours", *kinds)} for _ in range(pairs)]
    median = statistics.median
    rates = {key: median(row["ours"][key] for row in rows) for key in rows[0]["ours"]}
    achieved = [2 * MACS * batch / row["ours"]["us"] / 1e3 for row in rows]
    result = {
        "us_per_step": {"ours": round(rates["us"], 1)}, "ratio": {}, "ratio_min_max": {},
        "gflops": round(median(achieved), 1),
        "same_shape_matmul_gflops": round(rates["same_shape_gflops"], 1),
        "large_matmul_gflops": round(rates["large_gflops"], 1),
    }  # fmt: skip
    for name in ("same_shape", "large"):
        shares = [a / row["ours"][f"{name}_gflops"] for a, row in zip(achieved, rows, strict=True)]
        result[f"share_of_{name}_matmul"] = round(median(shares), 3)
    for kind in kinds:
        result["us_per_step"][kind] = round(median(row[kind]["us"] for row in rows), 1)
        ratios = [row[kind]["us"] / row["ours"]["us"] for row in rows]
        result["ratio"][kind] = round(median(ratios), 2)
        result["ratio_min_max"][kind] = [round(min(ratios), 2), round(max(ratios), 2)]
    print(f"batch {batch}: {json.dumps(result)}", flush=True)
    return result


def startup(repeats: int) -> dict:
    """Seconds from process start to the end of the first step, without and with the cache."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "import jax; jax.config.update('jax_compilation_cache_dir', sys.argv[2]);"
        "jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.1);"
        "import tiny_diffusion_jax as td;"
        "c = td.default_config(); c.train.steps = c.train.block = 1;"
        "td.train(td.build(c), progress=False)"
    )
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("cold", "cached"):
            seconds = []
            for i in range(repeats):
                start = time.perf_counter()
                cache = f"{folder}/{i}"
                subprocess.run([sys.executable, "-c", code, str(ROOT), cache], check=True)
                seconds.append(time.perf_counter() - start)
            result[name] = round(statistics.median(seconds), 2)
    return result


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=RESULTS / "speed.json")
    parser.add_argument("--pairs", type=int, default=5, help="repeats of the training comparison")
    parser.add_argument("--batches", default="32,256", help="batch sizes")
    parser.add_argument("--steps", type=int, default=500, help="training steps per measurement")
    parser.add_argument("--num_points", type=int, default=4_000, help="points per set in sampling")
    parser.add_argument("--starts", type=int, default=3, help="repeats of the start")
    parser.add_argument("--against", default="eager,compiled,compiled_fused",
                        help="PyTorch loops to compare with, if it is installed")
    parser.add_argument("--task", help=argparse.SUPPRESS)  # set by `measure`
    args = parser.parse_args(argv)
    batches = [int(batch) for batch in args.batches.split(",")]
    if args.task == "sampling":
        return print(json.dumps(sampling(args.num_points)))
    if args.task == "ours":
        return print(json.dumps(ours(batches[0], args.steps)))
    if args.task:
        return print(json.dumps(theirs(batches[0], args.task, args.steps)))
    result = {"command": command(__file__, argv), "machine": machine()}
    kinds = args.against.split(",") if importlib.util.find_spec("torch") else []
    if not kinds:
        print("skipping the comparison: PyTorch is not installed")
    result["training"] = {
        f"batch_{n}": training(n, args.pairs, args.steps, kinds) for n in batches
    }
    result["sampling"] = measure("sampling", num_points=args.num_points)
    result["startup_seconds"] = startup(args.starts)
    print(json.dumps({name: result[name] for name in ("sampling", "startup_seconds")}))
    write(args.output, result)


if __name__ == "__main__":
    main()
