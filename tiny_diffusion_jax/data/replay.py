"""Sets that a finished run drew, as data: what a model knows is kept by showing it its own samples.

A network that is trained on other data forgets the first. Replay of its own samples beside the new
data keeps it from that, and needs nothing of the first data (arXiv 1705.08690). The sets are those
of samples.npy, whole, so that the law over sets is kept: a set here is points of one set there.
"""

import json
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from tiny_diffusion_jax.data import units
from tiny_diffusion_jax.data.base import Dataset, PointSets, make_dataset
from tiny_diffusion_jax.data.collection import listed
from tiny_diffusion_jax.data.table import load_arrays
from tiny_diffusion_jax.errors import UserError, require

# Files of a run, see run/workdir.py; the second one in place of the first for sets of many sizes.
SAMPLES, RAGGED, CONFIG = "samples.npy", "samples.npz", "config.json"


def is_run(path: str) -> bool:
    """Whether there is a folder of a run at `path`."""
    return bool(path) and (Path(path).expanduser() / CONFIG).is_file()


def build(config) -> Dataset:
    """The sets f32[S, n, D] that the run in the folder `config.path` drew, in its own units.

    Its units are those of the data it was trained on, so that to align it is to align those data.
    What it drew is told by a checksum in `source`: other samples are other data.
    Raises `UserError` where the run has drawn nothing yet, and where its files are damaged.
    """
    folder = Path(config.path).expanduser()
    ragged = (folder / RAGGED).is_file()
    words = "sets of one size, and this one drew sets of many" if ragged else "its samples"
    require((folder / SAMPLES).is_file(), "config.data.path", config.path,
            f"a run that has drawn {words}: there is no {SAMPLES} in it")  # fmt: skip
    sets = load_arrays(folder / SAMPLES, f"config.data.path = {config.path!r}: {SAMPLES}")[""]
    try:
        stored = json.loads((folder / CONFIG).read_text("utf-8"))
        data, described = stored["data"], stored["dataset"]
        moments = np.float64(described["shift"]), np.float64(described["scale"]) ** 2
        moments = moments[0], np.broadcast_to(moments[1], moments[0].shape)
        title, normalized = str(described["title"]), bool(data["normalize"])
        one_density = data["name"] not in ("mixture", "mnist_sets") or (
            data["name"] == "mixture" and "+" not in data["members"])
        if sets.ndim != 3 or sets.dtype.kind != "f" or not np.isfinite(sets).all():
            raise ValueError(f"{SAMPLES} has shape {sets.shape}, or points that are not finite")
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise UserError(f"config.data.path = {config.path!r}: must be the folder of a run, but its "
                        f"files are damaged ({' '.join(str(error).split())})") from error
    names = tuple(described.get("columns") or "xyz"[: sets.shape[2]])
    checksum = zlib.crc32(np.ascontiguousarray(sets).tobytes())
    origin = units.choose_origin(sets.reshape(-1, sets.shape[-1]))
    if origin:
        sets, moments = units.to_centred(origin, sets), (moments[0] - origin, moments[1])
    # The order in which a chain drew its points is no part of the set.
    draw = Partial(_draw, jnp.asarray(_shuffled(sets), jnp.float32), jnp.int32(one_density))
    return make_dataset(
        draw, normalize=config.normalize, moments=moments if normalized else None, title=title,
        source=f"sets drawn by a run (crc32 {checksum:08x})", origin=origin,
        details=f"{folder.name}: {sets.shape[0]:,} sets of {sets.shape[1]:,} points, coordinates "
                f"{listed(names)}", columns=names,
    )  # fmt: skip


def _shuffled(sets: np.ndarray) -> np.ndarray:
    """Each set in an order of its own, the same in every run."""
    order = np.random.default_rng(0).random(sets.shape[:2]).argsort(axis=1)
    return np.take_along_axis(sets, order[..., None], axis=1)


def _draw(sets, one_density, key: jax.Array, num_sets: int, num_points: int) -> PointSets:
    """For each set a stored one: `num_points` different points of it, a stretch of its order.

    Where more are asked for than it has, they go on in the next stored sets if all are of one
    density (`one_density` 1), and begin again if not (0): there are no others of its member.
    """
    size, n = sets.shape[:2]
    set_key, start_key = jax.random.split(key)
    index = jax.random.randint(set_key, (num_sets, 1), 0, size)
    start = jax.random.randint(start_key, (num_sets, 1), 0, n)
    place = jnp.arange(num_points)
    which = (index + one_density * (place // n)) % size
    return PointSets(sets[which, (start + place) % n])
