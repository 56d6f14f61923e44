"""Split many sets into chunks: the size of a chunk, and how many chunks run at once."""

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import jax

from tiny_diffusion_jax import devices
from tiny_diffusion_jax.sets.reverse import Request


@jax.jit
def set_keys(key: jax.Array, numbers: jax.Array) -> jax.Array:
    """Return a key for each set number i32[B], so that a set depends on its number alone."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)


def chunk_size(request: Request, rows: int, mesh) -> int:
    """Number of sets in a chunk: as many as fit into config.memory_mb, in nearly equal chunks.

    On a CPU a chunk fits into the caches, and several chunks run at once, see `devices`. rows:
    points of a set in memory at once.
    """
    config, traits = request.config, request.model.traits
    shown = min(request.max_history, config.burn_in + config.num_points)
    floats = (traits.floats_per_point + rows * traits.floats_per_pair
              + shown * traits.floats_per_shown)  # fmt: skip
    bytes_per_set = 2 * 4 * rows * floats  # arrays in and out of a layer
    workers = devices.workers(mesh)
    megabytes = min(config.memory_mb / workers, devices.most_at_once_mb(mesh))
    most = max(1, int(megabytes * 2**20) // bytes_per_set)
    chunks = math.ceil(config.num_sets / most)
    if chunks > 1:  # the same number of chunks for each worker
        chunks = math.ceil(chunks / workers) * workers
    return devices.rounded_up(math.ceil(config.num_sets / chunks), mesh)


def each(function: Callable, chunks: list[tuple], mesh, progress: str = "") -> Iterator[tuple]:
    """Yield (chunk, function(*chunk)) of each chunk; several run at once if they share a CPU.

    The first chunk runs alone and compiles the programs that the other chunks need. progress: name
    of a progress bar.
    """
    from tqdm import tqdm

    def found(pool):
        yield function(*chunks[0])
        # A JAX context applies to one thread only, so enter it in each worker.
        yield from pool.map(devices.without_float64(lambda chunk: function(*chunk)), chunks[1:])

    with ThreadPoolExecutor(devices.workers(mesh)) as pool:
        shown = tqdm(zip(chunks, found(pool), strict=True), desc=progress, unit="chunk",
                     total=len(chunks), disable=not progress or len(chunks) == 1)  # fmt: skip
        try:
            yield from shown
        finally:
            pool.shutdown(cancel_futures=True)
