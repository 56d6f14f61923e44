"""Distances between two clouds of points, to test whether both are draws of one density.

    sliced_wasserstein2   mean over directions of the 1-D Wasserstein distance         biased up
    wasserstein2          cost of the best one-to-one matching, exact                  biased up
    energy_distance       2 E|X - Y| - E|X - X'| - E|Y - Y'|                           unbiased
    mmd_rbf               E k(X, X') + E k(Y, Y') - 2 E k(X, Y), k a sum of Gaussians  unbiased

All four take `x: f32[n, D]` and `y: f32[m, D]`, and ignore the order of the points. None of the
four is zero between two finite draws of the same density, so a number alone means little.
`compare` therefore adds the floor of each metric, the same number between two draws of real data.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax import devices
from tiny_diffusion_jax.errors import require

MAX_EXACT_POINTS = 2_000  # the assignment costs O(n^3): 0.05 s at 1,000 points, 0.4 s at 2,000
ROWS = 16  # rows of a distance matrix in memory at once, so that they fit into a core's cache
UNBIASED = ("energy_distance", "mmd_rbf")


def sorted_projections(points, num_directions: int):
    """Project points [..., n, D] on directions and sort each: [..., num_directions, n].

    The result is a numpy array for numpy input and a JAX array for JAX input, because numpy sorts
    8 times as fast on a CPU.
    """
    xp = points.__array_namespace__()
    directions = even_directions(points.shape[-1], num_directions).astype(points.dtype)
    return xp.sort(xp.swapaxes(points @ directions, -1, -2), axis=-1)


def even_directions(dim: int, count: int) -> np.ndarray:
    """Unit vectors f64[dim, count], a fixed quadrature over directions u; -u is equivalent to u.

    In the plane the vectors are (cos a, sin a) with a even over the half circle,
    a = pi (k + 1/2) / count. In space the vectors are the upper half of a Fibonacci lattice, with
    even heights and turns by the golden angle, so all cover equal areas (Gonzalez 2010). In higher
    dimensions the vectors are normal deviates of a fixed seed, scaled to length 1.
    """
    place = (np.arange(count) + 0.5) / count
    if dim == 1:
        return np.ones((1, count))
    if dim == 2:
        angles = np.pi * (np.arange(count) + 0.5) / count
        return np.stack([np.cos(angles), np.sin(angles)])
    if dim == 3:
        turns, radius = np.pi * (3 - 5**0.5) * np.arange(count), np.sqrt(1 - place**2)
        return np.stack([radius * np.cos(turns), radius * np.sin(turns), place])
    normal = np.random.default_rng(0).normal(size=(dim, count))
    return normal / np.linalg.norm(normal, axis=0)


@partial(jax.jit, static_argnames="num_projections")
@devices.float32_matmuls
def sliced_wasserstein2(x: jax.Array, y: jax.Array, num_projections: int) -> jax.Array:
    """Sliced 2-Wasserstein distance, in the units of the points.

    SW_2^2 = mean over unit vectors u of W_2^2(<x, u>, <y, u>)

    In the plane the mean over one angle is a quadrature, the midpoint rule on a periodic integrand.
    A quadrature needs no key and has no noise. In space the mean is a quadrature as well. In one
    dimension W_2^2 = int_0^1 (F_x^-1(q) - F_y^-1(q))^2 dq, which is exact here for any two sizes.
    Rabin et al. 2011; Bonneel et al. 2015.
    """
    x_sorted, y_sorted = (sorted_projections(jnp.asarray(z), num_projections) for z in (x, y))
    if len(x) == len(y):
        return jnp.sqrt(jnp.mean((x_sorted - y_sorted) ** 2))
    x_index, y_index, width = _couple_quantiles(len(x), len(y))
    squared = (x_sorted[:, x_index] - y_sorted[:, y_index]) ** 2
    return jnp.sqrt(jnp.mean(squared @ width))


def _couple_quantiles(n: int, m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pieces of (0, 1] on which the quantile functions of n and of m points are constant.

    Returns the index into each sorted set and the length of each piece. The edges i/n and j/m are
    whole numbers in units of 1/(n m), so that coinciding edges are exactly equal.
    """
    edges = np.union1d(np.arange(n + 1, dtype=np.int64) * m, np.arange(m + 1, dtype=np.int64) * n)
    left, width = edges[:-1], np.diff(edges) / (n * m)
    return left // m, left // n, width.astype(np.float32)


def wasserstein2(x: jax.Array, y: jax.Array) -> float:
    """Exact 2-Wasserstein distance of two sets of one size, in the units of the points.

    W_2^2 = min over permutations p of 1/n sum_i |x_i - y_p(i)|^2

    The assignment is solved on the host in time O(n^3), so at most 2,000 points are allowed. Raises
    UserError for more points, or for two different sizes.
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

    D is linear in each expectation, so the U-statistic of D is unbiased; the root of D is the
    metric. Between two draws of one density D is 0 on average, and positive or negative in a single
    case. Each set needs at least two points. Szekely and Rizzo 2013.
    """
    return _discrepancy(_minus_distance, x, y)


@jax.jit
def mmd_rbf(x: jax.Array, y: jax.Array, bandwidths: jax.Array) -> jax.Array:
    """Squared maximum mean discrepancy, unbiased, for a sum of Gaussian kernels; no units.

    k(x, y) = sum_b exp(-|x - y|^2 / (2 b^2)),   b in `bandwidths`, in the units of the points

    Choose the bandwidths from the reference data (`median_distance`), because a distance must not
    depend on the samples under test. Gretton et al. 2012, equation 3.
    """
    return _discrepancy(partial(_gaussians, jnp.atleast_1d(bandwidths)), x, y)


def _minus_distance(squared_distance):
    return -jnp.sqrt(squared_distance)


def _gaussians(bandwidths, squared_distance):
    return sum(jnp.exp(-squared_distance / (2 * bandwidth**2)) for bandwidth in bandwidths)


def _discrepancy(kernel: Callable, x: jax.Array, y: jax.Array) -> jax.Array:
    """U-statistic E k(X, X') + E k(Y, Y') - 2 E k(X, Y), with means over distinct points."""
    return (
        _mean_kernel(kernel, x, x, distinct=True)
        + _mean_kernel(kernel, y, y, distinct=True)
        - 2 * _mean_kernel(kernel, x, y, distinct=False)
    )


def _mean_kernel(kernel: Callable, x: jax.Array, y: jax.Array, distinct: bool):
    """Mean of kernel(|x_i - y_j|^2) over all pairs, or over i != j; memory O(ROWS m).

    A kernel may return several arrays. One pass over the distances then gives the mean of each.
    """

    def row(point):  # |x|^2 - 2 x.y + |y|^2 would cancel for near points
        values = kernel(sum((point[d] - y[:, d]) ** 2 for d in range(y.shape[1])))
        return jax.tree.map(jnp.sum, values)

    sums = jax.lax.map(row, x, batch_size=min(ROWS, len(x)))
    if not distinct:
        return jax.tree.map(lambda s: jnp.mean(s) / len(y), sums)
    at_zero = kernel(jnp.zeros(()))
    return jax.tree.map(lambda s, zero: jnp.mean(s - zero) / (len(y) - 1), sums, at_zero)


@partial(jax.jit, static_argnames="distinct")
def _mean_both(x: jax.Array, y: jax.Array, bandwidths: jax.Array, distinct: bool):
    """Mean kernels f32[2] of the energy distance and of `mmd_rbf`, from one pass."""
    kernel = lambda squared: (_minus_distance(squared), _gaussians(bandwidths, squared))
    return jnp.stack(_mean_kernel(kernel, x, y, distinct))


def require_finite(name: str, sets: np.ndarray) -> None:
    """Raise UserError with the number of non-finite points in `sets`, which is called `name`."""
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
    """Compute every metric between samples and data, and its floor between data and data.

    `samples`, `real_a`, `real_b`: f32[num_sets, n, D], independent draws. For each metric d

        value = mean_i d(samples_i, real_a_i)     floor = mean_i d(real_b_i, real_a_i)

    `value_se` and `floor_se` are the standard errors of these means. `floor_std` is the spread of
    one d(real_b_i, real_a_i). `num_sets` and `num_points` count the compared sets, and the points
    of each. The two Wasserstein distances have `ratio` = value / floor, which is 1 for samples as
    good as real data, and its standard error `ratio_se`. The unbiased metrics have a floor of about
    0, so their `ratio` is None. For these metrics compare value - floor with floor_std. With one
    set the spreads are None. All entries are plain numbers, ready for JSON.

    The `bandwidths` of mmd_rbf are multiples of the median distance in real_a. wasserstein2 uses
    the first `exact_points` points of the first `exact_sets` sets, because points of a set have no
    order. The energy distance and the MMD have cost n^2, so both use the first `kernel_sets` sets.
    Raises UserError if the shapes differ or a coordinate is not finite.
    """
    samples, real_a, real_b = (np.asarray(sets, np.float32) for sets in (samples, real_a, real_b))
    for name, sets in {"samples": samples, "real_a": real_a, "real_b": real_b}.items():
        good = sets.ndim == 3 and sets.shape == real_a.shape
        require(good, f"{name}.shape", sets.shape, "(num_sets, n, D), one shape for all three")
        require_finite(name, sets)

    clouds = samples, real_a, real_b
    k, n, dim = real_a.shape
    rulers = jnp.asarray(median_distance(real_a.reshape(-1, dim)) * np.asarray(bandwidths), "f4")
    exact_sets, exact_points = min(k, exact_sets), min(n, exact_points)
    sliced = _over_sets(partial(_sliced_of_set, *clouds, num_projections), k)
    unbiased = _over_sets(partial(_unbiased_of_set, *clouds, rulers), min(k, kernel_sets))
    exact = _over_sets(partial(_exact_of_set, *clouds, exact_points), exact_sets)
    return {
        "sliced_wasserstein2": _summary(*sliced, True) | {"num_points": n},
        "energy_distance": _summary(*unbiased[..., 0], False) | {"num_points": n},
        "mmd_rbf": _summary(*unbiased[..., 1], False) | {"num_points": n},
        "wasserstein2": _summary(*exact, True) | {"num_points": exact_points},
    }


def _over_sets(of_set: Callable[[int], Sequence], count: int) -> np.ndarray:
    """Compute [(value, floor), count, ...] for the sets 0 .. count - 1, on all cores."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.array(list(pool.map(of_set, range(count)))).swapaxes(0, 1)


def _sliced_of_set(samples, real_a, real_b, num_projections: int, i: int):
    """(value, floor) of `sliced_wasserstein2` of one set; each cloud is sorted once."""
    s, a, b = (sorted_projections(sets[i], num_projections) for sets in (samples, real_a, real_b))
    return [np.sqrt(np.mean((x - a) ** 2)) for x in (s, b)]


def _unbiased_of_set(samples, real_a, real_b, bandwidths, i: int):
    """(value, floor) f32[2, 2] of `energy_distance` and `mmd_rbf`; the real term is shared."""
    s, a, b = samples[i], real_a[i], real_b[i]
    of_real = _mean_both(a, a, bandwidths, True)
    return [
        np.asarray(_mean_both(x, x, bandwidths, True) + of_real
                   - 2 * _mean_both(x, a, bandwidths, False))
        for x in (s, b)
    ]  # fmt: skip


def _exact_of_set(samples, real_a, real_b, num_points: int, i: int):
    """(value, floor) of `wasserstein2` of the first points of one set."""
    s, a, b = (sets[i, :num_points] for sets in (samples, real_a, real_b))
    return [wasserstein2(x, a) for x in (s, b)]


def _summary(values: np.ndarray, floors: np.ndarray, ratio: bool) -> dict:
    """Means and spreads over the sets; the spread of the ratio of means is of first order."""

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
        # values_i and floors_i share real_a_i, so their difference has less noise than either
        "ratio_se": None if ratio is None else spread((values - ratio * floors) / floor, k**-0.5),
        "num_sets": k,
    }
