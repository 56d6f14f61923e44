"""Learns a distribution of points in the plane by diffusion.

  python main.py --mode=list                                  what there is to run
  python main.py --config=configs/mnist_digit.py              train, sample, evaluate
  python main.py --config=configs/mnist_digit.py:7            another digit
  python main.py --config=configs/moons.py --config.train.steps=4000 --workdir=runs/short
  python main.py --config=configs/moons.py --mode=sample --config.sample.num_points=100000

Training again in the same --workdir goes on where it stopped. Every option is described in
tiny_diffusion_jax/config.py and can be set as --config.PART.FIELD=VALUE.
"""

import ast
import logging
import os
import sys
from pathlib import Path

# Before jax is imported: its C++ start-up messages are not for users.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from absl import app, flags
from ml_collections import config_flags

from tiny_diffusion_jax.errors import UserError

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "A file in configs/, with :ARGUMENT where its header says so."
)
WORKDIR = flags.DEFINE_string("workdir", None, "Where the run lives. Default: runs/<config.name>.")
MODE = flags.DEFINE_string("mode", "train", "train, sample, evaluate, or list (the configs).")

MODES = ("train", "sample", "evaluate", "list")


def main(_) -> None:
    if MODE.value not in MODES:
        raise UserError(f"--mode = {MODE.value!r}: must be one of {', '.join(MODES)}")
    if MODE.value == "list":
        return print(config_list(Path(__file__).parent / "configs"))
    if CONFIG.value is None:
        raise UserError("--config is missing: name a file, or see them all with --mode=list")
    from tiny_diffusion_jax import runs  # imports jax: only when there is work to do

    path = f"runs/{CONFIG.value.name}" if WORKDIR.value is None else WORKDIR.value
    if not path:
        raise UserError("--workdir = '': must be the path of a folder")
    getattr(runs, MODE.value)(CONFIG.value, path)


def config_list(folder: Path) -> str:
    """Each config with the first line of its header."""
    headers = [
        (f"configs/{path.relative_to(folder)}", (ast.get_docstring(tree) or "").splitlines()[0])
        for path in sorted(folder.rglob("*.py"))
        if ast.get_docstring(tree := ast.parse(path.read_text()))
    ]
    width = max(len(name) for name, _ in headers)
    return "\n".join(f"{name:{width}}  {header}" for name, header in headers)


def parse_flags(argv: list[str]) -> list[str]:
    """Reads the flags; a mistake in them is one line and exit code 2."""
    try:
        rest = flags.FLAGS(argv)
        if len(rest) > 1:
            raise UserError(f"{rest[1]!r} is not a flag; flags start with --, see --help")
        return rest
    except Exception as error:  # a config file is a program: it can fail in any way
        fail(error, 2)


def fail(error: Exception, exit_code: int) -> None:
    """Prints the first line of `error` and leaves."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    print(f"error: {lines[0]}", file=sys.stderr)
    sys.exit(exit_code)


def guarded(argv) -> None:
    """`main`, with the ends that users should see as a line instead of a traceback."""
    # Ours to the terminal as they are; of the libraries' (absl, orbax, jax) only the warnings.
    logging.basicConfig(format="%(message)s", level=logging.WARNING, force=True)
    logging.getLogger("absl").setLevel(logging.WARNING)
    logging.getLogger("tiny_diffusion_jax").setLevel(logging.INFO)
    try:
        main(argv)
    except UserError as error:
        fail(error, 2)
    except KeyboardInterrupt:
        fail(RuntimeError("interrupted; what was saved before stays as it is"), 130)
    except Exception as error:
        if hasattr(error, "exit_code"):  # runs.Interrupted, runs.TrainingDiverged
            fail(error, error.exit_code)
        raise


if __name__ == "__main__":
    app.run(guarded, flags_parser=parse_flags)
