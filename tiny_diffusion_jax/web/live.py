"""A page that samples trained models in the browser, without a server."""

from pathlib import Path

from tiny_diffusion_jax.web.render import render, write_page

# Scripts of the worker. Each script uses the scripts before it.
WORKER = (
    "arrays.js", "live/layers.js", "live/trunk.js", "live/networks.js", "live/causal.js",
    "live/set_transformer.js", "live/samplers.js", "live/generation.js", "live/worker.js",
)  # fmt: skip


def write_live(path: Path, models: list[dict]) -> None:
    """Write the page of `models`, each a result of `weights.live_model`."""
    write_page(path, "live.html", **values(models))


def live_text(models: list[dict]) -> str:
    """Return the HTML of the page of `models`, which another page can hold."""
    return render("live.html", **values(models))


def values(models: list[dict]) -> dict:
    """Values for the template live.html."""
    titles = ", ".join(model["title"] for model in models)
    return {"title": f"{titles}: sampled live", "models": models, "worker": WORKER}
