"""Keep arrays on disk between runs. A broken cache only costs time."""

import contextlib
from pathlib import Path

import numpy as np

from tiny_diffusion_jax.files import atomic


def home(cache_dir: str = "") -> Path:
    """Return the folder of `config.data.cache_dir`; "" = ~/.cache/tiny_diffusion_jax."""
    return Path(cache_dir or "~/.cache/tiny_diffusion_jax").expanduser()


def read(file: Path, names: tuple[str, ...]) -> tuple[np.ndarray, ...] | None:
    """Return the arrays called `names`; None if the file is missing, damaged or of another kind."""
    try:
        with np.load(file) as arrays:
            return tuple(arrays[name] for name in names)
    except Exception:
        return None


def write(file: Path, **arrays: np.ndarray) -> None:
    """Write all arrays or no file. A file system error raises nothing."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic(file) as temporary:
            np.savez(temporary, **arrays)
