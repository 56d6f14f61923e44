"""Make datasets from densities: functions that draw points, tables of weights, exact log p."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from tiny_diffusion_jax.dataset import Dataset
from tiny_diffusion_jax.errors import UserError, reason_of, require
from tiny_diffusion_jax.point_sets import PointSets

TRIAL = 7  # points that a function of the user is called with, to see their shape
COMPARED = 4096  # largest table that is compared entry by entry, on devices where this is fast


def make_dataset(
    draw: Callable,
    *,
    normalize: bool = True,
    per_axis: bool = False,
    moments: tuple[Any, Any] | None = None,
    num_points: int = 65_536,
    **fields: Any,
) -> Dataset:
    """Make a dataset from `draw` and its units: shift = mean, scale = sqrt of the mean variance.

    With `per_axis` each coordinate has a separate scale, the root of its variance.
    `moments` is the pair (mean[D], variance[D]) if the moments are known exactly. Otherwise the
    moments are estimated from `num_points` points. Their key is fixed, so the moments are the same
    in every run. With `normalize=False` the units are unchanged (shift 0, scale 1), as in the
    figures of the student project. fields: see `Dataset`.
    Raises `UserError` if all points coincide, because the scale would be 0. With `per_axis` this
    holds for each coordinate.
    """
    if not normalize:
        dim = jax.eval_shape(lambda key: draw(key, 1, 1), jax.random.key(0)).points.shape[-1]
        return Dataset(draw=draw, shift=jnp.zeros(dim), scale=jnp.ones(()), **fields)
    if moments is None:
        points = _draw_in_jit(draw, jax.random.key(0), num_points).points
        points = points.reshape(-1, points.shape[-1])
        moments = points.mean(0), points.var(0)
    mean, variance = (np.asarray(moment, np.float64) for moment in moments)
    if not variance.mean() > 0:
        raise UserError("config.data.normalize", True, "False where all points coincide")
    if per_axis and not variance.all():
        index = int(np.argmin(variance))
        name = fields["columns"][index] if "columns" in fields else index
        allowed = f"False where coordinate {name} never changes"
        raise UserError("config.data.per_axis", True, allowed)
    scale = np.sqrt(variance if per_axis else variance.mean())
    shift, scale = jnp.asarray(mean, jnp.float32), jnp.asarray(scale, jnp.float32)
    return Dataset(draw=draw, shift=shift, scale=scale, **fields)


def with_heldout(dataset: Dataset, heldout: Dataset) -> Dataset:
    """Add the held-out data to `dataset`, in the units of `dataset`."""
    heldout = heldout.replace(shift=dataset.shift, scale=dataset.scale)
    return dataset.replace(heldout=heldout)


@partial(jax.jit, static_argnames="num_sets")
def _draw_in_jit(draw, key: jax.Array, num_sets: int) -> PointSets:
    return draw(key, num_sets, 1)


def single_density(sample: Callable[[jax.Array, int], jax.Array]) -> Partial:
    """Make the `draw` of a dataset with one member: `sample` draws all points of all sets.

    `sample(key, n) -> f32[n, D]` draws n independent points. Arrays of `sample` must be leaves of a
    `Partial`.
    """
    return Partial(_draw_sets, sample if isinstance(sample, Partial) else Partial(sample))


def _draw_sets(sample, key, num_sets: int, num_points: int) -> PointSets:
    points = sample(key, num_sets * num_points)
    return PointSets(points.reshape(num_sets, num_points, points.shape[-1]))


def from_function(
    draw: Callable, config, title: str, log_prob: Callable | None = None
) -> Dataset:
    """Make a dataset of one density from a function of the user, draw(key, n) -> f32[n, D].

    config: the `data` part of a config. log_prob: log density f[n] of points f[n, D], if known.
    Raises UserError for a function that JAX cannot trace, and for points of another shape.
    """
    try:
        shape = jax.eval_shape(lambda key: jnp.asarray(draw(key, TRIAL)), jax.random.key(0)).shape
    except Exception as error:  # of any type: the function is the user's
        raise UserError("data", getattr(draw, "__name__", "function"), "a function (key, n) of JAX "
                        f"that draws points f32[n, D] ({reason_of(error)})") from error
    holds = len(shape) == 2 and shape[0] == TRIAL and shape[1] >= 2
    require(holds, "data: shape of data(key, n)", shape, f"({TRIAL}, D) for n = {TRIAL}, D at "
            "least 2")  # fmt: skip
    as_float = lambda key, n: jnp.asarray(draw(key, n), jnp.float32)
    # XLA computes numbers without the key once, so every batch would be the same points.
    trial = jax.jit(lambda key: as_float(key, TRIAL))
    require(not np.array_equal(*(trial(jax.random.key(seed)) for seed in (0, 1))), "data",
            getattr(draw, "__name__", "function"),
            "a function whose points depend on the key", "Draw with jax.random")  # fmt: skip
    if log_prob is not None:
        _check_log_prob(log_prob, shape)
    return make_dataset(
        single_density(as_float), normalize=config.normalize, title=title, source="function",
        log_prob=None if log_prob is None else Partial(log_prob),
    )  # fmt: skip


def _check_log_prob(log_prob: Callable, shape: tuple[int, int]) -> None:
    """Raise UserError unless JAX traces `log_prob`: points f32[n, D] of this shape -> f[n]."""
    name, field = getattr(log_prob, "__name__", "function"), "log_prob: shape of log_prob(points)"
    points = jax.ShapeDtypeStruct(shape, jnp.float32)
    try:
        result = jax.eval_shape(lambda x: jnp.asarray(log_prob(x)), points).shape
    except Exception as error:  # of any type: the function is the user's
        raise UserError("log_prob", name, "a function of JAX of points f32[n, D] "
                        f"({reason_of(error)})") from error
    require(result == shape[:1], field, result, f"({shape[0]},) for {shape[0]} points")


def inverse_cdf_table(weights: np.ndarray) -> np.ndarray:
    """Cumulative probabilities of n weights as integers: table[i] = 2^32 P(index <= i), i < n - 1.

    weights: n positive numbers with any sum. Integers have a resolution of 2^-32 everywhere.
    float32 has a resolution of only 2^-24 near 1, which would shift the probability of the last of
    65,536 equal pixels by up to 0.4 %.
    """
    cumulative = np.cumsum(weights, dtype=np.float64)[:-1] / np.sum(weights, dtype=np.float64)
    return np.minimum(np.round(cumulative * 2.0**32), 2.0**32 - 1).astype(np.uint32)


def draw_index(key: jax.Array, table: jax.Array, num: int) -> jax.Array:
    """Draw independent indices i32[num] in proportion to their weights (`inverse_cdf_table`)."""
    return find_index(table, jax.random.bits(key, (num,), jnp.uint32))


def find_index(table: jax.Array, values: jax.Array) -> jax.Array:
    """Count entries of a sorted `table` that are at most each of `values`, i32[num].

    The algorithm depends on the device. On a CPU, a comparison with every entry, or sorting, takes
    18 to 100 times as long as a binary search with unrolled steps. An alias table has no advantage
    below 10^5 entries. On other devices sequential steps with random memory access are slow, and
    many comparisons in parallel are fast.
    """
    by = lambda method: partial(jnp.searchsorted, side="right", method=method)
    elsewhere = by("compare_all" if len(table) <= COMPARED else "sort")
    index = jax.lax.platform_dependent(table, values, cpu=by("scan_unrolled"), default=elsewhere)
    return index.astype(jnp.int32)


def mixture_log_prob(centers, std, log_weights, points: jax.Array) -> jax.Array:
    """log sum_k w_k N(points; center_k, diag(std^2)), f32[...] for points f32[..., D].

    centers: [K, D]; std: one number or [D]; log_weights: [K] or 0-d, log of weights with sum 1.
    Points are processed in blocks, so any number of points needs at most a few tens of MB.
    """
    centers = jnp.asarray(centers, jnp.float32)
    dim = centers.shape[-1]
    std = jnp.broadcast_to(jnp.float32(std), dim)
    log_norm = 0.5 * dim * jnp.log(2 * jnp.pi) + jnp.log(std).sum()

    def one(point):
        z = (point - centers) / std
        return jax.nn.logsumexp(log_weights - 0.5 * (z**2).sum(-1)) - log_norm

    return map_points(one, points, len(centers))


def map_points(function: Callable, points: jax.Array, cost: int) -> jax.Array:
    """Map `function`: f32[D] -> f32[] over all points, in blocks of about 2^22 / cost points."""
    flat = points.reshape(-1, points.shape[-1])
    block = max(1, min(len(flat), 2**22 // cost))
    return jax.lax.map(function, flat, batch_size=block).reshape(points.shape[:-1])
