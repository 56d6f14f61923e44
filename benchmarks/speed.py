"""Training and sampling speed, and how long a start takes.

    python benchmarks/speed.py --output=benchmarks/results/speed.json

Trains one network (2 x 128 sinusoidal features of the point and 128 of t, hidden 128, 3 residual
GELU blocks, AdamW, gradients clipped to 1; T = 50 linear betas, eps-prediction) with this library
and, when PyTorch is installed, with a plain PyTorch loop, eager and compiled. Every measurement is
a process of its own, ours and theirs in turn, so neither's threads disturb the other, and a drift
of the machine's speed cancels in the ratio of a pair. Also: the share of the machine's own matmul
rate, points sampled per second, and the time from process start to the first training step.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
T, HIDDEN, FEATURES, DATA = 50, 128, 128, 8_000
# Multiply-adds of a step, per point. The first layer needs no gradient of its input.
MACS = 2 * 3 * FEATURES * HIDDEN + 3 * (3 * HIDDEN * HIDDEN + 2 * HIDDEN)


def median_seconds(run, repeats: int = 7) -> float:
    """Median wall time of run(), after one call that is not counted."""
    run()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def matmul_rate(rows: int, inner: int, length: int) -> float:
    """GFLOP/s of `length` products of [rows, inner] and [inner, inner], one after the other."""
    import jax
    import jax.numpy as jnp

    x, w = jnp.ones((rows, inner)), jnp.eye(inner)
    chain = jax.jit(lambda x: jax.lax.scan(lambda x, _: (x @ w, None), x, length=length)[0])
    seconds = median_seconds(lambda: chain(x).block_until_ready())
    return 2 * rows * inner * inner * length / seconds / 1e9


def our_setup(batch: int):
    """The network and its training block, from the library's own parts."""
    import jax

    from tiny_diffusion_jax import default_config, diffusion, models
    from tiny_diffusion_jax.data.base import PointSets, make_dataset
    from tiny_diffusion_jax.diffusion import schedules
    from tiny_diffusion_jax.training import step as training

    def draw(table, key, num_sets, num_points):
        index = jax.random.randint(key, (num_sets, num_points), 0, len(table))
        return PointSets(table[index])

    config = default_config()
    config.model.update(
        num_frequencies=FEATURES // 2, scale=25.0, max_period=1e4,
        time_frequencies=FEATURES // 2, time_scale=float(T), hidden_dim=HIDDEN,
    )
    config.train.update(num_sets=batch, num_points=1, block=500, shards=1 if batch < 128 else 2)
    table = jax.random.normal(jax.random.key(1), (DATA, 2))
    dataset = make_dataset(jax.tree_util.Partial(draw, table), normalize=False)
    schedule = schedules.make_schedule("linear", T)
    process = diffusion.make_process(schedule, "eps")
    model, optimizer = models.make_model(config.model), training.make_optimizer(config.train)
    state = training.init_state(jax.random.key(0), model, optimizer)
    block = training.make_train_block(process, model, optimizer, config.train)
    return config, dataset, process, model, state, block


def ours(batch: int) -> dict:
    """Microseconds a step of this library, and the matmul rate of the same shapes, GFLOP/s."""
    import jax

    config, dataset, _, _, state, block = our_setup(batch)
    key, steps = jax.random.key(0), config.train.block

    def run():
        nonlocal state
        state, metrics = block(state, dataset, key, steps)
        metrics.loss.block_until_ready()

    return {
        "us": median_seconds(run) / steps * 1e6,
        "same_shape_gflops": matmul_rate(batch, HIDDEN, 500),
        "large_gflops": matmul_rate(1024, 1024, 10),
    }


def theirs(batch: int, kind: str) -> dict:
    """Microseconds a step of the PyTorch loop: `eager`, `compiled`, or `compiled_fused`."""
    import math

    import torch
    from torch import nn
    from torch.nn import functional as F

    torch.manual_seed(0)
    frequency = torch.exp(-math.log(1e4) * torch.arange(FEATURES // 2) / (FEATURES // 2 - 1))

    def features(x, scale):
        angle = x[:, None] * (scale * frequency)
        return torch.cat([angle.sin(), angle.cos()], -1)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(3 * FEATURES, HIDDEN)
            self.blocks = nn.ModuleList(nn.Linear(HIDDEN, HIDDEN) for _ in range(3))
            self.last = nn.Linear(HIDDEN, 2)

        def forward(self, x, t):
            h = torch.cat([features(x[:, 0], 25.0), features(x[:, 1], 25.0), features(t, 1.0)], -1)
            h = F.gelu(self.first(h), approximate="tanh")
            for block in self.blocks:
                h = h + F.gelu(block(h), approximate="tanh")
            return self.last(h)

    net = Net()
    forward = torch.compile(net) if kind.startswith("compiled") else net
    fused = {"fused": True} if kind.endswith("fused") else {}
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, **fused)
    alpha_bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, T), 0)
    data, steps = torch.randn(DATA, 2), 200

    def run():
        for _ in range(steps):
            x_0, eps = data[torch.randint(DATA, (batch,))], torch.randn(batch, 2)
            t = torch.randint(T, (batch,))
            a = alpha_bar[t, None]
            loss = F.mse_loss(forward(a.sqrt() * x_0 + (1 - a).sqrt() * eps, t.float()), eps)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()

    return {"us": median_seconds(run) / steps * 1e6}


def sampling() -> dict:
    """Points per second and network evaluation of each sampler, 8 sets of 4,000 points."""
    import jax

    from tiny_diffusion_jax.diffusion import samplers
    from tiny_diffusion_jax.diffusion.process import make_denoise

    _, _, process, model, state, _ = our_setup(256)
    keys, result = jax.random.split(jax.random.key(0), 8), {}
    for name, steps in (("ancestral", 50), ("ddim", 50), ("dpm++2m", 15), ("heun", 25)):
        sampler = samplers.make_sampler(name)
        grid = jax.numpy.asarray(samplers.time_grid(process.schedule, steps))
        denoise = make_denoise(process, model.apply, state.params)
        run = jax.jit(lambda k, s=sampler, g=grid, d=denoise: samplers.sample(
            process, s, d, g, k, (4_000, 2)))
        seconds = median_seconds(lambda run=run: run(keys).block_until_ready(), 3)
        evaluations = (steps - 1) * sampler.evaluations + 1
        result[name] = {
            "steps": steps, "points_per_second": round(32_000 / seconds),
            "evaluations_per_second": round(32_000 * evaluations / seconds),
        }
    return result


def startup() -> dict:
    """Seconds from process start to the end of the first step: without and with the cache."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "import jax; jax.config.update('jax_compilation_cache_dir', sys.argv[2]);"
        "jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.1);"
        "import tiny_diffusion_jax as td;"
        "c = td.default_config(); c.train.steps = c.train.block = 1; c.train.warmup = 0;"
        "td.train(td.build(c), progress=False)"
    )
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("cold", "cached"):
            seconds = []
            for i in range(3):
                cache = f"{folder}/{i}"
                start = time.perf_counter()
                subprocess.run([sys.executable, "-c", code, str(ROOT), cache], check=True)
                seconds.append(time.perf_counter() - start)
            result[name] = round(statistics.median(seconds), 2)
    return result


def measure(task: str, batch: int) -> dict | None:
    """Runs one task in a process of its own; None where it cannot run (no PyTorch)."""
    command = [sys.executable, __file__, f"--task={task}", f"--batch={batch}"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    if done.returncode:
        print(f"  {task}: not measured ({done.stderr.strip().splitlines()[-1]})")
        return None
    return json.loads(done.stdout.splitlines()[-1])


def training(pairs: int) -> dict:
    """Ours against each kind of theirs, in turn, `pairs` times: medians of times and ratios."""
    result = {}
    for batch in (32, 256):
        rows = []
        for _ in range(pairs):
            row = {"ours": measure("ours", batch)}
            row |= {k: measure(k, batch) for k in ("eager", "compiled", "compiled_fused")}
            rows.append(row)
        median = statistics.median
        own = {k: median(r["ours"][k] for r in rows) for k in rows[0]["ours"]}
        achieved = [2 * MACS * batch / r["ours"]["us"] / 1e3 for r in rows]
        summary = {
            "us_per_step": {"ours": round(own["us"], 1)}, "ratio": {}, "ratio_min_max": {},
            "gflops": round(median(achieved), 1),
            "same_shape_matmul_gflops": round(own["same_shape_gflops"], 1),
            "large_matmul_gflops": round(own["large_gflops"], 1),
        }
        for name in ("same_shape", "large"):
            shares = [a / r["ours"][f"{name}_gflops"] for a, r in zip(achieved, rows, strict=True)]
            summary[f"share_of_{name}_matmul"] = round(median(shares), 3)
        for kind in ("eager", "compiled", "compiled_fused"):
            if rows[0][kind] is None:
                continue
            summary["us_per_step"][kind] = round(median(r[kind]["us"] for r in rows), 1)
            ratios = [r[kind]["us"] / r["ours"]["us"] for r in rows]
            summary["ratio"][kind] = round(median(ratios), 2)
            summary["ratio_min_max"][kind] = [round(min(ratios), 2), round(max(ratios), 2)]
        print(f"batch {batch}: {json.dumps(summary)}", flush=True)
        result[f"batch_{batch}"] = summary
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", help="write the results to this JSON file")
    parser.add_argument("--pairs", type=int, default=5, help="repeats of the training comparison")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, default=256, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.task:
        worker = {"ours": lambda: ours(args.batch), "sampling": sampling}.get(
            args.task, lambda: theirs(args.batch, args.task))
        return print(json.dumps(worker()))
    import platform

    import jax

    result = {
        "command": "python benchmarks/speed.py",
        "machine": f"{os.cpu_count()} x {platform.machine()}, jax {jax.__version__}",
        "training": training(args.pairs),
        "sampling": measure("sampling", 0),
        "startup_seconds": startup(),
    }
    print(json.dumps({k: result[k] for k in ("sampling", "startup_seconds")}))
    if args.output:
        Path(args.output).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
