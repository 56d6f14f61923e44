"""3-D sets of a known law, learned and compared with it: kind, radius, number of points, noise.

    python benchmarks/solids.py --model=causal      # about half an hour on two CPU cores

Writes runs/solids.npz (2,000 tori, spheres and helices, see make_sets.py), trains a model on it by
main.py in runs/solids_MODEL, or reads that run if it is finished, and reads kind and radius off
each set drawn. Words after `--` are options of main.py. Each number stands beside that of REAL
fresh sets of the true law, read in the same way, and z, their difference over its standard error
for as many real sets as were drawn: |z| < 2 in 95 % of draws of the true law itself. Prints a table
and writes benchmarks/results/solids.json, beside what it holds of other models.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from common import RESULTS, ROOT, command, finished, machine, markdown, write
from make_sets import KINDS, estimates, solids

REAL = 20_000  # sets that stand for the true law, drawn from a seed of their own
STATISTICS = {"mean": np.mean, "sd": np.std}


def split(points, sizes) -> list[np.ndarray]:
    """The points f32[P, 3] of sets of `sizes` i[S], set by set."""
    return np.split(points, np.cumsum(sizes)[:-1])


def seen(points, sizes, label) -> dict[str, np.ndarray]:
    """What each set shows, and whether its kind is the one it was asked to be."""
    found = estimates(split(points, sizes))
    return found | {"right": found["label"] == label}


def standard_error(values: np.ndarray, statistic: str, num: int) -> float:
    """Of the mean or sd of `num` draws of the law of `values` f64[n].

    sd / sqrt(num), and of the sd sqrt((kurtosis - 1) / (4 num)) sd by the delta method.
    """
    sd = values.std()
    if statistic == "mean":
        return float(sd / np.sqrt(num))
    kurtosis = np.mean((values - values.mean()) ** 4) / sd**4
    return float(sd * np.sqrt((kurtosis - 1) / (4 * num)))


def row(value: float, true: float, error: float) -> dict:
    """A line of the table; z is None where real sets do not vary."""
    z = (value - true) / error if error > 0 else None
    return {"value": float(value), "true": float(true), "se": float(error), "z": z}


def compare(drawn: dict, real: dict) -> dict[str, dict]:
    """{what: row} of two answers of `seen`: drawn sets, and many of the true law."""
    num, rows = len(drawn["label"]), {}
    for name in ("radius", "count"):
        for statistic, function in STATISTICS.items():
            rows[f"{name}, {statistic}"] = row(
                function(drawn[name]), function(real[name]),
                standard_error(np.asarray(real[name], float), statistic, num),
            )  # fmt: skip
    shares = {f"share of {kind}": lambda found, kind=kind: found["label"] == kind
              for kind in KINDS}  # fmt: skip
    shares["of the kind asked for"] = lambda found: found["right"]
    for name, share in shares.items():
        p = np.mean(share(real))
        rows[name] = row(np.mean(share(drawn)), p, np.sqrt(p * (1 - p) / num))
    # Kinds differ in it by how they are made, so its mean is that of one kind after the other.
    for kind in KINDS:
        of = real["misfit"][real["label"] == kind]
        ours = drawn["misfit"][drawn["label"] == kind]
        if len(ours) and len(of):
            rows[f"misfit of {kind}"] = row(np.mean(ours), np.mean(of),
                                            standard_error(of, "mean", len(ours)))  # fmt: skip
    return rows


def table(rows: dict[str, dict]) -> str:
    """The rows as Markdown."""
    return markdown(("", "drawn", "true law", "z"), [
        (name, f"{r['value']:.4g}", f"{r['true']:.4g}", "" if r["z"] is None else f"{r['z']:+.1f}")
        for name, r in rows.items()
    ])  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="set_transformer")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs")
    parser.add_argument("--num_sets", type=int, default=2_000, help="of the data")
    parser.add_argument("--real", type=int, default=REAL, help="sets of the true law")
    parser.add_argument("--output", type=Path, default=RESULTS / "solids.json")
    parser.add_argument("options", nargs="*", help="of main.py, after --")
    args = parser.parse_args(argv)
    path, workdir = args.runs / "solids.npz", args.runs / f"solids_{args.model}"
    args.runs.mkdir(parents=True, exist_ok=True)
    np.savez(path, **solids(args.num_sets))
    if path.is_relative_to(ROOT):  # where main.py runs
        path = path.relative_to(ROOT)
    flags = [f"--config=configs/sets.py:{path}", f"--config.model.name={args.model}", *args.options]
    metrics = finished(workdir, flags)
    with np.load(workdir / "samples.npz") as arrays:
        label = np.array(KINDS)[arrays["label"]]  # numbered in this order
        drawn = seen(arrays["points"], arrays["sizes"], label)
    truth = solids(args.real, seed=1)
    real = seen(truth["points"], truth["sizes"], truth["label"])
    rows = compare(drawn, real)
    models = json.loads(args.output.read_text("utf-8"))["models"] if args.output.exists() else {}
    models[args.model] = {
        "command": " ".join(["python main.py", *flags]), "num_sets": len(drawn["label"]),
        "rows": rows, "metrics": metrics["metrics"], "seconds": metrics["seconds"],
    }  # fmt: skip
    write(args.output, {"command": command(__file__, argv), "machine": machine(), "models": models})
    print(table(rows))


if __name__ == "__main__":
    main()
