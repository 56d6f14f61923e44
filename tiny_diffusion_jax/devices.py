"""The devices of a run: one mesh over all of them, of which a single device is the smallest.

A batch is cut along its sets, and each device works on its part; weights and data are on all.
Which devices there are is no part of a run: what is learned differs by rounding only.
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
SLICE_POINTS = 64  # fewer in a slice are not worth a core
CACHE_MB = 64  # of a chunk on a CPU: larger ones wait for memory


def make_mesh(devices: list | None = None) -> Mesh:
    """Of these devices; None: all of all processes."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), (SETS,), axis_types=(AxisType.Auto,), devices=devices)


def on_all(mesh: Mesh) -> NamedSharding:
    """The whole array on each device."""
    return NamedSharding(mesh, PartitionSpec())


def replicated(mesh: Mesh, tree):
    """`tree` with the whole of each array on each device; all processes have to hold the same."""
    if not are_several():
        return jax.device_put(tree, on_all(mesh))

    def everywhere(leaf):
        leaf = jnp.asarray(leaf)
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(everywhere(jax.random.key_data(leaf)))
        whole = np.asarray(leaf)
        return jax.make_array_from_callback(whole.shape, on_all(mesh), lambda part: whole[part])

    return jax.tree.map(everywhere, tree)


def to_draw(params) -> tuple[Mesh, Any]:
    """The mesh of this process's own devices, which share what is drawn, and `params` on all."""
    mesh = make_mesh(jax.local_devices())
    return mesh, jax.device_put(params, on_all(mesh))


def are_several() -> bool:
    """Whether more processes than this one train the model, see run/processes.py."""
    return jax.process_count() > 1


def by_set(mesh: Mesh, num_sets: int, axis: int = 0) -> NamedSharding:
    """A part of the `num_sets` sets, which `axis` counts, on each device; all where none divides.

    A batch of a few large sets, fewer than there are devices, is such a one.
    """
    if num_sets % mesh.size:
        return on_all(mesh)
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, SETS))


# Of products of matrices in a network: what the device does by itself, bfloat16 on TPUs and TF32 on
# recent GPUs, or all of float32.
PRECISIONS = ("default", "float32")


def in_full(function: Callable) -> Callable:
    """`function`, traced with products of matrices in float32 on every device.

    For what is added up from many small differences: distances, likelihoods, turns of coordinates.
    """
    @functools.wraps(function)
    def exact(*arguments, **named):
        with jax.default_matmul_precision("float32"):
            return function(*arguments, **named)

    return exact


def without_float64(function: Callable) -> Callable:
    """Run `function` with 32-bit numbers alone, also where JAX_ENABLE_X64 switched on 64 bits.

    The same random numbers follow from a key then, so units, weights and samples are the same.
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
    """Slices of a batch with a gradient each, which XLA runs on separate cores of one CPU.

    As many as there are cores, of equal size and at least SLICE_POINTS points. 1 on other devices,
    and on several: those share the batch as they are.
    """
    if mesh.size > 1 or not is_cpu(mesh):
        return 1
    most = min(num_cores(), num_sets * num_points // SLICE_POINTS)
    return max(n for n in range(1, max(most, 1) + 1) if num_sets % n == 0)


def workers(mesh: Mesh) -> int:
    """Chunks of sets that are drawn at once: as many as a CPU has cores, 1 on other devices.

    XLA shares a large product of matrices among the cores, but not the work between two of them.
    """
    return num_cores() if is_cpu(mesh) and mesh.size == 1 else 1


def most_at_once_mb(mesh: Mesh) -> float:
    """Megabytes of a chunk beyond which drawing gets slower, not faster."""
    return CACHE_MB if is_cpu(mesh) else math.inf


def num_cores() -> int:
    """Those that this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def unused_accelerator() -> str:
    """What the machine has and JAX does not see, with the line that mends it; "" if all is well.

    A jax without its plugin, or with one that does not fit it, falls back to the CPU in silence.
    """
    asked_for = os.environ.get("JAX_PLATFORMS") or jax.config.jax_platforms or ""
    if jax.default_backend() != "cpu" or "cpu" in asked_for:
        return ""
    for name, plugin, found in (
        ("an NVIDIA GPU", "cuda12", os.path.exists("/dev/nvidiactl")),
        ("a TPU", "tpu", os.path.exists("/dev/accel0") or "TPU_ACCELERATOR_TYPE" in os.environ),
    ):
        if found:
            return (f"this machine has {name}, but jax sees a CPU only and is slow; "
                    f"pip install 'jax[{plugin}]=={jax.__version__}' mends it")  # fmt: skip
    return ""


def rounded_up(num_sets: int, mesh: Mesh) -> int:
    """The next number of sets that all devices can share."""
    return math.ceil(num_sets / mesh.size) * mesh.size
