"""Data and default options of training in the browser, for the live page and the drawing page."""

from functools import cache

import jax
import numpy as np

from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.data.shapes import SHAPES
from tiny_diffusion_jax.web.packing import pack

# Scripts that compute a training step, and the worker that runs them. Each script uses the scripts
# before it.
ARITHMETIC = (
    "train/heap.js", "train/products.js", "train/simd.js", "random.js", "train/schedule.js",
    "train/network.js", "train/gradient.js", "train/optimizer.js", "live/samplers.js",
    "train/trainer.js",
)  # fmt: skip
WORKER = (*ARITHMETIC, "live/grid.js", "train/worker.js")
POINTS = 4096  # of each shape on the page, drawn once: 22 kB
FIRST = "dino"  # the shape that is chosen first
# A network that two CPU cores train in half a minute. All other options are the defaults.
SMALL = {"model.hidden_dim": 64, "model.num_blocks": 2, "train.num_points": 4,
         "train.steps": 4000}  # fmt: skip


def network_options(config) -> dict:
    """Options of `Trainer` in static/train/trainer.js, from a whole config."""
    return config.model.to_dict() | config.train.to_dict() | {"schedule": config.schedule.name}


@cache
def training_data(with_shapes: bool = True) -> dict:
    """Options and shapes of the page: {"options", "worker", "shapes": [{"name", "points"}]}.

    with_shapes: False for a page on which the user draws the shapes. Points are normalised to mean
    0 and mean variance 1, as `Dataset.normalize` does it.
    """
    config = default_config()
    config.update_from_flattened_dict(SMALL)
    names = [FIRST, *(name for name in SHAPES if name != FIRST)] if with_shapes else []
    shapes = [{"name": name.replace("_", " "), "points": pack(_points(name))} for name in names]
    return {"options": network_options(config), "shapes": shapes, "worker": WORKER}


def _points(name: str) -> np.ndarray:
    points = np.asarray(SHAPES[name].sample(jax.random.key(0), POINTS), np.float64)
    points = points - points.mean(0)
    return points / np.sqrt(points.var(0).mean())
