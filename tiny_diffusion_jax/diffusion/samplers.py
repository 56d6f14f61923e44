"""Reverse processes: from noise back to data, in any number of steps.

A sampler is a pair of pure functions
    init(x_T) -> memory                                 state of a multistep method
    step(denoise, memory, x_t, t, s, noise) -> (memory, x_s)    from level t to level s < t
`step` takes (alpha, sigma) of both levels, so it works between any two levels of any schedule.
To add a sampler, write `step` and register the sampler in `SAMPLERS`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax.diffusion.process import Level, Process, eps_from_x0, noise_ratio, posterior
from tiny_diffusion_jax.diffusion.schedules import Schedule
from tiny_diffusion_jax.point_sets import PointSets


class Sampler(NamedTuple):
    """A reverse process."""

    init: Callable
    step: Callable
    evaluations: int = 1  # network evaluations in a step (the last, to clean data, takes 1)
    stochastic: bool = False


def _no_memory(x_T):
    return ()


def ddim(eta: float) -> Sampler:
    """x_s = alpha_s x_0_hat + sqrt(sigma_s^2 - eta^2 var) eps_hat + eta sqrt(var) z.

    var = r sigma_s^2 is the posterior variance, equation (2) of process.py. eta = 0 is
    deterministic. eta = 1 is ancestral DDPM sampling with the posterior variance
    (arXiv 2010.02502, equations 12 and 16).
    """

    def step(denoise, memory, x_t, t, s, noise):
        x_0 = denoise(x_t, t)
        eps = eps_from_x0(t, x_t, x_0)
        std = eta * jnp.sqrt(noise_ratio(t, s)) * s.sigma
        # 1 - eta^2 r, written without the cancellation near r = 1
        kept = jnp.exp(t.log_snr - s.log_snr)  # 1 - r
        direction = jnp.sqrt(1 - eta**2 + eta**2 * kept) * s.sigma
        return memory, s.alpha * x_0 + direction * eps + std * noise

    return Sampler(_no_memory, step, stochastic=eta > 0)


def dpm_solver_pp_2m() -> Sampler:
    """x_s = (sigma_s / sigma_t) x_t + alpha_s (1 - e^-h) D, h = lambda_s - lambda_t.

    lambda = log(alpha / sigma), D = x_0_hat + (h / 2 h_prev) (x_0_hat - x_0_hat_prev). The
    method is second order with one evaluation per step. The first step, and the last step to clean
    data, are first order (arXiv 2211.01095, algorithm 2).
    """

    def step(denoise, memory, x_t, t, s, noise):
        memory, d = _extrapolate(denoise, memory, x_t, t, s)
        return memory, (s.sigma / t.sigma) * x_t + s.alpha * noise_ratio_half(t, s) * d

    return Sampler(_no_estimate, step)


def sde_dpm_solver_pp_2m() -> Sampler:
    """x_s = (sigma_s / sigma_t) e^-h x_t + alpha_s r D + sigma_s sqrt(r) z, r = 1 - e^-2h.

    This is the ancestral sampler with the D of DPM-Solver++(2M) in place of x_0_hat, so the method
    is second order. The fresh noise corrects errors of earlier steps, which a deterministic
    trajectory keeps (arXiv 2211.01095, section 5, SDE-DPM-Solver++(2M)). With D = x_0_hat a step is
    equation (2) of process.py.
    """

    def step(denoise, memory, x_t, t, s, noise):
        memory, d = _extrapolate(denoise, memory, x_t, t, s)
        mean, variance = posterior(t, s, x_t, d)
        return memory, mean + jnp.sqrt(variance) * noise

    return Sampler(_no_estimate, step, stochastic=True)


def _no_estimate(x_T):
    return jnp.zeros_like(x_T), jnp.zeros((), x_T.dtype)  # x_0_hat_prev, 1 / h_prev (0: none yet)


def _extrapolate(denoise, memory, x_t, t, s):
    """Return the next memory and D of `dpm_solver_pp_2m`, x_0_hat extrapolated by half a step."""
    previous, inverse_h = memory
    x_0 = denoise(x_t, t)
    h = 0.5 * (s.log_snr - t.log_snr)
    weight = jnp.where(jnp.isfinite(h), 0.5 * h * inverse_h, 0.0)
    return (x_0, 1.0 / h), x_0 + weight * (x_0 - previous)


def noise_ratio_half(t: Level, s: Level) -> jax.Array:
    """1 - e^(lambda_t - lambda_s), lambda = log_snr / 2."""
    return -jnp.expm1(0.5 * (t.log_snr - s.log_snr))


def heun() -> Sampler:
    """Second-order steps on the probability-flow ODE, written in phi = arctan(sigma / alpha).

    y = x / sqrt(alpha^2 + sigma^2) = cos(phi) x_0_hat + sin(phi) eps_hat,    dy/dphi = v_hat,
    v_hat = cos(phi) eps_hat - sin(phi) x_0_hat. This is algorithm 1 of EDM (arXiv 2206.00364) with
    phi in place of sigma. phi stays at most pi/2, while sigma / alpha reaches 2e4 (cosine) or
    infinity (flow). Data of density N(0, I) have constant trajectories y. The step to clean data is
    an Euler step, which ends in x_0_hat.
    """

    def v_hat(level, x, x_0):
        eps = eps_from_x0(level, x, x_0)
        return (level.alpha * eps - level.sigma * x_0) / jnp.hypot(level.alpha, level.sigma)

    def step(denoise, memory, x_t, t, s, noise):
        x_0 = denoise(x_t, t)
        euler = s.alpha * x_0 + s.sigma * eps_from_x0(t, x_t, x_0)

        def correct(euler):
            v = 0.5 * (v_hat(t, x_t, x_0) + v_hat(s, euler, denoise(euler, s)))
            dphi = jnp.arctan2(s.sigma, s.alpha) - jnp.arctan2(t.sigma, t.alpha)
            return jnp.hypot(s.alpha, s.sigma) * (x_t / jnp.hypot(t.alpha, t.sigma) + dphi * v)

        return memory, jax.lax.cond(s.sigma > 0, correct, lambda euler: euler, euler)

    return Sampler(_no_memory, step, evaluations=2)


def consistency() -> Sampler:
    """x_s = alpha_s f(x_t, t) + sigma_s z, where f(x_t, t) is the end of the trajectory of x_t.

    The network must be distilled to predict ends f (training/trajectories.py) in place of the mean
    E[x_0 | x_t]. One step from noise then draws from the density, and every further step repeats
    the jump from a lower noise level, with fresh noise (arXiv 2303.01469, algorithm 1).
    """

    def step(denoise, memory, x_t, t, s, noise):
        return memory, s.alpha * denoise(x_t, t) + s.sigma * noise

    return Sampler(_no_memory, step, stochastic=True)


# name -> factory with eta, the only option of a sampler
SAMPLERS = {
    "ancestral": lambda eta: ddim(1.0),
    "ddim": ddim,
    "dpm++2m": lambda eta: dpm_solver_pp_2m(),
    "sde-dpm++2m": lambda eta: sde_dpm_solver_pp_2m(),
    "heun": lambda eta: heun(),
    "consistency": lambda eta: consistency(),
}


def make_sampler(name: str, eta: float = 0.0) -> Sampler:
    """Make the sampler `name`; only DDIM reads eta in [0, 1]."""
    return SAMPLERS[name](eta)


def time_grid(
    schedule: Schedule, num_steps: int, spacing: str = "time", sigma_min: float = 0.0
) -> np.ndarray:
    """Levels T = t_0 > t_1 > ... > t_n = 0 to visit, i32[n + 1], n <= num_steps.

    Spacing "time" is even in t. Spacing "log_snr" is even in log SNR, down to the lowest level
    with noise sigma / alpha of at least sigma_min, and then jumps to the data. All levels are
    levels of the schedule. If the grid is finer than the schedule, it visits each level once, so
    n < num_steps. num_steps is in 1..T.
    """
    T = schedule.num_levels
    if spacing == "time" or num_steps == 1:
        grid = np.round(np.linspace(T, 0, num_steps + 1))
    else:
        # alpha_T = 0 gives -inf, so even spacing starts one level later.
        log_snr = np.asarray(schedule.log_snr, np.float64)
        first = T if np.isfinite(log_snr[T]) else T - 1
        last = int(np.argmax(np.exp(-log_snr[1 : first + 1] / 2) >= sigma_min)) + 1
        targets = np.linspace(log_snr[first], log_snr[last], num_steps)
        levels = np.arange(1, first + 1)
        grid = np.round(np.interp(-targets, -log_snr[levels], levels))
        grid = np.concatenate([[T], grid[1:], [0]])
    return np.unique(grid.astype(np.int32))[::-1].copy()


def sample(
    process: Process,
    sampler: Sampler,
    denoise: Callable,
    grid: jax.Array,
    keys: jax.Array,
    shape: tuple[int, int],
    keep_trajectory: bool = False,
    known: PointSets | None = None,
) -> jax.Array:
    """Draw one set per key: run the reverse process along `grid`.

    denoise(x_t[B, N, D], level) -> x_0_hat; `shape` is (N, D). Returns the sets f32[B, N, D], or
    with `keep_trajectory` the trajectories f32[len(grid), B, N, D], noise first. A set depends
    only on its key, so a batch equals its sets drawn one by one.

    `known` holds fixed points f32[B, N, D] where its mask is True. Every step replaces these points
    of x_t by noised copies of the fixed points, with fresh noise. The other points then complete
    the set (arXiv 2011.13456, appendix I.2).
    """

    def normal(index):
        # fold_in gives one draw per set and step, so set b has the same noise in any batch.
        draw = lambda key: jax.random.normal(jax.random.fold_in(key, index), shape)
        return jax.vmap(draw)(keys)

    def keep(x, level, index):
        if known is None:
            return x
        x_known = level.alpha * known.points + level.sigma * normal(len(grid) + index)
        return jnp.where(known.mask[..., None], x_known, x)

    def step(carry, ts):
        x_t, memory = carry
        t, s, index = ts
        noise = normal(index) if sampler.stochastic else jnp.zeros(())
        memory, x_s = sampler.step(
            denoise, memory, x_t, process.level(t), process.level(s), noise
        )
        x_s = keep(x_s, process.level(s), index)
        return (x_s, memory), x_s if keep_trajectory else None

    first = lambda key: process.draw_last(jax.random.fold_in(key, 0), shape)
    x_T = keep(jax.vmap(first)(keys), process.level(grid[0]), 0)
    steps = jnp.arange(1, len(grid))
    (x_0, _), path = jax.lax.scan(step, (x_T, sampler.init(x_T)), (grid[:-1], grid[1:], steps))
    return jnp.concatenate([x_T[None], path]) if keep_trajectory else x_0
