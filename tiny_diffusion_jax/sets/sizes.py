"""Draw the number of points of each set, and group sets of different sizes."""

import logging
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax.training.batches import count_range

log = logging.getLogger("tiny_diffusion_jax")
SIZE_KEY = 2**30 + 3  # differs from the numbers of parts and blocks, and from LABEL_KEY
TRIES = 64  # sizes drawn for a set; the first that is large enough is used
MOST_AT_ONCE = 64  # sets of a chunk, so that few programs serve any number of sets


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


def warn_if_unseen(experiment, counts: np.ndarray) -> None:
    """Log a warning if the network is given a number of points outside of the training range.

    counts: i64[S], the number of points of each set.
    """
    dataset, train = experiment.dataset, experiment.config.train
    is_known = dataset.has_points or experiment.config.data.name != "sets"
    if not experiment.model.counts or not is_known:
        return
    least, most = count_range(train, dataset)
    unseen = counts[(counts < least) | (counts > most)]
    if unseen.size:
        span = f"{unseen.min()} to {unseen.max()}" if np.ptp(unseen) else f"{unseen[0]}"
        log.warning(
            "warning: sets of %s points are outside of the range seen in training, %s points "
            "(config.model.sizes = True)", span, f"{least} to {most}" if least < most else most,
        )  # fmt: skip


def width(size: int) -> int:
    """Capacity for the points of a set: a power of two, so that few programs serve all sizes."""
    return 1 << (int(size) - 1).bit_length()


def by_width(sizes: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (capacity, indices of its sets) for each capacity, in ascending order.

    The capacity of a set follows from the size of this set alone, so its initial noise does, too.
    """
    widths = np.array([width(size) for size in sizes])
    for value in np.unique(widths):
        yield int(value), np.flatnonzero(widths == value)
