"""configs/seed/digit.py[:DIGIT]: the seed's first experiment: one MNIST digit alone, 0.

    python main.py --config=configs/seed/digit.py

With a single density there is nothing to tell apart, and the plain Fourier MLP draws it well.
"""

from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.models.recipes import seed_config


def get_config(digit: str = "0", model: str = "fourier_mlp"):
    if not digit.isdecimal():
        raise UserError(f"configs/seed/digit.py:{digit}: must be a digit, 0..9")
    config = seed_config(f"digit{digit}", model)
    config.data.name = "mnist"
    config.data.digit = int(digit)
    config.data.threshold = 250 / 255
    config.data.jitter = "uniform"
    config.data.normalize = True
    return config
