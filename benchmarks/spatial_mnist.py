"""Measure likelihood, quality and novelty of generated sets on SpatialMNIST.

    python benchmarks/spatial_mnist.py --models=rows      # trains for 1.5 hours on one CPU core
    python benchmarks/spatial_mnist.py --models=mnist     # the released model, no training
    python benchmarks/spatial_mnist.py --quick            # bundled digits: 94 s on two CPU cores

main.py trains each of --models with configs/spatial_mnist.py in runs/spatial_mnist_MODEL, unless
that run is finished. Words after `--` are options of main.py. `--release=NAME` puts the first of
these models into the package, with its row as its scores. The table compares the models with real
sets and these baselines:

    independent          one density for all images.
    images               a mixture of blurred training images, without training.
    pixels, pixel_rows   a transformer on the pixel grid, in random order or in rows, no diffusion.

All rows use the same test sets, one per test image. The sets are drawn once and identified by a
hash. The columns are:

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
    label       share of sets with the conditioning label, according to a classifier.
    Frechet     Frechet distance in the features of this classifier, mean and standard error over
                3 seeds.
    given h     log p(the other points | h given points) / (N - h), of --given_sets test sets.
    completed   share of test sets whose label the classifier names after half of the points were
                drawn anew, given the other half.
    draw        seconds for --sets sets, without compilation.

Prints a table and writes benchmarks/results/spatial_mnist.json, which keeps other rows.
"""

import argparse
import hashlib
import json
import subprocess
import time
from pathlib import Path

import jax
import numpy as np
from baselines import BlurredImages, Independent, PixelSoftmax
from common import RESULTS, ROOT, command, finished, machine, markdown, write
from frechet import frechet
from release import release
from scipy.special import logsumexp

import tiny_diffusion_jax as td
from tiny_diffusion_jax import data
from tiny_diffusion_jax.config import editable
from tiny_diffusion_jax.metrics import classifier, memorization, ragged
from tiny_diffusion_jax.metrics import sets as set_metrics
from tiny_diffusion_jax.run import released
from tiny_diffusion_jax.sets import strategy_of

TEST_SEED, SEED = 0, 7  # seed of the test sets; seed of all other draws
YARDSTICKS = ("independent", "images", "pixels", "pixel_rows", "real")
GUIDED = 2.0
FRECHET_SEEDS = 3, 4
VALIDATION = 1_000  # sets of training images 50,001 and on
QUICK = [
    "--config.data.source=digits", "--config.train.steps=60", "--config.train.num_points=16",
    "--config.sample.num_points=16", "--config.sample.num_sets=32", "--config.train.block=30",
    "--config.evaluate.frames=0", "--config.train.num_sets=16", "--config.sample.num_steps=8",
]  # fmt: skip


class Bench:
    """Dataset, test sets, and the metrics that compare with the test sets."""

    def __init__(self, experiment: td.Experiment, num_sets: int, num_test: int):
        self.dataset, self.config = experiment.dataset, experiment.config.data
        self.num_points = experiment.config.sample.num_points
        self.side = max(self.dataset.images.shape[1:])
        heldout = self.dataset.heldout
        labels = np.asarray(heldout.source_labels)
        every = self.sets_of(heldout, np.arange(len(labels)), TEST_SEED)
        self.hash = hashlib.sha256(every.tobytes()).hexdigest()[:12]
        mixed = np.random.default_rng(TEST_SEED).permutation(len(every))
        self.test, self.labels = every[mixed], labels[mixed]
        self.scored = self.test[:num_test]
        self.count = min(num_sets, len(every) // 2)
        real = classifier.real_sets(
            self.dataset, jax.random.key(SEED), classifier.TRAIN_SETS, self.num_points
        )
        self.predict = classifier.train(*real, use_size=False)
        self.limits = classifier.limits_of(self.test)

    def sets_of(self, dataset, index, seed: int) -> np.ndarray:
        """Draw a set of each image in `index`: f32[len(index), N, 2]."""
        key = jax.random.key(seed)
        return np.asarray(ragged.real_sets(dataset, key, index, self.num_points))

    def validation(self) -> np.ndarray:
        """Draw sets of images of the training split that no model was trained on.

        If the models were trained on all images of this split, draw from all.
        """
        config = editable(self.config)
        config.max_images = 0
        every = data.build(config)
        first = self.dataset.num_sources % every.num_sources
        index = np.random.default_rng(SEED).integers(first, every.num_sources, VALIDATION)
        return self.sets_of(every, index, SEED)

    def likelihood(self, log_prob, orders: int = 1) -> dict:
        """PPLL of the test sets under `log_prob(sets) -> f[S]`, over `orders` orders of points."""
        began, rng = time.perf_counter(), np.random.default_rng(SEED)
        each = [np.asarray(log_prob(self.scored), np.float64)]
        for _ in range(1, orders):
            order = rng.permuted(np.tile(np.arange(self.num_points), (len(self.scored), 1)), axis=1)
            mixed = np.take_along_axis(self.scored, order[..., None], axis=1)
            each.append(np.asarray(log_prob(mixed), np.float64))
        found = logsumexp(self.num_points * np.stack(each), 0, b=1 / len(each)) / self.num_points
        of_orders = {"ppll_orders": orders, "ppll_one_order": np.mean(each)} if orders > 1 else {}
        return {"ppll": found.mean(), "ppll_se": found.std() / len(found) ** 0.5,
                "ppll_sets": len(found), "ppll_seconds": time.perf_counter() - began,
                **of_orders}  # fmt: skip

    def partial(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return test sets f32[count, N, 2] with their points in random order, and their labels."""
        rng, sets = np.random.default_rng(SEED), self.test[:count]
        order = rng.permuted(np.tile(np.arange(self.num_points), (len(sets), 1)), axis=1)
        return np.take_along_axis(sets, order[..., None], axis=1), self.labels[:count]

    def frechet(self, sets: np.ndarray) -> float:
        """Frechet distance of `count` sets from as many test sets."""
        groups = sets[: self.count], self.test[: self.count]
        return frechet(*(classifier.histograms(x, self.limits) for x in groups))

    def quality(self, sets: np.ndarray, labels) -> dict:
        """Metrics of at least `count` generated sets; labels: conditioning labels i[S], or None."""
        n, unit = self.count, 1 / self.side
        sets, real, other = sets[:n], self.test[:n], self.test[n : 2 * n]
        compared = set_metrics.compare_sets(sets * unit, real * unit, other * unit, n)
        result = {name: entry["value"] for name, entry in compared.items()}
        for name in ("nna_cd", "nna_emd"):
            result[f"{name}_halves"] = list(compared[name]["halves"].values())
        result["two_sample"] = classifier.two_sample_accuracy(sets, real)
        copies = memorization.compare(self.dataset, jax.random.key(SEED + 1), sets)
        result |= {"copies": copies["value"], "copies_p": copies["p_value"]}
        result["frechet"] = self.frechet(sets)
        if labels is not None:
            result["label"] = float(np.mean(self.predict(sets) == labels[:n]))
        return result


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
    asked = np.arange(bench.count) % experiment.dataset.num_labels
    result |= bench.quality(sets, None) | {"draw_seconds": seconds}
    each = [result["frechet"], *(bench.frechet(draw(seed=seed)) for seed in FRECHET_SEEDS)]
    result |= {"frechet": np.mean(each), "frechet_se": np.std(each, ddof=1) / len(each) ** 0.5}
    for name, scale in (("label", 1.0), ("label_guided", GUIDED)):
        named = draw(labels=asked, guidance_scale=scale)
        result[name] = float(np.mean(bench.predict(named) == asked))
    return result | {
        "parameters": sum(p.size for p in jax.tree.leaves(params)),
        "sample": experiment.config.sample.to_dict(),
    }


def of_completions(bench: Bench, experiment, params, steps: int, sizes, count: int) -> dict:
    """Conditional likelihoods of `count` test sets, and the labels of as many completed sets.

    sizes: numbers h of given points. Half of the points of a completed set are given.
    """
    model = experiment.model
    if not (strategy_of(model).grows and model.traits.completes) or not sizes:
        return {}
    sets, labels = bench.partial(count)
    each = {h: td.log_prob(experiment, params, sets, steps, num_given=h) for h in sizes}
    made = [td.complete(experiment, params, points[: bench.num_points // 2], num_sets=1, seed=i)[0]
            for i, points in enumerate(sets)]  # fmt: skip
    return {
        "given": {str(h): [x.mean(), x.std() / len(x) ** 0.5] for h, x in each.items()},
        "completed": float(np.mean(bench.predict(np.array(made)) == labels)),
        "completed_real": float(np.mean(bench.predict(sets) == labels)), "given_sets": len(sets),
    }  # fmt: skip


def of_yardstick(bench: Bench, name: str, pixel_steps: int, orders: int) -> dict:
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


COLUMNS = {
    "PPLL": lambda r: f"{r['ppll']:.3f} ± {r['ppll_se']:.3f}",
    "one order": lambda r: f"{r['ppll_one_order']:.3f}",
    "1-NNA CD / EMD": lambda r: f"{100 * r['nna_cd']:.1f} / {100 * r['nna_emd']:.1f} %",
    "COV CD / EMD": lambda r: f"{100 * r['cov_cd']:.1f} / {100 * r['cov_emd']:.1f} %",
    "MMD CD / EMD": lambda r: f"{r['mmd_cd']:.5f} / {r['mmd_emd']:.4f}",
    "halves": lambda r: " / ".join(f"{100 * half:.1f}" for half in r["nna_cd_halves"])
    + f" ({100 * np.mean(np.abs(np.subtract(r['nna_cd_halves'], 0.5))):.1f}) %",
    "two-sample": lambda r: f"{100 * r['two_sample']:.1f} %",
    "copies": lambda r: f"{100 * r['copies']:.1f} %",
    "label": lambda r: f"{100 * r['label']:.1f} %",
    "guided": lambda r: f"{100 * r['label_guided']:.1f} %",
    "Frechet": lambda r: f"{r['frechet']:.4f}" + (
        f" ± {r['frechet_se']:.4f}" if "frechet_se" in r else ""),
    "given": lambda r: ", ".join(f"{h}: {mean:.3f} ± {error:.3f}"
                                 for h, (mean, error) in r["given"].items()),
    "completed": lambda r: f"{100 * r['completed']:.1f} % of {100 * r['completed_real']:.1f} %",
    "draw": lambda r: f"{r['draw_seconds']:.1f} s",
    "training": lambda r: f"{r['train_seconds'] / 60:.0f} min",
}


def table(rows: dict[str, dict]) -> str:
    """Format the rows as a Markdown table; missing metrics give empty cells."""
    lines = []
    for name, row in rows.items():
        cells = []
        for column in COLUMNS.values():
            try:
                cells.append(column(row))
            except KeyError:
                cells.append("")
        lines.append((name, *cells))
    return markdown(("", *COLUMNS), lines)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", default="rows", help="separated by commas; '' for none")
    parser.add_argument("--yardsticks", default=",".join(YARDSTICKS))
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
    flags = lambda model: [f"--config=configs/spatial_mnist.py:{model}", *options]
    models = [name for name in args.models.split(",") if name]
    loaded = {name: _load(name, args.runs / f"{prefix}{name}", flags(name)) for name in models}
    experiment = next(iter(loaded.values()))[0] if loaded else _experiment(flags("rows"))
    bench = Bench(experiment, args.sets, args.test)
    known = json.loads(output.read_text("utf-8")) if output.exists() else {}
    rows = known["rows"] if known.get("test_sets") == bench.hash else {}
    for name in filter(None, args.yardsticks.split(",")):
        rows[name] = of_yardstick(bench, name, args.pixel_steps, args.orders)
    for name, (experiment, params, made) in loaded.items():
        rows[name] = of_model(bench, experiment, params, args.likelihood_steps, args.orders) | made
        rows[name] |= of_completions(bench, experiment, params, args.likelihood_steps or 16,
                                     [int(h) for h in args.given.split(",") if h],
                                     args.given_sets)  # fmt: skip
    if args.release:
        experiment, params, made = loaded[models[0]]
        release(args.release, experiment, params, made["command"], rows[models[0]])
    write(output, {
        "command": command(__file__, argv), "machine": machine(), "commit": _commit(),
        "test_sets": bench.hash, "sets": bench.count, "source": bench.dataset.source, "rows": rows,
    })  # fmt: skip
    print(f"test sets {bench.hash}, {bench.dataset.title}", table(rows), sep="\n\n")


def _load(name: str, folder: Path, flags: list[str]) -> tuple[td.Experiment, dict, dict]:
    """Load a released model or the run in `folder`, and train the run if needed.

    Also returns the command and the seconds of its training.
    """
    if name in released.names():
        row = released.describe(name)["scores"]
        made = {field: row[field] for field in ("command", "train_seconds")}
        return *released.load_released(name, with_data=True), made
    seconds = finished(folder, flags)["seconds"]
    return *td.load(folder), {"command": " ".join(["python main.py", *flags]),
                              "train_seconds": seconds["compile"] + seconds["train"]}  # fmt: skip


def _experiment(flags: list[str]) -> td.Experiment:
    from tiny_diffusion_jax.cli.flags import parse

    return td.build(parse(["main.py", *flags]).config)


def _commit() -> str:
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, encoding="utf-8",
                           capture_output=True)  # fmt: skip
    return found.stdout.strip()


if __name__ == "__main__":
    main()
