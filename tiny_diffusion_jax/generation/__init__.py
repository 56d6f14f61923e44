"""From a trained denoiser to whole sets, in one of three ways, after what the denoiser sees.

    joint   all points of a set together, in one reverse process
    chain   block after block, each given the points so far: p(x_1) p(x_2 | x_1) ...
    latent  a latent for the set first, by its own reverse process, then points given it

Each also completes a set of which some points are given. Keys follow from seed and set number, so
a set depends on neither how many are asked for nor how much memory there is.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax import diffusion
from tiny_diffusion_jax.data.base import PointSets
from tiny_diffusion_jax.diffusion import samplers
from tiny_diffusion_jax.errors import require

PART = 16_384  # points of a set that are drawn at once where they do not see each other
# Apart from the numbers of parts and blocks.
LATENT_KEY, REDRAW_KEY, LABEL_KEY = 2**30, 2**30 + 1, 2**30 + 2
RANDOM, UNNAMED = -1, -2  # in place of a label


def draw(
    experiment, params, config, keep_trajectory: bool = False, progress: bool = False,
    given: np.ndarray | None = None, labels: np.ndarray | None = None,
) -> np.ndarray:
    """f32[num_sets, num_points, 2] in the data's own units; see `experiment.sample`."""
    from tqdm import tqdm

    if given is not None:
        check_given(experiment.model, given, config.num_points)
        given = experiment.dataset.normalize(jnp.asarray(given, jnp.float32))
    way = _chain if experiment.model.traits.generation == "chain" else _direct
    keys = jax.vmap(jax.random.fold_in, (None, 0))(
        jax.random.key(config.seed), jnp.arange(config.num_sets)
    )
    if labels is None and given is not None and config.label == RANDOM:
        labels = np.full(config.num_sets, UNNAMED)  # a random one would not go with the points
    if labels is None:
        labels = _labels(experiment, config, keys)
    sets = _sets_at_once(experiment, config, given)
    starts = range(0, config.num_sets, sets)
    draw_some = way(experiment, params, config, keep_trajectory, given)
    chunks = []
    for start in tqdm(starts, desc="sample", unit="chunk",
                      disable=not progress or len(starts) == 1):  # fmt: skip
        # The last chunk is filled up with sets that are thrown away: one program serves all.
        index = np.minimum(np.arange(start, start + sets), config.num_sets - 1)
        chunk = np.asarray(draw_some(keys[index], jnp.asarray(labels[index])))
        chunks.append(chunk[..., : config.num_sets - start, :, :])
    return np.concatenate(chunks, axis=-3)


def _labels(experiment, config, keys) -> np.ndarray:
    """i32[num_sets]: config.label for all; for RANDOM each set's own, as often as in the data."""
    if config.label != RANDOM or not experiment.model.num_labels:
        return np.full(config.num_sets, config.label)

    def label(dataset, key):
        return dataset.draw(jax.random.fold_in(key, LABEL_KEY), 1, 1).label[0]

    return np.asarray(jax.jit(jax.vmap(label, (None, 0)))(experiment.dataset, keys))


def check_given(model, given: np.ndarray, num_points: int) -> None:
    """Raises UserError for a partial set that `model` cannot complete to `num_points`."""
    require(model.traits.generation != "alone", "config.model.name", "fourier_mlp",
            "a model whose points see each other, to complete a set: history, set_transformer, "
            "set_latent")  # fmt: skip
    require(np.isfinite(given).all(), "--points", "a table", "finite numbers throughout")
    require(1 <= len(given) < num_points, "--points: number of points", len(given),
            f"in 1..{num_points - 1}, fewer than config.sample.num_points = {num_points}")


def _sets_at_once(experiment, config, given=None) -> int:
    """Sets that fit into config.memory_mb."""
    model, points = experiment.model, config.num_points
    if _splits(model):
        points = min(points, PART)
    elif given is not None and not model.traits.shown:
        points += len(given) * math.ceil(points / len(given))  # `_known`
    floats = model.traits.floats_per_point + points * model.traits.floats_per_pair
    bytes_per_set = 2 * 4 * points * floats  # arrays in and out of a layer
    return max(1, min(config.num_sets, config.memory_mb * 2**20 // bytes_per_set))


def _splits(model) -> bool:
    """Whether the points of a set are drawn independently of each other."""
    return model.traits.generation == "alone" or model.traits.latent_dim > 0


def _program(experiment, config, keep_trajectory=False):
    """The reverse process of a network as a function of everything that changes between calls."""
    process = experiment.process
    sampler = samplers.make_sampler(config.sampler, config.eta)
    grid = jnp.asarray(samplers.time_grid(process.schedule, config.num_steps, config.spacing))
    guidance = config.guidance_scale

    @functools.partial(jax.jit, static_argnames=("shape", "method"))
    def run(params, keys, shape, method=None, known=None, **condition):
        apply = functools.partial(experiment.model.apply, method=method)
        free = "label" if condition.get("label") is not None else "history"
        unconditional = {free: None} if condition.get(free) is not None else None
        denoise = diffusion.make_denoise(
            process, apply, params, guidance, unconditional, **condition
        )
        return samplers.sample(
            process, sampler, denoise, grid, keys, shape, keep_trajectory, known
        )

    return run


def _condition(model, labels) -> dict:
    return {"label": labels} if model.num_labels else {}


def _fold(keys, number: int):
    return jax.vmap(jax.random.fold_in, (0, None))(keys, number)


def _direct(experiment, params, config, keep_trajectory, given):
    """Joint and latent: one reverse process for the points, after one for the latent if any."""
    model, dataset, N = experiment.model, experiment.dataset, config.num_points
    run = _program(experiment, config, keep_trajectory)
    run_latent = _program(experiment, config)
    part = min(N, PART) if _splits(model) else N
    new = N - (len(given) if given is not None and model.traits.latent_dim else 0)

    def draw_some(keys, labels):
        condition = _condition(model, labels)
        if model.traits.latent_dim:
            if given is None:
                condition["latent"] = run_latent(
                    params, _fold(keys, LATENT_KEY), (1, model.traits.latent_dim), "prior",
                    **condition,
                )
            else:
                z = model.apply(params, PointSets(given[None]), method="encode")
                condition["latent"] = jnp.broadcast_to(z, (len(keys), *z.shape[1:]))
            condition.pop("label", None)  # it is in the latent
        elif given is not None:
            known = _known(given, N, len(keys))
            x = run(params, _fold(keys, 0), known.points.shape[1:], known=known, **condition)
            return dataset.denormalize(x[..., :N, :])
        parts = [run(params, _fold(keys, j), (part, 2), **condition)
                 for j in range(math.ceil(new / part))]  # fmt: skip
        x = jnp.concatenate(parts, axis=-2)[..., :new, :]
        if given is not None and model.traits.latent_dim:
            shown = jnp.broadcast_to(given, (*x.shape[:-2], *given.shape))
            x = jnp.concatenate([shown, x], axis=-2)
        return dataset.denormalize(x)

    return draw_some


def _known(given, num_points: int, num_sets: int) -> PointSets:
    """The given points first, places for the new ones, then copies of the given ones.

    A few noised points among many unknown ones are soon outvoted, and the set becomes what it
    likes. Copies, each with noise of its own, give them as much weight as all the others.
    """
    n, copies = len(given), math.ceil(num_points / len(given))
    index = jnp.arange(num_points + copies * n)
    places = jnp.where(index < num_points, index, (index - num_points) % n)
    there = (index < n) | (index >= num_points)
    points = jnp.where(there[:, None], given[jnp.minimum(places, n - 1)], 0)
    shape = (num_sets, len(index))
    return PointSets(jnp.broadcast_to(points, (*shape, 2)), jnp.broadcast_to(there, shape))


def block_sizes(num_points: int, filled: int, first_block: int, growth: float) -> list[int]:
    """Points of each block: max(first_block, (growth - 1) n) where n are there, to num_points."""
    sizes = []
    while filled < num_points:
        block = max(first_block, math.floor((growth - 1) * filled))
        sizes.append(min(block, num_points - filled))
        filled += sizes[-1]
    return sizes


def _chain(experiment, params, config, keep_trajectory, given):
    """Block after block. The history is a plain array that grows; the network holds nothing."""
    model, dataset, N = experiment.model, experiment.dataset, config.num_points
    run = _program(experiment, config, keep_trajectory)
    longest = experiment.config.train.max_history
    start = 0 if given is None else len(given)
    sizes = block_sizes(N, start, config.first_block, config.growth)

    def history_of(points):
        """The last points, in an array of few different sizes, so that few programs are needed."""
        points = points[:, -longest:] if points.shape[1] else points
        there = points.shape[1]
        width = min(longest, 2 ** math.ceil(math.log2(max(there, 1))))
        points = jnp.pad(points, ((0, 0), (0, width - there), (0, 0)))
        return PointSets(points, jnp.broadcast_to(jnp.arange(width) < there, points.shape[:2]))

    def block(keys, number, points, size, labels):
        # Points of a block do not see each other: a larger block holds a smaller one.
        width = 2 ** math.ceil(math.log2(size))
        drawn = run(params, _fold(keys, number), (width, 2), history=history_of(points),
                    **_condition(model, labels))  # fmt: skip
        return drawn[..., :size, :]

    def draw_some(keys, labels):
        shown = jnp.zeros((0, 2)) if given is None else given
        points = jnp.broadcast_to(shown, (len(keys), *shown.shape))
        ways = [points if not keep_trajectory else points[None]]
        for number, size in enumerate(sizes):
            ways.append(block(keys, number, points, size, labels))
            points = jnp.concatenate([points, ways[-1][-1] if keep_trajectory else ways[-1]], 1)
        if keep_trajectory:
            ways[0] = jnp.broadcast_to(ways[0], (*ways[-1].shape[:1], *points.shape[:1], start, 2))
        x = jnp.concatenate(ways, axis=-2)
        again = min(config.redraw, N - start - 1)
        if again > 0 and start == 0:
            anew = block(keys, REDRAW_KEY, points[:, again:], again, labels)
            x = jnp.concatenate([anew, x[..., again:, :]], axis=-2)
        return dataset.denormalize(x)

    return draw_some
