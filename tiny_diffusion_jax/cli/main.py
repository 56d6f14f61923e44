"""The command line: parse the arguments, run the command, end with one line and an exit code."""

import errno
import logging
import os
import sys
import warnings
from collections.abc import Callable

# Set before jax is imported, because its C++ start-up messages are not for users.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Environment of a command that writes files. It replaces settings of notebooks and other projects.
ENVIRONMENT = {
    "MPLBACKEND": "Agg",  # a notebook's backend is missing here, and matplotlib checks the name
    "JAX_ENABLE_X64": "0",  # models are float32
}

from tiny_diffusion_jax.cli.flags import Command, help_text, parse
from tiny_diffusion_jax.config_files import config_list
from tiny_diffusion_jax.errors import UserError, reason_of
from tiny_diffusion_jax.program import program_name
from tiny_diffusion_jax.run.signals import caught, raise_until_caught

USAGE = """Learn a distribution of points in the plane by diffusion.

  {program} --mode=list                             list the configs;
  {program} --config=mnist_digit                    train, sample, evaluate;
  {program} --config=mnist_digit:7                  another digit;
  {program} --config=moons --config.train.steps=4000 --workdir=runs/short    options;
  {program} --workdir=runs/moons --mode=sample --config.sample.num_points=100000
  {program} --workdir=runs/mixture_dino+moons_history --mode=complete --points=partial.csv
  {program} --workdir=runs/moons --mode=distill     a model that draws in 1, 2 or 4 steps;
  {program} --workdir=runs/moons --mode=live        a page that samples in the browser;
  {program} --workdir=runs/moons --mode=replay      explain a loss that is not finite;
  {program} --mode=compare --runs=runs/a,runs/b     compare runs, in compare.html;
  {program} --mode=draw                             draw your own shapes, in draw.html.

--config takes a name of --mode=list, or a config file such as configs/mnist_digit.py. Training
again in the same --workdir resumes an interrupted run, and with more --config.train.steps the run
trains longer. --config.PART.NAME=VALUE sets one of the options below.
"""
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


def require_utf8() -> None:
    """Start this process again in UTF-8 mode, if the locale gives file names in ASCII.

    Without UTF-8, a file name with an accent is not valid text in a title, a page or a message.
    """
    if sys.getfilesystemencoding() == "ascii":
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def start() -> None:
    """Run the command of this process, which main.py and `tiny-diffusion` call."""
    require_utf8()
    # `sys.exit` would wait for the thread of an abandoned block of steps.
    main(sys.argv, leave=os._exit)


def main(argv: list[str], leave: Callable[[int], None] = sys.exit) -> None:
    """Run the command of `argv` (program first), and show expected errors as one line.

    `leave` is called with the exit code: 2 for a bad input, 128 + its number after a signal, and 1
    for another expected error. An unexpected error keeps its traceback, because it is a bug.
    """
    os.environ.update(ENVIRONMENT)
    _set_up_logging()
    raise_until_caught()
    try:
        command = parse(argv)
        if command is None:
            print(USAGE.format(program=program_name()), help_text(), sep="\n", flush=True)
        else:
            run(command)
    except UserError as error:
        fail(error, 2, leave)
    except KeyboardInterrupt as error:
        number = caught(error)
        fail(RuntimeError(
            "interrupted: every written file is complete, and the same command resumes from the "
            "last checkpoint"), 128 + number, leave)
    except BrokenPipeError:  # `--help | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        leave(141)  # as in shells: 128 + SIGPIPE
    except Exception as error:
        if hasattr(error, "exit_code"):  # Interrupted, TrainingDiverged, SamplesDiverged
            fail(error, error.exit_code, leave)
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            fail(error, 1, leave)
        if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
            fail(RuntimeError(
                "out of memory: lower config.sample.num_points, num_sets or memory_mb, or "
                f"config.train.num_sets ({reason_of(error)})"), 1, leave)
        raise


def run(command: Command) -> None:
    """Run the command. Raises the errors that `main` turns into one line."""
    if command.mode == "list":
        return print(config_list(), flush=True)
    from tiny_diffusion_jax.cli import commands  # imports jax

    run_mode = getattr(commands, f"{command.mode}_run")
    run_mode(command.config, command.workdir, **command.arguments)


# ---------------------------------------------------------------- ends


def fail(error: Exception, exit_code: int, leave: Callable[[int], None]) -> None:
    """Print `error` in one line, and call `leave` with the exit code."""
    message = " ".join(str(error).split()) or type(error).__name__
    print(f"error: {message}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    leave(exit_code)


# ---------------------------------------------------------------- messages


class Console(logging.Handler):
    """Write messages without a prefix, above the progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        tqdm.write(record.getMessage(), file=sys.stderr)


def _set_up_logging() -> None:
    """Show messages of this program, and only warnings of the libraries (absl, jax)."""
    logging.root.handlers[:] = [Console()]
    logging.root.setLevel(logging.WARNING)
    logging.getLogger("absl").setLevel(logging.WARNING)
    logging.getLogger("tiny_diffusion_jax").setLevel(logging.INFO)
    warnings.filterwarnings("ignore", message=".*persistent compilation cache")  # only slower
