"""Check that power failures and kills leave complete files of a run, either old or new."""

import contextlib
import json
import os
import shutil
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from run_files import restored, state_of

from tiny_diffusion_jax import data
from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.files import atomic, remove_abandoned, write_json
from tiny_diffusion_jax.run import checkpoints, run_folder

CHANGES = ("mkdir", "rename", "replace", "unlink", "rmdir", "fsync")
FAILURES = ("power", "power, names kept", "kill")


class Disk:
    """A folder whose files stay in memory until `os.fsync`; `images` are the results of failures.

    An image is taken before each change of the file system, and at the end, for each of FAILURES.
    "power" loses all that was not synced, "power, names kept" loses the contents only, and "kill"
    loses nothing. An image is {name: contents or image}.
    """

    def __init__(self, folder: Path):
        self.folder, self.contents, self.names, self.handles = folder, {}, {}, []
        self.images = []
        for path in (folder, *folder.rglob("*")):  # all of these files are on the disk
            handle = os.open(path, os.O_RDONLY)
            self.sync(handle)
            os.close(handle)

    def sync(self, handle: int) -> None:
        # a duplicate handle, so that no other file gets the same inode number
        self.handles.append(os.dup(handle))
        number = os.fstat(handle).st_ino
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            self.names[number] = {
                name: os.stat(name, dir_fd=handle) for name in os.listdir(handle)}
        else:
            self.contents[number] = Path(f"/proc/self/fd/{handle}").read_bytes()

    def take_images(self) -> None:
        self.images.append({
            "power": self.synced(self.folder.stat()),
            "power, names kept": self.present(self.folder, self.contents),
            "kill": self.present(self.folder, None),
        })  # fmt: skip

    def synced(self, of):
        """Image of a file or folder, described by an `os.stat_result`."""
        if stat.S_ISDIR(of.st_mode):
            return {name: self.synced(of) for name, of in self.names.get(of.st_ino, {}).items()}
        return self.contents.get(of.st_ino, b"")

    def present(self, path: Path, contents: dict | None):
        """Image of a path with its present names; contents None: with its present contents."""
        if path.is_dir():
            return {each.name: self.present(each, contents) for each in path.iterdir()}
        return path.read_bytes() if contents is None else contents.get(path.stat().st_ino, b"")

    @contextlib.contextmanager
    def recording(self):
        """Take an image before each change in the block."""
        with pytest.MonkeyPatch.context() as patch:
            self.images = []
            for name in CHANGES:
                patch.setattr(os, name, self.changing(name, getattr(os, name)))
            yield
            self.take_images()

    def changing(self, name: str, change):
        def change_after_images(*words, **named):
            self.take_images()
            return self.sync(*words) if name == "fsync" else change(*words, **named)

        return change_after_images

    def close(self) -> None:
        while self.handles:
            os.close(self.handles.pop())


def write_image(image: dict, folder: Path) -> Path:
    folder.mkdir()
    for name, held in image.items():
        if isinstance(held, dict):
            write_image(held, folder / name)
        else:
            (folder / name).write_bytes(held)
    return folder


class Failures(RuleBasedStateMachine):
    """A run that saves with keep = 1, an evaluation in its folder, readers, kills, power failures.

    `step` and `value` are the results of the last complete write. An operation that failed may have
    left the previous value.
    """

    @initialize()
    def begin(self):
        self.root = Path(tempfile.mkdtemp())
        self.step, self.value, self.evaluations, self.number = 0, None, [], 0
        self.before = (0, None)
        self.use(self.root / "0")

    def use(self, folder: Path):
        folder.mkdir(exist_ok=True)
        self.folder, self.disk = folder, Disk(folder)
        self.start_training()

    def teardown(self):
        for evaluation, _ in self.evaluations:
            evaluation.__exit__(None, None, None)
        self.disk.close()
        shutil.rmtree(self.root)

    @rule()
    def start_training(self):
        self.before = (self.step, self.value)
        with self.disk.recording():
            remove_abandoned(self.folder)
            self.saved = checkpoints.open_checkpoints(self.folder / "checkpoints", keep=1)

    @rule()
    def save(self):
        self.before = (self.step, self.value)
        with self.disk.recording():
            checkpoints.save(self.saved, state_of(self.step + 1))
        self.step += 1

    @rule(value=st.integers())
    def write(self, value):
        self.before = (self.step, self.value)
        with self.disk.recording():
            write_json(self.folder / "metrics.json", value)
        self.value = value

    @precondition(lambda self: len(self.evaluations) < 2)
    @rule()
    def begin_evaluation(self):
        evaluation = atomic(self.folder / "samples.csv")
        self.evaluations.append((evaluation, evaluation.__enter__()))

    @precondition(lambda self: self.evaluations)
    @rule()
    def end_evaluation(self):
        evaluation, part = self.evaluations.pop()
        part.write_text("samples", "utf-8")
        evaluation.__exit__(None, None, None)
        assert (self.folder / "samples.csv").read_text("utf-8") == "samples"

    @rule(failure=st.sampled_from(FAILURES), moment=st.integers(0, 30))
    def fail(self, failure, moment):
        images = self.disk.images
        image = images[min(moment, len(images) - 1)][failure]
        is_complete = moment >= len(images) - 1
        while self.evaluations:
            self.evaluations.pop()[0].__exit__(None, None, None)
        self.disk.close()
        self.number += 1
        folder = write_image(image, self.root / str(self.number))
        step, value = found(folder)
        allowed = [(self.step, self.value), *([] if is_complete else [self.before])]
        assert (step, value) in allowed
        self.step, self.value = step, value
        self.use(folder)
        assert {p.name for p in folder.iterdir()} <= {"checkpoints", "metrics.json", "samples.csv"}

    @invariant()
    def a_reader_finds_the_newest(self):
        assert found(self.folder) == (self.step, self.value)

    @invariant()
    def the_temporary_files_of_evaluations_are_kept(self):
        assert all(part.exists() for _, part in self.evaluations)


def found(folder: Path) -> tuple:
    """(step of the newest checkpoint or 0, contents of metrics.json)."""
    state, file = restored(folder / "checkpoints"), folder / "metrics.json"
    metrics = json.loads(file.read_text("utf-8")) if file.exists() else None
    return int(state.step) if state else 0, metrics


Failures.TestCase.settings = settings(
    max_examples=25, stateful_step_count=12, deadline=None, derandomize=True,
    suppress_health_check=list(HealthCheck))  # fmt: skip
TestFailures = Failures.TestCase


def test_a_failure_at_any_moment_of_a_save_leaves_the_old_or_the_new_checkpoint(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    disk = Disk(folder)
    with disk.recording():
        saved = checkpoints.open_checkpoints(folder / "checkpoints", keep=1)
        checkpoints.save(saved, state_of(3))
    with disk.recording():
        checkpoints.save(saved, state_of(4))
    disk.close()
    steps = {failure: [] for failure in FAILURES}
    for moment, images in enumerate(disk.images):
        for failure, image in images.items():
            copy = write_image(image, tmp_path / f"{moment} {failure}")
            steps[failure].append(found(copy)[0])
    for each in steps.values():
        assert each == sorted(each) and each[0] == 3 and each[-1] == 4
    # after a power failure, a new name appears only after it is synced
    assert steps["power"].index(4) > steps["kill"].index(4)


def test_a_failure_at_any_moment_of_a_write_leaves_the_old_or_the_new_file(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    write_json(folder / "metrics.json", "old")
    disk = Disk(folder)
    with disk.recording():
        write_json(folder / "metrics.json", "new")
    disk.close()
    for failure in FAILURES:
        values = [json.loads(images[failure]["metrics.json"]) for images in disk.images]
        assert values == sorted(values, reverse=True) and set(values) == {"old", "new"}


def test_a_new_run_folder_is_on_the_disk_with_its_config(tmp_path):
    disk, path, config = Disk(tmp_path), str(tmp_path / "runs" / "a"), default_config()
    with disk.recording(), run_folder.open_to_train(path, config, data.build(config.data)):
        pass
    disk.close()
    [written] = disk.images[-1]["power"]["runs"]["a"].values()
    assert json.loads(written)["train"] == config.train.to_dict()
