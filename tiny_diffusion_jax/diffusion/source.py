"""A source: a density that takes the place of the Gaussian noise, for flows from data to data.

    x_t = alpha_t x_0 + sigma_t x_1,    x_1 ~ source,    alpha_t = 1 - t/T, sigma_t = t/T

The velocity dx_t/d(t/T) = x_1 - x_0 of a pair is constant, and the network learns its mean given
x_t (flow matching, arXiv 2210.02747; from any source, arXiv 2302.00482). The pairs (x_0, x_1) may
be independent draws, or the optimal pairs of a batch (`pair_optimally`).
"""

from collections.abc import Callable

import flax.struct
import jax


@flax.struct.dataclass
class Source:
    """The density of x_T, in the units of the network."""

    draw: Callable[[jax.Array, int], jax.Array]  # (key, n) -> f32[n, D], a pytree
    std: jax.Array  # f32[], root of the mean square of a coordinate
    log_prob: Callable[[jax.Array], jax.Array] | None = None  # f32[..., D] -> f32[...]
