"""An LSTM that reads the noisy points one after the other, and one that answers in their order.

    c, h = encoder(features(x_1), ..., features(x_N)),    F_1 .. F_N = decoder(c, h)

(arXiv 1409.3215.) Kept to show why it fails. The decoder is never shown the point it answers for:
what F_i knows of x_i has passed through the encoder's last state, 2 hidden_dim numbers for any
number of points. It must learn to store them all in order, starting from forget gates near 1/2
that keep the last few. It can for few points and stagnates for many: on a mixture of three
Gaussians (64 cells, 1,500 steps, noise of variance 1 as the target) the loss is 0.40 for sets of
2, where a network that denoises each point alone gets 0.37; 0.44 for 4, 0.69 for 8, and for 32
it stays at 1.00, that of the answer 0. Nor is a set a sequence: another order, another output.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax.models.embeddings import LabelEmbedding
from tiny_diffusion_jax.models.fourier_mlp import FourierTrunk


def forced_sets(num_sets: int, share: float) -> np.ndarray:
    """bool[num_sets], True for ceil(share num_sets) of them, evenly spread.

    Sets are independent draws, so a fixed choice is as good as a random one and needs no key.
    Evenly spread, for a batch's noise levels go up with the set's index (`draw_times`).
    """
    return np.diff(np.ceil(share * np.arange(num_sets + 1))) > 0


def _keep(there: jax.Array, new, old):
    """`new` where there is a point, else `old`: masked points pass by without a trace."""
    return jax.tree.map(lambda a, b: jnp.where(there[:, None], a, b), new, old)


class EncoderStep(nn.Module):
    """carry -> carry at the next point; carry (c, h) both f32[B, D]."""

    hidden_dim: int

    @nn.compact
    def __call__(self, carry, features, there):
        new, _ = nn.OptimizedLSTMCell(self.hidden_dim, name="lstm")(carry, features)
        return _keep(there, new, carry), ()


class DecoderStep(nn.Module):
    """((c, h), told) -> the same at the next point, and the output f32[B, 2].

    `told` f32[B, D] is the embedded previous answer: the target in forced sets, else the output.
    """

    hidden_dim: int

    @nn.compact
    def __call__(self, state, target, forced, there):
        carry, told = state
        carry, h = nn.OptimizedLSTMCell(self.hidden_dim, name="lstm")(carry, told)
        output = nn.Dense(2, name="to_output")(h)
        answer = jnp.where(forced[:, None], target, output)
        told = nn.Dense(self.hidden_dim, name="from_answer")(answer)
        return _keep(there, (carry, told), state), output


def _over_points(step, in_axes):
    """`step` scanned over the points, with the same weights at each."""
    return nn.scan(step, variable_broadcast="params", split_rngs={"params": False},
                   in_axes=in_axes, out_axes=1)  # fmt: skip


class Seq2Seq(nn.Module):
    """Encoder and decoder LSTM of `trunk.hidden_dim` cells; of `trunk` only the features are used.

    With `target` f32[B, N, 2] the share `teacher_forcing` of the sets is told the right answers so
    far; without it every set runs on its own outputs.
    """

    trunk: FourierTrunk
    teacher_forcing: float = 0.5
    num_labels: int = 0

    per_point = False
    history = ""
    latent_dim = 0
    max_points = 4096  # of a sequence

    @property
    def floats_per_point(self) -> int:
        """As the trunk's: its features are what takes the room."""
        return self.trunk.floats_per_point

    @nn.compact
    def __call__(self, x, time, *, history=None, label=None, mask=None, target=None) -> jax.Array:
        size = self.trunk.hidden_dim
        num_sets, num_points, _ = x.shape
        there = jnp.ones((num_sets, num_points), bool) if mask is None else mask
        points = jnp.where(there[..., None], x, 0)
        clock = self.trunk.time_features(time)
        named = LabelEmbedding(self.num_labels, size, name="label")(label, num_sets)
        clock = clock if named is None else jnp.concatenate([clock, named], axis=-1)
        clock = jnp.broadcast_to(clock[:, None], (num_sets, num_points, clock.shape[-1]))
        features = jnp.concatenate([self.trunk.features(points), clock], axis=-1)

        zeros = jnp.zeros((num_sets, size))
        encoder = _over_points(EncoderStep, in_axes=1)(size, name="encoder")
        carry, _ = encoder((zeros, zeros), features, there)

        forced = jnp.zeros(num_sets, bool)
        if target is not None:
            forced = jnp.asarray(forced_sets(num_sets, self.teacher_forcing))
            target = jnp.where(there[..., None], target, 0)
        start = self.param("start", nn.initializers.normal(1.0), (size,))
        start = jnp.broadcast_to(start, (num_sets, size))
        decoder = _over_points(DecoderStep, in_axes=(1, nn.broadcast, 1))(size, name="decoder")
        target = jnp.zeros_like(x) if target is None else target
        return decoder((carry, start), target, forced, there)[1]
