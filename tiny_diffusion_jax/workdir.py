"""The files of a run: written whole or not at all, and never over those of another run."""

import contextlib
import json
import os
import tempfile
from pathlib import Path

import numpy as np

from tiny_diffusion_jax.errors import UserError

# What a trained model depends on. The other parts of a config may change from call to call.
MODEL_PARTS = ("seed", "data", "schedule", "diffusion", "model", "train")
# Within them, what does not change the numbers.
FREE_FIELDS = {"data.data_dir", "data.cache_dir", "train.keep", "train.checkpoint_every"}


@contextlib.contextmanager
def atomic(path: Path):
    """A temporary path in the same folder; becomes `path` if the block ends without an error."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=path.suffix)
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, 0o644)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def write_json(path: Path, value) -> None:
    """Writes `value`, indented."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_array(path: Path, array: np.ndarray) -> None:
    """Writes a .npy file."""
    with atomic(path) as temporary:
        np.save(temporary, array)


def read_rows(path: Path, last_step: int | None = None) -> list[dict]:
    """Rows of a metrics.jsonl up to `last_step` (None: all); a line cut short by a crash ends it."""
    rows = []
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                break
            if last_step is None or row["step"] <= last_step:
                rows.append(row)
    return rows


def rewind_rows(path: Path, last_step: int) -> None:
    """Drops the rows after `last_step`, which a resumed run will write again."""
    rows = read_rows(path, last_step)
    with atomic(path) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows))


def open_workdir(path: str, config, must_exist: bool) -> Path:
    """The run's folder, after checking that it can be written and holds no other run.

    The config of a new run is stored as config.json. Raises UserError, touching nothing, where the
    folder cannot be made or written, holds a run of another config (lists the fields that
    differ), or with `must_exist` holds no run at all.
    """
    workdir = Path(path).expanduser()
    stored = workdir / "config.json"
    ours = config.to_dict()
    if must_exist and not stored.exists():
        raise UserError(f"--workdir = {path!r}: holds no run; train one first with --mode=train")
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=workdir):
            pass
        theirs = json.loads(stored.read_text()) if stored.exists() else None
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"--workdir = {path!r}: must be a folder that can be written ({reason})") \
            from error
    except json.JSONDecodeError as error:
        raise UserError(f"{stored}: is not JSON ({error}); was it edited?") from error
    if theirs is None:
        write_json(stored, ours)
        return workdir
    changes = differences(_model_fields(theirs), _model_fields(ours))
    if changes:
        raise UserError(
            f"--workdir = {path!r}: holds a run of another config; use another --workdir, or "
            "delete it. It differs in " + ", ".join(changes)
        )
    return workdir


def differences(theirs: dict, ours: dict) -> list[str]:
    """["field: theirs -> ours"] for every field that is not the same in both."""
    missing = "(none)"
    return [
        f"{field}: {theirs.get(field, missing)!r} -> {ours.get(field, missing)!r}"
        for field in sorted(theirs.keys() | ours.keys())
        if theirs.get(field, missing) != ours.get(field, missing)
    ]


def _model_fields(config: dict) -> dict:
    """{"train.steps": 8000, ...} of what a trained model depends on."""
    fields = {}
    for part in MODEL_PARTS:
        value = config.get(part)
        nested = value.items() if isinstance(value, dict) else [(None, value)]
        for name, entry in nested:
            fields[part if name is None else f"{part}.{name}"] = entry
    return {name: entry for name, entry in fields.items() if name not in FREE_FIELDS}
