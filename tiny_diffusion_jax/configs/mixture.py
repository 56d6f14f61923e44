"""mixture:MEMBERS: several densities; each generated set comes from one of them.

    python main.py --config=mixture:dino+moons    two members;
    python main.py --config=mixture:dino+moons+circle+mnist:3 --config.model.name=history
    python main.py --config=mixture:cat.png+moons --config.data.weights=0.3+0.7

MEMBERS are joined by +. A member is a shape (see the config moons), mnist:DIGIT[:INDEX], a picture
or a table of points. table.csv?dataset=dino selects rows of a table. table.csv?dataset adds a
member for each value of a column. The folder of a finished run is a member too: the sets that the
run drew (see student/replay). --config.model.name chooses the denoiser, with its recipe from
recipes.py.

Time: 20-22 min.
"""

import re

from tiny_diffusion_jax.config import default_config


def get_config(members: str = "dino+moons", model: str = "set_transformer"):
    config = default_config(model)
    name = re.sub(r"[^+]*\?[^+=]*=", "", members)  # keep only the value of a row selection
    name = name.replace("/", "_").replace(":", "").replace("?", "_")
    config.name = "mixture_" + name + "_" + model
    config.data.name = "mixture"
    config.data.members = members
    config.train.checkpoint_every = 5_000
    if model == "fourier_mlp":  # two densities need more steps than one
        config.train.steps = 20_000
        config.train.num_points = 16
    # Fresh noise corrects earlier errors, so points between strokes and mixed sets are rare.
    config.sample.sampler = "sde-dpm++2m"
    config.sample.num_steps = 30
    config.sample.num_sets = 1_000
    config.sample.num_points = 256
    return config
