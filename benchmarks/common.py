"""Functions shared by the benchmarks: paths, timing, runs of main.py, results as JSON."""

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
if str(ROOT) not in sys.path:  # so that the benchmarks run without an installed library
    sys.path.insert(0, str(ROOT))


def machine() -> str:
    """Number of cores, processor and jax version, for the header of a results file."""
    import jax

    device = jax.devices()[0]
    kind = platform.machine() if device.platform == "cpu" else device.device_kind
    return f"{os.cpu_count()} x {kind}, jax {jax.__version__}"


def command(file: str, argv: list[str] | None) -> str:
    """Command line of this benchmark, for the header of a results file."""
    words = sys.argv[1:] if argv is None else argv
    return " ".join(["python", f"benchmarks/{Path(file).name}", *words])


def write(path: Path, result) -> None:
    """Write a result as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown table; "" gives an empty cell."""
    line = lambda cells: "|" + "".join(f" {cell} |" if cell else " |" for cell in cells)
    return "\n".join([line(columns), "|---" * len(columns) + "|", *map(line, rows)])


def median_seconds(run, repeats: int = 7) -> float:
    """Median wall time of `run()` in seconds, after one call that is not counted."""
    run()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def matmul_rate(rows: int, inner: int, length: int) -> float:
    """GFLOP/s of `length` successive matrix products of [rows, inner] and [inner, inner]."""
    import jax
    import jax.numpy as jnp

    x, w = jnp.ones((rows, inner)), jnp.eye(inner)
    chain = jax.jit(lambda x: jax.lax.scan(lambda x, _: (x @ w, None), x, length=length)[0])
    seconds = median_seconds(lambda: chain(x).block_until_ready())
    return 2 * rows * inner * inner * length / seconds / 1e9


def stored(path: Path, part: str = "rows") -> dict:
    """Return a part of a results file; {} if there is no file yet."""
    return json.loads(path.read_text("utf-8"))[part] if path.exists() else {}


def add_rows(path: Path, file: str, argv: list[str] | None, rows: dict, part="rows") -> dict:
    """Write rows to a results file, which keeps its other rows; return all rows."""
    rows = stored(path, part) | rows
    write(path, {"command": command(file, argv), "machine": machine(), part: rows})
    return rows


def parser_of(description: str, output: str, model: str = "causal") -> argparse.ArgumentParser:
    """Parser of a benchmark that trains one model: --model, --name, --runs, --output, options.

    output: name of the results file without .json. model: default of --model.
    """
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, formatter_class=raw)
    parser.add_argument("--model", default=model)
    parser.add_argument("--name", help="name of the run and of its row; default: the model")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs")
    parser.add_argument("--output", type=Path, default=RESULTS / f"{output}.json")
    parser.add_argument("options", nargs="*", help="options of main.py, after --")
    return parser


def grouped(points: np.ndarray, number: np.ndarray) -> list[np.ndarray]:
    """Split points f[P, D] into sets of equal `number` i[P], in the order of the numbers.

    The points of a set keep their order.
    """
    sizes = np.unique(number, return_counts=True)[1]
    return np.split(points[np.argsort(number, kind="stable")], np.cumsum(sizes)[:-1])


def of_training(metrics: dict, flags: list[str]) -> dict:
    """Return the seconds, with compilation, and the command of a training with these options."""
    seconds = metrics["seconds"]
    return {"train_seconds": seconds["compile"] + seconds["train"],
            "command": " ".join(["python main.py", *flags])}  # fmt: skip


def data_path(path: Path) -> Path:
    """Path of a data file for main.py, which runs in ROOT: relative if the file is inside ROOT."""
    path = path.absolute()
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def finished(workdir: Path, options: list[str]) -> dict:
    """Return metrics.json of a run of main.py with these options; train the run if needed.

    Exits with code 2, after one line, if the folder holds a finished run of other options or data.
    """
    workdir = workdir.absolute()
    flags = [*options, f"--workdir={workdir}"]
    if not (workdir / "metrics.json").exists():
        subprocess.run([sys.executable, "main.py", *flags], cwd=ROOT, check=True)
    else:
        from tiny_diffusion_jax.cli.main import fail
        from tiny_diffusion_jax.errors import UserError

        try:
            _require_same_run(str(workdir), flags)
        except UserError as error:
            fail(error, 2, sys.exit)
    return json.loads((workdir / "metrics.json").read_text("utf-8"))


def _require_same_run(workdir: str, flags: list[str]) -> None:
    """Raise UserError unless the run in `workdir` has the options and the data of `flags`."""
    import tiny_diffusion_jax as td
    from tiny_diffusion_jax.cli.flags import parse
    from tiny_diffusion_jax.config import flatten
    from tiny_diffusion_jax.errors import require, shorten
    from tiny_diffusion_jax.run import run_folder
    from tiny_diffusion_jax.run.same_run import FREE_FIELDS, differences

    with contextlib.chdir(ROOT):  # main.py runs in ROOT
        config = parse(["main.py", *flags]).config
        # Options that change no number of a run. The file of the data is compared by its content.
        free = FREE_FIELDS - {"data.source"} | {
            "compilation_cache", "evaluate.frames", "evaluate.gifs"}
        stored = flatten(run_folder.read_config(workdir))
        changes = differences(stored, flatten(config), free)
        require(not changes, "--workdir", workdir, "a run of the same options",
                f"It differs in {shorten(changes)}. Move the folder, or use other --runs")
        run_folder.require_same_data(workdir, config, td.build(config).dataset)
