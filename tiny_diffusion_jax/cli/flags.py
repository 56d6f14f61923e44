"""Parse the command line: its flags, and every option of a config as --config.PART.NAME."""

import difflib
import shlex
import textwrap
from pathlib import Path
from typing import NamedTuple

from absl import flags
from ml_collections import ConfigDict

from tiny_diffusion_jax.config import (
    current_option,
    current_spelling,
    flatten,
    shorten_run,
    similar_options,
    unknown_option,
)
from tiny_diffusion_jax.config_files import load_config
from tiny_diffusion_jax.errors import UserError, rename_fields, require, require_choice
from tiny_diffusion_jax.options import OPTIONS, ROWS, TYPES
from tiny_diffusion_jax.program import program_name
from tiny_diffusion_jax.run import run_folder
from tiny_diffusion_jax.run.same_run import affects_model

MODES = ("train", "sample", "evaluate", "complete", "distill", "live", "compare", "draw", "replay",
         "list")  # fmt: skip
REPORTS = MODES[:5]  # modes that write report.html with the command
FLAGS = {
    "config": "A name of --mode=list or a file, with :ARGUMENT where its header says so.",
    "workdir": "Folder of the run. Default: runs/NAME.",
    "pretrained": "A released model in place of a run.",
    "mode": f"{MODES[0]} (default), {', '.join(MODES[1:])}.",
    "points": "A table of points that every set contains.",
    "runs": "The folders of two or more runs, commas between.",
    "distributed": "Several processes: auto, or HOST:PORT,HOW_MANY,WHICH.",
    "quick": "A short run for a first look, marked as such: about 20 s on two CPU cores.",
    "help": "This text.",
}
# Flag -> the modes that accept it; all but switches are passed to the function of the mode.
FLAG_MODES = {
    "pretrained": ("sample", "evaluate", "complete", "live"), "points": ("complete",),
    "runs": ("compare",), "distributed": ("train",), "quick": ("train",),
}  # fmt: skip
SWITCHES = {"help": bool, "quick": bool}  # flags without a value
REQUIRED = {"complete": "points", "compare": "runs"}  # mode -> the flag that it needs
PARSERS = {
    bool: flags.BooleanParser(), int: flags.IntegerParser(), float: flags.FloatParser(),
    str: flags.ArgumentParser(),
}  # fmt: skip


class Command(NamedTuple):
    """A command: its mode, a whole config, the folder of the run, and arguments of the mode."""

    mode: str
    config: ConfigDict | None = None
    workdir: str = ""
    arguments: dict = {}


def parse(argv: list[str]) -> Command | None:
    """Return the command of `argv` (program first); None for --help. Raises UserError."""
    values, options = read(argv)
    if values["help"]:
        return None
    mode, workdir = values["mode"] or "train", values["workdir"]
    require_choice("--mode", mode, MODES)
    for flag, modes in FLAG_MODES.items():
        require(values[flag] is None or mode in modes, f"--{flag}", values[flag],
                f"left out without --mode={' or '.join(modes)}")  # fmt: skip
    needed = REQUIRED.get(mode, "mode")
    require(needed == "mode" or values[needed] is not None, "--mode", mode,
            f"given with --{needed}", FLAGS[needed])  # fmt: skip
    arguments = {flag: values[flag] for flag in FLAG_MODES
                 if values[flag] is not None and flag not in SWITCHES}  # fmt: skip
    if mode == "list":
        return Command(mode)
    if mode in ("draw", "compare"):
        workdir = workdir or "."
    if mode == "draw":
        return Command(mode, workdir=workdir)
    if mode == "live" and not options and not any(
        values[flag] is not None for flag in ("config", "workdir", "pretrained")
    ):
        return Command(mode, workdir="runs/live")  # page of all released models
    if mode in REPORTS:
        arguments["command"] = f"{program_name()} {shlex.join(argv[1:])}"
    config, trained = _config(mode, values, options.get("model.name", ""))
    for option in filter(affects_model, options if trained else ()):
        raise UserError(f"--config.{option}", options[option],
                        f"{flatten(config)[option]!r}, with which {trained} was trained",
                        "Train another run")  # fmt: skip
    if values["quick"]:
        require(values["config"] is not None, "--quick", True, "given with --config")
        shorten_run(config)
    config.update_from_flattened_dict(options)
    if mode == "distill":
        run = Path(workdir).expanduser()
        run = run if run.name not in ("", "..") else run.resolve()  # "." has no name
        workdir = f"{run}_few"
    return Command(mode, config.lock(), folder_of(workdir, config.name), arguments)


def _config(mode: str, values: dict, model: str) -> tuple[ConfigDict, str]:
    """Return the config of a command, and the trained model that it belongs to, in words, or ""."""
    file, workdir, pretrained = values["config"], values["workdir"], values["pretrained"]
    require(file is None or pretrained is None and values["runs"] is None, "--config", file,
            "left out, because trained models have their own config")  # fmt: skip
    if pretrained is not None:
        from tiny_diffusion_jax.run import released  # imports jax: only when needed

        config = released.config_of(pretrained)
        config.name = f"pretrained_{pretrained}"
        return config, f"the released model {pretrained!r}"
    if values["runs"] is not None:
        first = runs_of(values["runs"])[0]
        with rename_fields({"--workdir": "--runs"}):
            return run_folder.read_config(first), f"the run in {first!r}"
    require(file is None or mode != "distill", "--config", file,
            "left out with --mode=distill: name the trained run, --workdir=FOLDER")  # fmt: skip
    if file is not None:
        return load_config(file, model), ""
    is_run = workdir is not None and (Path(workdir).expanduser() / run_folder.CONFIG).exists()
    if workdir is None or (mode in ("train", "distill") and not is_run):
        raise UserError("--config", allowed="given",
                        hint="Name a config of --mode=list, or the --workdir of a run")  # fmt: skip
    if mode == "distill":
        from tiny_diffusion_jax.run.distill import distilled_config  # imports jax

        return distilled_config(run_folder.read_config(workdir), workdir), ""
    # A run that is trained further may change its number of steps; run_folder.py refuses others.
    return run_folder.read_config(workdir), "" if mode == "train" else f"the run in {workdir!r}"


def runs_of(text: str) -> list[str]:
    """Folders in the value of --runs."""
    paths = [path.strip() for path in text.split(",") if path.strip()]
    require(len(paths) > 1, "--runs", text, "the folders of two or more runs, commas between")
    return paths


def folder_of(path: str | None, name: str) -> str:
    """Path of the folder of a run: the value of --workdir, or runs/NAME."""
    if path is not None:
        require(path != "", "--workdir", path, "the path of a folder")
        return path
    require(name and "/" not in name, "config.name", name, "the name of a folder in runs/")
    return f"runs/{name}"


# ---------------------------------------------------------------- words of the command line


def read(argv: list[str]) -> tuple[dict, dict]:
    """Return ({flag: value}, {"train.steps": value, ...} of the options that were set).

    One dash or two, = or a space, --nooption, in any order.
    """
    values, options, words = dict.fromkeys(FLAGS), {}, list(argv[1:])
    while words:
        word = words.pop(0)
        require(word.startswith("-"), word, ..., "a flag with --, see --help")
        name, equals, text = word.lstrip("-").partition("=")
        is_off, option = name.startswith("noconfig."), name.removeprefix("no")
        option = option.removeprefix("config.") if option.startswith("config.") else ""
        if option:
            option = current_spelling(option)
        if option and option not in OPTIONS:
            raise unknown_option(option)
        if not option and name not in FLAGS:
            near = difflib.get_close_matches(name, FLAGS, 1) or [similar_options(name)]
            raise UserError(f"--{name}", allowed="a flag",
                            hint=f"Did you mean --{near[0]}?" if near[0] else "")  # fmt: skip
        kind = type(OPTIONS[option].default) if option else SWITCHES.get(name, str)
        require(not is_off or (kind is bool and not equals), word, ..., "a flag of True or False")
        if kind is bool and not equals:
            text = str(not is_off)
        elif not equals:
            require(bool(words), word, ..., "followed by a value")
            text = words.pop(0)
        try:
            value = PARSERS[kind].parse(text)
        except (TypeError, ValueError) as error:
            raise UserError(f"config.{option}" if option else word, text, TYPES[kind]) from error
        if option:
            options[option] = current_option(option, value)[1]
        else:
            values[name] = value
    return values, options


def help_text() -> str:
    """All flags and all options, with defaults and allowed values."""
    lines = ["flags:", *(f"  --{flag}: {text}" for flag, text in FLAGS.items())]
    for part, rows in ROWS.items():
        lines += ["", f"--config.{part}.NAME=VALUE:" if part else "--config.NAME=VALUE:"]
        for name, *_ in rows:
            option = OPTIONS[f"{part}.{name}".lstrip(".")]
            about = option.allowed + (f"; for {option.applies}" if option.applies else "")
            lines += textwrap.wrap(f"{name} = {option.default!r}: {option.help} ({about})", 98,
                                   initial_indent="  ", subsequent_indent="      ")  # fmt: skip
    return "\n".join(lines)
