"""Pack trained models into a page that samples them in the browser, without a server."""

import jax
import numpy as np

from tiny_diffusion_jax import sampling
from tiny_diffusion_jax.api import Experiment
from tiny_diffusion_jax.call_checks import is_distilled, is_flow
from tiny_diffusion_jax.checks import check
from tiny_diffusion_jax.data.label_option import RANDOM
from tiny_diffusion_jax.data.units import to_own
from tiny_diffusion_jax.diffusion import Process
from tiny_diffusion_jax.errors import require, require_choice
from tiny_diffusion_jax.scoring import seen_sizes
from tiny_diffusion_jax.sets import strategy_of
from tiny_diffusion_jax.web.density import data_density
from tiny_diffusion_jax.web.packing import pack_weights
from tiny_diffusion_jax.web.render import render

# Scripts of the worker. Each script uses the scripts before it.
WORKER = (
    "arrays.js", "random.js", "train/heap.js", "train/products.js", "train/simd.js",
    "live/grid.js", "live/dense.js", "live/layers.js", "live/trunk.js", "live/networks.js",
    "live/causal.js", "live/set_transformer.js", "live/samplers.js", "live/generation.js",
    "live/field.js", "live/distance.js", "live/convergence.js", "live/worker.js",
)  # fmt: skip
NETWORKS = ("fourier_mlp", "history", "causal", "set_transformer", "set_latent")
NUM_STEPS = (1, 2, 5, 10, 15, 25, 50, 100)  # choices on the page, besides the model's default.
FEW_STEPS = (1, 2, 4, 8)  # the same for a distilled model.
MOST_POINTS = 1000  # largest size of the first set: one or two seconds on a laptop.
BYTES_EACH = 3  # per weight: samples move by less than 3e-4, but by up to 7e-3 with 2 bytes.


def live_page(models: list[dict], training: dict | None = None) -> str:
    """Return the HTML of the page of `models`, each a result of `live_model`.

    training: a result of `training_data`, with which the page also trains a model.
    """
    titles = ", ".join(model["title"] for model in models)
    return render("live.html", title=f"{titles}: sampled live", models=models, worker=WORKER,
                  training=training)


def live_model(experiment: Experiment, params, name: str = "") -> dict:
    """Pack all that the page needs to sample the model as `td.sample` does, as JSON.

    Points on the page are in the network's units; shift and scale convert them to the data's own
    units. Raises UserError for a model that the page does not support, for points that are not in
    the plane, and for options that `td.sample` rejects.
    """
    config, dataset, process, model, _ = experiment
    check(config)  # the config may have changed since `build`
    require_choice("config.model.name (of a live page)", config.model.name, NETWORKS)
    require(dataset.dim == 2, "D, coordinates of a point", dataset.dim, "2 for a live page")
    reason = "for a live page, whose sets start from independent Gaussian noise"
    require(not config.data.start, "config.data.start", config.data.start, f"'' {reason}")
    require(not is_flow(config), "config.train.pairs", config.train.pairs, f"independent {reason}")
    options, train, schedule = config.sample, config.train, process.schedule
    distilled, is_latent = is_distilled(config), model.traits.strategy == "latent"
    choices = FEW_STEPS if distilled else NUM_STEPS
    steps = sorted({n for n in (*choices, options.num_steps) if n <= schedule.num_levels})
    labels = zip(dataset.label_names, dataset.label_shares, strict=True) if model.num_labels else ()
    guides = {  # guidance needs a model that was also trained without the conditioning
        "label": model.num_labels and train.label_drop > 0,
        "history": strategy_of(model).reads_history and train.history_drop > 0,
    }
    return {
        "name": name or config.name, "title": dataset.title, "network": config.model.name,
        "strategy": model.traits.strategy, "dim": dataset.dim,
        "completes": model.traits.completes and not distilled,
        "options": config.model.to_dict() | {"num_labels": model.num_labels},
        "seen_sizes": seen_sizes(experiment),
        "sort_keys": [key._asdict() for key in strategy_of(model).sort_keys],
        "weights": jax.tree.map(lambda a: pack_weights(a, BYTES_EACH), params["params"]),
        "levels": level_table(process), "steps": steps,
        "latent_levels": level_table(process.of_latents()) if is_latent else None,
        "sigma_data": process.sigma_data,
        "data_mean": np.broadcast_to(process.data_mean, dataset.dim).tolist(),
        "shift": to_own(dataset.origin, np.asarray(dataset.shift)).tolist(),
        "scale": np.broadcast_to(dataset.scale, dataset.dim).tolist(),
        "labels": [{"name": label, "share": round(float(share), 3)} for label, share in labels],
        "guides": [name for name, is_trained in guides.items() if is_trained],
        "unnamed": train.label_drop > 0, "density": data_density(experiment),
        "sample": options.to_dict() | {
            "max_history": train.max_history,
            "label": max(sampling.label_of(experiment, options), RANDOM),
            "num_points": min(options.num_points or MOST_POINTS // 4, MOST_POINTS),
        },
    }  # fmt: skip


def level_table(process: Process) -> dict:
    """f32[T + 1, 6]: time, alpha, sigma, c_in, c_skip, c_out of each level."""
    level = process.level(np.arange(process.schedule.num_levels + 1))
    table = np.stack([*level, *process.coefficients(level)], axis=-1)
    return pack_weights(np.nan_to_num(table))  # level 0 is never denoised, and has some 0 / 0
