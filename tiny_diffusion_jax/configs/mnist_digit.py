"""mnist_digit[:DIGIT]: one MNIST digit as a scatter plot.

    python main.py --config=mnist_digit
    python main.py --config=mnist_digit:7 --config.data.index=4

The true density is known. It is proportional to the intensity of the image and uniform within each
pixel.

Time: 1-3 min.
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
    if model == "fourier_mlp":
        # Thin strokes need many noise levels per step, most of them small. 7,400 steps are nearly
        # as good as 12,000 steps with 64 x 16 points, rho = 7 and a learning rate of 3e-3.
        config.train.update(num_sets=256, num_points=4, steps=7_400, learning_rate=1e-2)
        config.schedule.rho = 20.0
    return config
