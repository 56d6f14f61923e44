"""tiny_diffusion_jax: distributions of points in the plane, learned by diffusion."""

import importlib

__version__ = "0.1.0"

# name -> module. A module is imported at the first access, because a config needs no jax.
_HOME = {
    "default_config": "config",
    **dict.fromkeys(("Experiment", "build", "log_prob", "sample", "train"), "api"),
    "load": "run.load",
    "ragged": "point_sets",
}


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
