"""The protocol of SpatialMNIST: write its sets, and score the numbers and samples of any model.

    python benchmarks/spatial_protocol.py --write=spatial       # spatial/test.npz and train.npz
    python benchmarks/spatial_protocol.py --name=mine --log_likelihoods=log_p.npy \
        --samples=samples.npy

A set has 50 different pixels of an image (arXiv 1606.02185; generator: data/images.py). test.npz
has one set of each of the 10,000 test images in random order, `sets` f32[10000, 50, 2] in
[0, 28]^2 with y up, and `labels`. train.npz has --per_image sets of each of the 50,000 training
images. The hash of the test sets identifies them.

log_p.npy holds f[n], the log-likelihood of the first n test sets in nats per point (the log density
of a set divided by 50) in [0, 28]^2. samples.npy holds generated sets f[S, 50, 2], and --labels
names a file with the digits i[S] that they were conditioned on. The scores are the columns of the
table of spatial_mnist.py. `--output=FILE` adds the row to a JSON file.
"""

import argparse
import functools
import hashlib
import json
import time
from pathlib import Path

import jax
import numpy as np
from common import command, markdown, write
from frechet import frechet
from scipy.special import logsumexp

import tiny_diffusion_jax as td
from tiny_diffusion_jax import data
from tiny_diffusion_jax.config import editable
from tiny_diffusion_jax.errors import require
from tiny_diffusion_jax.metrics import classifier, memorization, ragged
from tiny_diffusion_jax.metrics import sets as set_metrics

TEST_SEED, SEED = 0, 7  # seed of the test sets; seed of all other draws
VALIDATION = 1_000  # sets of training images 50,001 and on


class Bench:
    """Dataset, test sets, and the metrics that compare with the test sets."""

    def __init__(self, experiment: td.Experiment, num_sets: int, num_test: int = 0):
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
        self.limits = classifier.limits_of(self.test)

    @functools.cached_property
    def predict(self):
        """Classifier of the labels, which is trained when a score first needs it."""
        real = classifier.real_sets(
            self.dataset, jax.random.key(SEED), classifier.TRAIN_SETS, self.num_points
        )
        return classifier.train(*real, use_size=False)

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
            each.append(np.asarray(log_prob(shuffled(rng, self.scored)), np.float64))
        found = logsumexp(self.num_points * np.stack(each), 0, b=1 / len(each)) / self.num_points
        of_orders = {"ppll_orders": orders, "ppll_one_order": np.mean(each)} if orders > 1 else {}
        return {"ppll": found.mean(), "ppll_se": found.std() / len(found) ** 0.5,
                "ppll_sets": len(found), "ppll_seconds": time.perf_counter() - began,
                **of_orders}  # fmt: skip

    def partial(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return test sets f32[count, N, 2] with their points in random order, and their labels."""
        return shuffled(np.random.default_rng(SEED), self.test[:count]), self.labels[:count]

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


def shuffled(rng: np.random.Generator, sets: np.ndarray) -> np.ndarray:
    """Return sets f[S, N, D] with the points of each set in random order."""
    order = rng.permuted(np.tile(np.arange(sets.shape[1]), (len(sets), 1)), axis=1)
    return np.take_along_axis(sets, order[..., None], axis=1)


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
    "guided 1.2": lambda r: f"{100 * r['label_weak']:.1f} %, {r['frechet_weak']:.4f}",
    "Frechet": lambda r: f"{r['frechet']:.4f}" + (
        f" ± {r['frechet_se']:.4f}" if "frechet_se" in r else ""),
    "given": lambda r: ", ".join(f"{h}: {mean:.3f} ± {error:.3f}"
                                 for h, (mean, error) in r["given"].items()),
    "completed": lambda r: f"{100 * r['completed']:.1f} %",
    "told": lambda r: f"{100 * r['completed_told']:.1f} %",
    "draw": lambda r: f"{r['draw_seconds']:.1f} s",
    "training": lambda r: f"{r['train_seconds'] / 60:.0f} min",
}


def table(rows: dict[str, dict]) -> str:
    """Format the rows as a Markdown table of the columns that any of the rows has."""
    def cell(column, row: dict) -> str:
        try:
            return COLUMNS[column](row)
        except KeyError:
            return ""

    columns = [column for column in COLUMNS if any(cell(column, row) for row in rows.values())]
    return markdown(("", *columns), [(name, *(cell(column, row) for column in columns))
                                     for name, row in rows.items()])  # fmt: skip


def write_sets(bench: Bench, folder: Path, per_image: int) -> None:
    """Write test.npz, and train.npz with `per_image` sets of each training image."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "test.npz", sets=bench.test, labels=bench.labels)
    index = np.tile(np.arange(bench.dataset.num_sources), per_image)
    np.savez_compressed(
        folder / "train.npz", sets=bench.sets_of(bench.dataset, index, SEED), image=index,
        labels=np.asarray(bench.dataset.source_labels)[index],
    )  # fmt: skip
    print(f"wrote {len(bench.test):,} test sets {bench.hash} and {len(index):,} training sets to "
          f"{folder}")  # fmt: skip


def score(bench: Bench, log_p: np.ndarray | None, sets: np.ndarray | None, labels) -> dict:
    """Return the row of a model from log-likelihoods f[n] and generated sets f[S, N, 2].

    Raises UserError for another shape, numbers that are not finite, and points in other units.
    """
    row: dict = {}
    require(log_p is not None or sets is not None, "--log_likelihoods, --samples", "none given",
            "at least one file")  # fmt: skip
    require(labels is None or sets is not None and labels.shape == sets.shape[:1], "--labels",
            None if labels is None else labels.shape, "(S,), a digit for each of the samples")
    if log_p is not None:
        require(log_p.ndim == 1 and 1 < len(log_p) <= len(bench.test), "--log_likelihoods: shape",
                log_p.shape, f"(n,) with n from 2 to {len(bench.test)}")  # fmt: skip
        require(bool(np.isfinite(log_p).all()), "--log_likelihoods", "infinite or NaN", "finite")
        row |= {"ppll": log_p.mean(), "ppll_se": log_p.std() / len(log_p) ** 0.5,
                "ppll_sets": len(log_p)}  # fmt: skip
    if sets is not None:
        expected = (bench.count, bench.num_points, 2)
        require(sets.ndim == 3 and sets.shape[1:] == expected[1:] and len(sets) >= expected[0],
                "--samples: shape", sets.shape, f"{expected} or more sets")  # fmt: skip
        inside = (sets > -1) & (sets < bench.side + 1)
        finite = bool(np.isfinite(sets).all())
        require(finite and inside.mean() > 0.9 and np.ptp(sets) > bench.side / 4, "--samples",
                f"from {np.nanmin(sets):.3g} to {np.nanmax(sets):.3g}",
                f"finite coordinates in [0, {bench.side}]")  # fmt: skip
        sets = np.asarray(sets, np.float32)
        row |= bench.quality(sets, None if labels is None else labels[: bench.count])
        flipped = bench.frechet(sets * [1, -1] + [0, bench.side])
        if flipped < row["frechet"]:
            print(f"warning: y may point down. The Frechet distance of the samples is "
                  f"{row['frechet']:.4f}, and {flipped:.4f} upside down.")  # fmt: skip
    return row


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", type=Path, help="write the sets to this folder, score nothing")
    parser.add_argument("--output", type=Path, help="JSON file for the row, which keeps other rows")
    parser.add_argument("--per_image", type=int, default=1, help="training sets of each image")
    parser.add_argument("--name", default="mine", help="name of the row")
    parser.add_argument("--log_likelihoods", type=Path, help=".npy, f[n] of the first n test sets")
    parser.add_argument("--samples", type=Path, help=".npy, f[S, N, 2]")
    parser.add_argument("--labels", type=Path, help=".npy, digits i[S] of the samples")
    parser.add_argument("--sets", type=int, default=1_000, help="generated sets, and real sets")
    parser.add_argument("options", nargs="*", help="options of main.py, after --")
    args = parser.parse_args(argv)
    bench = Bench(experiment_of(["--config=configs/spatial_mnist.py", *args.options]), args.sets)
    if args.write:
        return write_sets(bench, args.write, args.per_image)
    files = args.log_likelihoods, args.samples, args.labels
    try:
        row = score(bench, *(file and np.load(file) for file in files))
    except (td.UserError, OSError) as error:
        parser.error(str(error))
    if args.output:
        exists = args.output.exists()
        known = json.loads(args.output.read_text("utf-8")) if exists else {"rows": {}}
        if known.get("test_sets", bench.hash) != bench.hash:
            parser.error(f"--output = {str(args.output)!r}: must have rows of the test sets "
                         f"{bench.hash}, but has rows of {known['test_sets']}.")  # fmt: skip
        rows = known["rows"] | {args.name: row | {"command": command(__file__, argv)}}
        line = command(__file__, argv)
        write(args.output, {"command": line} | known | {"test_sets": bench.hash, "rows": rows})
    print(f"test sets {bench.hash}, {bench.dataset.title}", table({args.name: row}), sep="\n\n")


def experiment_of(flags: list[str]) -> td.Experiment:
    """Build the experiment of these options of main.py."""
    from tiny_diffusion_jax.cli.flags import parse

    return td.build(parse(["main.py", *flags]).config)


if __name__ == "__main__":
    main()
