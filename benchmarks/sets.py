"""Models of whole sets: quality, the growth of histories, training speed, cost per point.

    python benchmarks/sets.py quality --members=dino+moons        # trains every model: an hour
    python benchmarks/sets.py quality --members=dino+moons --models=history,set_latent
    python benchmarks/sets.py growth --workdir=runs/mixture_dino+moons_history
    python benchmarks/sets.py speed                               # against a plain implementation
    python benchmarks/sets.py cost                                # of a point, by the set's size

Each writes benchmarks/results/sets_*.json. `quality` runs main.py and reads its metrics.json; a
model trained already is not trained again.
"""

import argparse
import functools
import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "benchmarks"))

from speed import matmul_rate, median_seconds  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
MODELS = ("set_transformer", "history", "set_latent", "fourier_mlp", "attention_v1",
          "attention_v2", "seq2seq")  # fmt: skip


def save(name: str, rows) -> None:
    """Writes the rows, by name of file."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(rows, indent=2) + "\n")


# ---------------------------------------------------------------- quality


def quality(members: str, models: list[str], steps: int | None) -> None:
    """Trains and measures each model by main.py; a table of them all."""
    file = "sets_quality_" + members.replace("+", "_").replace(":", "")
    path = RESULTS / f"{file}.json"
    rows = json.loads(path.read_text()) if path.exists() else {}
    for model in models:
        command = [f"--config=configs/mixture.py:{members}", f"--config.model.name={model}"]
        if steps:
            command.append(f"--config.train.steps={steps}")
        subprocess.run([sys.executable, "main.py", *command], cwd=ROOT, check=True)
        workdir = ROOT / "runs" / f"mixture_{members.replace(':', '')}_{model}"
        result = json.loads((workdir / "metrics.json").read_text())
        rows[model] = {"command": " ".join(["python main.py", *command])} | {
            key: result[key] for key in ("metrics", "parameters", "seconds", "sample", "versions")
        }
        save(file, rows)
    print(table(rows))


def table(rows: dict) -> str:
    """The rows of `quality` as Markdown."""
    lines = ["| model | separation | stray points | members | sliced W2 / floor | training | "
             "parameters | sampling 1,000 sets |", "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    order = [model for model in MODELS if model in rows]
    for model in order:
        row = rows[model]
        m, seconds = row["metrics"], row["seconds"]
        within = m.get("within_sliced_wasserstein2")
        shares = " : ".join(f"{100 * x:.0f}" for x in m["frequency_error"]["members"])
        lines.append(
            f"| {model} | {100 * m['separation']['value']:.1f} % | "
            f"{100 * m['stray']['value']:.2f} % | {shares} | "
            f"{within['ratio'] if within else float('nan'):.2f} | "
            f"{seconds['train']:.0f} s | {row['parameters']:,} | "
            f"{seconds['sample'] * 1000 / row['sample']['num_sets']:.0f} s |"
        )
    real = rows[order[0]]["metrics"]
    lines.append(f"| real sets | {100 * real['separation']['floor']:.1f} % | "
                 f"{100 * real['stray']['floor']:.2f} % | | 1 | | | |")
    return "\n".join(lines)


# ---------------------------------------------------------------- growth of a history


def growth(workdir: Path) -> None:
    """Separation and time of a trained `history` for several growths, and their figure."""
    import jax
    from samplers import load

    import tiny_diffusion_jax as td
    from tiny_diffusion_jax import generation
    from tiny_diffusion_jax.evaluate import separation
    from tiny_diffusion_jax.figures import sets as set_plots

    setup, params = load(workdir)
    config = setup.config.sample.copy_and_resolve_references()
    config.num_sets = 200
    calibration = separation.calibrate(setup.dataset, jax.random.key(3), config.num_points)
    rows = []
    for g in (1.0, 1.25, 1.5, 2.0, 4.0):
        config.growth = g
        td.sample(setup, params, config)  # compiles
        start = time.perf_counter()
        sets = td.sample(setup, params, config)
        seconds = time.perf_counter() - start
        found = separation.summarize(
            separation.separate(calibration, sets), setup.dataset.weights
        )
        blocks = len(generation.block_sizes(config.num_points, 0, config.first_block, g))
        rows.append({
            "growth": g, "label": f"{g:g}", "blocks": blocks, "seconds": seconds,
            "num_sets": config.num_sets,
        } | {
            name: found[name] for name in ("separation", "separation_se", "stray", "stray_se")
        })  # fmt: skip
        print(rows[-1], flush=True)
    save("sets_growth", rows)
    real = setup.dataset.draw(jax.random.key(5), 1000, config.num_points).points
    floor = float(separation.separate(calibration, real).accepted.mean())
    title = "History: growth of the blocks"
    set_plots.save_tradeoff(RESULTS / "sets_growth.png", rows, title, floor)


# ---------------------------------------------------------------- speed


def plain_transformer(hidden: int, blocks: int, heads: int):
    """The straightforward one: separate q, k, v, LayerNorm, GELU by erf, MLP of ratio 4."""
    import flax.linen as nn

    from tiny_diffusion_jax.models.fourier_mlp import FourierTrunk

    class Plain(nn.Module):
        per_point, history, latent_dim, num_labels = False, "", 0, 0

        @nn.compact
        def __call__(self, x, time, *, history=None, label=None, mask=None, target=None):
            trunk = FourierTrunk()
            c = nn.Dense(hidden)(trunk.time_features(time))
            h = nn.Dense(hidden)(trunk.features(x)) + c[:, None]
            for _ in range(blocks):
                y = nn.LayerNorm()(h)
                h = h + nn.MultiHeadDotProductAttention(heads)(y, y)
                y = nn.Dense(4 * hidden)(nn.LayerNorm()(h))
                h = h + nn.Dense(hidden)(nn.gelu(y, approximate=False))
            return nn.Dense(2)(nn.LayerNorm()(h))

    return Plain()


def plain_loop(num_sets: int, num_points: int, steps: int = 30) -> float:
    """Sets per second of the plain network in a plain loop: one jitted step a call."""
    import jax
    import jax.numpy as jnp
    import optax

    model, optimizer = plain_transformer(64, 4, 4), optax.adamw(2e-3)
    shape = (num_sets, num_points, 2)
    params = model.init(jax.random.key(0), jnp.zeros(shape), jnp.zeros(num_sets))
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


def training_speed(model, num_sets: int, num_points: int, shards: int) -> dict:
    """Training sets per second, from blocks of 20 steps, and the rate of their arithmetic."""
    import jax
    import jax.numpy as jnp

    from tiny_diffusion_jax import diffusion
    from tiny_diffusion_jax.config import default_config
    from tiny_diffusion_jax.data.base import PointSets, make_dataset
    from tiny_diffusion_jax.diffusion import schedules
    from tiny_diffusion_jax.training import step as training

    config = default_config()
    config.train.update(num_sets=num_sets, num_points=num_points, block=20, shards=shards)
    draw = jax.tree_util.Partial(lambda key, b, n: PointSets(jax.random.normal(key, (b, n, 2))))
    dataset = make_dataset(draw, normalize=False)
    process = diffusion.make_process(schedules.make_schedule(**config.schedule))
    optimizer = training.make_optimizer(config.train)
    state = training.init_state(jax.random.key(0), model, optimizer, num_points)
    plan = training.make_plan(config.train, model)
    block = training.make_train_block(process, model, optimizer, config.train)
    run = block.lower(state, dataset, jax.random.key(1), steps=20, plan=plan).compile()

    def once():
        nonlocal state  # donated: each call takes the last one's
        state, _ = jax.block_until_ready(run(state, dataset, jax.random.key(1)))

    seconds = median_seconds(once, 5)
    parameters = sum(p.size for p in jax.tree.leaves(state.params))
    zeros = jnp.zeros((num_sets, num_points, 2)), jnp.zeros(num_sets)
    cost = jax.jit(model.apply).lower(state.params, *zeros).compile().cost_analysis()
    return {
        "sets_per_second": 20 * num_sets / seconds, "parameters": parameters,
        "gflops": 3 * cost["flops"] * 20 / seconds / 1e9,  # a gradient costs twice the forward pass
    }


def speed() -> None:
    """Ours against the plain one, in turn, and what each of the changes brings."""
    from tiny_diffusion_jax.models.fourier_mlp import FourierTrunk
    from tiny_diffusion_jax.models.set_transformer import SetTransformer

    trunk = FourierTrunk(hidden_dim=64, num_blocks=4)
    ours = SetTransformer(trunk, num_heads=4, num_inducing=0)
    rows = {"matmul_gflops": matmul_rate(1024, 1024, 10), "pairs": []}
    for _ in range(2):
        pair = {
            "plain": training_speed(plain_transformer(64, 4, 4), 64, 64, shards=1),
            "plain, 2 shards": training_speed(plain_transformer(64, 4, 4), 64, 64, shards=2),
            "ours, 1 shard": training_speed(ours, 64, 64, shards=1),
            "ours": training_speed(ours, 64, 64, shards=2),
            "ours, 16 inducing points": training_speed(
                SetTransformer(trunk, 4, 16), 64, 64, shards=2),
        }
        pair["plain, in a plain loop"] = {"sets_per_second": plain_loop(64, 64)}
        pair["ratio_to_plain_loop"] = (
            pair["ours"]["sets_per_second"] / pair["plain, in a plain loop"]["sets_per_second"]
        )
        pair["ratio"] = pair["ours"]["sets_per_second"] / pair["plain"]["sets_per_second"]
        rows["pairs"].append(pair)
        print(json.dumps(pair, indent=1), flush=True)
        save("sets_speed", rows)


def cost() -> None:
    """Microseconds a point for sets of 64 to 4,096 points, of an evaluation."""
    import jax
    import jax.numpy as jnp

    from tiny_diffusion_jax.models.fourier_mlp import FourierTrunk
    from tiny_diffusion_jax.models.set_transformer import SetTransformer

    trunk, rows = FourierTrunk(hidden_dim=64, num_blocks=4), []
    for points in (64, 256, 1024, 4096):
        row = {"num_points": points}
        for name, inducing in (("full", 0), ("inducing", 16)):
            model = SetTransformer(trunk, 4, inducing)
            num_sets = max(4096 // points, 1)
            x, time_ = jnp.ones((num_sets, points, 2)), jnp.ones(num_sets)
            params = jax.jit(model.init)(jax.random.key(0), x, time_)
            run = jax.jit(model.apply)
            evaluate = functools.partial(run, params, x, time_)
            seconds = median_seconds(lambda call=evaluate: call().block_until_ready())
            row[f"{name}_us_per_point"] = seconds / x[..., 0].size * 1e6
        rows.append(row)
        print(row, flush=True)
    save("sets_cost", rows)


def main() -> None:
    """See the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("quality", "growth", "speed", "cost"))
    parser.add_argument("--members", default="dino+moons")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--steps", type=int, help="of training, in place of the config's")
    parser.add_argument("--workdir", type=Path, default=ROOT / "runs/mixture_dino+moons_history")
    options = parser.parse_args()
    if options.what == "quality":
        return quality(options.members, options.models.split(","), options.steps)
    if options.what == "growth":
        return growth(options.workdir)
    return speed() if options.what == "speed" else cost()


if __name__ == "__main__":
    main()
