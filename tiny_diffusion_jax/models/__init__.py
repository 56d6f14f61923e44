"""Denoisers: Flax modules `(x_t[B, N, 2], time[B], history, label, mask) -> output[B, N, 2]`.

One signature, so one loss, one train step and one sampler serve all. A module also says whether
it is `per_point` and how many `floats_per_point` an evaluation takes.
To add one: write the module in a file of its own and name its builder in `MODELS`.
"""

from tiny_diffusion_jax.errors import require, require_choice
from tiny_diffusion_jax.models.embeddings import EMBEDDINGS
from tiny_diffusion_jax.models.fourier_mlp import FourierMLP


def _fourier_mlp(config) -> FourierMLP:
    require_choice("config.model.embedding", config.embedding, EMBEDDINGS)
    for field in ("hidden_dim", "num_frequencies", "time_frequencies"):
        require(config[field] >= 1, f"config.model.{field}", config[field], "at least 1")
    require(config.num_blocks >= 0, "config.model.num_blocks", config.num_blocks, "0 or more")
    require(config.scale > 0, "config.model.scale", config.scale, "above 0")
    require(config.max_period >= 1, "config.model.max_period", config.max_period, "at least 1")
    require(config.time_scale > 0, "config.model.time_scale", config.time_scale, "above 0")
    return FourierMLP(
        hidden_dim=config.hidden_dim,
        num_blocks=config.num_blocks,
        embedding=config.embedding,
        num_frequencies=config.num_frequencies,
        scale=config.scale,
        max_period=config.max_period,
        time_frequencies=config.time_frequencies,
        time_scale=config.time_scale,
    )


MODELS = {"fourier_mlp": _fourier_mlp}


def make_model(config):
    """The denoiser that `config` (the `model` part of a config) describes.

    Raises UserError for an unknown name or a size below its minimum.
    """
    require_choice("config.model.name", config.name, MODELS)
    return MODELS[config.name](config)
