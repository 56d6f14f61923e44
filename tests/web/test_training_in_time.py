"""Check the slider of the training in a report, and the page during the training."""

import re
import shutil
import time

import numpy as np
import pytest

import tiny_diffusion_jax as td
from tiny_diffusion_jax.reports import progress_page
from tiny_diffusion_jax.reports.progress_page import ProgressPage, seconds_left
from tiny_diffusion_jax.run import snapshots
from tiny_diffusion_jax.run.snapshots import read_snapshots


def choose(page, position: int) -> None:
    page.fill("[data-do=training]", str(position))


@pytest.mark.parametrize("size", ["wide", "phone"])
def test_the_slider_moves_through_the_training(opened, moons, size):
    tab = opened(moons / "report.html", size=size)
    page, pictures = tab.page, []
    for position in range(5):
        choose(page, position)
        pictures.append(tab.pixels())
    assert len(set(pictures)) == 5 and not tab.too_wide()
    assert page.inner_text("[data-show=training]") == "40"
    choose(page, 0)
    assert page.inner_text("[data-show=training]") == "0"
    assert "samples at step 0" in page.inner_text(".legend")
    choose(page, 4)
    assert tab.pixels() == pictures[4] and "samples at" not in page.inner_text(".legend")
    page.focus("[data-do=training]")
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("[data-show=training]") == "30" and tab.pixels() == pictures[3]


def test_the_points_are_those_of_the_snapshot(opened, moons):
    page = opened(moons / "report.html").page
    stored = read_snapshots(moons)[1].arrays
    choose(page, 1)
    shown = lambda time: np.reshape(page.evaluate("""time => {
        const xy = new Float32Array(128);
        players[0].process.positions(0, time, xy); return [...xy]; }""", time), (64, 2))
    for at, time_ in ((-1, 1), (0, 0)):
        points = stored["trajectory"][at, 0]
        np.testing.assert_allclose(shown(time_), points, atol=1e-4 * np.ptp(points))
    # The noise of the readout is the noise of the points, also between the moments of the file.
    t = page.evaluate("players[0].process.level(0.37).t * players[0].reverse.levels.T")
    frame = np.interp(-t, -stored["levels"], np.arange(len(stored["levels"])))
    low, share = int(frame), frame % 1
    before, after = stored["trajectory"][low : low + 2, 0]
    expected = (1 - share) * before + share * after
    np.testing.assert_allclose(shown(0.37), expected, atol=1e-2 * np.ptp(expected))


def test_the_loss_chart_shows_the_step(opened, moons):
    page = opened(moons / "report.html").page
    line = lambda: float(page.get_attribute("#loss .mark", "x1"))
    ticks = {text.text_content(): float(text.get_attribute("x"))
             for text in page.locator("#loss .chart:first-child text.x").all()}  # fmt: skip
    for position, step in ((1, "10"), (2, "20"), (3, "30")):
        choose(page, position)
        assert line() == pytest.approx(ticks[step], abs=0.5)
    choose(page, 0)  # before the first row
    assert line() == pytest.approx(ticks["10"], abs=0.5)


def test_a_run_without_snapshots_has_no_slider(opened, moons, tmp_path):
    text = (moons / "report.html").read_text("utf-8")
    (tmp_path / "a.html").write_text(re.sub(r'<label class="time">Training.*?</label>', "",
                                            text, flags=re.DOTALL), "utf-8")  # fmt: skip
    page = opened(tmp_path / "a.html").page
    assert page.locator("[data-do=training]").count() == 0
    page.fill("[data-do=time]", "300")


# -- the page during the training ---------------------------------------------------------------


@pytest.fixture(scope="module")
def pages(finished, tmp_path_factory):
    """A page of each state, at step 20 of 40."""
    folder = shutil.copytree(finished[0], tmp_path_factory.mktemp("progress") / "run")
    experiment, _ = td.load(folder)
    page = ProgressPage(experiment, folder, "python main.py --workdir=x")
    for state in ProgressPage.STATES:
        page.write(20, state)
        shutil.copy(page.file, folder / f"{state}.html")
    return folder


@pytest.mark.parametrize("size", ["wide", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_shows_the_training(opened, pages, size, scheme):
    tab = opened(pages / "training.html", size=size, scheme=scheme)
    page = tab.page
    assert "step 20 of 40, about" in page.inner_text(".lead") and not tab.too_wide()
    labels = page.eval_on_selector_all("[data-picture]", "all => all.map((c) => c.ariaLabel)")
    assert labels == ["Samples at step 20", "Samples at step 10", "Samples at step 0",
                      "Real points"]  # fmt: skip
    pictures = page.eval_on_selector_all("[data-picture]", "all => all.map((c) => c.toDataURL())")
    assert len(set(pictures)) == 4
    assert page.evaluate("data.loss.step") == [10, 20]
    assert page.locator("#stale").is_hidden()


def test_the_page_reloads_itself_until_the_program_ends(pages):
    for state, reloads in (("training", True), ("measuring", True), ("stopped", False)):
        text = (pages / f"{state}.html").read_text("utf-8")
        assert ('http-equiv="refresh" content="10"' in text) == reloads
    assert "before the report was written" in (pages / "stopped.html").read_text("utf-8")


def test_a_new_version_appears_after_the_reload(opened, pages, tmp_path):
    text = (pages / "training.html").read_text("utf-8")
    text = text.replace('http-equiv="refresh" content="10"', 'http-equiv="refresh" content="1"')
    (tmp_path / "report.html").write_text(text, "utf-8")
    page = opened(tmp_path / "report.html").page
    (tmp_path / "report.html").write_text(text.replace("step 20 of 40", "step 30 of 40"), "utf-8")
    page.wait_for_selector("text=step 30 of 40", timeout=10_000)


def test_a_page_without_news_says_so(opened, pages, tmp_path):
    text = (pages / "training.html").read_text("utf-8")
    old = int(1000 * (time.time() - 600))
    text = re.sub(r'data-progress="\d+"', f'data-progress="{old}"', text)
    (tmp_path / "a.html").write_text(text, "utf-8")
    assert opened(tmp_path / "a.html").page.locator("#stale").is_visible()


def test_each_snapshot_is_read_once(moons, tmp_path, monkeypatch):
    """A new version of the page reads the new snapshots only."""
    folder, read = shutil.copytree(moons, tmp_path / "run"), []
    later = (folder / "snapshots" / "30.npz").rename(tmp_path / "30.npz")
    page, load = ProgressPage(td.load(folder)[0], folder), np.load
    monkeypatch.setattr(snapshots.np, "load", lambda file: read.append(file.stem) or load(file))
    first = page.pictures(20)
    assert read == ["0", "10", "20"] and page.pictures(20) == first
    later.rename(folder / "snapshots" / "30.npz")
    assert [each["step"] for each in page.pictures(40)["taken"]] == [0, 10, 20, 30]
    assert read == ["0", "10", "20", "30"]


def test_a_finished_report_is_not_replaced(moons, tmp_path):
    folder = shutil.copytree(moons, tmp_path / "run")
    before = (folder / "report.html").read_bytes()
    page = ProgressPage(td.load(folder)[0], folder)
    page.stop()
    assert (folder / "report.html").read_bytes() == before
    page.write(20, "training")
    page.stop()
    assert "before the report was written" in (folder / "report.html").read_text("utf-8")


def test_an_error_of_the_page_is_a_warning(moons, tmp_path, caplog, monkeypatch):
    folder = shutil.copytree(moons, tmp_path / "run")
    page = ProgressPage(td.load(folder)[0], folder)
    monkeypatch.setattr(progress_page, "write_page", lambda *_: (_ for _ in ()).throw(
        OSError(28, "No space left on device")))  # fmt: skip
    caplog.clear()
    page.write(20, "training")
    page.write(30, "training")
    assert [record.message.partition(":")[0] for record in caplog.records] == ["warning"]


def test_the_time_left_follows_the_last_rows():
    rows = [{"step": 100 * (i + 1), "steps_per_second": 1.0 if i < 5 else 50.0} for i in range(20)]
    assert seconds_left(rows, 3000) == pytest.approx(1000 / 50)
