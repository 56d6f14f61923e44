"""The devices of a run: one mesh over all devices, which may be a single device.

A batch is split along its sets, and each device computes its part. Every device holds all weights
and all data. Another number of devices changes the results only by rounding, so the devices are not
part of the config.
"""

import functools
import math
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

SETS = "sets"  # the one axis of the mesh
SLICE_POINTS = 128  # a slice with fewer points is not worth a core
CACHE_MB = 64  # size of a chunk on a CPU: larger chunks wait for memory


def make_mesh(devices: list | None = None) -> Mesh:
    """Mesh over `devices` (default: the devices of all processes)."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), (SETS,), axis_types=(AxisType.Auto,), devices=devices)


def on_all(mesh: Mesh) -> NamedSharding:
    """Sharding that puts the whole array on each device."""
    return NamedSharding(mesh, PartitionSpec())


def replicated(mesh: Mesh, tree):
    """Put the whole of each array of `tree` on each device.

    All processes must hold the same values.
    """
    if not is_multiprocess():
        return jax.device_put(tree, on_all(mesh))

    def everywhere(leaf):
        leaf = jnp.asarray(leaf)
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(everywhere(jax.random.key_data(leaf)))
        whole = np.asarray(leaf)
        return jax.make_array_from_callback(whole.shape, on_all(mesh), lambda part: whole[part])

    return jax.tree.map(everywhere, tree)


def to_draw(params) -> tuple[Mesh, Any]:
    """Mesh over the devices of this process, and `params` on each of them, to draw samples."""
    mesh = make_mesh(jax.local_devices())
    return mesh, jax.device_put(params, on_all(mesh))


def is_multiprocess() -> bool:
    """Return whether several processes train the model together, see run/processes.py."""
    return jax.process_count() > 1


def by_set(mesh: Mesh, num_sets: int, axis: int = 0) -> NamedSharding:
    """Sharding that splits the `num_sets` sets along `axis`, or puts all sets on each device.

    All sets are on each device if the number of devices does not divide the number of sets, as in a
    batch of a few large sets.
    """
    if num_sets % mesh.size:
        return on_all(mesh)
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, SETS))


def float32_matmuls(function: Callable) -> Callable:
    """Trace `function` with float32 matrix products on every device.

    Sums of many small differences need float32: distances, likelihoods and rotations of
    coordinates.
    """
    @functools.wraps(function)
    def exact(*arguments, **named):
        with jax.default_matmul_precision("float32"):
            return function(*arguments, **named)

    return exact


def without_float64(function: Callable) -> Callable:
    """Run `function` with 32-bit numbers, even if JAX_ENABLE_X64 switched on 64 bits.

    With 64 bits, the same key gives other random numbers, so units, weights and samples would
    change.
    """

    @functools.wraps(function)
    def narrow(*arguments, **named):
        with _float64_off():
            return function(*arguments, **named)

    return narrow


def _float64_off():
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(False)
    return jax.experimental.disable_x64()  # before jax 0.8


def is_cpu(mesh: Mesh) -> bool:
    return mesh.devices.flat[0].platform == "cpu"


def cpu_slices(mesh: Mesh, num_sets: int, num_points: int) -> int:
    """Number of slices of a batch, each with its own gradient, for the cores of one CPU.

    XLA computes the gradients of slices on separate cores. The slices have equal size, at least 2
    sets and SLICE_POINTS points, and there is at most one slice per core. Other devices need 1
    slice. Several devices need 1 slice, too, because they share the batch already.
    """
    if mesh.size > 1 or not is_cpu(mesh):
        return 1
    most = min(num_cores(), num_sets // 2, num_sets * num_points // SLICE_POINTS)
    return max(n for n in range(1, max(most, 1) + 1) if num_sets % n == 0)


def workers(mesh: Mesh) -> int:
    """Number of chunks of sets that are drawn in parallel: the cores of a single CPU, otherwise 1.

    XLA shares one large matrix product among the cores, but not the work between two products.
    """
    return num_cores() if is_cpu(mesh) and mesh.size == 1 else 1


def most_at_once_mb(mesh: Mesh) -> float:
    """Size in megabytes above which a chunk slows drawing down."""
    return CACHE_MB if is_cpu(mesh) else math.inf


def num_cores() -> int:
    """Number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def unused_accelerator() -> str:
    """Describe an accelerator of this machine that JAX does not see, with the fix; "" if none.

    JAX uses the CPU without a warning if its plugin is missing or has the wrong version.
    """
    asked_for = os.environ.get("JAX_PLATFORMS") or jax.config.jax_platforms or ""
    if jax.default_backend() != "cpu" or "cpu" in asked_for:
        return ""
    for name, plugin, found in (
        ("an NVIDIA GPU", "cuda12", os.path.exists("/dev/nvidiactl")),
        ("a TPU", "tpu", os.path.exists("/dev/accel0") or "TPU_ACCELERATOR_TYPE" in os.environ),
    ):
        if found:
            return (f"this machine has {name}, but jax uses the slow CPU only; install "
                    f"its plugin: pip install 'jax[{plugin}]=={jax.__version__}'")  # fmt: skip
    return ""


def rounded_up(num_sets: int, mesh: Mesh) -> int:
    """Round `num_sets` up to a multiple of the number of devices."""
    return math.ceil(num_sets / mesh.size) * mesh.size
