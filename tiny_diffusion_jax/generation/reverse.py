"""The reverse process of a trained network, compiled once for each model, sampler and shape."""

from functools import partial
from typing import Any, NamedTuple

import jax

from tiny_diffusion_jax.data.base import PointSets
from tiny_diffusion_jax.diffusion import Process, make_denoise
from tiny_diffusion_jax.diffusion.samplers import make_sampler, sample, time_grid


class Request(NamedTuple):
    """What stays the same for all sets of one call."""

    model: Any
    process: Process
    params: Any
    config: Any  # the `sample` part of a config
    max_history: int  # most clean points that the model was shown in training
    keep_trajectory: bool = False
    dim: int = 2  # D, coordinates of a point


class Asked(NamedTuple):
    """What is known of each of B sets before it is drawn; None: nothing."""

    label: jax.Array | None = None  # i32[B]
    count: jax.Array | None = None  # i32[B], the number of points that the network is given
    # i32[B], the points that are wanted of a set, where they are not config.num_points for all:
    # then the sets have that many places, of which the first are points.
    size: jax.Array | None = None

    def condition(self) -> dict:
        """What a network is given whatever the way."""
        return {"label": self.label, "count": self.count}


def reverse(
    request: Request, keys: jax.Array, shape: tuple[int, int], *, number: int = 0,
    method: str | None = None, known: PointSets | None = None, unconditional: dict | None = None,
    **condition,
) -> jax.Array:  # fmt: skip
    """Runs the reverse process once for each of B sets, f32[B, *shape], in the network's units.

    With request.keep_trajectory the whole way, f32[steps + 1, B, *shape]. `number` sets the noise
    apart from that of other runs for the same sets. `method` names the network within the model
    ("prior": that of latents, whose data have mean 0 and variance 1). `known`: see
    `samplers.sample`. `condition` is what the network is given (label, count, history, latent,
    mask); guidance weighs the label, or the history where there is no label, against nothing, or
    what `unconditional` has against that in place of it.
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
    # All that a program depends on is an argument, so a second call finds it compiled.
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
