"""Runs of older versions: default values that reproduce the behaviour of older versions."""

# Options that were added since the first version, with the value that reproduces the behaviour of
# versions without the option. The value is arbitrary if the option belongs to a feature that came
# with it, such as the size of a new model. A run that lacks any other option is refused.
ADDED = {
    "data.align": True,
    "data.augment_reflect": False,
    "data.augment_rotate": False,
    "data.augment_scale": 0.0,
    "data.augment_shift": 0.0,
    "data.clip_outliers": False,
    "data.digits": "",
    "data.heldout": 0.0,  # no sets were held out
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
    "model.fade": False,  # no features faded
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
    "evaluate.likelihood_sets": 0,  # no sets were scored
    "evaluate.max_sets": 500,
}
# Options of earlier versions that have no effect any more.
REMOVED = {"train.shards"}


def migrate_config(stored: dict) -> dict:
    """Convert `stored`, a config of any version, to the form of this version."""
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
    if isinstance(train, dict):  # older versions selected the best weights on all held-out sets
        train.setdefault("split_heldout", not train["keep_best"])
    sample = config.get("sample")
    if isinstance(sample, dict) and isinstance(sample["label"], int):  # labels had no names
        sample["label"] = "" if sample["label"] == -1 else str(sample["label"])
    return config
