"""Generate block after block, each given the points so far: p(x_1) p(x_2 | x_1) ...

The points so far are in one array, whose last points are the history. The network has no hidden
state.
"""

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax.point_sets import Conditioning, PointSets
from tiny_diffusion_jax.sets.reverse import SamplingContext, reverse
from tiny_diffusion_jax.sets.sizes import block_capacity, capacity, log_uniform
from tiny_diffusion_jax.sets.strategy import ScoredSets, Strategy


class Autoregressive(Strategy):
    """Blocks of points that are independent given a history of the last points.

    log p(X) = sum_i log p(x_i | x_1 ... x_{i-1}), exact for the order of the points. Several draws
    are random orders, and the mean of their densities is exchangeable.
    """

    grows: ClassVar[bool] = True
    reads_history: ClassVar[bool] = True

    # ------------------------------------------------------------ training

    def extra_draws(self, spec):
        return (1, 0) if self._of_previous_batch else (0, spec.max_history)

    def values_per_set(self, spec):
        return spec.num_points + spec.max_history

    def split(self, key, points, mask, spec):
        if self._of_previous_batch:
            history = _previous_batch(key, points, mask, spec)
            return history, points[1:], None if mask is None else mask[1:]
        if mask is None:
            N = spec.num_points
            return _part_of_set(key, points[:, :, N:], spec), points[:, :, :N], None
        n = mask.sum(-1, keepdims=True)
        size_key, drop_key = jax.random.split(key)
        most = jnp.clip(n - 1, 1, spec.max_history)
        size = log_uniform(size_key, n.shape, jnp.minimum(spec.min_history, most), most)
        none = (n < 2) | jax.random.bernoulli(drop_key, spec.history_drop, n.shape)
        size = jnp.where(none, 0, size)
        # No point is in both parts, because the history would reveal the answer.
        return split_sets(points, n, size, size, spec)

    @property
    def _of_previous_batch(self) -> bool:
        return self.model.traits.history_source == "previous_batch"

    # ------------------------------------------------------------ sampling

    def draw(self, context, keys, conditioning, sizes=None):
        """Draw sets block by block.

        The first options.burn_in points started without a history, so they are dropped.
        """
        burned, blocks = block_sizes(context.options, context.num_points)
        nothing = jnp.zeros((0, context.dim))
        points, _ = self._grow(context, keys, nothing, burned, 0, conditioning)
        _, blocks = self._grow(context, keys, points, blocks, len(burned), conditioning)
        return jnp.concatenate(blocks, axis=-2)

    def complete(self, context, keys, given, conditioning, sizes=None):
        _, blocks = block_sizes(context.options, context.num_points, len(given))
        _, blocks = self._grow(context, keys, given, blocks, 0, conditioning)
        lead = jnp.broadcast_to(given, (*blocks[0].shape[:-2], *given.shape))
        return jnp.concatenate([lead, *blocks], axis=-2)

    def _grow(
        self, context: SamplingContext, keys, points, sizes: list[int], number: int,
        conditioning: Conditioning,
    ) -> tuple:  # fmt: skip
        """Return all points f32[B, n, D] after blocks of `sizes`, and the blocks or trajectories.

        points: f32[m, D], the same for all sets, or f32[B, m, D]. number: number of the first
        block, which selects its noise.
        """
        n, widths = points.shape[-2], [block_capacity(size) for size in sizes]
        # Arrays of n points would compile programs for every n, so `slots` has a fixed size.
        free = max(widths, default=0) + context.max_history
        slots = jnp.zeros((len(keys), n + sum(sizes) + free, context.dim))
        slots = slots.at[:, :n].set(points)
        blocks = []
        for i, (size, width) in enumerate(zip(sizes, widths, strict=True)):
            drawn = reverse(
                context, self.model, keys, (width, context.dim), number=number + i,
                conditioning=conditioning._replace(history=_history(slots, n, context.max_history)),
            )  # fmt: skip
            blocks.append(drawn[..., :size, :])
            last = drawn[-1] if context.keep_trajectory else drawn
            slots = jax.lax.dynamic_update_slice(slots, last, (0, n, 0))
            n += size
        return slots[:, :n], blocks

    # ------------------------------------------------------------ likelihood

    def scored_points(self, num_points: int, max_history: int) -> int:
        return num_points * min(max_history, num_points)

    def random_order(self, scored):
        return in_random_order(scored)

    def log_prob(self, scored):
        shape = scored.x.shape
        x, history = _each_with_its_history(scored.x, scored.max_history)
        repeat = lambda a: None if a is None else jnp.repeat(a, shape[1], axis=0)
        label, size, *_ = scored.conditioning
        conditioning = Conditioning(repeat(label), repeat(size), history)
        log_p = self.log_prob_of_points(scored._replace(x=x), conditioning)
        return log_p.reshape(shape[:2]), 0.0


def block_sizes(options, num_points: int, num_given: int = 0) -> tuple[list[int], list[int]]:
    """Number of points of each dropped block, and of each kept block after `num_given` points."""
    burn_in = 0 if num_given else options.burn_in
    end = burn_in + num_points
    return blocks_between(options, 0, burn_in), blocks_between(options, burn_in + num_given, end)


def blocks_between(options, filled: int, end: int) -> list[int]:
    """Number of points of each block with which a set grows from `filled` to `end` points.

    A block after n points holds max(first_block, (growth - 1) n) points.
    """
    sizes = []
    while filled < end:
        block = max(options.first_block, math.floor((options.growth - 1) * filled))
        sizes.append(min(block, end - filled))
        filled += sizes[-1]
    return sizes


def _history(slots: jax.Array, n: int, max_history: int) -> PointSets:
    """The last max_history of the first n points f32[B, >= n + max_history, D].

    They are padded to a power of two, or to max_history. Other points fill the padding.
    """
    size = min(n, max_history)
    width = min(max_history, capacity(max(size, 1)))
    shape = (len(slots), width, slots.shape[-1])
    points = jax.lax.dynamic_slice(slots, (0, n - size, 0), shape)
    return PointSets(points, np.broadcast_to(np.arange(width) < size, shape[:2]))


def in_random_order(scored: ScoredSets) -> ScoredSets:
    """Put the points of each set in a random order: given points first, and the padding last."""
    shape = scored.x.shape
    random = jax.vmap(lambda key: jax.random.uniform(key, shape[1:2]))(scored.keys)
    is_given = jnp.arange(shape[1]) < scored.num_given
    order = jnp.argsort(random + ~scored.mask - is_given, axis=1)
    return scored._replace(x=jnp.take_along_axis(scored.x, order[..., None], axis=1))


def _each_with_its_history(x: jax.Array, max_history: int) -> tuple[jax.Array, PointSets]:
    """Points f32[S N, 1, D] of x f32[S, N, D], and the history of each point.

    The history of a point holds the last max_history points before the point.
    """
    num_sets, num_points, dim = x.shape
    M = min(max_history, num_points)
    number = jnp.arange(num_points)
    first = jnp.maximum(number - M, 0)
    index = jnp.minimum(first[:, None] + jnp.arange(M), num_points - 1)  # [N, M]
    mask = jnp.arange(M) < jnp.minimum(number, M)[:, None]
    history = x[:, index].reshape(num_sets * num_points, M, dim)
    mask = jnp.broadcast_to(mask, (num_sets, *mask.shape)).reshape(num_sets * num_points, M)
    return x.reshape(-1, 1, dim), PointSets(history, mask)


def _part_of_set(key, points, spec) -> PointSets:
    """Draw a history: a random number of clean points of the same set.

    The history is empty in a share `history_drop` of the sets.
    """
    size_key, drop_key = jax.random.split(key)
    steps, B, M = points.shape[:3]
    size = log_uniform(size_key, (steps, B, 1), spec.min_history, M)
    size = jnp.where(jax.random.bernoulli(drop_key, spec.history_drop, size.shape), 0, size)
    return PointSets(points, jnp.arange(M) < size)


def split_sets(points, n, history_size, start, spec) -> tuple[PointSets, jax.Array, jax.Array]:
    """Split observed sets of different sizes into (history, points to denoise, their mask).

    points [steps, B, num_points + max_history, D] hold the n points of a set, then padding. The
    history is the first history_size points, and the points from number `start` on are denoised.
    """
    N, M = spec.num_points, spec.max_history
    index = start + jnp.arange(N)  # below M + N
    history = PointSets(points[:, :, :M], jnp.arange(M) < history_size)
    return history, jnp.take_along_axis(points, index[..., None], axis=2), index < n


def _previous_batch(key, points, mask, spec) -> PointSets:
    """Return points of the previous batch, from any member, as the same history for all sets.

    The history is empty in a share `history_drop` of the steps.
    """
    def spread(a):
        a = a[:-1].reshape(len(a) - 1, 1, -1, *a.shape[3:])[:, :, -spec.max_history :]
        return jnp.broadcast_to(a, (len(a), spec.num_sets, *a.shape[2:]))

    before = spread(points)
    has_history = ~jax.random.bernoulli(key, spec.history_drop, (len(before), 1, 1))
    exists = jnp.broadcast_to(has_history, before.shape[:3])
    return PointSets(before, exists if mask is None else exists & spread(mask))
