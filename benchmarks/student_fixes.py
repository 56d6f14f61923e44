"""Change the student project's three networks step by step, and measure each step (dino + moons).

    `python benchmarks/student_fixes.py`  # all nine runs: an hour on two CPU cores
    `python benchmarks/student_fixes.py --rows=attention_v1`

main.py trains and evaluates each network in runs/. Finished runs are read and not repeated. Words
after `--` are options of main.py for all runs. Prints a table and writes
`benchmarks/results/student_fixes.json`, which keeps its other rows, and `docs/student_fixes.png`.
The figure has the rows whose runs exist, and shows the first sets of each member for each run.
"""

import argparse
from pathlib import Path

import numpy as np
from common import RESULTS, ROOT, command, finished, markdown, stored, write

SETS, SIDE = 4, 0.78  # sets in a cell; inches
NO_MEMBER = "#8a929a"  # colour of a set that no member accepts
# The student project's settings (eps-prediction, T = 250, ancestral sampling), with sets as large
# as in MIXTURE.
STUDENT = ["--config=configs/student/shuffled.py", "--config.sample.num_sets=200",
           "--config.sample.num_points=256", "--config.evaluate.frames=0"]  # fmt: skip
MIXTURE = ["--config=configs/mixture.py:dino+moons"]
FORWARD = ["--config.model.encoder=forward"]
# row: (heading, [(change, model, folder, options), ...])
ROWS = {
    "seq2seq": ("seq2seq", [
        ("faithful", "seq2seq", "mixture_dino+moons_seq2seq", MIXTURE),
        ("+ aligned decoder", "seq2seq_aligned", "mended_aligned", MIXTURE + FORWARD),
        ("+ set read both ways", "seq2seq_aligned", "mixture_dino+moons_seq2seq_aligned", MIXTURE),
    ]),
    **{f"attention_v{v}": (f"attention V{v}", [
        ("faithful", f"attention_v{v}", f"mended_attention_v{v}", STUDENT),
        ("+ history of the same member", f"attention_v{v}_same_set",
         f"mended_attention_v{v}_same_set", STUDENT),
        ("+ preconditioning", f"attention_v{v}_same_set",
         f"mixture_dino+moons_attention_v{v}_same_set", MIXTURE),
    ]) for v in (1, 2)},
}  # fmt: skip
ORDERS, ORDER_SETS, LEVELS = 8, 64, (0.25, 0.5, 0.75)  # orders per set; sets; levels / T


def of_orders(experiment, params) -> list[dict]:
    """Measure how much x_0_hat depends on the order of the points, at several noise levels.

    spread: root mean square deviation of x_0_hat from its mean over orders of the same noisy set.
    error, error_of_mean: root mean square distance to x_0 of x_0_hat for one order, and of the mean
    over all orders. All numbers are in units of the normalised data.
    """
    import jax

    from tiny_diffusion_jax.dataset import draw_points
    from tiny_diffusion_jax.diffusion import make_denoise
    from tiny_diffusion_jax.diffusion.process import add_noise

    dataset, process = experiment.dataset, experiment.process
    num_points = experiment.config.sample.num_points
    keys = jax.random.split(jax.random.key(0), 2 + ORDERS)
    x_0 = dataset.normalize(draw_points(dataset, keys[0], ORDER_SETS, num_points))
    eps = jax.random.normal(keys[1], x_0.shape)
    denoise = jax.jit(make_denoise(process, experiment.model.apply, params))
    rows = []
    for share in LEVELS:
        level = process.level(round(share * process.schedule.num_levels))
        x_t, answers = add_noise(level, x_0, eps), []
        for key in keys[2:]:
            order = np.asarray(jax.random.permutation(key, num_points))
            answers.append(np.asarray(denoise(x_t[:, order], level))[:, order.argsort()])
        answers, mean = np.stack(answers), np.mean(answers, axis=0)
        root = lambda a: float(np.sqrt(np.mean(a**2)))
        rows.append({"sigma": float(level.sigma), "orders": ORDERS, "spread": root(answers - mean),
                     "error": root(answers - x_0), "error_of_mean": root(mean - x_0)})  # fmt: skip
    return rows


def measure(row: str, runs: Path, options: list[str]) -> list[dict]:
    """Return a cell for each column: the command and the metrics of its run."""
    import tiny_diffusion_jax as td

    cells = []
    for change, model, name, flags in ROWS[row][1]:
        flags = [*flags, f"--config.model.name={model}", *options]
        result = finished(runs / name, flags)
        cell = {"change": change, "command": " ".join(["python main.py", *flags])}
        kept = ("metrics", "parameters", "seconds", "sample", "device")
        cell |= {key: result[key] for key in kept}
        if model == "seq2seq_aligned":
            cell["orders"] = of_orders(*td.load(runs / name))
        cells.append(cell)
    return cells


def first_sets(folder: Path) -> tuple[np.ndarray, list[int | None]]:
    """Sets of a run that the figure shows, and their members (see `shown`)."""
    import tiny_diffusion_jax as td
    from tiny_diffusion_jax.reports.data import ReportData

    experiment, params = td.load(folder)
    samples = np.load(folder / "samples.npy")
    found = ReportData(experiment, params, samples).separation
    return shown(samples, found)


def shown(samples: np.ndarray, found) -> tuple[np.ndarray, list[int | None]]:
    """Choose SETS of the samples f32[B, n, 2]; return them with the member that accepts each.

    Takes the first sets nearest to each member, an equal number per member if possible, whether or
    not the member accepts them. The member is None for sets that no member accepts.
    found: a `Separation`.
    """
    member = np.asarray(found.member)
    rank = np.array([(member[:i] == k).sum() for i, k in enumerate(member)])
    first = np.lexsort((np.arange(len(member)), rank >= SETS // 2))[:SETS]
    first = first[np.lexsort((first, member[first]))]
    return samples[first], [int(member[i]) if found.accepted[i] else None for i in first]


def figure(title: str, rows: list[tuple[str, list[tuple]]]):
    """Plot rows of cells, each row under its name.

    A cell is (heading, note, sets f32[SETS, n, 2], member of each set). A set has the colour of its
    member, or grey if no member accepts it.
    """
    from tiny_diffusion_jax.figures.page import Page
    from tiny_diffusion_jax.figures.style import INK, MEMBERS, MUTED, dots, square_limits

    columns = SETS * max(len(cells) for _, cells in rows)
    legend = [("o", MEMBERS[k], name) for k, name in enumerate(("dino", "moons"))]
    legend.append(("o", NO_MEMBER, "a set that is of neither"))
    page = Page(title, columns, SIDE, legend=legend, band=SETS)
    for name, cells in rows:
        page.row()  # space
        if name:
            page.text(page.row(), name, INK, 10.5, weight="bold")
        headings, row = page.row(), page.panels()
        for j, (heading, note, sets, members) in enumerate(cells):
            ends = {"first": j * SETS, "last": (j + 1) * SETS - 1}
            page.text(headings, heading, MUTED, 9, **ends)
            page.text(headings, note, INK, 9, "right", **ends, weight="bold")
            limits = square_limits(np.quantile(sets.reshape(-1, 2), [0.01, 0.99], axis=0))
            for i, (points, member) in enumerate(zip(sets, members, strict=True)):
                ax = page.panel(row, j * SETS + i, limits)
                color = NO_MEMBER if member is None else MEMBERS[member]
                dots(ax, points, color, SIDE, len(points))
    return page.finish()


def table(rows: dict) -> str:
    """Format the rows as a Markdown table."""
    columns = ("network", "change", "separate sets", "stray points", "members", "training",
               "parameters")  # fmt: skip
    lines = []
    for row, cells in rows.items():
        for cell in cells:
            m = cell["metrics"]
            shares = " : ".join(f"{100 * x:.0f}" for x in m["frequency_error"]["members"])
            lines.append((
                ROWS[row][0], cell["change"], f"{100 * m['separation']['value']:.1f} %",
                f"{100 * m['stray']['value']:.1f} %", shares,
                f"{cell['seconds']['train']:.0f} s", f"{cell['parameters']:,}",
            ))  # fmt: skip
    return markdown(columns, lines)


def main(argv: list[str] | None = None) -> None:
    from tiny_diffusion_jax.figures.style import save_figure

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--runs", type=Path, default=ROOT / "runs")
    parser.add_argument("--output", type=Path, default=RESULTS / "student_fixes.json")
    parser.add_argument("--figure", type=Path, default=ROOT / "docs" / "student_fixes.png")
    parser.add_argument("options", nargs="*", help="options of main.py, after --")
    args = parser.parse_args(argv)
    rows = stored(args.output)
    for row in args.rows.split(","):
        rows[row] = measure(row, args.runs, args.options)
        rows = {name: rows[name] for name in ROWS if name in rows}
        write(args.output, {"command": command(__file__, argv), "rows": rows})
    drawn = []
    for row, cells in rows.items():
        folders = [args.runs / name for _, _, name, _ in ROWS[row][1]]
        if not all(folder.exists() for folder in folders):
            continue
        notes = [f"{100 * cell['metrics']['separation']['value']:.0f} % separate" for cell in cells]
        drawn.append((ROWS[row][0], [
            (cell["change"], note, *first_sets(folder))
            for cell, note, folder in zip(cells, notes, folders, strict=True)
        ]))  # fmt: skip
    title = "Trained on dinosaurs and moons, with no label: what one change does, and the next"
    save_figure(figure(title, drawn), args.figure)
    print(table(rows))


if __name__ == "__main__":
    main()
