"""Generate whole sets from a trained denoiser, by the strategy that its traits name.

    alone   independent points.
    joint   all points of a set together, in one reverse process.
    chain   block after block, each given the points so far: p(x_1) p(x_2 | x_1) ...
    causal  point after point, given a context that a causal transformer computes from the points
            so far.
    latent  first a latent for the set, by its own reverse process, then points given the latent.

Each strategy is a module with `draw`. If a strategy can start from given points, its module also
has `complete`. Random keys follow from the seed and the number of a set, so a set depends neither
on the number of sets nor on the memory. The devices share the sets. For sets of different sizes,
see `sizes`.
"""

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax import data, devices
from tiny_diffusion_jax.data.label_option import NO_LABEL, RANDOM, resolve_label
from tiny_diffusion_jax.sets import autoregressive, causal, independent, joint, latent, sizes
from tiny_diffusion_jax.sets.chunks import chunk_size, each, set_keys
from tiny_diffusion_jax.sets.padding import padded
from tiny_diffusion_jax.sets.reverse import Asked, Request

__all__ = ["asked", "draw", "label_of"]
WAYS = {"alone": independent, "joint": joint, "chain": autoregressive, "causal": causal,
        "latent": latent}  # fmt: skip
LABEL_KEY = 2**30 + 2  # differs from the numbers of parts and blocks


def draw(
    experiment, params, config, keep_trajectory: bool = False, progress: bool = False,
    given: np.ndarray | None = None, labels: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """Generate sets f32[num_sets, num_points, D]; see `experiment.sample`.

    The sets and the `given` points are in centred units.
    """
    dataset, model = experiment.dataset, experiment.model
    mesh, params = devices.to_draw(params)
    request = Request(model, experiment.process, params, config,
                      experiment.config.train.max_history, keep_trajectory,
                      dataset.dim)  # fmt: skip
    labels, wanted = asked(experiment, config, given, labels)
    if given is not None:
        given = dataset.normalize(jnp.asarray(given, jnp.float32))
    key = jax.random.key(config.seed)
    count = np.full(config.num_sets, config.num_points) if wanted is None else wanted
    sizes.warn_if_unseen(experiment, count)

    way = WAYS[model.traits.generation]

    def draw_sets(request: Request, numbers: np.ndarray, size: int):
        """Draw the sets with these numbers, each with capacity for request.config.num_points."""
        # Fill up the chunk with sets that are dropped later, so that one program serves all chunks.
        numbers = np.pad(numbers, (0, size - len(numbers)), mode="edge")
        asked = Asked(
            None if labels is None else jnp.asarray(labels)[numbers],
            jnp.asarray(count[numbers], jnp.int32) if model.counts else None,
            None if wanted is None else jnp.asarray(wanted[numbers], jnp.int32),
        )
        keys = set_keys(key, jnp.asarray(numbers))
        keys = jax.device_put(keys, devices.by_set(mesh, len(numbers)))
        drawn = (way.draw(request, keys, asked) if given is None else
                 way.complete(request, keys, given, asked))  # fmt: skip
        return np.asarray(dataset.denormalize(drawn))

    num_given = 0 if given is None else len(given)
    chunks = list(_chunks(request, mesh, way, num_given, wanted))
    result = None
    for (_, numbers, _), points in each(draw_sets, chunks, mesh, "sample" if progress else ""):
        points = points[..., : len(numbers), :, :]
        if wanted is not None:
            points = padded(points, wanted[numbers])[..., : count.max(), :]
        if result is None:
            shape = *points.shape[:-3], config.num_sets, count.max(), points.shape[-1]
            result = np.full(shape, np.nan, points.dtype)
        result[..., numbers, : points.shape[-2], :] = points
    return result


def asked(
    experiment, config, given: np.ndarray | None = None, labels: np.ndarray | None = None
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return the conditioning of each set: its label i32[S] and its number of points i64[S].

    The labels are None if the model has no labels. The numbers of points are None if all sets have
    config.num_points. Both follow from config.seed and the number of the set.
    """
    keys = set_keys(jax.random.key(config.seed), jnp.arange(config.num_sets))
    if labels is None:
        labels = _labels(experiment, config, keys, given)
    if config.num_points:
        return labels, None
    num_given = 0 if given is None else len(given)
    return labels, sizes.draw_sizes(experiment.dataset, keys, labels, num_given)


def _chunks(request: Request, mesh, way, num_given: int, wanted: np.ndarray | None):
    """Yield (request, numbers of the sets i64[n], number of sets with padding) of each chunk.

    Sets of different sizes are drawn together if they have the same capacity. Few chunk sizes
    occur, so few programs serve any number of sets.
    """
    if wanted is None:
        size = chunk_size(request, way.rows(request, num_given), mesh)
        for start in range(0, request.config.num_sets, size):
            yield request, np.arange(start, min(start + size, request.config.num_sets)), size
        return
    for places, numbers in sizes.by_width(wanted):
        config = request.config.copy_and_resolve_references()
        at_once = sizes.width(min(len(numbers), sizes.MOST_AT_ONCE))
        config.update(num_points=places, num_sets=at_once)
        part = request._replace(config=config)
        size = chunk_size(part, way.rows(part, num_given), mesh)
        for start in range(0, len(numbers), size):
            yield part, numbers[start : start + size], size


def _labels(experiment, config, keys, given) -> jax.Array | None:
    """Labels i32[num_sets]: config.label, or for RANDOM random labels, as frequent as in the data.

    None if the model has no labels.
    """
    label = label_of(experiment, config, given)
    if label == NO_LABEL:
        return None
    if label != RANDOM:
        return jnp.full(config.num_sets, label)
    with np.errstate(divide="ignore"):  # a label without sets has share 0
        log_shares = np.log(experiment.dataset.label_shares).astype(np.float32)
    return _random_labels(log_shares, keys)


def label_of(experiment, config, given: np.ndarray | None = None) -> int:
    """Index of the label that all sets are drawn with, RANDOM, or NO_LABEL.

    A model without labels has NO_LABEL. Sets with given points have no random label, because a
    random label may not agree with the points.
    """
    if not experiment.model.num_labels:
        return NO_LABEL
    label = resolve_label(config.label, data.about_built(experiment.dataset).labels)
    return NO_LABEL if label == RANDOM and given is not None else label


@jax.jit
def _random_labels(log_shares: jax.Array, keys: jax.Array) -> jax.Array:
    label = lambda key: jax.random.categorical(jax.random.fold_in(key, LABEL_KEY), log_shares)
    return jax.vmap(label)(keys)
