"""image:FILE: a picture of your own, in any format that Pillow reads.

    python main.py --config=image:cat.png

The border decides whether the picture is dark on light or light on dark. --config.data.invert=yes
or no overrides this. Transparent pixels are empty.

The time is in CPU seconds on one core: compilation, and 500 steps scaled to all 12,000 steps,
without evaluation.

Time: 64 s.
"""

from pathlib import Path

from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.errors import UserError


def get_config(path: str = "", model: str = "fourier_mlp"):
    if not path:
        allowed = "followed by a picture, as in --config=image:cat.png"
        raise UserError("--config", "image", allowed)
    config = default_config(model)
    config.name = f"image_{Path(path).stem}" + ("" if model == "fourier_mlp" else f"_{model}")
    config.data.name = "image"
    config.data.path = path
    config.data.jitter = "uniform"
    return config
