"""Compare the set transformer with a plain one in training speed, and measure cost by set size.

    python benchmarks/transformer.py speed
    python benchmarks/transformer.py cost

Writes benchmarks/results/transformer_speed.json or transformer_cost.json.
"""

import argparse
import functools
from pathlib import Path

from common import RESULTS, command, machine, matmul_rate, median_seconds, write

HIDDEN, HEADS = 64, 4


@functools.cache
def plain_transformer(num_blocks: int):
    """Plain transformer with separate q, k, v, LayerNorm, GELU by erf and an MLP of ratio 4."""
    import flax.linen as nn

    from tiny_diffusion_jax.models.fourier_mlp import FourierTrunk
    from tiny_diffusion_jax.models.traits import Traits
    from tiny_diffusion_jax.point_sets import NO_CONDITIONING

    class Plain(nn.Module):
        traits = Traits("joint", floats_per_point=4 * HIDDEN)
        num_labels, counts = 0, False

        @nn.compact
        def __call__(self, x, time, conditioning=NO_CONDITIONING):
            trunk = FourierTrunk()
            c = nn.Dense(HIDDEN)(trunk.time_features(time))
            h = nn.Dense(HIDDEN)(trunk.features(x)) + c[:, None]
            for _ in range(num_blocks):
                y = nn.LayerNorm()(h)
                h = h + nn.MultiHeadDotProductAttention(HEADS)(y, y)
                y = nn.Dense(4 * HIDDEN)(nn.LayerNorm()(h))
                h = h + nn.Dense(HIDDEN)(nn.gelu(y, approximate=False))
            return nn.Dense(2)(nn.LayerNorm()(h))

    return Plain()


def set_transformer(num_blocks: int, num_inducing: int = 0):
    from tiny_diffusion_jax.models.fourier_mlp import FourierTrunk
    from tiny_diffusion_jax.models.set_transformer import SetTransformer

    trunk = FourierTrunk(hidden_dim=HIDDEN, num_blocks=num_blocks)
    return SetTransformer(trunk, HEADS, num_inducing)


def plain_loop(model, num_sets: int, num_points: int, steps: int = 30) -> float:
    """Training sets per second in a plain loop with one jitted step per call."""
    import jax
    import jax.numpy as jnp
    import optax

    optimizer, shape = optax.adamw(2e-3), (num_sets, num_points, 2)
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros(shape), jnp.zeros(num_sets))
    state = optimizer.init(params)

    @jax.jit
    def step(params, state, key):
        x_key, eps_key, t_key = jax.random.split(key, 3)
        x, eps = jax.random.normal(x_key, shape), jax.random.normal(eps_key, shape)
        t = jax.random.uniform(t_key, (num_sets,))
        x_t = jnp.sqrt(1 - t)[:, None, None] * x + jnp.sqrt(t)[:, None, None] * eps
        loss = lambda params: jnp.mean((model.apply(params, x_t, t) - eps) ** 2)
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    def once():
        nonlocal params, state
        for i in range(steps):
            params, state = step(params, state, jax.random.key(i))
        jax.block_until_ready(params)

    return steps * num_sets / median_seconds(once, 5)


def training_speed(model, num_sets: int, num_points: int, slices: int) -> dict:
    """Training sets per second with blocks of 20 steps, and the arithmetic rate in GFLOP/s."""
    import jax
    import jax.numpy as jnp
    from ml_collections import FrozenConfigDict

    from tiny_diffusion_jax import default_config, devices, diffusion
    from tiny_diffusion_jax.data.densities import make_dataset
    from tiny_diffusion_jax.diffusion.schedules import make_schedule
    from tiny_diffusion_jax.point_sets import PointSets
    from tiny_diffusion_jax.training.batches import make_batch_spec
    from tiny_diffusion_jax.training.step import init_state, make_train_block

    config = default_config()
    config.train.update(num_sets=num_sets, num_points=num_points, block=20)
    draw = jax.tree_util.Partial(lambda key, b, n: PointSets(jax.random.normal(key, (b, n, 2))))
    dataset = make_dataset(draw, normalize=False)
    process = diffusion.make_process(make_schedule(**config.schedule))
    state = init_state(jax.random.key(0), model, FrozenConfigDict(config.train))
    spec = make_batch_spec(config.train, model)
    block = make_train_block(
        model, FrozenConfigDict(config.train), devices.make_mesh(), slices
    )
    arguments = dataset, process, jax.random.key(1)
    run = block.lower(state, *arguments, steps=20, spec=spec).compile()

    def once():
        nonlocal state  # each call continues from the last state
        state, _ = jax.block_until_ready(run(state, *arguments))

    seconds = median_seconds(once, 5)
    zeros = jnp.zeros((num_sets, num_points, 2)), jnp.zeros(num_sets)
    cost = jax.jit(model.apply).lower(state.params, *zeros).compile().cost_analysis()
    return {
        "sets_per_second": 20 * num_sets / seconds,
        "parameters": sum(p.size for p in jax.tree.leaves(state.params)),
        "gflops": 3 * cost["flops"] * 20 / seconds / 1e9,  # a gradient costs 2 forward passes
    }


def speed(num_sets: int, num_points: int, num_blocks: int, pairs: int) -> list[dict]:
    """Time the set transformer, the plain one and variants between them, in turn."""
    size, rows = (num_sets, num_points), []
    plain, ours = plain_transformer(num_blocks), set_transformer(num_blocks)
    inducing = set_transformer(num_blocks, 16)
    for _ in range(pairs):
        row = {
            "plain": training_speed(plain, *size, slices=1),
            "plain, 2 slices": training_speed(plain, *size, slices=2),
            "ours, 1 slice": training_speed(ours, *size, slices=1),
            "ours": training_speed(ours, *size, slices=2),
            "ours, 16 inducing points": training_speed(inducing, *size, slices=2),
            "plain, in a plain loop": {"sets_per_second": plain_loop(plain, *size)},
        }
        rate = {name: value["sets_per_second"] for name, value in row.items()}
        row["ratio"] = rate["ours"] / rate["plain"]
        row["ratio_to_plain_loop"] = rate["ours"] / rate["plain, in a plain loop"]
        rows.append(row)
        print({name: round(value) for name, value in rate.items()}, flush=True)
    return rows


def cost(sizes: list[int], num_blocks: int) -> list[dict]:
    """Microseconds per point of one network evaluation, for sets of several sizes."""
    import jax
    import jax.numpy as jnp

    rows = []
    for points in sizes:
        row = {"num_points": points}
        for name, num_inducing in (("full", 0), ("inducing", 16)):
            num_sets = max(4096 // points, 1)
            x, time = jnp.ones((num_sets, points, 2)), jnp.ones(num_sets)
            model = set_transformer(num_blocks, num_inducing)
            params = jax.jit(model.init)(jax.random.key(0), x, time)
            evaluate = functools.partial(jax.jit(model.apply), params, x, time)
            seconds = median_seconds(lambda run=evaluate: run().block_until_ready())
            row[f"{name}_us_per_point"] = seconds / x[..., 0].size * 1e6
        rows.append(row)
        print(row, flush=True)
    return rows


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("speed", "cost"))
    parser.add_argument("--num_sets", type=int, default=64)
    parser.add_argument("--num_points", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=4, help="blocks of the networks")
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--sizes", default="64,256,1024,4096", help="points per set, for cost")
    parser.add_argument("--output", type=Path, help="the JSON file")
    args = parser.parse_args(argv)
    if args.what == "speed":
        rows = speed(args.num_sets, args.num_points, args.blocks, args.pairs)
    else:
        rows = cost([int(size) for size in args.sizes.split(",")], args.blocks)
    write(args.output or RESULTS / f"transformer_{args.what}.json", {
        "command": command(__file__, argv), "machine": machine(),
        "large_matmul_gflops": matmul_rate(1024, 1024, 10), "rows": rows,
    })  # fmt: skip


if __name__ == "__main__":
    main()
