"""Density of the data as a small picture, which the live page shows below the samples."""

import base64

import jax
import numpy as np

from tiny_diffusion_jax import data
from tiny_diffusion_jax.api import Experiment
from tiny_diffusion_jax.config import editable
from tiny_diffusion_jax.dataset import Dataset, draw_sets

SIZE = 60  # pixels of a side
HALF = 2.7  # half of a side, in stds of the data, as FIELD_HALF of static/live/grid.js
SETS, POINTS = 8192, 16  # drawn for a picture; points of a set share their label
BRIGHT = 0.98  # share of the mass that lies in pixels below full tone
MOST_LABELS = 10  # a picture for each label takes 5 kB


def data_density(experiment: Experiment) -> dict | None:
    """Return {"size", "data"}: bytes u8[K, SIZE, SIZE] in base64, lowest y first.

    The first picture is of all points. A picture of each label follows, unless the data have no
    labels or more than MOST_LABELS. A tone is min(1, p / p_bright) with p_bright the density that
    the densest 2 % of the mass exceed.
    None if the points are not available: a run and a released model store no data, so that only
    analytic data are drawn again.
    """
    config, dataset, process = experiment.config, experiment.dataset, experiment.process
    source = dataset if dataset.has_points else _redrawn(dataset, config.data)
    if source is None:
        return None
    sets = draw_sets(source, jax.random.key(0), SETS, POINTS)
    spread = np.float64(process.sigma_data)
    points = np.asarray(dataset.normalize(sets.points), np.float64)
    places = (points - np.asarray(process.data_mean, np.float64)) / spread
    exists = np.ones(places.shape[:2], bool) if sets.mask is None else np.asarray(sets.mask)
    labels = np.zeros(SETS, int) if sets.label is None else np.asarray(sets.label)
    num = experiment.model.num_labels
    several = 1 < num <= MOST_LABELS
    # Pictures of labels have separate p_bright, so no mean of them is the picture of all points.
    chosen = [labels == labels, *((labels == k) for k in range(num if several else 0))]
    pictures = [_picture(places[of][exists[of]]) for of in chosen]
    return {"size": SIZE, "data": base64.b64encode(np.stack(pictures).tobytes()).decode()}


def _redrawn(dataset: Dataset, config) -> Dataset | None:
    return data.build(editable(config)) if dataset.source == "analytic" else None


def _picture(places: np.ndarray) -> np.ndarray:
    """Tones u8[SIZE, SIZE] of points f[n, 2] in standard deviations, lowest y first."""
    edges = np.linspace(-HALF, HALF, SIZE + 1)
    counts, _, _ = np.histogram2d(places[:, 1], places[:, 0], bins=(edges, edges))
    smooth = _blurred(_blurred(counts).T).T
    falling = np.sort(smooth.ravel())[::-1]
    bright = falling[np.searchsorted(np.cumsum(falling), (1 - BRIGHT) * falling.sum())]
    return np.rint(255 * np.minimum(smooth / max(bright, 1e-9), 1)).astype(np.uint8)


def _blurred(counts: np.ndarray) -> np.ndarray:
    """Mean of neighbouring rows with weights 1, 2, 1."""
    padded = np.pad(counts, ((1, 1), (0, 0)))
    return (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
