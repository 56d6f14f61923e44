"""Check report.html without a browser: one file, escaped names, panels that fit the data."""

import json
import re
import shutil

import numpy as np
import pytest
from command_line import run

from tiny_diffusion_jax.diffusion.schedules import make_schedule
from tiny_diffusion_jax.reports import words
from tiny_diffusion_jax.web.render import render, write_page
from tiny_diffusion_jax.web.training import training_data
from tiny_diffusion_jax.web.trajectories import (
    MOST_FRAMES,
    Marks,
    pack_noising,
    pack_trajectories,
)

EVIL = "</script><script>alert(1)</script>"


def data_of(text: str) -> dict:
    """Data of the page for its scripts."""
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


def titles(text: str) -> list[str]:
    return re.findall(r'<h2 id="(\w+)-title">', text)


def is_self_contained(text: str) -> bool:
    """Whether the file has no external links and its scripts send no requests."""
    markup = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    outside = re.findall(r"<link|<iframe|\b(?:src|href)\s*=", markup) + re.findall(
        r"<script[^>]*src", text)  # fmt: skip
    asks = re.findall(r"\bfetch\(|XMLHttpRequest|WebSocket|@import|https?://(?!www\.w3\.org/2000/svg)",
                      text)  # fmt: skip
    return not outside and not asks and "default-src 'none'" in text


def test_the_page_of_a_density(moons):
    text = (moons / "report.html").read_text("utf-8")
    assert is_self_contained(text) and len(text) < 5e6
    assert titles(text)[:3] == ["player", "numbers", "loss"] and "files" in titles(text)
    stored = json.loads((moons / "metrics.json").read_text("utf-8"))
    for metric in stored["metrics"].values():  # the page shows the numbers of metrics.json
        assert f'data-name="samples">{metric["value"]:.3g}<' in text
    # command and config of the run
    assert f"--workdir={moons}" in text and "&#34;train&#34;: {" in text
    data = data_of(text)
    rows = [json.loads(line) for line in (moons / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert data["loss"]["loss"] == [row["loss"] for row in rows]
    assert data["samples"]["points"]["shape"] == [2, 64, 2]


def test_sampling_keeps_the_numbers_of_the_run(moons, tmp_path):
    folder = shutil.copytree(moons, tmp_path / "run")
    measured = (folder / "metrics.json").read_text("utf-8")
    result = run(f"--workdir={folder}", "--mode=sample", "--config.sample.seed=8")
    assert result.code == 0 and result.err.endswith(f"; open {folder / 'report.html'}\n")
    text = (folder / "report.html").read_text("utf-8")
    assert "were not measured. The numbers below are of earlier samples of this run." in text
    for metric in json.loads(measured)["metrics"].values():
        assert f'data-name="samples">{metric["value"]:.3g}<' in text
    assert (folder / "metrics.json").read_text("utf-8") == measured


def test_a_page_of_samples_alone_has_no_numbers(moons, tmp_path):
    folder = shutil.copytree(moons, tmp_path / "run")
    (folder / "metrics.json").unlink()
    result = run(f"--workdir={folder}", "--mode=sample", "--config.sample.num_points=4100")
    assert result.code == 0, result.err
    text = (folder / "report.html").read_text("utf-8")
    assert "Shown are 4,000 of 4,100 points." in text
    assert "numbers" not in titles(text) and "were not measured" in text


def test_what_a_user_named_is_text(tmp_path):
    reverse = {"sizes": [1, 1], "positions": {"shape": [2, 1, 2]}, "blocks": None, "dim": 3}
    drawn = {"num_sets": 2, "num_points": 1, "num_steps": 1}
    data = {"player": {"reverse": reverse, "drawn": drawn, "num_steps": 1, "columns": [EVIL, EVIL],
                       "forward_of": EVIL, "start": EVIL, "training": None},
            "samples": {"kept": [1, 1], "drawn": [1, 1]}, "loss": {"stages": []}}  # fmt: skip
    config = {"model": {"name": EVIL}, "train": {"steps": 1},
              "sample": {"sampler": EVIL, "num_steps": 1}}  # fmt: skip
    numbers = [{"name": EVIL, "value": "1", "floor": "", "grade": EVIL, "text": EVIL,
                "flagged": True}]  # fmt: skip
    write_page(tmp_path / "a.html", render(
        "report.html", title=EVIL, headline=EVIL, live="", notices=[EVIL], numbers=numbers,
        is_measured=True,
        data=data, command=EVIL, config=config, config_json=EVIL, version="0", num_given=0,
        dataset={"title": EVIL, "source": EVIL, "details": EVIL}, duration=words.duration,
        description={"parameters": 1, "device": EVIL, "seconds": {EVIL: 1.0}}))  # fmt: skip
    text = (tmp_path / "a.html").read_text("utf-8")
    assert EVIL not in text and "<script>alert" not in text
    assert data_of(text) == data and text.count("&lt;/script&gt;") >= 8
    # a missing value is an error, not an empty text
    with pytest.raises(Exception, match="undefined"):
        render("report.html", title="")


def test_a_name_of_bytes_that_are_no_text_is_written(tmp_path):
    """Python represents undecodable bytes of file names as lone surrogates."""
    html = render("draw.html", title="caf\udce9 \u05e9", version="0", program="x",
                  training=training_data(with_shapes=False))  # fmt: skip
    write_page(tmp_path / "a.html", html)
    assert "<title>caf\\udce9 \u05e9</title>" in (tmp_path / "a.html").read_text(encoding="utf-8")


# -- packed data --------------------------------------------------------------------------------


def test_trajectories_keep_their_ends_and_their_marks():
    schedule, grid = make_schedule("karras", 100, sigma_max=12.0), np.arange(100, -1, -1)
    trajectories = np.random.default_rng(0).normal(size=(101, 3, 5, 3)).astype(np.float32)
    trajectories[:, 1, 2:] = np.nan  # the second set has two points
    is_stray = np.zeros((9, 5), bool)
    is_stray[1, [1, 4]] = True  # the fifth point is padding
    rejected = np.arange(9) == 2
    marks = Marks(["a", "b", "c", "d"], np.arange(9), ["x"], "label", rejected, is_stray, 2)
    packed = pack_trajectories(trajectories, grid, schedule, marks)
    frames = packed["frames"]
    assert frames <= MOST_FRAMES and packed["positions"]["shape"] == [3, 5, 2 * frames]
    assert packed["sizes"] == [5, 2, 5] and packed["dim"] == 3
    assert packed["levels"]["t"][0] == 100 and packed["levels"]["t"][-1] == 0
    assert packed["levels"]["sigma"][0] == pytest.approx(12) and packed["levels"]["sigma"][-1] == 0
    assert packed["marks"] == {"names": ["a", "b", "c"], "member": [0, 1, 2], "members": ["x"],
                               "kind": "label", "rejected": [False, False, True],
                               "stray": [[], [1], []], "given": 2}  # fmt: skip
    assert len(packed["view"]["half"]) == frames and np.isfinite(packed["view"]["half"]).all()
    json.dumps(packed, allow_nan=False)


def test_large_trajectories_fit_in_a_page():
    schedule, grid = make_schedule("karras", 60), np.arange(60, -1, -1)
    one = np.zeros((61, 1, 12_000, 2), np.float32)
    packed = pack_trajectories(one, grid, schedule)
    assert 10_000 <= packed["positions"]["shape"][1] < packed["num_points"] == 12_000
    assert len(packed["positions"]["data"]) < 3.4e6
    several = np.zeros((61, 5, 4_000, 2), np.float32)
    assert pack_trajectories(several, grid, schedule)["positions"]["shape"][:2] == [2, 4_000]


def test_noising_of_smaller_sets():
    x_0 = np.full((1, 4, 2), np.nan)
    x_0[0, :3] = 1.0
    packed = pack_noising(x_0, np.ones((1, 4, 2)), np.zeros(2), 2.0)
    assert packed["sizes"] == [3] and packed["scale"] == [2.0, 2.0]
    assert packed["points"]["shape"] == [1, 4, 4]
