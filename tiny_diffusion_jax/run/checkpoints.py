"""Save and restore training states in numpy files.

A checkpoint is a folder whose name is its step. Its arrays.npz is a flat dictionary {path of an
array in the state: array}. Any device can read it, and each array can be compared by name with the
model. A second file lists the size and checksum of each file. If a checkpoint is damaged, a warning
names it and the previous checkpoint is used.
"""

import logging
import shutil
import zlib
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
        if not self.folder.exists():
            return []
        return sorted(int(path.name) for path in self.folder.iterdir() if path.name.isdecimal())

    def load(self, step: int) -> dict | None:
        """Return the arrays of a checkpoint by their paths; None if the checkpoint is damaged."""
        folder = self.folder / str(step)
        try:
            if (folder / LIST).read_bytes() != _list_of(folder):
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
        for left_by_a_crash in folder.glob(f"{PART}*"):
            shutil.rmtree(left_by_a_crash)
    return Checkpoints(folder, keep)


def save(saved: Checkpoints, state) -> None:
    """Write `state` under its step, unless this step is already saved. Raises SaveFailed.

    The checkpoint gets its name when the disk holds all of it, and older checkpoints are removed
    after that. So a complete checkpoint exists after a kill or a power failure at any time.
    """
    step = int(state.step)
    final, part = saved.folder / str(step), saved.folder / f"{PART}{step}"
    if final.exists():
        return
    try:
        part.mkdir()
        np.savez(part / ARRAYS, **{name: np.asarray(a) for name, a in by_place(state).items()})
        (part / LIST).write_bytes(_list_of(part))
        publish(part, final)
        for older in saved.steps()[: -saved.keep]:
            _remove(saved.folder / str(older))
    except OSError as error:
        for left in saved.folder.glob(f"{PART}*"):
            shutil.rmtree(left, ignore_errors=True)
        raise SaveFailed(
            f"the checkpoint of step {step} cannot be written to {saved.folder}; is the "
            f"disk full? ({error})"
        ) from error


def restore_latest(saved: Checkpoints, like):
    """Return the newest complete state in the structure of `like` (arrays or shapes), or None.

    A warning names each damaged checkpoint after it. If checkpoints will be written, the damaged
    ones are renamed, because their steps will be saved again. Raises UserError if all checkpoints
    are damaged, or if another model wrote the newest complete one.
    """
    step, arrays, damaged = _latest(saved)
    if arrays is None:
        if damaged:
            raise UserError(f"checkpoint {', '.join(map(str, damaged))}",
                            allowed="one that this version can read, but is damaged, and there is "
                            "no other", hint="Put back a copy, or train in another --workdir")
        return None
    for bad in damaged:
        log.warning("warning: checkpoint %s: is damaged%s; the one before it, of step %d, is used",
                    bad, _set_aside(bad) if saved.keep is not None else "", step)  # fmt: skip
    path = saved.folder / str(step)
    theirs = {name: array.shape for name, array in arrays.items()}
    ours = {name: leaf.shape for name, leaf in by_place(like).items()}
    for name in sorted(theirs.keys() | ours.keys()):
        if theirs.get(name) != ours.get(name):
            raise UserError(f"checkpoint {path}", allowed="of the same model, but its "
                            f"{name} has shape {theirs.get(name)}, here {ours.get(name)}",
                            hint="Use another --workdir")  # fmt: skip
    return from_arrays(arrays, like)


def _latest(saved: Checkpoints) -> tuple[int, dict | None, list[Path]]:
    """Step and arrays of the newest complete checkpoint, and the damaged checkpoints after it.

    Another process may save a checkpoint at the same time and remove one of the listed checkpoints.
    So an unreadable checkpoint counts as damaged only if the list has not changed afterwards.
    """
    step, damaged, steps, listed = 0, [], None, saved.steps()
    while listed != steps:
        steps, damaged = listed, []
        for step in reversed(steps):
            arrays = saved.load(step)
            if arrays is not None:
                return step, arrays, damaged
            damaged.append(saved.folder / str(step))
        listed = saved.steps()
    return step, None, damaged


def by_place(tree) -> dict:
    """Return {".params['block_0']['kernel']": leaf, ...} in the order of the tree."""
    flat = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(place): leaf for place, leaf in flat}


def from_arrays(arrays, like):
    """Return a tree with the structure of `like` from {path of an array in the tree: array}."""
    leaves = [jnp.array(arrays[name]) for name in by_place(like)]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def checksum_of(tree) -> int:
    """CRC32 of the names and bytes of all arrays of a tree."""
    crc, arrays = 0, by_place(tree)
    for name in sorted(arrays):
        crc = zlib.crc32(name.encode(), crc)
        crc = zlib.crc32(np.ascontiguousarray(arrays[name]).tobytes(), crc)
    return crc


def _list_of(folder: Path) -> bytes:
    """Content of LIST for a complete checkpoint: name, size and checksum of every other file.

    Hidden files are not listed, because file managers create some.
    """
    lines = []
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        if file.name != LIST and not file.name.startswith("."):
            data = file.read_bytes()
            lines.append(f"{file.relative_to(folder).as_posix()} {len(data)} {zlib.crc32(data)}\n")
    return "".join(lines).encode()


def _set_aside(folder: Path) -> str:
    """Rename a damaged checkpoint, and return the new name in words for the warning."""
    aside = folder.with_name(f"{folder.name}.damaged")
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    return f" and now called {aside.name}"


def _remove(folder: Path) -> None:
    """Delete a checkpoint. The folder is renamed first, so that no partly deleted one is used."""
    part = folder.with_name(f"{PART}{folder.name}")
    folder.rename(part)
    shutil.rmtree(part)
