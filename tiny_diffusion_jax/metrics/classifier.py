"""Predict the label of a point set, by a support vector machine on blurred histograms."""

from collections.abc import Callable
from itertools import combinations

import jax
import numpy as np

from tiny_diffusion_jax.dataset import Dataset
from tiny_diffusion_jax.metrics import intervals, ragged
from tiny_diffusion_jax.point_sets import lengths

BINS, BLUR = 16, 0.8  # histograms: squares a side, standard deviation in squares
TRAIN_SETS = 12_000
SIZE_WEIGHT = 0.3  # weight of one standard deviation of log size; histograms have norm 1


def limits_of(points: np.ndarray) -> np.ndarray:
    """Return the corners f64[2, D] of the box around all points f32[..., D]; NaN is padding."""
    flat = points.reshape(-1, points.shape[-1])
    return np.stack([np.nanmin(flat, axis=0), np.nanmax(flat, axis=0)]).astype(np.float64)


def histograms(sets: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Histograms f32[B, P BINS^2] of sets f32[B, N, D]: point counts, blurred and square-rooted.

    Each of the P pairs of coordinates gives one picture, so a set in the plane has one picture.
    limits: f64[2, D], the corners of the box. Points outside of the box count at its edge.
    """
    from scipy.ndimage import gaussian_filter

    exists = ~np.isnan(sets[..., 0])
    width = np.maximum(limits[1] - limits[0], 1e-30)
    scaled = np.where(exists[..., None], (sets - limits[0]) / width * BINS, 0)
    cell = np.clip(np.floor(scaled).astype(int), 0, BINS - 1)
    pictures = []
    for x, y in list(combinations(range(sets.shape[-1]), 2)) or [(0, 0)]:
        index = (np.arange(len(sets))[:, None] * BINS + cell[..., y]) * BINS + cell[..., x]
        count = np.bincount(index[exists], minlength=len(sets) * BINS**2)
        picture = count.reshape(-1, BINS, BINS) / exists.sum(1)[:, None, None]
        picture = gaussian_filter(picture, (0, BLUR, BLUR))
        pictures.append(np.sqrt(picture).reshape(len(sets), -1))
    return (np.concatenate(pictures, 1) / len(pictures) ** 0.5).astype(np.float32)


def train(points: np.ndarray, label: np.ndarray, use_size: bool) -> Callable:
    """Train on sets f32[B, N, D] and labels [B]; return the function sets -> labels i64[B].

    use_size: the size of a set is an additional feature. At least two labels must differ.
    """
    from sklearn.svm import SVC

    limits, log_size = limits_of(points), np.log(lengths(points))
    mean, std = log_size.mean(), log_size.std() + 1e-6

    def features(sets):
        size = SIZE_WEIGHT * (np.log(lengths(sets)) - mean) / std
        of_sets = histograms(sets, limits)
        return np.concatenate([of_sets, size[:, None]], 1) if use_size else of_sets

    svm = SVC(C=10.0, gamma="scale").fit(features(points), label)
    return lambda sets: svm.predict(features(np.asarray(sets)))


def two_sample_accuracy(a: np.ndarray, b: np.ndarray) -> float:
    """Accuracy with which a trained classifier tells sets a from sets b, f32[B, N, D]; 0.5: equal.

    The classifier of `train` is trained on half of the sets and tested on the other half, and then
    the other way round (a classifier two-sample test, arXiv 1610.06545).
    """
    halves = [np.concatenate([a[i::2], b[i::2]]) for i in (0, 1)]
    kinds = [np.repeat([0, 1], [len(a[i::2]), len(b[i::2])]) for i in (0, 1)]
    right = [train(halves[i], kinds[i], use_size=False)(halves[1 - i]) == kinds[1 - i]
             for i in (0, 1)]  # fmt: skip
    return float(np.mean(np.concatenate(right)))


def accuracy(
    dataset: Dataset, key: jax.Array, samples: np.ndarray, labels: np.ndarray
) -> dict | None:
    """Share of `samples` f32[B, N, D] whose predicted label equals the label in `labels` i32[B].

    None if the training data have a single label, because there is nothing to classify.
    floor: the same share for real sets. The real sets are held-out sets if there are any.
    Labels that were never trained on are left out of the floor. The floor is None if no held-out
    set remains. `interval` and `floor_interval` are 95 % intervals of the two shares.
    `num_real` counts the real sets, or the different images if sets are drawn from images.
    With fewer than 30 samples or held-out sets, `note` reports too few sets.
    Smaller sets are padded with NaN.
    """
    train_key, real_key = jax.random.split(key)
    num_sets, num_points, _ = samples.shape
    points, label = real_sets(dataset, train_key, TRAIN_SETS, num_points)
    trained = np.unique(label)
    if len(trained) < 2:
        return None
    predict = train(points, label, use_size=dataset.sizes is not None)
    source = dataset.heldout or dataset
    real, real_label = real_sets(source, real_key, max(num_sets, 1_000), num_points)
    known = np.isin(real_label, trained)
    num_real = int(known.sum())
    if source.num_sources:
        num_real = min(num_real, source.num_sources)
    value, value_se, interval = _share(predict(samples) == labels, num_sets)
    floor = floor_se = floor_interval = None
    if num_real:
        is_right = predict(real[known]) == real_label[known]
        floor, floor_se, floor_interval = _share(is_right, num_real)
    return {
        "value": value, "value_se": value_se, "floor": floor, "floor_se": floor_se,
        "ratio": None, "num_sets": num_sets, "num_points": num_points, "num_real": num_real,
        "interval": interval, "floor_interval": floor_interval,
    } | intervals.note(min(num_sets, num_real))  # fmt: skip


def _share(is_right: np.ndarray, count: int) -> tuple[float, float, list[float]]:
    """Share of True in bool[n], its standard error, and its interval for `count` cases."""
    share = float(np.mean(is_right))
    error = float(np.sqrt(share * (1 - share) / len(is_right)))
    return share, error, intervals.of_share(share, count)


def real_sets(dataset: Dataset, key: jax.Array, num_sets: int, num_points: int):
    """(points f32[B, num_points, D], labels [B]) of `num_sets` draws, or of fewer observed sets.

    Two draws of one observed set are nearly equal, so each observed set is drawn at most once.
    """
    if dataset.sizes is None:
        draw = jax.jit(lambda dataset, key: dataset.draw(key, num_sets, num_points))
        real = draw(dataset, key)
        return np.asarray(real.points), np.asarray(real.label)
    points, index = ragged.one_set_each(dataset, key, num_sets, num_points)
    return points, np.asarray(dataset.source_labels)[index]
