"""A page that samples trained models in the browser: the networks themselves, with no server."""

from pathlib import Path

from tiny_diffusion_jax.pages.render import render, write_page

# What runs in the worker, in order: the later ones use the earlier.
WORKER = (
    "arrays.js", "live/layers.js", "live/trunk.js", "live/networks.js", "live/causal.js",
    "live/set_transformer.js", "live/samplers.js", "live/generation.js", "live/worker.js",
)  # fmt: skip


def write_live(path: Path, models: list[dict]) -> None:
    """Writes the page of `models`, each as `weights.live_model` gives it."""
    write_page(path, "live.html", **values(models))


def live_text(models: list[dict]) -> str:
    """The text of that page, to be held by another."""
    return render("live.html", **values(models))


def values(models: list[dict]) -> dict:
    """What templates/live.html prints."""
    titles = ", ".join(model["title"] for model in models)
    return {"title": f"{titles}: sampled live", "models": models, "worker": WORKER}
