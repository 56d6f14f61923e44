"""Laws of the noise levels in training, as a table that replaces uniform levels.

A batch draws t uniform on 1..T, stratified (`draw_times`). A law is a distribution of log nu,
nu = sigma / alpha. Its table holds the level at the quantile (t - 1/2) / T for each t, so the drawn
levels are stratified quantiles of the law. Levels beyond the schedule become its first or last one.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri

from tiny_diffusion_jax.dataset import Dataset
from tiny_diffusion_jax.diffusion.schedules import Schedule

LOG_NORMAL = (-1.2, 1.2)  # mean and std of log nu: EDM, arXiv 2206.00364, table 1
PAIRS = 16_384  # pairs of real points whose distances are measured


def level_law(name: str, schedule: Schedule, dataset: Dataset) -> jax.Array | None:
    """Table i32[T + 1] of the law `name`, with table[0] = 0; None for uniform levels.

    log_normal: log nu ~ N(-1.2, 1.2^2). distances: nu = |x - y| / sqrt(2 D) for two independent
    real points, so the mean square of nu is the mean variance of the data. The distances need the
    data; without points (a restored run, which is not trained) the result is None.
    """
    if name == "uniform" or (name == "distances" and not dataset.has_points):
        return None
    T = schedule.num_levels
    u = (np.arange(T) + 0.5) / T
    if name == "log_normal":
        mean, std = LOG_NORMAL
        log_nu = mean + std * np.asarray(ndtri(jnp.asarray(u)), np.float64)
    else:
        draw = jax.jit(lambda key: dataset.draw(key, PAIRS, 1).points[:, 0])
        x, y = (dataset.normalize(draw(jax.random.key(seed))) for seed in (0, 1))
        squared = np.asarray(((x - y) ** 2).mean(-1), np.float64) / 2
        log_nu = 0.5 * np.log(np.maximum(np.quantile(squared, u), 1e-12))
    known = -0.5 * np.asarray(schedule.log_snr, np.float64)[1:]
    known = np.where(np.isfinite(known), known, known[np.isfinite(known)].max(initial=0.0) + 1e3)
    level = 1 + np.round(np.interp(log_nu, known, np.arange(T)))
    return jnp.asarray(np.concatenate([[0], level]), jnp.int32)
