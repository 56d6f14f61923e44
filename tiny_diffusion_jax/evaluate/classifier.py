"""Names the label of a point set: a support vector machine on blurred histograms of its points."""

from collections.abc import Callable

import jax
import numpy as np

from tiny_diffusion_jax.data.base import Dataset

BINS, BLUR = 16, 0.8  # of the histograms: squares a side, standard deviation in squares
TRAIN_SETS = 12_000


def histograms(sets: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """f32[B, BINS^2]: points of each set f32[B, N, 2] counted in squares, blurred, square-rooted.

    limits: f64[2, 2], the corners of the picture; points outside of it count at its edge.
    """
    from scipy.ndimage import gaussian_filter

    place = (sets - limits[0]) / (limits[1] - limits[0]) * BINS
    cell = np.clip(np.floor(place).astype(int), 0, BINS - 1)
    index = (np.arange(len(sets))[:, None] * BINS + cell[..., 1]) * BINS + cell[..., 0]
    count = np.bincount(index.ravel(), minlength=len(sets) * BINS**2)
    pictures = count.reshape(-1, BINS, BINS) / sets.shape[1]
    blurred = gaussian_filter(pictures, (0, BLUR, BLUR))
    return np.sqrt(blurred).reshape(len(sets), -1).astype(np.float32)


def train(dataset: Dataset, key: jax.Array, num_points: int) -> Callable[[np.ndarray], np.ndarray]:
    """Learns from real sets of `num_points` points; returns the function sets -> labels i64[B]."""
    from sklearn.svm import SVC

    draw = jax.jit(lambda dataset, key: dataset.draw(key, TRAIN_SETS, num_points))
    real = draw(dataset, key)
    points = np.asarray(real.points)
    limits = np.stack([points.min((0, 1)), points.max((0, 1))]).astype(np.float64)
    svm = SVC(C=10.0, gamma="scale").fit(histograms(points, limits), np.asarray(real.label))
    return lambda sets: svm.predict(histograms(np.asarray(sets), limits))


def accuracy(
    dataset: Dataset, key: jax.Array, samples: np.ndarray, labels: np.ndarray
) -> dict:
    """Share of `samples` f32[B, N, 2] named as the `labels` i32[B] that were asked for.

    floor: of real sets, from data that neither the classifier nor the denoiser was trained on
    if any were held out.
    """
    train_key, real_key = jax.random.split(key)
    num_sets, num_points, _ = samples.shape
    predict = train(dataset, train_key, num_points)
    draw = jax.jit(lambda dataset, key: dataset.draw(key, max(num_sets, 1_000), num_points))
    real = draw(dataset.heldout or dataset, real_key)
    value = float(np.mean(predict(samples) == labels))
    floor = float(np.mean(predict(real.points) == np.asarray(real.label)))
    standard_error = lambda share, n: float(np.sqrt(share * (1 - share) / n))
    return {
        "value": value, "value_se": standard_error(value, num_sets),
        "floor": floor, "floor_se": standard_error(floor, len(real.points)),
        "ratio": None, "num_sets": num_sets, "num_points": num_points,
    }  # fmt: skip
