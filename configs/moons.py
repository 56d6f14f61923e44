"""configs/moons.py[:SHAPE]: two moons, or another analytic shape.

    python main.py --config=configs/moons.py
    python main.py --config=configs/moons.py:pinwheel

SHAPE is moons (default), circle, line, eight_gaussians, two_spirals, pinwheel, checkerboard,
rings, swiss_roll or dino.
"""

from tiny_diffusion_jax.config import default_config


def get_config(shape: str = "moons"):
    config = default_config()
    config.name = shape
    config.data.name = shape
    return config
