"""One latent per set: an encoder that ignores order, a point-wise decoder, a prior over latents.

    z = encoder({x_i}),    p(X) = int p(z) prod_i p(x_i | z) dz

By de Finetti's theorem every exchangeable density has this form. The decoder is a diffusion model
of points given z, and the prior is a diffusion model of z, with the same loss and samplers.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from tiny_diffusion_jax.models.fourier_mlp import TIME_MAX_PERIOD, FourierTrunk
from tiny_diffusion_jax.models.layers import SetEmbedding, pool, read_history, sinusoidal
from tiny_diffusion_jax.models.traits import Traits
from tiny_diffusion_jax.point_sets import NO_CONDITIONING, Conditioning, PointSets


class SetLatent(nn.Module):
    """Map points to z f32[B, 1, D] by `encode`, denoise z by `prior`; a call denoises points.

    A call takes z as `latent`, or encodes z from `history`, points of the same set.
    """

    trunk: FourierTrunk
    latent_dim: int = 16
    latent_noise: float = 0.1  # noise on z in training, so that the decoder tolerates prior errors
    num_labels: int = 0
    counts: bool = False

    @property
    def traits(self) -> Traits:
        # Given z, points are denoised independently.
        floats = self.trunk.floats_per_point + 2 * self.trunk.hidden_dim
        return Traits("latent", floats, history_source="same_set", completes=True)

    def setup(self):
        size = self.trunk.hidden_dim
        self.from_points = nn.Dense(size)
        self.encoder_blocks = [nn.Dense(size) for _ in range(2)]
        self.to_latent = nn.Dense(self.latent_dim)
        self.from_latent = nn.Dense(size)
        self.label = SetEmbedding(self.num_labels, size, self.counts)
        self.prior_in = nn.Dense(2 * size)
        self.prior_time = nn.Dense(2 * size)
        self.prior_label = nn.Dense(2 * size)
        self.prior_blocks = [nn.Dense(2 * size) for _ in range(3)]
        self.prior_out = nn.Dense(self.latent_dim)

    def encode(self, history) -> jax.Array:
        """Latent z f32[B, 1, C] of each set of points; its C numbers have mean 0 and variance 1."""
        points, mask = read_history(history, len(history.points), history.points.shape[-1])
        h = nn.gelu(self.from_points(self.trunk.features(points)))
        for block in self.encoder_blocks:
            h = h + nn.gelu(block(h))
        z = self.to_latent(pool(h, mask))
        z = z - z.mean(-1, keepdims=True)
        return (z * jax.lax.rsqrt((z**2).mean(-1, keepdims=True) + 1e-4))[:, None]

    def prior(self, z_t, time, conditioning: Conditioning = NO_CONDITIONING) -> jax.Array:
        """Apply the network of the prior: z_t f32[B, 1, D] and time f32[B] to f32[B, 1, D]."""
        features = sinusoidal(time[:, None], self.trunk.time_frequencies, self.trunk.time_scale,
                              TIME_MAX_PERIOD)  # fmt: skip
        h = self.prior_in(z_t[:, 0]) + self.prior_time(features)
        per_set = self.label(conditioning, len(z_t))
        h = h if per_set is None else h + self.prior_label(per_set)
        for block in self.prior_blocks:
            h = h + block(nn.gelu(h))
        return self.prior_out(h)[:, None]

    def __call__(self, x, time, conditioning: Conditioning = NO_CONDITIONING) -> jax.Array:
        latent, history = conditioning.latent, conditioning.history
        if latent is None:
            no_points = PointSets(jnp.zeros((len(x), 0, x.shape[-1])))
            latent = self.encode(no_points if history is None else history)
        if self.is_initializing():
            self.prior(latent, time, conditioning)
        return self.trunk(x, time, per_set=nn.gelu(self.from_latent(latent[:, 0])))
