"""Log-likelihood of whole sets, by the strategy that generates them.

All densities are computed by the probability-flow ODE of diffusion/ode_likelihood.py. Densities of
single points are exact. The classes of the strategies say which estimate or bound of log p(X) they
compute.

A network that is conditioned on the size s of a set gets the size of the complete set, as in
training. This also holds if only n < s of its points are scored: log p(x_1 ... x_n | s). Strategies
that generate a set point by point have learned this density for every n. Joint models, and causal
models of sorted points, have learned this density only for n as in training. A training batch cuts
a set to n = min(s, train.num_points) random points (training/batches.py).
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax import devices
from tiny_diffusion_jax.dataset import Dataset
from tiny_diffusion_jax.diffusion import Process
from tiny_diffusion_jax.point_sets import Conditioning, lengths
from tiny_diffusion_jax.sets.chunks import map_chunks, set_keys
from tiny_diffusion_jax.sets.strategy import ScoredSets, Strategy

POINTS = 16_384  # points in memory at once, on a device that is no CPU
CPU_POINTS = 256  # on a CPU, whose cores work on separate chunks


class Estimate(NamedTuple):
    """Log-likelihood of sets, in nats per point."""

    log_p: np.ndarray  # f64[S]
    spread: np.ndarray  # f64[S], standard error of log_p due to random draws; 0 if log_p is exact


def estimate(
    strategy: Strategy, process: Process, params, dataset: Dataset, sets, num_steps: int,
    max_history: int, labels=None, draws: int = 0, seed: int = 0, sizes=None, num_given: int = 0,
) -> Estimate:  # fmt: skip
    """Log-likelihood of sets f32[S, N, D] in centred units, in nats per point.

    Each point has a density per unit area (for D = 3 per unit volume). Rows of NaN pad smaller
    sets. The other arguments are:

        max_history  largest number of history points in training.
        labels       i32[S], conditioning of the model; None: no labels.
        draws        number of random draws; 0: the number of the strategy. Several draws of an
                     autoregressive model are random orders, and the result is the log of their mean
                     density. With sorted points, all orders have the same density, which is a
                     lower bound.
        sizes        i32[S], the number of points of each complete set, the conditioning of a model
                     with `counts`; None: `sets` are complete.
        num_given    h, the first points of each set that are given. The result is then
                     log p(x_{h+1} ... x_N | x_1 ... x_h) / (N - h), for strategies that generate
                     a set point by point.
    """
    sets = np.asarray(sets, np.float32)
    num_sets, num_points, dim = sets.shape
    if not num_sets:
        return Estimate(np.zeros(0), np.zeros(0))
    draws = strategy.num_draws(draws, num_points, dim)
    mesh, params = devices.to_draw(params)
    points = CPU_POINTS if devices.is_cpu(mesh) else POINTS
    at_once = min(num_sets, max(1, points // strategy.scored_points(num_points, max_history)))
    at_once = devices.rounded_up(at_once, mesh)
    num_scored = lengths(sets)
    arrays = {"points": np.nan_to_num(sets), "num_scored": num_scored.astype(np.int32)}
    if strategy.model.counts:
        arrays["size"] = np.asarray(num_scored if sizes is None else sizes, np.int32)
    if labels is not None:
        arrays["label"] = np.asarray(labels, np.int32)
    key = jax.random.key(seed)

    def log_probs(numbers: np.ndarray) -> list[np.ndarray]:
        """Log-likelihoods f64[B] of the sets with these numbers, one array for each draw."""
        part = {name: array[numbers] for name, array in arrays.items()}
        part |= {"keys": set_keys(key, jnp.asarray(numbers))}
        part = jax.device_put(part, devices.by_set(mesh, at_once))
        return [
            np.asarray(_log_prob(
                process, params, dataset.shift, dataset.scale, draw, **part, strategy=strategy,
                random_order=draws > 1, num_steps=num_steps, max_history=max_history,
                origin=dataset.origin, num_given=num_given,
            ), np.float64) for draw in range(draws)
        ]  # fmt: skip

    # Fill up the last chunk with copies of the last set, so that one program serves all chunks.
    chunks = [(np.minimum(np.arange(start, start + at_once), num_sets - 1),)
              for start in range(0, num_sets, at_once)]  # fmt: skip
    results = [result for _, result in map_chunks(log_probs, chunks, mesh)]
    results = np.concatenate(results, axis=1)[:, :num_sets]
    log_p, spread = (_mean if strategy.averages_log_p else _log_mean)(results)
    num_scored = num_scored - num_given
    return Estimate(log_p / num_scored, spread / num_scored)


def _mean(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of f64[K, S] over K, and its standard error."""
    spread = draws.std(0, ddof=1) / len(draws) ** 0.5 if len(draws) > 1 else 0 * draws[0]
    return draws.mean(0), spread


def _log_mean(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log mean exp of f64[K, S] over K, and its standard error to first order."""
    most = draws.max(0)
    mean, spread = _mean(np.exp(draws - most))
    return most + np.log(mean), spread / mean


@partial(jax.jit, static_argnames=(
    "strategy", "random_order", "max_history", "num_steps", "origin", "num_given"))
@devices.float32_matmuls
def _log_prob(
    process, params, shift, scale, draw, keys, points, num_scored, label=None, size=None, *,
    strategy: Strategy, random_order: bool, max_history: int, num_steps: int,
    origin: tuple[float, ...], num_given: int = 0,
) -> jax.Array:  # fmt: skip
    """log p(X) f32[B], or draw number `draw` of its estimate, from a key for each set.

    num_scored: i32[B], points of each set in `points`; size: i32[B], points of the complete set.
    """
    keys = jax.vmap(jax.random.fold_in, (0, None))(keys, draw)
    x, mask = (points - shift) / scale, jnp.arange(points.shape[1]) < num_scored[:, None]
    first = jnp.arange(points.shape[1]) < num_given
    order = strategy.order(points, mask, origin, jnp.broadcast_to(first, mask.shape))
    if order is not None:
        x = jnp.take_along_axis(x, order[..., None], axis=1)
    given = jnp.full(len(x), num_given) if num_given else None
    scored = ScoredSets(process, params, keys, x, mask, Conditioning(label, size, given=given),
                        num_steps, max_history, num_given)  # fmt: skip
    scored = strategy.random_order(scored) if random_order else scored
    log_p, log_weight = strategy.log_prob(scored)
    log_p = log_p - jnp.broadcast_to(jnp.log(scale), shift.shape).sum()
    return log_p.sum(1, where=mask & ~first) + log_weight
