"""The lowest possible training loss of a density in the plane: the loss of E[x_0 | x_t].

    y = x_t / alpha = x_0 + nu eps,  nu = sigma / alpha,   field(y) = E[-eps | y] = nu grad log p_nu
    E |x_0 - E[x_0 | y]|^2 / D = nu^2 (1 - E |field|^2 / D)

The identity holds because E[eps | y] is the mean of eps given y, and E |eps|^2 = D. If the noise is
stronger than the data, the equal form E |x_0|^2 - E |E[x_0 | y]|^2 is more accurate. The weight of
the training loss multiplies the result at each level.

With noise of at least NARROW cells, the counts of `score_field` give the field on a grid. With less
noise, the log density log p of the data gives the field at random y by Gauss-Hermite quadrature,
    field(y) = E_z[z p(y + nu z)] / E_z[p(y + nu z)],   z ~ N(0, I).
"""

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax.dataset import Dataset, draw_points
from tiny_diffusion_jax.diffusion import Process
from tiny_diffusion_jax.diffusion.process import WEIGHTINGS
from tiny_diffusion_jax.metrics.score_field import NARROW, Counts, noise, of_data

DRAWS = 1_024  # random y for each level with little noise
NODES = 8  # of the quadrature, for each coordinate
REACH = 4.5  # standard deviations of noise around the data that the grid covers


def lowest_loss(
    dataset: Dataset, process: Process, counts: Counts, levels: np.ndarray, key: jax.Array
) -> np.ndarray:
    """Lowest expected loss f64[L] at the noise levels i[L], for independent points.

    NaN for noise that is too small for the counts, if the log density of the data is not known.
    """
    error = [
        _on_grid(counts, nu) if nu >= NARROW * counts.cell else
        _by_quadrature(dataset, nu, jax.random.fold_in(key, i))
        for i, nu in enumerate(noise(process, levels))
    ]  # fmt: skip
    weight = WEIGHTINGS[process.weighting](process, jnp.asarray(levels))
    return np.asarray(weight, float) * np.asarray(error)


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


def _by_quadrature(dataset: Dataset, nu: float, key: jax.Array) -> float:
    """E |x_0 - E[x_0 | y]|^2 / 2 over DRAWS random y, from the log density of the data."""
    if dataset.log_prob is None:
        return float("nan")
    data_key, eps_key = jax.random.split(key)
    x_0 = dataset.normalize(draw_points(dataset, data_key, 1, DRAWS)[0])
    y = x_0 + nu * jax.random.normal(eps_key, x_0.shape)
    return nu**2 * (1 - float(_squared_field(dataset, y, nu).mean()) / 2)


@jax.jit
def _squared_field(dataset: Dataset, y: jax.Array, nu: jax.Array) -> jax.Array:
    """|field(y)|^2 f32[n] of points y f32[n, 2], in the units of the network."""
    z, weight = np.polynomial.hermite_e.hermegauss(NODES)
    z = jnp.asarray(np.stack(np.meshgrid(z, z), -1).reshape(-1, 2), jnp.float32)
    log_weight = jnp.asarray(np.log(np.outer(weight, weight).ravel()), jnp.float32)
    points = dataset.denormalize(y[:, None] + nu * z)
    share = jax.nn.softmax(dataset.log_prob(points) + log_weight, axis=-1)
    return ((share[..., None] * z).sum(1) ** 2).sum(-1)
