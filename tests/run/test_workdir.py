"""Check that files are written atomically, and that a run folder has one run and one writer."""

import json
import multiprocessing
import time

import numpy as np
import pytest

from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.dataset import Dataset
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.files import PART, atomic, write_json
from tiny_diffusion_jax.run import run_folder
from tiny_diffusion_jax.run.train_log import read_rows, rewind_rows

DATA = Dataset(draw=None, title="moons", shift=np.array([1.0, 2.0]), scale=3.0)


def open_new(path, config=None, dataset=DATA):
    return run_folder.open_to_train(str(path), config or default_config(), dataset)


def refused(path, config=None, dataset=DATA) -> str:
    with pytest.raises(UserError) as error, open_new(path, config, dataset):
        pass
    return str(error.value)


def test_each_coordinate_may_have_a_scale_of_its_own(tmp_path):
    own = DATA.replace(scale=np.array([3.0, 0.5]))
    with open_new(tmp_path, dataset=own):
        stored = json.loads((tmp_path / "config.json").read_text("utf-8"))
        assert stored["dataset"]["scale"] == [3.0, 0.5]
    near = own.replace(scale=np.array([3.00001, 0.5]))
    with open_new(tmp_path, dataset=near):
        pass
    other = own.replace(scale=np.array([3.0, 0.6]))
    assert "dataset.scale: [3.0, 0.5] -> [3.0, 0.6]" in refused(tmp_path, dataset=other)


def changed(**fields):
    """The default config with changed fields; train_steps=5 sets train.steps=5."""
    config = default_config()
    for field, value in fields.items():
        part, _, name = field.partition("_")
        (config[part] if name else config)[name or part] = value
    return config


def test_a_file_appears_whole(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(ZeroDivisionError), atomic(path) as temporary:
        temporary.write_text("half", "utf-8")
        assert json.loads(path.read_text("utf-8")) == {"old": 1}
        1 / 0  # noqa: B018
    assert json.loads(path.read_text("utf-8")) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    with atomic(path) as temporary:
        assert temporary.suffix == ".json"  # writers choose a format by this suffix
        temporary.write_text("new", "utf-8")
    assert path.read_text("utf-8") == "new" and path.stat().st_mode & 0o777 == 0o644
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_json_holds_no_nan(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not any(tmp_path.iterdir())


def test_rows_survive_damage(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert read_rows(path) == []
    rows = [{"step": step, "loss": 1.0} for step in (10, 20, 30, 40)]
    lines = [json.dumps(row).encode() for row in rows]
    path.write_bytes(b"\n".join([*lines[:2], b"\xff\x00{", b"[1]", b'"step"', *lines[2:], b'{"st']))
    assert read_rows(path) == rows[:2] + rows[2:]
    rewind_rows(path, 20)
    assert path.read_bytes() == b"".join(line + b"\n" for line in lines[:2])
    rewind_rows(path, 0)
    assert path.read_bytes() == b""


def test_a_new_run_says_what_it_is(tmp_path):
    with open_new(tmp_path / "runs" / "a") as folder:
        stored = json.loads((folder / "config.json").read_text("utf-8"))
    assert stored.pop("dataset") == {
        "title": "moons", "source": "analytic", "shift": [1.0, 2.0], "scale": 3.0,
        "num_sources": 0,
    }  # fmt: skip
    assert stored == default_config().to_dict()
    assert [p.name for p in folder.iterdir()] == ["config.json"]


def test_the_same_run_opens_again_whatever_does_not_change_the_model(tmp_path):
    with open_new(tmp_path):
        pass
    for part in ({"sample_num_points": 7}, {"evaluate_frames": 0}, {"log_tensorboard": True},
                 {"train_keep": 9}, {"train_checkpoint_every": 1}, {"data_cache_dir": "x"},
                 {"data_source": "openml"}, {"name": "other"}):
        with open_new(tmp_path, changed(**part)):
            pass
        assert run_folder.open_to_read(str(tmp_path), changed(**part)) == tmp_path


@pytest.mark.parametrize("part, line", [
    ({"seed": 1}, "It differs in seed: 0 -> 1"),
    ({"train_block": 5}, "It differs in train.block: 200 -> 5"),
    ({"data_digit": 4, "model_scale": 2.0}, "data.digit: 0 -> 4, model.scale: 100.0 -> 2.0"),
])  # fmt: skip
def test_another_config_is_refused(tmp_path, part, line):
    with open_new(tmp_path):
        pass
    before = (tmp_path / "config.json").read_bytes()
    assert f"{line}. Use another --workdir" in refused(tmp_path, changed(**part))
    with pytest.raises(UserError, match="It differs in"):
        run_folder.open_to_read(str(tmp_path), changed(**part))
    assert (tmp_path / "config.json").read_bytes() == before


def test_other_data_is_refused_but_not_another_machines_rounding(tmp_path):
    with open_new(tmp_path):
        pass
    for change in ({"source": "openml"}, {"title": "MNIST 3"}, {"scale": 3.01},
                   {"shift": np.array([1.0, 2.01])}):
        [name] = change
        line = refused(tmp_path, dataset=DATA.replace(**change))
        assert f"It differs in dataset.{name}: " in line
    with open_new(tmp_path, dataset=DATA.replace(scale=3.00001)):
        pass


def test_files_of_an_unknown_run_are_not_written_over(tmp_path):
    (tmp_path / "notes.txt").write_text("mine", "utf-8")
    (tmp_path / "samples.npy").write_text("another's", "utf-8")
    assert "config.json that says what made its samples.npy" in refused(tmp_path)
    (tmp_path / "samples.npy").unlink()
    with open_new(tmp_path):
        pass  # a folder with unrelated files counts as empty
    assert (tmp_path / "notes.txt").read_text("utf-8") == "mine"


def test_what_a_crash_left_half_written_is_removed(tmp_path):
    with open_new(tmp_path):
        pass
    (tmp_path / f"{PART}x.png").write_text("half", "utf-8")
    assert run_folder.open_to_read(str(tmp_path), default_config())
    assert (tmp_path / f"{PART}x.png").exists()  # only training removes temporary files
    with open_new(tmp_path):
        assert [p.name for p in tmp_path.iterdir()] == ["config.json"]


def write_slowly(path, ready, go):
    with atomic(path) as part:
        part.write_text("half", "utf-8")
        ready.set()
        assert go.wait(60)
        part.write_text("whole", "utf-8")


@pytest.mark.parametrize("is_killed", [False, True])
def test_training_keeps_the_temporary_file_of_a_process_that_is_alive(is_killed, tmp_path):
    with open_new(tmp_path):
        pass
    context = multiprocessing.get_context("spawn")
    ready, go, path = context.Event(), context.Event(), tmp_path / "metrics.json"
    other = context.Process(target=write_slowly, args=(path, ready, go), daemon=True)
    other.start()
    assert ready.wait(60)
    if is_killed:
        other.kill()
        other.join()
    with open_new(tmp_path):
        pass
    if not is_killed:  # set() would wait for the killed process to wake up
        go.set()
    other.join()
    assert {p.name for p in tmp_path.iterdir()} == {"config.json"} | (
        set() if is_killed else {"metrics.json"})
    assert is_killed or path.read_text("utf-8") == "whole"


def hold(path, ready):
    with open_new(path):
        ready.set()
        time.sleep(60)


def test_one_process_trains_at_a_time(tmp_path):
    with open_new(tmp_path):
        assert "another process is training in it" in refused(tmp_path)
        assert run_folder.open_to_read(str(tmp_path), default_config()) == tmp_path
    with pytest.raises(ZeroDivisionError), open_new(tmp_path):
        1 / 0  # noqa: B018
    with open_new(tmp_path):
        pass  # the lock is released, also after an error


def test_a_killed_process_holds_no_lock(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    other = context.Process(target=hold, args=(tmp_path, ready), daemon=True)
    other.start()
    assert ready.wait(60)
    assert "another process is training in it" in refused(tmp_path)
    other.kill()
    other.join()
    with open_new(tmp_path):
        pass
