"""Saving and restoring a training state: a few functions around orbax.

A checkpoint is a flat dictionary {place of an array in the state: array}, so it can be read on
any device and compared, name by name, with the model it is to be read into. A checksum goes with
it: orbax notices a file that is cut short, but not a changed byte.
"""

import contextlib
import io
import time
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax.errors import UserError

CHECKSUM = "crc32"


class SaveFailed(RuntimeError):
    """A checkpoint could not be written; the earlier ones are as they were."""

    exit_code = 1


@contextlib.contextmanager
def open_checkpoints(directory: Path, keep: int | None = None):
    """An orbax checkpointer on `directory` that keeps the last `keep`, for a `with` block.

    A checkpoint appears under its final name only when complete, so a crash while saving leaves
    the earlier ones as they were. With `keep` None it is for reading alone, and lets be what
    another process may just be writing.
    """
    from orbax.checkpoint import v1 as ocp

    directory = Path(directory).resolve()
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{directory}: must be a folder of checkpoints; is it another file?")
    with contextlib.redirect_stderr(io.StringIO()):  # about damage we say more in restore_latest
        checkpointer = ocp.training.Checkpointer(
            directory,
            preservation_policy=ocp.training.preservation_policies.LatestN(keep),
            cleanup_tmp_directories=keep is not None,
        )
    try:
        yield checkpointer
    finally:
        with _hushed():  # it raises a second time what a save has raised
            checkpointer.close()


def save(checkpointer, state) -> None:
    """Writes `state` under its step, unless that step is already there. Raises SaveFailed."""
    step = int(state.step)
    if step in {c.step for c in checkpointer.checkpoints}:
        return
    arrays = {name: np.asarray(leaf) for name, leaf in by_place(state).items()}
    arrays[CHECKSUM] = np.array(_checksum(arrays), np.uint32)
    with _hushed() as failed:
        checkpointer.save(step, arrays, force=True)
    if failed:
        raise SaveFailed(
            f"the checkpoint of step {step} cannot be written to {checkpointer.directory}; is the "
            f"disk full? (... {str(failed[0])[-80:]})"
        )


def restore_latest(checkpointer, like):
    """The newest state, in the structure of `like` (arrays or shapes); None where there is none.

    Raises UserError where the checkpoint is damaged or was made by another model.
    """
    newest = checkpointer.latest
    if newest is None:
        return None
    path = Path(checkpointer.directory) / str(newest.step)
    arrays = _load(checkpointer, newest.step)
    if arrays is None or arrays.pop(CHECKSUM, None) != _checksum(arrays):
        raise UserError(
            f"checkpoint {path}: is damaged; delete this folder to go on from the one before it, "
            "or from the start if it is the only one"
        )
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


def by_place(tree) -> dict:
    """{".params['block_0']['kernel']": leaf, ...} in the order of the tree."""
    flat = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(place): leaf for place, leaf in flat}


def checksum_of(tree) -> int:
    """Of the names and bytes of all arrays of a tree."""
    return _checksum({name: np.asarray(leaf) for name, leaf in by_place(tree).items()})


def _checksum(arrays: dict) -> int:
    crc = 0
    for name in sorted(arrays):
        crc = zlib.crc32(name.encode(), crc)
        crc = zlib.crc32(np.ascontiguousarray(arrays[name]).tobytes(), crc)
    return crc


def _load(checkpointer, step: int) -> dict | None:
    """The arrays of a checkpoint, or None where orbax cannot read it."""
    with _hushed() as failed:
        arrays = checkpointer.load(step)
    return None if failed else {name: np.asarray(array) for name, array in arrays.items()}


@contextlib.contextmanager
def _hushed():
    """Collects what orbax raises in a list instead of raising it: it has many ways to say it.

    After a failure what is still under way prints tracebacks from threads of its own.
    """
    failed = []
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            yield failed
        except Exception as error:
            failed.append(error)
            time.sleep(0.2)
