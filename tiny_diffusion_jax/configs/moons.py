"""moons[:SHAPE]: two moons, or another analytic shape.

    python main.py --config=moons
    python main.py --config=moons:pinwheel

SHAPE is moons (default), circle, line, eight_gaussians, two_spirals, pinwheel, checkerboard,
rings, swiss_roll, dino or tree. --config.model.name chooses another denoiser, with its recipe.

Time: about 1 min.
"""

from tiny_diffusion_jax.config import default_config


def get_config(shape: str = "moons", model: str = "fourier_mlp"):
    config = default_config(model)
    config.name = shape + ("" if model == "fourier_mlp" else f"_{model}")
    config.data.name = shape
    return config
