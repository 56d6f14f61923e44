"""Check the score fields of model and data: the panel follows the player, and the reverse."""

import json
import re

import jax
import numpy as np
import pytest

import tiny_diffusion_jax as td
from tiny_diffusion_jax import sampling, scoring
from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.metrics import score_field as fields
from tiny_diffusion_jax.reports.data import ReportData
from tiny_diffusion_jax.reports.html import write_html
from tiny_diffusion_jax.reports.squares import squares_on_page
from tiny_diffusion_jax.web.render import render


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Page of an untrained network, with a simple function in place of its density."""
    config = default_config()
    config.update_from_flattened_dict({
        "model.hidden_dim": 8, "model.num_blocks": 1, "sample.num_points": 100,
        "sample.num_sets": 1, "evaluate.density_size": 16, "evaluate.frames": 6,
    })  # fmt: skip
    setup = td.build(config)
    noise = np.random.default_rng(0).normal(size=(6, 1, 100, 2)).astype(np.float32)
    params = jax.jit(setup.model.init)(jax.random.key(0), np.zeros((1, 1, 2)), np.zeros(1))
    folder = tmp_path_factory.mktemp("field")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "sample", lambda *a, keep_trajectory: np.linspace(
            12, 1, a[2].num_steps + 1)[:, None, None, None] * noise[:1])  # fmt: skip
        patch.setattr(scoring, "log_prob", lambda e, p, points, steps: -(points**2).sum(-1))
        patch.setattr(fields, "DRAWS", 2**12)
        data, description = ReportData(setup, params, noise[0]), {"parameters": 1, "device": "cpu"}
        write_html(data, folder / "report.html", description)
    return folder


def test_it_stands_after_the_player(folder, scripts):
    text = (folder / "report.html").read_text("utf-8")
    assert re.findall(r'<h[23] id="(\w+)-title">', text) == ["player", "field", "files"]
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])["field"]
    count = len(data["nu"])
    assert 4 <= count <= 8 and data["model"]["shape"] == data["data"]["shape"] == [count, 64, 64, 2]
    assert data["density"]["shape"] == [16, 16, 2] and "about 33,000 real points" in text
    # The error is the mean squared distance per coordinate between the fields at the noised data.
    unpacked = scripts("arrays.js").evaluate(
        "field => ['model', 'data', 'p'].map((name) => [...unpack(field[name]).values])", data)
    model, real, p = (np.array(values, float) for values in unpacked)
    squared = np.nan_to_num((model - real).reshape(count, -1, 2) ** 2).mean(-1)
    p = p.reshape(count, -1)
    np.testing.assert_allclose(data["error"], (squared * p).sum(1) / p.sum(1), rtol=0.01)


def test_it_says_that_it_does_not_follow_snapshots():
    """The panel has the final network, but the player shows the sets of a snapshot."""
    page = lambda training: render("parts/field.html", data={
        "player": {"training": training}, "field": {"points": 10}})  # fmt: skip
    sentence = "The panel of the model is from the end of the training"
    assert sentence in page({"snapshots": [1]}) and sentence not in page(None)


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_it_follows_the_noise_of_the_player(opened, folder, size):
    tab = opened(folder / "report.html", size=size)
    page = tab.page
    canvases = page.locator("#field canvas")
    pictures = lambda: [canvases.nth(i).evaluate("c => c.toDataURL()") for i in range(3)]
    density = pictures()
    assert "total variation" in page.inner_text("#field [role=status]") and not tab.too_wide()
    page.fill("[data-do=time]", "300")
    fields = pictures()
    assert len(set(density + fields)) == 6  # all images differ, also between model and data
    assert "predicts the noise with an error of" in page.inner_text("#field [role=status]")
    page.select_option("#field select", "1")
    sigma = float(page.inner_text("[data-show=sigma]"))
    assert sigma == pytest.approx(page.evaluate("data.field.sigma[0]"), rel=0.1)
    choices = page.locator("#field select option").all_inner_texts()
    assert choices[0] == "no noise: density"
    named = [float(text.removeprefix("sigma ")) for text in choices[1:]]
    assert named == pytest.approx(page.evaluate("data.field.sigma"), rel=0.05)
    page.select_option("#field select", "0")
    assert pictures() == density


def test_the_difference_has_the_colour_of_the_larger_density(opened, folder):
    page = opened(folder / "report.html").page
    found = page.evaluate("""() => {
      const { shape, values } = unpack(data.field.density), size = shape[0];
      const more = Array.from({ length: size * size }, (_, i) => values[2 * i] - values[2 * i + 1]);
      const canvas = document.querySelectorAll("#field canvas")[2], wide = canvas.width;
      const pixels = canvas.getContext("2d").getImageData(0, 0, wide, wide).data;
      const colourAt = (i) => {
        const place = [i % size, size - 1 - Math.floor(i / size)];  // lowest y first
        const [x, y] = place.map((at) => Math.floor(((at + 0.5) * wide) / size));
        return [...pixels.subarray(4 * (y * wide + x), 4 * (y * wide + x) + 3)];
      };
      return [Math.max(...more), Math.min(...more)].map((value) => colourAt(more.indexOf(value)))
        .concat([[...cssColour("--samples")], [...cssColour("--data")]]);
    }""")
    of_model, of_data, samples, data = np.array(found, float)
    np.testing.assert_allclose(of_model, samples, atol=12)
    np.testing.assert_allclose(of_data, data, atol=12)


LAYERS = ("points", "data", "arrows", "density")


def test_each_layer_has_a_switch(opened, folder):
    tab = opened(folder / "report.html", size="wide")
    page = tab.page
    page.fill("[data-do=time]", "600")
    assert page.eval_on_selector_all("[data-layer]", "all => all.map((b) => b.dataset.layer)") == [
        *LAYERS]  # fmt: skip
    for layer in LAYERS:
        page.uncheck(f"[data-layer={layer}]")
    empty, pictures = tab.pixels(), []
    assert page.inner_text(".legend").strip() == ""
    for layer in LAYERS:
        page.check(f"[data-layer={layer}]")
        pictures.append(tab.pixels())
        assert page.inner_text(".legend").strip() != ""
        page.uncheck(f"[data-layer={layer}]")
        assert tab.pixels() == empty
    assert len({empty, *pictures}) == 5


def test_arrows_have_the_values_of_the_network_at_the_nodes(opened, folder):
    """Each node of the panel has its place in units of the data: shift + alpha scale node."""
    found = opened(folder / "report.html").page.evaluate("""() => {
      const { final } = players[0].layers, G = final.shape[1], result = [];
      for (const level of [0, 3]) {
        const [[x, y], [w, h]] = [final.centre[level], final.half[level]];
        for (const [i, j] of [[0, 0], [5, 40], [63, 20]]) {
          const place = [x + ((i + 0.5) / G * 2 - 1) * w, y + ((j + 0.5) / G * 2 - 1) * h];
          const n = 2 * ((level * G + j) * G + i);
          result.push([final.at(level, ...place), [final.values[n], final.values[n + 1]]]);
        }
      }
      return result;
    }""")
    shown, values = np.array(found).transpose(1, 0, 2)
    np.testing.assert_allclose(shown, values, atol=1e-3)


def test_the_squares_are_in_units_of_the_data():
    schedule = type("S", (), {"alpha": np.array([1.0, 0.5, 0.2])})
    dataset = type("D", (), {"shift": np.array([3.0, -1.0]), "scale": np.array([2.0, 4.0])})
    found = squares_on_page(np.array([1]), [(1.0, 2.0, 3.0)], schedule, dataset)
    assert found == {"t": [1], "centre": [[3 + 0.5 * 2, -1 + 0.5 * 2 * 4]], "half": [[3.0, 6.0]]}
    dataset.scale = np.array(2.0)  # one scale for all coordinates
    found = squares_on_page(np.array([1]), [(1.0, 2.0, 3.0)], schedule, dataset)
    assert found["half"] == [[3.0, 3.0]]


def test_without_noise_there_are_no_arrows_and_the_density_is_of_the_model(opened, folder):
    tab = opened(folder / "report.html")
    page = tab.page
    page.uncheck("[data-layer=points]")
    page.fill("[data-do=time]", "1000")
    density = tab.pixels()
    page.check("[data-layer=arrows]")
    assert tab.pixels() == density
    page.uncheck("[data-layer=density]")
    assert tab.pixels() != density


def test_nothing_lies_unused_beside_the_player(opened, folder):
    """The controls are nearly as high as the large picture, at 1440 x 900."""
    page = opened(folder / "report.html", size="wide").page
    stage, controls = (page.locator(name).bounding_box() for name in (".stage", ".controls"))
    assert abs(stage["y"] - controls["y"]) < 30 and stage["height"] - controls["height"] < 170
    assert controls["x"] > stage["x"] + stage["width"] and stage["width"] > 550


def test_the_model_is_a_tab_beside_the_player(opened, folder):
    page = opened(folder / "report.html", size="wide").page
    tabs = page.locator("[role=tab]")
    assert tabs.all_inner_texts() == ["Samples of this run", "Try the model"]
    assert page.locator("#panel-live").is_hidden()
    page.click("#tab-live")
    assert page.locator("#panel-player").is_hidden() and page.locator(".live-frame").is_visible()
    assert tabs.nth(1).get_attribute("aria-selected") == "true"
    time = page.evaluate("playback.time")
    page.keyboard.press("ArrowLeft")  # moves nothing that is hidden
    assert page.evaluate("playback.time") == time
    page.focus("#tab-live")
    page.keyboard.press("ArrowLeft")
    assert page.locator(".stage canvas").is_visible()
    page.reload()  # the keys reach the other tab also after the page in the frame has loaded
    page.focus("#tab-player")
    page.keyboard.press("ArrowRight")
    frame = page.frame_locator(".live-frame")
    frame.locator("#status").filter(has_text="points in").wait_for(timeout=20_000)
    assert page.evaluate("document.activeElement.id") == "tab-live"
    page.keyboard.press("ArrowLeft")
    assert page.locator(".stage canvas").is_visible() and page.locator("#panel-live").is_hidden()
    assert page.evaluate("playback.time") == time
