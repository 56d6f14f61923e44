"""Learn replicated point patterns of spatial statistics from a few dozen sets.

    python benchmarks/patterns.py --patterns=pyramidal --data=FOLDER
    python benchmarks/patterns.py --patterns=hard_core --model=set_transformer

The R package spatstat.data has three of them: flu (41 membranes), pyramidal (31 brains) and osteo
(40 bricks of bone, in space). FOLDER has its flu.rda etc. (the folder data/ of the source package
on CRAN), or Rdata.rdb and Rdata.rdx (data/ of the installed package, as in Debian's
r-cran-spatstat.data). Reading needs `pip install rdata`. All sets are cropped to one box: a quarter
of a membrane, and 45 micrometres of depth in bone. The types of points in flu are not used.
Two processes of known law need no file: hard_core (Matern II) and thomas (clusters). They can have
more sets (`--sets=2000 --name=causal_2000`).

A third of the sets is the test set, at most 12 of a process of known law. A sixth of the others
chooses the weights, and main.py trains on the rest, with the mirror images of each set. The result
compares generated sets with the test sets. K is Ripley's function with the translation correction,
and G is the law of the distance to the nearest neighbour with Hanisch's correction (summaries.py).
A deviation is the largest difference between the mean functions of two groups, in standard
deviations. The envelope contains 95 % of the deviations if sets are exchanged between the groups at
random. p is the share of exchanges with at least the deviation of the groups: below 0.05 it lies
outside of the envelope. A copy follows one training set more closely than 99 % of new sets do
(copies in metrics.json).

Words after `--` are options of main.py. Runs with different options need different --name. Prints a
table and writes benchmarks/results/patterns.json, which keeps the rows of other patterns and names.
"""

import warnings
import zlib
from pathlib import Path

import numpy as np
from common import add_rows, data_path, finished, grouped, markdown, of_training, parser_of, stored
from scipy.spatial import KDTree
from scipy.stats import wasserstein_distance
from summaries import deviations, functions

COLUMN = {"flu": "pattern", "pyramidal": "Neurons", "osteo": "pts"}
SYNTHETIC = ("hard_core", "thomas")
NUM = 36  # sets of a synthetic process, in the unit square; of more sets, others train
PARENTS, HARD = 80, 0.06  # hard_core: intensity before thinning, and the least distance
CENTRES, CHILDREN, SPREAD = 10, 5, 0.04  # thomas: intensity, mean number and std of a cluster
GENERATED = 200
DEPTH = 45.0  # of a brick of bone in micrometres; six flatter ones are left out


def hard_core(rng: np.random.Generator) -> np.ndarray:
    """Draw a Matern II process: of points closer than HARD, the one of the lowest mark stays."""
    points = rng.uniform(-HARD, 1 + HARD, (rng.poisson(PARENTS * (1 + 2 * HARD) ** 2), 2))
    pairs = KDTree(points).query_pairs(HARD, output_type="ndarray")  # the index is the mark
    return inside(np.delete(points, pairs.max(1), axis=0), np.array([[0, 1], [0, 1]]))


def thomas(rng: np.random.Generator) -> np.ndarray:
    """Draw a Thomas process: Gaussian clusters around a Poisson process of centres."""
    edge = 4 * SPREAD
    centres = rng.uniform(-edge, 1 + edge, (rng.poisson(CENTRES * (1 + 2 * edge) ** 2), 2))
    points = np.repeat(centres, rng.poisson(CHILDREN, len(centres)), axis=0)
    return inside(points + rng.normal(0, SPREAD, points.shape), np.array([[0, 1], [0, 1]]))


def inside(points: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return the points f64[n, D] in the box f64[D, 2]."""
    return points[((points >= box[:, 0]) & (points <= box[:, 1])).all(1)]


def poisson(rng: np.random.Generator, sizes: np.ndarray, box: np.ndarray) -> list[np.ndarray]:
    """Draw a uniform set in the box for each size."""
    return [rng.uniform(*box.T, (n, len(box))) for n in sizes]


def read_hyperframe(folder: Path, name: str) -> list[dict]:
    """Read the patterns of a hyperframe from NAME.rda or from Rdata.rdb in `folder`."""
    try:
        import rdata
    except ImportError as error:
        raise SystemExit(f"{error}; to read R files: pip install rdata") from None
    warnings.filterwarnings("ignore", module="rdata")  # about R classes, which become dicts
    if (file := folder / f"{name}.rda").exists():
        node = rdata.parser.parse_file(file).object.value[0]
    elif (file := folder / "Rdata.rdb").exists():
        start, size = rdata.read_rds(folder / "Rdata.rdx")["variables"][name]
        packed = file.read_bytes()[start + 4 : start + size]  # after the length
        node = rdata.parser.parse_data(zlib.decompress(packed)).object
    else:
        raise SystemExit(f"--data = {str(folder)!r}: must have {name}.rda or Rdata.rdb of the R "
                         "package spatstat.data (see --help)")  # fmt: skip

    def field(node, name):
        pair = node.attributes
        while (pair.tag.referenced_object or pair.tag).value.value != b"names":
            pair = pair.value[1]
        return node.value[[text.value.decode() for text in pair.value[0].value].index(name)]

    # names of patterns repeat, so a conversion of their list to a dict would lose sets
    patterns = field(field(node, "hypercolumns"), COLUMN[name]).value
    return [rdata.conversion.convert(pattern) for pattern in patterns]


def load(
    name: str, folder: Path | None, num_sets: int = NUM
) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the sets f64[n, D] of these patterns, and the box f64[D, 2] that contains them.

    num_sets: of a synthetic process.
    """
    if name in SYNTHETIC:
        rng = np.random.default_rng(0)
        return [globals()[name](rng) for _ in range(num_sets)], np.array([[0.0, 1.0]] * 2)
    if folder is None:
        raise SystemExit(f"--patterns = {name!r}: must be with --data=FOLDER (see --help)")
    sets, boxes = [], []
    for pattern in read_hyperframe(folder, name):
        axes = "xyz" if "domain" in pattern else "xy"
        window = pattern["domain" if "domain" in pattern else "window"]
        values = pattern["data"]["df"] if "domain" in pattern else pattern
        sets.append(np.column_stack([values[axis] for axis in axes]).astype(float))
        boxes.append([window[f"{axis}range"] for axis in axes])
    box = np.array(boxes[0], float)
    if name == "flu":
        box[:, 1] = box.mean(1)
    if name == "osteo":
        box[2] = -DEPTH, 0
    contains = [(np.subtract(window, box) * [1, -1] <= 0).all() for window in boxes]
    return [inside(x, box) for x, whole in zip(sets, contains, strict=True) if whole], box


def compare(sets: list[np.ndarray], test: list[np.ndarray], box: np.ndarray) -> dict:
    """Return the row of the table for sets f64[n, D], which may have points outside of the box."""
    cropped = [inside(points, box) for points in sets]
    sizes, test_sizes = list(map(len, cropped)), list(map(len, test))
    row = {"sets": len(sets), "points": float(np.mean(sizes)),
           "outside": 1 - sum(sizes) / sum(map(len, sets)),
           "count": wasserstein_distance(sizes, test_sizes)}  # fmt: skip
    groups = [functions(x, box, test) for x in (cropped, test)]
    for name in groups[0]:
        values = deviations(*(group[name] for group in groups))
        row[name] = {"deviation": values[0], "envelope": np.quantile(values, 0.95),
                     "p": float(np.mean(values >= values[0]))}  # fmt: skip
    return row


def write_table(path: Path, train: list[np.ndarray], choose: list[np.ndarray], box) -> None:
    """Write sets as a table: set, split, x, y (and z). Training sets have their mirror images."""
    rows, number = [], 0
    for split, sets in (("train", train), ("test", choose)):
        images = [(0, 0), (0, 1), (1, 0), (1, 1)] if split == "train" else [(0, 0)]
        for points in sets:
            for flips in images:
                image = points.copy()
                for axis in np.flatnonzero(flips):  # in depth, bone has no mirror image
                    image[:, axis] = box[axis].sum() - image[:, axis]
                rows += [",".join([str(number), split, *(f"{v:.6g}" for v in x)]) for x in image]
                number += 1
    header = ",".join(["set", "split", *"xyz"[: len(box)]])
    path.write_text("\n".join([header, *rows]) + "\n", "utf-8")


def read_table(path: Path) -> list[np.ndarray]:
    """Read sets f64[n, D] from a table as main.py writes it."""
    rows = np.genfromtxt(path, delimiter=",", names=True, encoding="utf-8")
    points = np.column_stack([rows[axis] for axis in "xyz" if axis in rows.dtype.names])
    return grouped(points, rows["set"])


def table(patterns: dict[str, dict]) -> str:
    """Format the rows as a Markdown table."""
    part = lambda f: f"{f['deviation']:.2f} / {f['envelope']:.2f}, p = {f['p']:.3f}"
    copies = lambda row: f"{100 * row['copies']['value']:.1f} %" if "copies" in row else ""
    return markdown(
        ("", "", "sets", "points", "outside", "copies", "count", "K", "G"),
        [(name, kind, str(row["sets"]), f"{row['points']:.1f}", f"{100 * row['outside']:.1f} %",
          copies(row), f"{row['count']:.1f}", part(row["K"]), part(row["G"]))
         for name, rows in patterns.items() for kind, row in rows.items()],
    )  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    parser = parser_of(__doc__, "patterns")
    parser.add_argument("--patterns", choices=[*COLUMN, *SYNTHETIC], default="hard_core")
    parser.add_argument("--data", type=Path, help="folder of the R data")
    parser.add_argument("--sets", type=int, default=NUM, help="of a process of known law")
    args = parser.parse_args(argv)
    if args.sets != NUM and (args.patterns not in SYNTHETIC or args.sets < NUM):
        raise SystemExit(f"--sets = {args.sets}: must be at least {NUM}, and is only for "
                         f"{' and '.join(SYNTHETIC)}")  # fmt: skip
    sets, box = load(args.patterns, args.data, args.sets)
    index = np.arange(len(sets))
    test, choose = index % 3 == 2, index % 9 == 4
    if args.patterns in SYNTHETIC:
        test &= index < NUM
    while choose.sum() < 4:  # main.py needs four
        choose[np.flatnonzero(~test & ~choose)[-1]] = True
    parts = [[sets[i] for i in np.flatnonzero(part)]
             for part in (~test & ~choose, choose, test)]  # fmt: skip
    name = args.name or args.model
    more = f"_{args.sets}" if args.sets != NUM else ""
    path, workdir = (args.runs / f"patterns_{args.patterns}{end}"
                     for end in (f"{more}.csv", f"_{name}"))  # fmt: skip
    args.runs.mkdir(parents=True, exist_ok=True)
    write_table(path, *parts[:2], box)
    largest = max(map(len, parts[0]))
    flags = [f"--config=configs/sets.py:{data_path(path)}", f"--config.model.name={args.model}",
             "--config.data.skip_small=True", f"--config.train.num_points={largest}",
             f"--config.sample.num_sets={GENERATED}", *args.options]  # fmt: skip
    metrics = finished(workdir, flags)
    rng, others = np.random.default_rng(1), [*parts[0], *parts[1]]
    uniform = poisson(rng, rng.choice(list(map(len, others)), GENERATED), box)
    rows = stored(args.output, "patterns").get(args.patterns, {}) | {
        f"{len(others)} training sets" if more else "training sets": compare(others, parts[2], box),
        "uniform points": compare(uniform, parts[2], box),
        name: compare(read_table(workdir / "samples.csv"), parts[2], box)
        | {"copies": {part: metrics["metrics"]["copies"][part] for part in ("value", "floor")}}
        | of_training(metrics, flags),
    }  # fmt: skip
    patterns = add_rows(args.output, __file__, argv, {args.patterns: rows}, "patterns")
    train, choose, test = map(len, parts)
    print(f"{train} training sets, {choose} choose the weights, {test} test sets")
    print(table(patterns))


if __name__ == "__main__":
    main()
