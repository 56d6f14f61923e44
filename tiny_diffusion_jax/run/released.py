"""Trained models in the package: weights, commands that made them, and scores.

    released/NAME.npz    the EMA weights, float32, by their path in the model
    released/NAME.json   config, units of the data, command, hash of the weights, scores

Sampling needs no data. To evaluate a model, its data are built in the same way as for any run.
"""

import json
import logging
from pathlib import Path

import jax
import numpy as np

from tiny_diffusion_jax import data
from tiny_diffusion_jax.api import Experiment, assemble, build, init
from tiny_diffusion_jax.config import default_config, flatten
from tiny_diffusion_jax.data.description import describe as describe_data
from tiny_diffusion_jax.data.description import hash_of, restore
from tiny_diffusion_jax.errors import UserError, require, require_choice
from tiny_diffusion_jax.run.checkpoints import from_arrays
from tiny_diffusion_jax.run.same_run import affects_model, data_differences
from tiny_diffusion_jax.run.versions import migrate_config

log = logging.getLogger("tiny_diffusion_jax")

FOLDER = Path(__file__).parents[1] / "released"


def names() -> list[str]:
    """Names of all released models."""
    return sorted(file.stem for file in FOLDER.glob("*.json"))


def describe(name: str) -> dict:
    """Content of released/NAME.json. Raises UserError if there is no such model."""
    require_choice("--pretrained", name, names())
    return json.loads((FOLDER / f"{name}.json").read_text("utf-8"))


def config_of(name: str):
    """Config of the training and of the samples, in the form of default_config()."""
    config = default_config()
    config.update(migrate_config(describe(name)["config"]))
    return config


def load_released(name: str, config=None, with_data: bool = False) -> tuple[Experiment, dict]:
    """Return the experiment of a released model, and its weights.

    config: replaces the stored config; options that a trained model depends on must be equal in
    both. Unless `with_data`, `dataset.draw` returns labels, and NaN for points. Raises UserError
    for an unknown name, another model in `config`, a damaged file, and other data than in training.
    """
    description = describe(name)
    if config is None:
        config = config_of(name)
    else:
        _check_same_model(name, config)
    facts = description["dataset"]
    if with_data:
        experiment = build(config)
        if changes := data_differences(facts, describe_data(experiment.dataset)):
            raise UserError("--pretrained", name, "measured on the data that it was trained on, "
                            f"from {facts['source']}, but {changes[0]}")  # fmt: skip
    else:
        labels = {"names": list(description["labels"]),
                  "options": list(data.labels(config.data).names),
                  "shares": list(description["labels"].values())}  # fmt: skip
        kept = {"labels": labels, "num_sources": int(data.about(config.data).many_sources)}
        experiment = assemble(config, restore(kept | facts))
    file = FOLDER / f"{name}.npz"
    if hash_of(file) != description["sha256"]:
        raise UserError(str(file), allowed=f"the file with the hash in {name}.json, but is damaged")
    with np.load(file) as arrays:
        params = from_arrays(arrays, jax.eval_shape(lambda: init(experiment)).params)
    log.info("released model %s: %s; trained by %s", name, facts["title"], description["command"])
    return experiment, params


def _check_same_model(name: str, config) -> None:
    """Raise UserError if `config` differs in an option that the trained model depends on."""
    stored, fields = flatten(config_of(name)), flatten(config)
    for field in filter(affects_model, stored):
        require(fields[field] == stored[field], f"config.{field}", fields[field],
                f"{stored[field]!r}, with which the released model {name!r} is trained")
