"""Repeat the student project's experiments, and plot a figure of each for docs/.

    python benchmarks/student.py                    # all three: about ten minutes on two CPU cores
    python benchmarks/student.py --only=shuffled

main.py trains the runs. Finished runs are read and not repeated. Words after `--` are options of
main.py for all runs. Writes benchmarks/results/student.json, which keeps its other rows.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from common import RESULTS, ROOT, command, finished, stored, write

ALL = ("fourier_mlp", "seq2seq", "attention_v1", "attention_v2")
EXPERIMENTS = {
    "digit": ("One digit alone", ("fourier_mlp",)),
    "shuffled": ("Trained on dino and moons, shuffled", ALL),
    "sequential": ("Trained on dino, then on moons", ("fourier_mlp", "attention_v2")),
}
SIDE = 2.6  # inches


def figure(title: str, panels: list[tuple[str, str, np.ndarray]]):
    """Plot (name, note, points) panels in a row: real points first, then samples in orange."""
    from tiny_diffusion_jax.figures.page import Page
    from tiny_diffusion_jax.figures.style import DATA, SAMPLES, dots, heading, square_limits

    page = Page(title, len(panels), SIDE)
    row = page.panels()
    limits = square_limits(panels[0][2])
    for i, (name, note, points) in enumerate(panels):
        color = SAMPLES if i else DATA
        ax = page.panel(row, i, limits)
        dots(ax, points, color, SIDE, len(points))
        heading(ax, name, color, note)
    return page.finish()


def real_points(folder: Path) -> np.ndarray:
    """Draw 3,000 points of all members from the dataset of a run."""
    import jax

    from tiny_diffusion_jax import data
    from tiny_diffusion_jax.dataset import draw_points
    from tiny_diffusion_jax.run.run_folder import read_config

    dataset = data.build(read_config(str(folder)).data)
    return np.asarray(draw_points(dataset, jax.random.key(0), 3000, 1))[:, 0]


def main(argv: list[str] | None = None) -> None:
    from tiny_diffusion_jax.figures.style import save_figure

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=tuple(EXPERIMENTS))
    parser.add_argument("--models", help="only these models, separated by commas")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs")
    parser.add_argument("--output", type=Path, default=RESULTS / "student.json")
    parser.add_argument("--figures", type=Path, default=ROOT / "docs")
    parser.add_argument("options", nargs="*", help="options of main.py, after --")
    args = parser.parse_args(argv)
    rows = stored(args.output, "runs")
    for name in [args.only] if args.only else EXPERIMENTS:
        title, models = EXPERIMENTS[name]
        panels = []
        for model in args.models.split(",") if args.models else models:
            folder = args.runs / f"student_{name}_{model}"
            result = finished(folder, [f"--config=configs/student/{name}.py",
                                       f"--config.model.name={model}", *args.options])
            lines = (folder / "metrics.jsonl").read_text("utf-8").splitlines()
            losses = [json.loads(line)["loss"] for line in lines]
            last = float(np.mean(losses[-5:]))
            rows[f"{name} {model}"] = {
                "first_loss": losses[0], "last_loss": last, "seconds": result["seconds"],
                "metrics": result["metrics"],
            }
            if not panels:
                panels.append(("data", "3,000 points", real_points(folder)))
            points = np.load(folder / "samples.npy").reshape(-1, 2)[:3000]
            panels.append((model.replace("_", " "), f"loss {last:.2f}", points))
        save_figure(figure(title, panels), args.figures / f"student_{name}.png")
        write(args.output, {"command": command(__file__, argv), "runs": rows})


if __name__ == "__main__":
    main()
