"""Two-sample test for each generated set: does the set come from one member of a mixture?

An MMD compares a set of N points with a large reference draw of each member. The threshold of a
member accepts 99 % of the member's real sets. Real sets therefore score 99 %, and superposed sets,
which contain points of all members, score 0. The test uses the set as a whole, so it accepts a set
with a few per cent of points from elsewhere. These **stray** points are counted separately.

The kernel is narrow for a reason. The energy distance is the usual choice without a parameter, but
coarse differences dominate it. Members with one common mean and variance have almost no coarse
differences. At 256 points the energy distance accepts 10 % of the superpositions of dino and moons,
and 87 % of the superpositions of MNIST 0 and 1 (300 sets each). The narrow kernel accepts none, but
at 64 points it accepts half of the superpositions.

The calibration uses independent draws, because scikit-learn's evenly spaced `make_moons` would make
real sets look too good. A calibration is stored on disk under a hash of the drawn points.

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
from tiny_diffusion_jax.metrics import points as metrics

BANDWIDTH = 1 / 8  # of the kernel, in median distances of a member; resolves single strokes.
ACCEPTED = 0.99  # share of a member's real sets below its threshold
NOT_STRAY = 0.999  # share of a member's real points below its stray threshold.
FEWEST_DISTINCT = 1_000  # real points for this quantile, so that at least one exceeds it.
REAL_POINTS = 2**18  # for the stray threshold; about 260 of these points exceed it
CLOUD_POINTS, MAX_CLOUDS = 4_000, 32  # clouds of the sliced W2 within a member
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
    dataset: Dataset,
    key: jax.Array,
    num_points: int,
    *,
    num_reference: int = 4_096,
    num_real: int = 2_000,
    num_stray: int = 16_384,
    folder: Path | None = None,
) -> Calibration:
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
        calibration = _calibrate(drawn, *sizes)
        cache.write(file, **dict(zip(names, calibration[:-1], strict=True)))
        return calibration
    return Calibration(*arrays, num_points)


def _calibrate(drawn: np.ndarray, num_real: int, num_reference: int, num_stray: int) -> Calibration:
    """Calibrate on sets f32[K, num_sets, N, 2], drawn from each member."""
    real, rest = drawn[:, :num_real], drawn[:, num_real:].reshape(len(drawn), -1, 2)
    reference, stray_reference = np.split(rest, [num_reference], axis=1)
    stray_reference = stray_reference[:, :num_stray]
    bandwidth = np.array([BANDWIDTH * metrics.median_distance(r) for r in reference], np.float32)
    mean, centre, self_kernel = embedding.embed_reference(reference, bandwidth)
    values = embedding.discrepancy_of_each(mean, centre, bandwidth, self_kernel, real)
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

    stray is NaN for members with too few distinct points for this quantile.

    Raises UserError if N is not the size of the calibration or a coordinate is not finite.
    """
    sets = np.asarray(sets, np.float32)
    good = sets.ndim == 3 and sets.shape[1:] == (calibration.num_points, 2)
    require(good, "sets.shape", sets.shape, f"(num_sets, {calibration.num_points}, 2)")
    metrics.require_finite("sets", sets)

    values = embedding.discrepancy(*calibration[:4], sets)
    statistic = np.asarray(values) / calibration.threshold
    member = statistic.argmin(1)
    is_stray = np.zeros(sets.shape[:2], bool)
    for k, threshold in enumerate(calibration.stray_threshold):
        given = sets[member == k]
        distances = _to_another(given.reshape(-1, 2), calibration.stray_reference[k])
        is_stray[member == k] = distances.reshape(given.shape[:2]) > threshold
    stray = is_stray.mean(1, dtype=np.float32)
    stray[np.isinf(calibration.stray_threshold)[member]] = np.nan
    return Separation(member.astype(np.int32), statistic.min(1) <= 1, statistic, stray, is_stray)


def summarize(found: Separation, weights) -> dict:
    """Shares over all sets and their standard errors, as plain numbers.

    separation: share of accepted sets.
    stray: share of stray points in the sets whose member has a stray threshold, None without such
    sets. Points of one set are not independent, so the error comes from the spread over sets.
    frequencies: share of sets assigned to each member, accepted or not.
    frequency_error: max_k |frequency_k - weight_k|, for the true `weights` of the members.
    """
    stray = found.stray[~np.isnan(found.stray)]
    count, weights = len(found.member), np.asarray(weights, np.float64)
    accepted = float(found.accepted.mean())
    frequencies = np.bincount(found.member, minlength=len(weights)) / count
    spreads = np.sqrt(frequencies * (1 - frequencies) / count)
    error = np.abs(frequencies - weights)
    return {
        "separation": accepted,
        "separation_se": (accepted * (1 - accepted) / count) ** 0.5,
        "stray": float(stray.mean()) if len(stray) else None,
        "stray_se": float(stray.std(ddof=1) / len(stray) ** 0.5) if len(stray) > 1 else None,
        "frequency_error": float(error.max()),
        "frequency_error_se": float(spreads[error.argmax()]),
        "frequencies": frequencies.tolist(),
        "frequencies_se": spreads.tolist(),
    }


def compare(
    dataset: Dataset, key: jax.Array, sets, calibration: Calibration, found: Separation
) -> dict[str, dict]:
    """Compare separation, stray points and frequencies of `sets` f32[B, N, 2] with real sets.

    found: the result of `separate(calibration, sets)`.
    separation, stray, frequency_error: {value, value_se, floor, floor_se, ratio: None, num_sets,
    num_points}. The floors are the values of equally many real sets. frequency_error also has the
    shares as `members`, and the true `weights`. stray is left out if no set of the samples or no
    real set has a member with a stray threshold. Its `num_sets` counts the sets with a threshold.
    within_sliced_wasserstein2 is the entry of the worst member, with the ratio of every member in
    `members` (`pooled_distances`). This entry is left out if no member has enough points.
    All entries are plain numbers, ready for JSON.
    """
    sets = np.asarray(sets, np.float32)
    real_key, pool_key = jax.random.split(key)
    weights = _members(dataset)[1]
    real = separate(calibration, draw_points(dataset, real_key, *sets.shape[:2]))
    value, floor = summarize(found, weights), summarize(real, weights)
    size = {"ratio": None, "num_sets": len(sets), "num_points": sets.shape[1]}
    result = {
        name: {
            "value": value[name], "value_se": value[f"{name}_se"],
            "floor": floor[name], "floor_se": floor[f"{name}_se"], **size,
        } for name in ("separation", "stray", "frequency_error")
        if value[name] is not None and floor[name] is not None
    }  # fmt: skip
    if "stray" in result:
        result["stray"]["num_sets"] = int(np.sum(~np.isnan(found.stray)))
    shares = {"members": value["frequencies"], "members_se": value["frequencies_se"]}
    result["frequency_error"] |= shares | {"weights": weights.tolist()}

    pooled = pooled_distances(dataset, pool_key, sets, found.member)
    ratios = [entry and entry["ratio"] for entry in pooled]
    if any(entry is not None for entry in pooled):
        worst = max((entry for entry in pooled if entry), key=lambda entry: entry["ratio"])
        result["within_sliced_wasserstein2"] = worst | {"members": ratios}
    return result


def pooled_distances(dataset: Dataset, key: jax.Array, sets, member) -> list[dict | None]:
    """Sliced W2 within each member, over its floor, for the points of all its sets together.

    The points of all sets assigned to a member are pooled, shuffled and split into at most 32
    clouds of 4,000 points. value = mean distance of these clouds to 32 real clouds. floor = mean
    distance between two different real clouds. Both means are over all pairs, which halves the
    noise of the ratio to about 0.05 to 0.1 at 16 clouds. None for a member with fewer than 4,000
    points.
    """
    from scipy.spatial.distance import cdist, pdist

    result = []
    for k, density in enumerate(_members(dataset)[0]):
        shuffle_key, real_key = jax.random.split(jax.random.fold_in(key, k))
        points = np.asarray(sets)[member == k].reshape(-1, 2)
        num_clouds = min(len(points) // CLOUD_POINTS, MAX_CLOUDS)
        if num_clouds == 0:
            result.append(None)
            continue
        order = np.asarray(jax.random.permutation(shuffle_key, len(points)))
        dealt = points[order[: num_clouds * CLOUD_POINTS]].reshape(num_clouds, CLOUD_POINTS, 2)
        real = np.asarray(draw_points(density, real_key, MAX_CLOUDS, CLOUD_POINTS))
        dealt, real = _as_vectors(dealt), _as_vectors(real)
        value, floor = float(cdist(dealt, real).mean()), float(pdist(real).mean())
        size = {"num_sets": num_clouds, "num_points": CLOUD_POINTS}
        result.append({"value": value, "floor": floor, "ratio": value / floor, **size})
    return result


def _as_vectors(clouds: np.ndarray) -> np.ndarray:
    """f32[B, n NUM_PROJECTIONS] whose Euclidean distances are `metrics.sliced_wasserstein2`.

    Each cloud is sorted only once for all pairs.
    """
    along = metrics.sorted_projections(clouds, NUM_PROJECTIONS)
    return along.reshape(len(clouds), -1) / np.sqrt(np.float32(along[0].size))
