"""The joint denoiser: permutation-equivariant attention across the noisy points of a set.

The network learns the score of p_t(X) of the whole set. Sets from one of several densities require
this score: at high noise levels the points agree on a member, and at low noise levels each point
moves to its position in this member.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from tiny_diffusion_jax.models.fourier_mlp import FourierTrunk
from tiny_diffusion_jax.models.layers import SetEmbedding, attend
from tiny_diffusion_jax.models.traits import Traits
from tiny_diffusion_jax.point_sets import NO_CONDITIONING, Conditioning

MAX_POINTS = 4096  # limit for full attention, because its cost is quadratic in the points
MLP_RATIO = 3  # width of the hidden layer of a block / width of its stream


def rms_norm(x: jax.Array) -> jax.Array:
    """Divide x by its root mean square (RMSNorm without a gain, arXiv 1910.07467)."""
    return x * jax.lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-6)


class SetBlock(nn.Module):
    """h += g(c) W_out [attention, gelu(u)],    [q, k, v, u] = W_in (rms_norm(h) a(c) + b(c)).

    Attention and MLP run in parallel and share one matrix in and one out (arXiv 2302.05442,
    section 2.1), so a block has few large products. c f32[B, C] embeds noise level and label
    (adaptive norm, arXiv 2212.09748). With `num_inducing` > 0, this number of learned queries
    attends to the points, and the points attend to the results (induced set attention, arXiv
    1810.00825). The cost is then linear in N. 0 is full attention.
    """

    num_heads: int
    num_inducing: int

    @nn.compact
    def __call__(self, h: jax.Array, c: jax.Array, mask=None) -> jax.Array:
        num_sets, num_points, size = h.shape
        zero = nn.initializers.zeros
        adapt = nn.Dense(3 * size, kernel_init=zero, name="adapt")(c)[:, None]
        scale, shift, gate = jnp.split(adapt, 3, axis=-1)
        x = rms_norm(h) * (1 + scale) + shift
        inside = nn.Dense((3 + MLP_RATIO) * size, name="inside")(x.reshape(-1, size))
        inside = inside.reshape(num_sets, num_points, -1)
        q, k, v, u = jnp.split(inside, (size, 2 * size, 3 * size), axis=-1)
        if self.num_inducing:
            shape = (self.num_inducing, size)
            inducing = self.param("inducing", nn.initializers.normal(1.0), shape)
            inducing = jnp.broadcast_to(inducing, (num_sets, *shape))
            summary, weights = attend(inducing, k, v, self.num_heads, mask)
            summary = rms_norm(summary + nn.Dense(size, name="summary")(nn.gelu(summary)))
            k, v = jnp.split(nn.Dense(2 * size, name="summary_kv")(summary), 2, axis=-1)
            read, _ = attend(q, k, v, self.num_heads)
        else:
            read, weights = attend(q, k, v, self.num_heads, mask)
        self.sow("intermediates", "attention", weights)
        out = jnp.concatenate([read, nn.gelu(u)], axis=-1).reshape(num_sets * num_points, -1)
        out = nn.Dense(size, name="outside")(out).reshape(num_sets, num_points, size)
        return h + (1 + gate) * out


class SetTransformer(nn.Module):
    """Fourier features of the points, `num_blocks` of `SetBlock`, a linear map to the output."""

    trunk: FourierTrunk
    num_heads: int = 4
    num_inducing: int = 32
    num_labels: int = 0
    counts: bool = False

    @property
    def traits(self) -> Traits:
        # Count the stream, its four parts, the hidden layer, and the weights of inducing points.
        size, inducing = self.trunk.hidden_dim, 2 * self.num_heads * self.num_inducing
        return Traits(
            "joint", (6 + 2 * MLP_RATIO) * size + inducing,
            floats_per_pair=0 if self.num_inducing else 2 * self.num_heads, completes=True,
            max_points=None if self.num_inducing else MAX_POINTS,
            max_points_reason="full attention; config.model.num_inducing = 16 takes any number",
            learned_queries=self.num_inducing > 0,
        )  # fmt: skip

    @nn.compact
    def __call__(self, x, time, conditioning: Conditioning = NO_CONDITIONING) -> jax.Array:
        size = self.trunk.hidden_dim
        num_sets, num_points, dim = x.shape
        mask = conditioning.mask
        if mask is not None:
            x = jnp.where(mask[..., None], x, 0)
        time_features = self.trunk.time_features(time)
        c = nn.Dense(size, name="from_time")(time_features)
        embed = SetEmbedding(self.num_labels, size, self.counts, name="label")
        per_set = embed(conditioning, num_sets)
        c = nn.gelu(c if per_set is None else c + per_set)
        h = nn.Dense(size, name="from_features")(self.trunk.noisy_features(x, time_features))
        h = h.reshape(num_sets, num_points, size)
        for i in range(self.trunk.num_blocks):
            h = SetBlock(self.num_heads, self.num_inducing, name=f"block_{i}")(h, c, mask)
        return nn.Dense(dim, name="to_output")(rms_norm(h).reshape(-1, size)).reshape(x.shape)
