"""The mean of x_0 given x_t, estimated from other points of a batch: a target of low variance."""

import math

import jax
import jax.numpy as jnp

from tiny_diffusion_jax.diffusion.process import Level, over_points


def group_sizes(num: int, most: int) -> tuple[int, int]:
    """Number of groups, and points in each, of `num` points in equal groups of at most `most`."""
    groups = math.ceil(num / most)
    return groups, math.ceil(num / groups)


def posterior_mean(level: Level, x_0: jax.Array, eps: jax.Array, most: int) -> jax.Array:
    """Estimate E[x_0 | x_t] of each point of a batch x_0 f32[B, N, D] of one density, f32[B, N, D].

        sum_j w_j x_0^j / sum_j w_j,    w_j = exp(-|x_t - alpha_t x_0^j|^2 / (2 sigma_t^2))

    j runs over a group of at most `most` points of the batch, which includes the point itself. Its
    own x_0 has the same mean given x_t, but a higher variance. A self-normalised average is biased;
    the bias vanishes as the groups grow (arXiv 2302.00670, equation 6 and section 4). level: of
    each set, [B].
    """
    num = x_0[..., 0].size
    groups, size = group_sizes(num, most)

    def grouped(values: jax.Array) -> jax.Array:
        values = jnp.broadcast_to(values, (*x_0.shape[:2], values.shape[-1])).reshape(num, -1)
        return jnp.pad(values, ((0, groups * size - num), (0, 0))).reshape(groups, size, -1)

    def of_group(group) -> jax.Array:
        x_0, eps, scale, exists = group
        # (x_t - alpha_t x_0^j) / sigma_t, from differences: squares would lose digits at low noise
        scaled = [scale * (a[:, None] - a) + e[:, None] for a, e in zip(x_0.T, eps.T, strict=True)]
        log_weight = -0.5 * sum(a**2 for a in scaled)
        weight = jax.nn.softmax(jnp.where(exists[:, 0], log_weight, -jnp.inf), axis=-1)
        return jnp.matmul(weight, x_0, precision=jax.lax.Precision.HIGHEST)

    parts = x_0, eps, over_points(level.alpha / level.sigma), jnp.ones((1, 1, 1), bool)
    means = jax.lax.map(of_group, tuple(map(grouped, parts)))
    return means.reshape(-1, x_0.shape[-1])[:num].reshape(x_0.shape)
