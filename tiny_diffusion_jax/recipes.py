"""Settings for training and sampling of each denoiser that differ from the defaults.

A recipe configures the model and its training, and the generation of sets if the model needs that.
Each file in `configs/` configures data, sizes of samples and samplers.
"""

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
_STUDENT_MODEL = NO_FADE | {
    "train.steps": 10_000, "train.num_sets": 16, "train.num_points": 64,
}  # fmt: skip
# Strokes are thin, so use twice the frequency of the student project's models.
_SAME_SET = NO_FADE | {"model.scale": 24.0, "model.max_period": 200.0} | _HISTORY

# Training takes minutes on two CPU cores.
RECIPES = {
    "fourier_mlp": {},
    "history": _HISTORY,
    # Muon learns in 500 steps what AdamW learns in 1,500.
    "causal": {
        "train.steps": 5_000, "train.num_sets": 32, "train.num_points": 64,
        "train.optimizer": "muon", "train.learning_rate": 5e-3,
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
    "attention_v1": _STUDENT_MODEL | _ATTENTION_V1,
    "attention_v2": _STUDENT_MODEL | _ATTENTION_V2,
    # The same models, changed to separate members. Sequences of 64 and of 256 points alternate.
    "seq2seq_aligned": _SAME_SET | {
        "train.steps": 8_000, "train.max_points": 256, "train.block": 50,
    },
    "attention_v1_same_set": _SAME_SET,
    "attention_v2_same_set": _SAME_SET,
}  # fmt: skip

# set_transformer for sets of about a hundred points, for which full attention is cheap enough.
SMALL_SETS = {
    "model.num_inducing": 0, "train.num_sets": 64, "train.num_points": 64, "train.max_points": 0,
    "train.block": 200, "train.steps": 12_000,
}  # fmt: skip

# --quick: from the command to the report in about 20 s on two CPU cores, with the most steps that
# each denoiser does in a third of this time.
QUICK = {
    "train.max_points": 0, "sample.num_sets": 8, "sample.num_points": 500, "sample.num_steps": 15,
    "evaluate.likelihood_sets": 0, "evaluate.heldout_points": 200, "evaluate.density_size": 64,
    "evaluate.frames": 16, "evaluate.max_sets": 50,
}  # fmt: skip
# Snapshots of sets compile programs for 5 to 50 s.
QUICK_TRAINING = {
    "fourier_mlp": {"train.steps": 1_000}, "causal": {"train.steps": 40, "train.snapshots": 0},
}  # fmt: skip
QUICK_TRAINING_OF_OTHERS = {"train.steps": 200, "train.num_sets": 32, "train.snapshots": 0}

# Settings for sets of the user's own, beside the recipe of a denoiser. The sizes of the sets are
# part of the data. Fresh noise corrects earlier errors, so points between strokes are rare. Points
# of a block do not see each other, so sets whose points may repel or follow each other grow by
# single points.
OWN_SETS = {
    "train.checkpoint_every": 5_000, "train.keep_best": True, "model.sizes": True,
    "sample.sampler": "sde-dpm++2m", "sample.num_steps": 30, "sample.num_sets": 500,
    "sample.num_points": 0, "sample.growth": 1.0,
}  # fmt: skip


# Settings for rows of the user's own: a model that is trained for longer memorises them.
OWN_ROWS = {"train.keep_best": True}


def own_sets(model: str) -> dict:
    """Return the settings for sets of the user's own, beside the recipe of the denoiser `model`."""
    small = SMALL_SETS if model == "set_transformer" else {}
    return OWN_SETS | {"model.relative": model == "causal"} | small


# Diffusion, optimizer and sampling of the student project. The networks have 128 hidden units,
# while the networks of the student project had 128 or 800.
_STUDENT = NO_FADE | {
    "model.hidden_dim": 128, "model.num_frequencies": 64, "model.scale": 25.0,
    "model.max_period": 10_000.0,
    "schedule.name": "linear", "schedule.num_levels": 250, "diffusion.prediction": "eps",
    "data.normalize": False, "data.align": False,
    "train.steps": 20_000,  # 50 epochs of 100,000 points
    "train.num_sets": 250, "train.num_points": 1,  # independent points
    "train.learning_rate": 1e-4, "train.warmup": 0, "train.weight_decay": 5e-10,
    "train.ema_decay": 0.0, "train.references": 0,
    "sample.sampler": "ancestral", "sample.num_steps": 250, "sample.num_sets": 2,
    "sample.num_points": 3000,
}  # fmt: skip
# A batch has 250 points: 25 at each of 10 noise levels.
_BATCH = {"train.steps": 10_000, "train.num_sets": 10, "train.num_points": 25}
STUDENT_RECIPES = {
    "fourier_mlp": _STUDENT,
    # A sequence is one list of 50 points, and a batch is 5 sequences.
    "seq2seq": _STUDENT | {
        "train.num_sets": 5, "train.num_points": 50, "train.steps": 3_000,
        "sample.num_points": 250,
    },
    # All points of a batch attend to the whole history.
    "attention_v1": _STUDENT | _ATTENTION_V1 | _BATCH,
    "attention_v2": _STUDENT | _ATTENTION_V2 | _BATCH,
    # The history is of the same member: 1 to 64 points or none. Sets are generated from their first
    # point on.
    "attention_v1_same_set": _STUDENT | _BATCH,
    "attention_v2_same_set": _STUDENT | _BATCH,
}  # fmt: skip
