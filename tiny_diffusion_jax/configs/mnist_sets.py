"""mnist_sets[:DIGITS]: each MNIST image is a set of points; each sample is a new digit.

    python main.py --config=mnist_sets    all digits;
    python main.py --config=mnist_sets --mode=sample --config.sample.label=7 \\
        --config.sample.guidance_scale=2
    python main.py --config=mnist_sets:01 --config.model.name=set_latent

Labels are digits. The model is conditioned on the label of each set, except in a share
train.label_drop of the sets. So one model draws sets with a given digit and sets with random
digits.

Time: 10-20 min.
"""

from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.recipes import SMALL_SETS


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
    # Fresh noise corrects earlier errors, so points between strokes and mixed sets are rare.
    config.sample.sampler = "sde-dpm++2m"
    config.sample.num_steps = 30
    config.sample.num_sets = 500
    config.sample.num_points = 64
    return config
