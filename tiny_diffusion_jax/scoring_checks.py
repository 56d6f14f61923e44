"""Check the arguments of one call of `log_prob`, and whether a model has a likelihood."""

import math

import jax
import numpy as np

from tiny_diffusion_jax.call_checks import (
    DISTILLED,
    NEVER_WITH_LABEL,
    NEVER_WITHOUT_LABEL,
    check_labels,
    check_sees_given,
    is_distilled,
    needs_labels,
)
from tiny_diffusion_jax.data import About
from tiny_diffusion_jax.errors import require
from tiny_diffusion_jax.metrics import ragged
from tiny_diffusion_jax.point_sets import lengths
from tiny_diffusion_jax.sets import strategy_of


def check_has_likelihood(config, dataset) -> None:
    """Raise UserError for a model without a likelihood.

    Distilled models, latents without noise, and flows from a start without log p have none.
    """
    require(not is_distilled(config), "config.train.trajectories", config.train.trajectories,
            f"0 for a likelihood: {DISTILLED}", "Score with the model that was distilled")
    start = dataset.start
    require(start is None or start.log_prob is not None, "config.data.start", config.data.start,
            "a start with a density that is nowhere 0, for log p: not circle, line, checkerboard, "
            "or a table without jitter")
    check_latent_noise(config)


def check_latent_noise(config, advice: str = "") -> None:
    """Raise UserError for a model whose likelihood divides by the density of a noise of std 0."""
    noise = config.model.latent_noise
    require(config.model.name != "set_latent" or noise > 0, "config.model.latent_noise", noise,
            "above 0 for a likelihood, which divides by the density of this noise", advice)


def check_scored(
    config, model, dim: int, points: np.ndarray, num_steps: int, labels, draws: int, sizes,
    about: About, num_given: int = 0,
) -> None:  # fmt: skip
    """Raise UserError for arguments of `scoring.log_prob` that `model` cannot score.

    points: f32[n, D] or f32[S, N, D]; config: the whole config of the training.
    """
    has_shape = points.ndim in (2, 3) and points.shape[-1] == dim and points.shape[1] > 0
    require(has_shape, "points.shape", points.shape,
            f"(n, {dim}) for points or (S, N, {dim}) for sets, N at least 1")  # fmt: skip
    single = points.ndim == 2
    require(not single or strategy_of(model).has_point_density, "config.model.name",
            config.model.name,
            "a denoiser of single points, as joint models have no density of a point")  # fmt: skip
    _require_whole("num_steps", num_steps, 1)
    _require_whole("draws", draws, 0)
    _require_whole("num_given", num_given)
    if single:
        infinite = int((~np.isfinite(points)).any(-1).sum())
        require(infinite == 0, "points: points that are not finite", infinite, "0")
    else:
        ragged.require_padded("points", points)
    if num_given:
        _check_num_given(model, points, num_given)
    if labels is not None:
        check_labels(len(points), model, np.asarray(labels), about.labels.present)
    _check_seen_with(config, model, labels)
    require(sizes is not None or not (single and model.counts), "sizes", sizes,
            "given for single points: the model is conditioned on the size of their sets, as "
            "config.model.sizes = True")  # fmt: skip
    if sizes is None:
        return
    num_points, sizes = np.ones(len(points), int) if single else lengths(points), np.asarray(sizes)
    _require_whole_sizes(sizes)
    require(model.counts, "sizes", "given", "None for a model with config.model.sizes = False")
    require(sizes.shape == num_points.shape, "sizes.shape", sizes.shape,
            f"(num_sets,) = {num_points.shape}")  # fmt: skip
    small = sizes < num_points
    require(not small.any(), "sizes", sizes[small].tolist()[:1],
            f"at least the number of points of each set: {num_points[small].tolist()[:1]}")


def _check_seen_with(config, model, labels) -> None:
    """Raise UserError unless `model` saw sets with labels, or without if `labels` is None."""
    require(labels is not None or not needs_labels(config, model), "labels", labels,
            f"given: {NEVER_WITHOUT_LABEL}")  # fmt: skip
    require(labels is None or config.train.label_drop < 1, "labels", "given",
            f"None: {NEVER_WITH_LABEL}")  # fmt: skip


def _check_num_given(model, points: np.ndarray, num_given: int) -> None:
    """Raise UserError unless `model` has the density of sets given their first points."""
    require(points.ndim == 3 and strategy_of(model).grows, "num_given", num_given,
            "0 unless sets f[S, N, D] are scored by a model that generates a set point by point")
    check_sees_given(model)
    most = int(lengths(points).min(initial=points.shape[1])) - 1
    require(0 <= num_given <= most, "num_given", num_given,
            f"in 0..{most}: at least one point of each set is scored")  # fmt: skip


def check_traced(
    config, model, dataset, points, num_steps: int, labels, sizes, num_given: int
) -> None:
    """Raise UserError for arguments of `scoring.log_prob` that JAX traces and `model` cannot score.

    points: f32[..., D], whose values are unknown, or values for traced parameters.
    """
    dim, are_traced = dataset.dim, isinstance(points, jax.core.Tracer)
    require(not (are_traced and dataset.origin), "points", "traced",
            "values that JAX does not trace, because float32 would round points as far from 0 as "
            f"{dataset.origin}", "To trace log_prob, train on points near 0")  # fmt: skip
    require(points.ndim >= 1 and points.shape[-1] == dim, "points.shape", points.shape,
            f"(..., {dim}) for arrays that JAX traces")  # fmt: skip
    require(strategy_of(model).has_point_density, "config.model.name", config.model.name,
            "a denoiser of single points, if JAX traces log_prob (in jit, grad or vmap)",
            "Call log_prob with arrays of numpy")  # fmt: skip
    _require_whole("num_steps", num_steps, 1)
    require(num_given == 0, "num_given", num_given, "0 for single points, which have no set")
    require(labels is None or model.num_labels > 0, "labels", "given",
            "None for a model without labels")  # fmt: skip
    _check_seen_with(config, model, labels)
    require((sizes is not None) == model.counts, "sizes", sizes,
            f"{'given' if model.counts else 'None'} with config.model.sizes = {model.counts}")
    if sizes is not None:
        _require_whole_sizes(sizes if isinstance(sizes, jax.core.Tracer) else np.asarray(sizes))


def _require_whole(field: str, value, least: float = -math.inf) -> None:
    """Raise UserError unless `value` is a whole number, at least `least`; True is none."""
    is_whole = np.ndim(value) == 0 and np.asarray(value).dtype.kind in "iu"
    require(is_whole, field, value, "a whole number")
    require(value >= least, field, value, f"at least {least}")


def _require_whole_sizes(sizes: np.ndarray | jax.Array) -> None:
    require(sizes.dtype.kind in "iu", "sizes.dtype", str(sizes.dtype), "a type of whole numbers")
