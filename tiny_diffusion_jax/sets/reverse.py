"""Run the reverse process of a trained network, compiled once per model, sampler and shape."""

from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from tiny_diffusion_jax.diffusion import Process, make_denoise
from tiny_diffusion_jax.diffusion.samplers import make_sampler, sample, time_grid
from tiny_diffusion_jax.diffusion.schedules import Schedule
from tiny_diffusion_jax.point_sets import NO_CONDITIONING, Conditioning, PointSets


class SamplingContext(NamedTuple):
    """Arguments that are the same for all sets of one call."""

    process: Process
    params: Any
    options: Any  # the `sample` part of a config
    num_points: int  # points of each set; the capacity for sets of different sizes
    max_history: int  # largest number of history points in training
    dim: int = 2  # D, coordinates of a point
    keep_trajectory: bool = False


def reverse(
    context: SamplingContext, model, keys: jax.Array, shape: tuple[int, int], *, number: int = 0,
    method: str | None = None, fixed: PointSets | None = None,
    conditioning: Conditioning = NO_CONDITIONING, unconditional: Conditioning | None = None,
) -> jax.Array:  # fmt: skip
    """Run the reverse process once for each of B sets, f32[B, *shape], in the network's units.

    The result is the trajectory f32[steps + 1, B, *shape] with context.keep_trajectory. The other
    arguments are:

        number         selects the noise, so that several runs for the same sets are independent.
        method         name of the network within the model; "prior" is the network of latents,
                       whose data have mean 0 and variance 1.
        fixed          points that every step inserts, see `samplers.sample`.
        unconditional  conditioning of the unconditional network of guidance. None: guidance drops
                       the label, or the history if there is no label.
    """
    options, process = context.options, context.process
    if unconditional is None:
        unconditional = without_guide(conditioning)
    return _run(
        model, process.of_latents() if method else process, context.params, _fold(keys, number),
        visited_levels(process.schedule, options),
        options.guidance_scale, fixed, conditioning,
        None if options.guidance_scale == 1 else unconditional,
        sampler=options.sampler, eta=options.eta, shape=shape, method=method,
        precision=options.precision,
        keep_trajectory=context.keep_trajectory and not method,
    )  # fmt: skip


def visited_levels(schedule: Schedule, options, num_steps: int | None = None) -> np.ndarray:
    """Levels i32[n + 1] that the sampler of `options` visits, noise first; see `time_grid`.

    num_steps: replaces options.num_steps.
    """
    return time_grid(schedule, num_steps or options.num_steps, options.spacing, options.sigma_min)


def without_guide(conditioning: Conditioning) -> Conditioning | None:
    """Drop the label, or the history if there is no label; None if there is neither."""
    if conditioning.label is not None:
        return conditioning._replace(label=None)
    return None if conditioning.history is None else conditioning._replace(history=None)


@partial(jax.jit, static_argnames=(
    "model", "sampler", "eta", "shape", "method", "precision", "keep_trajectory"))
def _run(
    model, process, params, keys, grid, guidance_scale, fixed, conditioning, unconditional,
    *, sampler, eta, shape, method, precision, keep_trajectory,
):  # fmt: skip
    # The program depends on arguments only, so a second call reuses the compiled program.
    denoise = make_denoise(process, partial(model.apply, method=method), params, conditioning,
                           guidance_scale, unconditional)  # fmt: skip
    with jax.default_matmul_precision(precision):
        return sample(
            process, make_sampler(sampler, eta), denoise, grid, keys, shape, keep_trajectory, fixed
        )


@jax.jit
def _fold(keys: jax.Array, number: int) -> jax.Array:
    return jax.vmap(jax.random.fold_in, (0, None))(keys, number)
