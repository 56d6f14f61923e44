"""Samples of a finished run as data, for generative replay.

A network forgets its first data if it is trained on other data. Training on its samples together
with the new data prevents this and does not need the first data (arXiv 1705.08690). Each drawn set
has points of one set in samples.npy, so the distribution over sets is preserved.
"""

import json
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from tiny_diffusion_jax.data import units
from tiny_diffusion_jax.data.collection import listed
from tiny_diffusion_jax.data.densities import make_dataset
from tiny_diffusion_jax.data.table import load_arrays
from tiny_diffusion_jax.dataset import Dataset, coordinate_names
from tiny_diffusion_jax.errors import NO_VALUE, UserError, errors_about, reason_of, require
from tiny_diffusion_jax.point_sets import PointSets

# Files of a run, see run/run_folder.py. RAGGED replaces SAMPLES for sets of different sizes.
SAMPLES, RAGGED, CONFIG = "samples.npy", "samples.npz", "config.json"


def is_run(path: str) -> bool:
    """Return whether `path` is the folder of a run."""
    return bool(path) and (Path(path).expanduser() / CONFIG).is_file()


def build(config) -> Dataset:
    """Build a dataset from the samples f32[S, n, D] of the run in the folder `config.path`.

    The units are the units of the run's training data, so the alignment of the samples is the
    alignment of the training data. `source` contains a checksum of the samples, because other
    samples are other data.
    Raises `UserError` if the run has no samples yet, or if its files are damaged.
    """
    folder = Path(config.path).expanduser()
    ragged = (folder / RAGGED).is_file()
    words = "sets of one size, and this one drew sets of many" if ragged else "its samples"
    require((folder / SAMPLES).is_file(), "config.data.path", config.path,
            f"a run that has drawn {words}: there is no {SAMPLES} in it")  # fmt: skip
    with errors_about(f"config.data.path = {config.path!r}: {SAMPLES}", NO_VALUE):
        sets = load_arrays(folder / SAMPLES)[""]
    try:
        stored = json.loads((folder / CONFIG).read_text("utf-8"))
        data, described = stored["data"], stored["dataset"]
        moments = np.float64(described["shift"]), np.float64(described["scale"]) ** 2
        moments = moments[0], np.broadcast_to(moments[1], moments[0].shape)
        title, normalized = str(described["title"]), bool(data["normalize"])
        one_density = data["name"] not in ("sets", "mnist_sets") and (
            data["name"] != "mixture" or _is_one_member(data["members"]))
        if sets.ndim != 3 or sets.dtype.kind != "f" or not np.isfinite(sets).all():
            raise ValueError(f"{SAMPLES} has shape {sets.shape}, or points that are not finite")
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        allowed = f"the folder of a run, but its files are damaged ({reason_of(error)})"
        raise UserError("config.data.path", config.path, allowed) from error
    names = tuple(described.get("columns") or coordinate_names(sets.shape[2]))
    checksum = zlib.crc32(np.ascontiguousarray(sets).tobytes())
    origin = units.choose_origin(sets.reshape(-1, sets.shape[-1]))
    if origin:
        sets, moments = units.to_centred(origin, sets), (moments[0] - origin, moments[1])
    # Shuffle the points, because the order of autoregressive sampling is not part of the set.
    draw = Partial(_draw, jnp.asarray(_shuffled(sets), jnp.float32), jnp.int32(one_density))
    return make_dataset(
        draw, normalize=config.normalize, moments=moments if normalized else None, title=title,
        source=f"sets drawn by a run (crc32 {checksum:08x})", origin=origin,
        details=f"{folder.name}: {sets.shape[0]:,} sets of {sets.shape[1]:,} points, coordinates "
                f"{listed(names)}", columns=names,
    )  # fmt: skip


def _is_one_member(members: str) -> bool:
    """Return whether a mixture is one density; "table?column" has a member for each value.

    A member that is a run may have drawn sets of many densities.
    """
    _, mark, rows = members.partition("?")
    return "+" not in members and not is_run(members.strip()) and (not mark or "=" in rows)


def _shuffled(sets: np.ndarray) -> np.ndarray:
    """Shuffle the points of each set, with the same order in every run."""
    order = np.random.default_rng(0).random(sets.shape[:2]).argsort(axis=1)
    return np.take_along_axis(sets, order[..., None], axis=1)


def _draw(sets, one_density, key: jax.Array, num_sets: int, num_points: int) -> PointSets:
    """Draw sets: `num_points` consecutive points of a random stored set, from a random start.

    If `num_points` exceeds the size of the stored set, further points come from the next stored
    sets if all sets have one density (`one_density` 1). Otherwise (`one_density` 0) the points
    repeat, because the next stored sets may come from other members.
    """
    size, n = sets.shape[:2]
    set_key, start_key = jax.random.split(key)
    index = jax.random.randint(set_key, (num_sets, 1), 0, size)
    start = jax.random.randint(start_key, (num_sets, 1), 0, n)
    place = jnp.arange(num_points)
    which = (index + one_density * (place // n)) % size
    return PointSets(sets[which, (start + place) % n])
