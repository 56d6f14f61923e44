"""Configs of older versions, which are stored in run folders and with released models."""

from tiny_diffusion_jax.config import current_option
from tiny_diffusion_jax.options import OPTIONS

# Options that were added since the first version, with the value that reproduces the behaviour of
# versions without the option, if this value differs from today's default.
ADDED = {
    "data.heldout": 0.0,  # no sets were held out
    "model.fade": False,  # no features faded
    "evaluate.likelihood_sets": 0,  # no sets were scored
    "train.references": 0,  # the target was x_0
}
REMOVED = {"train.shards", "model.row_height"}  # options that older versions had


def migrate_config(stored: dict) -> dict:
    """Convert `stored`, a config of any version, to the form of this version.

    An option that is missing in a part of the config gets its value of ADDED, or else its default.
    """
    config = {}
    for part, fields in stored.items():
        if isinstance(fields, dict):
            pairs = [current_option(f"{part}.{name}", v, warn=False) for name, v in fields.items()]
            if part == "model" and "row_height" in fields:  # the order, in older versions
                height = repr(float(fields["row_height"])).removesuffix(".0")
                pairs.append(("model.order", "random" if height == "0" else f"rows:{height}"))
            fields = {option.removeprefix(f"{part}."): value
                      for option, value in pairs if option not in REMOVED}  # fmt: skip
        config[part] = fields
    train, sample = config.get("train"), config.get("sample")
    if isinstance(train, dict) and "keep_best" in train:
        # Older versions selected the best weights on all held-out sets.
        train.setdefault("split_heldout", not train["keep_best"])
    if isinstance(sample, dict) and isinstance(sample.get("label"), int):  # labels had no names
        sample["label"] = "" if sample["label"] == -1 else str(sample["label"])
    for option in OPTIONS.values():
        part, _, name = option.name.rpartition(".")
        holder = config.get(part) if part else config
        if isinstance(holder, dict) and (part or "name" in config):
            holder.setdefault(name, ADDED.get(option.name, option.default))
    return config
