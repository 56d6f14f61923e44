"""Check the score fields of model and data: the panel follows the player, and the reverse."""

import json
import re

import jax
import numpy as np
import pytest

import tiny_diffusion_jax as td
from tiny_diffusion_jax import api
from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.metrics import score_field as fields
from tiny_diffusion_jax.reports.data import ReportData
from tiny_diffusion_jax.reports.html import write_html


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
        patch.setattr(api, "sample", lambda *a, keep_trajectory: np.linspace(
            12, 1, a[2].num_steps + 1)[:, None, None, None] * noise[:1])  # fmt: skip
        patch.setattr(api, "log_prob", lambda e, p, points, steps: -(points**2).sum(-1))
        patch.setattr(fields, "DRAWS", 2**12)
        data, description = ReportData(setup, params, noise[0]), {"parameters": 1, "device": "cpu"}
        write_html(data, folder / "report.html", description)
    return folder


def test_it_stands_after_the_player(folder, scripts):
    text = (folder / "report.html").read_text("utf-8")
    assert re.findall(r'<h2 id="(\w+)-title">', text) == ["player", "field", "live", "files"]
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
