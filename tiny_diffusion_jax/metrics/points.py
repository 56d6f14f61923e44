"""Distances between two draws of points, to test whether both are from one density.

    sliced_wasserstein2   mean over directions of the 1-D Wasserstein distance         biased up
    wasserstein2          cost of the best one-to-one matching, exact                  biased up
    energy_distance       2 E|X - Y| - E|X - X'| - E|Y - Y'|                           unbiased
    mmd_rbf               E k(X, X') + E k(Y, Y') - 2 E k(X, Y), k a sum of Gaussians  unbiased

All distances take `x: f32[n, D]` and `y: f32[m, D]`, and ignore the order of the points. None is
zero between two finite draws of one density, so a number alone means little. `compare` adds the
floor of each metric, the same number between two draws of real data.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax import devices
from tiny_diffusion_jax.errors import require

MAX_EXACT_POINTS = 2_000  # the assignment costs O(n^3): 0.05 s at 1,000 points, 0.4 s at 2,000
ROWS = 16  # rows of a distance matrix in memory at once, so that they fit into a core's cache


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
    height = (np.arange(count) + 0.5) / count
    if dim == 1:
        return np.ones((1, count))
    if dim == 2:
        angles = np.pi * (np.arange(count) + 0.5) / count
        return np.stack([np.cos(angles), np.sin(angles)])
    if dim == 3:
        turns, radius = np.pi * (3 - 5**0.5) * np.arange(count), np.sqrt(1 - height**2)
        return np.stack([radius * np.cos(turns), radius * np.sin(turns), height])
    normal = np.random.default_rng(0).normal(size=(dim, count))
    return normal / np.linalg.norm(normal, axis=0)


@devices.float32_matmuls
def sliced_wasserstein2(x, y, num_projections: int):
    """Sliced 2-Wasserstein distance of two sets of one size, in the units of the points.

    SW_2^2 = mean over unit vectors u of W_2^2(<x, u>, <y, u>),   W_2 by sorting

    The mean is a quadrature over directions, which needs no key and has no noise. In the plane the
    quadrature is the midpoint rule on a periodic integrand. `x`, `y` are both of numpy or both of
    JAX. Rabin et al. 2011; Bonneel et al. 2015.
    """
    xp = x.__array_namespace__()
    x_sorted, y_sorted = (sorted_projections(points, num_projections) for points in (x, y))
    return xp.sqrt(xp.mean((x_sorted - y_sorted) ** 2))


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


def energy_and_mmd(x: jax.Array, y: jax.Array, bandwidths: jax.Array) -> jax.Array:
    """Energy distance, in the units of the points, and squared MMD, without units: f32[2].

    D = 2 E|X - Y| - E|X - X'| - E|Y - Y'|                              not square-rooted
    MMD^2 = E k(X, X') + E k(Y, Y') - 2 E k(X, Y)
    k(x, y) = sum_b exp(-|x - y|^2 / (2 b^2)),   b in `bandwidths`, in the units of the points

    Both are U-statistics: means over distinct points make them 0 on average between two draws of
    one density, and positive or negative in a single case. Each set needs at least two points.
    Choose the bandwidths from the reference data (`median_distance`), because a distance must not
    depend on the samples under test. Szekely and Rizzo 2013; Gretton et al. 2012, equation 3.
    """
    within = (_mean_kernels(points, points, bandwidths, True) for points in (x, y))
    return sum(within) - 2 * _mean_kernels(x, y, bandwidths, False)


@partial(jax.jit, static_argnames="distinct")
def _mean_kernels(x: jax.Array, y: jax.Array, bandwidths: jax.Array, distinct: bool):
    """Means f32[2] of -|x_i - y_j| and of k(x_i, y_j) over all pairs, or over i != j.

    One pass over the distances gives both. The memory is O(ROWS m).
    """

    def kernels(squared):
        gaussians = sum(jnp.exp(-squared / (2 * b**2)) for b in jnp.atleast_1d(bandwidths))
        return -jnp.sqrt(squared), gaussians

    def row(point):  # |x|^2 - 2 x.y + |y|^2 would cancel for near points
        values = kernels(sum((point[d] - y[:, d]) ** 2 for d in range(y.shape[1])))
        return jax.tree.map(jnp.sum, values)

    sums = jax.lax.map(row, x, batch_size=min(ROWS, len(x)))
    if not distinct:
        return jnp.stack([jnp.mean(s) / len(y) for s in sums])
    at_zero = kernels(jnp.zeros(()))
    return jnp.stack([
        jnp.mean(s - zero) / (len(y) - 1) for s, zero in zip(sums, at_zero, strict=True)
    ])  # fmt: skip


def require_finite(name: str, sets: np.ndarray) -> None:
    """Raise UserError with the number of non-finite points in `sets`, which is called `name`."""
    bad = int((~np.isfinite(sets)).any(-1).sum())
    require(bad == 0, f"{name}: points that are not finite", bad, "0")


def median_distance(x: jax.Array, max_points: int = 1_000) -> float:
    """Median distance between two distinct points among the first `max_points` of x."""
    from scipy.spatial.distance import pdist

    return float(np.median(pdist(np.asarray(x[:max_points], np.float64))))


def compare(
    samples: jax.Array, real_a: jax.Array, real_b: jax.Array, *, num_projections: int = 64,
    bandwidths: Sequence[float] = (1 / 16, 1 / 4, 1.0), exact_points: int = 1_000,
    exact_sets: int = 4, kernel_sets: int = 8,
) -> dict[str, dict]:  # fmt: skip
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

    k, n, dim = real_a.shape
    rulers = jnp.asarray(median_distance(real_a.reshape(-1, dim)) * np.asarray(bandwidths), "f4")

    def over_sets(distance, num_sets: int, num_points: int = n) -> np.ndarray:
        """[(value, floor), num_sets, ...] of the first sets and points, on all cores."""
        cut = [sets[:num_sets, :num_points] for sets in (samples, real_b, real_a)]
        pair = lambda s, b, a: [np.asarray(distance(x, a)) for x in (s, b)]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return np.array(list(pool.map(pair, *cut))).swapaxes(0, 1)

    exact_points = min(n, exact_points)
    sliced = over_sets(partial(sliced_wasserstein2, num_projections=num_projections), k)
    kernels = over_sets(partial(energy_and_mmd, bandwidths=rulers), kernel_sets)
    exact = over_sets(wasserstein2, exact_sets, exact_points)
    return {
        "sliced_wasserstein2": _summary(*sliced, True) | {"num_points": n},
        "energy_distance": _summary(*kernels[..., 0], False) | {"num_points": n},
        "mmd_rbf": _summary(*kernels[..., 1], False) | {"num_points": n},
        "wasserstein2": _summary(*exact, True) | {"num_points": exact_points},
    }


def _summary(values: np.ndarray, floors: np.ndarray, has_ratio: bool) -> dict:
    """Means and spreads over the sets; the spread of the ratio of means is of first order."""

    def spread(numbers, scale=1.0):
        return float(numbers.std(ddof=1) * scale) if len(numbers) > 1 else None

    k, value, floor = len(values), values.mean(), floors.mean()
    ratio = value / floor if has_ratio and floor > 0 else None
    return {
        "value": float(value), "value_se": spread(values, k**-0.5),
        "floor": float(floor), "floor_se": spread(floors, k**-0.5), "floor_std": spread(floors),
        "ratio": None if ratio is None else float(ratio),
        # values_i and floors_i share real_a_i, so their difference has less noise than either
        "ratio_se": None if ratio is None else spread((values - ratio * floors) / floor, k**-0.5),
        "num_sets": k,
    }  # fmt: skip
