"""Files written whole or not at all."""

import contextlib
import os
import tempfile
from pathlib import Path

PART = ".part-"  # how the names of files begin that are still being written


@contextlib.contextmanager
def atomic(path: Path):
    """A temporary path in the same folder; becomes `path` if the block ends without an error."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=PART, suffix=path.suffix)
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, 0o644)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
