"""Log-likelihood of points and of whole sets, in nats per point."""

import logging
import math

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax import data, devices, sets
from tiny_diffusion_jax.api import Experiment
from tiny_diffusion_jax.data import units
from tiny_diffusion_jax.diffusion import make_denoise
from tiny_diffusion_jax.diffusion.ode_likelihood import log_likelihood
from tiny_diffusion_jax.point_sets import NO_CONDITIONING, Conditioning, lengths
from tiny_diffusion_jax.scoring_checks import check_has_likelihood, check_scored, check_traced
from tiny_diffusion_jax.sets.likelihood import Estimate, estimate
from tiny_diffusion_jax.training.batches import size_range

log = logging.getLogger("tiny_diffusion_jax")
Array = np.ndarray | jax.Array
LIKELIHOOD_CHUNK = 16_384  # points at once


@devices.without_float64
def log_prob(
    experiment: Experiment, params, points: np.ndarray, num_steps: int | None = None,
    labels: Array | None = None, draws: int = 0, sizes: Array | None = None, num_given: int = 0,
) -> Array:  # fmt: skip
    """Log-likelihood of points f32[n, D] in own units, in nats per point, f[n].

    The density is per unit area (volume if D = 3) of the data: the network's log p minus the sum of
    log(scale) over the D coordinates. Each whole set of f32[S, N, D] has one log-likelihood, f[S],
    in nats per point, too. sets/likelihood.py defines it for each kind of model, and the
    number of `draws`. Rows of NaN follow the points of smaller sets.

    labels: i32[S] or i32[n], for a model with labels. Without labels, log p is unconditional; a
    model with config.train.label_drop = 0 has not learned the unconditional density. sizes: i32[S]
    or i32[n], for a model with config.model.sizes: the number of points of the whole set, if
    `points` is a part of it. By default a set in `points` is whole. num_given: h, the first points
    of each set, that are given: the result is log p(the other N - h points | these) / (N - h).
    num_steps: Runge-Kutta steps; None: config.evaluate.likelihood_steps. Raises UserError for a
    shape, a number or an argument that the model cannot score.

    Points may be an array that JAX traces, so jit, grad and vmap work for single points. Data with
    an origin are an exception, because the program would round the points to float32.
    """
    dataset, model = experiment.dataset, experiment.model
    check_has_likelihood(experiment.config, dataset)
    num_steps = experiment.config.evaluate.likelihood_steps if num_steps is None else num_steps
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((params, points))):
        return _log_prob_traced(experiment, params, points, num_steps, labels, sizes, num_given)
    rounded = np.asarray(points, np.float32)
    check_scored(experiment.config, model, dataset.dim, rounded, num_steps, labels, draws, sizes,
                 data.about_built(dataset), num_given)  # fmt: skip
    points = units.to_centred(dataset.origin, points) if dataset.origin else rounded
    if points.ndim == 2 and not (labels is None and sizes is None):
        points = points[:, None]  # sets of one point, each with its own label and size
    if points.ndim == 3:
        return log_prob_of_sets(experiment, params, points, num_steps, labels, draws, sizes,
                                num_given=num_given).log_p  # fmt: skip
    if not len(points):
        return np.zeros(0, np.float32)
    (mesh, params), dim = devices.to_draw(params), dataset.dim
    size = devices.rounded_up(min(len(points), LIKELIHOOD_CHUNK), mesh)
    padded = np.resize(points, (math.ceil(len(points) / size) * size, dim))
    shared = jax.device_put(padded.reshape(-1, size, dim), devices.by_set(mesh, size, axis=1))
    parts = [
        np.asarray(_log_prob_steps(experiment.process, params, dataset.shift, dataset.scale,
                                   part[None], num_steps, model=model))[0] for part in shared
    ]  # fmt: skip
    return np.concatenate(parts)[: len(points)]


@devices.without_float64
def log_prob_of_sets(
    experiment: Experiment, params, points: np.ndarray, num_steps: int,
    labels: np.ndarray | None = None, draws: int = 0, sizes: np.ndarray | None = None,
    seed: int = 0, num_given: int = 0,
) -> Estimate:  # fmt: skip
    """Log-likelihood of sets f32[S, N, D] in centred units, with its standard error.

    sets/likelihood.py describes the arguments; `log_prob` checks them.
    """
    _, dataset, process, model, _ = experiment
    if len(points):
        warn_if_unseen(experiment, lengths(points) if sizes is None else np.asarray(sizes))
    return estimate(
        sets.strategy_of(model), process, params, dataset, points, num_steps,
        experiment.config.train.max_history, labels, draws, seed, sizes, num_given,
    )  # fmt: skip


def _log_prob_traced(
    experiment: Experiment, params, points, num_steps, labels, sizes, num_given
) -> jax.Array:  # fmt: skip
    """Log-likelihood f32[...] of points f32[..., D]: `log_prob` for arrays that JAX traces."""
    dataset, model = experiment.dataset, experiment.model
    points = points if isinstance(points, jax.core.Tracer) else np.asarray(points)
    check_traced(experiment.config, model, dataset, points, num_steps, labels, sizes, num_given)
    centred = units.to_centred(dataset.origin, points)
    x = jnp.asarray(centred, jnp.float32).reshape(-1, dataset.dim)
    of_points = lambda values: None if values is None else jnp.broadcast_to(values, x.shape[:1])
    conditioning = Conditioning(of_points(labels), of_points(sizes))
    log_p = _log_prob(experiment.process, params, dataset.shift, dataset.scale, x[:, None],
                      num_steps, conditioning, model=model)  # fmt: skip
    return log_p.reshape(points.shape[:-1])


@devices.float32_matmuls
def _density(
    process, params, shift, scale, points, num_steps, conditioning=NO_CONDITIONING, *, model
) -> jax.Array:
    denoise = make_denoise(process, model.apply, params, conditioning)
    log_p = log_likelihood(process, denoise, (points - shift) / scale, num_steps)
    return log_p - jnp.broadcast_to(jnp.log(scale), shift.shape).sum()


# Every input of a program is an argument, so a second call reuses the compiled program. The second
# program serves any number of steps, but JAX differentiates only a loop of a known length.
_log_prob = jax.jit(_density, static_argnames=("model", "num_steps"))
_log_prob_steps = jax.jit(_density, static_argnames="model")


def seen_sizes(experiment: Experiment) -> tuple[int, int] | None:
    """Return the smallest and the largest number of points that sets had in training.

    None if the network is not given this number, or if it is not known without the data.
    """
    dataset, model = experiment.dataset, experiment.model
    is_known = dataset.has_points or experiment.config.data.name != "sets"
    # The place of a point in the order depends on their number.
    is_given = model.counts or sets.strategy_of(model).sorts
    return size_range(experiment.config.train, dataset) if is_given and is_known else None


def warn_if_unseen(experiment: Experiment, sizes: np.ndarray) -> None:
    """Log a warning if the network is given a number of points outside of the training range.

    sizes: i64[S], the number of points of each set.
    """
    if (seen := seen_sizes(experiment)) is None:
        return
    least, most = seen
    unseen = sizes[(sizes < least) | (sizes > most)]
    if unseen.size:
        span = f"{unseen.min()} to {unseen.max()}" if np.ptp(unseen) else f"{unseen[0]}"
        sorts = sets.strategy_of(experiment.model).sorts
        log.warning(
            "warning: sets of %s points are outside of the range seen in training, %s points "
            "(config.model.%s)", span, f"{least} to {most}" if least < most else most,
            f"order = {experiment.model.order}" if sorts else "sizes = True",
        )  # fmt: skip
