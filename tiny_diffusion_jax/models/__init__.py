"""Denoisers: Flax modules `(x_t[B, N, 2], time[B], history, label, mask) -> output[B, N, 2]`.

One signature, so one loss, one train step and one sampler serve all. `traits` says how whole sets
are drawn from a denoiser and what it is shown in training (`traits.py`); `num_labels` how many
labels it can be asked for.
`history` is a `PointSets` of clean points (None or all masked: empty), `label` i32[B] (None or -1:
unnamed), `mask` bool[B, N] (False: no point), `target` the answer, for teacher forcing only.
To add one: write the module in a file of its own and name its builder in `MODELS`.
"""

from tiny_diffusion_jax.errors import require, require_choice
from tiny_diffusion_jax.models.fourier_mlp import FourierMLP, FourierTrunk
from tiny_diffusion_jax.models.history import HistoryDenoiser
from tiny_diffusion_jax.models.layers import EMBEDDINGS
from tiny_diffusion_jax.models.seed import AttentionV1, AttentionV2, Seq2Seq
from tiny_diffusion_jax.models.set_latent import SetLatent
from tiny_diffusion_jax.models.set_transformer import SetTransformer


def _trunk(config) -> FourierTrunk:
    return FourierTrunk(
        hidden_dim=config.hidden_dim,
        num_blocks=config.num_blocks,
        embedding=config.embedding,
        num_frequencies=config.num_frequencies,
        scale=config.scale,
        max_period=config.max_period,
        time_frequencies=config.time_frequencies,
        time_scale=config.time_scale,
    )


def _check_heads(config) -> None:
    heads = config.num_heads
    require(heads >= 1 and config.hidden_dim % heads == 0, "config.model.num_heads", heads,
            f"a divisor of config.model.hidden_dim = {config.hidden_dim}")  # fmt: skip


def _history(config, num_labels: int) -> HistoryDenoiser:
    _check_heads(config)
    return HistoryDenoiser(_trunk(config), config.num_heads, num_labels)


def _set_latent(config, num_labels: int) -> SetLatent:
    require(config.latent_dim >= 2, "config.model.latent_dim", config.latent_dim, "at least 2")
    noise = config.latent_noise
    require(noise >= 0, "config.model.latent_noise", noise, "0 or more")
    return SetLatent(_trunk(config), config.latent_dim, noise, num_labels)


def _set_transformer(config, num_labels: int) -> SetTransformer:
    _check_heads(config)
    inducing = config.num_inducing
    require(inducing >= 0, "config.model.num_inducing", inducing, "0 (full attention) or more")
    return SetTransformer(_trunk(config), config.num_heads, inducing, num_labels)


def _seq2seq(config, num_labels: int) -> Seq2Seq:
    share = config.teacher_forcing
    require(0 <= share <= 1, "config.model.teacher_forcing", share, "between 0 and 1")
    return Seq2Seq(_trunk(config), share, num_labels)


# name -> builder(config.model, number of labels the model is told: 0 for none)
MODELS = {
    "fourier_mlp": lambda config, num_labels: FourierMLP(_trunk(config), num_labels),
    "history": _history,
    "set_transformer": _set_transformer,
    "set_latent": _set_latent,
    "seq2seq": _seq2seq,
    "attention_v1": lambda config, num_labels: AttentionV1(_trunk(config), num_labels),
    "attention_v2": lambda config, num_labels: AttentionV2(_trunk(config), num_labels),
}


def make_model(config, num_labels: int = 0):
    """The denoiser that `config` (the `model` part of a config) describes.

    `num_labels`: how many labels the data have. Raises UserError for an unknown name, a size
    below its minimum, and labels asked for where the data have none.
    """
    require_choice("config.model.name", config.name, MODELS)
    require_choice("config.model.embedding", config.embedding, EMBEDDINGS)
    for field in ("hidden_dim", "num_frequencies", "time_frequencies"):
        require(config[field] >= 1, f"config.model.{field}", config[field], "at least 1")
    require(config.num_blocks >= 0, "config.model.num_blocks", config.num_blocks, "0 or more")
    require(config.scale > 0, "config.model.scale", config.scale, "above 0")
    require(config.max_period >= 1, "config.model.max_period", config.max_period, "at least 1")
    require(config.time_scale > 0, "config.model.time_scale", config.time_scale, "above 0")
    require(num_labels > 0 or not config.labels, "config.model.labels", config.labels,
            "False for data without labels")  # fmt: skip
    return MODELS[config.name](config, num_labels if config.labels else 0)
