"""Numbers of points of sets: random sizes, and groups of sets with the same capacity."""

from collections.abc import Iterator

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


def capacity(size: int) -> int:
    """Slots for the points of a set: a power of two, so that few programs serve all sizes."""
    return 1 << (int(size) - 1).bit_length()


def by_capacity(sizes: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (capacity, indices of its sets) for each capacity, in ascending order.

    Capacity and initial noise of a set depend only on the size of this set.
    """
    capacities = np.array([capacity(size) for size in sizes])
    for value in np.unique(capacities):
        yield int(value), np.flatnonzero(capacities == value)
