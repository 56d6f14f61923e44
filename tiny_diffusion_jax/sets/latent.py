"""Generate a latent for each set by a separate reverse process, then points given the latent.

    p(X) = int p(z) prod_i p(x_i | z) dz,    z = z_0 + latent_noise eps

z_0 is a sample of the prior, or the encoding of given points. The decoder was trained with this
noise on its latents, and likelihood.py integrates over the noise, so sets are drawn with the noise,
too.
"""

import jax
import jax.numpy as jnp

from tiny_diffusion_jax.dataset import PointSets
from tiny_diffusion_jax.sets import independent
from tiny_diffusion_jax.sets.reverse import Asked, Request, reverse

rows = independent.rows  # given z, the points are independent
LATENT_RUN = 2**30  # number of the noise of latents, differs from the numbers of parts
BLUR_KEY = 2**30 + 1  # number of the noise that is added to z_0


def draw(request: Request, keys: jax.Array, asked: Asked) -> jax.Array:
    """Generate sets f32[B, N, D], or the trajectories of the points, [steps + 1, B, N, D].

    Label and count are conditioning of the latent only.
    """
    shape = 1, request.model.traits.latent_dim
    z = reverse(
        request, keys, shape, number=LATENT_RUN, method="prior", **asked.condition()
    )
    z = blurred(keys, z, request.model.traits.latent_noise)
    return independent.draw_points(request, keys, request.config.num_points, latent=z)


def complete(request: Request, keys: jax.Array, given: jax.Array, asked: Asked) -> jax.Array:
    """Generate sets that start with the points `given` f32[n, D]; all points share a latent."""
    z = encode(request.model, request.params, given)
    new = request.config.num_points - len(given)
    z = jnp.broadcast_to(z, (len(keys), *z.shape[1:]))
    z = blurred(keys, z, request.model.traits.latent_noise)
    x = independent.draw_points(request, keys, new, latent=z)
    return jnp.concatenate([jnp.broadcast_to(given, (*x.shape[:-2], *given.shape)), x], axis=-2)


@jax.jit
def blurred(keys: jax.Array, z: jax.Array, noise: float) -> jax.Array:
    """z + noise eps for latents z f32[B, 1, L], with eps ~ N(0, I) from the key of each set."""
    normal = lambda key: jax.random.normal(jax.random.fold_in(key, BLUR_KEY), z.shape[1:])
    return z + noise * jax.vmap(normal)(keys)


def encode(model, params, points: jax.Array) -> jax.Array:
    """Latent f32[1, 1, latent_dim] of points f32[n, D]."""
    return model.apply(params, PointSets(points[None]), method="encode")
