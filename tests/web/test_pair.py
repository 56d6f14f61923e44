"""Check the tab that compares two samplers from the same noise."""

import re

import pytest
from command_line import ROOT

PAGE = ROOT / "docs" / "live.html"
SAMPLER_COLOURS = {name: f"var(--member-{k})" for k, name in enumerate(("ddim", "heun", "dpm++2m"))}
DRAWN = "pair.root.dataset.state === 'done'"


def open_pair(opened, **how):
    tab = opened(PAGE, **how)
    tab.page.click("[data-tab=pair]")
    tab.wait(DRAWN, 30)
    return tab


def choose(tab, **values) -> None:
    for name, value in values.items():
        tab.page.select_option(f"#{name.replace('_', '-')}", str(value))
    tab.wait(DRAWN, 30)


def first_and_last(tab, side: str) -> list[list[float]]:
    frames = f"pair.sets.{side}.frames"
    return tab.page.evaluate(f"[0, -1].map((i) => [...{frames}.at(i).x])")


@pytest.mark.parametrize("size, scheme", [("wide", "light"), ("phone", "dark")])
def test_two_samplers_start_from_the_same_noise(opened, size, scheme):
    tab = open_pair(opened, size=size, scheme=scheme)
    (noise, left), (other, right) = (first_and_last(tab, side) for side in ("left", "right"))
    assert noise == other and left != right and not tab.too_wide()
    choose(tab, left_sampler="heun", right_sampler="heun")
    assert first_and_last(tab, "left") == first_and_last(tab, "right")
    assert "Median distance between the two ends of a point: 0.0 " in tab.page.inner_text(
        "#pair-distance"
    )
    choose(tab, right_spacing="log_snr")
    assert first_and_last(tab, "left") != first_and_last(tab, "right")
    # stochastic noise is drawn apart from the noise of the start
    choose(tab, left_sampler="ancestral", right_sampler="sde-dpm++2m", right_steps=10)
    assert first_and_last(tab, "left")[0] == first_and_last(tab, "right")[0] == noise
    tab.page.click("#pair-noise")
    tab.wait(DRAWN, 30)
    assert first_and_last(tab, "left")[0] != noise


def test_both_planes_are_played_together(opened):
    tab = open_pair(opened)
    plane = lambda side: tab.pixels(f"#{side}-plane")
    ends = plane("left"), plane("right")
    tab.page.fill("#pair-time", "0")
    assert plane("left") != ends[0] and plane("right") != ends[1]
    for side in ("left", "right"):
        assert "t = 1.000" in tab.page.inner_text(f"#{side}-status")
    tab.page.click("#pair-play")
    tab.wait("pair.playback.time === 1", 10)
    assert (plane("left"), plane("right")) == ends


def test_guidance_differs_for_digits(opened):
    tab = open_pair(opened)
    choose(tab, pair_model=0, pair_points=16)
    assert tab.page.is_visible("#left-guidance") and tab.page.is_visible("#pair-label")
    choose(tab, left_sampler="dpm++2m", right_sampler="dpm++2m", right_guidance=3)
    left, right = (tab.page.evaluate(f"[...pair.sets.{side}.set]") for side in ("left", "right"))
    assert left != right


def test_guidance_evaluates_the_network_twice(opened):
    """Guidance with a label doubles the evaluations. The last step of Heun evaluates once."""
    tab = open_pair(opened)
    choose(tab, pair_model=0, pair_points=16)
    for sampler, scale, count in (("dpm++2m", 1, 5), ("dpm++2m", 3, 10), ("heun", 1, 9),
                                  ("heun", 0, 18)):  # fmt: skip
        choose(tab, left_sampler=sampler, left_steps=5, left_guidance=scale)
        assert f", {count} network evaluations a point" in tab.page.inner_text("#left-status")
    choose(tab, pair_model=1)  # without labels
    tab.page.evaluate("() => { pair.asked = (side) => ({ label: null, guidanceScale: 3 }); }")
    guided = """([strategy, guides]) => {
      Object.assign(pair.model, { strategy, guides });
      return pair.isGuided("left");
    }"""
    assert [tab.page.evaluate(guided, [strategy, ["history"]])
            for strategy in ("autoregressive", "causal", "latent")] == [True, False, False]


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_the_chart_shows_the_order_of_samplers(opened, size):
    """Errors of a trained network fall, and Heun has a higher order than Euler (ddim)."""
    tab = open_pair(opened, size=size)
    tab.page.click("#pair-measure")
    tab.wait("pair.root.dataset.curve === 'done'", 60)
    assert tab.page.locator("#pair-panel .line").count() == 3 and not tab.too_wide()
    text = tab.page.inner_text("#pair-distance")
    order = {name: float(value) for name, value in re.findall(r"([\w+]+) (\d+\.\d)", text)}
    assert 0.7 < order["ddim"] < 1.4 and order["heun"] > order["ddim"] + 0.5
    ys = tab.page.evaluate("pair.chart.lines.map(({ y }) => y)")
    assert all(y[-1] < 0.1 * y[0] for y in ys)
    colours = tab.page.evaluate("pair.chart.lines.map(({ name, colour }) => [name, colour])")
    assert dict(colours) == SAMPLER_COLOURS
    choose(tab, left_spacing="log_snr")  # the curve belongs to the options before
    assert tab.page.locator("#pair-panel .line").count() == 0
