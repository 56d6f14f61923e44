"""Denoise each point independently, from features of the point and of the noise level.

`FourierTrunk`, the body of this Fourier MLP, also serves the denoisers with more conditioning.
Their conditioning enters as features of each point, or as one vector per set that scales and shifts
every layer.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from tiny_diffusion_jax.models.layers import EMBEDDINGS, SetEmbedding, attend, rotate, sinusoidal
from tiny_diffusion_jax.models.traits import Traits
from tiny_diffusion_jax.point_sets import NO_CONDITIONING, Conditioning

TIME_MAX_PERIOD = 10_000.0  # the usual value for features of t (arXiv 1706.03762)


class Fade(nn.Module):
    """2 sigmoid(W features(t) + b), the strength of each feature of a noisy point.

    A wave that is shorter than the noise carries no information about the data, so the network
    learns to fade it out (arXiv 2103.13415, section 3, fades waves by a fixed rule). features
    f32[B n, F], time_features f32[B, C].
    """

    @nn.compact
    def __call__(self, features: jax.Array, time_features: jax.Array) -> jax.Array:
        size = features.shape[-1]
        dense = nn.Dense(size)
        nn.share_scope(self, dense)
        strength = 2 * nn.sigmoid(dense(time_features))
        faded = features.reshape(len(time_features), -1, size) * strength[:, None]
        return faded.reshape(-1, size)


class FourierTrunk(nn.Module):
    """h = gelu(W_in [features(x), features(t), context]); then h += gelu(W_k h); then W_out h.

    With `per_set` c, the inside of every gelu is (1 + scale(c)) W h + shift(c) (FiLM, arXiv
    1709.07871). The output is f32[B, N, D]. The inputs are:

        x          f32[B, N, D], points.
        time       t / T in [0, 1], f32[B], or f32[B, N] for each point.
        per_point  f32[B, N, C], additional features of each point.
        per_set    f32[B, C], or f32[B, n, C] with one vector for every N / n points in turn.
        per_layer  f32[B, n, K + 1, 2 H], the result of `film`, which replaces `per_set` and is
                   computed once for many calls.
        attended   (keys, values f32[B, M, C], mask as for `attend`). The first h then also becomes
                   h + W_a attention(W_q h). With `relative`, the caller has `rotated` the keys and
                   values by their points, and the attention depends on the differences between
                   these points and x.

    With `fade`, the strength of each feature of x depends on the noise level (`Fade`).
    """

    hidden_dim: int = 128
    num_blocks: int = 3
    embedding: str = "sinusoidal"
    num_frequencies: int = 32
    scale: float = 12.0
    max_period: float = 100.0
    time_frequencies: int = 64
    time_scale: float = 1000.0
    fade: bool = False
    num_heads: int = 4  # of the attention to `attended`
    relative: bool = False

    @property
    def floats_per_point(self) -> int:
        """Approximate number of float32 values that one evaluation keeps alive for each point."""
        return 6 * self.num_frequencies + 2 * self.time_frequencies + 4 * self.hidden_dim

    def setup(self):
        embedding = EMBEDDINGS[self.embedding]
        self.features = embedding(self.num_frequencies, self.scale, self.max_period)
        if self.fade:
            self.fading = Fade(name="fade")
        layers = range(self.num_blocks)
        self.from_features = nn.Dense(self.hidden_dim)
        self.blocks = [nn.Dense(self.hidden_dim) for _ in layers]
        self.films = [nn.Dense(2 * self.hidden_dim) for _ in range(self.num_blocks + 1)]

    def time_features(self, time: jax.Array) -> jax.Array:
        """Features f32[..., 2 time_frequencies] of time f32[...]."""
        return sinusoidal(time[..., None], self.time_frequencies, self.time_scale, TIME_MAX_PERIOD)

    def noisy_features(self, x: jax.Array, time_features: jax.Array) -> jax.Array:
        """Features f32[B N, F] of x f32[B, N, D], a row per point.

        time_features: f32[B, C] or f32[B N, C].
        """
        x_features = self.features(x.reshape(-1, x.shape[-1]))
        return self.fading(x_features, time_features) if self.fade else x_features

    def rotated(self, a: jax.Array, x: jax.Array) -> jax.Array:
        """Rotate a f32[..., C] by points x f32[..., D] if `relative`, see `layers.rotate`."""
        return rotate(a, x, self.num_heads, self.scale, self.max_period) if self.relative else a

    def film(self, per_set: jax.Array) -> jax.Array:
        """Scale and shift f32[B, n, K + 1, 2 H] of every layer, from per_set f32[B, n, C]."""
        return jnp.stack([layer(per_set) for layer in self.films], axis=-2)

    @nn.compact  # beside `setup`, because the size of the output depends on the input
    def __call__(
        self, x: jax.Array, time: jax.Array, per_point=None, per_set=None, attended=None,
        per_layer=None,
    ) -> jax.Array:  # fmt: skip
        num_sets, num_points, dim = x.shape
        if per_set is not None:
            per_layer = self.film(per_set.reshape(num_sets, -1, per_set.shape[-1]))
        # XLA's CPU products are fast for [rows, features], so use one row per point from here on.
        time_features = self.time_features(time.reshape(-1))
        x_features = self.noisy_features(x, time_features)
        features = [x_features, jnp.repeat(time_features, x[..., 0].size // time.size, axis=0)]
        if per_point is not None:
            features.append(per_point.reshape(num_sets * num_points, -1))

        def scaled(layer: int, h: jax.Array) -> jax.Array:
            if per_layer is None:
                return h
            scale, shift = jnp.split(per_layer[:, :, None, layer], 2, axis=-1)
            h = h.reshape(num_sets, per_layer.shape[1], -1, self.hidden_dim)
            return ((1 + scale) * h + shift).reshape(-1, self.hidden_dim)

        h = nn.gelu(scaled(0, self.from_features(jnp.concatenate(features, -1))))
        if attended is not None:
            keys, values, mask = attended
            q = nn.Dense(keys.shape[-1], name="query")(h).reshape(num_sets, num_points, -1)
            read, _ = attend(self.rotated(q, x), keys, values, self.num_heads, mask)
            read = self.rotated(read, -x).reshape(len(h), -1)
            h = h + nn.Dense(self.hidden_dim, name="read")(read)
        for i, block in enumerate(self.blocks):
            h = h + nn.gelu(scaled(i + 1, block(h)))
        return nn.Dense(dim, name="to_output")(h).reshape(x.shape)


class FourierMLP(nn.Module):
    """Denoise points independently with the trunk, so that generated sets are superpositions."""

    trunk: FourierTrunk
    num_labels: int = 0
    counts: bool = False

    @property
    def traits(self) -> Traits:
        return Traits("independent", self.trunk.floats_per_point)

    @nn.compact
    def __call__(self, x, time, conditioning: Conditioning = NO_CONDITIONING) -> jax.Array:
        embed = SetEmbedding(self.num_labels, self.trunk.hidden_dim, self.counts, name="label")
        return self.trunk(x, time, per_set=embed(conditioning, len(x)))
