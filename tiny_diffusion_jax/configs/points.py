"""points:FILE: a table of your own points, in any format of data/table.py.

    python main.py --config=points:examples/points.csv
    python main.py --config=points:DatasaurusDozen.tsv \\
        --config.data.where=dataset=dino --config.data.jitter_std=0.15

Three rules choose the coordinates: the columns x, y (and z), else longitude and latitude, else the
first two columns with numbers that are not identifiers. --config.data.columns=a,b chooses other
columns. A drawn point is a row plus Gaussian jitter with standard deviation jitter_std, in the
table's units. Without jitter a tenth of the rows is held out and selects the weights (keep_best),
because a model that is trained for longer memorises its rows.

Time: about 1 min.
"""

from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.data.table import stem
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.recipes import OWN_ROWS


def get_config(path: str = "", model: str = "fourier_mlp"):
    if not path:
        allowed = "followed by a table, as in --config=points:a.csv"
        raise UserError("--config", "points", allowed)
    config = default_config(model)
    config.name = f"points_{stem(path)}" + ("" if model == "fourier_mlp" else f"_{model}")
    config.data.name = "points"
    config.data.path = path
    config.data.jitter = "gaussian"
    config.data.jitter_std = 0.0
    config.update_from_flattened_dict(OWN_ROWS)
    return config
