"""Split many sets into chunks: the size of a chunk, and how many chunks run at once."""

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import jax

from tiny_diffusion_jax import devices
from tiny_diffusion_jax.models.traits import Traits


@jax.jit
def set_keys(key: jax.Array, numbers: jax.Array) -> jax.Array:
    """Return a key for each set number i32[B], so that a set depends on its number alone."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)


def chunk_size(
    traits: Traits, num_sets: int, num_points: int, history_points: int, memory_mb: int, mesh
) -> int:
    """Number of sets in a chunk: as many as fit into memory_mb, in nearly equal chunks.

    On a CPU a chunk fits into the caches, and several chunks run at once, see `devices`.
    num_points, history_points: points of a set in memory at once, and points of its history.
    """
    floats = (traits.floats_per_point + num_points * traits.floats_per_pair
              + history_points * traits.floats_per_history_point)  # fmt: skip
    bytes_per_set = 2 * 4 * num_points * floats  # arrays in and out of a layer
    workers = devices.workers(mesh)
    megabytes = min(memory_mb / workers, devices.most_at_once_mb(mesh))
    most = max(1, int(megabytes * 2**20) // bytes_per_set)
    chunks = math.ceil(num_sets / most)
    if chunks > 1:  # the same number of chunks for each worker
        chunks = math.ceil(chunks / workers) * workers
    return devices.rounded_up(math.ceil(num_sets / chunks), mesh)


def map_chunks(
    function: Callable, chunks: list[tuple], mesh, progress: Callable | None = None
) -> Iterator[tuple]:
    """Yield (chunk, function(*chunk)) of each chunk; several run at once if they share a CPU.

    The first chunk runs alone and compiles the programs that the other chunks need. progress: wraps
    the iterator of `len(chunks)` results, as tqdm does.
    """
    def results(pool):
        yield function(*chunks[0])
        # A JAX context applies to one thread only, so enter it in each worker.
        yield from pool.map(devices.without_float64(lambda chunk: function(*chunk)), chunks[1:])

    with ThreadPoolExecutor(devices.workers(mesh)) as pool:
        pairs = zip(chunks, results(pool), strict=True)
        try:
            yield from pairs if progress is None else progress(pairs, total=len(chunks))
        finally:
            pool.shutdown(cancel_futures=True)
