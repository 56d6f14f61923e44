"""configs/mixture.py:MEMBERS: several densities, every generated set from one of them.

    python main.py --config=configs/mixture.py:dino+moons
    python main.py --config=configs/mixture.py:dino+moons+circle+mnist:3 --config.model.name=history
    python main.py --config=configs/mixture.py:cat.png+moons --config.data.weights=0.3+0.7

MEMBERS are joined by +: shapes (see configs/moons.py), mnist:DIGIT[:INDEX], pictures, tables of
points; table.csv?dataset=dino is some rows of one, table.csv?dataset a member for each value of a
column; and folders of finished runs, for the sets that those drew (see configs/seed/replay.py).
--config.model.name chooses the denoiser, with its recipe of models/recipes.py.
"""

import re

from tiny_diffusion_jax.config import default_config


def get_config(members: str = "dino+moons", model: str = "set_transformer"):
    config = default_config(model)
    name = re.sub(r"[^+]*\?[^+=]*=", "", members)  # of rows of a table, their value
    name = name.replace("/", "_").replace(":", "").replace("?", "_")
    config.name = "mixture_" + name + "_" + model
    config.data.name = "mixture"
    config.data.members = members
    config.train.checkpoint_every = 5_000
    if model == "fourier_mlp":  # two densities in one take it longer than one
        config.train.steps = 20_000
        config.train.num_points = 16
    # Fresh noise undoes the errors of earlier steps: no points between strokes, no mixed sets.
    config.sample.sampler = "sde-dpm++2m"
    config.sample.num_steps = 30
    config.sample.num_sets = 1_000
    config.sample.num_points = 256
    return config
