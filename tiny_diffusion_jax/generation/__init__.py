"""From a trained denoiser to whole sets, in the way that its traits name.

    alone   points that do not see each other
    joint   all points of a set together, in one reverse process
    chain   block after block, each given the points so far: p(x_1) p(x_2 | x_1) ...
    latent  a latent for the set first, by its own reverse process, then points given it

Each is a module with `draw` and, where it can, `complete`, for sets of which some points are given.
Keys follow from seed and set number, so a set depends on neither how many are asked for nor how
much memory there is.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax.generation import alone, chain, joint, latent
from tiny_diffusion_jax.generation.reverse import Request

WAYS = {"alone": alone, "joint": joint, "chain": chain, "latent": latent}
LABEL_KEY = 2**30 + 2  # apart from the numbers of parts and blocks
RANDOM, NO_LABEL = -1, -2  # in place of config.label


def draw(
    experiment, params, config, keep_trajectory: bool = False, progress: bool = False,
    given: np.ndarray | None = None, labels: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """f32[num_sets, num_points, D] in the data's own units; see `experiment.sample`."""
    from tqdm import tqdm

    dataset, model = experiment.dataset, experiment.model
    request = Request(model, experiment.process, params, config,
                      experiment.config.train.max_history, keep_trajectory,
                      dataset.dim)  # fmt: skip
    if given is not None:
        given = dataset.normalize(jnp.asarray(given, jnp.float32))
    keys = _set_keys(jax.random.key(config.seed), jnp.arange(config.num_sets))
    if labels is None:
        labels = _labels(experiment, config, keys, given)

    way = WAYS[model.traits.generation]

    def draw_chunk(keys, labels):
        if given is None:
            return way.draw(request, keys, labels)
        return way.complete(request, keys, given, labels)

    num_given = 0 if given is None else len(given)
    size = chunk_size(request, way.rows(request, num_given))
    starts = range(0, config.num_sets, size)
    chunks = []
    for start in tqdm(starts, desc="sample", unit="chunk",
                      disable=not progress or len(starts) == 1):  # fmt: skip
        # The last chunk is filled up with sets that are thrown away: one program serves all.
        index = np.minimum(np.arange(start, start + size), config.num_sets - 1)
        chunk_labels = None if labels is None else jnp.asarray(labels)[index]
        chunk = np.asarray(dataset.denormalize(draw_chunk(keys[index], chunk_labels)))
        chunks.append(chunk[..., : config.num_sets - start, :, :])
    return np.concatenate(chunks, axis=-3)


def chunk_size(request: Request, rows: int) -> int:
    """Sets drawn at once: as many as fit into config.memory_mb, in chunks of nearly equal size.

    rows: points of a set in memory at once.
    """
    config, traits = request.config, request.model.traits
    shown = min(request.max_history, config.burn_in + config.num_points)
    floats = (traits.floats_per_point + rows * traits.floats_per_pair
              + shown * traits.floats_per_shown)  # fmt: skip
    bytes_per_set = 2 * 4 * rows * floats  # arrays in and out of a layer
    most = max(1, config.memory_mb * 2**20 // bytes_per_set)
    return math.ceil(config.num_sets / math.ceil(config.num_sets / most))


def _labels(experiment, config, keys, given) -> jax.Array | None:
    """i32[num_sets]: config.label for all; for RANDOM each set's own, as often as in the data.

    None where the model is given no label: it has none, none is wanted, or points are given, with
    which a random label may not agree.
    """
    if not experiment.model.num_labels or config.label == NO_LABEL:
        return None
    if config.label != RANDOM:
        return jnp.full(config.num_sets, config.label)
    return None if given is not None else _random_labels(experiment.dataset, keys)


@jax.jit
def _set_keys(key: jax.Array, numbers: jax.Array) -> jax.Array:
    return jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)


@jax.jit
def _random_labels(dataset, keys: jax.Array) -> jax.Array:
    label = lambda key: dataset.draw(jax.random.fold_in(key, LABEL_KEY), 1, 1).label[0]
    return jax.vmap(label)(keys)
