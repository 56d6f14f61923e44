"""Compare generated 3-D sets with their known density: kind, radius, number of points, noise.

    python benchmarks/shapes_3d.py --model=causal      # about half an hour on two CPU cores

Writes runs/solids.npz (2,000 tori, spheres and helices, see make_sets.py). main.py trains a model
on this file in runs/solids_MODEL, unless that run is finished. Words after `--` are options of
main.py. The kind and radius of each generated set are estimated from its points, and compared with
the same estimates for REAL new sets of the true density. z is the difference of two statistics,
divided by the standard error for as many real sets as were generated. If the model were exact,
|z| < 2 would hold in 95 % of the cases. Prints a table and writes
benchmarks/results/shapes_3d.json, which keeps the results of other models.
"""

import numpy as np
from common import add_rows, data_path, finished, markdown, parser_of
from make_sets import KINDS, estimates, solids

REAL = 20_000  # sets of the true density, drawn with another seed than the data
STATISTICS = {"mean": np.mean, "sd": np.std}


def split(points, sizes) -> list[np.ndarray]:
    """Split points f32[P, 3] into a list of sets of `sizes` i[S]."""
    return np.split(points, np.cumsum(sizes)[:-1])


def seen(points, sizes, label) -> dict[str, np.ndarray]:
    """Return the estimates of each set, and whether the estimated kind equals the label."""
    found = estimates(split(points, sizes))
    return found | {"right": found["label"] == label}


def standard_error(values: np.ndarray, statistic: str, num: int) -> float:
    """Standard error of the mean or sd of `num` draws from the distribution of `values` f64[n].

    The mean has the standard error sd / sqrt(num). The sd has the standard error
    sqrt((kurtosis - 1) / (4 num)) sd, by the delta method.
    """
    sd = values.std()
    if statistic == "mean":
        return float(sd / np.sqrt(num))
    kurtosis = np.mean((values - values.mean()) ** 4) / sd**4
    return float(sd * np.sqrt((kurtosis - 1) / (4 * num)))


def row(value: float, true: float, error: float) -> dict:
    """Return a row of the table; z is None if the standard error is 0."""
    z = (value - true) / error if error > 0 else None
    return {"value": float(value), "true": float(true), "se": float(error), "z": z}


def compare(drawn: dict, real: dict) -> dict[str, dict]:
    """Return {statistic: row} from two results of `seen`: generated sets, and many real sets."""
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
    # The expected misfit depends on the kind, so compare the mean for each kind.
    for kind in KINDS:
        of = real["misfit"][real["label"] == kind]
        ours = drawn["misfit"][drawn["label"] == kind]
        if len(ours) and len(of):
            rows[f"misfit of {kind}"] = row(np.mean(ours), np.mean(of),
                                            standard_error(of, "mean", len(ours)))  # fmt: skip
    return rows


def table(rows: dict[str, dict]) -> str:
    """Format the rows as a Markdown table."""
    return markdown(("", "drawn", "true density", "z"), [
        (name, f"{r['value']:.4g}", f"{r['true']:.4g}", "" if r["z"] is None else f"{r['z']:+.1f}")
        for name, r in rows.items()
    ])  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    parser = parser_of(__doc__, "shapes_3d", "set_transformer")
    parser.add_argument("--num_sets", type=int, default=2_000, help="number of training sets")
    parser.add_argument("--real", type=int, default=REAL, help="number of real sets")
    args = parser.parse_args(argv)
    name = args.name or args.model
    path, workdir = args.runs / "solids.npz", args.runs / f"solids_{name}"
    args.runs.mkdir(parents=True, exist_ok=True)
    np.savez(path, **solids(args.num_sets))
    flags = [f"--config=configs/sets.py:{data_path(path)}", f"--config.model.name={args.model}",
             *args.options]  # fmt: skip
    metrics = finished(workdir, flags)
    with np.load(workdir / "samples.npz") as arrays:
        label = np.array(KINDS)[arrays["label"]]  # labels are numbered in the order of KINDS
        drawn = seen(arrays["points"], arrays["sizes"], label)
    truth = solids(args.real, seed=1)
    real = seen(truth["points"], truth["sizes"], truth["label"])
    rows = compare(drawn, real)
    model = {
        "command": " ".join(["python main.py", *flags]), "num_sets": len(drawn["label"]),
        "rows": rows, "metrics": metrics["metrics"], "seconds": metrics["seconds"],
    }  # fmt: skip
    add_rows(args.output, __file__, argv, {name: model}, "models")
    print(table(rows))


if __name__ == "__main__":
    main()
