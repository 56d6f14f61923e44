"""Arrays kept on disk between runs. A cache that cannot be read or written is only slower."""

import contextlib
from pathlib import Path

import numpy as np

from tiny_diffusion_jax.files import atomic


def home(cache_dir: str = "") -> Path:
    """The folder of `config.data.cache_dir`; "" = ~/.cache/tiny_diffusion_jax."""
    return Path(cache_dir or "~/.cache/tiny_diffusion_jax").expanduser()


def read(file: Path, names: tuple[str, ...]) -> tuple[np.ndarray, ...] | None:
    """The arrays called `names`; None where the file is absent, cut short or not ours."""
    try:
        with np.load(file) as arrays:
            return tuple(arrays[name] for name in names)
    except Exception:
        return None


def write(file: Path, **arrays: np.ndarray) -> None:
    """Writes the arrays whole or not at all; no error where that cannot be done."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic(file) as temporary:
            np.savez(temporary, **arrays)
