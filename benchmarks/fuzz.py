"""Check that random configs, damaged files and short runs never end in a traceback or hang.

    python benchmarks/fuzz.py                        # 10,000 cases, 100 whole runs
    python benchmarks/fuzz.py --quick                # 40 cases, 1 whole run
    python benchmarks/fuzz.py --only=1234            # repeat one case

The seed and the number of a case determine the case. Each hundred cases have three kinds:

- 59 configs with random values for a few options, which are checked and built;
- 40 files of points, sets or pictures with random damage, which are read and drawn from;
- one run of two steps through the command line, with samples, metrics and figures.

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
import random
import signal
import tempfile
import time
import traceback
from pathlib import Path

# Compilation takes seconds and execution takes little time, so skip expensive optimisations.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 "
                                   "--xla_llvm_disable_expensive_passes=true")  # fmt: skip

import jax
import numpy as np
from common import RESULTS, ROOT, command, machine, write
from PIL import Image
from tqdm import tqdm

from tiny_diffusion_jax import checks, data, models
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
    "evaluate.likelihood_steps": 2, "evaluate.density_steps": 2, "evaluate.likelihood_sets": 2,
    "evaluate.max_sets": 6, "compilation_cache": "",
}  # fmt: skip


def value(rng: random.Random, default, largest: int = 2**63):
    """Random value with the type of `default`; the absolute value of integers is <= `largest`."""
    if isinstance(default, bool):
        return rng.random() < 0.5
    if isinstance(default, int):
        return rng.choice([n for n in WHOLE if abs(n) <= largest])
    if isinstance(default, float):
        return rng.choice(NUMBERS) if rng.random() < 0.7 else rng.uniform(0, 2)
    return rng.choice(TEXTS)


# ---------------------------------------------------------------- the three kinds of cases


def config_case(rng: random.Random, folder: Path) -> None:
    """Check and build a recipe with random values for one to four options."""
    config = default_config(rng.choice(sorted(RECIPES)))
    names = rng.sample(sorted(FIELDS), rng.randint(1, 4))
    config.update_from_flattened_dict({name: value(rng, FIELDS[name]) for name in names})
    checks.check_measured(config)
    json.dumps(config.to_dict(), allow_nan=False)
    make_process(make_schedule(**config.schedule), **config.diffusion)
    make_batch_spec(config.train, models.make_model(config.model, 0))


def table(rng: random.Random) -> bytes:
    """Table of sets, sometimes with wrong delimiters, mixed types or missing cells."""
    cells = ["nan", "inf", "-1e400", "", "a", '"', "1;2", "0x1", "1e308", "é", "\t", "0"]
    odd = rng.choice([0.0, 0.0, 0.05])  # share of the irregular rows
    between, lines = rng.choice([",", ",", ";", "\t"]), []
    for row in range(rng.choice([0, 2, 60, 60])):
        line = [str(row % 3), f"{rng.gauss(0, 1):.3f}", f"{rng.gauss(0, 1):.3f}"]
        if rng.random() < odd:
            line[rng.randrange(3)] = rng.choice(cells)
        lines.append((rng.choice(",;\t") if rng.random() < odd else between).join(line))
    names = rng.choice(["set,x,y", "set,x,y", "x,y", "set,x,y,label", "", "x,x,y"])
    start = rng.choice([b"", b"", b"\xef\xbb\xbf", b"\xff\xfe"])
    lines.insert(0, names.replace(",", between))
    return start + rng.choice(["\n", "\r\n"]).join(lines).encode()


def arrays(rng: random.Random) -> bytes:
    """An .npz file of points and sets, with shapes and types that may be inconsistent."""
    kind = rng.choice([*[np.float32] * 3, np.float64, np.int64, object, np.complex64, np.str_])
    shape = rng.choice([(32, 8, 2), (32, 8, 2), (32, 2), (32, 2), (32,), (0, 2), (4, 8, 3), ()])
    points = np.asarray(np.random.default_rng(rng.randrange(2**32)).normal(size=shape)).astype(kind)
    more = rng.choice([{}, {"set": np.arange(32) % 3}, {"sizes": np.array([16, 16])},
                       {"sizes": np.array([40, -8])}, {"label": np.array(["a"] * 32)},
                       {"mask": np.ones((32, 8), bool)}])  # fmt: skip
    file = io.BytesIO()
    np.savez(file, **{rng.choice(["points", "points", "x"]): points}, **more)
    return file.getvalue()


def picture(rng: random.Random) -> bytes:
    """Random picture with a random pixel mode and file format."""
    size = rng.choice([(8, 8), (8, 8), (1, 1), (3, 200)])
    grey = np.random.default_rng(rng.randrange(2**32)).integers(0, rng.choice([1, 256, 256]), size)
    mode = rng.choice(["L", "1", "P", "RGB", "RGBA", "CMYK", "I", "F"])
    image = Image.fromarray(grey.astype(np.uint8)).convert(mode)
    form, file = rng.choice(["PNG", "GIF", "TIFF", "JPEG"]), io.BytesIO()
    try:
        image.save(file, form)
    except (OSError, ValueError):  # not every format has every mode
        image.convert("L").save(file, form)
    return file.getvalue()


FILES = {"csv": table, "tsv": table, "npz": arrays, "npy": arrays, "png": picture, "jpg": picture}


def damaged(rng: random.Random, content: bytes) -> bytes:
    """Return `content` unchanged in six of ten cases, otherwise truncated or with changed bytes."""
    content, what = bytearray(content), rng.random()
    if what < 0.1:
        return bytes(content[: rng.randrange(len(content) + 1)])
    if what < 0.4 and content:
        for _ in range(rng.choice([1, 10])):
            content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content)


def file_case(rng: random.Random, folder: Path) -> None:
    """Read a file of points, sets or a picture that may be damaged, and draw sets from it."""
    ending = rng.choice(sorted(FILES))
    path = folder / f"file.{ending}"
    path.write_bytes(damaged(rng, FILES[ending](rng)))
    config = default_config()
    is_picture = ending in ("png", "jpg")
    config.data.name = "image" if is_picture else rng.choice(["points", "sets"])
    config.data.path = str(path)
    checks.check(config)
    dataset = data.build(config.data)
    points = draw_sets(dataset, jax.random.key(0), 2, 4).points
    if not np.isfinite(points).all():
        raise AssertionError("drawn points are not finite")


def run_case(rng: random.Random, folder: Path) -> None:
    """Run two steps through the command line, with random values for one to three options."""
    config = rng.choice(["moons", "mixture:dino+moons", "mnist_digit", "mnist_sets", "points",
                         "sets"])  # fmt: skip
    options = {"data.source": "digits"} if "mnist" in config else {}
    if config in ("points", "sets"):
        config += f":{folder / 'table.csv'}"
        rows = "".join(f"{i % 8},{rng.gauss(0, 1)},{rng.gauss(0, 1)}\n" for i in range(160))
        (folder / "table.csv").write_text("set,x,y\n" + rows, "utf-8")
    if config.startswith(("mixture", "sets")):
        options["model.name"] = rng.choice(sorted(RECIPES))
    names = rng.sample(sorted(FIELDS), rng.randint(1, 3))
    options |= TINY | {name: value(rng, FIELDS[name], largest=64) for name in names}
    file, colon, argument = config.partition(":")
    arguments = [f"--config={ROOT / 'configs' / file}.py{colon}{argument}",
                 f"--workdir={folder / 'run'}"]  # fmt: skip
    arguments += [f"--config.{name}={each}" for name, each in options.items()]
    left, said = [], io.StringIO()

    def leave(code: int):
        left.append(code)
        raise SystemExit(code)

    with (contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()),
          contextlib.chdir(folder)):  # fmt: skip
        try:
            cli.main([str(ROOT / "main.py"), *arguments], leave)
        except SystemExit:
            pass
    if left:  # exit code 2: refused; 1: the run failed, for example because of an infinite loss
        raise UserError(said.getvalue().strip().splitlines()[-1])
    if not (folder / "run" / "metrics.json").exists():
        raise AssertionError("the run wrote neither metrics.json nor an error")


def case_of(number: int):
    """Function that runs this case: 59 configs, 40 files and one run in every hundred."""
    place = number % 100
    return run_case if place == 99 else file_case if place >= 59 else config_case


# ---------------------------------------------------------------- count the outcomes


def too_long(*_):
    raise TimeoutError(f"more than {LONGEST} s")


def outcome(seed: int, number: int, case) -> tuple[str, str]:
    """Run a case; return ("done", "refused" or "failed", the error line or the traceback)."""
    rng = random.Random(f"{seed} {number}")
    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(LONGEST)
    try:
        with tempfile.TemporaryDirectory() as folder:
            case(rng, Path(folder))
        return "done", ""
    except UserError as error:
        line = str(error)
        return ("refused", line) if line.strip() and len(line) < 2_000 else ("failed", line)
    except Exception:
        return "failed", traceback.format_exc()
    finally:
        signal.alarm(0)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="number of the only case to run")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--output", type=Path, default=RESULTS / "fuzz.json")
    args = parser.parse_args(argv)
    if args.only is not None:
        return print(*outcome(args.seed, args.only, case_of(args.only)))
    numbers = [*range(40, 79), 99] if args.quick else range(args.cases)
    counts, failures, began = collections.defaultdict(collections.Counter), {}, time.perf_counter()
    for number in tqdm(numbers, unit="case"):
        case = case_of(number)
        kind, text = outcome(args.seed, number, case)
        if case is run_case:
            jax.clear_caches()  # runs share no programs, so the caches would only grow
        counts[case.__name__.partition("_")[0]][kind] += 1
        if kind == "failed":
            failures[number] = text
            print(f"case {number}:", text, flush=True)
    seconds = time.perf_counter() - began
    print(*(f"{name}: {dict(count)}" for name, count in counts.items()), sep="\n")
    write(args.output, {"command": command(__file__, argv), "machine": machine(),
                        "seed": args.seed, "cases": len(numbers), "counts": counts,
                        "failures": failures, "seconds": seconds})  # fmt: skip


if __name__ == "__main__":
    main()
