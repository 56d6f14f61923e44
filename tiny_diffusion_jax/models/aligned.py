"""Sequence to sequence that separates: the seed's LSTM, asked about the point it answers for.

    c, h = encoder(x_1, ..., x_N),    s_i = decoder(c, h; x_1, ..., x_i),    F_i = trunk(x_i, s_i)

Two changes, one by one. The decoder of models/seed.py reads its own last answer and never the noisy
point; here it reads that point (**aligned**), and nothing is fed back, so nothing needs to be forced.
And where the encoder reads the set once, its last state is soon that of the decoder's last points;
with **both** ways it is read forwards and backwards, and the decoder finds at every point what came
before it and what comes after: the whole set, from which it tells the member.

A set is still no sequence: in another order the answers differ. `benchmarks/mended.py` measures by
how much.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from tiny_diffusion_jax.models.fourier_mlp import FourierTrunk
from tiny_diffusion_jax.models.layers import LabelEmbedding
from tiny_diffusion_jax.models.seed import MAX_SEQUENCE
from tiny_diffusion_jax.models.traits import Traits

ENCODERS = ("forward", "both")


class Lstm(nn.Module):
    """States h f32[B, N, D] of an LSTM along the points, and its last (c, h), both f32[B, D].

        i, f, g, o = W x_n + U h + b,    c <- sigmoid(f) c + sigmoid(i) tanh(g),
        h <- sigmoid(o) tanh(c)

    features f32[B, N, C]; mask bool[B, N]: masked points pass by without a trace; start: the first
    (c, h); `backwards`: from the last point to the first. W x of all points is one product: in the
    loop only U h is left.
    """

    hidden_dim: int
    backwards: bool = False

    @nn.compact
    def __call__(self, features: jax.Array, mask: jax.Array, start=None):
        size = self.hidden_dim
        inside = nn.Dense(4 * size, name="input")(features)
        shape = (size, 4 * size)
        recurrent = self.param("recurrent", nn.initializers.orthogonal(), shape)

        def step(carry, row):
            inside, there = row
            c, h = carry
            i, f, g, o = jnp.split(inside + h @ recurrent, 4, axis=-1)
            c_new = nn.sigmoid(f + 1) * c + nn.sigmoid(i) * jnp.tanh(g)  # + 1: to remember at first
            h_new = nn.sigmoid(o) * jnp.tanh(c_new)
            carry = tuple(jnp.where(there[:, None], new, old)
                          for new, old in ((c_new, c), (h_new, h)))  # fmt: skip
            return carry, carry[1]

        zeros = jnp.zeros((len(features), size))
        rows = jnp.swapaxes(inside, 0, 1), mask.T
        carry, states = jax.lax.scan(
            step, (zeros, zeros) if start is None else start, rows, reverse=self.backwards
        )
        return jnp.swapaxes(states, 0, 1), carry


class AlignedSeq2Seq(nn.Module):
    """Encoder and decoder LSTM of `trunk.hidden_dim` cells; the trunk answers, given their states.

    encoder: "forward", or "both" ways.
    """

    trunk: FourierTrunk
    encoder: str = "both"
    num_labels: int = 0

    @property
    def traits(self) -> Traits:
        floats = self.trunk.floats_per_point + 16 * self.trunk.hidden_dim
        return Traits("joint", floats, max_points=MAX_SEQUENCE,
                      max_points_reason="the sequences of seq2seq")  # fmt: skip

    @nn.compact
    def __call__(self, x, time, *, history=None, label=None, mask=None, target=None) -> jax.Array:
        size, (num_sets, num_points, _) = self.trunk.hidden_dim, x.shape
        mask = jnp.ones((num_sets, num_points), bool) if mask is None else mask
        points = jnp.where(mask[..., None], x, 0)
        label = LabelEmbedding(self.num_labels, size, name="label")(label, num_sets)
        per_set = self.trunk.time_features(time)
        per_set = per_set if label is None else jnp.concatenate([per_set, label], axis=-1)
        per_set = jnp.broadcast_to(per_set[:, None], (num_sets, num_points, per_set.shape[-1]))
        features = jnp.concatenate([self.trunk.features(points), per_set], axis=-1)

        read, start = Lstm(size, name="encoder")(features, mask)
        told = features
        if self.encoder == "both":
            back, end = Lstm(size, backwards=True, name="encoder_back")(features, mask)
            told = jnp.concatenate([features, read, back], axis=-1)
            start = tuple(nn.Dense(size, name=f"start_{name}")(jnp.concatenate(pair, axis=-1))
                          for name, pair in zip("ch", zip(start, end, strict=True), strict=True))
        states, _ = Lstm(size, name="decoder")(told, mask, start)
        return self.trunk(points, time, per_point=states, per_set=label)
