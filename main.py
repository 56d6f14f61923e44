"""Learns a distribution of points in the plane by diffusion.

  python main.py --mode=list                                  what there is to run
  python main.py --config=configs/mnist_digit.py              train, sample, evaluate
  python main.py --config=configs/mnist_digit.py:7            another digit
  python main.py --config=configs/moons.py --config.train.steps=4000 --workdir=runs/short
  python main.py --config=configs/moons.py --mode=sample --config.sample.num_points=100000
  python main.py --config=configs/mixture.py:dino+moons --mode=complete --points=partial.csv

Training again in the same --workdir goes on where it stopped. Every option is described in
tiny_diffusion_jax/config.py and can be set as --config.PART.FIELD=VALUE.
"""

import ast
import errno
import inspect
import logging
import os
import re
import runpy
import signal
import sys
import threading
import traceback
import warnings
from pathlib import Path

# Before jax is imported: its C++ start-up messages are not for users.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from absl import app, flags
from ml_collections import ConfigDict, config_flags

from tiny_diffusion_jax.errors import UserError, require, require_choice

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "A file in configs/, with :ARGUMENT where its header says so."
)
WORKDIR = flags.DEFINE_string("workdir", None, "Where the run lives. Default: runs/NAME.")
MODE = flags.DEFINE_string(
    "mode", "train", "train, sample, evaluate, complete, or list (the configs)."
)
POINTS = flags.DEFINE_string(
    "points", None, "With --mode=complete: a table of points that every set begins with."
)

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
MODES = ("train", "sample", "evaluate", "complete", "list")
CONFIGS = Path(__file__).parent / "configs"


def main(_) -> None:
    require_choice("--mode", MODE.value, MODES)
    if MODE.value == "list":
        return print(config_list())
    if CONFIG.value is None:
        raise UserError("--config is missing: name a file, or see them all with --mode=list")
    path = WORKDIR.value
    if path is None:
        name = CONFIG.value.name
        if not name or "/" in name:
            raise UserError(f"config.name = {name!r}: must be the name of a folder in runs/")
        path = f"runs/{name}"
    if not path:
        raise UserError("--workdir = '': must be the path of a folder")
    completing = MODE.value == "complete"
    if completing != (POINTS.value is not None):
        raise UserError("--points goes with --mode=complete: a table of points to begin sets with")
    from tiny_diffusion_jax.run import modes as runs  # imports jax: only when needed

    extra = [POINTS.value] if completing else []
    getattr(runs, MODE.value)(CONFIG.value, path, *extra)


def config_list() -> str:
    """Each config with the first line of its header."""
    lines = []
    for name, file in config_files().items():
        header = (ast.get_docstring(ast.parse(file.read_text())) or "").partition("\n")[0]
        usage, colon, about = header.partition(": ")
        lines.append((usage, about) if colon else (name, header))
    width = max(len(usage) for usage, _ in lines)
    return "\n".join(f"{usage:{width}}  {about}" for usage, about in lines)


def config_files() -> dict[str, Path]:
    """{"configs/moons.py": its path, ...}, in order."""
    return {f"configs/{f.relative_to(CONFIGS)}": f for f in sorted(CONFIGS.rglob("*.py"))}


class ConfigParser(flags.ArgumentParser):
    """Reads --config; whatever is wrong with it, or with an option set in it, is a UserError."""

    def parse(self, path: str) -> ConfigDict:
        names = [a.partition("=")[2] for a in sys.argv if "config.model.name=" in a]
        config = load_config(path, *names[-1:])
        for argument in sys.argv[1:]:
            if match := re.fullmatch(r"--?(?:no)?config\.([^=]*)(?:=(.*))?", argument, re.DOTALL):
                check_option(config, *match.groups())
        return config.lock()


flags.FLAGS["config"].parser = ConfigParser()
flags.FLAGS["config"].default_as_str = None  # as --help shows it: not at all


def load_config(path: str, model: str = "") -> ConfigDict:
    """What `get_config` of the file gives, called with what stands after the first colon.

    `model`: --config.model.name, for a `get_config` that has a parameter of that name.
    """
    file, _, argument = path.partition(":")
    if not Path(file).is_file():
        known = ", ".join(config_files())
        raise UserError(f"--config = {file!r}: must be a config file; there are {known}")
    try:
        get_config = runpy.run_path(file).get("get_config")
        require(callable(get_config), f"{file}: get_config", get_config, "a function")
        # A config may choose its settings by the model: an option that others depend on.
        chosen = {}
        if model and "model" in inspect.signature(get_config).parameters:
            chosen["model"] = model
        config = get_config(argument, **chosen) if argument else get_config(**chosen)
    except UserError:
        raise
    except SyntaxError as error:
        raise UserError(f"{error.filename}: line {error.lineno}: {error.msg}") from error
    except Exception as error:  # a config is a program: it can fail in any way
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
        place = f"{file}: line {frames[-1].lineno}" if frames else file
        sentence = re.split(r"\. |\n", str(error).strip("'\""))[0]
        raise UserError(f"{place}: {type(error).__name__}: {sentence}") from error
    if not isinstance(config, ConfigDict):
        raise UserError(f"{file}: get_config() = {config!r}: must be a ConfigDict")
    return config


KINDS = {
    int: (flags.IntegerParser(), "a whole number"),
    float: (flags.FloatParser(), "a number"),
    bool: (flags.BooleanParser(), "True or False"),
}


def check_option(config: ConfigDict, dotted: str, value: str | None) -> None:
    """Raises UserError unless --config.`dotted`=`value` sets a field that `config` has."""
    node, place = config, "config"
    for name in dotted.split("."):
        if not isinstance(node, ConfigDict):
            raise UserError(f"--config.{dotted}: no such option; {place} is a single value")
        if name not in node:
            raise UserError(f"--config.{dotted}: no such option; {place} has {', '.join(node)}")
        node, place = node[name], f"{place}.{name}"
    if isinstance(node, ConfigDict):
        raise UserError(f"--{place}: set one field of it; it has {', '.join(node)}")
    if value is not None and type(node) in KINDS:
        parser, allowed = KINDS[type(node)]
        try:
            parser.parse(value)
        except (TypeError, ValueError) as error:
            raise UserError(f"{place} = {value!r}: must be {allowed}") from error


def parse_flags(argv: list[str]) -> list[str]:
    """Reads the flags; a mistake in them is one line and exit code 2."""
    try:
        rest = flags.FLAGS(argv)
        if len(rest) > 1:
            raise UserError(f"{rest[1]!r} is not a flag; flags start with --, see --help")
        return rest
    except SystemExit:  # after --help, which absl ends with 1
        sys.exit(0)
    except Exception as error:
        if isinstance(error.__context__, UserError):  # absl wraps what the parser raised
            error = error.__context__
        elif re.search(r"flag '(no)?config\.|before a value for --config", str(error)):
            error = UserError("--config=FILE must stand before the options set in it, --config.*")
        fail(error, 2)


def fail(error: Exception, exit_code: int) -> None:
    """Prints `error` in one line and leaves."""
    message = " ".join(str(error).split()) or type(error).__name__
    print(f"error: {message}", file=sys.stderr)
    sys.exit(exit_code)


class Console(logging.Handler):
    """Writes messages as they are, above the progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        tqdm.write(record.getMessage(), file=sys.stderr)


def stop(number: int, frame) -> None:
    raise KeyboardInterrupt(number)


def insist(unraisable) -> None:
    """A signal that struck where Python cannot raise, as in a `__del__`, is sent once more."""
    if not isinstance(unraisable.exc_value, KeyboardInterrupt):
        return sys.__unraisablehook__(unraisable)
    number = (*unraisable.exc_value.args, signal.SIGINT)[0]
    again = threading.Timer(0.05, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()


def guarded(argv) -> None:
    """`main`, with the ends that users should see as a line instead of a traceback."""
    # Ours to the terminal; of the libraries' (absl, orbax, jax) only the warnings.
    logging.root.handlers[:] = [Console()]
    logging.root.setLevel(logging.WARNING)
    logging.getLogger("absl").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # echoes of errors that orbax raises
    logging.getLogger("tiny_diffusion_jax").setLevel(logging.INFO)
    warnings.filterwarnings("ignore", message=".*persistent compilation cache")  # only slower
    signal.signal(signal.SIGTERM, stop)
    sys.unraisablehook = insist
    try:
        main(argv)
    except UserError as error:
        fail(error, 2)
    except KeyboardInterrupt as error:
        number = (*error.args, signal.SIGINT)[0]
        fail(RuntimeError(
            "interrupted: every file written is whole, and the same command goes on from the "
            "last checkpoint"), 128 + number)
    except Exception as error:
        if hasattr(error, "exit_code"):  # Interrupted, TrainingDiverged, SamplesDiverged
            fail(error, error.exit_code)
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            fail(error, 1)
        if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
            fail(RuntimeError(
                "out of memory: lower config.sample.num_points, num_sets or memory_mb, or "
                f"config.train.num_sets ({str(error).partition(chr(10))[0]})"), 1)
        raise


if __name__ == "__main__":
    app.run(guarded, flags_parser=parse_flags)
