"""The exact log-likelihood of whole sets, in the way that they are drawn.

    alone   log p(X) = sum_i log p(x_i)
    chain   log p(X) = sum_i log p(x_i | x_1 ... x_{i-1}), the points so far as the history
    causal  the same, by the contexts of one pass

Each conditional is a density of a point of its own, by the probability-flow ODE of
diffusion/likelihood.py. What a chain says of a set depends a little on the order of its points.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax.data.base import PointSets
from tiny_diffusion_jax.data.padding import lengths
from tiny_diffusion_jax.diffusion import make_denoise
from tiny_diffusion_jax.diffusion.likelihood import log_likelihood
from tiny_diffusion_jax.errors import require

WAYS = ("alone", "chain", "causal")
POINTS = 16_384  # at once, with those that a chain shows to each


def log_prob(experiment, params, sets, num_steps: int, labels=None) -> np.ndarray:
    """Nats per point of each of the sets f32[S, N, D] in own units, f32[S]: log p(X) / n.

    A density per unit area (of D = 3: volume) for each point; smaller sets end in rows of NaN.
    labels: i32[S] that the model is given, None: none. Raises UserError for a model of which the
    likelihood of whole sets is not known.
    """
    model, dataset = experiment.model, experiment.dataset
    require(model.traits.generation in WAYS, "config.model.name", experiment.config.model.name,
            "one that draws its points alone, in a chain or causally")  # fmt: skip
    require(labels is None or model.num_labels > 0, "labels", "given", "None without labels")
    sets = np.asarray(sets, np.float32)
    num_sets, num_points, dim = sets.shape
    shown = experiment.config.train.max_history if model.traits.generation == "chain" else 1
    at_once = min(num_sets, max(1, POINTS // (num_points * min(shown, num_points))))
    sizes = lengths(sets)
    arrays = {"points": np.nan_to_num(sets), "size": sizes.astype(np.int32)}
    if labels is not None:
        arrays["label"] = np.asarray(labels, np.int32)
    found = []
    for start in range(0, num_sets, at_once):
        index = np.minimum(np.arange(start, start + at_once), num_sets - 1)  # one program for all
        part = {name: array[index] for name, array in arrays.items()}
        found.append(np.asarray(_log_prob(
            experiment.process, params, dataset.shift, dataset.scale, **part, model=model,
            max_history=experiment.config.train.max_history, num_steps=num_steps,
        )))  # fmt: skip
    return np.concatenate(found)[:num_sets]


@partial(jax.jit, static_argnames=("model", "max_history", "num_steps"))
def _log_prob(process, params, shift, scale, points, size, label=None, *, model, max_history: int,
              num_steps: int) -> jax.Array:  # fmt: skip
    x = (points - shift) / scale
    known = {"label": label, "count": size if model.counts else None}
    known = {name: value for name, value in known.items() if value is not None}
    shape = x.shape
    if model.traits.generation == "causal":
        known = {"latent": model.apply(params, x, method="contexts", **known)}
    elif model.traits.generation == "chain":
        x, history = _each_with_its_history(x, max_history)
        known = {name: jnp.repeat(value, shape[1], axis=0) for name, value in known.items()}
        known["history"] = history
    denoise = make_denoise(process, model.apply, params, **known)
    log_p = log_likelihood(process, denoise, x, num_steps).reshape(shape[:2])
    log_p = log_p - jnp.broadcast_to(jnp.log(scale), shift.shape).sum()
    return log_p.mean(1, where=jnp.arange(shape[1]) < size[:, None])


def _each_with_its_history(x: jax.Array, max_history: int) -> tuple[jax.Array, PointSets]:
    """Points f32[S N, 1, D] of x f32[S, N, D] and, of each, the last of those before it."""
    num_sets, num_points, dim = x.shape
    M = min(max_history, num_points)
    number = jnp.arange(num_points)
    first = jnp.maximum(number - M, 0)
    index = jnp.minimum(first[:, None] + jnp.arange(M), num_points - 1)  # [N, M]
    mask = jnp.arange(M) < jnp.minimum(number, M)[:, None]
    history = x[:, index].reshape(num_sets * num_points, M, dim)
    mask = jnp.broadcast_to(mask, (num_sets, *mask.shape)).reshape(num_sets * num_points, M)
    return x.reshape(-1, 1, dim), PointSets(history, mask)
