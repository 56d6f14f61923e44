"""Exact log-likelihood of points, by the probability-flow ODE.

In the coordinate z = x / alpha with noise nu = sigma / alpha, the ODE is dz/dnu = eps_hat, and
    log p(x_0) = log N(z_T; 0, prior) + integral of div_z eps_hat dnu,
(arXiv 2011.13456, equation 39).

The divergence of independent points is exact: points have few coordinates, so one forward
derivative along each of the D axes is cheap. If the points of a set depend on each other, the
divergence is the sum of v . J v over given directions v of whole sets. The sum is exact along all
N D axes. Along random directions with E[sum v v^T] = I the sum is an unbiased estimate
(Hutchinson; arXiv 1810.01367). The integral runs over log nu, from level 1 to level T, with
classical fourth-order Runge-Kutta steps. The same steps in reverse draw points from noise, and
give their log p.

With a source, alpha_T = 0 and z_T is infinite. The integral then ends at level T - 1, and one Euler
step of size 1/T along the velocity v = eps_hat - x_0_hat leads to the source:
    log p(x_{T-1}) = log p_source(x_T) + div v / T.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax.diffusion.process import Level, Process

# The classical method: stage i starts from z + PARTS_i h k_(i-1), and the step is
# h sum_i WEIGHTS_i k_i. A loop over the stages compiles three times as fast as four copies.
PARTS = np.array([0, 1 / 2, 1 / 2, 1], np.float32)
WEIGHTS = np.array([1, 2, 2, 1], np.float32) / 6


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
    first, last = _limits(process, blur)
    z, total = _integrate(process, denoise, points, first, last, num_steps, directions)
    return _log_last(process, denoise, z, last) + total


def sample_with_log_prob(
    process: Process, denoise: Callable, noise: jax.Array, num_steps: int
) -> tuple[jax.Array, jax.Array]:
    """Draw independent points f32[B, N, D] and their log p(x) f32[B, N], in one pass.

    noise: standard normal, or points of the source, f32[B, N, D]. The result is in the network's
    units, and has the density of `log_likelihood`.
    """
    first, last = _limits(process)
    if process.source is None:
        mean, variance = process.prior(1.0, jnp.exp(last))
        start = mean + jnp.sqrt(variance) * noise
        log_last = _log_prior(process, start, last)
    else:
        start, log_last = _leave_source(process, denoise, noise)
    points, total = _integrate(process, denoise, start, last, first, num_steps)
    return points, log_last - total


def _limits(process: Process, blur: float = 0.0) -> tuple[jax.Array, jax.Array]:
    """log nu of the first and of the last noise level of the integral."""
    log_nu = -0.5 * process.schedule.log_snr
    last = jnp.where(jnp.isfinite(log_nu[-1]), log_nu[-1], log_nu[-2])
    return jnp.maximum(log_nu[1], jnp.log(blur)), last


def _log_prior(process: Process, z: jax.Array, log_nu: jax.Array) -> jax.Array:
    """log N(z; prior) f32[B, N] of z_T = x_T / alpha_T f32[B, N, D]."""
    mean, variance = process.prior(1.0, jnp.exp(log_nu))
    log_norm = 0.5 * z.shape[-1] * jnp.log(2 * jnp.pi * variance)
    return -jnp.sum((z - mean) ** 2, -1) / (2 * variance) - log_norm


def _log_last(process: Process, denoise: Callable, z: jax.Array, log_nu: jax.Array) -> jax.Array:
    """log p f32[B, N] of z = x / alpha f32[B, N, D] at the last level of the integral."""
    if process.source is None:
        return _log_prior(process, z, log_nu)
    level = process.level(process.schedule.num_levels - 1)
    x = level.alpha * z
    v, slope = divergence(lambda x: _velocity(denoise, x, level), x)
    log_p = process.source.log_prob(x + level.alpha * v)  # alpha = 1 / T, the rest of the way
    return log_p + level.alpha * slope + x.shape[-1] * jnp.log(level.alpha)


def _leave_source(process: Process, denoise: Callable, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """z f32[B, N, D] at level T - 1 from points x of the source, and log p(z) f32[B, N]."""
    T = process.schedule.num_levels
    alpha = process.schedule.alpha[T - 1]
    v, slope = divergence(lambda x: _velocity(denoise, x, process.level(T)), x)
    log_p = process.source.log_prob(x) + alpha * slope
    return (x - alpha * v) / alpha, log_p + x.shape[-1] * jnp.log(alpha)


def _velocity(denoise: Callable, x: jax.Array, level: Level) -> jax.Array:
    """v = eps_hat - x_0_hat = (x - x_0_hat) / sigma, because alpha = 1 - sigma."""
    return (x - denoise(x, level)) / level.sigma


def _integrate(
    process: Process, denoise: Callable, z: jax.Array, start: jax.Array, end: jax.Array,
    num_steps: int, directions: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:  # fmt: skip
    """Integrate z f32[B, N, D] and its divergence f32[B, N] over log nu from `start` to `end`."""
    h = (end - start) / num_steps

    def rate(log_nu, z):
        """Return dz/dlog_nu = nu eps_hat and its divergence."""
        level = level_at(process, log_nu)

        def field(z):
            # nu eps_hat = z - x_0_hat
            return z - denoise(level.alpha * z, level)

        return divergence(field, z) if directions is None else divergence_along(
            field, z, directions)  # fmt: skip

    def step(i, carry):
        at, z = start + i * h, carry[0]

        def stage(slope, coefficients):
            part, weight = coefficients
            k, d = rate(at + part * h, z + part * h * slope)
            return k, (weight * k, weight * d)

        _, (k, d) = jax.lax.scan(stage, jnp.zeros_like(z), (PARTS, WEIGHTS))
        return z + h * k.sum(0), carry[1] + h * d.sum(0)

    return jax.lax.fori_loop(0, num_steps, step, (z, jnp.zeros(z.shape[:-1], z.dtype)))
