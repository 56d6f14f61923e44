"""configs/mnist_sets.py[:DIGITS]: every MNIST image a set of points; every sample a new digit.

    python main.py --config=configs/mnist_sets.py
    python main.py --config=configs/mnist_sets.py --mode=sample --config.sample.label=7 \\
        --config.sample.guidance_scale=2
    python main.py --config=configs/mnist_sets.py:01 --config.model.name=set_latent

The model is given each set's digit, except in a share of train.label_drop, so one model draws both
digits that are asked for and digits of any kind. Trains for 10 to 20 minutes on two CPU cores.
"""

from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.models.recipes import SMALL_SETS


def get_config(digits: str = "", model: str = "set_transformer"):
    config = default_config(model)
    config.name = "mnist_sets" + digits + ("" if model == "set_transformer" else f"_{model}")
    config.data.name = "mnist_sets"
    config.data.digits = digits
    config.data.jitter = "uniform"
    config.model.labels = True
    config.train.checkpoint_every = 5_000
    if model == "set_transformer":
        config.update_from_flattened_dict(SMALL_SETS)
    # Fresh noise undoes the errors of earlier steps: no points between strokes, no mixed sets.
    config.sample.sampler = "sde-dpm++2m"
    config.sample.num_steps = 30
    config.sample.num_sets = 500
    config.sample.num_points = 64
    return config
