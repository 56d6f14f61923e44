"""student/digit[:DIGIT]: first experiment of the student project: one MNIST digit, 0.

    python main.py --config=student/digit

There is only one density, so the plain Fourier MLP draws it well.

The time is in CPU seconds on one core: compilation, and 500 steps scaled to all 20,000 steps,
without evaluation.

Time: 56 s.
"""

from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.recipes import STUDENT_RECIPES


def get_config(digit: str = "0", model: str = "fourier_mlp"):
    if not digit.isdecimal():
        raise UserError(f"--config=student/digit:{digit}", allowed="a digit, 0..9")
    config = default_config(model, STUDENT_RECIPES)
    config.name = f"student_digit{digit}_{model}"
    config.data.name = "mnist"
    config.data.digit = int(digit)
    config.data.threshold = 250 / 255
    config.data.jitter = "uniform"
    config.data.normalize = True
    return config
