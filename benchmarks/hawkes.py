"""Learn event sequences whose law is known: the pinwheel Hawkes process (arXiv 2011.04583).

    python benchmarks/hawkes.py                     # causal in order of time
    python benchmarks/hawkes.py --model=set_transformer

An event has a time t in [0, 30] and a place (x, y). Ten kinds of events start at the rate 0.05
each. An event of kind k has a Poisson number of children of kind k + 1 (mod 10), with mean 0.6.
Each child follows after an exponential time of mean 0.1. The place is on arm k of a pinwheel,
independently. 2,000 sequences are for training, and 200 of another seed are the test set. main.py
trains on a table of the training sequences. The result compares 200 generated sequences with the
test set, beside 200 new real ones (the floor):

    count           Wasserstein-1 distance of the numbers of events;
    gap             Wasserstein-1 distance of the times between consecutive events;
    MMD             maximum mean discrepancy of whole sequences, see `discrepancy`;
    next arm        share of events after which the next event, within 0.1, is on the next arm.

`causal` has no blocks, no high frequencies of positions and a large weight decay, because it would
memorise the times of the training sequences. It sees the earlier events relative to the next one
(`model.relative`). Words after `--` are options of main.py. Runs with different options need
different --name. Prints a table and writes benchmarks/results/hawkes.json, which keeps the rows of
other names.
"""

from pathlib import Path

import numpy as np
from common import add_rows, data_path, finished, grouped, markdown, of_training, parser_of
from scipy.stats import wasserstein_distance

END, ARMS, RATE, CHILDREN, DELAY = 30.0, 10, 0.05, 0.6, 0.1
RADIAL, TANGENTIAL, TWIST = 0.3, 0.1, 0.25
TRAIN, TEST = 2_000, 200
FREQUENCIES = 512  # of the random features of `discrepancy`


def events(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw the times f64[n] in order, and the arms i64[n], of one sequence.

    The branching form of the process: events without a parent, their children, and so on.
    """
    arm = rng.integers(ARMS, size=rng.poisson(RATE * ARMS * END))
    time = rng.uniform(0, END, len(arm))
    times, arms = [time], [arm]
    while len(time):
        count = rng.poisson(CHILDREN, len(time))
        time = np.repeat(time, count) + rng.exponential(DELAY, count.sum())
        arm = (np.repeat(arm, count) + 1) % ARMS
        inside = time < END
        time, arm = time[inside], arm[inside]
        times.append(time)
        arms.append(arm)
    time, arm = np.concatenate(times), np.concatenate(arms)
    order = time.argsort()
    return time[order], arm[order]


def places(rng: np.random.Generator, arm: np.ndarray) -> np.ndarray:
    """Draw points f64[n, 2] on the arms i64[n] of the pinwheel."""
    blade = rng.normal(size=(len(arm), 2)) * [RADIAL, TANGENTIAL] + [1.0, 0.0]
    angle = 2 * np.pi * arm / ARMS + TWIST * np.exp(blade[:, 0])
    x, y = blade.T
    turned = [x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)]
    return 2 * np.stack(turned, axis=1)


def arm_of(points: np.ndarray) -> np.ndarray:
    """Return the most likely arm i64[n] of points f[n, 2]."""
    radius, turn = np.linalg.norm(points, axis=1) / 2, -np.arctan2(points[:, 1], points[:, 0])
    return np.rint(ARMS * (turn - TWIST * np.exp(radius)) / (2 * np.pi)).astype(int) % ARMS


def sequences(num: int, seed: int) -> list[np.ndarray]:
    """Draw `num` sequences f64[n, 3] with columns t, x, y, each with an event or more."""
    rng, found = np.random.default_rng(seed), []
    while len(found) < num:
        time, arm = events(rng)
        if len(time):
            found.append(np.column_stack([time, places(rng, arm)]))
    return found


def discrepancy(a: list[np.ndarray], b: list[np.ndarray], scale: np.ndarray) -> float:
    """Maximum mean discrepancy of two samples of sequences, 0 in expectation if the laws agree.

    A sequence is represented by phi, the sum over its events of random Fourier features of a
    Gaussian kernel. The kernel of two sequences is
    exp(-|phi - phi'|^2 / 2 m), with the median m of |phi - phi'|^2 in `b`. The result is the
    unbiased estimate of the squared discrepancy (Gretton et al. 2012, equation 3).

    scale: f[3], the width of the Gaussian kernel.
    """
    rng = np.random.default_rng(0)
    frequency = rng.normal(size=(3, FREQUENCIES)) / scale[:, None]
    phase = rng.uniform(0, 2 * np.pi, FREQUENCIES)
    embed = lambda sets: np.stack([np.cos(x @ frequency + phase).sum(0) for x in sets])
    a, b = (embed(sets) * (2 / FREQUENCIES) ** 0.5 for sets in (a, b))
    squared = lambda x, y: (x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * x @ y.T
    median = np.median(squared(b, b)[np.triu_indices(len(b), 1)])
    kernel = lambda x, y: np.exp(-squared(x, y) / (2 * median))
    within = lambda x: (kernel(x, x).sum() - len(x)) / (len(x) * (len(x) - 1))
    return float(within(a) + within(b) - 2 * kernel(a, b).mean())


def next_arm(sets: list[np.ndarray]) -> float:
    """Share of events whose next event comes within DELAY, on the next arm."""
    hits = [(np.diff(x[:, 0]) < DELAY) & (np.diff(arm_of(x[:, 1:])) % ARMS == 1) for x in sets]
    return float(np.concatenate(hits).mean())


def compare(sets: list[np.ndarray], test: list[np.ndarray]) -> dict:
    """Return the row of the table for sequences f[n, 3], each in order of time."""
    gaps = lambda sets: np.concatenate([np.diff(x[:, 0]) for x in sets])
    return {
        "count": wasserstein_distance(list(map(len, sets)), list(map(len, test))),
        "gap": wasserstein_distance(gaps(sets), gaps(test)),
        "mmd": discrepancy(sets, test, np.array([END / 10, 1.0, 1.0])),
        "next_arm": next_arm(sets), "mean_count": float(np.mean(list(map(len, sets)))),
    }  # fmt: skip


def write_table(path: Path, sets: list[np.ndarray]) -> None:
    """Write sequences as a table with the columns sequence, t, x, y."""
    number = np.repeat(np.arange(len(sets)), list(map(len, sets)))
    rows = np.column_stack([number, np.concatenate(sets)])
    header = "sequence,t,x,y"
    np.savetxt(path, rows, "%d,%.6f,%.6f,%.6f", header=header, comments="", encoding="utf-8")


def read_table(path: Path) -> list[np.ndarray]:
    """Read sequences f64[n, 3] in order of time from a table as `write_table` writes it."""
    rows = np.genfromtxt(path, delimiter=",", names=True, encoding="utf-8")
    number, *columns = (rows[name] for name in ("sequence", "t", "x", "y"))
    order = columns[0].argsort(kind="stable")
    return grouped(np.column_stack(columns)[order], number[order])


def table(rows: dict[str, dict]) -> str:
    """Format the rows as a Markdown table."""
    return markdown(("", "count", "gap", "MMD", "next arm"), [
        (name, f"{row['count']:.2f}", f"{row['gap']:.4f}", f"{row['mmd']:.4f}",
         f"{100 * row['next_arm']:.1f} %") for name, row in rows.items()
    ])  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    parser = parser_of(__doc__, "hawkes")
    parser.add_argument("--train", type=int, default=TRAIN, help="number of training sequences")
    args = parser.parse_args(argv)
    args.runs.mkdir(parents=True, exist_ok=True)
    name = args.name or args.model
    path, workdir = (args.runs / f"hawkes_{args.train}{end}" for end in (".csv", f"_{name}"))
    train, test = sequences(args.train, seed=0), sequences(TEST, seed=1)
    write_table(path, train)
    path = data_path(path)
    flags = [f"--config=configs/sets.py:{path}", f"--config.model.name={args.model}",
             "--config.data.columns=t,x,y", "--config.data.set_column=sequence",
             "--config.data.per_axis=True", f"--config.sample.num_sets={TEST}",
             f"--config.train.num_points={max(map(len, train))}"]  # fmt: skip
    if args.model == "causal":
        flags += ["--config.model.order=coordinate:t", "--config.model.context_blocks=0",
                  "--config.model.embedding=identity", "--config.train.steps=2500",
                  "--config.train.weight_decay=0.5"]  # fmt: skip
    flags += args.options
    metrics = finished(workdir, flags)
    drawn = read_table(workdir / "samples.csv")
    rows = add_rows(args.output, __file__, argv, {
        "real": compare(sequences(TEST, seed=2), test),
        name: compare(drawn, test) | of_training(metrics, flags),
    })  # fmt: skip
    print(table(rows))


if __name__ == "__main__":
    main()
