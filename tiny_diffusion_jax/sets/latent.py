"""Generate a latent for each set by a separate reverse process, then points given the latent.

    p(X) = int p(z) prod_i p(x_i | z) dz,    z = z_0 + latent_noise eps

z_0 is a sample of the prior, or the encoding of given points. The decoder was trained with this
noise on its latents, and the likelihood integrates over the noise, so sets are drawn with the
noise, too.
"""

from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp

from tiny_diffusion_jax.diffusion import loss_per_set, make_denoise
from tiny_diffusion_jax.diffusion.ode_likelihood import log_likelihood
from tiny_diffusion_jax.point_sets import Conditioning, PointSets
from tiny_diffusion_jax.sets.autoregressive import split_sets
from tiny_diffusion_jax.sets.independent import PART, draw_points
from tiny_diffusion_jax.sets.reverse import reverse
from tiny_diffusion_jax.sets.strategy import ScoredSets, Strategy

LATENT_RUN = 2**30  # number of the noise of latents, differs from the numbers of parts
BLUR_KEY = 2**30 + 1  # number of the noise that is added to z_0


class Latent(Strategy):
    """A latent for each set, then independent points given the latent.

    log p(X) >= E log 1/K sum_k p(X | z_k) p(z_k) / q(z_k | X),  z_k ~ q (arXiv 1509.00519), where
    q is the encoding of the set plus the noise of the decoder.
    """

    guides_latent: ClassVar[bool] = True
    is_lower_bound: ClassVar[bool] = True
    default_draws: ClassVar[int] = 16

    # ------------------------------------------------------------ training

    def extra_draws(self, spec):
        return 0, spec.max_history

    def values_per_set(self, spec):
        return spec.num_points + spec.max_history

    def split(self, key, points, mask, spec):
        """Split points into (points for the encoder, points to denoise, their mask).

        A latent describes a whole set, so the prior must not learn latents of few points or none.
        The encoder reads the first max_history points, and the last num_points points are denoised.
        Both parts overlap in a small set, because the latent would otherwise miss a part of the
        set. The few numbers of a latent do not reveal single points of many.
        """
        N, M = spec.num_points, spec.max_history
        if mask is None:
            history = PointSets(points[:, :, N:], jnp.ones((*points.shape[:2], M), bool))
            return history, points[:, :, :N], None
        n = mask.sum(-1, keepdims=True)
        return split_sets(points, n, jnp.minimum(n, M), jnp.clip(n - N, 0, M), spec)

    def noise(self, keys, shape, mask, num_levels, spec):
        steps, B, *_ = shape
        latent_eps, blur = jax.random.normal(keys[2], (2, steps, B, 1, self.model.latent_dim))
        return super().noise(keys, shape, mask, num_levels, spec) | {
            "latent_eps": latent_eps, "latent_blur": self.model.latent_noise * blur}  # fmt: skip

    def loss(self, process, apply, params, batch):
        """Loss f32[B] of the points plus the loss of the latent."""
        label, size, history, _, mask, _ = batch.conditioning
        latent = apply(params, history, method="encode")
        # Stop the gradient, so that the prior does not move the latents to make its task easier.
        latent_loss = loss_per_set(
            process.of_latents(), partial(apply, method="prior"), params,
            jax.lax.stop_gradient(latent), batch.latent_eps, batch.t, Conditioning(label, size),
        )  # fmt: skip
        conditioning = Conditioning(latent=latent + batch.latent_blur, mask=mask)
        return latent_loss + loss_per_set(
            process, apply, params, batch.x_0, batch.eps, batch.t, conditioning
        )

    # ------------------------------------------------------------ sampling

    def points_in_memory(self, num_points: int, num_given: int = 0) -> int:
        return min(num_points, PART)  # given z, the points are independent

    def draw(self, context, keys, conditioning, sizes=None):
        """Draw sets; label and size are conditioning of the latent only."""
        shape = 1, self.model.latent_dim
        z = reverse(context, self.model, keys, shape, number=LATENT_RUN, method="prior",
                    conditioning=conditioning)  # fmt: skip
        z = blurred(keys, z, self.model.latent_noise)
        return draw_points(context, self.model, keys, context.num_points, Conditioning(latent=z))

    def complete(self, context, keys, given, conditioning, sizes=None):
        """Draw sets that start with the points `given` f32[n, D]; all points share a latent."""
        z = self.model.apply(context.params, PointSets(given[None]), method="encode")
        z = jnp.broadcast_to(z, (len(keys), *z.shape[1:]))
        z = blurred(keys, z, self.model.latent_noise)
        num_new = context.num_points - len(given)
        x = draw_points(context, self.model, keys, num_new, Conditioning(latent=z))
        return jnp.concatenate([jnp.broadcast_to(given, (*x.shape[:-2], *given.shape)), x], axis=-2)

    # ------------------------------------------------------------ likelihood

    def log_prob(self, scored):
        z, log_weight = self._latents(scored)
        return self.log_prob_of_points(scored, Conditioning(latent=z)), log_weight

    def _latents(self, scored: ScoredSets) -> tuple[jax.Array, jax.Array]:
        """Draw z f32[B, 1, C] for each set; return z and log p(z) / q(z | X) f32[B]."""
        model, blur = self.model, self.model.latent_noise
        code = model.apply(scored.params, PointSets(scored.x, scored.mask), method="encode")
        eps = jax.vmap(partial(jax.random.normal, shape=code.shape[1:]))(scored.keys)
        z = code + blur * eps
        latents = scored.process.of_latents()
        prior = partial(model.apply, method="prior")
        denoise = make_denoise(latents, prior, scored.params, scored.conditioning)
        log_p = log_likelihood(latents, denoise, z, scored.num_steps, blur=blur)[:, 0]
        log_q = -0.5 * (eps**2 + jnp.log(2 * jnp.pi)).sum((1, 2)) - z.shape[-1] * jnp.log(blur)
        return z, log_p - log_q


@jax.jit
def blurred(keys: jax.Array, z: jax.Array, noise: float) -> jax.Array:
    """z + noise eps for latents z f32[B, 1, L], with eps ~ N(0, I) from the key of each set."""
    normal = lambda key: jax.random.normal(jax.random.fold_in(key, BLUR_KEY), z.shape[1:])
    return z + noise * jax.vmap(normal)(keys)
