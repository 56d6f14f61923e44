"""Check what the live page keeps in its address, and its pictures and films."""

import io

import numpy as np
import pytest
from command_line import ROOT

PAGE = ROOT / "docs" / "live.html"
DONE = "document.body.dataset.state === 'done'"
ADDRESS = "location.hash.slice(1)"


def set_range(page, name: str, value: float) -> None:
    page.eval_on_selector(f"#{name}", """(input, value) => {
      input.value = value;
      input.dispatchEvent(new Event("input", { bubbles: true }));
    }""", value)  # fmt: skip


def opened_at(opened, address: str, **how):
    """Open the page with a fragment, as a link does."""

    class Address:
        def as_uri(self):
            return f"{PAGE.as_uri()}#{address}"

    return opened(Address(), **how)


def test_the_address_restores_the_set(opened):
    """A set with placed points, options and seed is drawn again from its address."""
    first = opened(PAGE)
    page = first.page
    set_range(page, "steps", 2)
    set_range(page, "points", 12)
    set_range(page, "guidance", 2)
    page.select_option("#sampler", "ddim")
    page.click("#chips span:text-is('7')")
    box = page.locator("#board").bounding_box()
    page.mouse.click(box["x"] + 0.4 * box["width"], box["y"] + 0.3 * box["height"])
    page.check("#field")
    page.fill("#seed", "77")
    page.press("#seed", "Enter")
    first.wait(DONE, 20)
    first.wait(f"{ADDRESS}.includes('seed=77') && {ADDRESS}.includes('given=')", 20)
    kept = "[scene.drawn, scene.given, numSteps(), $('sampler').value, $('guidance').value, seed]"
    state, address = page.evaluate(f"[{kept}, {ADDRESS}]")
    second = opened_at(opened, address)
    second.wait(DONE, 20)
    drawn, given, *rest = second.page.evaluate(kept)
    assert rest == state[2:] == [5, "ddim", "2", 77] and len(given) == 2
    np.testing.assert_allclose(given, state[1], atol=1e-4)  # four decimals are kept
    np.testing.assert_allclose(drawn, state[0], atol=0.02)
    assert second.page.is_checked("#field") and "label 7" in second.page.inner_text("#status")


def test_a_seed_that_is_being_typed_stays_when_a_set_is_finished(opened):
    tab = opened(PAGE)
    tab.wait(DONE, 20)
    tab.page.fill("#seed", "77")
    tab.page.evaluate("finish(1)")  # of a set that was drawn meanwhile
    assert tab.page.input_value("#seed") == "77"
    tab.page.press("#seed", "Enter")
    tab.wait("seed === 77", 20)
    tab.page.fill("#seed", "0")
    tab.page.press("#seed", "Enter")
    tab.wait("seed === 1 && $('seed').value === '1'", 20)


def test_the_address_restores_two_samplers(opened):
    address = ("tab=pair&pair-model=1&pair-seed=9&left-sampler=ddim&left-steps=2"
               "&right-spacing=log_snr")  # fmt: skip
    tab = opened_at(opened, address)
    tab.wait("pair.root.dataset.state === 'done'", 30)
    values = tab.page.evaluate(
        "['pair-seed', 'left-sampler', 'left-steps', 'right-spacing'].map((id) => $(id).value)"
    )
    assert values == ["9", "ddim", "2", "log_snr"]
    left = tab.page.evaluate("[...pair.sets.left.set]")
    tab.page.evaluate("location.hash = 'tab=pair&pair-seed=10'")  # a link within the page
    tab.wait("$('pair-seed').value === '10' && pair.root.dataset.state === 'done'", 30)
    assert tab.page.evaluate("[...pair.sets.left.set]") != left


@pytest.mark.parametrize("address", ["train", "model=none&steps=x&seed=-4&given=1,b,3&sampler=<b>"])
def test_an_address_that_does_not_fit_is_safe(opened, address):
    tab = opened_at(opened, address)
    tab.wait("document.body.dataset.state === 'ready'" if address == "train" else DONE, 20)
    assert tab.page.evaluate("[scene.given.length, seed]") == [0, 1]
    assert tab.page.is_visible("#train-panel") == (address == "train")


def test_a_seed_draws_the_same_set_again(opened):
    tab = opened(PAGE)
    tab.wait(DONE, 20)
    drawn = "[...scene.drawn]"
    first = tab.page.evaluate(drawn)
    tab.page.click("#again")
    tab.wait(DONE, 20)
    assert tab.page.evaluate(drawn) != first and tab.page.input_value("#seed") == "2"
    tab.page.fill("#seed", "1")
    tab.page.press("#seed", "Tab")
    tab.wait(DONE, 20)
    assert tab.page.evaluate(drawn) == first


def saved(page, button: str) -> bytes:
    with page.expect_download(timeout=60_000) as waiting:
        page.click(button)
    return open(waiting.value.path(), "rb").read()


def test_the_film_is_saved_as_a_gif(opened):
    """Pillow reads it: its frames run from noise to the set, in the colours of the page."""
    image = pytest.importorskip("PIL.Image")
    tab = opened(PAGE)
    tab.wait(DONE, 20)
    tab.page.select_option("#model", "1")
    set_range(tab.page, "steps", 2)
    tab.page.click("#complete")
    assert tab.page.is_disabled("#save-gif")
    tab.wait(DONE, 30)
    set_range(tab.page, "film-time", 1)  # the film is whole wherever its slider is
    frames = tab.page.evaluate("film.frames.length + 1")
    film = image.open(io.BytesIO(saved(tab.page, "#save-gif")))
    assert film.n_frames == frames and film.size == (400, 400) and film.info["loop"] == 0
    pictures = []
    for i in range(film.n_frames):
        film.seek(i)
        pictures.append(np.asarray(film.convert("RGB"), float))
    tab.wait("film.frames.length && !$('save-gif').disabled")
    last = tab.page.evaluate(
        "[...joinPlanes(sampleFilm, 400).getContext('2d').getImageData(0, 0, 400, 400).data]"
    )
    last = np.reshape(last, (400, 400, 4))[..., :3]
    assert np.abs(pictures[-1] - last).mean() < 1 and np.abs(pictures[-1] - last).max() < 40
    assert all(np.abs(a - b).mean() > 0.5 for a, b in zip(pictures, pictures[1:-1], strict=False))


def test_noise_is_compressed_without_loss(scripts):
    """Frames of 256 colours in random order fill the table of codes several times."""
    image = pytest.importorskip("PIL.Image")
    script = scripts("gif.js")
    rng = np.random.default_rng(0)
    levels = np.array([4 + 8 * k for k in range(32)])
    colours = np.stack([levels[rng.permutation(256) % 32] for _ in range(3)], -1)
    indices = rng.integers(0, len(colours), (2, 90 * 70))
    pixels = np.concatenate([colours[indices], np.full((2, 90 * 70, 1), 255)], -1)
    found = script.evaluate("""([width, height, frames]) => {
      const gif = new GifWriter(width, height, frames.flat());
      for (const frame of frames) gif.add(frame, 5);
      const parts = gif.parts.map((part) => [...part]);
      return [...parts.flat(), 0x3b];
    }""", [90, 70, pixels.reshape(2, -1).tolist()])  # fmt: skip
    film = image.open(io.BytesIO(bytes(found)))
    for i in range(2):
        film.seek(i)
        read = np.asarray(film.convert("RGB")).reshape(-1, 3)
        np.testing.assert_array_equal(read, colours[indices[i]])


def test_a_picture_is_copied_or_saved(opened):
    image = pytest.importorskip("PIL.Image")
    tab = opened(PAGE)
    tab.wait(DONE, 20)
    tab.page.click("#copy-png")
    tab.wait("$('copy-png').textContent === 'Copied'", 10)
    tab.page.evaluate("void (navigator.clipboard.write = () => Promise.reject())")
    picture = image.open(io.BytesIO(saved(tab.page, "#copy-png")))
    pixels = np.asarray(picture.convert("RGB"), int)
    assert picture.size[0] > 400 and (pixels[0, 0] == 255).all()
    orange = np.abs(pixels - [217, 98, 43]).sum(-1) < 60
    assert orange.sum() > 200
    assert "Saved points.png" in tab.page.inner_text("#copy-png")


@pytest.mark.parametrize("tab_name", ["sample", "pair", "train"])
def test_the_wall_has_large_type(opened, tab_name):
    tab = opened(PAGE, size="wide")
    tab.page.click(f"[data-tab={tab_name}]")
    size = lambda: tab.page.evaluate("parseFloat(getComputedStyle($('wall')).fontSize)")
    before = size()
    tab.page.click("#wall")
    assert size() >= 1.3 * before and not tab.too_wide()
    tab.page.click("#wall")
    tab.wait("!document.documentElement.classList.contains('wall')")
    assert size() == before
