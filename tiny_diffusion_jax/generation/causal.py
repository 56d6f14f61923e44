"""Point after point by a causal transformer, whose cache holds what it makes of those so far.

As `chain`, with a context from the cache in place of a history. config.first_block and
config.growth say how many points are drawn from the same context, see `chain.blocks_between`; one
at a time is exact. There is no burn-in. In rows a drawn point may be out of order: no point is
rejected (docs/maths.md).
"""

import math
from functools import partial

import jax
import jax.numpy as jnp

from tiny_diffusion_jax.generation.chain import blocks_between
from tiny_diffusion_jax.generation.reverse import Asked, Request, reverse
from tiny_diffusion_jax.generation.sizes import width
from tiny_diffusion_jax.models.causal import Context

PLACES = 64  # of a cache are shown to the head at a time, for each number of them is a program


def rows(request: Request, num_given: int = 0) -> int:
    """Points of a set that are in memory at once."""
    return request.config.num_points


def draw(request: Request, keys: jax.Array, asked: Asked) -> jax.Array:
    """f32[B, N, D], or each block's way, [steps + 1, B, N, D]."""
    return _grow(request, keys, jnp.zeros((0, request.dim)), asked)


def complete(request: Request, keys: jax.Array, given: jax.Array, asked: Asked) -> jax.Array:
    """As `draw`, for sets that begin with the points `given`: f32[n, D]."""
    drawn = _grow(request, keys, given, asked)
    lead = jnp.broadcast_to(given, (*drawn.shape[:-2], *given.shape))
    return jnp.concatenate([lead, drawn], axis=-2)


def _grow(request: Request, keys, given, asked: Asked) -> jax.Array:
    """The points after `given`, which all sets begin with, block by block."""
    config, known = request.config, asked.condition()
    n, places = len(given), config.num_points
    # Guidance is between two contexts: one with the label, and one without.
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
        # Points of a block do not see each other: widths that are powers of two need few programs.
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
    """Without the places of the cache beyond this many tokens: the head reads it in every step."""
    end = PLACES * math.ceil(num_tokens / PLACES)
    return context._replace(
        keys=context.keys[:, :end], values=context.values[:, :end], seen=context.seen[..., :end]
    )


@partial(jax.jit, static_argnames=("model", "num_sets", "places"))
def _begin(model, params, known: dict, *, num_sets: int, places: int):
    """(cache, `Context`) of sets without a point."""
    return model.apply(params, num_sets, places, **known, method="begin")


@partial(jax.jit, static_argnames="model", donate_argnames="cache")
def _extend(model, params, cache, points, number, known: dict):
    """(cache, `Context`) after points f32[B, n, D], the first of which has this number."""
    cache, contexts = model.apply(params, cache, points, number, **known, method="extend")
    return cache, contexts._replace(
        per_layer=contexts.per_layer[:, -1:], seen=contexts.seen[:, -1:]
    )
