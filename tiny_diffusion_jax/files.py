"""Write files and folders completely or not at all, even if the power fails."""

import contextlib
import errno
import os
import tempfile
from pathlib import Path

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
        with _locked(part):
            yield part
            part.chmod(0o644)
            publish(part, path)
    finally:
        part.unlink(missing_ok=True)


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
    is_folder = path.is_dir()
    if is_folder and os.name == "nt":  # Windows cannot open a folder
        return
    handle = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in CANNOT_SYNC:
            raise
    finally:
        os.close(handle)


def remove_abandoned(folder: Path) -> None:
    """Delete the temporary files in `folder` that `atomic` left when a process was killed.

    A process that still writes a temporary file holds its lock, so the file is kept.
    """
    for part in folder.glob(f"{PART}*"):
        with contextlib.suppress(OSError), _locked(part) as is_locked:
            if is_locked:
                part.unlink()


@contextlib.contextmanager
def _locked(path: Path):
    """Lock a file; yield False if another process has the lock, or if there are no locks."""
    if fcntl is None:
        yield False
        return
    with path.open("r+b") as file:
        is_locked = True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # another process has the lock, or the file system has no locks
            is_locked = False
        yield is_locked
