"""Log-likelihood of whole sets, for the strategy that generates them.

    alone   log p(X) = sum_i log p(x_i).
    chain   log p(X) = sum_i log p(x_i | x_1 ... x_{i-1}), with the points so far as the history.
    causal  the same sum, with the contexts of one pass.
    latent  log p(X) >= E log 1/K sum_k p(X | z_k) p(z_k) / q(z_k | X),  z_k ~ q (arXiv 1509.00519).
    joint   log p(X), one density of all N D coordinates.

All densities are computed by the probability-flow ODE of diffusion/ode_likelihood.py. Densities of
single points are exact. The density of a chain depends on the order of the points, and its mean
over orders is an exchangeable density. With rows, the density is the same for all orders. It is a
lower bound, because drawn sequences may be out of order (sets/row_order.py). For a latent model, q
is the encoding of the set plus the noise that the decoder was trained with, and p(z) includes the
same noise. The divergence of a joint model is exact for small sets, and estimated otherwise.

A network that is conditioned on the size s of a set gets the size of the whole set, as in training.
This also holds if only n < s of its points are scored: log p(x_1 ... x_n | s). Models that generate
a set point by point have learned this density for every n. Joint models, and causal models with
rows, have learned this density only for n as in training. A training batch cuts a set to
n = min(s, train.num_points) random points (training/batches.py).
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax import devices
from tiny_diffusion_jax.dataset import PointSets
from tiny_diffusion_jax.diffusion import make_denoise
from tiny_diffusion_jax.diffusion.ode_likelihood import log_likelihood
from tiny_diffusion_jax.sets.chunks import each, set_keys
from tiny_diffusion_jax.sets.padding import lengths
from tiny_diffusion_jax.sets.row_order import log_orders, row_order
from tiny_diffusion_jax.sets.sizes import warn_if_unseen

# Repetitions: orders of a chain (1: the given order), draws of z, estimates of a divergence.
DRAWS = {"alone": 1, "chain": 1, "causal": 1, "latent": 16, "joint": 4}
EXACT = 32  # coordinates of a set up to which the divergence of a joint model is exact
POINTS = 16_384  # points in memory at once, including all histories of a chain
CPU_POINTS = 1_024  # the same for a CPU, limited by its caches


class Estimate(NamedTuple):
    """Log-likelihood of each of S sets, in nats per point."""

    log_p: np.ndarray  # f64[S]
    spread: np.ndarray  # f64[S], standard error of log_p due to random draws; 0 if log_p is exact


def estimate(
    experiment, params, sets, num_steps: int, labels=None, draws: int = 0, seed: int = 0,
    sizes=None,
) -> Estimate:  # fmt: skip
    """Log-likelihood of sets f32[S, N, D] in centred units, in nats per point.

    Each point has a density per unit area (for D = 3 per unit volume). Rows of NaN pad smaller
    sets. `experiment.log_prob` checks the arguments:

        labels  i32[S], conditioning of the model; None: no labels.
        draws   number of random draws; 0: the number in `DRAWS`. Several draws of a chain are
                random orders, and the result is the log of their mean density. With rows, all
                orders have the same density, which is a lower bound.
        sizes   i32[S], the number of points of each whole set, the conditioning of a model with
                `counts`; None: `sets` are whole.
    """
    model, dataset = experiment.model, experiment.dataset
    way = model.traits.generation
    sets = np.asarray(sets, np.float32)
    num_sets, num_points, dim = sets.shape
    if not num_sets:
        return Estimate(np.zeros(0), np.zeros(0))
    exact = way == "alone" or way == "joint" and num_points * dim <= EXACT
    # All orders have the same density if the model has rows.
    draws = 1 if exact or model.traits.row_height else draws or DRAWS[way]
    shown = experiment.config.train.max_history if way == "chain" else 1
    mesh, params = devices.to_draw(params)
    points = CPU_POINTS if devices.is_cpu(mesh) else POINTS
    at_once = min(num_sets, max(1, points // (num_points * min(shown, num_points))))
    at_once = devices.rounded_up(at_once, mesh)
    num_scored = lengths(sets)
    arrays = {"points": np.nan_to_num(sets), "size": num_scored.astype(np.int32)}
    whole = num_scored if sizes is None else np.asarray(sizes)
    warn_if_unseen(experiment, whole)
    if model.counts:
        arrays["count"] = whole.astype(np.int32)
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
                experiment.process, params, dataset.shift, dataset.scale, draw, **part,
                model=model, shuffled=draws > 1, exact=exact, num_steps=num_steps,
                max_history=experiment.config.train.max_history, origin=dataset.origin,
            ), np.float64) for draw in range(draws)
        ]  # fmt: skip

    # Fill up the last chunk with copies of the last set, so that one program serves all chunks.
    chunks = [(np.minimum(np.arange(start, start + at_once), num_sets - 1),)
              for start in range(0, num_sets, at_once)]  # fmt: skip
    found = [drawn for _, drawn in each(log_probs, chunks, mesh)]
    every = np.concatenate(found, axis=1)[:, :num_sets]
    log_p, spread = _mean(every) if way == "joint" else _log_mean(every)
    return Estimate(log_p / num_scored, spread / num_scored)


def _mean(every: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of f64[K, S] over K, and its standard error."""
    spread = every.std(0, ddof=1) / len(every) ** 0.5 if len(every) > 1 else 0 * every[0]
    return every.mean(0), spread


def _log_mean(every: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log mean exp of f64[K, S] over K, and its standard error to first order."""
    most = every.max(0)
    weight = np.exp(every - most)
    mean, spread = _mean(weight)
    return most + np.log(mean), spread / mean


@partial(jax.jit, static_argnames=(
    "model", "shuffled", "exact", "max_history", "num_steps", "origin"))
@devices.float32_matmuls
def _log_prob(
    process, params, shift, scale, draw, keys, points, size, label=None, count=None, *, model,
    shuffled: bool, exact: bool, max_history: int, num_steps: int,
    origin: tuple[float, ...],
) -> jax.Array:  # fmt: skip
    """log p(X) f32[B], or draw number `draw` of its estimate, from a key for each set.

    size: i32[B], points of each set in `points`; count: i32[B], points of the whole set.
    """
    keys = jax.vmap(jax.random.fold_in, (0, None))(keys, draw)
    x, is_point = (points - shift) / scale, jnp.arange(points.shape[1]) < size[:, None]
    known = {"label": label, "count": count}
    known = {name: value for name, value in known.items() if value is not None}
    shape, way, directions = x.shape, model.traits.generation, None
    log_weight, order = 0.0, None
    if model.traits.row_height:
        order = row_order(points, model.traits.row_height, is_point, origin)
        log_weight = -log_orders(size)
    elif shuffled and way in ("chain", "causal"):
        mixed = jax.vmap(partial(jax.random.uniform, shape=shape[1:2]))(keys)
        order = jnp.argsort(mixed + ~is_point, axis=1)
    if order is not None:
        x = jnp.take_along_axis(x, order[..., None], axis=1)
    if way == "causal":
        known = {"latent": model.apply(params, x, method="contexts", **known)}
    elif way == "chain":
        x, history = _each_with_its_history(x, max_history)
        known = {name: jnp.repeat(value, shape[1], axis=0) for name, value in known.items()}
        known["history"] = history
    elif way == "latent":
        z, log_weight = _latents(process, params, keys, x, is_point, model, known, num_steps)
        known = {"latent": z}
    elif way == "joint":
        known["mask"] = is_point
        random = jax.vmap(partial(jax.random.rademacher, shape=shape[1:], dtype=x.dtype))
        directions = (_axes(shape) if exact else random(keys)[None]) * is_point[..., None]
    denoise = make_denoise(process, model.apply, params, **known)
    log_p = log_likelihood(process, denoise, x, num_steps, directions).reshape(shape[:2])
    log_p = log_p - jnp.broadcast_to(jnp.log(scale), shift.shape).sum()
    return log_p.sum(1, where=is_point) + log_weight


def _latents(process, params, keys, x, is_point, model, known: dict, num_steps: int):
    """Draw z f32[B, 1, C] for each set x f32[B, N, D]; return z and log p(z) / q(z | X) f32[B]."""
    blur = model.traits.latent_noise
    code = model.apply(params, PointSets(x, is_point), method="encode")
    eps = jax.vmap(partial(jax.random.normal, shape=code.shape[1:]))(keys)
    z = code + blur * eps
    prior = partial(model.apply, method="prior")
    latents = process.of_latents()
    denoise = make_denoise(latents, prior, params, **known)
    log_p = log_likelihood(latents, denoise, z, num_steps, blur=blur)[:, 0]
    log_q = -0.5 * (eps**2 + jnp.log(2 * jnp.pi)).sum((1, 2)) - z.shape[-1] * jnp.log(blur)
    return z, log_p - log_q


def _axes(shape: tuple[int, int, int]) -> jax.Array:
    """Unit vectors f32[N D, B, N, D] of a set."""
    B, N, D = shape
    axes = jnp.eye(N * D).reshape(N * D, 1, N, D)
    return jnp.broadcast_to(axes, (N * D, B, N, D))


def _each_with_its_history(x: jax.Array, max_history: int) -> tuple[jax.Array, PointSets]:
    """Points f32[S N, 1, D] of x f32[S, N, D], and the history of each point.

    The history of a point holds the last max_history points before the point.
    """
    num_sets, num_points, dim = x.shape
    M = min(max_history, num_points)
    number = jnp.arange(num_points)
    first = jnp.maximum(number - M, 0)
    index = jnp.minimum(first[:, None] + jnp.arange(M), num_points - 1)  # [N, M]
    mask = jnp.arange(M) < jnp.minimum(number, M)[:, None]
    history = x[:, index].reshape(num_sets * num_points, M, dim)
    mask = jnp.broadcast_to(mask, (num_sets, *mask.shape)).reshape(num_sets * num_points, M)
    return x.reshape(-1, 1, dim), PointSets(history, mask)
