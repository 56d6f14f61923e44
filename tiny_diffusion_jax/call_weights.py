"""Check the weights of a call: the parameters of the network of an experiment."""

from functools import lru_cache, partial
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from ml_collections import FrozenConfigDict

from tiny_diffusion_jax import devices
from tiny_diffusion_jax.api import Experiment
from tiny_diffusion_jax.errors import UserError, require
from tiny_diffusion_jax.training.step import TrainState, init_state


def weights_of(experiment: Experiment, weights: Any):
    """Parameters of the network in `weights`: a TrainState, the pair of `load`, or parameters.

    Raises UserError for other objects, and for parameters of another network.
    """
    if isinstance(weights, tuple) and len(weights) == 2 and isinstance(weights[0], Experiment):
        weights = weights[1]
    weights = weights.sampled if isinstance(weights, TrainState) else weights
    is_params = weights is None or (isinstance(weights, dict) and "params" in weights)
    require(is_params, "weights", type(weights).__name__,
            "the parameters {'params': ...}, a TrainState of td.train, or what td.load returns")
    # An object with only a function `apply` in place of a Flax module may have no parameters.
    if isinstance(experiment.model, nn.Module):
        _check_parameters(experiment, weights)
    return weights


def _check_parameters(experiment: Experiment, weights) -> None:
    """Raise UserError unless `weights` has all parameters of the network, in their shapes."""
    train_config = FrozenConfigDict(experiment.config.train)
    needed = _parameter_shapes(experiment.model, train_config, experiment.dataset.dim)
    shapes = _shapes_by_name(weights)
    for name, shape in needed.items():
        is_missing = name not in shapes
        if is_missing or shapes[name] != shape:
            problem = "is missing" if is_missing else f"has shape {shapes[name]}"
            raise UserError("weights", problem=f"{name} of shape {shape} {problem}",
                            allowed="the parameters of the model of this experiment")  # fmt: skip


@lru_cache(maxsize=64)
@devices.without_float64
def _parameter_shapes(model, train_config, dim: int) -> dict[str, tuple[int, ...]]:
    init = partial(init_state, model=model, config=train_config, dim=dim)
    return _shapes_by_name(jax.eval_shape(init, jax.random.key(0)).params)


def _shapes_by_name(weights) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree.leaves_with_path(weights)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.shape(leaf)
            for path, leaf in leaves}  # fmt: skip
