"""Generate point after point by a causal transformer with a cache of the points so far."""

import math
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp

from tiny_diffusion_jax.diffusion import draw_times, loss_per_set
from tiny_diffusion_jax.point_sets import Conditioning
from tiny_diffusion_jax.sets.autoregressive import blocks_between, in_random_order
from tiny_diffusion_jax.sets.given import denoised_points, draw_given
from tiny_diffusion_jax.sets.order import Key, log_orders, order_of, parse_order
from tiny_diffusion_jax.sets.reverse import SamplingContext, reverse, without_guide
from tiny_diffusion_jax.sets.sizes import block_capacity
from tiny_diffusion_jax.sets.strategy import Strategy

CACHE_BLOCK = 64  # a cache grows by this many slots: few programs, and few empty slots are read


class Causal(Strategy):
    """Points given a context that one pass over the points so far computes.

    options.first_block and options.growth set how many points are drawn from the same context, see
    `blocks_between`. One point per context is exact.

    log p(X) = sum_i log p(x_i | c_i), exact for the order of the points. With `order`,
    log q(order(X)) - log N! is a lower bound, because drawn sets may be out of order
    (docs/guides/likelihood.md).
    """

    grows: ClassVar[bool] = True

    @property
    def sorts(self) -> bool:
        # A key needs the names of the coordinates, which are unknown before the data are read.
        return self.model.order != "random"

    @property
    def sort_keys(self) -> tuple[Key, ...]:
        return parse_order(self.model.order, self.model.coordinates)

    # ------------------------------------------------------------ training

    def values_per_set(self, spec):
        return spec.num_points * spec.num_levels

    def draw_given(self, key, exists):
        share = self.model.given_share
        return draw_given(key, exists, share) if share else None

    def order(self, points, mask, origin, given=None):
        return order_of(points, self.sort_keys, mask, origin, given) if self.sorts else None

    def noise(self, keys, shape, mask, num_levels, spec):
        """Draw K noise levels for each point, eps f32[steps, B, N, K, D] and t i32[..., K]."""
        (eps_key, time_key, _), (steps, B, N, D), K = keys, shape, spec.num_levels
        # Consecutive levels are similar, so they go to different sets. The levels of a point are
        # far apart, and the levels of a set are less far apart.
        t = draw_times(time_key, (steps, K * N * B), num_levels)
        t = t.reshape(steps, K, N, B).transpose(0, 3, 2, 1)
        fields = {"eps": jax.random.normal(eps_key, (steps, B, N, K, D)), "t": t}
        return fields if mask is None else fields | {"weight": _point_weights(mask)}

    def loss(self, process, apply, params, batch):
        """Weighted loss f32[B, N, K] of each point at K levels, given the points before it."""
        B, N, K, _ = batch.eps.shape
        conditioning, x_0 = batch.conditioning, batch.x_0
        contexts = apply(params, x_0, _of_contexts(conditioning), method="contexts")
        if conditioning.given is not None:
            index = denoised_points(conditioning.given, conditioning.mask, N)
            contexts = contexts.at(index)
            x_0 = jnp.take_along_axis(x_0, index[..., None], axis=1)
        flat = lambda a: a.reshape(B, N * K, *a.shape[3:])
        losses = loss_per_set(
            process, apply, params, jnp.repeat(x_0, K, axis=1), flat(batch.eps),
            flat(batch.t), Conditioning(latent=contexts),
        ).reshape(B, N, K)  # fmt: skip
        return losses if batch.weight is None else losses * batch.weight[..., None]

    # ------------------------------------------------------------ sampling

    def draw(self, context, keys, conditioning, sizes=None):
        return self._grow(context, keys, jnp.zeros((0, context.dim)), conditioning)

    def complete(self, context, keys, given, conditioning, sizes=None):
        drawn = self._grow(context, keys, given, conditioning)
        lead = jnp.broadcast_to(given, (*drawn.shape[:-2], *given.shape))
        return jnp.concatenate([lead, drawn], axis=-2)

    def _grow(self, context: SamplingContext, keys, given, conditioning: Conditioning):
        """Generate the points after the points `given` of all sets, block by block."""
        n, num_points = len(given), context.num_points
        # Guidance compares two contexts: one with the label, and one without.
        conditionings = [conditioning]
        if context.options.guidance_scale != 1 and conditioning.label is not None:
            conditionings.append(without_guide(conditioning))

        def extended(states, points, number: int, size: int, given: bool = False):
            # The cache has slots for all `points`, and the head reads the first `size` of them.
            slots = _slots(1 + number + points.shape[1], num_points)
            read = _slots(1 + number + size, num_points)
            pairs = zip(states, conditionings, strict=True)
            return [_extend(self.model, context.params, _with_slots(cache, slots), points, number,
                            size, conditioning, given=given, slots=read)
                    for (cache, _), conditioning in pairs]  # fmt: skip

        first = _slots(1, num_points)
        states = [_begin(self.model, context.params, conditioning, num_sets=len(keys), slots=first)
                  for conditioning in conditionings]  # fmt: skip
        if n:
            given = jnp.broadcast_to(given, (len(keys), *given.shape))
            states = extended(states, given, 0, n, given=True)
        blocks = []
        for i, size in enumerate(blocks_between(context.options, n, num_points)):
            contexts = [Conditioning(latent=context) for _, context in states]
            unconditional = contexts[1] if len(contexts) > 1 else None
            # Points of a block are independent, so a few more of them change nothing: few programs.
            drawn = reverse(
                context, self.model, keys, (block_capacity(size), context.dim), number=i,
                conditioning=contexts[0], unconditional=unconditional,
            )  # fmt: skip
            blocks.append(drawn[..., :size, :])
            if n + size < num_points:
                states = extended(states, drawn[-1] if context.keep_trajectory else drawn, n, size)
            n += size
        return jnp.concatenate(blocks, axis=-2)

    def sample_limits(self, options):
        yield ("burn_in", options.burn_in == 0,
               "0 with config.model.name = 'causal'. Only history and attention models have a "
               "burn-in")  # fmt: skip
        for name in ("first_block", "growth") if self.sorts else ():
            yield (name, options[name] == 1,
                   f"1 with config.model.order = {self.model.order!r}, to draw point by point")

    def attention(self, process, params, x, conditioning):
        points = jnp.pad(x, ((0, 0), (0, 1), (0, 0)))  # the last point has no token
        _, state = self.model.apply(params, points, conditioning, method="contexts",
                                    mutable=["intermediates"])  # fmt: skip
        return [weights[:, :, 1:] for weights in jax.tree.leaves(state)]  # skip the start token

    # ------------------------------------------------------------ likelihood

    @property
    def is_lower_bound(self) -> bool:
        return self.sorts

    def scores_training_sizes(self, sizes_vary: bool) -> bool:
        return self.sorts

    def num_draws(self, requested: int, num_points: int, dim: int) -> int:
        # All orders have the same density if the model sorts the points.
        return 1 if self.sorts else super().num_draws(requested, num_points, dim)

    def random_order(self, scored):
        return in_random_order(scored)

    def log_prob(self, scored):
        contexts = self.model.apply(scored.params, scored.x, _of_contexts(scored.conditioning),
                                    method="contexts")  # fmt: skip
        log_p = self.log_prob_of_points(scored, Conditioning(latent=contexts))
        num_scored = scored.mask.sum(1) - scored.num_given
        return log_p, -log_orders(num_scored) if self.sorts else 0.0


def _of_contexts(conditioning: Conditioning) -> Conditioning:
    return Conditioning(conditioning.label, conditioning.size, given=conditioning.given)


def _point_weights(mask: jax.Array) -> jax.Array:
    """Weights f32[steps, B, N]: 0 for padding, equal for all points of a batch, with mean 1."""
    share = mask.mean((1, 2), keepdims=True)
    return mask / jnp.maximum(share, 1e-6)


def _slots(num_tokens: int, num_points: int) -> int:
    """Number of cache slots for `num_tokens` tokens of sets of `num_points` points.

    A multiple of CACHE_BLOCK, but at most `num_points` if these are enough.
    """
    rounded = CACHE_BLOCK * math.ceil(num_tokens / CACHE_BLOCK)
    return max(num_tokens, min(rounded, num_points))


def _with_slots(cache, slots: int):
    """Grow the cache to at least this many slots, because attention reads every slot."""
    grown = lambda a: jnp.pad(a, ((0, 0), (0, slots - a.shape[1]), (0, 0)))
    return cache if cache[0][0].shape[1] >= slots else jax.tree.map(grown, cache)


@partial(jax.jit, static_argnames=("model", "num_sets", "slots"))
def _begin(model, params, conditioning: Conditioning, *, num_sets: int, slots: int):
    """Return (cache with `slots` slots, `Context`) of sets without points."""
    return model.apply(params, num_sets, slots, conditioning, method="begin")


@partial(jax.jit, static_argnames=("model", "given", "slots"), donate_argnames="cache")
def _extend(model, params, cache, points, number, size, conditioning: Conditioning, *,
            given: bool = False, slots: int):  # fmt: skip
    """Return (cache, `Context` of the next point) after adding `size` points, the first numbered.

    points f32[B, n, D], n >= size: points after the first `size` are overwritten by the next call.
    slots: the number of cache slots that the head reads.
    """
    cache, contexts = model.apply(params, cache, points, number, conditioning, given,
                                  method="extend")  # fmt: skip
    context = contexts.at(jnp.full((len(points), 1), size - 1))
    return cache, context._replace(keys=context.keys[:, :slots], values=context.values[:, :slots],
                                   seen=context.seen[..., :slots])  # fmt: skip
