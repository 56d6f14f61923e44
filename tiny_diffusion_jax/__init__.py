"""tiny_diffusion_jax: distributions of points in the plane, learned by diffusion."""

import importlib

__version__ = "0.1.0"

# name -> module. A module is imported at the first access, because a config needs no jax.
_HOME = {
    "Experiment": "api",
    "UserError": "errors",
    "build": "experiments",
    "default_config": "config",
    **dict.fromkeys(
        ("complete", "distill", "evaluate", "log_prob", "sample", "train"), "interface"),
    "load": "run.load",
    "save": "run.save",
    **dict.fromkeys(("report", "show"), "notebook"),
    **dict.fromkeys(("pad_sets", "ragged"), "point_sets"),
}
__all__ = [*_HOME]


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
