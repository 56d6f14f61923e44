"""Run `main.py` inside the test process, with the arguments, exit code and output of a shell."""

import contextlib
import io
import logging
import signal
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

import main as program
from tiny_diffusion_jax.cli import main as cli

ROOT = Path(program.__file__).parent
# Options that make every part of a run as small as possible.
TINY = [f"--config.{option}" for option in (
    "train.steps=40", "train.block=10", "train.warmup=5", "train.checkpoint_every=20",
    "train.num_sets=8", "model.hidden_dim=8", "model.num_blocks=1", "model.num_frequencies=4",
    "model.time_frequencies=4", "sample.num_sets=2", "sample.num_points=64", "sample.num_steps=4",
    "evaluate.frames=2", "evaluate.density_size=0", "evaluate.exact_points=32",
    "evaluate.num_projections=4", "evaluate.heldout_points=32", "evaluate.likelihood_steps=2",
    "evaluate.set_likelihood_steps=2", "evaluate.gifs=True",
    "evaluate.likelihood_sets=0",
    "compilation_cache=",
)]  # fmt: skip
SETS = [*TINY, *(f"--config.{option}" for option in (
    "train.steps=10", "train.checkpoint_every=10", "train.num_points=8",
    "train.max_points=0", "train.min_history=1", "train.max_history=8", "model.num_heads=2",
    "model.num_inducing=2", "model.latent_dim=4", "sample.num_sets=6", "sample.num_points=16",
    "sample.first_block=8", "sample.growth=1.0", "evaluate.max_sets=6"))]  # fmt: skip


class Result(NamedTuple):
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


def config(name: str) -> str:
    """Option --config=configs/NAME that works from any folder."""
    file, colon, argument = name.partition(":")
    return f"--config={ROOT / 'configs' / file}.py{colon}{argument}"


MOONS = [config("moons"), *TINY]


@contextlib.contextmanager
def kept_handlers():
    """Restore what `raise_until_caught` replaces."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    hook = sys.unraisablehook
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        sys.unraisablehook = hook


def run(*arguments: str) -> Result:
    """Run `python main.py ARGUMENTS` without starting a process, then restore the global state."""
    before = logging.root.handlers[:], logging.root.level
    out, err, code = io.StringIO(), io.StringIO(), 0
    try:
        with (contextlib.redirect_stdout(out), contextlib.redirect_stderr(err),
              warnings.catch_warnings(), kept_handlers()):
            cli.main([str(ROOT / "main.py"), *arguments])
    except SystemExit as end:
        code = end.code or 0
    finally:
        logging.root.handlers, logging.root.level = before
    return Result(code, out.getvalue(), err.getvalue())
