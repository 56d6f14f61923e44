"""Parse the command line: its flags and every option of a config, as --config.PART.FIELD."""

import difflib
import inspect
import runpy
import traceback
from pathlib import Path
from typing import NamedTuple

from absl import flags
from ml_collections import ConfigDict

from tiny_diffusion_jax.config import default_config, flatten
from tiny_diffusion_jax.errors import UserError, reason_of, rename_fields, require, require_choice
from tiny_diffusion_jax.run import run_folder
from tiny_diffusion_jax.run.same_run import affects_model, config_mismatch

CONFIGS = Path(__file__).parents[2] / "configs"
MODES = ("train", "sample", "evaluate", "complete", "live", "compare", "draw", "replay", "list")
HELP = {
    "config": "A file in configs/, with :ARGUMENT where its header says so.",
    "workdir": "Where the run lives. Default: runs/NAME.",
    "pretrained": "A released model in place of a run, for sample, evaluate, complete, live.",
    "mode": f"{MODES[0]} (default), {', '.join(MODES[1:])}.",
    "points": "With --mode=complete: a table of points that every set contains.",
    "runs": "With --mode=compare: the folders of two or more runs, commas between.",
    "distributed": "To train with several processes: auto, or HOST:PORT,HOW_MANY,WHICH.",
    "help": "This text.",
}
KINDS = {
    int: (flags.IntegerParser(), "a whole number"),
    float: (flags.FloatParser(), "a number"),
    bool: (flags.BooleanParser(), "True or False"),
    str: (flags.ArgumentParser(), "a text"),
}


GIVEN = ("points", "pretrained", "distributed", "runs")  # flags that are passed to a mode


class Command(NamedTuple):
    """A command: its `mode`, a whole config and the folder of the run.

    points: the table of --mode=complete; pretrained: the released model in place of a trained run;
    distributed: how to join the other processes, see processes.py; runs: the runs to compare.
    """

    mode: str
    config: ConfigDict | None = None
    workdir: str = ""
    points: str | None = None
    pretrained: str | None = None
    distributed: str | None = None
    runs: str | None = None


class OptionParser(flags.ArgumentParser):
    """Parse the value of one option; raise UserError if the value has another type."""

    def __init__(self, field: str, default):
        self.field = field
        self.kind, self.allowed = KINDS[type(default)]

    def parse(self, argument):
        try:
            return self.kind.parse(argument)
        except (TypeError, ValueError) as error:
            raise UserError(f"{self.field} = {argument!r}: must be {self.allowed}") from error


def parse(argv: list[str]) -> Command | None:
    """Return the command of `argv` (program first); None for --help. Raises UserError."""
    values, options = read(argv)
    if values["help"]:
        return None
    command = Command(values["mode"] or "train")
    require_choice("--mode", command.mode, MODES)
    if command.mode == "list":
        return command
    if command.mode == "draw":
        return command._replace(workdir=folder_of(values["workdir"] or ".", ""))
    if (command.mode == "compare") != (values["runs"] is not None):
        raise UserError("--runs goes with --mode=compare: folders of runs, commas between")
    if (command.mode == "complete") != (values["points"] is not None):
        raise UserError("--points goes with --mode=complete: a table of points to begin sets with")
    if values["distributed"] is not None and command.mode != "train":
        raise UserError("--distributed goes with --mode=train: one process draws and measures")
    named = {values["config"], values["workdir"], values["pretrained"]} - {None}
    if command.mode == "live" and not named and not options:
        return command._replace(workdir="runs/live")  # page of all released models
    if values["pretrained"] is not None:
        config = _pretrained(command.mode, values, options)
    elif values["runs"] is not None:
        config = _compared(values, options)
    elif values["config"] is not None:
        config = load_config(values["config"], options.get("model.name", ""))
    elif command.mode == "train" or values["workdir"] is None:
        raise UserError("--config is missing: name a file, or see them all with --mode=list"
                        + ("" if command.mode == "train" else "; or the --workdir of a run"))
    else:
        config = run_folder.read_config(values["workdir"])
        _refuse_changes(config, options, f"the run in {values['workdir']!r}")
    config.update_from_flattened_dict(options)
    return command._replace(config=config.lock(), workdir=folder_of(values["workdir"], config.name),
                            **{name: values[name] for name in GIVEN})  # fmt: skip


def _pretrained(mode: str, values: dict, options: dict) -> ConfigDict:
    """Config of --pretrained. Raises UserError if --pretrained contradicts another argument."""
    from tiny_diffusion_jax.run import released  # imports jax: only when needed

    config = released.config_of(values["pretrained"])
    if mode in ("train", "replay"):
        raise UserError("--pretrained goes with --mode=sample, evaluate, complete or live; to "
                        "train on from a run of your own there is --config.train.init_from")
    if values["config"] is not None:
        raise UserError("--pretrained has a config of its own: leave out --config")
    _refuse_changes(config, options, f"the released model {values['pretrained']!r}")
    config.name = f"pretrained_{values['pretrained']}"
    return config


def _compared(values: dict, options: dict) -> ConfigDict:
    """Config of the first run of --runs. Raises UserError unless there are at least two runs."""
    paths = runs_of(values["runs"])
    require(values["config"] is None, "--config", values["config"], "left out: runs have their own")
    values["workdir"] = values["workdir"] or "."
    with rename_fields({"--workdir": "--runs"}):
        config = run_folder.read_config(paths[0])
    _refuse_changes(config, options, f"the run in {paths[0]!r}")
    return config


def runs_of(text: str) -> list[str]:
    """Folders in the value of --runs."""
    paths = [path.strip() for path in text.split(",") if path.strip()]
    require(len(paths) > 1, "--runs", text, "the folders of two or more runs, commas between")
    return paths


def _refuse_changes(config: ConfigDict, options: dict, what: str) -> None:
    """Raise UserError if an option is one that the trained model depends on."""
    for field in filter(affects_model, options):
        raise UserError(f"--config.{field}: {what} is trained, with "
                        f"config.{field} = {flatten(config)[field]!r}; train another")


def folder_of(path: str | None, name: str) -> str:
    """Path of the folder of a run: the value of --workdir, or runs/NAME."""
    if path is not None:
        require(path != "", "--workdir", path, "the path of a folder")
        return path
    require(name and "/" not in name, "config.name", name, "the name of a folder in runs/")
    return f"runs/{name}"


def read(argv: list[str]) -> tuple[dict, dict]:
    """Return ({flag: value}, {"train.steps": value, ...} of the options that were set).

    Every spelling of absl is accepted: one dash or two, = or a space, --nooption, in any order.
    """
    config = default_config()
    parsed = flags.FlagValues()
    for name, text in HELP.items():
        define = flags.DEFINE_boolean if name == "help" else flags.DEFINE_string
        define(name, None, text, flag_values=parsed)
    for field, default in flatten(config).items():
        name, parser = f"config.{field}", OptionParser(f"config.{field}", default)
        boolean = isinstance(default, bool)
        parsed[name] = flags.Flag(parser, None, name, None, "", boolean=boolean)
    try:
        rest = parsed(argv)
    except flags.UnrecognizedFlagError as error:
        raise no_such_flag(config, error.flagname) from error
    except (flags.Error, ValueError) as error:  # absl wraps the errors of an OptionParser
        raise error.__context__ if isinstance(error.__context__, UserError) else UserError(
            str(error)) from error  # fmt: skip
    if len(rest) > 1:
        raise UserError(f"{rest[1]!r} is not a flag; flags start with --, see --help")
    values = {name: parsed[name].value for name in HELP}
    options = {name.removeprefix("config."): parsed[name].value
               for name in parsed if name.startswith("config.") and parsed[name].present}
    return values, options


def no_such_flag(config: ConfigDict, flag: str) -> UserError:
    """Error for --`flag`, which is neither in HELP nor an option of `config`."""
    _, is_option, dotted = flag.partition("config.")
    if not is_option:
        near = difflib.get_close_matches(flag, HELP, 1)
        hint = f" Did you mean: {near[0]} ?" if near else ""
        return UserError(f"Unknown command line flag {flag!r}.{hint}")
    node, place = config, "config"
    for name in dotted.split("."):
        if not isinstance(node, ConfigDict):
            return UserError(f"--config.{dotted}: no such option; {place} is a single value")
        if name not in node:
            return UserError(f"--config.{dotted}: no such option; {place} has {', '.join(node)}")
        node, place = node[name], f"{place}.{name}"
    if isinstance(node, ConfigDict):
        return UserError(f"--{place}: set one field of it; it has {', '.join(node)}")
    return UserError(f"--no{place}: only options that are True or False can be set so")


def config_files() -> dict[str, Path]:
    """Return {"configs/moons.py": its path, ...}, in order."""
    return {f"configs/{f.relative_to(CONFIGS)}": f for f in sorted(CONFIGS.rglob("*.py"))}


def find_config(path: str) -> tuple[str, str]:
    """Split --config=FILE.py:ARGUMENT into the file and the argument; both may contain colons.

    A file that is missing in the working directory is looked up beside main.py. Raises UserError
    for a file that exists in neither place.
    """
    stem, is_split, argument = path.partition(".py:")
    file = f"{stem}.py" if is_split else path
    known = config_files()
    found = file if Path(file).is_file() else known.get(Path(file).as_posix())
    require(found is not None, "--config", file, f"a config file; there are {', '.join(known)}")
    return str(found), argument


def load_config(path: str, model: str = "") -> ConfigDict:
    """Call `get_config` of the file of --config with the argument after the file.

    model: --config.model.name, for a `get_config` with a parameter of this name, which selects its
    settings. Raises UserError for any error of the file.
    """
    file, argument = find_config(path)
    try:
        get_config = runpy.run_path(file).get("get_config")
        require(callable(get_config), f"{file}: get_config", get_config, "a function")
        takes_model = "model" in inspect.signature(get_config).parameters
        chosen = {"model": model} if model and takes_model else {}
        config = get_config(argument, **chosen) if argument else get_config(**chosen)
    except UserError:
        raise
    except SyntaxError as error:
        raise UserError(f"{error.filename}: line {error.lineno}: {error.msg}") from error
    except Exception as error:  # a config is a program, so it can fail in any way
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
        place = f"{file}: line {frames[-1].lineno}" if frames else file
        raise UserError(f"{place}: {type(error).__name__}: {reason_of(error)}") from error
    if not isinstance(config, ConfigDict):
        raise UserError(f"{file}: get_config() = {config!r}: must be a ConfigDict")
    strange = config_mismatch(config.to_dict())
    require(not strange, f"{file}: get_config()", "a config", f"one of default_config(): {strange}")
    return config
