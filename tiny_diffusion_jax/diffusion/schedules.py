"""Noise schedules: the scale alpha of the signal and sigma of the noise at each level.

    x_t = alpha_t x_0 + sigma_t eps,    eps ~ N(0, I),    t = 0 (data) ... T (noise)

A schedule is the pair of arrays (alpha, sigma). log_snr_t = 2 log(alpha_t / sigma_t) orders the
levels, from +inf at the data down to the logarithm of the terminal SNR.

To add a family, write one function that returns (alpha, sigma) for t = 0..T in float64. Then
register the function in `FAMILIES`.
"""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

# Above this value x_T depends visibly on x_0, so sampling from pure noise is biased.
TERMINAL_SNR_WARNING = 1e-2


@flax.struct.dataclass
class Schedule:
    """The pair (alpha_t, sigma_t) for t = 0..T, and quantities derived from this pair."""

    alpha: jax.Array  # f32[T + 1], alpha_0 = 1
    sigma: jax.Array  # f32[T + 1], sigma_0 = 0

    @property
    def num_levels(self) -> int:
        """T, the number of noise levels (level 0 is the data)."""
        return self.alpha.shape[0] - 1

    @property
    def snr(self) -> jax.Array:
        """alpha_t^2 / sigma_t^2, f32[T + 1]; +inf at t = 0."""
        return (self.alpha / self.sigma) ** 2

    @property
    def log_snr(self) -> jax.Array:
        """2 log(alpha_t / sigma_t), f32[T + 1]; +inf at t = 0 and -inf where alpha_t = 0."""
        return 2.0 * (jnp.log(self.alpha) - jnp.log(self.sigma))

    @property
    def terminal_snr(self) -> float:
        """SNR at t = T. Sampling starts from pure noise, as if this were 0 (arXiv 2305.08891)."""
        return float(self.snr[-1])


def linear(num_levels: int, beta_min: float, beta_max: float, **_) -> tuple:
    """beta_t from beta_min to beta_max in equal steps (DDPM, arXiv 2006.11239, section 4)."""
    return _from_betas(np.linspace(beta_min, beta_max, num_levels))


def quadratic(num_levels: int, beta_min: float, beta_max: float, **_) -> tuple:
    """sqrt(beta_t) from sqrt(beta_min) to sqrt(beta_max) in equal steps."""
    return _from_betas(np.linspace(beta_min**0.5, beta_max**0.5, num_levels) ** 2)


def student_cosine(num_levels: int, beta_min: float, beta_max: float, **_) -> tuple:
    """beta_i = beta_min + (beta_max - beta_min) (1 + cos(pi i / (T - 1))) / 2, i = 0..T-1.

    This is the cosine schedule of the student project. beta runs from beta_max DOWN to beta_min,
    so the first levels add most of the noise. The family reproduces the figures of the student
    project. Use `cosine` for real work.
    """
    i = np.arange(num_levels)
    return _from_betas(
        beta_min + (beta_max - beta_min) * (1 + np.cos(np.pi * i / max(num_levels - 1, 1))) / 2
    )


def cosine(num_levels: int, **_) -> tuple:
    """alpha_bar_t = f(t) / f(0), f(t) = cos^2(pi/2 (t/T + 0.008) / 1.008), beta_t <= 0.999.

    Nichol & Dhariwal, arXiv 2102.09672, equation 17.
    """
    f = np.cos((np.arange(num_levels + 1) / num_levels + 0.008) / 1.008 * np.pi / 2) ** 2
    return _from_betas(np.minimum(1 - f[1:] / f[:-1], 0.999))


def karras(num_levels: int, sigma_min: float, sigma_max: float, rho: float, **_) -> tuple:
    """alpha_t = 1, sigma_t^(1/rho) from sigma_min^(1/rho) to sigma_max^(1/rho) in equal steps.

    EDM, arXiv 2206.00364, equation 5, with t = 0 at the data.
    """
    # Start at sigma_max, so that a schedule of one level has sigma_max as its only noise.
    steps = np.linspace(sigma_max ** (1 / rho), sigma_min ** (1 / rho), num_levels)[::-1]
    return np.ones(num_levels + 1), np.concatenate([[0.0], steps**rho])


def flow(num_levels: int, **_) -> tuple:
    """alpha_t = 1 - t/T, sigma_t = t/T: straight lines from data to noise (arXiv 2210.02747)."""
    sigma = np.arange(num_levels + 1) / num_levels
    return 1 - sigma, sigma


FAMILIES = {
    "linear": linear,
    "quadratic": quadratic,
    "student_cosine": student_cosine,
    "cosine": cosine,
    "karras": karras,
    "flow": flow,
}


def make_schedule(
    name: str,
    num_levels: int,
    *,
    beta_min: float = 1e-4,
    beta_max: float = 0.02,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    rho: float = 7.0,
) -> Schedule:
    """Make the schedule `name` with T = num_levels; a family ignores arguments of other families.

    0 < beta_min <= beta_max < 1 and 0 < sigma_min < sigma_max.
    """
    # Use float64, because 1 - alpha_bar loses half of its digits in float32.
    alpha, sigma = FAMILIES[name](
        num_levels,
        beta_min=beta_min,
        beta_max=beta_max,
        sigma_min=sigma_min,
        sigma_max=sigma_max,
        rho=rho,
    )
    return Schedule(jnp.asarray(alpha, jnp.float32), jnp.asarray(sigma, jnp.float32))


def _from_betas(beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variance-preserving alpha_bar_t = prod_{i <= t} (1 - beta_i), with alpha^2 + sigma^2 = 1."""
    log_alpha_bar = np.concatenate([[0.0], np.cumsum(np.log1p(-beta))])
    return np.exp(log_alpha_bar / 2), np.sqrt(-np.expm1(log_alpha_bar))
