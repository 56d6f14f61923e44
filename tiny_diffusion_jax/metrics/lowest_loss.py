"""The lowest possible training loss of a density in the plane: the loss of E[x_0 | x_t].

    y = x_t / alpha = x_0 + nu eps,  nu = sigma / alpha,   field(y) = E[-eps | y] = nu grad log p_nu
    E |x_0 - E[x_0 | y]|^2 / D = nu^2 (1 - E |field|^2 / D)

The identity holds because E[eps | y] is the mean of eps given y, and E |eps|^2 = D. If the noise is
stronger than the data, the equal form E |x_0|^2 - E |E[x_0 | y]|^2 is more accurate. The weight of
the training loss multiplies the result at each level.

With noise of at least nu_1 = NARROW cells, the counts of `score_field` give the field on a grid.
With less noise, E |field|^2 = nu^2 J(nu), where J is the Fisher information of y. J(nu) follows
from J(nu_1) and from J(0) = E |grad log p(x_0)|^2 at random points of the data:
    1 / J(nu) is linear in nu^2, which is exact for a Gaussian (D / J = s^2 + nu^2);
    J(nu) = J(nu_1) nu_1 / nu if J(0) < J(nu_1), which holds for a density with sharp edges.
"""

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax.dataset import Dataset
from tiny_diffusion_jax.diffusion import Process
from tiny_diffusion_jax.diffusion.process import WEIGHTINGS
from tiny_diffusion_jax.metrics.score_field import NARROW, Counts, noise, of_data

DRAWS = 512  # random points for J(0)
REACH = 4.5  # standard deviations of noise around the data that the grid covers


def lowest_loss(
    dataset: Dataset, process: Process, counts: Counts, levels: np.ndarray, key: jax.Array
) -> np.ndarray:
    """Lowest expected loss f64[L] at the noise levels i[L], for independent points.

    NaN for noise that is too small for the counts, if the log density of the data is not known.
    """
    least = NARROW * counts.cell
    noises = np.array(noise(process, levels))
    error = np.array([_on_grid(counts, nu) if nu >= least else np.nan for nu in noises])
    small = noises < least
    if small.any() and dataset.log_prob is not None:
        on_grid = 2 * (1 - _on_grid(counts, least) / least**2) / least**2
        fisher = _fisher(float(_at_data(dataset, key)), on_grid, noises[small], least)
        error[small] = noises[small] ** 2 * (1 - noises[small] ** 2 * fisher / 2)
    weight = WEIGHTINGS[process.weighting](process, jnp.asarray(levels))
    return np.asarray(weight, float) * error


def _on_grid(counts: Counts, nu: float) -> float:
    """E |x_0 - E[x_0 | y]|^2 / 2 on a grid as fine as the counts, or finer than the noise."""
    centre = counts.share.sum(0) @ counts.x, counts.share.sum(1) @ counts.y
    axes = []
    for cells in (counts.x, counts.y):
        half = np.hypot(np.ptp(cells) / 2, REACH * nu) + counts.cell
        axes.append(np.linspace(-half, half, len(cells)) + cells.mean())
    field, density = of_data(counts, *axes, nu)
    average = lambda values: float((np.nan_to_num(values) * density).sum() / density.sum())
    squared = (counts.x - centre[0]) ** 2 + (counts.y[:, None] - centre[1]) ** 2
    variance = (counts.share * squared).sum()
    if nu**2 < variance / 2:
        return nu**2 * (1 - average((field**2).sum(-1)) / 2)
    mean = np.stack(np.meshgrid(*axes), -1) + nu * field - np.array(centre)
    return float(variance - average((mean**2).sum(-1))) / 2


def _fisher(at_0: float, on_grid: float, nu: np.ndarray, least: float) -> np.ndarray:
    """J(nu) for nu below `least`, where J(least) = on_grid and J(0) = at_0."""
    if at_0 < on_grid:
        return on_grid * least / nu
    return 1 / (1 / at_0 + (1 / on_grid - 1 / at_0) * (nu / least) ** 2)


@jax.jit
def _at_data(dataset: Dataset, key: jax.Array) -> jax.Array:
    """J(0) = E |grad log p|^2 over DRAWS points of the data, in the units of the network."""
    x_0 = dataset.normalize(dataset.draw(key, 1, DRAWS).points[0])
    log_prob = lambda x: dataset.log_prob(dataset.denormalize(x[None]))[0]
    squared = (jax.vmap(jax.grad(log_prob))(x_0) ** 2).sum(-1)
    return jnp.where(jnp.isfinite(squared), squared, 0).mean()
