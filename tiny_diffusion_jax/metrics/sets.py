"""Metrics of generated point sets against a distribution over sets.

There are two distances D between sets:

    chamfer   mean squared distance to the nearest point, both ways;   on the device.
    emd       mean distance of the best one-to-one matching, exact;    on the host, in threads.

For each distance there are three metrics of generated sets G against real sets R (Yang et al. 2019,
PointFlow, arXiv 1906.12320, section 5.1). MMD is a mean of D, the others are shares (not per cent).

    MMD     mean over r in R of min over g in G of D(g, r)             smaller is better.
    COV     share of R that is the nearest real set of some g          larger is better.
    1-NNA   leave-one-out accuracy of a 1-nearest-neighbour classifier of G against R, 0.5 if the
            sets of G and R have the same distribution.

COV of real sets is far below 1, so `compare_sets` adds a floor to each metric. A generator that
memorizes its training sets does well on all three metrics; `memorization` detects such generators.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax.dataset import Dataset
from tiny_diffusion_jax.errors import require
from tiny_diffusion_jax.metrics import intervals, ragged
from tiny_diffusion_jax.metrics.points import require_finite, sorted_projections
from tiny_diffusion_jax.point_sets import lengths

BLOCK = 256  # sets of y at once; with 64 points each these sets fit into a core's cache
DIRECTIONS = 8  # of the lower bound on the EMD; 16 would avoid 2 % more matchings
MATCHED = 2**22  # distances in memory at once, in each thread: 32 MB
ROUNDS = (4, 32)  # nearest candidates of a set that are matched before the bound is tightened
MOST_POINTS = 256  # of a set; larger sets are compared by their first points


def chamfer(x: jax.Array, y: jax.Array) -> jax.Array:
    """Chamfer distances f32[A, B] of all pairs of sets x: f32[A, N, D], y: f32[B, M, D].

    CD(x, y) = mean_i min_j |x_i - y_j|^2 + mean_j min_i |x_i - y_j|^2,   in squared units

    This is the distance of Fan et al. 2017, with means in place of sums, so that any two sizes of
    sets are comparable. Padding with NaN is ignored.
    """
    return _chamfer(x, y, padded=ragged.is_ragged(x, y))


@partial(jax.jit, static_argnames="padded")
def _chamfer(x: jax.Array, y: jax.Array, padded: bool) -> jax.Array:
    def pair(p, q):
        # |p|^2 - 2 p.q + |q|^2 would cancel, and equal sets would not have distance 0
        squared = sum((p[:, None, d] - q[None, :, d]) ** 2 for d in range(p.shape[-1]))
        if not padded:
            return squared.min(1).mean() + squared.min(0).mean()
        squared = jnp.where(jnp.isnan(squared), jnp.inf, squared)
        exists = ~jnp.isnan(p[:, 0]), ~jnp.isnan(q[:, 0])
        return sum(squared.min(1 - i).mean(where=exists[i]) for i in (0, 1))

    to_all = lambda p: jax.lax.map(lambda q: pair(p, q), y, batch_size=min(BLOCK, len(y)))
    return jax.lax.map(to_all, x)


def emd(x, y, nearest_only: bool = False) -> np.ndarray:
    """Earth mover's distances f64[A, B] of all pairs of sets x: [A, N, D], y: [B, N, D].

    EMD(x, y) = min over permutations p of 1/N sum_i |x_i - y_p(i)|,   in the units of the points

    `emd(x, x)`, the same object twice, solves each pair once. With `nearest_only`, the result may
    be inf in entries that are not the minimum of their row or column (ties are minima, too), and
    the diagonal of `emd(x, x)` is inf. This is enough for MMD, COV and 1-NNA and takes a quarter of
    the time. A lower bound, the 1-D distance along directions u, excludes the other entries:

        EMD(x, y) >= max over u of 1/N sum_i |<x, u>_(i) - <y, u>_(i)|,   sorted along u

    The bound holds because a projection never increases a distance. Sets padded with NaN are
    compared as uniform measures, each resampled to the size of the largest set.
    `ragged.to_one_size` describes the error of the resampling. Raises UserError for two set sizes
    without padding.
    """
    same = x is y
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if ragged.is_ragged(x, y):
        most = int(max(lengths(x).max(), lengths(y).max()))
        x, y = ragged.to_one_size(x, most), ragged.to_one_size(y, most)
    require(x.shape[1] == y.shape[1], "points a set of y", y.shape[1], f"{x.shape[1]}, as in x")
    result = np.full((len(x), len(y)), np.inf)
    wanted = np.triu(np.ones(result.shape, bool), 1) if same else np.ones(result.shape, bool)

    def solve(chosen):
        _match(x, y, chosen & wanted & np.isinf(result), result)
        if same:
            np.minimum(result, result.T, out=result)

    if nearest_only:
        bound = _emd_bound(x, y)
        rank = np.minimum(*(bound.argsort(axis).argsort(axis) for axis in (0, 1)))
        for count in (*ROUNDS, max(bound.shape)):
            best = np.maximum(result.min(1)[:, None], result.min(0))
            solve((rank < count) & (bound <= best * (1 + 1e-9)))
    else:
        solve(wanted)
        if same:
            np.fill_diagonal(result, 0.0)
    return result


def _match(x: np.ndarray, y: np.ndarray, chosen: np.ndarray, result: np.ndarray) -> None:
    """Fill result[i, j] for the chosen pairs, in threads; scipy's solver runs in parallel."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    at_once = max(1, MATCHED // x.shape[1] ** 2)

    def row(i):
        every = np.flatnonzero(chosen[i])
        for columns in np.array_split(every, -(-len(every) // at_once)):
            # one call for many columns gives a contiguous matrix for each column
            costs = cdist(y[columns].reshape(-1, x.shape[2]), x[i])
            costs = costs.reshape(len(columns), -1, len(x[i]))
            for j, cost in zip(columns, costs, strict=True):
                result[i, j] = cost[linear_sum_assignment(cost)].mean()

    rows = np.flatnonzero(chosen.any(1))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(row, rows))  # list() raises the errors of the threads here


def _emd_bound(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    from scipy.spatial.distance import cdist

    along = (sorted_projections(sets, DIRECTIONS).swapaxes(0, 1) for sets in (x, y))
    bounds = [cdist(a, b, "cityblock") / x.shape[1] for a, b in zip(*along, strict=True)]
    return np.max(bounds, axis=0)


def mmd_cov_nna(gg, gr, rr) -> dict[str, float]:
    """MMD, COV and 1-NNA from the distances gg: [G, G], gr: [G, R], rr: [R, R].

    1-NNA is the mean over its two halves, see `nna_halves`.

    The diagonals of gg and rr are ignored. A generated set covers one real set; of equally near
    real sets it covers the first. A set that is equally near to both kinds counts as half correct.
    Therefore G = R, set by set, has COV 1, MMD 0 and 1-NNA 0. Each kind needs two sets.
    """
    gr, (generated, real) = np.array(gr, np.float64), nna_halves(gg, gr, rr)
    G, R = gr.shape
    return {
        "mmd": float(gr.min(0).mean()),
        "cov": len(np.unique(gr.argmin(1))) / R,
        "nna": (G * generated + R * real) / (G + R),
    }


def nna_halves(gg, gr, rr) -> tuple[float, float]:
    """Shares of generated sets, and of real sets, whose nearest other set is of the same kind.

    Sets with equal distances to both kinds count as half. Generated sets that lie among the real
    sets but do not reach all of them have a small first share and a large second one, and the mean
    of both, which is 1-NNA, hides this.
    """
    gg, gr, rr = (np.array(distances, np.float64) for distances in (gg, gr, rr))
    np.fill_diagonal(gg, np.inf)
    np.fill_diagonal(rr, np.inf)
    share = lambda own, other: float(np.mean((own < other) + 0.5 * (own == other)))
    return share(gg.min(1), gr.min(1)), share(rr.min(1), gr.min(0))


def compare_sets(samples, real_a, real_b, emd_sets: int = 500) -> dict[str, dict]:
    """Compute MMD, COV and 1-NNA of `samples` against `real_a`, and their floors, for CD and EMD.

    samples, real_a, real_b: f32[num_sets, N, D]. real_a and real_b are real sets. They are not
    training sets, and all are different (`different_real_sets`), because equal sets would lower
    1-NNA and COV. For each of mmd_cd, cov_cd, nna_cd, mmd_emd, cov_emd, nna_emd

        value = number(samples, real_a)     floor = number(real_b, real_a)

    `ratio` = value / floor for MMD (1: as good as real sets), and None for the two shares. 1-NNA
    also has its `halves` (`nna_halves`).
    `interval` and `floor_interval` are 95 % intervals by a bootstrap over sets (`intervals`). With
    fewer than 30 sets in a group, `note` reports too few sets. The EMD uses the first `emd_sets`
    sets. Its intervals have the deviations of its lower bound, which needs no matching. All entries
    are plain numbers, ready for JSON.

    Sets are compared by their first 256 points, because the cost of exact matchings grows with the
    cube of the number of points. For the EMD, sets padded with NaN are uniform measures, resampled
    to the size of the largest set (`ragged.to_one_size`), with the same points in all comparisons.
    Raises UserError if the shapes differ or a coordinate is not finite.
    """
    groups = {"samples": samples, "real_a": real_a, "real_b": real_b}
    groups = {name: np.asarray(sets, np.float32) for name, sets in groups.items()}
    padded, shape = ragged.is_ragged(*groups.values()), groups["real_a"].shape
    for name, sets in groups.items():
        good = sets.ndim == 3 and len(sets) > 1
        good &= sets.shape == shape or (padded and sets.shape[::2] == shape[::2])
        require(good, f"{name}.shape", sets.shape,
                "(num_sets, N, D), one shape for all three, at least 2 sets")  # fmt: skip
        (ragged.require_padded if padded else require_finite)(name, sets)
    size = min(max(int(lengths(sets).max()) for sets in groups.values()), MOST_POINTS)
    cut = [ragged.pad(sets, size) for sets in groups.values()]
    few = [ragged.to_one_size(sets[:emd_sets], size) if padded else sets[:emd_sets] for sets in cut]
    nearest_emd = lambda x, y: emd(x, y, nearest_only=True)
    return _compare("cd", chamfer, chamfer, *cut) | _compare("emd", nearest_emd, _emd_bound, *few)


def _compare(suffix: str, distance, substitute, samples, real_a, real_b) -> dict[str, dict]:
    """Entries of `compare_sets` for one distance; `substitute`: a distance for the intervals."""

    def distances(between):
        real = between(real_a, real_a)
        return [(between(sets, sets), between(sets, real_a), real) for sets in (samples, real_b)]

    exact = distances(distance)
    rough = exact if substitute is distance else distances(substitute)
    numbers = value, floor = [mmd_cov_nna(*group) for group in exact]
    halves = dict(zip(("generated", "real"), nna_halves(*exact[0]), strict=True))
    value_range, floor_range = (
        intervals.bootstrap(*group, of_group)
        for group, of_group in zip(rough, numbers, strict=True)
    )
    return {
        f"{name}_{suffix}": {
            "value": value[name], "floor": floor[name],
            "ratio": value[name] / floor[name] if name == "mmd" and floor[name] > 0 else None,
            "num_sets": len(real_a), "num_points": real_a.shape[1],
            "interval": value_range[name], "floor_interval": floor_range[name],
        } | intervals.note(len(real_a)) | ({"halves": halves} if name == "nna" else {})
        for name in intervals.NAMES
    }  # fmt: skip


def different_real_sets(dataset: Dataset, key: jax.Array, at_most: int, num_points: int):
    """Draw two groups of real sets (real_a, real_b), f32[B, N, D], for `compare_sets`.

    Each image or observed set of `dataset` is used at most once, so B is at most half of their
    number. Observed sets with fewer than num_points points are padded with NaN. num_points = 0
    uses all points of the observed sets. Raises UserError for fewer than 4 sources.
    """
    available = dataset.num_sources
    kind = "images" if dataset.sizes is None else "observed sets"
    require(available >= 4, f"{kind} to compare with", available, "at least 4")
    count = min(at_most, available // 2)
    real, _ = ragged.one_set_each(dataset, key, 2 * count, num_points)
    return real[:count], real[count:]
