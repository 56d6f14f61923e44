"""configs/points.py:FILE: a table of points of your own, .csv, .tsv, .npy or .npz.

    python main.py --config=configs/points.py:table.csv
    python main.py --config=configs/points.py:DatasaurusDozen.tsv \\
        --config.data.where=dataset=dino --config.data.jitter_std=0.15

The first two numeric columns are x and y unless --config.data.columns=a,b names others. Each drawn
point is a row plus Gaussian jitter of jitter_std, in the table's units.
"""

from pathlib import Path

from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.errors import UserError


def get_config(path: str = "", model: str = "fourier_mlp"):
    if not path:
        raise UserError("configs/points.py: name a table, as in --config=configs/points.py:a.csv")
    config = default_config(model)
    config.name = f"points_{Path(path).stem}" + ("" if model == "fourier_mlp" else f"_{model}")
    config.data.name = "points"
    config.data.path = path
    config.data.jitter = "gaussian"
    config.data.jitter_std = 0.0
    return config
