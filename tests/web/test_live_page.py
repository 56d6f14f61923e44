"""Check the live page of the released models: the committed file is up to date and works."""

import base64
import copy
import json
import re

import numpy as np
import pytest
from command_line import ROOT, run
from javascript import unpack

from tiny_diffusion_jax.cli.flags import parse
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.web.live import live_page
from tiny_diffusion_jax.web.render import write_page

PAGE = ROOT / "docs" / "live.html"
MODEL = re.compile(r'<script type="application/json" class="model">(.*?)</script>', re.DOTALL)
TRAINING = re.compile(r'<script type="application/json" id="train-data">(.*?)</script>')
DONE = "document.body.dataset.state === 'done'"


def models(text: str) -> list[dict]:
    return [json.loads(found) for found in MODEL.findall(text)]


# ---------------------------------------------------------------- what is written


def test_the_committed_page_is_what_the_command_writes(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    done = run("--mode=live")
    assert done.code == 0, done
    files = PAGE, tmp_path / "runs/live/live.html"
    committed, written = (file.read_text("utf-8") for file in files)
    rest = [TRAINING.sub("", MODEL.sub("", text)) for text in (committed, written)]
    assert rest[0] == rest[1], "main.py --mode=live writes another"
    trained = [json.loads(TRAINING.search(text)[1]) for text in (committed, written)]
    assert trained[0]["options"] == trained[1]["options"]
    for old, new in zip(*(data["shapes"] for data in trained), strict=True):
        points = [unpack(shape["points"]) for shape in (old, new)]  # as above
        np.testing.assert_allclose(*points, atol=2e-4)
    assert len(committed) < 5e6
    for old, new in zip(models(committed), models(written), strict=True):
        for name in ("levels", "latent_levels"):  # machines differ in the last bit
            packed = [model.pop(name) for model in (old, new)]
            if packed == [None, None]:  # a model without latents
                continue
            tables = [base64.b64decode(table["data"]) for table in packed]
            np.testing.assert_allclose(*(np.frombuffer(t, "<f4") for t in tables), rtol=1e-5)
        tones = [model.pop("density") for model in (old, new)]
        if tones[1]:
            tones = [np.frombuffer(base64.b64decode(each["data"]), np.uint8) for each in tones]
            np.testing.assert_allclose(*np.array(tones, float), atol=8)
        else:
            assert tones[0] is None
        assert old == new


def test_what_may_be_asked_of_the_mode():
    everything = parse(["main.py", "--mode=live"])
    assert (everything.config, everything.workdir) == (None, "runs/live")
    one = parse(["main.py", "--mode=live", "--pretrained=mnist"])
    assert (one.config.model.name, one.workdir) == ("causal", "runs/pretrained_mnist")
    with pytest.raises(UserError, match="--config: must be given"):
        parse(["main.py", "--mode=live", "--config.sample.num_steps=10"])


def test_titles_and_labels_are_text():
    plain = models(PAGE.read_text("utf-8"))[1]
    evil = copy.deepcopy(plain)
    evil["title"] = evil["name"] = "</script><script>alert(1)</script>"
    evil["labels"] = [{"name": "<img src=x onerror=alert(1)>", "share": 1.0}]
    count = lambda model: len(re.findall("<script|<img", live_page([model])))
    assert count(evil) == count(plain)


# ---------------------------------------------------------------- in the browser


def set_range(page, name: str, value: float) -> None:
    page.eval_on_selector(f"#{name}", """(input, value) => {
      input.value = value;
      input.dispatchEvent(new Event("input", { bubbles: true }));
    }""", value)  # fmt: skip


def number(tab, name: str) -> int:
    return int(tab.page.get_attribute("#board", f"data-{name}"))


def test_points_are_placed_and_completed(opened):
    """Points are placed and completed while the page draws its first set, too.

    A set in view stays, and is completed again with each point. `opened` checks that the page
    sends no network requests.
    """
    tab = opened(PAGE)
    page, box = tab.page, tab.page.locator("#board").bounding_box()
    set_range(page, "steps", 0)
    assert page.is_hidden("#unseen")
    set_range(page, "points", 20)
    assert page.inner_text("#unseen") == "The model was trained with sets of 50 points."
    for count, x in enumerate((0.4, 0.5, 0.6), 1):
        page.mouse.click(box["x"] + x * box["width"], box["y"] + 0.3 * box["height"])
        tab.wait(DONE, 40)
        assert (number(tab, "given"), number(tab, "drawn")) == (count, 20)
        first, given = page.evaluate("[scene.drawn.slice(0, scene.given.length), scene.given]")
        assert first == pytest.approx(given, abs=1e-6)
    pictures = [tab.pixels("#board")]
    page.click("#chips span:text-is('7')")
    for button in ("#complete", "#again"):
        page.click(button)
        tab.wait(DONE, 40)
        assert (number(tab, "given"), number(tab, "drawn")) == (3, 20)
        assert "label 7" in page.inner_text("#status")
        pictures.append(tab.pixels("#board"))
    assert len(set(pictures)) == 3
    page.click("#clear")
    assert (number(tab, "given"), number(tab, "drawn")) == (0, 0)
    page.focus("#board")
    for key in ("Enter", "ArrowLeft", "ArrowUp", "Enter", "Enter", "Backspace"):
        page.keyboard.press(key)
    assert (number(tab, "given"), number(tab, "drawn")) == (2, 0)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "field"


def test_arrow_keys_move_between_tabs(opened):
    """The open tab is the only one in the tab order; each tab shows its panel."""
    page = opened(PAGE).page
    tabs = page.locator("[role=tablist] [role=tab]")
    panels = [page.locator(f"#{tab.get_attribute('aria-controls')}") for tab in tabs.all()]
    page.focus("#tab-sample")
    keys = {"ArrowRight": (1, 2, 0), "ArrowLeft": (2,), "Home": (0,), "End": (2,),
            "Control+ArrowRight": (2,)}  # fmt: skip
    for key, opens in ((key, i) for key, opened_by in keys.items() for i in opened_by):
        page.keyboard.press(key)
        states = [(tab.get_attribute("aria-selected"), tab.get_attribute("tabindex"))
                  for tab in tabs.all()]  # fmt: skip
        assert states == [("true", "0") if i == opens else ("false", "-1") for i in range(3)]
        assert [panel.is_visible() for panel in panels] == [i == opens for i in range(3)]
    assert page.evaluate("document.activeElement.id") == "tab-train"
    assert panels[2].get_attribute("aria-labelledby") == "tab-train"


@pytest.mark.parametrize("size, scheme", [("desktop", "light"), ("phone", "dark")])
def test_density_and_field_are_layers(opened, size, scheme):
    """Show the density of the data, and arrows that follow the slider of the film."""
    tab = opened(PAGE, size=size, scheme=scheme)
    page = tab.page
    assert page.is_hidden("#density") and page.is_visible("#field")  # digits come without data
    page.select_option("#model", "1")
    tab.wait(DONE, 30)
    plain = tab.pixels("#board")
    page.check("#density")
    tab.wait("!scheduled")
    assert tab.pixels("#board") != plain
    page.check("#field")
    tab.wait("scene.field.length > 0 && Number(canvas.dataset.field) === film.frames.length - 1")
    end = page.evaluate("[...scene.field]")
    set_range(page, "film-time", 2)
    tab.wait("canvas.dataset.field === '2'")
    field = page.evaluate("[...scene.field]")
    assert len(field) == 2 * 21**2 and field != end and not tab.too_wide()
    # far from the data, at much noise, arrows point to the middle
    places = np.array(page.evaluate("[...gridPlaces(model.data_mean, model.sigma_data)]"))
    x, arrows = places.reshape(-1, 2), np.reshape(field, (-1, 2))
    far = np.hypot(*x.T) > 2
    cosines = -(x * arrows)[far].sum(1) / (np.hypot(*x[far].T) * np.hypot(*arrows[far].T))
    assert cosines.min() > 0.8


def test_a_point_may_be_placed_before_the_first_points_of_a_set(opened):
    """The set is begun again with the point, by mouse or keyboard, and without a point removed."""
    tab = opened(PAGE)
    set_range(tab.page, "points", 20)
    for change, given in (("place([0.1, 0.1])", 1), ("place([0.3, 0.1], true)", 2), ("undo()", 1)):
        tab.page.evaluate(f"draw(); {change}")  # no message of the worker comes in between
        assert tab.page.evaluate("document.body.dataset.state") == "busy"
        tab.wait(DONE, 40)
        assert (number(tab, "given"), number(tab, "drawn")) == (given, 20)


def test_the_set_follows_a_dragged_point(opened):
    """The set stays in view while a point is dragged, and it is completed again after it."""
    tab = opened(PAGE)
    page, box = tab.page, tab.page.locator("#board").bounding_box()
    at = lambda x, y: (box["x"] + x * box["width"], box["y"] + y * box["height"])
    set_range(page, "points", 20)
    for x in (0.4, 0.6):
        page.mouse.click(*at(x, 0.3))
    page.click("#complete")
    tab.wait(DONE, 40)
    before = page.evaluate("[...scene.drawn]")
    page.mouse.move(*at(0.4, 0.3))
    page.mouse.down()
    for moves in (1, 2):
        page.mouse.move(*at(0.4, 0.3 + 0.2 * moves))
        tab.wait(f"Number(canvas.dataset.previews) >= {moves}", 10)
        assert page.evaluate("scene.drawn.length") == 40 and "hold" in page.inner_text("#status")
    drawn, given = page.evaluate("[[...scene.drawn], [...scene.given]]")
    assert drawn[:4] == given and given[1] < before[1] and drawn[4:] != before[4:]
    page.mouse.up()
    tab.wait(DONE, 40)
    assert number(tab, "drawn") == 20 and "30 steps each" in page.inner_text("#status")


def test_the_crosshair_is_for_the_keyboard(opened):
    tab = opened(PAGE)
    box = tab.page.locator("#board").bounding_box()
    tab.page.mouse.click(box["x"] + 100, box["y"] + 100)
    assert tab.page.evaluate("document.activeElement === canvas && !isAimed()")
    tab.page.keyboard.press("ArrowLeft")
    assert tab.page.evaluate("isAimed()")


def test_a_set_is_played_again(opened):
    tab = opened(PAGE)
    page = tab.page
    tab.wait(DONE, 40)
    end = int(page.get_attribute("#film-time", "max"))
    assert end == page.evaluate("film.frames.length") > 1
    whole = page.evaluate("[...scene.drawn]")
    set_range(page, "film-time", 0)
    assert "t = 1.000" in page.inner_text("#status") and page.evaluate("!scene.finished")
    spoken = lambda: page.get_attribute("#film-time", "aria-valuetext")
    assert spoken() == f"frame 0 of {end}, t = 1.000"
    set_range(page, "film-time", end)
    assert spoken() == "the whole set"
    assert page.evaluate("[...scene.drawn]") == whole
    page.click("#film-play")
    tab.wait("film.playing && Number($('film-time').value) > 0")
    page.click("#film-play")
    stopped = page.input_value("#film-time")
    page.wait_for_timeout(200)
    assert page.input_value("#film-time") == stopped != str(end)


def test_one_step_can_be_chosen(opened):
    tab = opened(PAGE)
    set_range(tab.page, "steps", 0)
    tab.page.click("#complete")
    tab.wait(DONE, 40)
    assert ", 1 step each" in tab.page.inner_text("#status")
    assert tab.page.get_attribute("#steps", "aria-valuetext") == "1"


def test_a_finger_scrolls_where_nothing_is_drawn(opened):
    """A model that completes no sets takes no points from the plane."""
    page = opened(PAGE).page
    touch = lambda: page.evaluate("getComputedStyle(canvas).touchAction")
    assert touch() == "none"
    page.evaluate("""() => {
      const packed = JSON.parse(scripts[0].textContent);
      scripts[0].textContent = JSON.stringify({ ...packed, completes: false });
      choose(0, false);
    }""")
    assert page.evaluate("model.tool") == "draw" and touch() == "auto"
    page.evaluate("choose(1, false)")
    assert touch() == "none"


def test_a_late_trajectory_is_ignored(opened):
    """The trajectory of another model or set may arrive after this one has been chosen."""
    page = opened(PAGE).page
    receive = """(late) => {
      const trajectory = Float32Array.of(1, 2, 3, 4);
      worker.onmessage({ data: { job: job - late, trajectory } });
      return [...scene.trajectory];
    }"""
    assert page.evaluate(receive, 1) == [] and page.evaluate(receive, 0) == [1, 2, 3, 4]


def test_on_a_dark_phone_another_model(opened):
    tab = opened(PAGE, size="phone", scheme="dark")
    assert tab.page.get_attribute("html", "data-theme") == "dark" and not tab.too_wide()
    tab.page.select_option("#model", "1")
    set_range(tab.page, "steps", 0)
    tab.page.click("#complete")
    tab.wait(DONE, 40)
    assert number(tab, "drawn") == 256
    assert tab.page.is_hidden("#labels") and tab.page.is_hidden("#guidance-row")


def test_a_point_of_noise_is_dragged(opened, tmp_path):
    """The trajectory of a single point follows its start."""
    model = models(PAGE.read_text("utf-8"))[1]
    weights = {"trunk": model["weights"]["trunk"], "label": {}}
    model |= {"network": "fourier_mlp", "strategy": "independent", "weights": weights}
    write_page(tmp_path / "live.html", live_page([model]))
    tab = opened(tmp_path / "live.html")
    box = tab.page.locator("#board").bounding_box()
    middle = [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]
    trajectories = []
    for x in (-100, 100):
        tab.page.mouse.move(*middle)
        tab.page.mouse.down()
        tab.page.mouse.move(middle[0] + x, middle[1])
        tab.page.mouse.up()
        tab.wait(f"scene.trajectory.length && Math.sign(scene.trajectory[0]) === {np.sign(x)}")
        trajectories.append(tab.page.evaluate("[...scene.trajectory]"))
    left, right = trajectories
    assert len(left) == len(right) and np.abs(np.subtract(left, right)).max() > 0.1
    tab.page.focus("#board")
    tab.page.keyboard.press("ArrowLeft")
    tab.wait(f"scene.trajectory[0] < {right[0]} - 0.01")
