"""Run the reverse process of a trained network, compiled once per model, sampler and shape."""

from functools import partial
from typing import Any, NamedTuple

import jax

from tiny_diffusion_jax.dataset import PointSets
from tiny_diffusion_jax.diffusion import Process, make_denoise
from tiny_diffusion_jax.diffusion.samplers import make_sampler, sample, time_grid


class Request(NamedTuple):
    """Arguments that are the same for all sets of one call."""

    model: Any
    process: Process
    params: Any
    config: Any  # the `sample` part of a config
    max_history: int  # largest number of history points in training
    keep_trajectory: bool = False
    dim: int = 2  # D, coordinates of a point


class Asked(NamedTuple):
    """Conditioning of each of B sets; None: no conditioning."""

    label: jax.Array | None = None  # i32[B]
    count: jax.Array | None = None  # i32[B], number of points as conditioning
    # i32[B], number of points to draw for each set; None: config.num_points for all sets. With
    # `size`, config.num_points is the capacity, and padding follows the points of a set.
    size: jax.Array | None = None

    def condition(self) -> dict:
        """Return the conditioning that a network gets in every strategy."""
        return {"label": self.label, "count": self.count}


def reverse(
    request: Request, keys: jax.Array, shape: tuple[int, int], *, number: int = 0,
    method: str | None = None, known: PointSets | None = None, unconditional: dict | None = None,
    **condition,
) -> jax.Array:  # fmt: skip
    """Run the reverse process once for each of B sets, f32[B, *shape], in the network's units.

    The result is the trajectory f32[steps + 1, B, *shape] with request.keep_trajectory. The other
    arguments are:

        number         selects the noise, so that several runs for the same sets are independent.
        method         name of the network within the model; "prior" is the network of latents,
                       whose data have mean 0 and variance 1.
        known          see `samplers.sample`.
        condition      conditioning of the network (label, count, history, latent, mask).
        unconditional  replaces parts of `condition` in the unconditional network of guidance.
                       None: guidance drops the label, or the history if there is no label.
    """
    config, process = request.config, request.process
    condition = {name: value for name, value in condition.items() if value is not None}
    if unconditional is None:
        guide = next((name for name in ("label", "history") if name in condition), None)
        unconditional = {guide: None} if guide else None
    return _run(
        request.model, process.of_latents() if method else process, request.params,
        _fold(keys, number),
        time_grid(process.schedule, config.num_steps, config.spacing, config.sigma_min),
        config.guidance_scale, known, condition,
        None if config.guidance_scale == 1 else unconditional,
        sampler=config.sampler, eta=config.eta, shape=shape, method=method,
        precision=config.precision,
        keep_trajectory=request.keep_trajectory and not method,
    )  # fmt: skip


@partial(jax.jit, static_argnames=(
    "model", "sampler", "eta", "shape", "method", "precision", "keep_trajectory"))
def _run(
    model, process, params, keys, grid, guidance_scale, known, condition, unconditional,
    *, sampler, eta, shape, method, precision, keep_trajectory,
):  # fmt: skip
    # The program depends on arguments only, so a second call reuses the compiled program.
    denoise = make_denoise(
        process, partial(model.apply, method=method), params, guidance_scale,
        unconditional, **condition,
    )  # fmt: skip
    with jax.default_matmul_precision(precision):
        return sample(
            process, make_sampler(sampler, eta), denoise, grid, keys, shape, keep_trajectory, known
        )


@jax.jit
def _fold(keys: jax.Array, number: int) -> jax.Array:
    return jax.vmap(jax.random.fold_in, (0, None))(keys, number)
