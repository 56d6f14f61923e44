"""The diffusion process: noising, its posterior, what the network predicts, and the loss.

    q(x_t | x_0) = N(alpha_t x_0, sigma_t^2 I)                                              (1)
    q(x_s | x_t, x_0) = N(mean, var I) for s < t, with r = 1 - SNR_t / SNR_s,               (2)
        mean = (1 - r) (alpha_s / alpha_t) x_t + r alpha_s x_0,    var = r sigma_s^2
    x_0_hat = c_skip x_t + c_out F(c_in x_t, t)                                             (3)

(2) is VDM (arXiv 2107.00630, appendix A) rewritten with one ratio. (3) is EDM (arXiv 2206.00364,
equation 7) for any (alpha, sigma). The three coefficients select eps-, x0- or v-prediction.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp

from tiny_diffusion_jax.diffusion.schedules import Schedule
from tiny_diffusion_jax.diffusion.source import Source
from tiny_diffusion_jax.point_sets import NO_CONDITIONING, Conditioning

MIN_SNR_GAMMA = 5.0  # the value of arXiv 2303.09556


def over_points(a: jax.Array) -> jax.Array:
    """Add axes to an array [B] or [B, N], so that it broadcasts against points [B, N, D]."""
    return a.reshape(*a.shape, *[1] * (3 - a.ndim))


class Level(NamedTuple):
    """One noise level, or an array of them."""

    time: jax.Array  # t / T in [0, 1], the input of the network
    alpha: jax.Array
    sigma: jax.Array

    @property
    def log_snr(self) -> jax.Array:
        return 2.0 * (jnp.log(self.alpha) - jnp.log(self.sigma))

    def expand(self) -> "Level":
        """Add two axes, so that a level per set broadcasts against points [B, N, D]."""
        return Level(*(a[..., None, None] for a in self))


class Coefficients(NamedTuple):
    """x_0_hat = c_skip x_t + c_out F(c_in x_t, t), equation (3)."""

    c_in: jax.Array
    c_skip: jax.Array
    c_out: jax.Array


def _eps(level: Level, sigma_data: float) -> Coefficients:
    """F = eps: x_0_hat = (x_t - sigma F) / alpha."""
    return Coefficients(jnp.ones_like(level.alpha), 1 / level.alpha, -level.sigma / level.alpha)


def _x0(level: Level, sigma_data: float) -> Coefficients:
    """F = x_0."""
    one = jnp.ones_like(level.alpha)
    return Coefficients(one, 0 * one, one)


def _v(level: Level, sigma_data: float) -> Coefficients:
    """F = v = alpha eps - sigma x_0 (arXiv 2202.00512): x_0_hat = (alpha x_t - sigma F) / norm2."""
    norm2 = level.alpha**2 + level.sigma**2
    return Coefficients(jnp.ones_like(norm2), level.alpha / norm2, -level.sigma / norm2)


def _edm(level: Level, sigma_data: float) -> Coefficients:
    """Give F an input and a target of unit variance at every level (EDM, table 1).

    With alpha^2 + sigma^2 = 1 and sigma_data = 1 this is exactly -v.
    """
    norm2 = (level.alpha * sigma_data) ** 2 + level.sigma**2
    norm = jnp.sqrt(norm2)
    return Coefficients(
        1 / norm, level.alpha * sigma_data**2 / norm2, level.sigma * sigma_data / norm
    )


PREDICTIONS = {"eps": _eps, "x0": _x0, "v": _v, "edm": _edm}


def _likelihood_weight(process: "Process", t: jax.Array) -> jax.Array:
    """T (SNR_{t-1} - SNR_t) / 2: the mean over t is the variational bound (VDM, equation 13).

    Level 1 has SNR_1 in place of the difference, because SNR_0 is infinite. This is the share of
    level 1 in the reconstruction term.
    """
    snr = process.schedule.snr
    gap = jnp.where(t > 1, snr[jnp.maximum(t - 1, 1)] - snr[t], snr[t])
    return 0.5 * process.schedule.num_levels * gap


# Weight of |x_0_hat - x_0|^2 at level t; "simple" is the error of the network output F.
WEIGHTINGS = {
    "simple": lambda process, t: process.coefficients(process.level(t)).c_out ** -2,
    "min_snr": lambda process, t: jnp.minimum(process.schedule.snr[t], MIN_SNR_GAMMA),
    "likelihood": _likelihood_weight,
}


@flax.struct.dataclass
class Process:
    """A schedule with the prediction target of the network and the weighting of its loss."""

    schedule: Schedule
    prediction: str = flax.struct.field(pytree_node=False, default="edm")
    weighting: str = flax.struct.field(pytree_node=False, default="simple")
    # Standard deviation of the data, and mean of each coordinate, in the units of the network.
    sigma_data: float = flax.struct.field(pytree_node=False, default=1.0)
    data_mean: jax.Array | float = 0.0  # f32[D]
    source: Source | None = None  # density of x_T; None: Gaussian noise
    # i32[T + 1]: training replaces each uniform level t by law[t]; None: uniform levels
    law: jax.Array | None = None
    # pair(x_0, x_1) permutes x_1 f32[S, n, D] to pair it with x_0; None: independent pairs
    pair: Callable | None = flax.struct.field(pytree_node=False, default=None)
    # Points that a training target averages, see posterior_mean.py; 0: the target is x_0.
    references: int = flax.struct.field(pytree_node=False, default=0)

    def level(self, t: jax.Array) -> Level:
        """Return the levels of integer index t in 0..T."""
        time = jnp.asarray(t, jnp.float32) / self.schedule.num_levels
        return Level(time, self.schedule.alpha[t], self.schedule.sigma[t])

    def coefficients(self, level: Level) -> Coefficients:
        """(c_in, c_skip, c_out) of equation (3).

        A source of standard deviation s is noise of unit variance at the level s sigma.
        """
        if self.source is not None:
            level = level._replace(sigma=level.sigma * self.source.std)
        return PREDICTIONS[self.prediction](level, self.sigma_data)

    def prior(self, alpha: jax.Array, sigma: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean f32[D] and variance f32[] of x = alpha x_0 + sigma eps, over data and noise."""
        return alpha * self.data_mean, (alpha * self.sigma_data) ** 2 + sigma**2

    def draw_noise(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Draw eps, or points of the source in its place, f32[..., N, D] of this shape."""
        if self.source is None:
            return jax.random.normal(key, shape)
        return self.source.draw(key, math.prod(shape[:-1])).reshape(shape)

    def draw_last(self, key: jax.Array, shape: tuple[int, int]) -> jax.Array:
        """Draw x_T f32[N, D], shape = (N, D): points of the source, or else Gaussian noise."""
        noise = self.draw_noise(key, shape)
        if self.source is not None:
            return noise
        mean, variance = self.prior(self.schedule.alpha[-1], self.schedule.sigma[-1])
        return mean + jnp.sqrt(variance) * noise

    def of_latents(self) -> "Process":
        """Return the process for latents, which have mean 0 and variance 1."""
        return self.replace(sigma_data=1.0, data_mean=0.0)


def make_process(
    schedule: Schedule, prediction: str = "edm", weighting: str = "simple",
    sigma_data: float = 1.0, data_mean: jax.Array | float = 0.0, source: Source | None = None,
    law: jax.Array | None = None, pair: Callable | None = None, references: int = 0,
) -> Process:  # fmt: skip
    """Make a `Process` for data of the given mean and standard deviation.

    A source needs the schedule `flow`, which has alpha_T = 0: x_T is then a point of the source.

    Do not combine "eps" with a schedule that ends in pure noise. There alpha_T = 0, so
    x_0_hat = (x_T - sigma_T eps) / alpha_T does not exist.
    """
    return Process(schedule, prediction, weighting, float(sigma_data), data_mean, source, law, pair,
                   references)  # fmt: skip


def add_noise(level: Level, x_0: jax.Array, eps: jax.Array) -> jax.Array:
    """x_t = alpha_t x_0 + sigma_t eps, equation (1)."""
    return level.alpha * x_0 + level.sigma * eps


def noise_ratio(t: Level, s: Level) -> jax.Array:
    """r = 1 - SNR_t / SNR_s in [0, 1], the share of x_s that x_t does not determine; s < t."""
    return -jnp.expm1(t.log_snr - s.log_snr)


def posterior(t: Level, s: Level, x_t: jax.Array, x_0: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and variance of q(x_s | x_t, x_0), s < t, equation (2).

    (1 - r) alpha_s / alpha_t is written alpha_t sigma_s^2 / (alpha_s sigma_t^2), which is also
    valid at alpha_t = 0.
    """
    r = noise_ratio(t, s)
    weight = (t.alpha / s.alpha) * (s.sigma / t.sigma) ** 2
    return weight * x_t + r * s.alpha * x_0, r * s.sigma**2


def eps_from_x0(level: Level, x_t: jax.Array, x_0: jax.Array) -> jax.Array:
    """eps = (x_t - alpha_t x_0) / sigma_t."""
    return (x_t - level.alpha * x_0) / level.sigma


def make_denoise(
    process: Process, apply: Callable, params, conditioning: Conditioning = NO_CONDITIONING,
    guidance_scale: float = 1.0, unconditional: Conditioning | None = None,
) -> Callable:  # fmt: skip
    """Make the denoiser `denoise(x_t[B, N, D], level) -> x_0_hat[B, N, D]` of a trained network.

    `level` holds scalars (all sets at one level) or arrays [B]. The network is called as
    `apply(params, c_in x_t, time, conditioning)`. With a second conditioning, `unconditional`, the
    denoiser uses classifier-free guidance:
        F = F_unconditional + guidance_scale (F_conditional - F_unconditional).
    A scale of 1 is the conditional model. The scale is 1 + w in terms of the w of
    arXiv 2207.12598, equation 6.
    """
    def denoise(x_t: jax.Array, level: Level) -> jax.Array:
        level = Level(*(jnp.broadcast_to(a, x_t.shape[:1]) for a in level))
        c = Coefficients(*map(over_points, process.coefficients(level)))
        output = apply(params, c.c_in * x_t, level.time, conditioning)
        if unconditional is not None:
            free = apply(params, c.c_in * x_t, level.time, unconditional)
            output = free + guidance_scale * (output - free)
        return c.c_skip * x_t + c.c_out * output

    return denoise


def loss_per_set(
    process: Process, apply: Callable, params, x_0, eps, t,
    conditioning: Conditioning = NO_CONDITIONING, forced=None, mean=None,
) -> jax.Array:  # fmt: skip
    """w_t mean |x_0_hat - x_0|^2 for each set, f32[B]; x_0, eps: f32[B, N, D], t: i32[B] in 1..T.

    If t is i32[B, N], every point has a separate level, and the result is the error f32[B, N] of
    every point. The loss is computed as the error |F - (x_0 - c_skip x_t) / c_out|^2 of the network
    output times w_t c_out^2. Both forms are equal, but this one avoids the overflow of 1/sigma^2
    at small noise. Points where conditioning.mask is False do not count. forced: bool[B], the sets
    whose network reads the target (teacher forcing); None: the network takes no target. mean:
    f32[B, N, D], an estimate of E[x_0 | x_t] that takes the place of x_0 in the gradient. The value
    remains the error of x_0, so it does not depend on the estimate.
    """
    level = process.level(t)
    x_t = add_noise(Level(*map(over_points, level)), x_0, eps)
    c = Coefficients(*map(over_points, process.coefficients(level)))
    target = (x_0 - c.c_skip * x_t) / c.c_out
    teacher = {} if forced is None else {"target": target, "forced": forced}
    output = apply(params, c.c_in * x_t, level.time, conditioning, **teacher)
    error = jnp.mean((output - target) ** 2, axis=-1)  # [B, N]
    if mean is not None:
        averaged = jnp.mean((output - (mean - c.c_skip * x_t) / c.c_out) ** 2, axis=-1)
        error = averaged + jax.lax.stop_gradient(error - averaged)
    if t.ndim == 1:
        error = jnp.mean(error, axis=-1, where=conditioning.mask)
    if process.weighting == "simple":
        return error
    return error * WEIGHTINGS[process.weighting](process, t) * c.c_out.reshape(t.shape) ** 2


def draw_times(key: jax.Array, shape: tuple[int, ...], num_levels: int) -> jax.Array:
    """Draw levels t uniform on 1..T, i32[..., B], stratified along the last axis.

    t_i = 1 + floor(T (u + i / B mod 1)), with one u per batch. Every t_i is uniform, and a batch
    covers all levels evenly. This lowers the variance of the loss (VDM, appendix I.1).
    """
    *outer, batch = shape
    u = jax.random.uniform(key, (*outer, 1)) + jnp.arange(batch) / batch
    t = 1 + jnp.floor((u % 1.0) * num_levels).astype(jnp.int32)
    return jnp.minimum(t, num_levels)
