"""Configs: all options of a run with their values. configs/ changes some of the defaults.

`python -m tiny_diffusion_jax.config > docs/options.md` writes the table of all options.
"""

import difflib
import logging
from collections.abc import Mapping

import numpy as np
from ml_collections import ConfigDict

from tiny_diffusion_jax.errors import UserError, require, require_choice, shorten
from tiny_diffusion_jax.options import FINITE, OPTIONS, ROWS
from tiny_diffusion_jax.recipes import QUICK, QUICK_TRAINING, QUICK_TRAINING_OF_OTHERS, RECIPES

log = logging.getLogger("tiny_diffusion_jax")
NAMES = {part: {name for name, *_ in rows} for part, rows in ROWS.items()}
NAMES[""] |= NAMES.keys() - {""}
# Old spelling -> today's spelling, of options, of values and of config files.
ALIASES = {
    "model.count": "model.sizes",
    "model.name=attention_v1_own": "model.name=attention_v1_same_set",
    "model.name=attention_v2_own": "model.name=attention_v2_same_set",
    "schedule.name=seed_cosine": "schedule.name=student_cosine",
    "configs/seed/digit.py": "configs/student/digit.py",
    "configs/seed/replay.py": "configs/student/replay.py",
    "configs/seed/sequential.py": "configs/student/sequential.py",
    "configs/seed/shuffled.py": "configs/student/shuffled.py",
}
# Option of older versions -> the option that replaces it, with values of another form.
REPLACED = {"model.row_height": "model.order=rows:HEIGHT"}


class Config(ConfigDict):
    """A config or one part of it, which accepts old spellings, and whole numbers as texts.

    For example, the label 3 becomes "3". Raises UserError for an unknown option.
    """

    def __setitem__(self, name: str, value) -> None:
        if self.is_locked:
            part = next((part for part in NAMES if NAMES[part] == set(self.keys())), "")
            option, value = current_option(f"{part}.{name}".lstrip("."), value)
            name = option.rpartition(".")[2]
            if name not in self:
                raise unknown_option(option)
            is_int = isinstance(value, int) and not isinstance(value, bool)
            value = str(value) if is_int and isinstance(self[name], str) else value
        super().__setitem__(name, value)


def default_config(model: str = "", recipes: dict = RECIPES) -> Config:
    """Return the options of a run, with the settings of a recipe if `model` is given.

    recipes.py holds the recipes. The types are fixed: 1.0 stays a float, "" a text. Raises
    UserError for an unknown model.
    """
    config = Config({part: Config() for part in ROWS if part})
    for option in OPTIONS.values():
        part, _, name = option.name.rpartition(".")
        (config[part] if part else config)[name] = option.default
    config.lock()  # a misspelt field in a config file is an error, not a new field
    if model:
        choice = str(current_option("model.name", model)[1])
        require_choice("config.model.name", choice, recipes)
        config.update_from_flattened_dict({"model.name": choice} | recipes[choice])
    return config


def shorten_run(config: Config) -> None:
    """Change `config` to the quick run of its denoiser (recipes.QUICK), where that is shorter."""
    limits = QUICK | QUICK_TRAINING.get(config.model.name, QUICK_TRAINING_OF_OTHERS)
    values = flatten(config)
    fewer = {name: min(most, values[name]) for name, most in limits.items()}
    config.update_from_flattened_dict(fewer | {"quick": True, "name": f"{config.name}_quick"})


def editable(config) -> Config:
    """Return a copy of a config, or of a part of a config, whose options can be changed."""
    values = config.to_dict()
    copy = Config({k: Config(v) if isinstance(v, dict) else v for k, v in values.items()})
    return copy.lock()


def changed(config, options: Mapping) -> Config:
    """Return a copy of a whole config with other values of `options`, {"train.steps": 3000, ...}.

    Raises UserError for an unknown option, and for a value of another type or out of its range.
    """
    config = editable(config)
    for name, value in options.items():
        option, value = current_option(name, value)
        if option not in OPTIONS:
            raise unknown_option(option)
        part, _, last = option.rpartition(".")
        value = value.item() if isinstance(value, (np.generic, np.ndarray)) else value
        holder = config[part] if part else config
        # ConfigDict accepts None for any option, and True for a number.
        is_switch = isinstance(OPTIONS[option].default, bool)
        fits = value is not None and (is_switch or not isinstance(value, bool))
        require(fits, f"config.{option}", value, OPTIONS[option].type_and_rule)
        try:
            holder[last] = value
        except TypeError as error:
            raise UserError(f"config.{option}", value, OPTIONS[option].type_and_rule) from error
        require_allowed(option, holder[last])
    return config


def flatten(config) -> dict:
    """Return {"train.steps": 12000, ...} of a config, or of a dictionary of the same form."""
    fields: dict = {}
    for part, value in config.items():
        is_part = isinstance(value, (ConfigDict, dict))
        fields |= {f"{part}.{name}": v for name, v in value.items()} if is_part else {part: value}
    return fields


def config_mismatch(config: dict) -> str:
    """Describe how the options of `config` differ from the options of this version; "" if equal."""
    fields, defaults = flatten(config), flatten(default_config())
    types = {int: (int,), float: (int, float), bool: (bool,), str: (str,)}
    parts = {
        "it has": sorted(fields.keys() - defaults.keys()),
        "it lacks": sorted(defaults.keys() - fields.keys()),
        "of another type are": [
            f"{field} = {value!r}" for field, value in fields.items()
            if field in defaults and type(value) not in types[type(defaults[field])]],
    }  # fmt: skip
    return "; ".join(f"{words} {shorten(names)}" for words, names in parts.items() if names)


def require_allowed(option: str, value) -> None:
    """Raise UserError unless `value` is in the range of the option, such as "train.steps"."""
    rules = [OPTIONS[option].rule, *[FINITE] * isinstance(value, float)]
    for rule in rules:
        require(rule.holds(value), f"config.{option}", value, rule.words)


class UnknownOption(UserError):
    """An option that does not exist."""


def unknown_option(name: str) -> UnknownOption:
    """Error for an option `name` that does not exist, with a hint to similar options."""
    if name in REPLACED:
        return UnknownOption(f"config.{name}", allowed="an option",
                             hint=f"Use config.{REPLACED[name]}")  # fmt: skip
    near, part = similar_options(name), name if name in NAMES else name.rpartition(".")[0]
    names = ", ".join(sorted(NAMES.get(part, NAMES[""])))
    hint = f"Did you mean {near}?" if near else f"Options of {part or 'a config'}: {names}"
    return UnknownOption(f"config.{name}", allowed="an option", hint=hint)


def similar_options(name: str) -> str:
    """A similar option of the same part, and options of the same name: "config.train.steps"."""
    part, _, last = name.rpartition(".")
    candidates = [option for option in OPTIONS if part not in ROWS or option.startswith(part)]
    near = difflib.get_close_matches(name, candidates, 1, 0.85)
    near += [option for option in OPTIONS if option.endswith(f".{last}")]
    return " or ".join(f"config.{option}" for option in dict.fromkeys(near))


# ---------------------------------------------------------------- old spellings


def current_option(option: str, value, warn: bool = True) -> tuple[str, object]:
    """Return the option and its value in today's spelling."""
    option = current_spelling(option, warn)
    pair = current_spelling(f"{option}={value}", warn)
    return option, value if pair == f"{option}={value}" else pair.partition("=")[2]


def current_spelling(name: str, warn: bool = True) -> str:
    """Return today's spelling of an old one in ALIASES, and warn about it."""
    if warn and name in ALIASES:
        log.warning("warning: %s is now called %s", name, ALIASES[name])
    return ALIASES.get(name, name)


# ---------------------------------------------------------------- documentation


def options_page() -> str:
    """The text of docs/options.md: a table of the options of each part of a config."""
    lines = ["# Options", "", "`--config.PART.NAME=VALUE` sets an option on the command line. The "
             "column *applies to* names the data, models or samplers that use an option. "
             "`python -m tiny_diffusion_jax.config > docs/options.md` writes this page."]
    for part, rows in ROWS.items():
        lines += ["", f"## {part or 'A run'}", "",
                  "| option | default | allowed | applies to | meaning |", "|---|---|---|---|---|"]
        for name, *_ in rows:
            option = OPTIONS[f"{part}.{name}".lstrip(".")]
            lines.append(f"| `{option.name}` | `{option.default!r}` | {option.allowed} | "
                         f"{option.applies} | {option.help} |")  # fmt: skip
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(options_page(), end="")
