"""Settings for training and sampling of each denoiser that differ from config.py.

A recipe configures the model and its training, and the generation of sets if the model needs that.
Each file in `configs/` configures data, sizes of samples and samplers.
"""

from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.errors import require_choice

# Features with the same strength at every noise level, and the usual features of t.
NO_FADE = {
    "model.fade": False, "model.scale": 12.0, "model.max_period": 100.0,
    "model.time_frequencies": 64, "model.time_scale": 1000.0,
}
# Both versions train on batches of 250 points, and each batch is the history of the next. The first
# batch is generated without a history, which was rare in training, so it is dropped.
_BATCH_AFTER_BATCH = {
    "train.max_history": 250, "sample.first_block": 250, "sample.growth": 1.0,
    "sample.burn_in": 250,
}  # fmt: skip
# V1 trains without a history in some steps, so that it can generate the first batch. V2 trains
# without a history in 70 % of the steps, and is sampled with guidance. The scale is 1 + w, with
# w = 0.7 of arXiv 2207.12598.
_ATTENTION_V1 = _BATCH_AFTER_BATCH | {"train.history_drop": 0.1}
_ATTENTION_V2 = _BATCH_AFTER_BATCH | {"train.history_drop": 0.7, "sample.guidance_scale": 1.7}
_HISTORY = {
    "train.steps": 20_000, "train.num_sets": 32, "train.num_points": 64,
    "train.learning_rate": 2e-3,
}  # fmt: skip
# Strokes are thin, so use twice the frequency of the student project's models.
_OWN = NO_FADE | {"model.scale": 24.0, "model.max_period": 200.0} | _HISTORY

# Training takes minutes on two CPU cores.
RECIPES = {
    "fourier_mlp": {},
    "history": _HISTORY,
    # Muon learns in 500 steps what AdamW learns in 1,500.
    "causal": {
        "train.steps": 5_000, "train.num_sets": 32, "train.num_points": 64,
        "train.optimizer": "muon", "train.learning_rate": 5e-3, "sample.growth": 1.25,
    },
    # Blocks of 50 steps cycle through sets of 32, 128, 512 and 2,048 points.
    "set_transformer": NO_FADE | {
        "model.hidden_dim": 64, "model.num_blocks": 4, "model.num_inducing": 16,
        "train.steps": 12_000, "train.num_sets": 128, "train.num_points": 32,
        "train.max_points": 2048, "train.block": 50, "train.learning_rate": 2e-3,
    },
    "set_latent": {
        "train.steps": 18_000, "train.num_sets": 64, "train.num_points": 64,
        "train.learning_rate": 2e-3, "train.history_drop": 0.0,
        "train.min_history": 64, "train.max_history": 64,
    },
    # The student project's models, trained under the same conditions.
    "seq2seq": NO_FADE | {"train.steps": 600, "train.num_sets": 16, "train.num_points": 256},
    "attention_v1": NO_FADE | _ATTENTION_V1 | {
        "train.steps": 10_000, "train.num_sets": 16, "train.num_points": 64,
    },
    "attention_v2": NO_FADE | _ATTENTION_V2 | {
        "train.steps": 10_000, "train.num_sets": 16, "train.num_points": 64,
    },
    # The same models, changed to separate members. Sequences of 64 and of 256 points alternate.
    "seq2seq_aligned": NO_FADE | {
        "model.scale": 24.0, "model.max_period": 200.0,
        "train.steps": 8_000, "train.num_sets": 32, "train.num_points": 64,
        "train.max_points": 256, "train.block": 50, "train.learning_rate": 2e-3,
    },
    "attention_v1_own": _OWN,
    "attention_v2_own": _OWN,
}  # fmt: skip

# set_transformer for sets of about a hundred points, for which full attention is cheap enough.
SMALL_SETS = {
    "model.num_inducing": 0, "train.num_sets": 64, "train.num_points": 64, "train.max_points": 0,
    "train.block": 200, "train.steps": 12_000,
}  # fmt: skip


def recipe(model: str) -> dict:
    """Return {option: value} of `model`, with its name; raise UserError for an unknown model."""
    require_choice("config.model.name", model, RECIPES)
    return {"model.name": model} | RECIPES[model]


# ---------------------------------------------------------------- the student project's own

# Settings that each student denoiser adds to `student_config`.
SEED_RECIPES = {
    "fourier_mlp": {},
    # A sequence is one list of 50 points, and a batch is 5 sequences.
    "seq2seq": {
        "train.num_sets": 5, "train.num_points": 50, "train.steps": 3_000,
        "sample.num_points": 250,
    },
    # A batch has 250 points: 25 at each of 10 noise levels. All attend to the whole history.
    "attention_v1": _ATTENTION_V1 | {
        "train.steps": 10_000, "train.num_sets": 10, "train.num_points": 25,
    },
    "attention_v2": _ATTENTION_V2 | {
        "train.steps": 10_000, "train.num_sets": 10, "train.num_points": 25,
    },
    # The same batches, with a history of the same member: 1 to 64 points or none. Sets are
    # generated from their first point on.
    "attention_v1_own": {"train.steps": 10_000, "train.num_sets": 10, "train.num_points": 25},
    "attention_v2_own": {"train.steps": 10_000, "train.num_sets": 10, "train.num_points": 25},
}  # fmt: skip


def student_config(name: str, model: str):
    """Return a config with the diffusion, optimizer and sampling of the student project.

    The networks have 128 hidden units, while the networks of the student project had 128 or 800.
    Raise UserError for a model that the student project did not have.
    """
    require_choice("config.model.name", model, SEED_RECIPES)
    config = default_config()
    config.name = f"student_{name}_{model}"
    config.model.name = model
    config.model.hidden_dim = 128
    config.model.num_frequencies = 64
    config.update_from_flattened_dict(NO_FADE)
    config.model.scale = 25.0
    config.model.max_period = 10_000.0
    config.schedule.name = "linear"
    config.schedule.num_levels = 250
    config.diffusion.prediction = "eps"
    config.data.normalize = False
    config.data.align = False
    config.train.steps = 20_000  # 50 epochs of 100,000 points
    config.train.num_sets = 250  # independent points
    config.train.num_points = 1
    config.train.learning_rate = 1e-4
    config.train.warmup = 0
    config.train.weight_decay = 5e-10
    config.train.ema_decay = 0.0
    config.sample.sampler = "ancestral"
    config.sample.num_steps = 250
    config.sample.num_sets = 2
    config.sample.num_points = 3000
    config.update_from_flattened_dict(SEED_RECIPES[model])
    return config
