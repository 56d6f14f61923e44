"""Check --mode=draw: the drawing is saved as a table for the command on the page."""

import shlex
from pathlib import Path

import numpy as np
import pytest
from command_line import run

from tiny_diffusion_jax import data
from tiny_diffusion_jax.cli.flags import parse
from tiny_diffusion_jax.data.columns import read_points
from tiny_diffusion_jax.data.mixture import member_names


@pytest.fixture(scope="module")
def pad(tmp_path_factory):
    folder = tmp_path_factory.mktemp("draw")
    result = run("--mode=draw", f"--workdir={folder}")
    assert result.code == 0 and f"wrote {folder / 'draw.html'}" in result.err, result
    return folder / "draw.html"


def stroke(page, *ends):
    """Draw with the mouse between positions in [0, 1] of the pad."""
    box = page.locator("#pad").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in ends]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()


def saved(page, folder: Path) -> Path:
    with page.expect_download() as waiting:
        page.click("#save")
    file = folder / waiting.value.suggested_filename
    waiting.value.save_as(file)
    return file


def config_of(page):
    """Config of the command on the page, split in the same way as by a shell."""
    words = shlex.split(page.inner_text("#command"))
    return parse(words[1:]).config


def test_one_shape_is_a_table_of_points(opened, pad, tmp_path, monkeypatch):
    page = opened(pad).page
    assert page.is_disabled("#save")
    stroke(page, (0.25, 0.25), (0.75, 0.25))
    drawn = page.evaluate("drawing.shape.points.length")
    file = saved(page, tmp_path)
    points = read_points(str(file)).points
    assert file.name == "drawing.csv" and points.shape == (drawn, 2) and drawn == 250
    assert points[:, 0].min() < -0.4 and points[:, 0].max() > 0.4  # drawn from left to right
    assert abs(np.median(points[:, 1]) - 0.5) < 0.05  # drawn in the upper half: y points up
    monkeypatch.chdir(Path(__file__).parents[2])
    config = config_of(page)
    assert config.data.name == "points" and config.data.path == "drawing.csv"
    stroke(page, (0.5, 0.5), (0.5, 0.9))
    page.click("#undo")
    assert page.evaluate("drawing.shape.points.length") == drawn
    page.click("#clear")
    assert page.is_disabled("#save")


def test_only_the_left_button_draws(opened, pad):
    page = opened(pad).page
    box = page.locator("#pad").bounding_box()
    for button, points in (("right", 0), ("middle", 0), ("left", 10)):
        page.mouse.click(box["x"] + 50, box["y"] + 50, button=button)
        assert page.evaluate("drawing.shape.points.length") == points
    assert page.get_attribute("#pad", "role") == "application"


def test_points_are_even_along_the_path(opened, pad):
    """A slow half of a stroke has as many points as a fast half."""
    page = opened(pad).page
    box = page.locator("#pad").bounding_box()
    place = lambda x: (box["x"] + x * box["width"], box["y"] + 0.5 * box["height"])
    page.fill("#width", "0.005")
    page.mouse.move(*place(0.1))
    page.mouse.down()
    page.mouse.move(*place(0.5), steps=2)
    page.mouse.move(*place(0.9), steps=60)
    page.mouse.up()
    x = (np.array(page.evaluate("drawing.shape.points"))[:, 0] + 1) / 2
    fast, slow = ((x >= 0.1) & (x < 0.5)).sum(), ((x >= 0.5) & (x <= 0.9)).sum()
    assert fast + slow >= 390 and abs(fast - slow) < 20  # 500 points of a line across the pad


def test_a_drawing_survives_a_reload_and_every_change_is_undone(opened, pad):
    page = opened(pad).page
    shapes = lambda: [len(shape["points"]) for shape in page.evaluate("drawing.shapes")]
    assert page.is_disabled("#undo")
    stroke(page, (0.2, 0.2), (0.8, 0.2))
    drawn = shapes()
    for change in ("#add", "#clear"):
        page.click(change)
        page.keyboard.press("Control+z")
        assert shapes() == drawn
    page.click("#add")
    page.fill("#name", "second")
    stroke(page, (0.5, 0.5), (0.5, 0.5))  # a click
    before = page.evaluate("drawing.state")
    assert len(before["shapes"]) == 2 and len(before["shapes"][1]["points"]) == 10
    page.reload()
    assert page.evaluate("drawing.state") == before and "2 shapes" in page.inner_text("#count")
    page.evaluate("localStorage.setItem(KEY, '{')")  # a damaged one is not read
    page.reload()
    assert shapes() == [0]


def test_several_shapes_are_members_of_a_mixture(opened, pad, tmp_path, monkeypatch):
    page = opened(pad).page
    stroke(page, (0.2, 0.2), (0.8, 0.2))
    page.fill("#name", 'a "loop", <b>')
    page.click("#add")
    page.focus("#pad")
    for key in ("ArrowUp", "ArrowRight", "Space", "Space"):  # the keyboard draws without a mouse
        page.keyboard.press(key)
    assert "2 shapes" in page.inner_text("#count")
    file = saved(page, tmp_path)
    assert file.read_text("utf-8").startswith("x,y,shape\n")
    monkeypatch.chdir(Path(__file__).parents[2])
    config = config_of(page)
    monkeypatch.chdir(tmp_path)
    assert member_names(config.data.members) == (
        "drawing.csv?shape=a_loop_b_", "drawing.csv?shape=shape2")  # fmt: skip
    dataset = data.build(config.data)
    assert len(dataset.members) == 2 and dataset.num_labels == 2


@pytest.mark.parametrize("size, scheme", [("desktop", "dark"), ("phone", "light")])
def test_it_fits_the_screen(opened, pad, size, scheme):
    tab = opened(pad, size=size, scheme=scheme)
    blank = tab.pixels("#pad")
    stroke(tab.page, (0.3, 0.3), (0.6, 0.6))
    assert tab.pixels("#pad") != blank and not tab.too_wide()
