"""The Fourier MLP: each point is denoised alone, from its features and the time's."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from tiny_diffusion_jax.models.embeddings import EMBEDDINGS, sinusoidal

TIME_MAX_PERIOD = 10_000.0  # the classic choice for features of t (arXiv 1706.03762)


class FourierMLP(nn.Module):
    """h = gelu(W_in [features(x), features(t)]); h += gelu(W_k h) num_blocks times; W_out h.

    Inputs: x f32[B, N, 2], time f32[B] in [0, 1] (t / T). Output: f32[B, N, 2].
    """

    hidden_dim: int = 128
    num_blocks: int = 3
    embedding: str = "sinusoidal"
    num_frequencies: int = 32
    scale: float = 12.0
    max_period: float = 100.0
    time_frequencies: int = 64
    time_scale: float = 1000.0

    # Points of a set do not see each other, so a set may be split (sampling in chunks), and the
    # likelihood of one point is defined.
    per_point = True

    @property
    def floats_per_point(self) -> int:
        """About how many float32 numbers one evaluation keeps alive for each point."""
        return 6 * self.num_frequencies + 2 * self.time_frequencies + 4 * self.hidden_dim

    @nn.compact
    def __call__(
        self, x: jax.Array, time: jax.Array, *, history=None, label=None, mask=None
    ) -> jax.Array:
        num_sets, num_points, _ = x.shape
        embedding = EMBEDDINGS[self.embedding](
            self.num_frequencies, self.scale, self.max_period, name="features"
        )
        time = sinusoidal(time[:, None], self.time_frequencies, self.time_scale, TIME_MAX_PERIOD)
        # One row per point from here on: XLA's CPU products of [rows, features] are the fast ones.
        features = [embedding(x.reshape(-1, 2)), jnp.repeat(time, num_points, axis=0)]
        h = nn.gelu(nn.Dense(self.hidden_dim, name="from_features")(jnp.concatenate(features, -1)))
        for i in range(self.num_blocks):
            h = h + nn.gelu(nn.Dense(self.hidden_dim, name=f"block_{i}")(h))
        return nn.Dense(2, name="to_output")(h).reshape(num_sets, num_points, 2)
