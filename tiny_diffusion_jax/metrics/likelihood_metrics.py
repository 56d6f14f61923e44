"""Probability density of a model at real points and at the pixels of a picture.

The model is a function `log_prob`: f32[n, D] -> f32[n], in nats per unit area of the data. It is
always called with blocks of one size, so that one compiled program is enough.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax.data.observed import flat_index
from tiny_diffusion_jax.dataset import Dataset, draw_points
from tiny_diffusion_jax.metrics import ragged
from tiny_diffusion_jax.metrics.grades import ERRORS

MASS = 0.995  # share of the points around which the density is computed
FEW_DUPLICATES = 0.01  # largest share of scored training points without a warning
MOST_BELOW = 5.0  # nats
COMPARED_DRAWS = 2**17  # training points to compare with, for data that are drawn anew


def compare(dataset: Dataset, log_prob: Callable, key: jax.Array, num_points: int) -> dict:
    """Mean log-likelihood of real points that the model was not trained on, in nats per point.

    Returns value, value_se, floor, nats_to_truth, unit, num_points, points and the entries of
    `duplicates`. `floor` is the mean log-likelihood of the same points under the true density, if
    the true density is known. `nats_to_truth` is the difference to the floor, an estimate of the
    Kullback-Leibler divergence. `points` describes the points in words (`real_points`). Held-out
    rows are compared with a Gaussian, too (`of_gaussian`).
    """
    points, which = real_points(dataset, key, num_points)
    log_p, true = in_blocks(log_prob, points, num_points), dataset.log_prob
    floor = None if true is None else float(np.mean(true(jnp.asarray(points))))
    size = {"num_points": len(points), "points": which}
    repeats = duplicates(dataset, key, points)
    gaussian = {} if repeats.get("flagged") else of_gaussian(dataset, points, log_p)
    return _entry(log_p, floor, "point") | size | repeats | gaussian


def compare_whole_sets(
    dataset: Dataset, estimate: Callable, key: jax.Array, sets: int, points: int,
    given_labels: bool = False,
) -> dict:  # fmt: skip
    """Mean log-likelihood of real sets with at most `points` points, in nats per point.

    estimate: (sets f32[S, N, D], labels i32[S] or None, sizes i32[S] or None) ->
    (log_p f64[S], its spread f64[S]), as in sets/likelihood.py. `sizes` count the points of
    each complete observed set, and at most N points of a set are scored. With `given_labels` the
    model is conditioned on the label of each set, log p(X | label). The sets are held-out sets, or
    fresh draws if none are held out. `floor` is `true_log_prob`. `compare` describes the other
    entries.
    """
    heldout = dataset.heldout
    if heldout is not None and heldout.num_sources:
        index = jax.random.permutation(key, heldout.num_sources)[:sets]
        drawn, which = ragged.described_sets(heldout, key, index, points), "held-out sets"
    else:
        drawn = ragged.described_sets(dataset, key, sets, points)
        which = "fresh draws of the data"
    real, labels = drawn.points, np.asarray(drawn.label) if given_labels else None
    log_p, spread = estimate(real, labels, drawn.size)
    entry = _entry(log_p, true_log_prob(dataset, real, labels), "point of a set")
    entry |= {"spread": float(spread.mean()), "given_labels": given_labels}
    size = {"num_sets": len(real), "num_points": real.shape[1], "sets": which}
    return entry | size | duplicates(dataset, key, real.reshape(-1, real.shape[-1]))


def _entry(log_p: np.ndarray, floor: float | None, scored: str) -> dict:
    value = float(log_p.mean())
    return {
        "value": value, "value_se": float(log_p.std() / np.sqrt(len(log_p))), "floor": floor,
        "nats_to_truth": None if floor is None else floor - value,
        "unit": f"nats per {scored}, density per unit area of the data",
    }  # fmt: skip


def duplicates(dataset: Dataset, key: jax.Array, points: np.ndarray) -> dict:
    """{"duplicates": share of the scored points f32[n, D] that equal a training point}.

    Integer grids and repeated rows have such points. A density with a spike at each training point
    has an unbounded likelihood on these points. Above 1 % the entry is `flagged`, with a `warning`
    in words. Rows of NaN are padding.
    """
    points = points[~np.isnan(points[:, 0])]
    share = float(np.isin(_as_items(points), _as_items(_training_points(dataset, key))).mean())
    if share <= FEW_DUPLICATES:
        return {"duplicates": share}
    warning = (
        f"{100 * share:.1f} % of the scored points equal a training point, so a model with spikes "
        "at training points scores high: this number says nothing about new points"
    )
    return {"duplicates": share, "flagged": True, "warning": warning}


def of_gaussian(dataset: Dataset, points: np.ndarray, log_p: np.ndarray) -> dict:
    """Compare with a Gaussian that has the mean and the covariance of the training rows.

    points: held-out rows f32[n, D], whose log-likelihood f[n] under the model is log_p. Returns
    gaussian, the mean log-likelihood of the points under this density, and below_gaussian, whether
    the model is worse by more than three standard errors: then the entry is flagged with a warning.
    {} for other data than a table with held-out rows, and for fewer rows than 2 D. A model that has
    memorised its training rows is worse. A few of its points lack hundreds of nats and would
    dominate the standard error, so at most MOST_BELOW nats of a point count in the comparison.
    """
    from scipy.stats import multivariate_normal

    rows = None if dataset.heldout is None else dataset.rows
    if rows is None or len(rows) < 2 * dataset.dim or len(points) < 2:
        return {}
    rows = np.asarray(rows, np.float64)
    normal = multivariate_normal(rows.mean(0), np.cov(rows.T), allow_singular=True)
    expected = normal.logpdf(points)
    if not np.isfinite(expected).all():  # rows in a plane, and a point outside of it
        return {}
    below = np.minimum(expected - log_p, MOST_BELOW)
    is_below = bool(below.mean() > ERRORS * below.std() / np.sqrt(len(below)))
    entry = {"gaussian": float(expected.mean()), "below_gaussian": is_below}
    if not is_below:
        return entry
    warning = (
        f"a Gaussian with the mean and covariance of the rows has {entry['gaussian']:.4g}, so the "
        "model has memorised its rows, or is trained too little (config.train.keep_best=True draws "
        "with the weights of the lowest held-out loss)"
    )
    return entry | {"flagged": True, "warning": warning}


def _training_points(dataset: Dataset, key: jax.Array) -> np.ndarray:
    """Return all training points f32[n, D] of tables and observed sets, else independent draws."""
    if dataset.rows is not None:
        return np.asarray(dataset.rows)
    if dataset.sizes is not None:
        return np.asarray(dataset.points)[flat_index(dataset.offsets, dataset.sizes)]
    draws = draw_points(dataset, jax.random.fold_in(key, 1), COMPARED_DRAWS // 64, 64)
    return np.asarray(draws).reshape(-1, dataset.dim)


def _as_items(points: np.ndarray) -> np.ndarray:
    """Convert each point of f32[n, D] to one item of bytes; -0 becomes 0."""
    points = np.ascontiguousarray(points + np.float32(0), np.float32)
    return points.view(f"V{points.itemsize * points.shape[1]}")[:, 0]


def true_log_prob(dataset: Dataset, sets: np.ndarray, labels=None) -> float | None:
    """Mean over sets f32[S, N, D] of log p(X) / N under a mixture; None if p is not known.

    p(X) = sum_k w_k prod_i p_k(x_i). With labels i32[S] of the members the density is
    p(X | k) = prod_i p_k(x_i), k = label.
    """
    from scipy.special import logsumexp

    members = dataset.members
    if not members or any(member.log_prob is None for member in members):
        return None
    flat = jnp.asarray(sets.reshape(-1, sets.shape[-1]))
    of_points = np.stack([np.asarray(member.log_prob(flat), np.float64) for member in members])
    of_sets = of_points.reshape(len(members), *sets.shape[:2]).sum(2)  # [members, S]
    if labels is None:
        log_weights = np.log(np.asarray(dataset.weights, np.float64))[:, None]
        log_p = logsumexp(of_sets + log_weights, axis=0)
    else:
        log_p = of_sets[labels, np.arange(len(sets))]
    return float(log_p.mean() / sets.shape[1])


def real_points(dataset: Dataset, key: jax.Array, num_points: int) -> tuple[np.ndarray, str]:
    """Points f32[n, D], n <= num_points, for the likelihood, and a description in words.

    Data that are drawn anew give fresh draws. A table without jitter gives random held-out rows,
    each once. A table that is too small for held-out rows gives training rows.
    """
    if dataset.rows is None:
        return np.asarray(draw_points(dataset, key, 1, num_points))[0], "fresh draws of the data"
    if dataset.heldout is None:
        rows, which = dataset.rows, "rows that were trained on"
    else:
        rows, which = dataset.heldout.rows, "rows held out from training"
    # A table may be sorted, so its first rows are not a sample.
    return np.asarray(rows[jax.random.permutation(key, len(rows))[:num_points]]), which


def in_blocks(log_prob: Callable, points: np.ndarray, size: int) -> np.ndarray:
    """Compute `log_prob` f32[n] of points f32[n, D], always in blocks of exactly `size` points."""
    count, dim = -(-len(points) // size), points.shape[1]
    padded = np.resize(points, (count, size, dim)).astype(np.float32)
    return np.concatenate([log_prob(block) for block in padded])[: len(points)]


def picture(log_prob: Callable, extent, size: int, points: np.ndarray, block: int) -> np.ndarray:
    """Log density at the centres of size x size pixels, f32[size, size], lowest y first.

    extent: (left, right, bottom, top). points: samples of the model and real points f32[n, 2].
    The density is computed in pixels near `points` (`occupied`) and is -inf elsewhere. With
    100,000 points less than 1 % of the mass is left out, in pixels paler than a fiftieth of the
    darkest pixel.
    """
    chosen = occupied(extent, size, points)
    result = np.full((size, size), -np.inf, np.float32)
    if chosen.any():
        result[chosen] = in_blocks(log_prob, centres(extent, size)[chosen], block)
    return result


def centres(extent, size: int) -> np.ndarray:
    """Centres of size x size pixels, f64[size, size, 2], lowest y first."""
    left, right, bottom, top = extent
    x, y = ((np.arange(size) + 0.5) / size * (b - a) + a for a, b in ((left, right), (bottom, top)))
    return np.stack(np.meshgrid(x, y), -1)


def occupied(extent, size: int, points: np.ndarray) -> np.ndarray:
    """Select the pixels bool[size, size] with the most points around them, 99.5 % of the points.

    The points are counted in squares of 3 x 3 pixels. If points are few, the squares are larger,
    2 r + 1 pixels a side with r = size / sqrt(n). Such a square would contain one of n points that
    are spread evenly.
    """
    from scipy.ndimage import uniform_filter

    left, right, bottom, top = extent
    count, *_ = np.histogram2d(
        points[:, 1], points[:, 0], bins=size, range=[[bottom, top], [left, right]]
    )
    reach = max(1, round(size / np.sqrt(max(len(points), 1))))
    near = uniform_filter(count, 2 * reach + 1, mode="constant")
    falling = np.sort(near, axis=None)[::-1]
    number = np.searchsorted(np.cumsum(falling), MASS * falling.sum())
    return (near > 1e-9) & (near >= falling[min(number, size**2 - 1)])
