"""Runs of older versions: what the options that they lack are to be, for all to be as it was."""

# Added since the first version: the value under which a version without the option behaved. An
# option that only matters to what came with it, as the size of a new model, has any. One that is
# missing here is never guessed: a run that lacks it is refused.
ADDED = {
    "data.align": True,
    "data.augment_reflect": False,
    "data.augment_rotate": False,
    "data.augment_scale": 0.0,
    "data.augment_shift": 0.0,
    "data.clip_outliers": False,
    "data.digits": "",
    "data.heldout": 0.0,  # none were held out
    "data.label_column": "",
    "data.max_images": 0,
    "data.members": "",
    "data.order": "shuffled",
    "data.per_axis": False,
    "data.replace": True,
    "data.set_column": "",
    "data.skip_incomplete": False,
    "data.skip_small": False,
    "data.skip_unreadable": False,
    "data.split_column": "",
    "data.weights": "",
    "model.context_blocks": 3,
    "model.context_dim": 96,
    "model.count": False,
    "model.encoder": "both",
    "model.fade": False,  # no waves faded
    "model.labels": False,
    "model.latent_dim": 16,
    "model.latent_noise": 0.1,
    "model.num_heads": 4,
    "model.num_inducing": 32,
    "model.row_height": 0.0,
    "model.state_dim": 64,
    "model.teacher_forcing": 0.5,
    "train.history_drop": 0.15,
    "train.init_from": "",
    "train.keep_best": False,
    "train.label_drop": 0.15,
    "train.max_history": 64,
    "train.max_points": 0,
    "train.min_history": 1,
    "train.min_points": 0,
    "train.num_levels": 4,
    "train.optimizer": "adamw",
    "train.precision": "default",
    "sample.burn_in": 0,
    "sample.first_block": 1,
    "sample.growth": 1.5,
    "sample.guidance_scale": 1.0,
    "sample.label": "",
    "sample.precision": "default",
    "sample.sigma_min": 0.0,
    "evaluate.gifs": True,
    "evaluate.guidance_scale": 2.0,
    "evaluate.likelihood_sets": 0,  # of no sets
    "evaluate.max_sets": 500,
}
# Options that earlier versions had, and whose values change nothing any more.
REMOVED = {"train.shards"}


def brought_up(stored: dict) -> dict:
    """`stored`, a config as some version wrote it, as one of this version would have written it."""
    config = {part: dict(value) if isinstance(value, dict) else value
              for part, value in stored.items()}  # fmt: skip
    for option in REMOVED:
        part, _, name = option.partition(".")
        if isinstance(config.get(part), dict):
            config[part].pop(name, None)
    for option, value in ADDED.items():
        part, _, name = option.partition(".")
        if isinstance(config.get(part), dict):
            config[part].setdefault(name, value)
    train = config.get("train")
    if isinstance(train, dict):  # keep_best chose on all held-out sets; other runs never chose
        train.setdefault("split_heldout", not train["keep_best"])
    sample = config.get("sample")
    if isinstance(sample, dict) and isinstance(sample["label"], int):  # until labels had names
        sample["label"] = "" if sample["label"] == -1 else str(sample["label"])
    return config
