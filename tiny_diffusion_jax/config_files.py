"""The files of --config: find, list and load them."""

import ast
import inspect
import re
import runpy
import traceback
from dataclasses import replace
from pathlib import Path

from ml_collections import ConfigDict

from tiny_diffusion_jax.config import UnknownOption, config_mismatch, current_spelling
from tiny_diffusion_jax.errors import UserError, reason_of, require

CONFIGS = Path(__file__).parent / "configs"
# Line of a header: measured time of training on one or two CPU cores.
TIME = re.compile(r"^Time: (.+)\.$", re.MULTILINE)


def config_files() -> dict[str, Path]:
    """Return {"moons": path, "student/replay": path, ...} of the packaged configs, in order."""
    files = {f.relative_to(CONFIGS).with_suffix("").as_posix(): f for f in CONFIGS.rglob("*.py")}
    return {name: files[name] for name in sorted(files) if not name.endswith("__init__")}


def config_list() -> str:
    """Return name, first line of the header, and measured time of training of each config."""
    lines = []
    for name, file in config_files().items():
        header = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
        first = header.partition("\n")[0]
        usage, colon, about = first.partition(": ")
        took = f"  [{found[1]}]" if (found := TIME.search(header)) else ""
        lines.append((usage, about + took) if colon else (name, first + took))
    width = max(len(usage) for usage, _ in lines)
    lines = [f"{usage:{width}}  {about}" for usage, about in lines]
    note = "[measured time of training on one or two CPU cores; with --quick: about 20 s in all]"
    return "\n".join([*lines, note])


def find_config(text: str) -> tuple[str, str]:
    """Split the value of --config into the path of a config file and the argument after it.

    "moons:dino" is a packaged config and its argument, "configs/own.py:dino" a file and its
    argument. File and argument may contain colons. configs/moons.py is the packaged config if the
    working directory has no such file. Raises UserError for a config that does not exist.
    """
    names = config_files()
    name, _, argument = text.partition(":")
    if name in names:
        return str(names[name]), argument
    stem, is_split, argument = text.partition(".py:")
    file = f"{stem}.py" if is_split else text
    if not Path(file).is_file():
        name = current_spelling(Path(file).as_posix())
        name = name.removeprefix("configs/").removesuffix(".py")
        require(name in names, "--config", file,
                f"a config file or one of {', '.join(names)}")  # fmt: skip
        file = str(names[name])
    return file, argument


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
    except UnknownOption as error:
        raise replace(error, field=f"{_place(file, error)}: {error.field}") from error
    except UserError:
        raise
    except SyntaxError as error:
        raise UserError(f"{error.filename}: line {error.lineno}: {error.msg}") from error
    except Exception as error:  # a config is a program, so it can fail in any way
        message = f"{_place(file, error)}: {type(error).__name__}: {reason_of(error)}"
        raise UserError(message) from error
    require(isinstance(config, ConfigDict), f"{file}: get_config()", config, "a ConfigDict")
    mismatch = config_mismatch(config.to_dict())
    require(not mismatch, f"{file}: get_config()", ..., f"a changed default_config(): {mismatch}")
    return config


def _place(file: str, error: Exception) -> str:
    """The file and the line in it that raised `error`, if it was one."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    return f"{file}: line {frames[-1].lineno}" if frames else file
