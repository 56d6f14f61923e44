"""sets:PATH: sets of your own, of any sizes; each sample is a new set.

    python main.py --config=sets:examples/sets.csv                            a table;
    python main.py --config=sets:cells.csv --config.data.set_column=cell      set names;
    python main.py --config=sets:jets.npz --config.data.augment_rotate=True   arrays;
    python main.py --config=sets:icons/ --config.data.skip_unreadable=True    pictures.

PATH is a table (one row per point, a column with the name of the set, optionally label and split),
an array (.npz, .npy: points[S, N, D], or points[P, D] with set[P] or sizes[S]; label[S]) or a
folder of pictures (each subfolder is a label, if there are subfolders). If the labels have another
name than label, set --config.data.label_column=NAME --config.model.labels=True.

Time: 10-20 min.
"""

from pathlib import Path

from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.data.sets import names_labels
from tiny_diffusion_jax.data.table import stem
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.recipes import own_sets


def get_config(path: str = "", model: str = "set_transformer"):
    if not path:
        raise UserError("--config", "sets", "followed by a table, an array or a folder "
                        "of pictures, as in --config=sets:a.csv")  # fmt: skip
    config = default_config(model)
    config.name = f"sets_{stem(path)}" + ("" if model == "set_transformer" else f"_{model}")
    config.data.name = "sets"
    config.data.path = path
    config.model.labels = names_labels(path)
    config.update_from_flattened_dict(own_sets(config.model.name))
    if Path(path).expanduser().is_dir():
        config.data.jitter = "uniform"
        config.data.max_side = 64  # sets are slow to draw from larger images
        config.model.sizes = False  # a picture has no number of points
        config.sample.num_points = 64
    return config
