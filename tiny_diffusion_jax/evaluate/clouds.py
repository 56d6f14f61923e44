"""How far two clouds of points in the plane are from being draws of one density.

    sliced_wasserstein2   mean over directions of the 1-D Wasserstein distance         biased up
    wasserstein2          cost of the best one-to-one matching, exact                  biased up
    energy_distance       2 E|X - Y| - E|X - X'| - E|Y - Y'|                           unbiased
    mmd_rbf               E k(X, X') + E k(Y, Y') - 2 E k(X, Y), k a sum of Gaussians  unbiased

Each takes `x: f32[n, 2]` and `y: f32[m, 2]`; the order of the points never matters. None of the
four is zero between two finite draws of the same density, so a number alone says little:
`compare` prints each beside its floor, the same number between two draws of real data.
"""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax.errors import require

MAX_EXACT_POINTS = 2_000  # the assignment costs O(n^3): 0.05 s at 1,000 points, 0.4 s at 2,000
ROWS = 64  # rows of a distance matrix in memory at once: 1 MB against 4,000 points
UNBIASED = ("energy_distance", "mmd_rbf")


@partial(jax.jit, static_argnames="num_projections")
def sliced_wasserstein2(x: jax.Array, y: jax.Array, num_projections: int) -> jax.Array:
    """Sliced 2-Wasserstein distance, in the units of the points.

    SW_2^2 = 1/pi int_0^pi W_2^2(<x, u_a>, <y, u_a>) da,   u_a = (cos a, sin a)

    In the plane the integral over directions is over one angle, so it is a quadrature (the
    midpoint rule on a periodic integrand) rather than a Monte Carlo mean: no key, no noise. In one
    dimension W_2^2 = int_0^1 (F_x^-1(q) - F_y^-1(q))^2 dq, exact here for sets of any two sizes.
    Rabin et al. 2011; Bonneel et al. 2015.
    """
    angles = jnp.pi * (jnp.arange(num_projections) + 0.5) / num_projections
    directions = jnp.stack([jnp.cos(angles), jnp.sin(angles)])  # (2, K)
    x_sorted, y_sorted = (jnp.sort((points @ directions).T, axis=-1) for points in (x, y))
    if len(x) == len(y):
        return jnp.sqrt(jnp.mean((x_sorted - y_sorted) ** 2))
    x_index, y_index, width = _couple_quantiles(len(x), len(y))
    squared = (x_sorted[:, x_index] - y_sorted[:, y_index]) ** 2
    return jnp.sqrt(jnp.mean(squared @ width))


def _couple_quantiles(n: int, m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pieces of (0, 1] on which both quantile functions, of n and of m points, are constant.

    Returns the index into each sorted set and the length of each piece. The edges i/n and j/m are
    kept as whole numbers, in units of 1/(n m), so that edges which coincide are found to.
    """
    edges = np.union1d(np.arange(n + 1, dtype=np.int64) * m, np.arange(m + 1, dtype=np.int64) * n)
    left, width = edges[:-1], np.diff(edges) / (n * m)
    return left // m, left // n, width.astype(np.float32)


def wasserstein2(x: jax.Array, y: jax.Array) -> float:
    """Exact 2-Wasserstein distance of two sets of one size, in the units of the points.

    W_2^2 = min over permutations p of 1/n sum_i |x_i - y_p(i)|^2

    Solved on the host, in time O(n^3): at most 2,000 points. Raises UserError on more, or on two
    sizes.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    require(len(x) == len(y), "len(y)", len(y), f"len(x) = {len(x)}, to match one to one")
    require(len(x) <= MAX_EXACT_POINTS, "len(x)", len(x), f"at most {MAX_EXACT_POINTS} points")
    cost = cdist(np.asarray(x, np.float64), np.asarray(y, np.float64), "sqeuclidean")
    return float(np.sqrt(cost[linear_sum_assignment(cost)].mean()))


@jax.jit
def energy_distance(x: jax.Array, y: jax.Array) -> jax.Array:
    """Energy distance, unbiased, in the units of the points; not square-rooted.

    D = 2 E|X - Y| - E|X - X'| - E|Y - Y'|

    This is the quantity that is linear in each expectation (its root is the metric), so its
    U-statistic is unbiased: 0 on average between draws of one density, above or below it in any
    one case. Needs at least two points a set. Szekely and Rizzo 2013.
    """
    return _discrepancy(lambda squared_distance: -jnp.sqrt(squared_distance), x, y)


@jax.jit
def mmd_rbf(x: jax.Array, y: jax.Array, bandwidths: jax.Array) -> jax.Array:
    """Squared maximum mean discrepancy, unbiased, for a sum of Gaussian kernels; no units.

    k(x, y) = sum_b exp(-|x - y|^2 / (2 b^2)),   b in `bandwidths`, in the units of the points

    Take the bandwidths from the reference data (`median_distance`), never from the samples under
    test: the ruler must not depend on what it measures. Gretton et al. 2012, equation 3.
    """
    bandwidths = jnp.atleast_1d(bandwidths)

    def kernel(squared_distance):
        return sum(jnp.exp(-squared_distance / (2 * bandwidth**2)) for bandwidth in bandwidths)

    return _discrepancy(kernel, x, y)


def _discrepancy(kernel: Callable, x: jax.Array, y: jax.Array) -> jax.Array:
    """E k(X, X') + E k(Y, Y') - 2 E k(X, Y), by means over distinct points (a U-statistic)."""
    return (
        _mean_kernel(kernel, x, x, distinct=True)
        + _mean_kernel(kernel, y, y, distinct=True)
        - 2 * _mean_kernel(kernel, x, y, distinct=False)
    )


def _mean_kernel(kernel: Callable, x: jax.Array, y: jax.Array, distinct: bool) -> jax.Array:
    """Mean of kernel(|x_i - y_j|^2) over all pairs, or over i != j; memory O(ROWS m)."""

    def row(point):  # differences, not |x|^2 - 2 x.y + |y|^2, which cancels for near points
        return jnp.sum(kernel((point[0] - y[:, 0]) ** 2 + (point[1] - y[:, 1]) ** 2))

    sums = jax.lax.map(row, x, batch_size=min(ROWS, len(x)))
    if distinct:
        return jnp.mean(sums - kernel(jnp.zeros(()))) / (len(y) - 1)
    return jnp.mean(sums) / len(y)


def require_finite(name: str, sets: np.ndarray) -> None:
    """Raises UserError with the number of points of `sets`, called `name`, that are not finite."""
    bad = int((~np.isfinite(sets)).any(-1).sum())
    require(bad == 0, f"{name}: points that are not finite", bad, "0")


def median_distance(x: jax.Array, max_points: int = 1_000) -> float:
    """Median distance between two distinct points among the first `max_points` of x."""
    from scipy.spatial.distance import pdist

    return float(np.median(pdist(np.asarray(x[:max_points], np.float64))))


def compare(
    samples: jax.Array,
    real_a: jax.Array,
    real_b: jax.Array,
    *,
    num_projections: int = 64,
    bandwidths: Sequence[float] = (1 / 16, 1 / 4, 1.0),
    exact_points: int = 1_000,
    exact_sets: int = 4,
    kernel_sets: int = 8,
) -> dict[str, dict]:
    """Every metric between samples and data, beside its floor between data and data.

    `samples`, `real_a`, `real_b`: f32[num_sets, n, 2], independent draws. For each metric d

        value = mean_i d(samples_i, real_a_i)     floor = mean_i d(real_b_i, real_a_i)

    with `value_se`, `floor_se`: the standard errors of these means; `floor_std`: the spread of
    one d(real_b_i, real_a_i); `num_sets`, `num_points`: what they were taken over. For the two
    Wasserstein distances `ratio` = value / floor (1: not to be told from data) and its standard
    error `ratio_se`; the unbiased metrics have a floor of about 0, so there `ratio` is None, and
    value - floor is to be read against floor_std. With one set the spreads are None. All entries
    are plain numbers, ready for JSON.

    The `bandwidths` of mmd_rbf are multiples of the median distance in real_a. wasserstein2 takes
    the first `exact_points` of the first `exact_sets` sets: points of a set come in no order.
    The energy distance and the MMD, whose cost is n^2, take the first `kernel_sets` sets.
    Raises UserError when the shapes differ or a coordinate is not finite.
    """
    samples, real_a, real_b = (np.asarray(sets, np.float32) for sets in (samples, real_a, real_b))
    for name, sets in {"samples": samples, "real_a": real_a, "real_b": real_b}.items():
        good = sets.ndim == 3 and sets.shape[-1] == 2 and sets.shape == real_a.shape
        require(good, f"{name}.shape", sets.shape, "(num_sets, n, 2), one shape for all three")
        require_finite(name, sets)

    rulers = median_distance(real_a.reshape(-1, 2)) * np.asarray(bandwidths, np.float32)
    metrics = {
        "sliced_wasserstein2": partial(sliced_wasserstein2, num_projections=num_projections),
        "energy_distance": energy_distance,
        "mmd_rbf": partial(mmd_rbf, bandwidths=jnp.asarray(rulers)),
        "wasserstein2": wasserstein2,
    }
    result = {}
    for name, metric in metrics.items():
        k, n = real_a.shape[:2]
        if name == "wasserstein2":
            k, n = min(k, exact_sets), min(n, exact_points)
        elif name in UNBIASED:
            k = min(k, kernel_sets)
        values, floors = (
            np.array([float(metric(sets[i, :n], real_a[i, :n])) for i in range(k)])
            for sets in (samples, real_b)
        )
        result[name] = _summary(values, floors, ratio=name not in UNBIASED) | {"num_points": n}
    return result


def _summary(values: np.ndarray, floors: np.ndarray, ratio: bool) -> dict:
    """Means and spreads over the sets; the spread of the ratio of means is to first order."""

    def spread(numbers, scale=1.0):
        return float(numbers.std(ddof=1) * scale) if len(numbers) > 1 else None

    k, value, floor = len(values), values.mean(), floors.mean()
    ratio = value / floor if ratio and floor > 0 else None
    return {
        "value": float(value),
        "value_se": spread(values, k**-0.5),
        "floor": float(floor),
        "floor_se": spread(floors, k**-0.5),
        "floor_std": spread(floors),
        "ratio": None if ratio is None else float(ratio),
        # values_i and floors_i share real_a_i: their difference is less noisy than either
        "ratio_se": None if ratio is None else spread((values - ratio * floors) / floor, k**-0.5),
        "num_sets": k,
    }
