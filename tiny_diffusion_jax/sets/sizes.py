"""Numbers of points of sets: random sizes, and groups of sets with the same capacity."""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

SIZE_KEY = 2**30 + 3  # differs from the numbers of parts and blocks, and from LABEL_KEY
TRIES = 64  # sizes drawn for a set; the first that is large enough is used
MOST_AT_ONCE = 64  # sets of a chunk, so that few programs serve any number of sets


def log_uniform(key: jax.Array, shape: tuple[int, ...], low, high) -> jax.Array:
    """i32 floor(exp(u)), with u uniform on [log low, log(high + 1)).

    Sizes in 32..64 are as frequent as sizes in 64..128. low, high: integers >= 1, scalars or
    i32[shape].
    """
    u = jax.random.uniform(key, shape, minval=jnp.log(low), maxval=jnp.log(high + 1))
    return jnp.clip(jnp.floor(jnp.exp(u)).astype(jnp.int32), low, high)


def draw_sizes(dataset, keys: jax.Array, labels, num_given: int = 0) -> np.ndarray:
    """Draw the number of points of each set, i64[S], from the sizes of its label in the data.

    keys: a key for each set; labels: i32[S] or None. A set with `num_given` given points gets at
    least one more point, and exactly one more point if all TRIES draws are too small.
    """
    return np.asarray(_draw_sizes(dataset, keys, labels, num_given), np.int64)


@jax.jit
def _draw_sizes(dataset, keys, labels, num_given) -> jax.Array:
    def one(key, label):
        label = None if label is None else jnp.full(TRIES, label)
        sizes = dataset.draw_sizes(jax.random.fold_in(key, SIZE_KEY), label, TRIES)
        enough = sizes > num_given
        return jnp.where(enough.any(), sizes[enough.argmax()], num_given + 1)

    return jax.vmap(one, (0, None if labels is None else 0))(keys, labels)


def draw_sizes_given(
    log_prob: Callable, dataset, keys: jax.Array, labels: np.ndarray | None, given: np.ndarray
) -> np.ndarray:
    """Draw the number of points n of each set, i64[S], from its posterior given h < n points:

        p(n | given) = p(n) p(given | n) / sum over n' > h of p(n') p(given | n').

    p(n) is the frequency of n in the data, among the sets of the label, or of any label if no set
    has this one. Sets have h + 1 points if no observed set is larger than h.

    log_prob: (sets f32[K, h, D], labels i32[K] or None, sizes i64[K]) -> nats per point f[K].
    given: f32[h, D]; labels: i32[S] or None; keys: one of each set.
    """
    h, sizes = len(given), np.asarray(dataset.sizes)
    of_set = np.full(len(keys), -1) if labels is None else np.asarray(labels)
    result = np.full(len(keys), h + 1)
    for label in np.unique(of_set):
        known = sizes
        if label >= 0 and dataset.source_labels is not None:
            of_label = sizes[np.asarray(dataset.source_labels) == label]
            known = of_label if len(of_label) else sizes
        found, count = np.unique(known[known > h], return_counts=True)
        if not len(found):
            continue
        each = None if labels is None else np.full(len(found), label)
        log_p = np.log(count) + h * log_prob(np.stack([given] * len(found)), each, found)
        drawn = np.flatnonzero(of_set == label)
        draw = lambda key, log_p: jax.random.categorical(jax.random.fold_in(key, SIZE_KEY), log_p)
        index = jax.vmap(draw, (0, None))(keys[drawn], jnp.asarray(log_p - log_p.max()))
        result[drawn] = found[np.asarray(index)]
    return result


def capacity(size: int) -> int:
    """Slots for the points of a set: a power of two, so that few programs serve all sizes."""
    return 1 << (int(size) - 1).bit_length()


def block_capacity(size: int) -> int:
    """Slots for the points of a block: 1, 2, 4, 8, 16, 24, 32, 48, 64, 96, ... points.

    Points of a block are independent, so a larger block contains a smaller one. Empty slots cost
    as much as points, so large blocks also have capacities between powers of two.
    """
    between = capacity(size) * 3 // 4
    return between if between >= max(size, 24) else capacity(size)


def by_capacity(sizes: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (capacity, indices of its sets) for each capacity, in ascending order.

    Capacity and initial noise of a set depend only on the size of this set.
    """
    capacities = np.array([capacity(size) for size in sizes])
    for value in np.unique(capacities):
        yield int(value), np.flatnonzero(capacities == value)
