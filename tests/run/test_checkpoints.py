"""Check that damaged checkpoints are detected and that failed writes lose no checkpoint."""

import contextlib
import errno
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import MOONS, ROOT, run
from run_files import arrays, losses, restored, same, state_of

from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.run import checkpoints

DAMAGES = {
    "truncated": lambda data: data[: len(data) // 2],
    "emptied": lambda data: b"",
    "zeroed": lambda data: bytes(len(data)),
    "first bit": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "a bit": lambda data: data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 16])
    + data[len(data) // 2 + 1 :],
    "deleted": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    saved = checkpoints.open_checkpoints(folder, keep=2)
    for step in (1, 2, 3):
        checkpoints.save(saved, state_of(step))
    return folder


@pytest.fixture
def two(made, tmp_path):
    """Checkpoints of steps 2 and 3."""
    return shutil.copytree(made, tmp_path / "checkpoints")


def files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def test_what_is_saved_is_restored_and_the_last_are_kept(two):
    saved = checkpoints.open_checkpoints(two, keep=2)
    checkpoints.save(saved, state_of(3))  # saving a step again is no error and changes nothing
    assert saved.steps() == [2, 3] and {p.name for p in two.iterdir()} == {"2", "3"}
    state = restored(two)
    assert state.step == 3
    assert same(saved.load(3), checkpoints.named_leaves(state))


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damage_to_any_file_is_noticed_and_the_one_before_is_used(damage, two, caplog):
    caplog.set_level(logging.WARNING, "tiny_diffusion_jax")
    assert [file.name for file in files(two / "3")] == ["arrays.npz", "files.txt"]
    for file in files(two / "3"):
        data = file.read_bytes()
        if damage is None:
            file.unlink()
        elif not data:
            continue
        else:
            file.write_bytes(damage(data))
        caplog.clear()
        assert restored(two).step == 2, file
        [line] = caplog.messages
        assert line == (f"warning: checkpoint {two / '3'}: is damaged; the one before it, of step "
                        "2, is used")  # fmt: skip
        file.write_bytes(data)
    caplog.clear()
    assert restored(two).step == 3 and not caplog.messages


def test_a_file_that_does_not_belong_is_noticed_and_hidden_ones_are_not(two):
    (two / "3" / ".DS_Store").write_text("what a file manager leaves", "utf-8")
    assert restored(two).step == 3
    (two / "3" / "more").write_text("", "utf-8")
    assert restored(two).step == 2


def test_a_damaged_one_is_set_aside_where_its_step_is_written_again(two, caplog):
    for _ in range(2):  # the second time, a damaged checkpoint has been set aside already
        (two / "3" / "arrays.npz").write_text("", "utf-8")
        saved = checkpoints.open_checkpoints(two, keep=2)
        assert checkpoints.restore_latest(saved, state_of(1)).step == 2
        assert "is damaged and now called 3.damaged; the one before it" in caplog.messages[-1]
        assert {p.name for p in two.iterdir()} == {"2", "3.damaged"}
        checkpoints.save(saved, state_of(3))
        assert restored(two).step == 3
    assert {p.name for p in two.iterdir()} == {"2", "3", "3.damaged"}


def test_if_none_is_whole_all_are_named(two):
    for step in "23":
        (two / step / "arrays.npz").unlink()
    for keep in (None, 2):
        with pytest.raises(UserError) as error:
            restored(two, keep)
        assert f"checkpoint {two / '3'}, {two / '2'}: must be one that this version can" in str(
            error.value)
    # nothing is renamed, so that the user can repair the files
    assert {p.name for p in two.iterdir()} == {"2", "3"}
    assert restored(two.parent / "none") is None


def test_a_reader_during_a_save_finds_the_new_checkpoint(two, monkeypatch, caplog):
    """Another process saves with keep = 1 and removes the checkpoint that the reader has listed."""
    saved, load = checkpoints.open_checkpoints(two, keep=1), checkpoints.Checkpoints.load
    steps = iter([4, 5])

    def load_after_a_save(self, step):
        if new := next(steps, None):
            checkpoints.save(saved, state_of(new))
        return load(self, step)

    monkeypatch.setattr(checkpoints.Checkpoints, "load", load_after_a_save)
    assert restored(two).step == 5 and not caplog.messages


# ---------------------------------------------------------------- writes that fail


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("place, name", [
    (Path, "write_bytes"), (Path, "replace"), (np, "savez"), (os, "fsync")],
    ids=["the list", "the name", "the arrays", "the sync"])  # fmt: skip
def test_no_space_left(place, name, two, monkeypatch):
    """The earlier checkpoints remain, whichever operation the disk refuses."""
    saved = checkpoints.open_checkpoints(two, keep=2)
    with monkeypatch.context() as patch, pytest.raises(checkpoints.SaveFailed, match="disk full"):
        patch.setattr(place, name, full)
        checkpoints.save(saved, state_of(4))
    assert restored(two).step == 3 and {p.name for p in two.iterdir()} == {"2", "3"}
    checkpoints.save(checkpoints.open_checkpoints(two, keep=2), state_of(5))
    assert restored(two).step == 5


@contextlib.contextmanager
def small_disk(folder: Path, size: str):
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here: that takes rights of root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_run_on_a_full_disk_goes_on_when_there_is_room(finished, tmp_path, only_training):
    with small_disk(tmp_path / "disk", "1m") as disk:
        here = disk / "run"
        shutil.copytree(finished[0] / "checkpoints" / "20", here / "checkpoints" / "20")
        for name in ("config.json", "metrics.jsonl"):
            shutil.copy(finished[0] / name, here)
        with contextlib.suppress(OSError), (disk / "others").open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        with (disk / "others").open("r+b") as file:
            file.truncate(file.seek(0, os.SEEK_END) - 3 * 4096)  # some space, but not enough
        result = run(*MOONS, f"--workdir={here}")
        assert result.code == 1, result.err
        assert result.err.splitlines()[-1].startswith("error: the checkpoint of step 40 cannot be")
        assert "disk full" in result.err and "Traceback" not in result.err
        assert {p.name for p in (here / "checkpoints").iterdir()} == {"20"}
        (disk / "others").unlink()
        assert run(*MOONS, f"--workdir={here}").code == 0
        assert same(arrays(here, 40), arrays(finished[0], 40))
        assert losses(here) == losses(finished[0])


# ---------------------------------------------------------------- kills during a write

KILLED = """
import os, signal, sys, time
from pathlib import Path
from test_checkpoints import checkpoints, state_of

def kill_before(last):
    # Kills this process before event number `last` among those that change files.
    seen = []
    def count(event, arguments):
        if event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir") or (
                event == "open" and arguments[2] & os.O_CREAT):
            seen.append(event)
            if len(seen) == last:
                os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(60)
    sys.addaudithook(count)

for folder in map(Path, sys.argv[1:]):
    if not os.fork():  # nothing has begun a thread yet
        saved = checkpoints.open_checkpoints(folder, keep=1)
        kill_before(int(folder.name))
        checkpoints.save(saved, state_of(4))
        os._exit(0)
    print(os.WTERMSIG(os.wait()[1]))
"""


def test_killed_at_any_moment_of_a_write(two, tmp_path):
    """Kill before each file is created, and during the removal of older checkpoints."""
    shutil.rmtree(two / "2")
    moments = [1, 2, 3, 4, 5, 6, 7, 8, 1000]
    folders = [shutil.copytree(two, tmp_path / str(moment)) for moment in moments]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "run")])
    result = subprocess.run(
        [sys.executable, "-c", KILLED, *map(str, folders)], capture_output=True, encoding="utf-8",
        env=os.environ | {"PYTHONPATH": paths})  # fmt: skip
    assert result.stdout.split() == [str(int(signal.SIGKILL))] * (len(moments) - 1) + ["0"], result
    left = [sorted(path.name for path in folder.iterdir()) for folder in folders]
    assert left[0] == ["3"] and [".part-3", "4"] in left and left[-1] == ["4"]
    assert any(name.startswith(".part-4") for name in left[1])
    for folder in folders:
        state = restored(folder)  # a reader does not remove files that a writer may be using
        assert state.step == (4 if (folder / "4").exists() else 3)
        saved = checkpoints.open_checkpoints(folder, keep=1)
        assert {path.name for path in folder.iterdir()} == set(map(str, saved.steps()))
