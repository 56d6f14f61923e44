"""Measure likelihood, quality and novelty of generated sets on SpatialMNIST.

    python benchmarks/spatial_mnist.py --models=rows      # trains for 1.5 hours on one CPU core
    python benchmarks/spatial_mnist.py --models=mnist     # the released model, no training
    python benchmarks/spatial_mnist.py --quick            # bundled digits: 94 s on two CPU cores

main.py trains each of --models in runs/spatial_mnist_MODEL, unless that run is finished. A model is
`rows`, `given` or another model of configs/spatial_mnist.py, or one of these variants:

    rows_128, given_128     128 sets per training step instead of 32.
    rows_absolute, given_absolute, causal_absolute
                            without relative positions, like all of the following variants.
    rows_4, columns, sorted_x
                            another order: rows of 4 pixels, columns of 1, the first coordinate.
    unlabelled              training without labels.
    fixed                   no labels, and one fixed set of each of 45,000 training images, from
                            `spatial_protocol.py --write=runs/spatial`.

MODEL@SEED is a training with another seed. Words after `--` are options of main.py.
`--release=NAME` puts the first of these models into the package, with its row as its scores. The
table compares the models with real sets and these baselines:

    independent          one density for all images.
    images               a mixture of blurred training images, without training.
    pixels, pixel_rows   a transformer on the pixel grid, in random order or in rows, no diffusion.

All rows use the same test sets, one per test image (spatial_protocol.py). The columns are:

    PPLL        log p(X) / N, nats per point in [0, 28]^2, mean and standard error over test sets.
                If p depends on the order of the points, the mean density over --orders random
                orders. For points in rows, log p(rows(X)) / N - log(N!) / N, which is independent
                of the order, and a lower bound (rows_order.py measures the difference).
    one order   PPLL of one order, which is a lower bound of PPLL.
    1-NNA, COV, MMD   metrics under Chamfer (CD, squared) and earth mover's distance (EMD) in a
                picture of side 1, against --sets test sets; 1-NNA of 50 % means no difference.
    copies      share of sets closer to a training image than 99 % of the test sets.
    halves      1-NNA (CD) of the generated and of the real sets, and the mean of
                |half - 50 %|: generated sets may lie among real ones and not reach all of them.
    two-sample  accuracy of a classifier that tells generated from real sets; 50 %: it cannot.
    label       share of sets with the conditioning label, according to a classifier; guided: with
                guidance scale 2, or 1.2 and the Frechet distance of these sets.
    Frechet     Frechet distance in the features of this classifier, mean and standard error over
                3 seeds.
    given h     log p(the other points | h given points) / (N - h), of --given_sets test sets.
    completed   share of test sets whose label the classifier names after half of the points were
                drawn anew, given the other half. Exact draws of these points have a share of at
                least `completed_exact` in the file, see completions.py, and real sets have
                `completed_real`. told: the same, and the model knows the label.
    draw        seconds for --sets sets, without compilation.

Prints a table and writes benchmarks/results/spatial_mnist.json, which keeps other rows.
"""

import argparse
import functools
import json
import subprocess
import time
from pathlib import Path

import jax
import numpy as np
from baselines import BlurredImages, Independent, PixelSoftmax
from common import RESULTS, ROOT, command, finished, machine, of_training, write
from completions import exact_share, of_completions
from release import release
from spatial_protocol import SEED, Bench, experiment_of, table

import tiny_diffusion_jax as td
from tiny_diffusion_jax.config import editable
from tiny_diffusion_jax.run import released
from tiny_diffusion_jax.sets import strategy_of

BASELINES = ("independent", "images", "pixels", "pixel_rows", "real")
WEAK, GUIDED = 1.2, 2.0  # guidance scales
FRECHET_SEEDS = 3, 4
ABSOLUTE = "--config.model.relative=False"
VARIANTS = {  # name: a model of configs/spatial_mnist.py, and options of main.py
    "rows_128": ("rows", "--config.train.num_sets=128", "--config.train.steps=20000"),
    "given_128": ("given", "--config.train.num_sets=128"),
    "rows_absolute": ("rows", ABSOLUTE),
    "given_absolute": ("given", ABSOLUTE),
    "causal_absolute": ("causal", ABSOLUTE),
    "rows_4": ("rows", ABSOLUTE, "--config.model.order=rows:4"),
    "columns": ("rows", ABSOLUTE, "--config.model.order=columns:1"),
    "sorted_x": ("rows", ABSOLUTE, "--config.model.order=coordinate:x"),
    "unlabelled": ("rows", ABSOLUTE, "--config.model.labels=False"),
    "fixed": ("rows", ABSOLUTE, "--config.model.labels=False", "--config.data.name=sets",
              "--config.data.path=runs/spatial/train.npz", "--config.data.array=sets",
              "--config.data.jitter=none"),
}  # fmt: skip
QUICK = [
    "--config.data.source=digits", "--config.train.steps=60", "--config.train.num_points=16",
    "--config.sample.num_points=16", "--config.sample.num_sets=32", "--config.train.block=30",
    "--config.evaluate.frames=0", "--config.train.num_sets=16", "--config.sample.num_steps=8",
]  # fmt: skip


def of_model(bench: Bench, experiment, params, likelihood_steps: int, orders: int) -> dict:
    """Return the row of a trained model."""
    def draw(labels=None, **options):
        config = editable(experiment.config.sample)
        config.update(num_sets=bench.count, label=-2, **options)
        return td.sample(experiment, params, config, labels=labels)

    result = {}
    if likelihood_steps:
        model = experiment.model
        has_order = strategy_of(model).grows and not strategy_of(model).sorts
        result |= bench.likelihood(lambda sets: td.log_prob(
            experiment, params, sets, likelihood_steps), orders if has_order else 1)  # fmt: skip
    draw(seed=1)  # compiles
    began = time.perf_counter()
    sets = draw(seed=2)
    seconds = time.perf_counter() - began
    result |= bench.quality(sets, None) | {"draw_seconds": seconds}
    each = [result["frechet"], *(bench.frechet(draw(seed=seed)) for seed in FRECHET_SEEDS)]
    result |= {"frechet": np.mean(each), "frechet_se": np.std(each, ddof=1) / len(each) ** 0.5}
    scales = (("label", 1.0), ("label_weak", WEAK), ("label_guided", GUIDED))
    asked = np.arange(bench.count) % max(experiment.dataset.num_labels, 1)
    for name, scale in scales if experiment.model.num_labels else ():
        named = draw(labels=asked, guidance_scale=scale)
        result[name] = float(np.mean(bench.predict(named) == asked))
        if scale == WEAK:
            result["frechet_weak"] = bench.frechet(named)
    return result | {
        "parameters": sum(p.size for p in jax.tree.leaves(params)),
        "sample": experiment.config.sample.to_dict(),
    }


def of_baseline(bench: Bench, name: str, pixel_steps: int, orders: int) -> dict:
    began, count, N = time.perf_counter(), bench.count, bench.num_points
    images = np.asarray(bench.dataset.images)
    if name == "real":
        return bench.quality(bench.test[count : 2 * count], bench.labels[count : 2 * count])
    if name == "independent":
        made = Independent(images)
    elif name == "images":
        made = BlurredImages(images, np.asarray(bench.dataset.source_labels), bench.validation())
    else:
        made = PixelSoftmax(bench.dataset, N, pixel_steps, in_rows=name == "pixel_rows")
    seconds = time.perf_counter() - began
    orders = orders if name == "pixels" else 1
    return bench.likelihood(made.log_prob, orders) | bench.quality(*made.draw(count, N, SEED)) | {
        "train_seconds": seconds}  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", default="rows", help="separated by commas; '' for none")
    parser.add_argument("--baselines", "--yardsticks", default=",".join(BASELINES),
                        help="--yardsticks is the name in older commands; '' for none")  # fmt: skip
    parser.add_argument("--sets", type=int, default=1_000, help="generated sets, and real sets")
    parser.add_argument("--test", type=int, default=10_000, help="number of test sets for the PPLL")
    parser.add_argument("--likelihood_steps", type=int, default=16, help="Runge-Kutta; 0: no PPLL")
    parser.add_argument("--orders", type=int, default=1, help="orders of the points for the PPLL")
    parser.add_argument("--pixel_steps", type=int, default=6_000, help="training steps of `pixels`")
    parser.add_argument("--given", default="10,25,40", help="numbers of given points; '' for none")
    parser.add_argument("--given_sets", type=int, default=200)
    parser.add_argument("--release", default="", help="release the first model with this name")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs")
    parser.add_argument("--quick", action="store_true", help="small sizes, to test the benchmark")
    parser.add_argument("--output", type=Path, help="default: results/spatial_mnist.json")
    parser.add_argument("options", nargs="*", help="options of main.py, after --")
    args = parser.parse_args(argv)
    prefix, options = "spatial_mnist_", args.options
    if args.quick:
        prefix, options = "spatial_quick_", QUICK + args.options
        args.given = "4,8" if args.given else ""
        for name, most in {"sets": 40, "test": 60, "pixel_steps": 50, "orders": 2,
                           "given_sets": 4}.items():  # fmt: skip
            setattr(args, name, min(getattr(args, name), most))
    output = args.output or (args.runs if args.quick else RESULTS) / f"{prefix[:-1]}.json"
    flags = lambda model: flags_of(model) + options
    models = [name for name in args.models.split(",") if name]
    loaded = {name: _load(name, args.runs / f"{prefix}{name}", flags(name)) for name in models}
    bench = Bench(experiment_of(flags("causal")), args.sets, args.test)
    known = json.loads(output.read_text("utf-8")) if output.exists() else {}
    rows = known["rows"] if known.get("test_sets") == bench.hash else {}
    for name in filter(None, args.baselines.split(",")):
        rows[name] = of_baseline(bench, name, args.pixel_steps, args.orders)
    exact = functools.cache(lambda: exact_share(bench))  # computed if a model completes sets
    for name, (experiment, params, made) in loaded.items():
        rows[name] = of_model(bench, experiment, params, args.likelihood_steps, args.orders) | made
        rows[name] |= of_completions(bench, experiment, params, args.likelihood_steps or 16,
                                     [int(h) for h in args.given.split(",") if h],
                                     args.given_sets, exact)  # fmt: skip
    if args.release:
        experiment, params, made = loaded[models[0]]
        release(args.release, experiment, params, made["command"], rows[models[0]])
    write(output, {
        "command": command(__file__, argv), "machine": machine(), "commit": _commit(),
        "test_sets": bench.hash, "sets": bench.count, "source": bench.dataset.source, "rows": rows,
    })  # fmt: skip
    print(f"test sets {bench.hash}, {bench.dataset.title}", table(rows), sep="\n\n")


def flags_of(model: str) -> list[str]:
    """Return the options of main.py for one of --models, for example rows_4 or given@1."""
    name, _, seed = model.partition("@")
    base, *options = VARIANTS.get(name, (name,))
    return [f"--config=configs/spatial_mnist.py:{base}", *options,
            *([f"--config.seed={seed}"] if seed else [])]  # fmt: skip


def _load(name: str, folder: Path, flags: list[str]) -> tuple[td.Experiment, dict, dict]:
    """Load a released model or the run in `folder`, and train the run if needed.

    Also returns the command and the seconds of its training.
    """
    if name in released.names():
        row = released.describe(name)["scores"]
        made = {field: row[field] for field in ("command", "train_seconds")}
        return *released.load_released(name, with_data=True), made
    made = of_training(finished(folder, flags), flags)
    return *td.load(folder), made


def _commit() -> str:
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, encoding="utf-8",
                           capture_output=True)  # fmt: skip
    return found.stdout.strip()


if __name__ == "__main__":
    main()
