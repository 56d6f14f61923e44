"""The three denoisers of the student project, kept to show why none of them separates members.

One change to each model makes it separate members. `attention_v1_same_set` and
`attention_v2_same_set` are the two attentions with `history_source="same_set"`, and
models/aligned.py has the LSTM.

Attention V1 and V2 attend to a history that mixes all members:

    context = tanh(softmax(q k^T / sqrt(d)) v),    F = trunk([features(x), features(t), context])

k and v come from the clean points of the previous batch. These points are drawn from the mixture of
all members, so the history is independent of the current set. The best denoiser given x_t and the
history therefore equals the best denoiser given x_t alone, and generates superpositions.

Seq2seq has an encoder LSTM that reads the noisy points one after the other, and a decoder LSTM that
computes the outputs in the same order (arXiv 1409.3215):

    c, h = encoder(features(x_1), ..., features(x_N)),    F_1 .. F_N = decoder(c, h)

The decoder never reads the point that it denoises. All information of F_i about x_i has passed
through the last state of the encoder, which has 2 hidden_dim numbers for any number of points. This
state can store a few points, so training stagnates for many points (docs/student.md has losses).
The outputs also depend on the order of the points, although a set has no order.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax.models.fourier_mlp import FourierTrunk
from tiny_diffusion_jax.models.layers import SetEmbedding, attend, read_history
from tiny_diffusion_jax.models.traits import Traits
from tiny_diffusion_jax.point_sets import NO_CONDITIONING, Conditioning, PointSets

MAX_SEQUENCE = 4096  # points


# ---------------------------------------------------------------- attention to the last batch


def cycle(points: jax.Array, mask: jax.Array, index: jax.Array) -> jax.Array:
    """Points f32[B, N, D], number `index` mod m among the m points where `mask` is True.

    points f32[B, M, D], mask bool[B, M], index i32[B, N]. If m = 0, the result is any point.
    """
    first = jnp.argsort(~mask, axis=1, stable=True)  # unmasked points first
    row = index % jnp.maximum(mask.sum(1), 1)[:, None]
    return jnp.take_along_axis(points, jnp.take_along_axis(first, row, axis=1)[..., None], axis=1)


class Context(nn.Module):
    """tanh(softmax(q k^T / sqrt(d)) v) f32[B, N, D], one head; 0 for an empty history.

    q comes from `query_features` f32[B, N, C]. k and v come from `memory` f32[B, M, C'] where
    `mask` bool[B, M] is True.
    """

    size: int

    @nn.compact
    def __call__(self, query_features, memory: jax.Array, mask: jax.Array) -> jax.Array:
        q = nn.Dense(self.size, name="query")(query_features)
        k, v = (nn.Dense(self.size, name=name)(memory) for name in ("key", "value"))
        read, weights = attend(q, k, v, 1, mask)
        # The softmax gives all points of an empty history the same weight, so replace it by 0.
        self.sow("intermediates", "attention", jnp.where(mask[:, None, None], weights, 0))
        return jnp.tanh(jnp.where(mask.any(1)[:, None, None], read, 0))


class _Attention(nn.Module):
    """Attention that both versions share; subclasses define the queries."""

    trunk: FourierTrunk
    num_labels: int = 0
    counts: bool = False
    # See `Traits`. Points of the same set say which member the set comes from.
    history_source: str = "previous_batch"

    @property
    def traits(self) -> Traits:
        size = self.trunk.hidden_dim
        return Traits("autoregressive", self.trunk.floats_per_point + 2 * size,
                      floats_per_history_point=2, history_source=self.history_source)  # fmt: skip

    def query_features(self, x, time, mask, history, history_mask) -> jax.Array:
        """Features f32[B, N, C] from which the queries are computed."""
        raise NotImplementedError

    @nn.compact
    def __call__(self, x, time, conditioning: Conditioning = NO_CONDITIONING) -> jax.Array:
        size = self.trunk.hidden_dim
        history = read_history(conditioning.history, len(x), x.shape[-1])
        queries = self.query_features(x, time, conditioning.mask, *history)
        points, history_mask = history
        context = Context(size, name="context")(queries, self.trunk.features(points), history_mask)
        embed = SetEmbedding(self.num_labels, size, self.counts, name="label")
        return self.trunk(x, time, per_point=context, per_set=embed(conditioning, len(x)))


class AttentionV1(_Attention):
    """Take q, k and v from the history: point i gets the output of history point i mod M.

    The context does not depend on the noisy point. It is a label by position in the list, without
    information about the point. The order of both lists therefore matters, although it should not.
    """

    def query_features(self, x, time, mask, history, history_mask) -> jax.Array:
        mask = jnp.ones(x.shape[:2], bool) if mask is None else mask
        index = jnp.maximum(jnp.cumsum(mask, axis=1) - 1, 0)  # masked points are not counted
        return self.trunk.features(cycle(history, history_mask, index))


class AttentionV2(_Attention):
    """Take q from the noisy point and its noise level, k and v from the history."""

    def query_features(self, x, time, mask, history, history_mask) -> jax.Array:
        time = self.trunk.time_features(time)[:, None]
        time = jnp.broadcast_to(time, (*x.shape[:2], time.shape[-1]))
        return jnp.concatenate([self.trunk.features(x), time], axis=-1)


# ---------------------------------------------------------------- sequence to sequence


def forced_sets(num_sets: int, share: float) -> np.ndarray:
    """bool[num_sets], True for ceil(share num_sets) of the sets, evenly spread.

    Sets are independent draws, so a fixed choice is as good as a random one and needs no key. The
    noise levels of a batch rise with the index of the set (`draw_times`), so an even spread covers
    all levels.
    """
    return np.diff(np.ceil(share * np.arange(num_sets + 1))) > 0


def _keep(mask: jax.Array, new, old):
    """`new` where `mask` is True, else `old`, so that masked points leave the state unchanged."""
    return jax.tree.map(lambda a, b: jnp.where(mask[:, None], a, b), new, old)


class EncoderStep(nn.Module):
    """Update carry (c, h), both f32[B, D], with the next point."""

    hidden_dim: int

    @nn.compact
    def __call__(self, carry, features, mask):
        new, _ = nn.OptimizedLSTMCell(self.hidden_dim, name="lstm")(carry, features)
        return _keep(mask, new, carry), ()


class DecoderStep(nn.Module):
    """Map ((c, h), previous) to the same at the next point, and return the output f32[B, D].

    `previous` f32[B, C] is the embedding of the target in forced sets, and of the output in other
    sets.
    """

    hidden_dim: int

    @nn.compact
    def __call__(self, state, target, forced, mask):
        carry, previous = state
        carry, h = nn.OptimizedLSTMCell(self.hidden_dim, name="lstm")(carry, previous)
        output = nn.Dense(target.shape[-1], name="to_output")(h)
        answer = jnp.where(forced[:, None], target, output)
        previous = nn.Dense(self.hidden_dim, name="from_answer")(answer)
        return _keep(mask, (carry, previous), state), output


def _over_points(step, in_axes):
    """Scan `step` over the points, with the same weights at each point."""
    return nn.scan(step, variable_broadcast="params", split_rngs={"params": False},
                   in_axes=in_axes, out_axes=1)  # fmt: skip


class Seq2Seq(nn.Module):
    """Encoder and decoder LSTM of `trunk.hidden_dim` cells; only the features of `trunk` are used.

    In sets where `forced` bool[B] is True, the decoder reads the correct outputs so far, `target`
    f32[B, N, D]. In all other sets the decoder reads its previous outputs. In training a share
    `teacher_forcing` of the sets is forced, see `forced_sets`.
    """

    trunk: FourierTrunk
    teacher_forcing: float = 0.5
    num_labels: int = 0
    counts: bool = False

    @property
    def traits(self) -> Traits:
        # The features of the trunk use most of the memory, so the number is the trunk's.
        return Traits("joint", self.trunk.floats_per_point, max_points=MAX_SEQUENCE,
                      max_points_reason="the sequences of seq2seq")  # fmt: skip

    @nn.compact
    def __call__(
        self, x, time, conditioning: Conditioning = NO_CONDITIONING, target=None, forced=None
    ) -> jax.Array:
        size = self.trunk.hidden_dim
        num_sets, num_points, dim = x.shape
        points, mask = read_history(PointSets(x, conditioning.mask), num_sets, dim)
        per_set = self.trunk.time_features(time)
        embed = SetEmbedding(self.num_labels, size, self.counts, name="label")
        embedding = embed(conditioning, num_sets)
        if embedding is not None:
            per_set = jnp.concatenate([per_set, embedding], axis=-1)
        per_set = jnp.broadcast_to(per_set[:, None], (num_sets, num_points, per_set.shape[-1]))
        features = jnp.concatenate([self.trunk.features(points), per_set], axis=-1)

        zeros = jnp.zeros((num_sets, size))
        encoder = _over_points(EncoderStep, in_axes=1)(size, name="encoder")
        carry, _ = encoder((zeros, zeros), features, mask)

        forced = jnp.zeros(num_sets, bool) if forced is None else forced
        target = jnp.zeros_like(x) if target is None else jnp.where(mask[..., None], target, 0)
        start = self.param("start", nn.initializers.normal(1.0), (size,))
        start = jnp.broadcast_to(start, (num_sets, size))
        decoder = _over_points(DecoderStep, in_axes=(1, nn.broadcast, 1))(size, name="decoder")
        return decoder((carry, start), target, forced, mask)[1]
