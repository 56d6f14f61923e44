"""Check the guided page: its exact densities agree with the library, and each chapter works."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import ROOT
from oracle import GaussianMixture, MemberMixture

from tiny_diffusion_jax.diffusion import Level, Process
from tiny_diffusion_jax.diffusion.ode_likelihood import divergence, log_likelihood
from tiny_diffusion_jax.diffusion.schedules import make_schedule
from tiny_diffusion_jax.metrics.score_field import Counts, of_data
from tiny_diffusion_jax.run.released import load_released
from tiny_diffusion_jax.web.live import live_model
from tiny_diffusion_jax.web.tour import CHAPTERS, EXACT, MODEL, STD, density, tour_page

PAGE = ROOT / "docs" / "tour.html"
DATA = re.compile(r'<script type="application/json".*?</script>', re.DOTALL)
FIELD = """([means, weights, std, places, level]) => {
  const law = new Law(Float32Array.from(means), std, Float64Array.from(weights));
  return places.map(([x, y]) => {
    const { logDensity, x_0, divergence } = law.at(x, y, level);
    return [logDensity, ...x_0, divergence];
  });
}"""
SETS = """([members, std, x_t, level, given]) => {
  const law = new SetLaw(members.map((means) => new Law(Float32Array.from(means), std)));
  return [law, law.single].map((one) => [...one.denoise(Float32Array.from(x_t), level, given)]);
}"""
FLOW = """([means, std, [x, y], steps]) => {
  const law = new Law(Float32Array.from(means), std);
  return odeLikelihood(law, [x, y], makeLevels("karras"), steps).logDensity;
}"""


@pytest.fixture(scope="module")
def script(scripts):
    """Scripts of the page that compute, without a page."""
    return scripts(*EXACT)


def mixture(means: np.ndarray, std: float, weights=None) -> GaussianMixture:
    count = len(means)
    weights = np.full(count, 1 / count) if weights is None else weights
    return GaussianMixture(
        jnp.asarray(weights, jnp.float32), jnp.asarray(means, jnp.float32),
        jnp.full((count, 2), std, jnp.float32), jnp.zeros(count),
    )  # fmt: skip


# ---------------------------------------------------------------- exact densities


@pytest.mark.parametrize("nu", [0.1, 0.7, 5.0])
def test_the_field_is_the_exact_field_of_the_library(script, nu):
    """`metrics/score_field.py` computes the field of point masses on a grid, in float64."""
    rng = np.random.default_rng(0)
    axis, nodes = np.linspace(-1.5, 1.5, 12), np.linspace(-2, 2, 9)
    share = rng.random((12, 12))
    share /= share.sum()
    field, density_up_to_factor = of_data(Counts(share, axis, axis), nodes, nodes, nu)
    means = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    means = means.astype(np.float32).astype(float)  # the page has float32
    places = np.stack(np.meshgrid(nodes, nodes), -1).reshape(-1, 2)
    level = {"alpha": 1, "sigma": nu}
    found = np.array(
        script.evaluate(
            FIELD, [means.ravel().tolist(), share.ravel().tolist(), 0, places.tolist(), level]
        )
    )
    np.testing.assert_allclose((found[:, 1:3] - places) / nu, field.reshape(-1, 2), atol=1e-5)
    ratio = np.exp(found[:, 0]) / density_up_to_factor.ravel()
    np.testing.assert_allclose(ratio, 1 / (2 * np.pi * nu**2), rtol=1e-5)


@pytest.mark.parametrize("level", [(1.0, 0.3), (0.8, 0.6), (0.3, 2.0)])
def test_components_with_width(script, level):
    """Density, mean and divergence of wide components, at levels with alpha < 1, too."""
    rng = np.random.default_rng(1)
    means, weights = rng.normal(size=(5, 2)), rng.dirichlet(np.ones(5))
    places, level = rng.normal(size=(30, 2)) * 2, Level(0.5, *level)
    exact = mixture(means, 0.4, weights)
    x = jnp.asarray(places, jnp.float32)[None]
    x_0, slope = divergence(lambda x: exact.denoise(x, level), x)
    found = np.array(script.evaluate(FIELD, [
        means.ravel().tolist(), weights.tolist(), 0.4, places.tolist(),
        {"alpha": level.alpha, "sigma": level.sigma}]))  # fmt: skip
    np.testing.assert_allclose(found[:, 0], exact.log_prob(x, level)[0], atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(found[:, 1:3], x_0[0], atol=1e-5)
    np.testing.assert_allclose(found[:, 3], slope[0], atol=2e-5)


def test_denoisers_of_sets(script):
    """The joint denoiser and the denoiser of single points, with and without given points."""
    rng = np.random.default_rng(2)
    means, std = rng.normal(size=(2, 4, 2)), 0.3
    x_t, level = rng.normal(size=(1, 6, 2)), Level(0.5, 1.0, 0.8)
    members = [mixture(each, std) for each in means]
    both = MemberMixture(jax.tree.map(lambda *a: jnp.stack(a), *members), jnp.full(2, 0.5))
    x = jnp.asarray(x_t, jnp.float32)
    ask = lambda given: np.array(script.evaluate(SETS, [
        means.reshape(2, -1).tolist(), std, x_t.ravel().tolist(),
        {"alpha": 1, "sigma": 0.8}, given])).reshape(2, 6, 2)  # fmt: skip
    joint, single = ask([])
    np.testing.assert_allclose(joint, both.denoise(x, level)[0], atol=1e-5)
    np.testing.assert_allclose(single, both.point_denoise(x, level)[0], atol=1e-5)
    assert np.abs(joint - single).max() > 0.05
    certain = means[1, 0].tolist() * 20  # clean points, all at a component of the second member
    np.testing.assert_allclose(ask(certain)[0], members[1].denoise(x, level)[0], atol=1e-4)


def test_likelihood_of_the_flow(script):
    """The integral agrees with `diffusion/ode_likelihood.py`, and with the exact density."""
    means, std = np.random.default_rng(3).normal(size=(6, 2)), 0.3
    means = (means - means.mean(0)) * np.sqrt((1 - std**2) / means.var(0).mean())
    exact, points = mixture(means, std), np.array([[0.3, 0.2], [1.0, -1.0]])
    process = Process(make_schedule("karras", 1000, sigma_max=12.0))
    x = jnp.asarray(points, jnp.float32)[None]
    for steps, tolerance in ((16, 0.05), (128, 5e-3)):
        found = [script.evaluate(FLOW, [means.ravel().tolist(), std, point, steps])
                 for point in points.tolist()]  # fmt: skip
        wanted = log_likelihood(process, exact.denoise, x, steps)[0]
        np.testing.assert_allclose(found, wanted, atol=1e-4)
        np.testing.assert_allclose(found, exact.log_prob(x)[0], atol=tolerance)


def test_densities_have_mean_0_and_variance_1():
    for name in ("dino", "moons"):
        means = density(name)
        np.testing.assert_allclose(means.mean(0), 0, atol=1e-12)
        assert means.var(0).mean() + STD**2 == pytest.approx(1)


# ---------------------------------------------------------------- the committed page


def test_the_committed_page_is_up_to_date():
    page = tour_page(live_model(*load_released(MODEL), MODEL))
    committed = PAGE.read_text("utf-8")
    assert DATA.sub("", page) == DATA.sub("", committed), "copy tour.html of --mode=live to docs/"
    assert len(committed) < 5e6
    assert len(re.findall(r"<math\b", committed)) >= 8 and "$$" not in committed


def test_no_number_is_written_by_hand():
    """Elements for numbers are empty in the file, so only the scripts can fill them."""
    text = PAGE.read_text("utf-8")
    filled = re.findall(r"<(?:b|output|span) data-tour=\"[\w-]+\">([^<]*)<", text)
    assert len(filled) > 30 and set(filled) <= {"", "…"}
    chapters = text[text.index("<main>") : text.index("</main>")]
    sentences = re.sub(r"<math.*?</math>|<[^>]+>", " ", chapters, flags=re.DOTALL)
    assert not re.search(r"\d\.\d", sentences)


# ---------------------------------------------------------------- in the browser


def chapter(tab, name: str):
    """Scroll to a chapter, and return its element when it has started."""
    tab.page.set_default_timeout(90_000)  # ms: the densities take long on a busy machine
    tab.page.evaluate(f"document.getElementById('{name}').scrollIntoView()")
    tab.wait(f"document.getElementById('{name}').dataset.state === 'ready'", 60)
    return tab.page.locator(f"#{name}")


def text(part, name: str) -> str:
    return part.locator(f"[data-tour={name}]").inner_text()


def set_range(tab, name: str, control: str, value: float) -> None:
    """Move a slider, and wait until the chapter has drawn."""
    tab.page.locator(f"#{name} [data-tour={control}]").evaluate("""(input, value) => {
      input.value = value;
      input.dispatchEvent(new Event("input", { bubbles: true }));
    }""", value)  # fmt: skip
    tab.wait(f"!tour.{name}.isDue", 60)


def drag(tab, part, start, end) -> None:
    """Drag in the first plane of a chapter, between positions in [0, 1]."""
    box = part.locator("canvas").first.bounding_box()
    at = lambda x, y: (box["x"] + x * box["width"], box["y"] + y * box["height"])
    tab.page.mouse.move(*at(*start))
    tab.page.mouse.down()
    tab.page.mouse.move(*at(*end), steps=3)
    tab.page.mouse.up()
    tab.page.wait_for_timeout(100)


@pytest.mark.parametrize("how", [("wide", "light"), ("phone", "dark")])
def test_every_chapter_starts_and_answers(opened, how):
    """All numbers and answers are filled, and the page fits the screen."""
    tab = opened(PAGE, size=how[0], scheme=how[1])
    assert tab.page.locator("section.chapter").count() == len(CHAPTERS) == 8
    for name in CHAPTERS:
        part = chapter(tab, name)
        part.locator("summary").click()
        empty = f"""[...document.querySelectorAll('#{name} :is(b, output)[data-tour]')]
          .filter((each) => !each.textContent || each.textContent.includes('NaN')).length"""
        tab.wait(f"{empty} === 0", 60)
    assert not tab.too_wide()


def test_noise_hides_the_shape_sooner_from_one_point(opened):
    tab = opened(PAGE)
    part = chapter(tab, "noising")
    part.locator("summary").click()
    for level, data in ((0.0, (0, 1)), (0.3, (10, 40)), (0.999, (99.9, 100))):
        set_range(tab, "noising", "level", level)
        low, high = data
        assert low <= float(text(part, "share").split()[0]) <= high
        one, group = (int(text(part, name).split("\xa0")[0]) for name in ("one", "group"))
        assert group >= one - 5 and (level or 35 < one < 65)
    assert one > 85


def test_an_answer_is_computed_once_for_each_question(opened):
    """Only a noise level that the answer depends on changes it; dragging does not."""
    tab = opened(PAGE)
    part = chapter(tab, "score")
    tab.page.evaluate("""() => {
      const { score } = tour, { answer } = score;
      score.count = 0;
      score.answer = () => { score.count += 1; answer.call(score); };
    }""")
    count = lambda: tab.page.evaluate("tour.score.count")
    assert count() == 0
    part.locator("summary").click()
    tab.wait("tour.score.count === 1", 60)
    drag(tab, part, (0.2, 0.2), (0.8, 0.3))
    part.locator("summary").click()
    part.locator("summary").click()
    tab.page.wait_for_timeout(300)
    assert count() == 1
    for moves, level in enumerate((0.2, 0.2, 0.6)):
        set_range(tab, "score", "level", level)
        assert count() == (2 if moves < 2 else 3) and text(part, "peaks")


def test_rings_are_dragged_by_mouse_and_keyboard(opened):
    """The score points to the nearest stroke at low noise, and to the middle at high noise."""
    tab = opened(PAGE, size="wide")
    part = chapter(tab, "score")
    set_range(tab, "score", "level", 0)
    x, y = (float(v.replace("−", "-")) for v in text(part, "guess").strip("()").split(","))
    assert np.hypot(x, y) < 0.3
    set_range(tab, "score", "level", 0.9)
    drag(tab, part, (0.2, 0.2), (0.8, 0.3))
    right = text(part, "guess")
    assert float(right.strip("(").split(",")[0].replace("−", "-")) > 0.5
    part.locator("canvas").focus()
    for _ in range(30):
        tab.page.keyboard.press("ArrowLeft")
    tab.wait("!tour.score.isDue")
    assert text(part, "guess") != right
    part = chapter(tab, "path")
    ends = set()
    for end in ((0.7, 0.2), (0.2, 0.8)):
        drag(tab, part, (0.5, 0.5), end)
        ends.add(text(part, "where"))
    drag(tab, part, (0.5, 0.5), (0.2, 0.8))
    assert len(ends) == 2 and text(part, "where") in ends  # the same start, the same end
    part.locator("[data-tour=fresh]").check()
    tab.wait("!tour.path.isDue")
    assert float(text(part, "number")) > 0.3


def test_a_finger_scrolls_or_taps(opened):
    """A finger away from the ring moves it only if it lifts at the same place."""
    tab = opened(PAGE, size="phone")
    part = chapter(tab, "path")
    touch = lambda name: part.locator("canvas").evaluate("""(canvas, name) => {
      const box = canvas.getBoundingClientRect();
      const at = { clientX: box.x + 30, clientY: box.y + 40, pointerType: "touch", pointerId: 9 };
      canvas.dispatchEvent(new PointerEvent(name, { bubbles: true, ...at }));
      return tour.path.plane.handles[0];
    }""", name)  # fmt: skip
    first = tab.page.evaluate("tour.path.plane.handles[0]")
    assert touch("pointerdown") == first
    assert touch("click")[0] < -1


def test_more_steps_are_nearer_to_the_exact_ends(opened):
    tab = opened(PAGE)
    part = chapter(tab, "steps")
    assert float(text(part, "spread")) < 0.2  # one step: the mean of the data
    set_range(tab, "steps", "steps", 5)
    assert text(part, "steps-text") == "25" and 0.9 < float(text(part, "spread")) < 1.1
    tab.wait("document.getElementById('steps').dataset.chart === 'ready'", 60)
    for line in tab.page.evaluate("tour.steps.lines"):
        assert line["y"][0] > 0.7 and line["y"][-1] < 0.05, line["name"]
        order = ("ddim", "heun", "dpm++2m")  # as on the live page
        assert line["colour"] == f"var(--member-{order.index(line['name'])})"


def test_guidance_is_sure_and_covers_less(opened):
    tab = opened(PAGE)
    part = chapter(tab, "guidance")
    found = {}
    for scale in (0, 1, 3):
        set_range(tab, "guidance", "scale", scale)
        found[scale] = [int(text(part, name).split("\xa0")[0]) for name in ("sure", "cover")]
    assert found[0][0] < 70 < found[1][0] < found[3][0] and found[3][1] < found[1][1] - 10


def test_sets_separate_only_together(opened):
    tab = opened(PAGE)
    part = chapter(tab, "superposition")
    left, right = (int(text(part, f"{side}-share").split("\xa0")[0]) for side in ("left", "right"))
    assert 30 < left < 70 and (right < 20 or right > 80)
    set_range(tab, "superposition", "size", 0)
    assert text(part, "left-share") == text(part, "right-share")  # a single point
    set_range(tab, "superposition", "time", 0)
    assert text(part, "time-text") == "t = 1.00"
    part.locator("[data-tour=play]").click()
    tab.wait("document.querySelector('#superposition [data-tour=time]').value === '25'", 60)
    part.locator("[data-tour=play]").click()
    set_range(tab, "superposition", "time", 3)  # stops the film
    tab.page.wait_for_timeout(300)
    assert part.locator("[data-tour=time]").input_value() == "3"


def test_the_network_completes_given_points(opened):
    tab = opened(PAGE, size="wide")
    part = chapter(tab, "completion")
    drawn = "Number(document.getElementById('completion').dataset.drawn ?? 0)"
    tab.wait(f"{drawn} >= 1", 60)
    assert text(part, "given-count") == "3" and "100" in text(part, "certain")
    assert "1 of 1" in text(part, "tries") or "0 of 1" in text(part, "tries")
    drag(tab, part, (0.5, 0.22), (0.3, 0.2))
    tab.wait(f"{drawn} >= 2", 60)
    assert text(part, "given-count") == "4"
    part.locator("[data-tour=clear]").click()
    # The drag may have drawn several sets, so wait for the set without points.
    tab.wait("document.querySelector('#completion [data-tour=given-count]').innerText === '0'", 60)
    assert text(part, "certain") == "50\xa0%"


def test_the_flow_has_the_exact_likelihood(opened):
    tab = opened(PAGE)
    part = chapter(tab, "likelihood")
    errors = []
    for steps in (0, 5):
        set_range(tab, "likelihood", "steps", steps)
        errors.append(float(text(part, "error")))
    assert errors[1] < 0.02 and errors[1] < errors[0]
