"""Draw the batches of training; a `BatchSpec` holds their shapes and probabilities."""

import math

import jax
import jax.numpy as jnp

from tiny_diffusion_jax.dataset import Dataset
from tiny_diffusion_jax.diffusion import Process
from tiny_diffusion_jax.diffusion.posterior_mean import posterior_mean
from tiny_diffusion_jax.point_sets import Conditioning
from tiny_diffusion_jax.sets import strategy_of
from tiny_diffusion_jax.sets.batch import Batch, BatchSpec
from tiny_diffusion_jax.sets.sizes import log_uniform
from tiny_diffusion_jax.training import augment as augmentation
from tiny_diffusion_jax.training.augment import Augment

POINTS_AT_ONCE = 2**14  # points that are drawn together, for a few steps of a block
AUGMENT_KEY, GIVEN_KEY = 2**30, 2**30 + 1  # differ from the keys of the other parts of a batch


def set_sizes(config) -> tuple[int, ...]:
    """Numbers of points that the blocks of a run cycle through: N, 4 N, 16 N, ... <= max_points.

    `config` is the `train` part of a config, and N is config.num_points.
    """
    sizes = [config.num_points]
    while 4 * sizes[-1] <= config.max_points:
        sizes.append(4 * sizes[-1])
    return tuple(sizes)


def size_range(config, dataset: Dataset) -> tuple[int, int]:
    """Smallest and largest number of points that a run gives a network with model.sizes=True.

    `config` is the `train` part of a config.
    """
    if dataset.sizes is not None:  # the network is given the size of the complete observed set
        return int(dataset.sizes.min()), int(dataset.sizes.max())
    blocks = math.ceil(config.steps / config.block)
    return config.min_points or config.num_points, max(set_sizes(config)[:blocks])


def make_batch_spec(config, model, block: int = 0, augment: Augment | None = None) -> BatchSpec:
    """Spec of the batches of block number `block` of a run.

    `config` is the `train` part of a config, and `augment` transforms the sets. With max_points the
    blocks cycle through `set_sizes`, and all batches have as many points as the first batch.
    """
    sizes = set_sizes(config)
    num_points = sizes[block % len(sizes)]
    num_sets = max(config.num_sets // (num_points // config.num_points), 1)
    return BatchSpec(
        strategy_of(model), num_sets, num_points, config.min_points, config.min_history,
        config.max_history, config.history_drop, config.label_drop if model.num_labels else 0.0,
        config.num_levels, augment,
    )  # fmt: skip


def block_key(seed: int) -> jax.Array:
    """Return the key that all blocks of a run share; each block folds in its first step."""
    return jax.random.fold_in(jax.random.key(seed), 1)


def draw_block(
    key: jax.Array, dataset: Dataset, num_levels: int, steps: int, spec: BatchSpec,
    process: Process | None = None,
) -> Batch:  # fmt: skip
    """Draw batches like `draw_batches`, in parts of a few steps; part i has key `fold_in(key, i)`.

    The compiler for a TPU takes a minute for the draws of a million points, and 2 s for 16,000
    points.
    """
    values = spec.num_sets * spec.strategy.values_per_set(spec)
    parts = math.ceil(steps / max(1, POINTS_AT_ONCE // values))
    at_once = math.ceil(steps / parts)
    part = lambda i: draw_batches(
        jax.random.fold_in(key, i), dataset, num_levels, at_once, spec, process)
    batches = jax.lax.map(part, jnp.arange(parts))
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:steps], batches)


def draw_batches(
    key: jax.Array, dataset: Dataset, num_levels: int, steps: int, spec: BatchSpec,
    process: Process | None = None,
) -> Batch:  # fmt: skip
    """Draw the random values of `steps` steps; each leaf is [steps, num_sets, ...].

    process: its source takes the place of Gaussian noise, its pairs are not independent, its
    law changes the noise levels, and its references average the targets. None: independent
    Gaussian noise, uniform levels, and x_0 as the target.
    """
    if dataset.trajectories is not None:
        return dataset.trajectories.draw_batches(key, num_levels, steps, spec)
    data_key, eps_key, time_key, size_key, history_key, label_key, latent_key = jax.random.split(
        key, 7
    )
    B, N, strategy = spec.num_sets, spec.num_points, spec.strategy
    extra_batches, extra_points = strategy.extra_draws(spec)
    sets = dataset.draw(data_key, (steps + extra_batches) * B, N + extra_points)
    points, mask, label, size = (
        None if a is None else a.reshape(-1, B, *a.shape[1:])
        for a in (dataset.normalize(sets.points), sets.mask, sets.label, sets.size)
    )
    if spec.augment is not None:
        points = augmentation.apply(spec.augment, jax.random.fold_in(key, AUGMENT_KEY), points)
    if mask is not None:
        points = jnp.where(mask[..., None], points, 0)  # padding may be NaN
    history, points, mask = strategy.split(history_key, points, mask, spec)
    label, size = (None if a is None else a[extra_batches:] for a in (label, size))
    if spec.min_points:
        within = jnp.arange(N) < log_uniform(size_key, (steps, B, 1), spec.min_points, N)
        mask = within if mask is None else mask & within
    exists = jnp.ones(points.shape[:-1], bool) if mask is None else mask
    given = strategy.draw_given(jax.random.fold_in(key, GIVEN_KEY), exists)
    order = strategy.order(dataset.denormalize(points), mask, dataset.origin, given)
    if order is not None:
        points = jnp.take_along_axis(points, order[..., None], axis=-2)
        mask = None if mask is None else jnp.take_along_axis(mask, order, axis=-1)
    if spec.label_drop and label is not None:
        label = jnp.where(jax.random.bernoulli(label_key, spec.label_drop, label.shape), -1, label)
    if strategy.model.counts and size is None:  # no size in the data: count the points
        size = jnp.full((steps, B), N) if mask is None else mask.sum(-1)
    conditioning = Conditioning(
        label, size if strategy.model.counts else None, history, mask=mask,
        given=None if given is None else given.sum(-1),
    )  # fmt: skip
    noise = strategy.noise((eps_key, time_key, latent_key), points.shape, mask, num_levels, spec)
    if process is not None:
        noise |= _of_process(process, eps_key, points, noise)
    return Batch(points, conditioning=conditioning, **noise)


def _of_process(process: Process, key: jax.Array, points: jax.Array, noise: dict) -> dict:
    """Return the fields `eps`, `t` and `mean` with the source, pairs and law of `process`."""
    eps, t = noise["eps"], noise["t"]
    if process.source is not None:
        eps = process.draw_noise(key, points.shape)
    if process.pair is not None:  # all points of the batch of a step
        flat = [a.reshape(len(a), -1, a.shape[-1]) for a in (points, eps)]
        eps = process.pair(*flat).reshape(eps.shape)
    if process.law is not None:
        t = process.law[t]
    if not process.references:
        return {"eps": eps, "t": t}
    mean_of_step = lambda step: posterior_mean(process.level(step[2]), *step[:2],
                                               process.references)  # fmt: skip
    return {"eps": eps, "t": t, "mean": jax.lax.map(mean_of_step, (points, eps, t))}
