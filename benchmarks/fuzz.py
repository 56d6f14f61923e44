"""Check that random configs, damaged files and short runs never end in a traceback or hang.

    python benchmarks/fuzz.py                        # 10,000 cases, 100 whole runs
    python benchmarks/fuzz.py --quick                # 40 cases, 1 whole run

Hypothesis draws the cases and reports the simplest case that fails. There are three kinds:

- 59 % are configs with random values for a few options, which are checked and built;
- 40 % are files of points, sets or pictures with random damage, which are read and drawn from;
- 1 % are runs of two steps through the command line, with samples, metrics and figures.

A case passes if it succeeds or is refused with one line. Everything else is a failure, and so is
a case that takes more than five minutes. Writes benchmarks/results/fuzz.json.
"""

import argparse
import collections
import contextlib
import io
import json
import math
import os
import signal
import tempfile
import time
import traceback
import unittest.mock
from pathlib import Path

# Compilation takes seconds and execution takes little time, so skip expensive optimisations.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 "
                                   "--xla_llvm_disable_expensive_passes=true")  # fmt: skip

import hypothesis
import jax
import numpy as np
from common import RESULTS, ROOT, command, machine, write
from hypothesis import strategies as st
from PIL import Image

from tiny_diffusion_jax import call_checks, checks, data, models
from tiny_diffusion_jax.cli import main as cli
from tiny_diffusion_jax.config import default_config, flatten
from tiny_diffusion_jax.dataset import draw_sets
from tiny_diffusion_jax.diffusion import make_process
from tiny_diffusion_jax.diffusion.schedules import make_schedule
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.recipes import RECIPES
from tiny_diffusion_jax.training.batches import make_batch_spec

LONGEST = 300  # seconds
TEXTS = [
    "", "auto", "none", "yes", "no", "0", "moons", "dino", "mixture", "dino+moons", "0.3+0.7", "1+",
    "x,y", "karras", "linear", "cosine", "flow", "eps", "x0", "v", "edm", "likelihood", "min_snr",
    "gaussian", "uniform", "identity", "learned", "muon", "ddim", "heun", "log_snr", "float32",
    "sequential", "digits", "017", "\n", "é", "a" * 300, "../..", "%s", "{}",
]  # fmt: skip
WHOLE = [-(2**63), -2, -1, 0, 1, 2, 3, 4, 5, 7, 8, 16, 50, 64, 1000, 4096, 2**31, 2**63]
NUMBERS = [0.0, -0.0, 1e-30, 1e-6, 0.1, 0.5, 0.999, 1.0, 1.5, 2.0, 12.0, 1e6, 1e30, 1e308, -1.0,
           math.nan, math.inf, -math.inf]  # fmt: skip
FIELDS = {field: value for field, value in flatten(default_config()).items()
          if field != "model.name"}  # fmt: skip
# Options of a run of two steps: all features are on, and all sizes are small.
TINY = {
    "train.steps": 2, "train.block": 1, "train.checkpoint_every": 1, "train.num_sets": 8,
    "train.num_points": 8, "train.max_points": 0, "train.min_history": 1, "train.max_history": 8,
    "model.hidden_dim": 8, "model.num_blocks": 1, "model.num_frequencies": 4, "model.num_heads": 2,
    "model.time_frequencies": 4, "model.num_inducing": 2, "model.latent_dim": 4,
    "model.context_dim": 8, "model.context_blocks": 1, "sample.num_sets": 4,
    "sample.num_points": 16, "sample.num_steps": 3, "sample.first_block": 8, "sample.growth": 1.5,
    "sample.burn_in": 0, "evaluate.frames": 2, "evaluate.density_size": 4,
    "evaluate.exact_points": 8, "evaluate.num_projections": 4, "evaluate.heldout_points": 16,
    "evaluate.likelihood_steps": 2, "evaluate.set_likelihood_steps": 2,
    "evaluate.density_steps": 2, "evaluate.likelihood_sets": 2,
    "evaluate.max_sets": 6, "compilation_cache": "",
}  # fmt: skip


def values(default, largest: int) -> st.SearchStrategy:
    """Values with the type of `default`; the absolute value of integers is at most `largest`."""
    if isinstance(default, bool):
        return st.booleans()
    if isinstance(default, int):
        low, high = max(-10, -largest), min(10_000, largest)
        return st.sampled_from([n for n in WHOLE if abs(n) <= largest]) | st.integers(low, high)
    if isinstance(default, float):
        return st.sampled_from(NUMBERS) | st.floats(0, 2) | st.floats(width=32)
    return st.sampled_from(TEXTS) | st.text(max_size=5)


def changes(most: int, largest: int = 2**63) -> st.SearchStrategy:
    """Values of one to `most` options."""
    names = st.lists(st.sampled_from(sorted(FIELDS)), min_size=1, max_size=most, unique=True)
    return names.flatmap(lambda names: st.fixed_dictionaries(
        {name: values(FIELDS[name], largest) for name in names}))  # fmt: skip


def table(pick) -> bytes:
    """Table of sets, sometimes with a wrong delimiter, mixed types or missing cells."""
    delimiter = pick(",", ",", ";", "\t")
    points = np.random.default_rng(0).normal(size=(pick(60, 60, 60, 2, 0), 2))
    rows = [[str(i % 3), f"{x:.3f}", f"{y:.3f}"] for i, (x, y) in enumerate(points)]
    for _ in range(pick(0, 0, 0, 1, 5) if rows else 0):
        row = list(pick(*rows))
        row[pick(*range(len(row)))] = pick(
            "nan", "inf", "-1e400", "", "a", '"', "1;2", "0x1", "1e308", "é", "\t", "0")
        rows[pick(*range(len(rows)))] = [pick(",", ";", "\t").join(row)]
    names = pick("set,x,y", "set,x,y", "x,y", "set,x,y,label", "", "x,x,y").split(",")
    lines = map(delimiter.join, [names, *rows])
    start = pick(b"", b"", b"", b"\xef\xbb\xbf", b"\xff\xfe")
    return start + pick("\n", "\r\n").join(lines).encode()


def array(pick) -> bytes:
    """File .npz of points and sets, with shapes and types that may be inconsistent."""
    shape = pick((32, 8, 2), (32, 8, 2), (32, 2), (32, 2), (32,), (0, 2), (4, 8, 3), ())
    kind = pick(*[np.float32] * 3, np.float64, np.int64, object, np.complex64, np.str_)
    points = np.asarray(np.random.default_rng(0).normal(size=shape)).astype(kind)
    more = pick({}, {"set": np.arange(32) % 3}, {"sizes": np.array([16, 16])},
                {"sizes": np.array([40, -8])}, {"label": np.array(["a"] * 32)},
                {"mask": np.ones((32, 8), bool)})  # fmt: skip
    file = io.BytesIO()
    np.savez(file, **{pick("points", "points", "x"): points}, **more)
    return file.getvalue()


def picture(pick) -> bytes:
    """Picture of random pixels, in any pixel mode and file format."""
    size, levels = pick((8, 8), (8, 8), (1, 1), (3, 200)), pick(1, 256, 256)
    grey = np.random.default_rng(0).integers(0, levels, size).astype(np.uint8)
    form, file = pick(*MODES), io.BytesIO()
    Image.fromarray(grey).convert(pick(*MODES[form])).save(file, form)
    return file.getvalue()


MODES = {"PNG": ["L", "1", "P", "RGB", "RGBA"], "GIF": ["L", "1", "P", "RGB", "RGBA"],
         "TIFF": ["L", "1", "P", "RGB", "RGBA", "CMYK", "I", "F"],
         "JPEG": ["L", "1", "RGB", "CMYK"]}  # fmt: skip
FILES = {"csv": table, "tsv": table, "npz": array, "npy": array, "png": picture, "jpg": picture}


@st.composite
def files(draw) -> tuple[str, str, bytes]:
    """Name of the dataset, ending and content of a file; four files in ten are damaged."""
    pick = lambda *values: draw(st.sampled_from(values))
    ending, damage = pick(*FILES), pick(*["none"] * 6, "cut", *["bytes"] * 3)
    content = bytearray(FILES[ending](pick))
    if damage == "cut":
        del content[pick(*range(len(content) + 1)) :]
    for _ in range(pick(1, 10) if damage == "bytes" and content else 0):
        content[pick(*range(len(content)))] = pick(*range(256))
    return pick(*["image"] if ending in ("png", "jpg") else ["points", "sets"]), ending, content


CONFIGS = st.tuples(st.sampled_from(sorted(RECIPES)), changes(4))
ANY_MODEL = st.fixed_dictionaries({"model.name": st.sampled_from(sorted(RECIPES))})
RUNS = st.tuples(st.one_of(
    st.tuples(st.sampled_from(["moons", "mnist_digit", "mnist_sets",
                               f"points:{ROOT}/examples/points.csv"]), st.just({})),
    st.tuples(st.sampled_from(["mixture:dino+moons", f"sets:{ROOT}/examples/sets.csv"]), ANY_MODEL),
), changes(3, largest=64))  # fmt: skip


def use_config(case: tuple, folder: Path) -> None:
    """Check and build a recipe with other values of some options."""
    model, options = case
    config = default_config(model)
    config.update_from_flattened_dict(options)
    checks.check_measured(config)
    call_checks.check_sample(config, config.sample)
    json.dumps(config.to_dict(), allow_nan=False)  # NaN and infinite values are refused
    options = config.diffusion.to_dict()
    del options["levels"]  # a law needs data
    make_process(make_schedule(**config.schedule), **options)
    make_batch_spec(config.train, models.make_model(config.model, 0))


def use_file(case: tuple, folder: Path) -> None:
    """Read a file of points, sets or a picture, and draw sets from its dataset."""
    name, ending, content = case
    path = folder / f"file.{ending}"
    path.write_bytes(content)
    config = default_config()
    config.data.update(name=name, path=str(path))
    checks.check(config)
    points = draw_sets(data.build(config.data), jax.random.key(0), 2, 4).points
    assert np.isfinite(points).all(), "drawn points are not finite"


def use_run(case: tuple, folder: Path) -> None:
    """Run two steps through the command line, with other values of some options."""
    (config, model), options = case
    digits = {"data.source": "digits"} if "mnist" in config else {}
    name, colon, argument = config.partition(":")
    arguments = [f"--config={ROOT / 'configs' / name}.py{colon}{argument}",
                 f"--workdir={folder / 'run'}"]  # fmt: skip
    arguments += [f"--config.{option}={value}"
                  for option, value in {**digits, **model, **TINY, **options}.items()]  # fmt: skip
    leave, printed = unittest.mock.Mock(side_effect=SystemExit), io.StringIO()
    with (contextlib.redirect_stderr(printed), contextlib.redirect_stdout(io.StringIO()),
          contextlib.chdir(folder), contextlib.suppress(SystemExit)):  # fmt: skip
        cli.main([str(ROOT / "main.py"), *arguments], leave)
    jax.clear_caches()  # runs share no programs, so the caches would only grow
    if leave.called:  # with 2 if the options are refused, with 1 if the loss is infinite
        raise UserError(printed.getvalue().strip().splitlines()[-1])
    assert (folder / "run" / "metrics.json").exists(), "neither metrics.json nor an error"


# Percentage of the cases, strategy, function.
KINDS = {"config": (59, CONFIGS, use_config), "file": (40, files(), use_file),
         "run": (1, RUNS, use_run)}  # fmt: skip


def outcome(use, case: tuple) -> str:
    """Return "done", or "refused" after one line; raise an error for everything else."""

    def too_long(*_):
        raise TimeoutError(f"more than {LONGEST} s")

    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(LONGEST)
    try:
        with tempfile.TemporaryDirectory() as folder:
            use(case, Path(folder))
        return "done"
    except UserError as error:
        line = str(error)
        is_line = line.strip() and "\n" not in line and len(line) < 2_000
        assert is_line, f"not one line of at most 2,000 characters: {line}"
        return "refused"
    finally:
        signal.alarm(0)


def examine(strategy: st.SearchStrategy, use, num: int, seed: int) -> tuple[dict, str]:
    """Try `num` cases; return (counts of their outcomes, the simplest failure or "")."""
    counts = collections.Counter()

    @hypothesis.seed(seed)
    @hypothesis.settings(max_examples=num, deadline=None, database=None,
                         suppress_health_check=list(hypothesis.HealthCheck))  # fmt: skip
    @hypothesis.given(strategy)
    def try_case(case):
        counts[outcome(use, case)] += 1

    try:
        try_case()
        return counts, ""
    except Exception:
        return counts, traceback.format_exc()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--output", type=Path, default=RESULTS / "fuzz.json")
    args = parser.parse_args(argv)
    num_cases, counts, failures = 40 if args.quick else args.cases, {}, {}
    began = time.perf_counter()
    for kind, (percent, strategy, use) in KINDS.items():
        num = max(1, percent * num_cases // 100)
        counts[kind], failure = examine(strategy, use, num, args.seed)
        failures |= {kind: failure} if failure else {}
        print(f"{kind}: {dict(counts[kind])}", failure, flush=True)
    write(args.output, {"command": command(__file__, argv), "machine": machine(),
                        "seed": args.seed, "cases": num_cases, "counts": counts,
                        "failures": failures, "seconds": time.perf_counter() - began})  # fmt: skip


if __name__ == "__main__":
    main()
