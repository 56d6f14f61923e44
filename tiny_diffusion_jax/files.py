"""Write files and folders completely or not at all, even if the power fails."""

import contextlib
import errno
import json
import os
import tempfile
from pathlib import Path

import numpy as np

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

PART = ".part-"  # prefix of the names of unfinished files
CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP)  # some network file systems


@contextlib.contextmanager
def atomic(path: Path):
    """Yield a temporary path in the same folder; rename it to `path` if the block succeeds."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=PART, suffix=path.suffix)
    os.close(handle)
    part = Path(name)
    try:
        with locked(part):
            yield part
            part.chmod(0o644)
            publish(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, value) -> None:
    """Write `value` as indented JSON."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", "utf-8")


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a .npy file."""
    with atomic(path) as temporary:
        np.save(temporary, array)


def publish(part: Path, path: Path) -> None:
    """Rename the file or folder `part` to `path`, once the disk holds all of `part`."""
    for written in [*part.rglob("*"), part]:
        sync(written)
    part.replace(path)
    sync(path.parent)


def make_folder(folder: Path) -> None:
    """Make `folder` and its missing parents, and wait until the disk holds them."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync(path.parent)


def sync(path: Path) -> None:
    """Wait until the disk holds the contents of a file, or the names in a folder."""
    if path.is_dir() and os.name == "nt":  # Windows cannot open a folder
        return
    with _opened(path) as handle:
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno not in CANNOT_SYNC:
                raise


def remove_abandoned(folder: Path) -> None:
    """Delete the temporary files in `folder` that `atomic` left when a process was killed.

    A process that still writes a temporary file holds its lock, so the file is kept.
    """
    for part in folder.glob(f"{PART}*"):
        with contextlib.suppress(OSError), locked(part) as is_locked:
            if is_locked:
                part.unlink()


@contextlib.contextmanager
def locked(path: Path):
    """Lock a file or folder in the block, until this process ends for any reason.

    Yield True; False if another process has the lock; None if the system has no locks.
    """
    if fcntl is None:
        yield None
        return
    with _opened(path) as handle:
        is_locked = True
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            is_locked = False
        except OSError:  # a file system without locks
            is_locked = None
        yield is_locked


@contextlib.contextmanager
def _opened(path: Path):
    """Yield a handle of a file or folder."""
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        yield handle
    finally:
        os.close(handle)
