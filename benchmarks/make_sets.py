"""Write files of training sets: handwritten digits in two formats, and 3-D sets of known density.

    python benchmarks/make_sets.py --output=sets

The digits are scikit-learn's 1,797 digits of 8 x 8 pixels. sets/digits/LABEL/*.png has them as
pictures. sets/digits.csv has 40 to 80 points drawn from each digit. sets/solids.npz has 2,000 tori,
spheres and helices. The kind, radius R, noise and number of points n of a solid are independent:

    kind uniform,  R uniform in [0.5, 1.5],  n uniform in 50..150,  noise uniform in [0.01, 0.05].

The points of a sphere are uniform on its surface, the points of a torus are uniform in both angles,
and the points of a helix are uniform along its curve. Normal noise of this standard deviation is
added. `estimates` estimates kind and radius of a set, to compare generated sets with the density.
"""

import argparse
import csv
from pathlib import Path

import numpy as np

KINDS = ("helix", "sphere", "torus")
RADIUS, COUNT, NOISE = (0.5, 1.5), (50, 150), (0.01, 0.05)
TUBE = 0.3  # torus: radius of the tube / radius of the ring
TURNS, PITCH = 2.0, 1.2  # helix: number of turns, and height of a turn / radius
DIGIT_COUNT = (40, 80)


def solid(rng: np.random.Generator, kind: str, radius: float, noise: float, count: int):
    """Draw points f64[count, 3] of an upright solid centred at the origin."""
    turn = rng.uniform(0, 2 * np.pi, count)
    if kind == "sphere":
        points = rng.normal(size=(count, 3))
        points *= radius / np.linalg.norm(points, axis=1, keepdims=True)
    elif kind == "torus":
        around = rng.uniform(0, 2 * np.pi, count)
        far = radius * (1 + TUBE * np.cos(around))
        height = radius * TUBE * np.sin(around)
        points = np.stack([far * np.cos(turn), far * np.sin(turn), height], axis=1)
    else:
        turn = turn * TURNS
        height = radius * PITCH * (turn / (2 * np.pi) - TURNS / 2)
        points = np.stack([radius * np.cos(turn), radius * np.sin(turn), height], axis=1)
    return points + rng.normal(0, noise, (count, 3))


def solids(num_sets: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Draw sets: points f32[P, 3], sizes[S], label[S], and the true radius[S] and noise[S]."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(len(KINDS), size=num_sets)
    radius, noise = rng.uniform(*RADIUS, num_sets), rng.uniform(*NOISE, num_sets)
    sizes = rng.integers(COUNT[0], COUNT[1] + 1, num_sets)
    points = [solid(rng, KINDS[k], *of_set)
              for k, *of_set in zip(kind, radius, noise, sizes, strict=True)]  # fmt: skip
    return {
        "points": np.concatenate(points).astype(np.float32), "sizes": sizes,
        "label": np.array(KINDS)[kind], "radius": radius, "noise": noise,
    }  # fmt: skip


def estimate_radius(points: np.ndarray, label: str) -> float:
    """Estimate the radius of a solid of known kind from its points f32[n, 3].

    For a sphere, the median distance from the centre. For a helix, the median distance from the
    axis. For a torus, the mean of two quantiles (10 % and 90 %) of the distance from the axis,
    because most points are close to the least and the largest distance.
    """
    far = np.linalg.norm(points[:, : 3 if label == "sphere" else 2], axis=1)
    return float(np.quantile(far, (0.1, 0.9)).mean() if label == "torus" else np.median(far))


def misfit(points: np.ndarray, label: str) -> float:
    """Root mean square distance of points f32[n, 3] from the solid of this kind, over its radius.

    The radius is estimated from the points. For a helix the distance combines the radial distance
    and the axial distance to the nearest turn.
    """
    radius = estimate_radius(points, label)
    far, height = np.linalg.norm(points[:, :2], axis=1), points[:, 2]
    if label == "sphere":
        away = np.linalg.norm(points, axis=1) - radius
    elif label == "torus":
        away = np.hypot(far - radius, height) - TUBE * radius
    else:
        turns = height / (PITCH * radius) + TURNS / 2
        ahead = np.arctan2(points[:, 1], points[:, 0]) / (2 * np.pi) - turns
        away = np.hypot(far - radius, PITCH * radius * (ahead - np.round(ahead)))
    return float(np.sqrt(np.mean(away**2)) / radius)


def estimate_label(points: np.ndarray) -> str:
    """Kind of solid with the least misfit to points f32[n, 3]."""
    return min(KINDS, key=lambda kind: misfit(points, kind))


def estimates(sets) -> dict[str, np.ndarray]:
    """Estimate label, radius, count and misfit, each [S], of a list of sets f32[n_i, 3]."""
    label = [estimate_label(points) for points in sets]
    pairs = list(zip(sets, label, strict=True))
    return {
        "label": np.array(label), "radius": np.array([estimate_radius(*pair) for pair in pairs]),
        "count": np.array([len(points) for points in sets]),
        "misfit": np.array([misfit(*pair) for pair in pairs]),
    }  # fmt: skip


def write_digits(folder: Path, num: int, seed: int = 0) -> None:
    """Write the first `num` digits to folder/digits/LABEL/NUMBER.png and to folder/digits.csv."""
    from PIL import Image
    from sklearn.datasets import load_digits

    rng, digits = np.random.default_rng(seed), load_digits()
    rows = []
    for number, (ink, label) in enumerate(zip(digits.images[:num], digits.target, strict=False)):
        picture = folder / "digits" / str(label) / f"{number:04}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        # Some digits cover the whole border, so add one pixel of background on each side.
        Image.fromarray(np.pad(np.round(ink * 255 / 16), 1).astype(np.uint8)).save(picture)
        count = rng.integers(DIGIT_COUNT[0], DIGIT_COUNT[1] + 1)
        pixel = rng.choice(64, count, p=ink.ravel() / ink.sum())
        points = np.stack([pixel % 8, 7 - pixel // 8], axis=1) + rng.random((count, 2))
        rows += [(f"digit{number}", f"{x:.4f}", f"{y:.4f}", label) for x, y in points]
    with (folder / "digits.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("set", "x", "y", "label"), *rows])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("sets"), help="folder to write into")
    parser.add_argument("--num_digits", type=int, default=1_797, help="number of digits")
    parser.add_argument("--num_sets", type=int, default=2_000, help="number of solids")
    options = parser.parse_args(argv)
    options.output.mkdir(parents=True, exist_ok=True)
    write_digits(options.output, options.num_digits)
    np.savez(options.output / "solids.npz", **solids(options.num_sets))


if __name__ == "__main__":
    main()
