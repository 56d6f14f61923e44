"""mnist_digit[:DIGIT]: one MNIST digit as a scatter plot.

    python main.py --config=mnist_digit
    python main.py --config=mnist_digit:7 --config.data.index=4

The true density is known. It is proportional to the intensity of the image and uniform within each
pixel.
"""

from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.errors import UserError


def get_config(digit: str = "3", model: str = "fourier_mlp"):
    if not digit.isdecimal():
        raise UserError(f"--config=mnist_digit:{digit}", allowed="a digit, 0..9")
    config = default_config(model)
    config.name = f"mnist_{digit}" + ("" if model == "fourier_mlp" else f"_{model}")
    config.data.name = "mnist"
    config.data.digit = int(digit)
    config.data.jitter = "uniform"
    if model == "fourier_mlp":  # thin strokes need more noise levels per step
        config.train.num_points = 16
    return config
