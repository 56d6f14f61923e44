"""configs/mixture.py:MEMBERS: several densities, every generated set from one of them.

    python main.py --config=configs/mixture.py:dino+moons
    python main.py --config=configs/mixture.py:dino+moons+circle+mnist:3 --config.model.name=history
    python main.py --config=configs/mixture.py:cat.png+moons --config.data.weights=0.3+0.7

MEMBERS are joined by +: shapes (see configs/moons.py), mnist:DIGIT[:INDEX], pictures, tables of
points. --config.model.name chooses the denoiser, and with it the settings below.
"""

from tiny_diffusion_jax.config import default_config

# What each denoiser needs, beside what they share. Training takes minutes on two CPU cores.
SETTINGS = {
    # Blocks of 50 steps take turns at sets of 32, 128, 512 and 2,048 points.
    "set_transformer": {
        "model.hidden_dim": 64, "model.num_blocks": 4, "model.num_inducing": 16,
        "train.steps": 12_000, "train.num_sets": 128, "train.num_points": 32,
        "train.max_points": 2048, "train.block": 50, "train.learning_rate": 2e-3,
    },
    # Strokes are thin: twice the frequency of the default, and half as many blurred points.
    "history": {
        "model.scale": 24.0, "model.max_period": 200.0,
        "train.steps": 20_000, "train.num_sets": 32, "train.num_points": 64,
        "train.learning_rate": 2e-3,
    },
    "set_latent": {
        "model.scale": 24.0, "model.max_period": 200.0,
        "train.steps": 18_000, "train.num_sets": 64, "train.num_points": 64,
        "train.learning_rate": 2e-3, "train.history_drop": 0.0,
        "train.min_history": 64, "train.max_history": 64,
    },
    # The seed's models, in the same conditions.
    "fourier_mlp": {"train.steps": 20_000, "train.num_sets": 64, "train.num_points": 16},
    "seq2seq": {"train.steps": 600, "train.num_sets": 16, "train.num_points": 256},
    "attention_v1": {
        "train.steps": 10_000, "train.num_sets": 16, "train.num_points": 64,
        "train.max_history": 250, "train.history_drop": 0.0, "sample.first_block": 250,
        "sample.growth": 1.0,
    },
    "attention_v2": {
        "train.steps": 10_000, "train.num_sets": 16, "train.num_points": 64,
        "train.max_history": 250, "train.history_drop": 0.7, "sample.first_block": 250,
        "sample.growth": 1.0, "sample.guidance_scale": 1.7,
    },
}  # fmt: skip


def get_config(members: str = "dino+moons", model: str = "set_transformer"):
    config = default_config()
    config.name = "mixture_" + members.replace("/", "_").replace(":", "") + "_" + model
    config.data.name = "mixture"
    config.data.members = members
    config.model.name = model
    config.train.checkpoint_every = 5_000
    # Fresh noise undoes the errors of earlier steps: no points between strokes, no mixed sets.
    config.sample.sampler = "sde-dpm++2m"
    config.sample.num_steps = 30
    config.sample.num_sets = 1_000
    config.sample.num_points = 256
    config.update_from_flattened_dict(SETTINGS.get(model, {}))
    return config
