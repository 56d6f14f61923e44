"""configs/mnist_sets.py[:DIGITS]: every MNIST image a set of points; every sample a new digit.

    python main.py --config=configs/mnist_sets.py
    python main.py --config=configs/mnist_sets.py --mode=sample --config.sample.label=7 \\
        --config.sample.guidance_scale=2
    python main.py --config=configs/mnist_sets.py:01 --config.model.labels=False

The model is told each set's digit, except in a share of train.label_drop, so one model draws both
digits that are asked for and digits of any kind. Trains for about 20 minutes on two CPU cores.
"""

from tiny_diffusion_jax.config import default_config


def get_config(digits: str = "", model: str = "set_transformer"):
    config = default_config()
    config.name = "mnist_sets" + digits + ("" if model == "set_transformer" else f"_{model}")
    config.data.name = "mnist_sets"
    config.data.digits = digits
    config.data.jitter = "uniform"
    config.model.name = model
    config.model.labels = True
    config.model.hidden_dim = 64
    config.model.num_blocks = 4
    config.model.num_inducing = 0
    config.train.steps = 28_000
    config.train.num_sets = 64
    config.train.num_points = 64
    config.train.learning_rate = 2e-3
    config.train.checkpoint_every = 5_000
    # Fresh noise undoes the errors of earlier steps: no points between strokes, no mixed sets.
    config.sample.sampler = "sde-dpm++2m"
    config.sample.num_steps = 30
    config.sample.num_sets = 500
    config.sample.num_points = 64
    return config
