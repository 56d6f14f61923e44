"""Write a trained model to the folder of released models in the package."""

from pathlib import Path

import jax
import numpy as np

from tiny_diffusion_jax.config import editable
from tiny_diffusion_jax.data.description import describe, hash_of
from tiny_diffusion_jax.files import write_json
from tiny_diffusion_jax.run import released
from tiny_diffusion_jax.run.checkpoints import named_leaves

NUM_SETS = 100  # default number of sets in --mode=sample, which takes seconds


def release(name: str, experiment, params, command: str, scores: dict) -> Path:
    """Write a trained model to the package, with its command and its scores."""
    released.FOLDER.mkdir(exist_ok=True)
    file = released.FOLDER / f"{name}.npz"
    np.savez_compressed(file, **jax.device_get(named_leaves(params)))
    config, dataset = editable(experiment.config), experiment.dataset
    config.data.update(data_dir="", cache_dir="")
    config.sample.num_sets = min(config.sample.num_sets, NUM_SETS)
    write_json(released.FOLDER / f"{name}.json", {
        "command": command, "sha256": hash_of(file), "dataset": describe(dataset),
        "labels": dict(zip(dataset.label_names, dataset.label_shares.tolist(), strict=True)),
        "scores": scores, "config": config.to_dict(),
    })  # fmt: skip
    return file
