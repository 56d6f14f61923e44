"""Write the example files: python examples/make.py [FOLDER]

    points.csv    1,000 trees on two hills: id, x, y, height
    sets.csv      120 plots of 6 to 20 trees: set, x, y, label; the label is regular or clustered
    partial.csv   7 points of a digit 3, in pixels: x, y; for --mode=complete
    cat.png       the head of a cat, 64 x 64 pixels
"""

import csv
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

FOLDER = Path(__file__).parent
STROKE = ((8, 22), (11, 23.5), (15, 23.5), (18, 22), (19, 19), (17, 16), (13, 15))


def points(rng: np.random.Generator) -> list[list]:
    """Draw trees around two centres: a header and rows id, x, y, height, in metres."""
    hill = rng.integers(0, 2, 1_000)
    xy = rng.normal(np.array([[30.0, 40.0], [70.0, 60.0]])[hill], np.array([12.0, 8.0]))
    height = 20 + 4 * hill + rng.normal(0, 3, 1_000)
    rows = zip(range(1, 1_001), xy, height, strict=True)
    return [["id", "x", "y", "height"]] + [
        [i, f"{x:.2f}", f"{y:.2f}", f"{h:.1f}"] for i, (x, y), h in rows]  # fmt: skip


def sets(rng: np.random.Generator) -> list[list]:
    """Draw plots of 10 m with trees on a grid or around one centre: rows set, x, y, label."""
    rows = [["set", "x", "y", "label"]]
    for plot in range(120):
        num, label = rng.integers(6, 21), ("regular", "clustered")[plot % 2]
        if label == "regular":
            cells = rng.choice(25, num, replace=False)
            xy = np.stack([cells % 5, cells // 5], 1) * 2 + rng.uniform(0.7, 1.3, (num, 2))
        else:
            xy = rng.uniform(3, 7, 2) + rng.normal(0, 1, (num, 2))
        rows += [[f"plot {plot}", f"{x:.2f}", f"{y:.2f}", label] for x, y in xy]
    return rows


def cat() -> Image.Image:
    """Return the head of a cat, black on white."""
    picture = Image.new("L", (64, 64), 255)
    draw = ImageDraw.Draw(picture)
    draw.ellipse((10, 18, 54, 58), fill=0)
    for ear in ((12, 36, 14, 6, 30, 22), (52, 36, 50, 6, 34, 22)):
        draw.polygon(ear, fill=0)
    for eye in ((21, 32, 27, 40), (37, 32, 43, 40)):
        draw.ellipse(eye, fill=255)
    return picture


def main(folder: Path = FOLDER) -> None:
    """Write all files to `folder`."""
    rng = np.random.default_rng(0)
    tables = {"points": points(rng), "sets": sets(rng), "partial": [["x", "y"], *STROKE]}
    for name, rows in tables.items():
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
    cat().save(folder / "cat.png")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
