"""Generate point after point by a causal transformer with a cache of the points so far.

The strategy is like `chain`, with a context from the cache instead of a history. config.first_block
and config.growth set how many points are drawn from the same context, see `chain.blocks_between`.
One point per context is exact. There is no burn-in. With rows a drawn point may be out of order,
and no point is rejected (docs/maths.md).
"""

import math
from functools import partial

import jax
import jax.numpy as jnp

from tiny_diffusion_jax.models.causal import Context
from tiny_diffusion_jax.sets.autoregressive import blocks_between
from tiny_diffusion_jax.sets.reverse import Asked, Request, reverse
from tiny_diffusion_jax.sets.sizes import width

PLACES = 64  # the head reads a multiple of this many cache slots, so that few programs are needed


def rows(request: Request, num_given: int = 0) -> int:
    """Number of points of a set that are in memory at once."""
    return request.config.num_points


def draw(request: Request, keys: jax.Array, asked: Asked) -> jax.Array:
    """Generate sets f32[B, N, D], or the trajectories of each block, [steps + 1, B, N, D]."""
    return _grow(request, keys, jnp.zeros((0, request.dim)), asked)


def complete(request: Request, keys: jax.Array, given: jax.Array, asked: Asked) -> jax.Array:
    """Generate sets like `draw`; all sets start with the points `given` f32[n, D]."""
    drawn = _grow(request, keys, given, asked)
    lead = jnp.broadcast_to(given, (*drawn.shape[:-2], *given.shape))
    return jnp.concatenate([lead, drawn], axis=-2)


def _grow(request: Request, keys, given, asked: Asked) -> jax.Array:
    """Generate the points after the points `given` of all sets, block by block."""
    config, known = request.config, asked.condition()
    n, places = len(given), config.num_points
    # Guidance compares two contexts: one with the label, and one without.
    free = None
    if config.guidance_scale != 1 and asked.label is not None:
        free = known | {"label": None}
    readers = [known] if free is None else [known, free]
    model, params = request.model, request.params

    def extended(states, points, number: int):
        return [_extend(model, params, cache, points, number, condition)
                for (cache, _), condition in zip(states, readers, strict=True)]  # fmt: skip

    states = [_begin(model, params, condition, num_sets=len(keys), places=places)
              for condition in readers]  # fmt: skip
    if n:
        states = extended(states, jnp.broadcast_to(given, (len(keys), *given.shape)), 0)
    blocks = []
    for i, size in enumerate(blocks_between(config, n, places)):
        contexts = [_shown(context, n + 1) for _, context in states]
        # Points of a block are independent, so draw a power of two of them: few programs suffice.
        drawn = reverse(
            request, keys, (width(size), request.dim), number=i, latent=contexts[0],
            unconditional=None if free is None else {"latent": contexts[1]},
        )[..., :size, :]  # fmt: skip
        blocks.append(drawn)
        n += size
        if n < places:
            states = extended(states, drawn[-1] if request.keep_trajectory else drawn, n - size)
    return jnp.concatenate(blocks, axis=-2)


def _shown(context: Context, num_tokens: int) -> Context:
    """Drop cache slots after `num_tokens` tokens, because the head reads every slot in every step.

    The number of slots is rounded up to a multiple of PLACES.
    """
    end = PLACES * math.ceil(num_tokens / PLACES)
    return context._replace(
        keys=context.keys[:, :end], values=context.values[:, :end], seen=context.seen[..., :end]
    )


@partial(jax.jit, static_argnames=("model", "num_sets", "places"))
def _begin(model, params, known: dict, *, num_sets: int, places: int):
    """Return (cache, `Context`) of sets without points."""
    return model.apply(params, num_sets, places, **known, method="begin")


@partial(jax.jit, static_argnames="model", donate_argnames="cache")
def _extend(model, params, cache, points, number, known: dict):
    """Return (cache, `Context`) after adding points f32[B, n, D], the first with this number."""
    cache, contexts = model.apply(params, cache, points, number, **known, method="extend")
    return cache, contexts._replace(
        per_layer=contexts.per_layer[:, -1:], seen=contexts.seen[:, -1:]
    )
