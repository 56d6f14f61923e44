"""The files of a run, which are written completely or not at all.

No function overwrites the files of another run.
"""

import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Collection
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from tiny_diffusion_jax.config import default_config, flatten
from tiny_diffusion_jax.errors import UserError, reason_of, require
from tiny_diffusion_jax.files import atomic, make_folder, remove_abandoned
from tiny_diffusion_jax.run.versions import migrate_config

log = logging.getLogger("tiny_diffusion_jax")

# Parts of a config that a trained model depends on. Other parts may change from call to call.
MODEL_PARTS = {"seed", "data", "schedule", "diffusion", "model", "train"}
# Fields of these parts that do not change the weights. The data that were read are compared in
# place of the fields source and path.
FREE_FIELDS = {
    "data.source", "data.path", "data.data_dir", "data.cache_dir", "train.keep",
    "train.checkpoint_every",
}
OUTPUTS = ("checkpoints", "metrics.jsonl", "metrics.json", "samples.npy", "samples.npz")
MAX_DIFFERENCES = 6  # number of differences in a message


def write_json(path: Path, value) -> None:
    """Write `value` as indented JSON."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", "utf-8")


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a .npy file."""
    with atomic(path) as temporary:
        np.save(temporary, array)


def read_rows(path: Path, last_step: int | None = None) -> list[dict]:
    """Read rows of a metrics.jsonl up to `last_step` (None: all), without damaged rows.

    A crash may cut a row short.
    """
    rows = []
    if path.exists():
        for line in path.read_text(errors="replace", encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
                step = int(row["step"])
            except (ValueError, TypeError, KeyError):  # not JSON, or not a row
                continue
            if last_step is None or step <= last_step:
                rows.append(row)
    return rows


def rewind_rows(path: Path, last_step: int) -> None:
    """Remove the rows after `last_step`, which a resumed run will write again."""
    rows = read_rows(path, last_step)
    with atomic(path) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def affects_model(field: str) -> bool:
    """Return whether a trained model depends on the option `field`, such as "train.steps"."""
    return field.partition(".")[0] in MODEL_PARTS and field not in FREE_FIELDS


def read_config(path: str) -> ConfigDict:
    """Read the config of the run in `path`, in the form of default_config().

    Options that an older version lacks get the value that reproduces its behaviour, if this value
    is known (versions.py). Raises UserError if there is no run, if config.json is damaged, or if it
    has other options than this version. The error names these options.
    """
    with os_errors_as_user_error(path):
        folder = _folder_of_run(path)
        stored = _read_description(folder)
        del stored["dataset"]
        data = stored.get("data")
        if isinstance(data, dict) and data.get("path") and (folder / data["path"]).exists():
            data["path"] = str(folder / data["path"])
    if strange := config_mismatch(stored):
        raise UserError(str(Path(path) / "config.json"),
                        allowed=f"a config of this version of the program, but {strange}",
                        hint="Name the config of the run, --config=FILE")  # fmt: skip
    config = default_config()
    config.update(stored)
    return config


def config_mismatch(config: dict) -> str:
    """Describe how the options of `config` differ from the options of this version; "" if equal."""
    theirs, ours = flatten(config), flatten(default_config())
    kinds = {int: (int,), float: (int, float), bool: (bool,), str: (str,)}
    wrong = [f"{field} = {value!r}" for field, value in theirs.items()
             if field in ours and type(value) not in kinds[type(ours[field])]]
    parts = {
        "it has": sorted(theirs.keys() - ours.keys()),
        "it lacks": sorted(ours.keys() - theirs.keys()),
        "of another type are": wrong,
    }
    return "; ".join(f"{words} {_shortened(fields)}" for words, fields in parts.items() if fields)


def open_to_read(path: str, config, dataset=None) -> Path:
    """Return the folder of an earlier run of `config` and, if given, of `dataset`.

    Raises UserError if there is no run, or if it is of another config or other data.
    """
    with os_errors_as_user_error(path):
        folder = _folder_of_run(path)
        _check_same(path, folder, config, dataset)
    return folder


def require_same_data(path: str, config, dataset) -> None:
    """Raise UserError unless the run in `path` was trained on `dataset`, built from `config`."""
    theirs = read_facts(path)
    init_from = theirs.get("init_from", "") if isinstance(theirs, dict) else ""
    changes = data_differences(theirs, _facts(dataset, config, init_from))
    if changes:
        field = "path" if config.data.path else "name"
        raise UserError(f"config.data.{field}", config.data[field],
                        f"the data of the run in {str(path)!r}",
                        f"They differ in {_shortened(changes)}")  # fmt: skip


def read_facts(path: str) -> dict | None:
    """Facts about the data of the run in `path`; None if there is no run."""
    folder = Path(path).expanduser()
    if not (folder / "config.json").exists():
        return None
    with os_errors_as_user_error(path):
        return _read_description(folder)["dataset"]


def dim(path: str) -> int:
    """Number of coordinates of the points of the run in `path`; 2 if there is no run."""
    file = Path(path).expanduser() / "config.json"
    if not file.exists():
        return 2
    dataset = _read_description(file.parent)["dataset"]
    return len(dataset["shift"]) if isinstance(dataset, dict) and "shift" in dataset else 2


def check_writable(path: str) -> None:
    """Raise UserError unless `path` is the folder of a run and files can be written to it."""
    with os_errors_as_user_error(path), tempfile.TemporaryFile(dir=_folder_of_run(path)):
        pass


def make_for_samples(path: str) -> None:
    """Make the folder `path` for samples alone, which must not replace the samples of a run.

    Raises UserError if the folder cannot be made or written to, or if it holds a run.
    """
    with os_errors_as_user_error(path):
        if (_made(path) / "config.json").exists():
            raise UserError("--workdir", path, "a folder without a run",
                            "Use another --workdir for the samples of a released model")


def make(path: str) -> Path:
    """Make the folder `path` for a page. Raises UserError if it cannot be made or written to."""
    with os_errors_as_user_error(path):
        return _made(path)


def _made(path: str) -> Path:
    """Make the folder `path` if it is missing, and check that a file can be written there."""
    folder = Path(path).expanduser()
    make_folder(folder)
    with tempfile.TemporaryFile(dir=folder):
        pass
    return folder


def _folder_of_run(path: str) -> Path:
    folder = Path(path).expanduser()
    if not (folder / "config.json").exists():
        raise UserError("--workdir", path, "the folder of a run", "Train one first, --mode=train")
    return folder


def _read_description(folder: Path) -> dict:
    """Content of config.json: a config, and under "dataset" the facts about its data."""
    file = folder / "config.json"
    try:
        stored = json.loads(file.read_text("utf-8"))
        if not isinstance(stored, dict):
            raise ValueError("not an object")
    except ValueError as error:
        raise UserError(str(file), allowed="the config that this program wrote, but is damaged "
                        f"({reason_of(error)})", hint="Use another --workdir") from error
    return {"dataset": None} | migrate_config(stored)


@contextlib.contextmanager
def open_to_train(path: str, config, dataset, init_from: str = ""):
    """Yield the folder of a run, new or of the same config, locked for this process.

    A new run writes config.json, and a run of another number of steps gets the new number (see
    `_change_length`). `init_from` describes the weights that the run starts from, if they are not
    random, because the same folder may hold other weights next time. Raises UserError and touches
    nothing if the folder cannot be made or written, is in use, or holds a run of another config or
    other data.
    """
    with contextlib.ExitStack() as stack:
        with os_errors_as_user_error(path):
            folder = _made(path)
            stack.enter_context(_locked(path, folder))
            if (folder / "config.json").exists():
                _check_same(path, folder, config, dataset, init_from, {"train.steps"})
                _change_length(path, folder, config.train.steps)
                remove_abandoned(folder)
            elif found := [name for name in OUTPUTS if (folder / name).exists()]:
                raise UserError("--workdir", path, "a folder with the config.json that says what "
                                f"made its {found[0]}", "Use another --workdir")  # fmt: skip
            else:
                facts = {"dataset": _facts(dataset, config, init_from)}
                write_json(folder / "config.json", _to_store(config, folder) | facts)
        yield folder


def _facts(dataset, config, init_from: str) -> dict:
    """Facts about the data and the initial weights, which config.json stores with the config."""
    from tiny_diffusion_jax.data.description import describe  # imports jax

    return describe(dataset, config.data) | ({"init_from": init_from} if init_from else {})


def _to_store(config, folder: Path) -> dict:
    """The config for config.json, with a path of the data that is valid from any folder.

    The path is absolute, or relative to the folder of the run if the data lie inside.
    """
    stored = config.to_dict()
    if stored["data"]["path"]:
        path, home = Path(stored["data"]["path"]).expanduser().absolute(), folder.absolute()
        inside = path.is_relative_to(home)
        stored["data"]["path"] = path.relative_to(home).as_posix() if inside else str(path)
    return stored


@contextlib.contextmanager
def os_errors_as_user_error(path: str):
    """Turn errors of the file system into a UserError of one line about --workdir."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # RuntimeError: no home folder for ~
        is_file = isinstance(error, FileExistsError)
        reason = "it is a file" if is_file else getattr(error, "strerror", None) or error
        raise UserError("--workdir", path, f"a folder that can be written ({reason})") from error


@contextlib.contextmanager
def _locked(path: str, folder: Path):
    """Hold the lock of the folder. The system releases it when the process ends for any reason."""
    try:
        import fcntl
    except ImportError:  # Windows has no lock: users must not start two runs in one folder
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError("--workdir", path, "free, but another process is training in it",
                            "Wait for its end, or use another --workdir") from error
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(handle)


def _change_length(path: str, folder: Path, steps: int) -> None:
    """Give the run in `folder` another number of steps, and keep the metrics of its old length.

    Raises UserError if the run has done more steps.
    """
    from tiny_diffusion_jax.run.checkpoints import open_checkpoints  # imports jax

    stored = _read_description(folder)
    old, done = stored["train"]["steps"], max(open_checkpoints(folder / "checkpoints").steps(),
                                              default=0)  # fmt: skip
    if steps == old:
        return
    require(steps >= done, "config.train.steps", steps,
            f"at least {done}, the steps that the run in {path!r} has done",
            "Train for fewer steps in another --workdir")  # fmt: skip
    kept, metrics = folder / f"metrics_{old}.json", folder / "metrics.json"
    if metrics.exists():
        metrics.replace(kept)
    stored["train"]["steps"] = steps
    write_json(folder / "config.json", stored)
    log.info("changing the number of steps from %d to %d (learning rate: the schedule of %d steps "
             "from step %d on%s)", old, steps, steps, done,
             f"; numbers of the old length: {kept.name}" if kept.exists() else "")  # fmt: skip


def _check_same(
    path: str, folder: Path, config, dataset, init_from: str | None = None,
    free: Collection[str] = (),
) -> None:  # fmt: skip
    """Raise UserError unless the run in `folder` is of the same model and the same data.

    init_from: description of the initial weights, or None if the run is only read, because then
    only its trained weights matter. free: options that may differ.
    """
    theirs = _read_description(folder)
    found = theirs.pop("dataset")
    theirs, ours = _model_fields(theirs), _model_fields(config.to_dict())
    for field in free:
        theirs[field] = ours[field]
    changes = differences(theirs, ours)
    if init_from is None and isinstance(found, dict):
        init_from = found.get("init_from", "")
    if dataset is not None and not changes:
        changes = data_differences(found, _facts(dataset, config, init_from or ""))
    if changes:
        raise UserError("--workdir", path, "a run of the same config and the same data",
                        f"It differs in {_shortened(changes)}. Use another --workdir")


def _shortened(names: list[str]) -> str:
    more = len(names) - MAX_DIFFERENCES
    return ", ".join(names[:MAX_DIFFERENCES]) + (f" and {more} more" if more > 0 else "")


def differences(theirs: dict, ours: dict) -> list[str]:
    """["field: theirs -> ours"] for every field that differs."""
    missing = "(none)"
    return [
        f"{field}: {theirs.get(field, missing)!r} -> {ours.get(field, missing)!r}"
        for field in sorted(theirs.keys() | ours.keys())
        if theirs.get(field, missing) != ours.get(field, missing)
    ]


def data_differences(theirs, ours: dict) -> list[str]:
    """List the differences between two descriptions of data, apart from rounding.

    The title follows from the file's name, so the same data may have another title. Facts that an
    older version did not store are not compared. The origin is not compared either, because it is
    not a property of the data.
    """
    theirs = theirs if isinstance(theirs, dict) else {}
    ours = {field: value for field, value in ours.items()
            if field in theirs or field in ("title", "source", "shift", "scale", "init_from")}
    with contextlib.suppress(KeyError, TypeError, ValueError):
        atol, exact = 1e-4 * np.max(ours["scale"]), "origin" in theirs and "origin" in ours
        near = {"shift": 0.0 if exact else 1e-4, "scale": 1e-4}
        if all(np.allclose(theirs[f], ours[f], rtol, atol) for f, rtol in near.items()):
            theirs = theirs | {"shift": ours["shift"], "scale": ours["scale"]}
            theirs.pop("origin", None)
            ours = {field: value for field, value in ours.items() if field != "origin"}
    for field in ("title", "moments", "columns") if "sha256" in theirs else ("moments", "columns"):
        theirs = theirs | {field: ours[field]} if field in ours else theirs
    return [f"dataset.{change}" for change in differences(theirs, ours)]


def _model_fields(config: dict) -> dict:
    """{"train.steps": 8000, ...} of all options that a trained model depends on."""
    return {field: value for field, value in flatten(config).items() if affects_model(field)}
