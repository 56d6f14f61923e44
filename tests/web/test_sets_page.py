"""Check pages of sets: mixtures, sets of different sizes in space, and completed sets."""

import json
import re
from functools import partial

import jax
import numpy as np
import pytest

import tiny_diffusion_jax as td
from tiny_diffusion_jax import sampling
from tiny_diffusion_jax.api import Experiment
from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.data.observed import from_observed
from tiny_diffusion_jax.dataset import draw_points
from tiny_diffusion_jax.metrics import separation
from tiny_diffusion_jax.reports.data import ReportData
from tiny_diffusion_jax.reports.html import write_html

SMALL = {"model.name": "set_transformer", "model.hidden_dim": 8, "sample.num_steps": 4,
         "sample.num_points": 200, "data.cache_dir": ""}  # fmt: skip
DESCRIPTION = {"parameters": 1, "device": "cpu cpu"}


def options(**fields):
    config = default_config()
    config.update_from_flattened_dict(SMALL | fields)
    return config


def trajectories_to(sets: np.ndarray, steps: int = 4) -> np.ndarray:
    """Straight trajectories from noise to `sets`."""
    noise = np.random.default_rng(0).normal(size=sets.shape) * 12
    share = np.linspace(0, 1, steps + 1)[:, None, None, None]
    return ((1 - share) * noise + share * sets).astype(np.float32)


def write(folder, setup, sets: np.ndarray, given=None) -> ReportData:
    """Write the page of `sets`, which replace the output of a network."""
    def draw(setup, params, config, keep_trajectory=False, given=None):
        trajectories = trajectories_to(sets[: config.num_sets])
        return trajectories if keep_trajectory else trajectories[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "sample", draw)
        calibrate = partial(separation.calibrate, num_reference=512, num_stray=512)
        patch.setattr(separation, "calibrate", calibrate)
        data = ReportData(setup, None, sets, given)
        write_html(data, folder / "report.html", DESCRIPTION)
    return data


SIZES = np.array([8, 12, 10])


def jets(points: np.ndarray, **fields) -> Experiment:
    """Experiment on three observed sets."""
    dataset = from_observed(
        points, np.cumsum(SIZES) - SIZES, SIZES, np.zeros(3, int), num_labels=0, label_names=(),
        title="<b>jets</b>", columns=("eta", "phi", "pt")[: points.shape[1]], set_column="jet",
    )  # fmt: skip
    # built on moons; the dataset is replaced below
    setup = td.build(options(**fields | {"sample.num_points": 16}))
    return setup._replace(config=options(**fields), dataset=dataset)


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    """(folder, data) of real sets of moons and circle; the last set is half of each."""
    folder = tmp_path_factory.mktemp("mixture")
    setup = td.build(options(**{"data.name": "mixture", "data.members": "moons+circle",
                                "data.cache_dir": str(folder)}))  # fmt: skip
    moons, circle = (np.array(draw_points(member, jax.random.key(k), 3, 200))
                     for k, member in enumerate(setup.dataset.members))  # fmt: skip
    moons[0, 7] = 1.5, 1.5  # a point where moons have no density
    half = np.concatenate([moons[2, :100], circle[2, :100]])[None]
    return folder, write(folder, setup, np.concatenate([moons[:2], circle[:2], half]))


def data_of(folder) -> dict:
    text = (folder / "report.html").read_text("utf-8")
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_marks_agree_with_the_metrics(mixture):
    folder, report_data = mixture
    marks, found = data_of(folder)["player"]["reverse"]["marks"], report_data.separation
    assert marks["names"][:4] == ["moons", "moons", "circle", "circle"]
    assert marks["member"] == found.member.tolist() and marks["members"] == ["moons", "circle"]
    assert marks["rejected"] == (~found.accepted).tolist() and marks["rejected"][-1]
    assert 7 in marks["stray"][0]
    np.testing.assert_allclose([len(stray) / 200 for stray in marks["stray"]], found.stray)


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_a_set_is_enlarged_by_mouse_and_by_key(opened, mixture, size):
    tab = opened(mixture[0] / "report.html", size=size)
    page, thumbs = tab.page, tab.page.locator(".sets button")
    assert thumbs.count() == 5 and not tab.too_wide()
    pressed = lambda: [i for i in range(5) if thumbs.nth(i).get_attribute("aria-pressed") == "true"]
    assert pressed() == [0] and "Set 1 of 5: moons" in page.inner_text(".caption")
    pictures = [tab.pixels()]
    thumbs.nth(2).click()
    assert pressed() == [2] and "Set 3 of 5: circle" in page.inner_text(".caption")
    pictures.append(tab.pixels())
    thumbs.nth(4).focus()
    page.keyboard.press("Enter")
    assert pressed() == [4] and "rejected" in page.inner_text(".caption")
    pictures.append(tab.pixels())
    assert len(set(pictures)) == 3
    assert "rejected" in thumbs.nth(4).inner_text() and "rejected" not in thumbs.nth(0).inner_text()


def test_members_have_colours_and_strays_have_marks(opened, mixture):
    tab = opened(mixture[0] / "report.html")
    pictures, small = [tab.pixels()], [tab.pixels(".sets canvas")]
    assert tab.page.inner_text(".legend").split("\n") == ["moons", "circle", "stray point"]
    tab.page.uncheck("[data-do=marks]")
    pictures.append(tab.pixels())
    assert "stray" not in tab.page.inner_text(".legend")
    for colour in ("set", "start"):
        tab.page.select_option("[data-do=colour]", colour)
        pictures.append(tab.pixels())
        if colour == "set":
            colours = tab.page.evaluate("[0, 1, 2].map((k) => players[0].setColour(k).join())")
            assert len(set(colours)) == 3
    small.append(tab.pixels(".sets canvas"))
    assert len(set(pictures[:2])) == 2 and len(set(pictures[1:])) >= 2 and len(set(small)) == 2
    tab.page.fill("[data-do=time]", "0")
    assert tab.pixels(".sets canvas") != small[-1]


def test_the_legend_names_the_colours_of_the_real_sets(opened, mixture):
    """Real sets have their own entry if no other entry has their colours."""
    page = opened(mixture[0] / "report.html").page
    legend = lambda: page.inner_text(".legend").split("\n")
    choose = lambda name, value: page.select_option(f"[data-do={name}]", value)
    choose("colour", "plain")
    assert legend() == ["samples", "real sets", "stray point"]
    same = page.evaluate("players[0].legend()[1].colour.join() === players[0].realColour(0).join()")
    assert same
    choose("colour", "set")
    assert legend() == ["real sets", "stray point"]
    choose("direction", "forward")
    assert legend() == ["real sets"]
    choose("colour", "plain")
    assert legend() == ["real points"]
    choose("direction", "reverse")
    # samples of a snapshot have one colour, because their members are unknown
    assert page.evaluate("""() => {
      const [player] = players;
      player.snapshots = [Object.assign(Object.create(player.reverse), { trainingStep: 10 })];
      player.setLook({ snapshot: 0, colour: "member" });
      return player.legend().map(({ text }) => text);
    }""") == ["samples at step 10", "moons", "circle"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_member_has_one_colour_in_the_legend_its_sets_and_real_sets(opened, mixture, scheme):
    """Colours are in the order of page.css, and differ from the colours of data and samples."""
    page = opened(mixture[0] / "report.html", scheme=scheme).page
    colours = page.evaluate("""() => {
      const [player] = players, text = (colour) => colour.join();
      return { css: ["--member-0", "--member-1"].map((name) => text(cssColour(name))),
               legend: player.legend().slice(0, 2).map(({ colour }) => text(colour)),
               sets: [0, 1, 2, 3].map((k) => text(player.setColour(k))),
               real: player.realNames.map((name, k) => [name, text(player.realColour(k))]),
               others: ["--data", "--samples"].map((name) => text(cssColour(name))) };
    }""")
    moons, circle = colours["css"]
    assert colours["legend"] == [moons, circle] and not {moons, circle} & {*colours["others"]}
    assert colours["sets"] == [moons, moons, circle, circle]
    assert {tuple(pair) for pair in colours["real"]} <= {("moons", moons), ("circle", circle)}
    assert colours["real"]
    page.select_option("[data-do=direction]", "forward")
    assert page.inner_text(".legend").split("\n")[:2] == ["moons", "circle"]
    names = page.locator(".sets:not(.real) li").all_inner_texts()
    assert names == [name for name, _ in colours["real"]]  # the sets that are noised
    page.select_option("[data-do=colour]", "set")
    assert page.evaluate("players[0].realColour(0).join()") == colours["others"][0]


def test_a_stray_point_is_a_cross(opened, mixture):
    """Pixels on both diagonals of a stray point are red, and pixels beside it are not."""
    page = opened(mixture[0] / "report.html").page
    red = page.evaluate("""() => {
      const { xy, dots } = players[0].stage, [x, y] = [xy[14], xy[15]];
      const reach = dots.size / 200;
      const side = dots.size, { data } = dots.context.getImageData(0, 0, side, side);
      return [[1, 1], [-1, 1], [1, -1], [-1, -1], [2, 0], [0, 2], [-2, 0]].map(([dx, dy]) => {
        const at = 4 * (Math.floor(y + dy * reach) * side + Math.floor(x + dx * reach));
        return data[at] - data[at + 1] > 60;
      });
    }""")
    assert red == [True] * 4 + [False] * 3
    assert page.locator(".legend .cross").count() == 1


def test_sets_of_different_sizes_in_space(opened, tmp_path):
    """The page shows two of three coordinates; the table has all three."""
    points = np.random.default_rng(1).normal(size=(30, 3))
    sets = np.full((3, 12, 3), np.nan, np.float32)
    for k, size in enumerate(SIZES):
        sets[k, :size] = points[:size]
    write(tmp_path, jets(points, **{"sample.num_points": 0}), sets)
    tab = opened(tmp_path / "report.html")
    assert tab.page.inner_text("h1") == "<b>jets</b>"
    assert "shown are the first two, eta and phi" in tab.page.inner_text("main")
    table = tab.page.evaluate("csvOf(data.samples)").splitlines()
    assert table[0] == "jet,eta,phi,pt" and len(table) == 1 + 30
    assert [line.split(",")[0] for line in table[1:]] == ["0"] * 8 + ["1"] * 12 + ["2"] * 10
    np.testing.assert_allclose(np.array(table[9].split(","), float)[1:], points[0], atol=1e-3)
    assert tab.page.locator(".sets button").count() == 3


def test_given_points_are_marked(opened, tmp_path):
    setup = td.build(options())
    given = np.array([[0.0, 0.5], [1.0, 0.0]])
    sets = np.random.default_rng(2).normal(size=(2, 20, 2))
    sets[:, :2] = given
    write(tmp_path, setup, sets, given)
    tab = opened(tmp_path / "report.html")
    assert tab.page.inner_text("h1") == "moons: completed from 2 points"
    assert "contain the same 2 given points" in tab.page.inner_text(".lead")
    assert "given point" in tab.page.inner_text(".legend")
    marked = tab.pixels()
    blue, other = tab.page.evaluate("""() => {
      const colours = players[0].lookOf(0).colours;
      return [[...colours.slice(0, 6)], [...colours.slice(6, 9)]];
    }""")
    assert blue == [0x2B, 0x4A, 0x6F] * 2 and other == [0xD9, 0x62, 0x2B]
    assert tab.page.locator(".legend .ring").count() == 1
    tab.page.uncheck("[data-do=marks]")
    assert tab.pixels() != marked


def test_a_chain_shows_its_blocks_one_after_the_other(opened, tmp_path):
    setup = jets(np.random.default_rng(1).normal(size=(30, 2)), **{
        "model.name": "history", "sample.first_block": 4, "sample.growth": 2.0,
        "sample.num_points": 16,
    })  # fmt: skip
    write(tmp_path, setup, np.random.default_rng(3).normal(size=(2, 16, 2)))
    page = opened(tmp_path / "report.html").page
    there = lambda time: page.evaluate("""time => { const p = players[0].reverse,
        xy = new Float32Array(32); p.positions(0, time, xy);
        return [...xy].filter((x) => !Number.isNaN(x)).length / 2; }""", time)
    assert [there(time) for time in (0, 0.4, 0.9, 1)] == [4, 8, 16, 16]  # blocks of 4, 4 and 8
    page.evaluate("playback.seek(0.4)")
    assert page.inner_text("[data-show=block]") == "2 of 3"


@pytest.mark.parametrize("size", ["wide", "phone"])
def test_real_sets_are_a_row_below_the_generated_sets(opened, mixture, size):
    tab = opened(mixture[0] / "report.html", size=size)
    page, real = tab.page, tab.page.locator(".sets.real canvas")
    assert real.count() == 5 and not tab.too_wide()  # as many as generated sets, at most 6
    names = page.locator(".sets.real li").all_inner_texts()
    assert names == data_of(mixture[0])["player"]["real_names"] and set(names) == {
        "moons", "circle"}  # fmt: skip
    # A picture has the colour of its member and no other, and does not move with the player.
    pictures = [real.nth(k).evaluate("c => c.toDataURL()") for k in range(5)]
    page.fill("[data-do=time]", "200")
    assert [real.nth(k).evaluate("c => c.toDataURL()") for k in range(5)] == pictures
    hues = real.nth(0).evaluate("""canvas => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      const paper = cssColour("--panel"), ink = players[0].realColour(0);
      let worst = 0, inked = 0;
      for (let i = 0; i < data.length; i += 4) {
        const s = (paper[0] - data[i]) / (paper[0] - ink[0]);
        inked += s > 0.3;
        for (let c = 0; c < 3; c++)
          worst = Math.max(worst, Math.abs(paper[c] + s * (ink[c] - paper[c]) - data[i + c]));
      }
      return [worst, inked];
    }""")
    assert hues[0] < 6 and hues[1] > 100
    if size == "wide":  # one row
        tops = page.eval_on_selector_all(".sets.real li", "all => all.map((e) => e.offsetTop)")
        assert len(set(tops)) == 1
