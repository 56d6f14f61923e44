"""Denoisers: Flax modules `(x_t[B, N, D], time[B], conditioning) -> output[B, N, D]`.

All denoisers have this signature, so one loss, one train step and one sampler serve all of them.
`conditioning` is a `Conditioning` (point_sets.py). Only `Seq2Seq`, which is trained with teacher
forcing, takes two more arguments.

`traits` of a denoiser name the strategy that generates whole sets, and say what the history holds
in training (traits.py). `num_labels` is the number of labels that the denoiser accepts, and
`counts` says whether the denoiser is conditioned on the number of points of a set.

To add a denoiser, write its module in a new file, name it in `MODELS`, and add its training
settings to recipes.py. Fields of the module that have the name of an option get its value.
"""

import dataclasses

from tiny_diffusion_jax.errors import require
from tiny_diffusion_jax.models.aligned import AlignedSeq2Seq
from tiny_diffusion_jax.models.causal import Causal
from tiny_diffusion_jax.models.fourier_mlp import FourierMLP, FourierTrunk
from tiny_diffusion_jax.models.history import HistoryDenoiser
from tiny_diffusion_jax.models.set_latent import SetLatent
from tiny_diffusion_jax.models.set_transformer import SetTransformer
from tiny_diffusion_jax.models.student import AttentionV1, AttentionV2, Seq2Seq

# name -> (module, fields that are no options)
MODELS = {
    "fourier_mlp": (FourierMLP, {}),
    "history": (HistoryDenoiser, {}),
    "causal": (Causal, {}),
    "set_transformer": (SetTransformer, {}),
    "set_latent": (SetLatent, {}),
    "seq2seq": (Seq2Seq, {}),
    "attention_v1": (AttentionV1, {"history_source": "previous_batch"}),
    "attention_v2": (AttentionV2, {"history_source": "previous_batch"}),
    "seq2seq_aligned": (AlignedSeq2Seq, {}),
    "attention_v1_same_set": (AttentionV1, {"history_source": "same_set"}),
    "attention_v2_same_set": (AttentionV2, {"history_source": "same_set"}),
}


def make_model(config, num_labels: int = 0, coordinates: tuple[str, ...] = ("x", "y")):
    """Return the denoiser that `config` (the `model` part of a config) describes.

    `num_labels` is the number of labels in the data, and `coordinates` has the names of the
    coordinates of a point. options.py defines the ranges of the options.
    """
    require(config.name in MODELS, "config.model.name", config.name,
            f"one of {', '.join(MODELS)}, or given as a module",
            "td.load(folder, model=MODULE)")  # fmt: skip
    module, fixed = MODELS[config.name]
    options = config.to_dict() | {"coordinates": coordinates}
    return module(
        trunk=FourierTrunk(**_options(FourierTrunk, options)), counts=config.sizes,
        num_labels=num_labels if config.labels else 0, **_options(module, options), **fixed,
    )  # fmt: skip


def _options(module, options: dict) -> dict:
    names = {field.name for field in dataclasses.fields(module)} - {"name", "parent"}
    return {name: options[name] for name in names if name in options}
