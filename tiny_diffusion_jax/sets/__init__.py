"""Generate whole sets from a trained denoiser, by the strategy that the denoiser names.

    independent     independent points.
    joint           all points of a set together, in one reverse process.
    autoregressive  block after block, each given the points so far: p(x_1) p(x_2 | x_1) ...
    causal          point after point, given a context that a causal transformer computes from the
                    points so far.
    latent          first a latent for the set, by its own reverse process, then points given it.

Each strategy is a class in its own file (strategy.py has the defaults). Random keys follow from the
seed and the number of a set, so a set depends neither on the number of sets nor on the memory. The
devices share the sets. For sets of different sizes, see sizes.py.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax import devices
from tiny_diffusion_jax.dataset import Dataset
from tiny_diffusion_jax.point_sets import Conditioning, padded
from tiny_diffusion_jax.sets.autoregressive import Autoregressive
from tiny_diffusion_jax.sets.causal import Causal
from tiny_diffusion_jax.sets.chunks import chunk_size, map_chunks, set_keys
from tiny_diffusion_jax.sets.independent import Independent
from tiny_diffusion_jax.sets.joint import Joint
from tiny_diffusion_jax.sets.latent import Latent
from tiny_diffusion_jax.sets.reverse import SamplingContext
from tiny_diffusion_jax.sets.sizes import MOST_AT_ONCE, by_capacity, capacity
from tiny_diffusion_jax.sets.strategy import Strategy

STRATEGIES = {
    "independent": Independent, "joint": Joint, "autoregressive": Autoregressive,
    "causal": Causal, "latent": Latent,
}  # fmt: skip
LABEL_KEY = 2**30 + 2  # differs from the numbers of parts and blocks


def strategy_of(model) -> Strategy:
    """Return the strategy that generates sets with the denoiser `model`."""
    return STRATEGIES[model.traits.strategy](model)


def draw(
    strategy: Strategy, context: SamplingContext, dataset: Dataset, labels: np.ndarray | None,
    sizes: np.ndarray | None, given: np.ndarray | None = None, progress: Callable | None = None,
) -> np.ndarray:  # fmt: skip
    """Generate context.options.num_sets sets, f32[S, N, D] in centred units.

    labels: i32[S], or None for a model without labels. sizes: i64[S], the number of points of each
    set; None: all sets have context.num_points. given: f32[n, D], the first points of every set, in
    centred units. progress: see `map_chunks`. The result is f32[steps + 1, S, N, D] with
    context.keep_trajectory, and rows of NaN follow the points of smaller sets.
    """
    mesh, params = devices.to_draw(context.params)
    context, num_sets = context._replace(params=params), context.options.num_sets
    key = jax.random.key(context.options.seed)
    set_sizes = np.full(num_sets, context.num_points) if sizes is None else sizes
    num_given, order = 0, None
    if given is not None:
        given, num_given = jnp.asarray(given, jnp.float32), len(given)
        order = strategy.order(given, None, dataset.origin)
        given = dataset.normalize(given if order is None else given[order])

    def draw_chunk(num_points: int, numbers: np.ndarray, size: int) -> np.ndarray:
        """Draw the sets with these numbers, each with capacity for num_points points."""
        # Fill up the chunk with sets that are dropped later, so that one program serves all chunks.
        numbers = np.pad(numbers, (0, size - len(numbers)), mode="edge")
        conditioning = Conditioning(
            None if labels is None else jnp.asarray(labels)[numbers],
            jnp.asarray(set_sizes[numbers], jnp.int32) if strategy.model.counts else None,
        )
        keys = set_keys(key, jnp.asarray(numbers))
        keys = jax.device_put(keys, devices.by_set(mesh, len(numbers)))
        one = context._replace(num_points=num_points)
        to_draw = None if sizes is None else jnp.asarray(sizes[numbers], jnp.int32)
        points = (strategy.draw(one, keys, conditioning, to_draw) if given is None else
                  strategy.complete(one, keys, given, conditioning, to_draw))  # fmt: skip
        points = np.asarray(dataset.denormalize(points))
        if order is None:
            return points
        in_own_order = np.r_[np.argsort(order), num_given : points.shape[-2]]
        return points[..., in_own_order, :]

    chunks = list(_chunks(strategy, context, mesh, num_given, sizes))
    result = None
    for (_, numbers, _), points in map_chunks(draw_chunk, chunks, mesh, progress):
        points = points[..., : len(numbers), :, :]
        if sizes is not None:
            points = padded(points, sizes[numbers])[..., : sizes.max(), :]
        if result is None:
            shape = *points.shape[:-3], num_sets, set_sizes.max(), points.shape[-1]
            result = np.full(shape, np.nan, points.dtype)
        result[..., numbers, : points.shape[-2], :] = points
    return result


def _chunks(strategy: Strategy, context: SamplingContext, mesh, num_given: int, sizes):
    """Yield (capacity, numbers of the sets i64[n], number of sets with padding) of each chunk.

    Sets of different sizes are drawn together if they have the same capacity. Few chunk sizes
    occur, so few programs serve any number of sets.
    """
    options, num_sets = context.options, context.options.num_sets
    groups = [(context.num_points, np.arange(num_sets), num_sets)] if sizes is None else [
        (num_points, numbers, capacity(min(len(numbers), MOST_AT_ONCE)))
        for num_points, numbers in by_capacity(sizes)
    ]  # fmt: skip
    for num_points, numbers, at_once in groups:
        history = min(context.max_history, options.burn_in + num_points)
        in_memory = strategy.points_in_memory(num_points, num_given)
        size = chunk_size(strategy.model.traits, at_once, in_memory, history, options.memory_mb,
                          mesh)  # fmt: skip
        for start in range(0, len(numbers), size):
            yield num_points, numbers[start : start + size], size


@jax.jit
def draw_labels(keys: jax.Array, log_shares: jax.Array) -> jax.Array:
    """Draw a label for each set, i32[S], with the log probabilities `log_shares`."""
    label = lambda key: jax.random.categorical(jax.random.fold_in(key, LABEL_KEY), log_shares)
    return jax.vmap(label)(keys)
