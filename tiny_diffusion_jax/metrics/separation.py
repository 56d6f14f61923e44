"""Two-sample test for each generated set: does the set come from one member of a mixture?

An MMD compares a set of N points with a large reference draw of each member. The threshold of a
member accepts 99 % of the member's real sets. Real sets therefore score 99 %, and superposed sets,
which contain points of all members, score 0. The test uses the set as a whole, so it accepts a set
with a few per cent of points from elsewhere. These **stray** points are counted separately.

The kernel is narrow, because coarse differences dominate the energy distance, the usual choice
without a parameter. Members with one common mean and variance have almost no coarse differences. At
256 points the energy distance accepts 10 % of the superpositions of dino and moons, and 87 % of the
superpositions of MNIST 0 and 1 (300 sets each). The narrow kernel accepts none, but at 64 points it
accepts half of the superpositions.

Some members draw the same points repeatedly, for example the rows of a table without jitter. The
distance of a real point to the nearest reference point would then be 0, and the stray threshold
would be 0 as well. Each point is therefore compared with the nearest reference point at another
position, which is leave-one-out over the rows. A 99.9 % quantile needs 1,000 distinct points, so
members with fewer points have no stray points.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from tiny_diffusion_jax import cache
from tiny_diffusion_jax.dataset import Dataset, draw_points
from tiny_diffusion_jax.errors import require
from tiny_diffusion_jax.metrics import embedding
from tiny_diffusion_jax.metrics.points import median_distance, require_finite, sorted_projections

BANDWIDTH = 1 / 8  # of the kernel, in median distances of a member; resolves single strokes.
ACCEPTED = 0.99  # share of a member's real sets below its threshold
NOT_STRAY = 0.999  # share of a member's real points below its stray threshold.
FEWEST_DISTINCT = 1_000  # real points for this quantile, so that at least one exceeds it.
REAL_POINTS = 2**18  # for the stray threshold; about 260 of these points exceed it
DRAW_POINTS, MAX_DRAWS = 4_000, 32  # draws of the sliced W2 within a member
NUM_PROJECTIONS = 32
VERSION = 2  # of the stored calibration; raise it with any change of the computation


class Calibration(NamedTuple):
    """Reference data and thresholds of K members, for one size of sets."""

    # f32[K, NODES, NODES], of independent points of each member, see `embedding.embed`
    embedding: np.ndarray
    centre: np.ndarray  # f32[K, 2], of the grid
    bandwidth: np.ndarray  # f32[K], of the kernel, in the units of the points
    self_kernel: np.ndarray  # f32[K], mean kernel of two distinct of these points
    threshold: np.ndarray  # f32[K], of the MMD
    stray_reference: np.ndarray  # f32[K, S, 2], other points, for nearest distances
    stray_threshold: np.ndarray  # f32[K], in the units of the points; inf: too few distinct points
    distinct: np.ndarray  # i32[K], distinct real points behind the stray threshold
    num_points: int  # of each set; thresholds depend on this number


class Separation(NamedTuple):
    """Result of the test for B sets."""

    member: np.ndarray  # i32[B], nearest member of each set
    accepted: np.ndarray  # bool[B], whether the nearest member accepts the set
    statistic: np.ndarray  # f32[B, K], MMD over the member's threshold; accepted up to 1
    stray: np.ndarray  # f32[B], share of points far from the member; NaN: no threshold
    is_stray: np.ndarray  # bool[B, N], whether each point is stray


def _members(dataset: Dataset) -> tuple[tuple[Dataset, ...], np.ndarray]:
    """Return the members of a mixture and their probabilities; a single density is one member."""
    members = dataset.members or (dataset,)
    if dataset.weights is None:
        return members, np.full(len(members), 1 / len(members))
    return members, np.asarray(dataset.weights, np.float64)


def enough_real(num_sets: int) -> int:
    """Number of real sets for the calibration; twice `num_sets` add less error than the samples."""
    return int(np.clip(2 * num_sets, 200, 2_000))


def calibrate(
    dataset: Dataset, key: jax.Array, num_points: int, *, num_reference: int = 4_096,
    num_real: int = 2_000, num_stray: int = 16_384, folder: Path | None = None,
) -> Calibration:  # fmt: skip
    """Compute thresholds for sets of `num_points` points, from independent draws of each member.

    A member's threshold is the 99 % quantile of the MMD over `num_real` of its real sets. The
    acceptance of real sets then has a standard error of 0.2 % at 2,000 sets and 0.7 % at 200 sets.
    The stray threshold is the 99.9 % quantile of the distance from a real point to the nearest of
    `num_stray` other points at another position. With `folder` the result is stored in this folder
    under a hash of all drawn points, and read again in later calls. Raises UserError for sets of
    fewer than 2 points.
    """
    require(num_points >= 2, "num_points", num_points, "at least 2, to have a distance within")
    # Draw independent sets of the tested size for each member once, and split them in three.
    num_sets = num_real + -(-(num_reference + num_stray) // num_points)
    drawn = np.stack([
        draw_points(member, jax.random.fold_in(key, k), num_sets, num_points)
        for k, member in enumerate(_members(dataset)[0])
    ])  # fmt: skip
    sizes = num_real, num_reference, num_stray
    if folder is None:
        return _calibrate(drawn, *sizes)
    constants = VERSION, BANDWIDTH, ACCEPTED, NOT_STRAY, REAL_POINTS, embedding.NODES
    described = repr((constants, sizes, drawn.shape)).encode()
    digest = hashlib.sha256(described + drawn.tobytes()).hexdigest()[:16]
    file, names = folder / f"separation-{digest}.npz", Calibration._fields[:-1]
    if (arrays := cache.read(file, names)) is None:
        arrays = _calibrate(drawn, *sizes)[:-1]
        cache.write(file, **dict(zip(names, arrays, strict=True)))
    return Calibration(*arrays, num_points)


def _calibrate(drawn: np.ndarray, num_real: int, num_reference: int, num_stray: int) -> Calibration:
    """Calibrate on sets f32[K, num_sets, N, 2], drawn from each member."""
    real, rest = drawn[:, :num_real], drawn[:, num_real:].reshape(len(drawn), -1, 2)
    reference, stray_reference = np.split(rest, [num_reference], axis=1)
    stray_reference = stray_reference[:, :num_stray]
    bandwidth = np.array([BANDWIDTH * median_distance(r) for r in reference], np.float32)
    mean, centre, self_kernel = embedding.embed_reference(reference, bandwidth)
    values = embedding.discrepancy_to_own_member(mean, centre, bandwidth, self_kernel, real)
    points = real.reshape(len(real), -1, 2)[:, :REAL_POINTS]
    distances = [_to_another(*pair) for pair in zip(points, stray_reference, strict=True)]
    distinct = np.array([len(_distinct(member)) for member in points], np.int32)
    stray_threshold = np.quantile(distances, NOT_STRAY, axis=1)
    arrays = (
        mean, centre, bandwidth, self_kernel, np.quantile(values, ACCEPTED, axis=1),
        stray_reference, np.where(distinct < FEWEST_DISTINCT, np.inf, stray_threshold),
    )  # fmt: skip
    arrays = (np.asarray(array, np.float32) for array in arrays)
    return Calibration(*arrays, distinct, drawn.shape[2])


def _to_another(points: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Distance f64[n] of each point to the nearest point of `reference` at another position."""
    from scipy.spatial import cKDTree

    nearest, next_nearest = cKDTree(_distinct(reference)).query(points, k=2, workers=-1)[0].T
    return np.where(nearest > 0, nearest, next_nearest)


def _distinct(points: np.ndarray) -> np.ndarray:
    """Remove repeated points from f32[n, 2]; complex numbers sort faster than rows."""
    numbers = np.ascontiguousarray(points, np.float32).view(np.complex64)
    return np.unique(numbers).view(np.float32).reshape(-1, 2)


def separate(calibration: Calibration, sets) -> Separation:
    """Assign each set of f32[B, N, 2] to its nearest member, and test the set against this member.

    statistic_k = MMD^2(set, member k) / threshold_k; member = argmin_k; accepted: min_k <= 1
    stray = share of points farther from the member than 99.9 % of the member's real points

    stray is NaN for members with too few distinct points for this quantile. Raises UserError if N
    is not the size of the calibration or a coordinate is not finite.
    """
    sets = np.asarray(sets, np.float32)
    good = sets.ndim == 3 and sets.shape[1:] == (calibration.num_points, 2)
    require(good, "sets.shape", sets.shape, f"(num_sets, {calibration.num_points}, 2)")
    require_finite("sets", sets)

    values = embedding.discrepancy(*calibration[:4], sets)
    statistic = np.asarray(values) / calibration.threshold
    member = statistic.argmin(1)
    is_stray = np.zeros(sets.shape[:2], bool)
    for k, threshold in enumerate(calibration.stray_threshold):
        of_member = sets[member == k]
        distances = _to_another(of_member.reshape(-1, 2), calibration.stray_reference[k])
        is_stray[member == k] = distances.reshape(of_member.shape[:2]) > threshold
    stray = is_stray.mean(1, dtype=np.float32)
    stray[np.isinf(calibration.stray_threshold)[member]] = np.nan
    return Separation(member.astype(np.int32), statistic.min(1) <= 1, statistic, stray, is_stray)


def summarize(result: Separation, weights) -> dict:
    """Shares over all sets and their standard errors, as plain numbers.

    separation: share of accepted sets.
    stray: share of stray points in the sets whose member has a stray threshold, None without such
    sets. Points of one set are not independent, so the error comes from the spread over sets.
    frequencies: share of sets assigned to each member, accepted or not.
    frequency_error: max_k |frequency_k - weight_k|, for the true `weights` of the members.
    """
    stray = result.stray[~np.isnan(result.stray)]
    count, weights = len(result.member), np.asarray(weights, np.float64)
    accepted = float(result.accepted.mean())
    frequencies = np.bincount(result.member, minlength=len(weights)) / count
    spreads = np.sqrt(frequencies * (1 - frequencies) / count)
    error = np.abs(frequencies - weights)
    return {
        "separation": accepted, "separation_se": (accepted * (1 - accepted) / count) ** 0.5,
        "stray": float(stray.mean()) if len(stray) else None,
        "stray_se": float(stray.std(ddof=1) / len(stray) ** 0.5) if len(stray) > 1 else None,
        "frequency_error": float(error.max()), "frequency_error_se": float(spreads[error.argmax()]),
        "frequencies": frequencies.tolist(), "frequencies_se": spreads.tolist(),
    }  # fmt: skip


def compare(
    dataset: Dataset, key: jax.Array, sets, calibration: Calibration, result: Separation
) -> dict[str, dict]:
    """Compare separation, stray points and frequencies of `sets` f32[B, N, 2] with real sets.

    result: `separate(calibration, sets)`. The entries of separation, stray and frequency_error have
    value, value_se, floor, floor_se, ratio (None), num_sets and num_points. The floors are the
    values of equally many real sets. stray is left out if no set of the samples or no real set has
    a member with a stray threshold; its `num_sets` counts the sets with a threshold.
    frequency_error also has the shares as `members`, and the true `weights`.
    within_sliced_wasserstein2 is the entry of the worst member, with the ratio of every member in
    `members` (`pooled_distances`); it is left out if no member has enough points. All entries are
    plain numbers, ready for JSON.
    """
    sets = np.asarray(sets, np.float32)
    real_key, pool_key = jax.random.split(key)
    weights = _members(dataset)[1]
    real = separate(calibration, draw_points(dataset, real_key, *sets.shape[:2]))
    value, floor = summarize(result, weights), summarize(real, weights)
    entries = {
        name: {
            "value": value[name], "value_se": value[f"{name}_se"],
            "floor": floor[name], "floor_se": floor[f"{name}_se"],
            "ratio": None, "num_sets": len(sets), "num_points": sets.shape[1],
        } for name in ("separation", "stray", "frequency_error")
        if value[name] is not None and floor[name] is not None
    }  # fmt: skip
    if "stray" in entries:
        entries["stray"]["num_sets"] = int(np.sum(~np.isnan(result.stray)))
    shares = {"members": value["frequencies"], "members_se": value["frequencies_se"]}
    entries["frequency_error"] |= shares | {"weights": weights.tolist()}

    pooled = pooled_distances(dataset, pool_key, sets, result.member)
    if any(pooled):
        worst = max(filter(None, pooled), key=lambda entry: entry["ratio"])
        ratios = [entry and entry["ratio"] for entry in pooled]
        entries["within_sliced_wasserstein2"] = worst | {"members": ratios}
    return entries


def pooled_distances(dataset: Dataset, key: jax.Array, sets, member) -> list[dict | None]:
    """Sliced W2 within each member, over its floor, for the points of all its sets together.

    The points of all sets assigned to a member are pooled, shuffled and split into at most 32 draws
    of 4,000 points. value = mean distance of these draws to 32 real draws. floor = mean distance
    between two different real draws. Both means are over all pairs, which halves the noise of the
    ratio to about 0.05 to 0.1 at 16 draws. None for a member with fewer than 4,000 points.
    """
    from scipy.spatial.distance import cdist, pdist

    entries = []
    for k, density in enumerate(_members(dataset)[0]):
        shuffle_key, real_key = jax.random.split(jax.random.fold_in(key, k))
        points = np.asarray(sets)[member == k].reshape(-1, 2)
        count = min(len(points) // DRAW_POINTS, MAX_DRAWS)
        if count == 0:
            entries.append(None)
            continue
        order = np.asarray(jax.random.permutation(shuffle_key, len(points)))
        pooled = _as_vectors(points[order[: count * DRAW_POINTS]].reshape(count, DRAW_POINTS, 2))
        real = _as_vectors(np.asarray(draw_points(density, real_key, MAX_DRAWS, DRAW_POINTS)))
        value, floor = float(cdist(pooled, real).mean()), float(pdist(real).mean())
        entries.append({"value": value, "floor": floor, "ratio": value / floor,
                        "num_sets": count, "num_points": DRAW_POINTS})  # fmt: skip
    return entries


def _as_vectors(draws: np.ndarray) -> np.ndarray:
    """f32[B, n NUM_PROJECTIONS] whose Euclidean distances are `points.sliced_wasserstein2`.

    Each draw is sorted only once for all pairs.
    """
    along = sorted_projections(draws, NUM_PROJECTIONS)
    return along.reshape(len(draws), -1) / np.sqrt(np.float32(along[0].size))
