"""Exact log-likelihood of points, by the probability-flow ODE.

In the coordinate z = x / alpha with noise nu = sigma / alpha, the ODE is dz/dnu = eps_hat, and
    log p(x_0) = log N(z_T; 0, prior) + integral of div_z eps_hat dnu,
(arXiv 2011.13456, equation 39).

The divergence of independent points is exact: points have few coordinates, so one forward
derivative along each of the D axes is cheap. If the points of a set depend on each other, the
divergence is the sum of v . J v over given directions v of whole sets. The sum is exact along all
N D axes. Along random directions with E[sum v v^T] = I the sum is an unbiased estimate
(Hutchinson; arXiv 1810.01367). The integral runs over log nu, from level 1 to level T, with
classical fourth-order Runge-Kutta steps.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from tiny_diffusion_jax.diffusion.process import Level, Process


def divergence(field: Callable, z: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return field(z) f32[B, N, D] and the divergence f32[B, N] for independent points."""
    value, derivative = jax.linearize(field, z)  # one evaluation serves all directions
    along = lambda d: derivative(jnp.zeros_like(z).at[..., d].set(1.0))[..., d]
    return value, sum(along(d) for d in range(z.shape[-1]))


def divergence_along(field: Callable, z: jax.Array, directions: jax.Array):
    """Return field(z) f32[B, N, D] and the share f32[B, N] of each point in the divergence.

    directions: f32[P, B, N, D].
    """
    value, derivative = jax.linearize(field, z)
    along = jax.lax.map(lambda v: (v * derivative(v)).sum(-1), directions)
    return value, along.sum(0)


def level_at(process: Process, log_nu: jax.Array) -> Level:
    """Return the level with sigma / alpha = exp(log_nu), interpolated between schedule levels.

    The interpolation is linear in log nu, because neighbouring levels are nearly evenly spaced
    on this scale.
    """
    table = -0.5 * process.schedule.log_snr[1:]
    T = process.schedule.num_levels
    time = jnp.interp(log_nu, table, jnp.arange(1, T + 1) / T)
    alpha = jnp.interp(time * T, jnp.arange(T + 1.0), process.schedule.alpha)
    return Level(time, alpha, alpha * jnp.exp(log_nu))


def log_likelihood(
    process: Process, denoise: Callable, points: jax.Array, num_steps: int = 100,
    directions: jax.Array | None = None, blur: float = 0.0,
) -> jax.Array:  # fmt: skip
    """Log-likelihood log p(x) in nats per point, f32[B, N].

    The points f32[B, N, D] are in the network's units. The density is the density of the model at
    its smallest noise, level 1. If `blur` is larger than this noise, the density is the density of
    x + blur eps. If `denoise` lets the points of a set interact, pass `directions`
    f32[P, B, N, D] for the divergence. The log-likelihood of the set is then the sum over its
    points. If alpha_T = 0, the integral stops one level earlier.
    """
    log_nu = -0.5 * process.schedule.log_snr
    last = jnp.where(jnp.isfinite(log_nu[-1]), log_nu[-1], log_nu[-2])
    first = jnp.maximum(log_nu[1], jnp.log(blur))
    h = (last - first) / num_steps

    def rate(log_nu, z):
        """Return dz/dlog_nu = nu eps_hat and its divergence."""
        level = level_at(process, log_nu)

        def field(z):
            # nu eps_hat = z - x_0_hat
            return z - denoise(level.alpha * z, level)

        return divergence(field, z) if directions is None else divergence_along(
            field, z, directions)  # fmt: skip

    def step(carry, i):
        z, total = carry
        at = first + i * h
        k1, d1 = rate(at, z)
        k2, d2 = rate(at + h / 2, z + h / 2 * k1)
        k3, d3 = rate(at + h / 2, z + h / 2 * k2)
        k4, d4 = rate(at + h, z + h * k3)
        z = z + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return (z, total + h / 6 * (d1 + 2 * d2 + 2 * d3 + d4)), None

    start = points, jnp.zeros(points.shape[:-1], points.dtype)
    (z, total), _ = jax.lax.scan(step, start, jnp.arange(num_steps))
    mean, variance = process.prior(1.0, jnp.exp(last))  # of z_T = x_T / alpha_T
    log_norm = 0.5 * points.shape[-1] * jnp.log(2 * jnp.pi * variance)
    prior = -jnp.sum((z - mean) ** 2, -1) / (2 * variance) - log_norm
    return prior + total
