"""The seed's experiments, trained by main.py, and a figure of each for docs/.

    python benchmarks/seed.py                    # all three: about ten minutes on two CPU cores
    python benchmarks/seed.py --only=shuffled
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
ALL = ("fourier_mlp", "seq2seq", "attention_v1", "attention_v2")
EXPERIMENTS = {
    "digit": ("One digit alone", ("fourier_mlp",)),
    "shuffled": ("Trained on dino and moons, shuffled", ALL),
    "sequential": ("Trained on dino, then on moons", ("fourier_mlp", "attention_v2")),
}


def trained(name: str, model: str) -> Path:
    """The folder of the run, which is trained if it is not yet."""
    folder = ROOT / "runs" / f"seed_{name}_{model}"
    command = [f"--config=configs/seed/{name}.py", f"--config.model.name={model}"]
    subprocess.run(
        [sys.executable, "main.py", *command, f"--workdir={folder}"], cwd=ROOT, check=True
    )
    return folder


def figure(title: str, panels: list[tuple[str, str, np.ndarray]]):
    """A row of clouds, each under its name and a note; all but the first, real one, in orange."""
    from matplotlib.figure import Figure

    from tiny_diffusion_jax.figures import clouds as plotting

    side, gap, head = 2.6, 0.15, 0.95
    width, height = len(panels) * (side + gap) + gap, side + head + gap
    result = Figure(figsize=(width, height), facecolor=plotting.PAPER)
    limits = plotting.square_limits(panels[0][2])
    for i, (name, note, points) in enumerate(panels):
        box = (gap + i * (side + gap)) / width, gap / height, side / width, side / height
        ax = result.add_axes(box)
        color = plotting.SAMPLES if i else plotting.DATA
        ax.scatter(*points.T, s=1.6, color=color, alpha=0.5, linewidths=0)
        ax.set(xlim=limits[:2], ylim=limits[2:], xticks=[], yticks=[], aspect="equal")
        ax.set_title(name, loc="left", fontsize=10, weight="bold", color=color, pad=6)
        ax.set_title(note, loc="right", fontsize=8.5, color=plotting.MUTED, pad=6)
        plotting.quiet(ax)
    result.text(gap / width, 1 - 0.28 / height, title, fontsize=13, weight="bold",
                color=plotting.INK, va="center")  # fmt: skip
    return result


def main() -> None:
    """See the top of this file."""
    import jax

    from tiny_diffusion_jax.figures import clouds as plotting

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=tuple(EXPERIMENTS))
    only, rows = parser.parse_args().only, {}
    file = ROOT / "benchmarks/results/seed.json"
    rows = json.loads(file.read_text()) if file.exists() else {}
    for name in [only] if only else EXPERIMENTS:
        title, models = EXPERIMENTS[name]
        panels = []
        for model in models:
            folder = trained(name, model)
            if not panels:
                panels.append(("data", "3,000 points", real_points(folder, jax)))
            losses = [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").open()]
            first, last = losses[0], float(np.mean(losses[-5:]))
            result = json.loads((folder / "metrics.json").read_text())
            rows[f"{name} {model}"] = {
                "first_loss": first, "last_loss": last, "seconds": result["seconds"],
                "metrics": result["metrics"],
            }
            points = np.load(folder / "samples.npy")[0][:3000]
            panels.append((model.replace("_", " "), f"loss {last:.2f}", points))
        plotting.save_figure(figure(title, panels), ROOT / "docs" / f"seed_{name}.png")
        file.write_text(json.dumps(rows, indent=2) + "\n")


def real_points(folder: Path, jax) -> np.ndarray:
    """3,000 points of the data of a run, of all members."""
    from ml_collections import ConfigDict

    from tiny_diffusion_jax import data

    config = ConfigDict(json.loads((folder / "config.json").read_text()))
    dataset = data.build(config.data)
    return np.asarray(dataset.draw(jax.random.key(0), 3000, 1).points)[:, 0]


if __name__ == "__main__":
    main()
