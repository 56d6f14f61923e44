"""Plot the first figure of the README: superposed sets above, separate sets below.

    python benchmarks/separate.py --output=docs/separate.png \\
        --alone=runs/mixture_dino+moons_fourier_mlp --together=runs/mixture_dino+moons_set_latent

The two runs must be finished. Shows the first sets of samples.npy, without any selection.
"""

import argparse
from pathlib import Path

import numpy as np
from common import ROOT

COUNT, SIDE = 6, 1.45  # panels per row; inches


def figure(alone, together, member):
    """Plot six sets f32[n, 2] of each run; `member` i32[6] colours the sets of `together`."""
    from tiny_diffusion_jax.figures.page import Page
    from tiny_diffusion_jax.figures.style import MEMBERS, MUTED, dots, square_limits

    limits = square_limits(np.concatenate([*together]))
    title = "Trained on dinosaurs and moons, with no label: six sets drawn from each"
    page = Page(title, COUNT, SIDE)
    for sets, colors, text in (
        (alone, ["#6d7680"] * COUNT, "a network that sees each point alone: their superposition"),
        (together, [MEMBERS[k] for k in member], "one that sees the whole set: each on its own"),
    ):
        page.row()  # space
        page.text(page.row(), text, MUTED, 10)
        row = page.panels()
        for i, points in enumerate(sets):
            ax = page.panel(row, i, limits)
            dots(ax, points, colors[i], SIDE, len(points))
    return page.finish()


def main(argv: list[str] | None = None) -> None:
    from tiny_diffusion_jax.figures.style import save_figure
    from tiny_diffusion_jax.reports.data import ReportData
    from tiny_diffusion_jax.run.load import load

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    runs = ROOT / "runs"
    parser.add_argument("--alone", type=Path, default=runs / "mixture_dino+moons_fourier_mlp")
    parser.add_argument("--together", type=Path, default=runs / "mixture_dino+moons_set_latent")
    parser.add_argument("--output", type=Path, required=True, help="the PNG")
    args = parser.parse_args(argv)
    alone, together = (
        np.load(run / "samples.npy")[:COUNT] for run in (args.alone, args.together)
    )
    experiment, params = load(args.together)
    member = ReportData(experiment, params, together).separation.member
    save_figure(figure(alone, together, member), args.output)


if __name__ == "__main__":
    main()
