"""A batch of training: all random values of a step, and what determines their shapes."""

from typing import Any, NamedTuple

import jax

from tiny_diffusion_jax.point_sets import Conditioning


class Batch(NamedTuple):
    """All random values of a step. Fields that a strategy does not use are None."""

    x_0: jax.Array  # f32[B, N, D], normalised
    eps: jax.Array  # f32[B, N, D]; for a causal model f32[B, N, K, D]
    t: jax.Array  # i32[B]; for a causal model i32[B, N, K], K levels of each point
    conditioning: Conditioning
    latent_eps: jax.Array | None = None  # f32[B, 1, L], noise for latent diffusion
    latent_blur: jax.Array | None = None  # f32[B, 1, L], noise on the decoder's latent
    # f32[B, N], weight of each point in the loss of a causal model; None: all weigh 1
    weight: jax.Array | None = None
    forced: jax.Array | None = None  # bool[B], the sets whose decoder reads the target
    mean: jax.Array | None = None  # f32[B, N, D], target of gradients (posterior_mean.py)


class BatchSpec(NamedTuple):
    """Shapes and probabilities of a batch, the hashable argument of `draw_batches`."""

    strategy: Any  # a `Strategy`
    num_sets: int
    num_points: int
    min_points: int = 0  # 0: all sets have num_points
    min_history: int = 1
    max_history: int = 0
    history_drop: float = 0.0
    label_drop: float = 0.0
    num_levels: int = 1  # K, noise levels of each point of a causal model
    augment: Any = None  # an `Augment` of training/augment.py
