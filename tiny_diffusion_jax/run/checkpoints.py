"""Save and restore training states in numpy files.

A checkpoint is a folder whose name is its step. Its arrays.npz is a flat dictionary {path of an
array in the state: array}. Any device can read it, and each array can be compared by name with the
model. A second file lists the size and checksum of each file. If a checkpoint is damaged, a warning
names it and the previous checkpoint is used.
"""

import logging
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.files import PART, make_folder, publish

log = logging.getLogger("tiny_diffusion_jax")

ARRAYS, LIST = "arrays.npz", "files.txt"


class SaveFailed(RuntimeError):
    """A checkpoint could not be written. The earlier checkpoints are unchanged."""

    exit_code = 1


class Checkpoints(NamedTuple):
    """The checkpoints in a folder. Saving keeps the last `keep`; None: read only."""

    folder: Path
    keep: int | None

    def steps(self) -> list[int]:
        """Return the steps of the checkpoints, in increasing order."""
        return sorted(int(path.name) for path in self.folder.glob("*") if path.name.isdecimal())

    def load(self, step: int) -> dict | None:
        """Return the arrays of a checkpoint by their paths; None if the checkpoint is damaged."""
        folder = self.folder / str(step)
        try:
            if (folder / LIST).read_bytes() != _list_files(folder):
                return None
            with np.load(folder / ARRAYS) as arrays:
                return dict(arrays)
        except OSError:
            return None


def open_checkpoints(folder: Path, keep: int | None = None) -> Checkpoints:
    """Open the checkpoints in `folder`, of which saving keeps the last `keep`.

    If `keep` is None, the checkpoints are read only, and unfinished files of other processes stay.
    Raises UserError if `folder` is a file.
    """
    folder = Path(folder).resolve()
    if folder.exists() and not folder.is_dir():
        raise UserError(str(folder), allowed="a folder of checkpoints", hint="Is it another file?")
    if keep is not None:
        make_folder(folder)
        for unfinished in folder.glob(f"{PART}*"):
            shutil.rmtree(unfinished)
    return Checkpoints(folder, keep)


def save(checkpoints: Checkpoints, state) -> None:
    """Write `state` under its step, unless this step is already saved. Raises SaveFailed.

    The checkpoint gets its name when the disk holds all of it, and older checkpoints are removed
    after that. So a complete checkpoint exists after a kill or a power failure at any time.
    """
    step, (folder, keep) = int(state.step), checkpoints
    final, part = folder / str(step), folder / f"{PART}{step}"
    if final.exists():
        return
    try:
        part.mkdir()
        np.savez(part / ARRAYS, **{name: np.asarray(a) for name, a in named_leaves(state).items()})
        (part / LIST).write_bytes(_list_files(part))
        publish(part, final)
        for older in checkpoints.steps()[:-keep]:
            # A checkpoint without its name is not used after it is partly deleted.
            shutil.rmtree((folder / str(older)).rename(folder / f"{PART}{older}"))
    except OSError as error:
        for unfinished in folder.glob(f"{PART}*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        raise SaveFailed(f"the checkpoint of step {step} cannot be written to {folder}; is the "
                         f"disk full? ({error})") from error  # fmt: skip


def restore_latest(checkpoints: Checkpoints, like):
    """Return the newest complete state in the structure of `like` (arrays or shapes), or None.

    A warning names each damaged checkpoint after it. If checkpoints will be written, the damaged
    ones are renamed, because their steps will be saved again. Raises UserError if all checkpoints
    are damaged, or if another model wrote the newest complete one.
    """
    step, arrays, damaged = _load_latest(checkpoints)
    if damaged and arrays is None:
        raise UserError(f"checkpoint {', '.join(map(str, damaged))}",
                        allowed="one that this version can read, but is damaged, and there is "
                        "no other", hint="Put back a copy, or train in another --workdir")
    if arrays is None:
        return None
    for folder in damaged:
        renamed = ""
        if checkpoints.keep is not None:
            shutil.rmtree(f"{folder}.damaged", ignore_errors=True)
            renamed = f" and now called {folder.rename(f'{folder}.damaged').name}"
        log.warning("warning: checkpoint %s: is damaged%s; the one before it, of step %d, is used",
                    folder, renamed, step)  # fmt: skip
    leaves = named_leaves(like)
    for name in sorted(arrays.keys() | leaves.keys()):
        stored, expected = (getattr(tree.get(name), "shape", None) for tree in (arrays, leaves))
        if stored != expected:
            raise UserError(f"checkpoint {checkpoints.folder / str(step)}",
                            allowed=f"of the same model, but its {name} has shape {stored}, here "
                            f"{expected}", hint="Use another --workdir")  # fmt: skip
    return from_arrays(arrays, like)


def _load_latest(checkpoints: Checkpoints) -> tuple[int, dict | None, list[Path]]:
    """Step and arrays of the newest complete checkpoint, and the damaged checkpoints after it.

    Another process may save a checkpoint at the same time and remove one of the listed checkpoints.
    So an unreadable checkpoint counts as damaged only if the list has not changed afterwards.
    """
    damaged, steps = [], checkpoints.steps()
    for step in reversed(steps):
        if (arrays := checkpoints.load(step)) is not None:
            return step, arrays, damaged
        damaged.append(checkpoints.folder / str(step))
    return (0, None, damaged) if checkpoints.steps() == steps else _load_latest(checkpoints)


def named_leaves(tree) -> dict:
    """Return {".params['block_0']['kernel']": leaf, ...} in the order of the tree."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def from_arrays(arrays: Mapping, like):
    """Return the tree with the structure of `like` whose `named_leaves` are `arrays`."""
    leaves = [jnp.array(arrays[name]) for name in named_leaves(like)]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def checksum_of(tree) -> int:
    """CRC32 of the names and bytes of all arrays of a tree."""
    crc = 0
    for name, array in sorted(named_leaves(tree).items()):
        crc = zlib.crc32(np.ascontiguousarray(array).tobytes(), zlib.crc32(name.encode(), crc))
    return crc


def _list_files(folder: Path) -> bytes:
    """Content of LIST for a complete checkpoint: name, size and checksum of every other file.

    Hidden files are not listed, because file managers create some.
    """
    lines = []
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        if file.name != LIST and not file.name.startswith("."):
            data = file.read_bytes()
            lines.append(f"{file.relative_to(folder).as_posix()} {len(data)} {zlib.crc32(data)}\n")
    return "".join(lines).encode()
