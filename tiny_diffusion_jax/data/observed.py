"""Sets as they were observed: each with a number of points of its own, never to be drawn afresh.

A set of size s gives n = min(s, N) different points, every one of them equally likely. It lies in
memory in a random order; of this order, turned by a random number of places, each of n strata

    q = floor(s / n),  r = s - n q:    stratum i begins at  i q + min(i, r),  is q + (i < r) long

gives one point. Without the turn the points of shorter strata would come more often. No sort of the
whole set is needed, so a set of 10^5 points is as cheap as one of 10^2.
"""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from tiny_diffusion_jax.data import notices, units
from tiny_diffusion_jax.data.base import Dataset, PointSets
from tiny_diffusion_jax.errors import require


@flax.struct.dataclass
class Observed:
    """Observed sets, flat: what a draw needs."""

    points: jax.Array  # f32[P, D], centred units, each set in a random order
    offsets: jax.Array  # i32[S]
    sizes: jax.Array  # i32[S]
    labels: jax.Array | None  # i32[S]
    # Of the smallest set: where none has fewer than N points, no mask is needed.
    smallest: int = flax.struct.field(pytree_node=False)


def from_observed(
    points: np.ndarray, offsets: np.ndarray, sizes: np.ndarray, labels: np.ndarray | None = None,
    *, normalize: bool = True, per_axis: bool = False, origin: tuple[float, ...] = (), **fields,
) -> Dataset:  # fmt: skip
    """Every set one of S observed ones, each as likely: sets s = points[offsets[s]:][:sizes[s]].

    points: f64[P, D] in own units; offsets, sizes: [S], the sizes above 0; labels: [S] or None;
    origin: see units.py; fields: see `Dataset`. Normalised points have mean 0, and mean variance 1
    over the D coordinates, or variance 1 in each with `per_axis`. Raises `UserError` if the spread
    is 0.
    """
    points = np.asarray(units.to_centred(origin, points), np.float32)
    columns = fields.setdefault("columns", tuple(map(str, range(points.shape[1]))))
    shift, scale = np.zeros(points.shape[1]), np.ones(points.shape[1] if per_axis else ())
    if normalize:
        shift, variance = moments(points, offsets, sizes)
        scale = np.sqrt(variance if per_axis else variance.mean())
        if not per_axis:
            std = np.sqrt(variance)
            fields["notice"] = notices.join(
                notices.constant(std, columns), notices.uneven_spreads(std, columns),
                fields.get("notice", ""),
            )
        if per_axis:
            flat = [name for name, s in zip(columns, scale, strict=True) if not s > 0]
            require(not flat, "config.data.per_axis", True,
                    f"False where a coordinate never changes: {', '.join(flat)}")  # fmt: skip
        require(bool(np.all(scale > 0)), "config.data.normalize", True,
                "False where all points coincide")  # fmt: skip
    observed = Observed(
        jnp.asarray(_shuffled(points, offsets, sizes)), jnp.asarray(offsets, jnp.int32),
        jnp.asarray(sizes, jnp.int32), None if labels is None else jnp.asarray(labels, jnp.int32),
        smallest=int(np.min(sizes)),
    )  # fmt: skip
    return Dataset(
        draw=Partial(_draw, observed), draw_from=Partial(_draw_from, observed),
        shift=jnp.asarray(shift, jnp.float32), scale=jnp.asarray(scale, jnp.float32),
        points=observed.points, offsets=observed.offsets, sizes=observed.sizes,
        source_labels=observed.labels, origin=origin, **fields,
    )  # fmt: skip


def moments(points, offsets, sizes) -> tuple[np.ndarray, np.ndarray]:
    """(mean[D], variance[D]) of a point of a set, every set counting the same."""
    index, weight = flat_index(offsets, sizes), np.repeat(1 / (len(sizes) * sizes), sizes)
    points = points[index].astype(np.float64)
    mean = weight @ points
    variance = weight @ (points - mean) ** 2
    # What never changes has none, whatever the rounding of its mean.
    return mean, np.where(np.ptp(points, axis=0) > 0, variance, 0.0)


def flat_index(offsets, sizes) -> np.ndarray:
    """The places of all points of the sets, set after set, i64[sum of sizes]."""
    offsets, sizes = np.asarray(offsets, np.int64), np.asarray(sizes, np.int64)
    before = np.cumsum(sizes) - sizes
    return np.arange(sizes.sum()) + np.repeat(offsets - before, sizes)


def _shuffled(points, offsets, sizes) -> np.ndarray:
    """`points` with each set in a random order, the same one in every run."""
    index = flat_index(offsets, sizes)
    of_set = np.repeat(np.arange(len(sizes)), sizes)
    random = np.random.default_rng(0).permutation(len(index))
    order = random[np.argsort(of_set[random], kind="stable")]
    shuffled = points.copy()
    shuffled[index] = points[index[order]]
    return shuffled


def _draw(observed: Observed, key: jax.Array, num_sets: int, num_points: int) -> PointSets:
    which, key = jax.random.split(key)
    index = jax.random.randint(which, (num_sets,), 0, len(observed.sizes))
    return _draw_from(observed, key, index, num_points)


def _draw_from(observed: Observed, key, index: jax.Array, num_points: int) -> PointSets:
    """A set of each of the sources `index` i32[B]; the points that exist first, in random order.

    Places beyond them hold points of the set once more, so that what does not look at the mask
    sees nothing strange.
    """
    place_key, turn_key, order_key = jax.random.split(key, 3)
    B, N = len(index), num_points
    size = observed.sizes[index][:, None]
    n = jnp.minimum(size, N)
    i = _random_order(order_key, n, N) % n
    q, r = size // n, size % n
    width = q + (i < r)
    within = (jax.random.uniform(place_key, (B, N)) * width).astype(jnp.int32)
    place = i * q + jnp.minimum(i, r) + jnp.minimum(within, width - 1)
    place = (place + jax.random.randint(turn_key, (B, 1), 0, size)) % size
    points = observed.points[observed.offsets[index][:, None] + place]
    mask = None if observed.smallest >= N else jnp.arange(N) < n
    label = None if observed.labels is None else observed.labels[index]
    return PointSets(points, mask, label, size[:, 0])


def _random_order(key, n: jax.Array, num: int) -> jax.Array:
    """i32[B, num]: in row b the numbers 0 .. n_b - 1 in random order, then n_b .. num - 1.

    Random bits with the number itself in the last ones are sorted, n: i32[B, 1]: XLA sorts one
    array on a CPU many times as fast as one by the order of another.
    """
    low = max(1, (num - 1).bit_length())
    number = jnp.arange(num, dtype=jnp.uint32)
    bits = jax.random.bits(key, (len(n), num), jnp.uint32) >> 1
    mixed = jnp.where(number < n, bits >> low << low | number, jnp.uint32(2**31) | number)
    return (jnp.sort(mixed, axis=1) & jnp.uint32(2**low - 1)).astype(jnp.int32)
