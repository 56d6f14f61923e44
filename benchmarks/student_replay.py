"""Train on dino and then on moons, with and without replay of the first model's own sets.

    python benchmarks/student_replay.py             # three runs: a quarter of an hour on two cores
    python benchmarks/student_replay.py --model=set_latent

main.py trains the three parts of configs/student/replay.py in runs/. Finished runs are read and not
repeated. Words after `--` are options of main.py for all parts. The sets of every part are compared
with the true dino and moons in equal shares. Prints a table and writes
benchmarks/results/student_replay.json and docs/replay.png.
"""

import argparse
from pathlib import Path

import numpy as np
from common import RESULTS, ROOT, command, finished, markdown, write
from student_fixes import figure, shown

PARTS = {"first": "dino", "forget": "then moons", "replay": "then moons and replay"}


def measure(samples: np.ndarray):
    """Compare sets f32[B, n, 2] with the true members; return a `Separation` and its summary.

    Members are aligned, so that all parts have the same units.
    """
    import jax

    from tiny_diffusion_jax import cache, data
    from tiny_diffusion_jax.config import default_config
    from tiny_diffusion_jax.metrics import separation

    config = default_config().data
    config.update(dict(name="mixture", members="dino+moons"))
    truth = data.build(config)
    calibration = separation.calibrate(
        truth, jax.random.key(3), samples.shape[1],
        num_real=separation.enough_real(len(samples)), folder=cache.home(),
    )  # fmt: skip
    found = separation.separate(calibration, samples)
    return found, separation.summarize(found, truth.weights)


def table(rows: dict) -> str:
    """Format the rows as a Markdown table."""
    columns = ("trained on", "separate sets", "stray points", "dino : moons", "training")
    lines = []
    for part, row in rows.items():
        shares = " : ".join(f"{100 * x:.1f}" for x in row["frequencies"])
        lines.append((PARTS[part], f"{100 * row['separation']:.1f} %",
                      f"{100 * row['stray']:.2f} %", shares,
                      f"{row['seconds']['train']:.0f} s"))  # fmt: skip
    return markdown(columns, lines)


def main(argv: list[str] | None = None) -> None:
    from tiny_diffusion_jax.figures.style import save_figure

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="attention_v2_same_set")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs")
    parser.add_argument("--output", type=Path, default=RESULTS / "student_replay.json")
    parser.add_argument("--figure", type=Path, default=ROOT / "docs" / "replay.png")
    parser.add_argument("options", nargs="*", help="options of main.py, after --")
    args = parser.parse_args(argv)
    folder = lambda part: args.runs / f"student_replay_{part}_{args.model}"
    rows, cells = {}, []
    for part in PARTS:
        flags = [f"--config=configs/student/replay.py:{part}", f"--config.model.name={args.model}"]
        if part != "first":
            flags.append(f"--config.train.init_from={folder('first')}")
        if part == "replay":
            flags.append(f"--config.data.members={folder('first')}+moons")
        flags += args.options
        result = finished(folder(part), flags)
        samples = np.load(folder(part) / "samples.npy")
        found, numbers = measure(samples)
        rows[part] = numbers | {"command": " ".join(["python main.py", *flags]),
                                "seconds": result["seconds"]}  # fmt: skip
        note = " : ".join(f"{100 * x:.0f}" for x in numbers["frequencies"]) + " %"
        cells.append((PARTS[part], note, *shown(samples, found)))
        write(args.output, {"command": command(__file__, argv), "rows": rows})
    title = "Dino first, then moons: forgotten, or remembered by replay of its own sets"
    save_figure(figure(title, [("", cells)]), args.figure)
    print(table(rows))


if __name__ == "__main__":
    main()
