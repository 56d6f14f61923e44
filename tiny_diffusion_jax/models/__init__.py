"""Denoisers: Flax modules `(x_t[B, N, D], time[B], history, label, ...) -> output[B, N, D]`.

All denoisers have this signature, so one loss, one train step and one sampler serve all of them.
Their optional inputs are:

    history  `PointSets` of clean points; None or all masked: an empty history.
    label    i32[B]; None or -1: no label.
    count    i32[B], the number of points of each set; None: unknown.
    mask     bool[B, N], False for padding.
    target   the correct outputs, for teacher forcing only.

`traits` of a denoiser say how whole sets are generated and what the history holds in training
(traits.py). `num_labels` is the number of labels that the denoiser accepts, and `counts` says
whether the denoiser is conditioned on the number of points of a set.

To add a denoiser, write its module in a new file, name its builder in `MODELS`, and add its
training settings to recipes.py.
"""

from tiny_diffusion_jax.models.aligned import AlignedSeq2Seq
from tiny_diffusion_jax.models.causal import Causal
from tiny_diffusion_jax.models.fourier_mlp import FourierMLP, FourierTrunk
from tiny_diffusion_jax.models.history import HistoryDenoiser
from tiny_diffusion_jax.models.set_latent import SetLatent
from tiny_diffusion_jax.models.set_transformer import SetTransformer
from tiny_diffusion_jax.models.student import AttentionV1, AttentionV2, Seq2Seq


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
        fade=config.fade,
        num_heads=config.num_heads,
    )


# name -> builder(trunk, config.model, number of labels of the model, 0 for none)
MODELS = {
    "fourier_mlp": lambda trunk, config, labels: FourierMLP(trunk, labels, config.sizes),
    "history": lambda trunk, config, labels: HistoryDenoiser(
        trunk, config.num_heads, labels, config.sizes),
    "causal": lambda trunk, config, labels: Causal(
        trunk, config.context_dim, config.context_blocks, labels, config.sizes, config.row_height),
    "set_transformer": lambda trunk, config, labels: SetTransformer(
        trunk, config.num_heads, config.num_inducing, labels, config.sizes),
    "set_latent": lambda trunk, config, labels: SetLatent(
        trunk, config.latent_dim, config.latent_noise, labels, config.sizes),
    "seq2seq": lambda trunk, config, labels: Seq2Seq(
        trunk, config.teacher_forcing, labels, config.sizes),
    "attention_v1": lambda trunk, config, labels: AttentionV1(trunk, labels, config.sizes),
    "attention_v2": lambda trunk, config, labels: AttentionV2(trunk, labels, config.sizes),
    "seq2seq_aligned": lambda trunk, config, labels: AlignedSeq2Seq(
        trunk, config.state_dim, config.encoder, labels, config.sizes),
    "attention_v1_same_set": lambda trunk, config, labels: AttentionV1(
        trunk, labels, config.sizes, "same_set"),
    "attention_v2_same_set": lambda trunk, config, labels: AttentionV2(
        trunk, labels, config.sizes, "same_set"),
}  # fmt: skip


def make_model(config, num_labels: int = 0):
    """Return the denoiser that `config` (the `model` part of a config) describes.

    `num_labels` is the number of labels in the data. checks.py defines the ranges of the options.
    """
    return MODELS[config.name](_trunk(config), config, num_labels if config.labels else 0)
