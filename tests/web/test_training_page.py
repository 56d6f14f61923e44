"""Train in the browser: on the committed live page, and on the drawing page."""

import re

import pytest
from command_line import ROOT, run

PAGE = ROOT / "docs" / "live.html"
PANEL = "document.getElementById('train-panel')"
MAIN_PLANE = "[data-train=plane]"
STEP = f"Number({PANEL}.dataset.step ?? 0)"


def stroke(page, *ends) -> None:
    """Draw a line on the pad of the drawing page, between positions in [0, 1]."""
    box = page.locator("#pad").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in ends]
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=4)
    page.mouse.up()


def open_panel(opened, **how):
    """Open the live page at its panel "Train"."""
    tab = opened(PAGE, **how)
    tab.page.click("[data-tab=train]")
    return tab


def wait_for_step(tab, step: int, seconds: float = 30) -> None:
    tab.wait(f"{STEP} >= {step}", seconds)


def state(tab) -> str:
    return tab.page.get_attribute("#train-panel", "data-state")


def losses(tab) -> list[float]:
    """Losses of the curve, whose numbers are means of ten steps."""
    return tab.page.evaluate("panel.curve.losses.map(([, loss]) => loss)")


def choose(tab, name: str, value) -> None:
    tab.page.select_option(f"#train-panel [name={name}]", str(value))


def test_training_lowers_the_loss_and_moves_the_samples(opened):
    """Samples, field and loss change while training; Stop ends it, and Continue resumes it."""
    tab = open_panel(opened)
    assert state(tab) == "idle"
    blank = tab.pixels(MAIN_PLANE)
    tab.page.click("[data-train=train]")
    wait_for_step(tab, 20)
    drawn = "[panel.plane.samples, panel.plane.field].map((x) => [...x])"
    samples, field = tab.page.evaluate(drawn)
    early = tab.pixels(MAIN_PLANE)
    wait_for_step(tab, 300)
    assert len({blank, early, tab.pixels(MAIN_PLANE)}) == 3
    spoken = tab.page.get_attribute("#train-noise", "aria-valuetext")
    assert spoken == tab.page.inner_text("[data-train=noise]") != ""
    assert tab.page.evaluate("[...panel.plane.samples]") != samples
    assert tab.page.evaluate("[...panel.plane.field]") != field
    curve = losses(tab)
    assert sum(curve[-5:]) < 0.95 * sum(curve[:5])
    tab.page.click("[data-train=train]")
    tab.wait(f"{PANEL}.dataset.state === 'stopped'")
    stopped = tab.page.evaluate(STEP)
    tab.page.wait_for_timeout(400)
    assert tab.page.evaluate(STEP) == stopped
    choose(tab, "learning_rate", 0.001)  # does not begin again
    tab.page.click("[data-train=train]")
    wait_for_step(tab, stopped + 20)
    assert losses(tab)[: len(curve)] == curve


def test_samples_near_the_data(opened):
    """Most samples lie near the data after 1,000 steps, and few before."""
    tab = open_panel(opened)
    choose(tab, "shape", 1)  # moons
    choose(tab, "steps", 1000)
    near = """() => {
      const { data, samples } = panel.plane;
      let near = 0;
      for (let i = 0; i < samples.length; i += 2) {
        for (let j = 0; j < data.length; j += 2) {
          if (Math.hypot(samples[i] - data[j], samples[i + 1] - data[j + 1]) > 0.1) continue;
          near += 1;
          break;
        }
      }
      return near / (samples.length / 2);
    }"""
    tab.page.click("[data-train=train]")
    wait_for_step(tab, 10)
    early = tab.page.evaluate(near)
    tab.wait(f"{PANEL}.dataset.state === 'done'", 60)
    assert early < 0.6 and tab.page.evaluate(near) > 0.8
    assert "trained: step 1,000" in tab.page.inner_text("[data-train=status]")


def test_a_changed_network_begins_again(opened):
    tab = open_panel(opened)
    assert "parameters, untrained" in tab.page.inner_text("[data-train=status]")
    tab.page.click("[data-train=train]")
    wait_for_step(tab, 50)
    values = {"hidden_dim": 16, "num_frequencies": 4, "scale": 3, "schedule": "flow"}
    for name, value in values.items():
        choose(tab, name, value)
    tab.wait("panel.curve.losses.length && panel.curve.earlier.length")
    assert state(tab) == "running"
    assert tab.page.evaluate("panel.options").items() >= values.items()


@pytest.mark.parametrize("size, scheme", [("desktop", "light"), ("phone", "dark")])
def test_a_drawing_on_the_live_page_is_learned(opened, size, scheme):
    """Draw with the mouse and with the keyboard, undo, and train."""
    tab = open_panel(opened, size=size, scheme=scheme)
    page, count = tab.page, "panel.sketch.shape.points.length"
    choose(tab, "shape", "sketch")
    assert page.is_disabled("[data-train=train]")
    box = page.locator(MAIN_PLANE).bounding_box()
    page.mouse.move(box["x"] + 80, box["y"] + 80)
    page.mouse.down()
    page.mouse.move(box["x"] + 250, box["y"] + 80)
    page.mouse.up()
    drawn = page.evaluate(count)
    assert drawn > 100
    page.focus(MAIN_PLANE)
    page.keyboard.press("Shift+ArrowUp")
    assert page.evaluate(count) > drawn
    page.keyboard.press("Backspace")
    assert page.evaluate(count) == drawn
    page.click("[data-train=train]")
    wait_for_step(tab, 50)
    assert not tab.too_wide()


def shares(tab, name: str) -> dict[str, int]:
    """Percentages of points that are nearest to each shape."""
    text = tab.page.inner_text(f"[data-train=share-{name}]")
    return {shape: int(share) for share, shape in re.findall(r"(\d+)\s%\s(\w+)", text)}


@pytest.mark.parametrize("size, scheme", [("desktop", "dark"), ("phone", "light")])
def test_the_sets_are_separate_beside_the_superposition(opened, size, scheme):
    """The trained network draws both shapes at once, and the model of sets draws one of them.

    Both start from the same noise. Three points of the moons make moons of the set.
    """
    tab = open_panel(opened, size=size, scheme=scheme)
    assert tab.page.is_hidden("[data-train=sets]")
    choose(tab, "second", 1)  # moons
    choose(tab, "steps", 500)
    tab.page.click("[data-train=train]")
    tab.wait(f"{PANEL}.dataset.state === 'done'", 60)
    complete = "panel.argument.frames.every(Boolean) && panel.plane.samples.length === 512"
    tab.wait(f"{complete} && !panel.argument.film.playing", 20)
    starts = tab.page.evaluate("panel.argument.frames.map((frames) => [...frames[0]])")
    assert starts[0] == pytest.approx(starts[1], abs=1e-5)
    left, right = shares(tab, "points"), shares(tab, "sets")
    assert min(left.values()) > 30 and max(right.values()) > 85
    tab.page.click("[data-place='1']")
    tab.wait("!!panel.argument.film.playing", 20)
    tab.wait("!panel.argument.film.playing", 20)
    assert shares(tab, "sets")["moons"] > 85 and min(shares(tab, "points").values()) > 30
    boxes = [tab.page.locator(plane).bounding_box() for plane in (MAIN_PLANE, "[data-train=sets]")]
    assert boxes[0]["width"] > 320 and (boxes[0]["x"] == boxes[1]["x"]) == (size == "phone")
    placed = "panel.argument.placed.length / 2"
    tab.page.click("[data-train=sets]")
    assert tab.page.evaluate(placed) == 4 and not tab.too_wide()
    tab.page.focus("[data-train=sets]")
    for key in ("ArrowLeft", "Space"):
        tab.page.keyboard.press(key)
    assert tab.page.evaluate(placed) == 5
    tab.page.click("[data-train=unplace]")
    assert tab.page.evaluate(placed) == 0


def test_every_control_has_a_label(opened):
    tab = open_panel(opened)
    unnamed = tab.page.evaluate("""[...document.querySelectorAll(
      "#train-panel select, #train-panel input")].filter(({ labels }) => !labels.length).length""")
    assert unnamed == 0
    reached = set()
    tab.page.focus("[data-tab=train]")
    for _ in range(14):
        tab.page.keyboard.press("Tab")
        active = "document.activeElement.name || document.activeElement.className"
        reached.add(tab.page.evaluate(active))
    assert {"plane", "shape", "second", "scale", "noise"} <= reached


def test_nothing_comes_from_the_network():
    assert not re.search(r"(src|href)=.?https?:|import\(|fetch\(|XMLHttpRequest", PAGE.read_text())


def test_the_drawing_page_trains_its_drawing(opened, tmp_path):
    """Two drawn shapes become a mixture; a change of the drawing forgets the network."""
    assert run("--mode=draw", f"--workdir={tmp_path}").code == 0
    tab = opened(tmp_path / "draw.html")
    assert tab.page.is_disabled("[data-train=train]")
    stroke(tab.page, (0.2, 0.2), (0.8, 0.2))
    tab.page.click("#add")
    stroke(tab.page, (0.2, 0.7), (0.8, 0.7))
    assert tab.page.evaluate("panel.chosen().length") == 2
    dots = tab.page.eval_on_selector_all(
        "#shapes .dot", "dots => dots.map((dot) => getComputedStyle(dot).backgroundColor)")
    meanings = tab.page.evaluate("['data', 'samples'].map((name) => css(cssColour(`--${name}`)))")
    assert not {tuple(re.findall(r"\d+", colour)) for colour in dots} & {
        tuple(re.findall(r"\d+", colour)) for colour in meanings}
    tab.page.click("[data-train=train]")
    wait_for_step(tab, 30)
    tab.page.fill("#name", "lower")
    assert state(tab) == "running"
    stroke(tab.page, (0.2, 0.5), (0.8, 0.5))
    assert state(tab) == "idle"
