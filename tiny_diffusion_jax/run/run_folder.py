"""The folder of a run: its config.json, which describes config and data, and its lock.

No function overwrites the files of another run.
"""

import contextlib
import json
import logging
import tempfile
from pathlib import Path

from ml_collections import ConfigDict

from tiny_diffusion_jax.config import config_mismatch, default_config
from tiny_diffusion_jax.errors import UserError, reason_of, require, shorten
from tiny_diffusion_jax.files import locked, make_folder, remove_abandoned, write_json
from tiny_diffusion_jax.run.same_run import data_differences, model_differences
from tiny_diffusion_jax.run.versions import migrate_config

log = logging.getLogger("tiny_diffusion_jax")

CONFIG = "config.json"  # a folder with this file holds a run
OUTPUTS = ("checkpoints", "metrics.jsonl", "metrics.json", "samples.npy", "samples.npz")


# ---------------------------------------------------------------- read


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
    if mismatch := config_mismatch(stored):
        raise UserError(str(Path(path) / CONFIG),
                        allowed=f"a config of this version of the program, but {mismatch}",
                        hint="Name the config of the run, --config=FILE")  # fmt: skip
    config = default_config()
    config.update(stored)
    return config


def read_facts(path: str) -> dict:
    """Facts about the data of the run in `path`; {} if there is no run."""
    with os_errors_as_user_error(path):
        folder = Path(path).expanduser()
        return _read_description(folder)["dataset"] if (folder / CONFIG).exists() else {}


def open_to_read(path: str, config) -> Path:
    """Return the folder of an earlier run of `config`.

    Raises UserError if there is no run, or if it is of another config.
    """
    with os_errors_as_user_error(path):
        folder = _folder_of_run(path)
        _refuse_differences(path, model_differences(_read_description(folder), config.to_dict()))
    return folder


def require_same_data(path: str, config, dataset) -> None:
    """Raise UserError unless the run in `path` was trained on `dataset`, built from `config`."""
    stored = read_facts(path)
    facts = _facts(dataset, config, stored.get("init_from", ""))
    if changes := data_differences(stored, facts):
        field = "path" if config.data.path else "name"
        raise UserError(f"config.data.{field}", config.data[field],
                        f"the data of the run in {str(path)!r}",
                        f"They differ in {shorten(changes)}")  # fmt: skip


def require_same_run(path: str, config, dataset) -> None:
    """Raise UserError if the folder `path` holds a run of another config or of other data."""
    with os_errors_as_user_error(path):
        folder = Path(path).expanduser()
        if (folder / CONFIG).exists():
            _require_same_run(path, folder, config, _facts(dataset, config, ""))


# ---------------------------------------------------------------- write


def make_writable(path: str, holds_run: bool | None = None) -> Path:
    """Return the folder `path`, made if it is missing, to which files can be written.

    holds_run: True for a folder that must hold a run, False for a folder of samples, which must
    not replace the samples of a run. Raises UserError if a file cannot be written.
    """
    with os_errors_as_user_error(path):
        folder = _folder_of_run(path) if holds_run else Path(path).expanduser()
        make_folder(folder)
        with tempfile.TemporaryFile(dir=folder):
            pass
        if holds_run is False and (folder / CONFIG).exists():
            raise UserError("--workdir", path, "a folder without a run",
                            "Use another --workdir for the samples of a released model")
    return folder


@contextlib.contextmanager
def open_to_train(path: str, config, dataset, init_from: str = ""):
    """Yield the folder of a run, new or of the same config, locked for this process.

    A new run writes config.json, and a run of another number of steps gets the new number (see
    `_change_length`). `init_from` describes the weights that the run starts from, if they are not
    random, because the same folder may hold other weights next time. Raises UserError and touches
    nothing if the folder cannot be made or written, is in use, or holds a run of another config or
    other data.
    """
    folder = make_writable(path)
    with locked(folder) as is_locked:
        if is_locked is False:
            raise UserError("--workdir", path, "free, but another process is training in it",
                            "Wait for its end, or use another --workdir")
        with os_errors_as_user_error(path):
            facts = _facts(dataset, config, init_from)
            if (folder / CONFIG).exists():
                stored = _require_same_run(path, folder, config, facts)
                _change_length(path, folder, stored, config.train.steps)
                remove_abandoned(folder)
            elif outputs := [name for name in OUTPUTS if (folder / name).exists()]:
                raise UserError("--workdir", path, "a folder with the config.json that says what "
                                f"made its {outputs[0]}", "Use another --workdir")  # fmt: skip
            else:
                write_json(folder / CONFIG, _to_store(config, folder) | {"dataset": facts})
        yield folder


def _change_length(path: str, folder: Path, stored: dict, steps: int) -> None:
    """Give the run in `folder` another number of steps, and keep the metrics of its old length.

    Raises UserError if the run has done more steps.
    """
    from tiny_diffusion_jax.run.checkpoints import open_checkpoints  # imports jax

    old, checkpoints = stored["train"]["steps"], open_checkpoints(folder / "checkpoints")
    if steps == old:
        return
    done = max(checkpoints.steps(), default=0)
    require(steps >= done, "config.train.steps", steps,
            f"at least {done}, the steps that the run in {path!r} has done",
            "Train for fewer steps in another --workdir")  # fmt: skip
    kept, metrics = folder / f"metrics_{old}.json", folder / "metrics.json"
    if metrics.exists():
        metrics.replace(kept)
    stored["train"]["steps"] = steps
    write_json(folder / CONFIG, stored)
    log.info("changing the number of steps from %d to %d (learning rate: the schedule of %d steps "
             "from step %d on%s)", old, steps, steps, done,
             f"; numbers of the old length: {kept.name}" if kept.exists() else "")  # fmt: skip


# ---------------------------------------------------------------- helpers


def _folder_of_run(path: str) -> Path:
    folder = Path(path).expanduser()
    if not (folder / CONFIG).exists():
        raise UserError("--workdir", path, "the folder of a run", "Train one first, --mode=train")
    return folder


def _read_description(folder: Path) -> dict:
    """Content of config.json: a config, and under "dataset" the facts about its data."""
    file = folder / CONFIG
    try:
        stored = json.loads(file.read_text("utf-8"))
        if not isinstance(stored, dict):
            raise ValueError("not an object")
    except ValueError as error:
        raise UserError(str(file), allowed="the config that this program wrote, but is damaged "
                        f"({reason_of(error)})", hint="Use another --workdir") from error
    facts = stored.get("dataset")
    return migrate_config(stored) | {"dataset": facts if isinstance(facts, dict) else {}}


def _require_same_run(path: str, folder: Path, config, facts: dict) -> dict:
    """Return the description of the run in `folder`, if its config and data are the same."""
    stored = _read_description(folder)
    changes = model_differences(stored, config.to_dict(), {"train.steps"})
    _refuse_differences(path, changes or data_differences(stored["dataset"], facts))
    return stored


def _refuse_differences(path: str, differences: list[str]) -> None:
    """Raise UserError if the run in `path` has differences from the run of this command."""
    if differences:
        raise UserError("--workdir", path, "a run of the same config and the same data",
                        f"It differs in {shorten(differences)}. Use another --workdir")


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
