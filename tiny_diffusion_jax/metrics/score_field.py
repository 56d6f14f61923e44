"""Score fields of a model and of the data, on a grid, for several noise levels.

    field(x_t) = -eps_hat = sigma_t score(x_t) = (alpha_t x_0_hat - x_t) / sigma_t

The field has no units and points to the data. The error of the field equals the error of eps_hat.
For the data, x_0_hat = E[x_0 | x_t] is the mean of x_0 with weights
N(x_t; alpha_t x_0, sigma_t^2). This mean is taken over so many real points that its random error is
far below the error of a network. The real points are first counted in the cells of a fine grid. A
Gaussian is a product over the axes, so two matrix products smooth the counts.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax.dataset import Dataset, draw_points
from tiny_diffusion_jax.diffusion import Level, Process, make_denoise
from tiny_diffusion_jax.errors import require

DRAWS, TIMES = 2**18, 8  # 2 million real points, in chunks
CELLS = 512  # cells a side of the grid of counts
NARROW = 3  # cells in the smallest noise of a figure, so that the grid is invisible


class Counts(NamedTuple):
    """Real points in normalised units, counted in cells."""

    share: np.ndarray  # f64[CELLS, CELLS], share of all points, lowest y first
    x: np.ndarray  # f64[CELLS], the centres of the cells
    y: np.ndarray

    @property
    def cell(self) -> float:
        return float(self.x[1] - self.x[0])


class Fields(NamedTuple):
    """Fields at L noise levels, on a grid of G x G nodes, lowest y first."""

    levels: np.ndarray  # i64[L], least noise first
    model: np.ndarray  # f32[L, G, G, 2], -eps_hat
    data: np.ndarray  # f32[L, G, G, 2], NaN where no real point is near
    density: np.ndarray  # f32[L, G, G], density of the data at this level, over its maximum
    error: np.ndarray  # f64[L], E |eps_hat - eps_hat of the data|^2 / 2 over p_t


def count(dataset: Dataset, key: jax.Array, extent) -> Counts:
    """Count real points in the square `extent` (left, right, bottom, top), in own units.

    The data lie in the plane. For a table without jitter the real points are the rows of the table.
    """
    low, high = np.array(extent, float).reshape(2, 2).T
    total = np.zeros(CELLS**2)
    for i in range(TIMES if dataset.rows is None else 1):
        if dataset.rows is None:
            points = np.asarray(draw_points(dataset, jax.random.fold_in(key, i), 1, DRAWS))[0]
        else:
            points = np.asarray(dataset.rows)
        cell = np.floor((points - low) / (high - low) * CELLS).astype(int)
        cell = cell[((cell >= 0) & (cell < CELLS)).all(1)]
        total += np.bincount(cell[:, 1] * CELLS + cell[:, 0], minlength=CELLS**2)
    centres = (np.arange(CELLS)[:, None] + 0.5) / CELLS * (high - low) + low
    x, y = ((centres - np.asarray(dataset.shift)) / np.asarray(dataset.scale)).T
    return Counts(total.reshape(CELLS, CELLS) / max(total.sum(), 1), x, y)


def chosen_levels(process: Process, cell: float, number: int) -> np.ndarray:
    """Choose up to `number` levels, even in log(sigma / alpha), with noise >= NARROW cells."""
    nu = np.exp(-0.5 * np.asarray(process.schedule.log_snr, float))
    last = len(nu) - 1 if np.isfinite(nu[-1]) else len(nu) - 2
    low = min(max(NARROW * cell, nu[1]), nu[last])
    wanted = np.linspace(np.log(low), np.log(nu[last]), number)
    log_nu = np.log(nu[1 : last + 1])
    return np.unique(1 + np.abs(log_nu[:, None] - wanted).argmin(0))


def compare(
    process: Process, model, params, counts: Counts, number: int = 8, size: int = 64
) -> Fields:
    """Compute the field of a denoiser of independent points and the field of the data."""
    levels = chosen_levels(process, counts.cell, number)
    noises = noise(process, levels)
    grids = [grid(counts, nu, size) for nu in noises]
    field = of_model(process, model, params, levels, grids)
    of_levels = [of_data(counts, *axes, nu) for axes, nu in zip(grids, noises, strict=True)]
    data, density = map(np.stack, zip(*of_levels, strict=True))
    squared = np.nan_to_num(((field - data) ** 2).mean(-1))
    error = (squared * density).sum((1, 2)) / density.sum((1, 2))
    density = density / density.max((1, 2), keepdims=True)
    return Fields(levels, *(np.asarray(a, np.float32) for a in (field, data, density)), error)


def noise(process: Process, levels: np.ndarray) -> list[float]:
    """nu = sigma / alpha of each level."""
    level = process.level(levels)
    return (np.asarray(level.sigma, float) / np.asarray(level.alpha, float)).tolist()


def square(counts: Counts, nu: float) -> tuple[float, float, float]:
    """Square of the data and 2.5 standard deviations of noise nu: its centre x, y, half its side.

    The square is in units of the network, for points x_t / alpha_t.
    """
    half = max(np.hypot(np.ptp(axis) / 2, 2.5 * nu) for axis in (counts.x, counts.y))
    return float(counts.x.mean()), float(counts.y.mean()), float(half)


def grid(counts: Counts, nu: float, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the axes x, y f64[size] of a grid that divides `square` into size x size cells."""
    x, y, half = square(counts, nu)
    steps = ((np.arange(size) + 0.5) / size * 2 - 1) * half
    return x + steps, y + steps


def of_model(process: Process, model, params, levels: np.ndarray, grids: list) -> np.ndarray:
    """-eps_hat f64[L, G, G, 2] of a denoiser of independent points, on the `grid` of each level."""
    level = process.level(levels)
    alpha, sigma = (np.asarray(a, float)[:, None, None, None] for a in (level.alpha, level.sigma))
    x_t = np.stack([np.stack(np.meshgrid(x, y), -1) for x, y in grids]) * alpha
    flat = x_t.reshape(len(levels), -1, 2)
    x_0 = np.asarray(_denoise(process, params, flat, level, model=model)).reshape(x_t.shape)
    return (alpha * x_0 - x_t) / sigma


def of_data(counts: Counts, x, y, nu: float) -> tuple[np.ndarray, np.ndarray]:
    """(field f64[G, G, 2], density f64[G, G] up to a factor) at nodes x, y f64[G], noise nu."""
    near_x, near_y = (_gaussian((nodes[:, None] - cells) / nu)
                      for nodes, cells in ((x, counts.x), (y, counts.y)))  # fmt: skip
    density = near_y @ counts.share @ near_x.T
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_x = near_y @ counts.share @ (near_x * counts.x).T / density
        mean_y = (near_y * counts.y) @ counts.share @ near_x.T / density
    field = np.stack([mean_x - x, mean_y - y[:, None]], -1) / nu
    return field, density


def _gaussian(z: np.ndarray) -> np.ndarray:
    """exp(-z^2 / 2), or 0 where a product of two would be below the normal range of floats."""
    return np.where(np.abs(z) < 26, np.exp(-0.5 * np.minimum(z**2, 700)), 0)


def total_variation(
    log_density: np.ndarray, share: np.ndarray, num_points: int, true_log_density=None
) -> dict:
    """Total variation distance sum |p - p_data| / 2 over pixels, with its floor.

    log_density: f[G, G] of the model at the centres of the pixels, -inf where it is not computed;
    share: f64[G, G] of `num_points` real points in each pixel. The floor is the same number for
    the true log density f[G, G]. Without a true density the floor is the expected random difference
    of the counts, sum sqrt(2 p (1 - p) / (pi n)) / 2. Raises UserError if no pixel has a density.
    """
    share = share / share.sum()

    def apart(log_p):
        p = np.exp(log_p - log_p.max())
        return float(np.abs(p / p.sum() - share).sum() / 2)

    known = np.isfinite(log_density)
    require(bool(known.any()), "pixels with a density", 0, "at least 1")
    if true_log_density is None:
        floor = float(np.sqrt(2 * share * (1 - share) / (np.pi * num_points)).sum() / 2)
    else:
        floor = apart(np.where(known, np.asarray(true_log_density, float), -np.inf))
    return {
        "value": apart(np.where(known, log_density, -np.inf).astype(float)), "floor": floor,
        "ratio": None, "pixels": len(share), "num_points": num_points,
    }  # fmt: skip


def coarser(share: np.ndarray, size: int) -> np.ndarray:
    """Resample shares f64[CELLS, CELLS] to size x size pixels; a cell may lie in two pixels."""
    edges = np.linspace(0, size, len(share) + 1)
    pixel = np.arange(size)[:, None]
    inside = np.minimum(edges[1:], pixel + 1) - np.maximum(edges[:-1], pixel)
    part = np.maximum(inside, 0) * len(share) / size  # [size, CELLS], share of cells
    return part @ share @ part.T


@partial(jax.jit, static_argnames="model")
def _denoise(process, params, x_t: jax.Array, level: Level, *, model) -> jax.Array:
    return make_denoise(process, model.apply, params)(jnp.asarray(x_t, jnp.float32), level)
