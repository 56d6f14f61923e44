"""Check report.html in a browser: player, keys, phone layout, and saved samples."""

import csv
import io

import numpy as np
import pytest

from tiny_diffusion_jax.web.packing import pack

CONTROLS = "button:visible, select:visible, input:visible, summary:visible, [tabindex='0']:visible"


def rgb(text: str) -> np.ndarray:
    return np.array([int(text.strip()[i : i + 2], 16) for i in (1, 3, 5)]) / 255


def contrast(a: str, b: str) -> float:
    """Contrast ratio of WCAG 2: (L1 + 0.05) / (L2 + 0.05) of relative luminances."""
    def luminance(text):
        c = rgb(text)
        linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(opened, moons, scheme):
    page = opened(moons / "report.html", scheme=scheme).page
    colour = lambda name: page.evaluate(
        f"getComputedStyle(document.documentElement).getPropertyValue('--{name}')")
    for paper in ("paper", "panel"):
        for ink in ("ink", "muted", "accent", "alert", "good"):
            assert contrast(colour(ink), colour(paper)) >= 4.5, (ink, paper)
        assert contrast(colour("edge"), colour(paper)) >= 3
    edges = page.eval_on_selector_all(
        "button:not(.primary):not([aria-pressed=true]):not([role=tab]), select",
        "all => [...new Set(all.map((e) => getComputedStyle(e).borderColor))]")
    assert len(edges) == 1 and edges[0] == "rgb({}, {}, {})".format(
        *(int(colour("edge").strip()[i : i + 2], 16) for i in (1, 3, 5)))
    assert contrast(colour("alert"), colour("alert-panel")) >= 4.5
    assert contrast(colour("on-accent"), colour("accent")) >= 4.5
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    before = colour("paper")
    page.click("[data-theme-button]")
    assert colour("paper") != before


def test_it_plays_and_scrubs(opened, moons):
    tab = opened(moons / "report.html")
    page = tab.page
    shown = lambda name: page.inner_text(f"[data-show={name}]")
    at_data = tab.pixels()
    assert shown("t") == "0.000" and shown("sigma") == "0" and shown("logSnr") == "infinite"
    page.fill("[data-do=time]", "0")
    assert tab.pixels() != at_data and shown("t") == "1.000" and shown("sigma") == "12.0"
    page.click("[data-do=play]")
    tab.wait("playback.time > 0.02")
    assert page.inner_text("[data-do=play]") == "Pause"
    page.click("[data-do=play]")
    stopped = page.evaluate("playback.time")
    assert 0.02 < stopped < 1 and page.evaluate("playback.playing") is False
    page.fill("[data-do=time]", "500")
    pictures = {"reverse": tab.pixels()}
    page.select_option("[data-do=colour]", "start")
    pictures["start"] = tab.pixels()
    page.check("[data-do=trails]")
    pictures["trails"] = tab.pixels()
    page.select_option("[data-do=direction]", "forward")
    pictures["forward"] = tab.pixels()
    assert len(set(pictures.values())) == 4


def test_noise_is_at_the_left_in_both_processes(opened, moons):
    tab = opened(moons / "report.html")
    page = tab.page
    assert page.inner_text(".ends").split("\n") == ["noise, t = 1", "data, t = 0"]
    for direction in ("reverse", "forward"):
        page.select_option("[data-do=direction]", direction)
        for place, t in (("0", "1.000"), ("1000", "0.000")):
            page.fill("[data-do=time]", place)
            assert page.inner_text("[data-show=t]") == t
    page.click("[data-do=play]")  # the forward process runs from data to noise
    tab.wait("playback.time < 0.98")


def test_the_end_of_the_way_is_the_first_set_of_samples(opened, moons):
    page = opened(moons / "report.html").page
    ends = page.evaluate("""() => { const p = players[0], xy = new Float32Array(128);
        p.reverse.positions(0, 1, xy); return [...xy]; }""")
    way = np.load(moons / "trajectory.npy")[-1]
    np.testing.assert_allclose(np.reshape(ends, (64, 2)), way, atol=1e-3 * np.ptp(way))


def test_forward_noise_is_that_of_its_level(opened, moons):
    """x_t - x_0 has standard deviation sigma_t, in units of the data, at the end for noise."""
    page = opened(moons / "report.html").page
    noise = page.evaluate("""() => { const f = players[0].forward, a = new Float32Array(128),
        b = new Float32Array(128); f.positions(0, 1, a); f.positions(0, 0, b);
        return [...b].map((x, i) => (x - a[i]) / f.scale[0]); }""")
    assert np.std(noise) == pytest.approx(12.0, rel=0.2)


def test_keys_do_all_that_a_mouse_does(opened, moons):
    page = opened(moons / "report.html").page
    page.click("summary")
    # arrow keys open the tab that is closed
    wanted = page.eval_on_selector_all(CONTROLS, "all => all.filter((e) => e.tabIndex >= 0).length")
    reached = set()
    page.evaluate("document.body.focus(); document.activeElement.blur()")
    for _ in range(wanted + 2):
        page.keyboard.press("Tab")
        reached.add(page.evaluate(
            "[...document.querySelectorAll('button, select, input, summary, [tabindex]')]"
            ".indexOf(document.activeElement)"))
    assert len(reached - {-1}) == wanted
    unnamed = page.eval_on_selector_all(
        "button, select, input",
        "all => all.filter(e => !(e.textContent.trim() || e.ariaLabel || e.labels?.length)).length")
    assert unnamed == 0
    page.evaluate("document.activeElement.blur(); playback.seek(0.5)")
    step = lambda: int(page.inner_text("[data-show=step]").split()[0])
    for element in ("document.body", "document.querySelector('[data-do=time]')"):
        page.evaluate(f"document.activeElement.blur(); {element}.focus(); playback.seek(0)")
        for number in (1, 2):
            page.keyboard.press("ArrowRight")
            assert step() == number
        page.keyboard.press("ArrowLeft")
        assert step() == 1
    page.evaluate("document.activeElement.blur(); playback.seek(0.5)")
    page.keyboard.press("Space")
    assert page.evaluate("playback.playing") is True
    page.keyboard.press("Space")
    assert page.evaluate("playback.playing") is False
    page.focus("#command")  # keys scroll the text
    page.keyboard.press("Space")
    assert page.evaluate("playback.playing") is False


def test_charts_say_their_values(opened, moons):
    page = opened(moons / "report.html").page
    page.focus("#loss svg")
    for key, step in (("Home", "10"), ("ArrowRight", "20"), ("End", "40")):
        page.keyboard.press(key)
        assert f"step {step}" in page.inner_text("#loss output")
    page.hover("#loss svg", position={"x": 60, "y": 100})
    assert "step 10" in page.inner_text("#loss output")
    page.dispatch_event("#loss svg", "pointerdown", {"clientX": 10_000})  # a tap at the right
    assert "step 40" in page.inner_text("#loss output")


@pytest.mark.parametrize("steps", [[10, 20, 30, 40], [7]])
def test_axes_have_ticks_in_their_place(opened, moons, steps):
    """A tick lies under the value that it names, also on the axis of a single block."""
    page = opened(moons / "report.html").page
    ticks, width = page.evaluate("""steps => {
      const root = document.querySelector("#loss .chart");
      root.querySelector("svg").replaceChildren();
      const y = steps.map((_, i) => 1 + i);
      const chart = new Chart(root, { xName: "step", lines: [{ name: "loss", x: steps, y,
        colour: "red" }] });
      const texts = [...root.querySelectorAll("text.x")];
      return [texts.map((t) => [Number(t.textContent), Number(t.getAttribute("x"))]),
              chart.svg.clientWidth];
    }""", steps)
    if len(steps) == 1:
        assert ticks == [[7, pytest.approx((52 + width - 14) / 2)]]
    else:
        values, places = np.transpose(ticks)
        assert len(values) >= 4
        np.testing.assert_allclose(places, 52 + (values - 10) / 30 * (width - 66), atol=1e-6)


def test_samples_are_saved_as_they_are(opened, moons):
    page = opened(moons / "report.html").page
    with page.expect_download() as waiting:
        page.click("#save-samples")
    assert waiting.value.suggested_filename == "samples.csv"
    rows = list(csv.reader(waiting.value.path().open(encoding="utf-8")))
    samples = np.load(moons / "samples.npy")
    assert rows[0] == ["set", "x", "y"] and len(rows) == 1 + 128
    table = np.array(rows[1:], float)
    np.testing.assert_array_equal(table[:, 0], np.repeat([0, 1], 64))
    half_a_step = np.ptp(samples, (0, 1)) / 131_068
    error = np.abs(table[:, 1:] - samples.reshape(-1, 2)).max(0)
    np.testing.assert_array_less(error, 1.1 * half_a_step + 1e-6)


def test_the_table_of_a_page_has_all_digits_of_float32(opened, moons):
    """Map coordinates are large and have a small range, so packing must not lose digits."""
    points = (123456 + np.random.default_rng(0).random((1, 500, 2))).astype(np.float32)
    names = ['</script>"', "a\rb"]
    text = opened(moons / "report.html").page.evaluate("samples => csvOf(samples)", {
        "points": pack(points), "sizes": [500], "columns": names, "setColumn": "$x_$"})  # fmt: skip
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    assert header == ["$x_$", *names]
    np.testing.assert_array_equal(np.array(rows, float)[:, 1:].astype(np.float32), points[0])


def test_long_names_stay_within_the_screen(opened, moons, tmp_path):
    text = (moons / "report.html").read_text()
    assert text.count("<b>moons, ") == 1 and "<h1>moons</h1>" in text
    text = text.replace("<h1>moons", "<h1>" + "x" * 300).replace("<b>moons", "<b>" + "x" * 300)
    (tmp_path / "report.html").write_text(text)
    assert not opened(tmp_path / "report.html", size="phone").too_wide()


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_it_fits_the_screen(opened, moons, size):
    tab = opened(moons / "report.html", size=size)
    assert not tab.too_wide()
    box = tab.page.locator(".stage canvas").bounding_box()
    assert box["x"] >= 0 and box["width"] >= 300
    assert box["width"] == pytest.approx(box["height"], rel=0.02)


def test_the_model_is_sampled_inside_of_the_page(opened, moons):
    """Moving a ring of noise changes its trajectory."""
    tab = opened(moons / "report.html")
    assert tab.page.locator(".live-frame").count() == 0
    tab.page.click("#tab-live")
    frame = tab.page.frame_locator(".live-frame")
    status = frame.locator("#status")
    status.filter(has_text="points in").wait_for(timeout=10_000)
    picture = lambda: frame.locator("#board").evaluate("canvas => canvas.toDataURL()")
    before = picture()
    frame.locator("#again").click()
    tab.page.wait_for_timeout(1_500)
    assert picture() != before


def test_the_frame_follows_the_theme_and_has_no_bar_on_a_phone(opened, moons):
    page = opened(moons / "report.html", size="phone").page
    page.click("[data-theme-button]")
    page.click("#tab-live")
    frame = page.frame_locator(".live-frame")
    frame.locator("#status").filter(has_text="points in").wait_for(timeout=10_000)
    root = frame.locator("html")
    assert root.get_attribute("data-theme") == "dark"
    # the focus moves into the frame, whose keys act on the model
    assert page.evaluate("document.activeElement.className") == "live-frame"
    page.click("[data-theme-button]")
    assert root.get_attribute("data-theme") == "light"
    assert root.evaluate("html => html.scrollHeight <= innerHeight")


def test_the_live_tab_computes_in_webassembly(opened, moons):
    """A worker in the frame of the live tab may compile a module, as live/dense.js does."""
    tab = opened(moons / "report.html")
    tab.page.click("#tab-live")
    tab.page.frame_locator(".live-frame").locator("#board").wait_for()
    compiles = """() => new Promise((resolve) => {
      const code = "postMessage(WebAssembly.validate(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]))"
        + " && Boolean(new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]))))";
      const worker = new Worker(URL.createObjectURL(new Blob([code])));
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = (event) => resolve(event.message);
    })"""
    assert tab.page.frames[1].evaluate(compiles) is True


def test_the_lowest_loss_is_a_dashed_line_and_early_steps_have_room(opened, moons):
    """A log scale of the steps: steps 10, 100 and 1,000 are at equal distances."""
    page = opened(moons / "report.html").page
    found = page.evaluate("""() => {
      const root = document.querySelector("#loss");
      for (const svg of root.querySelectorAll("svg")) svg.replaceChildren();
      const panel = { step: [10, 100, 1000], loss: [3, 2, 1], smooth: [3, 2, 1], sigma: [1, 2],
        stages: [{ name: "step 10", values: [1, 2] }],
        lowest: { total: 0.8, by_level: [0.7, 0.9] } };
      const chart = lossCharts(root, panel);
      const lines = [...root.querySelectorAll("path.dashed")].map((path) =>
        path.getAttribute("d").match(/[\\d.]+/g).map(Number));
      return { lines, y: chart.toY(0.8), x: panel.step.map(chart.toX),
        ticks: [...chart.svg.querySelectorAll("text.x")].map((t) => t.textContent),
        text: root.querySelector("output").textContent };
    }""")
    by_step, by_level = found["lines"]
    assert by_step[1::2] == pytest.approx([found["y"]] * 3, abs=0.1)
    assert by_level[1] > by_level[3]  # 0.7 is below 0.9
    assert found["x"][1] - found["x"][0] == pytest.approx(found["x"][2] - found["x"][1])
    assert {"10", "100", "1,000"} <= set(found["ticks"])
    assert "lowest possible: 0.8" in found["text"]
