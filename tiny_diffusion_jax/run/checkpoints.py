"""Saving and restoring a training state: numpy files, and lists of what is in them.

A checkpoint is a folder, named by its step. In it are arrays.npz, a flat dictionary {place of an
array in the state: array}, so that it can be read on any device and compared, name by name, with
the model it is to be read into; and a list of the files, with size and checksum of each. One that
is damaged is named, and the one before it is used.
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
    """A checkpoint could not be written; the earlier ones are as they were."""

    exit_code = 1


class Checkpoints(NamedTuple):
    """The checkpoints in a folder, of which the last `keep` are kept; None: for reading alone."""

    folder: Path
    keep: int | None

    def steps(self) -> list[int]:
        """Of the checkpoints, from the first to the last."""
        if not self.folder.exists():
            return []
        return sorted(int(path.name) for path in self.folder.iterdir() if path.name.isdecimal())

    def load(self, step: int) -> dict | None:
        """The arrays of a checkpoint by their place; None where it is damaged."""
        folder = self.folder / str(step)
        try:
            if (folder / LIST).read_bytes() != _list_of(folder):
                return None
            with np.load(folder / ARRAYS) as arrays:
                return dict(arrays)
        except OSError:
            return None


def open_checkpoints(folder: Path, keep: int | None = None) -> Checkpoints:
    """The checkpoints in `folder`, of which the last `keep` are kept.

    With `keep` None they are for reading alone, and what another process may just be writing is
    let be. Raises UserError where `folder` is something else.
    """
    folder = Path(folder).resolve()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: must be a folder of checkpoints; is it another file?")
    if keep is not None:
        make_folder(folder)
        for left_by_a_crash in folder.glob(f"{PART}*"):
            shutil.rmtree(left_by_a_crash)
    return Checkpoints(folder, keep)


def save(saved: Checkpoints, state) -> None:
    """Writes `state` under its step, unless that step is already there. Raises SaveFailed.

    The checkpoint gets its name once the disk holds all of it, and older checkpoints are removed
    only then. So a complete checkpoint is there after a kill or a power failure at any time.
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
    """The newest whole state, in the structure of `like` (arrays or shapes); None: there is none.

    Those after it are damaged: a warning names each, and where checkpoints are to be written they
    are set aside, for that of their step will be written again. Raises UserError where all are
    damaged, and where it was made by another model.
    """
    step, arrays, damaged = _latest(saved)
    if arrays is None:
        if damaged:
            raise UserError(
                f"checkpoint {', '.join(map(str, damaged))}: damaged, or of another "
                "version, and there is no other; put back a copy, or train in another --workdir"
            )
        return None
    for bad in damaged:
        log.warning("warning: checkpoint %s: is damaged%s; the one before it, of step %d, is used",
                    bad, _set_aside(bad) if saved.keep is not None else "", step)  # fmt: skip
    path = saved.folder / str(step)
    theirs = {name: array.shape for name, array in arrays.items()}
    ours = {name: leaf.shape for name, leaf in by_place(like).items()}
    for name in sorted(theirs.keys() | ours.keys()):
        if theirs.get(name) != ours.get(name):
            raise UserError(
                f"checkpoint {path}: was made by another model ({name} has shape "
                f"{theirs.get(name)}, here {ours.get(name)}); use another --workdir"
            )
    leaves = [jnp.array(arrays[name]) for name in ours]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _latest(saved: Checkpoints) -> tuple[int, dict | None, list[Path]]:
    """Step and arrays of the newest whole checkpoint, and the damaged checkpoints after it.

    Another process may save a checkpoint meanwhile and remove the ones listed here. So what cannot
    be read is damaged only if the list is still the same afterwards.
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
    """{".params['block_0']['kernel']": leaf, ...} in the order of the tree."""
    flat = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(place): leaf for place, leaf in flat}


def checksum_of(tree) -> int:
    """Of the names and bytes of all arrays of a tree."""
    crc, arrays = 0, by_place(tree)
    for name in sorted(arrays):
        crc = zlib.crc32(name.encode(), crc)
        crc = zlib.crc32(np.ascontiguousarray(arrays[name]).tobytes(), crc)
    return crc


def _list_of(folder: Path) -> bytes:
    """What LIST says of a whole checkpoint: name, size and checksum of every other file.

    But of hidden ones: file managers leave some.
    """
    lines = []
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        if file.name != LIST and not file.name.startswith("."):
            data = file.read_bytes()
            lines.append(f"{file.relative_to(folder).as_posix()} {len(data)} {zlib.crc32(data)}\n")
    return "".join(lines).encode()


def _set_aside(folder: Path) -> str:
    """Renames a damaged checkpoint; says so."""
    aside = folder.with_name(f"{folder.name}.damaged")
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    return f" and now called {aside.name}"


def _remove(folder: Path) -> None:
    """Deletes a checkpoint; where that is cut short, what is left does not look like one."""
    part = folder.with_name(f"{PART}{folder.name}")
    folder.rename(part)
    shutil.rmtree(part)
