"""Check films: frames, sizes and colours, and that dots are drawn at the points."""

import sys

import numpy as np
import pytest
from PIL import Image, ImageColor
from sklearn.datasets import make_moons

from tiny_diffusion_jax.figures import film, ink, style
from tiny_diffusion_jax.figures.film import save_film, save_grid_film
from tiny_diffusion_jax.figures.frames import grow, select_frames
from tiny_diffusion_jax.figures.style import COOL, MEMBERS, SAMPLES

DATA = make_moons(300, noise=0.03, random_state=0)[0].astype(np.float32)
NOISE = np.random.default_rng(0).normal(size=DATA.shape).astype(np.float32)
FORWARD = np.stack([np.cos(a) * DATA + np.sin(a) * NOISE for a in np.linspace(0, np.pi / 2, 12)])
LABELS = [f"level {i}" for i in range(12)]


def test_gif_has_its_frames_durations_and_size(tmp_path):
    save_film(tmp_path / "a.gif", FORWARD, LABELS, "moons", size=200)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 12 and gif.size == (200, 240) and gif.info["loop"] == 0
        durations = []
        for i in range(gif.n_frames):
            gif.seek(i)
            durations.append(gif.info["duration"])
    assert durations == [500] + [70] * 10 + [2_000]


def test_gif_repeats_and_its_caption_changes_with_the_label(tmp_path):
    for name in ("a.gif", "b.gif"):
        save_film(tmp_path / name, FORWARD[:2], ["x", "x"], "t", size=200)
    save_film(tmp_path / "c.gif", FORWARD[:2], ["x", "y"], "t", size=200)
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()
    captions = []
    for name in ("a.gif", "c.gif"):
        with Image.open(tmp_path / name) as gif:
            gif.seek(1)
            captions.append(np.asarray(gif.convert("RGB"))[204:])
    assert (captions[0] != captions[1]).any()
    with pytest.raises(ValueError):
        save_film(tmp_path / "d.gif", FORWARD[:2], ["x"], "t", size=200)


def test_gif_shows_points_where_they_are_in_the_colours_asked_for(tmp_path):
    # dense at the lower left, sparse at the upper right
    corner = np.array([[0.0, 0.0]] * 40 + [[1.0, 1.0]] * 2)
    save_film(
        tmp_path / "a.gif", corner[None], [""], "", ramp=COOL, size=100
    )
    image = np.asarray(Image.open(tmp_path / "a.gif").convert("RGB"))[:100].astype(int)
    ink = (255 - image).sum(-1)
    low_left, high_right = ink[50:, :50], ink[:50, 50:]
    assert low_left.max() > high_right.max() > 100
    assert ink[:50, :50].max() < 30 and ink[50:, 50:].max() < 30  # background
    red, _, blue = image[np.unravel_index(ink.argmax(), ink.shape)]
    assert blue > red


def test_splat_keeps_the_ink_and_the_place_of_every_dot():
    dots = np.array([[20.3, 40.8], [60.0, 10.5]])
    density = lambda dots: -np.log1p(-ink.splat(dots, 80, 40).astype(float))  # no tone curve
    drawn = density(dots)
    for dot in dots:
        assert density(dot[None]).sum() == pytest.approx(drawn.sum() / 2, rel=1e-4)
    y, x = np.mgrid[:80, :80] + 0.5
    assert (drawn * x).sum() / drawn.sum() == pytest.approx(dots[:, 0].mean(), abs=1e-3)
    assert (drawn * y).sum() / drawn.sum() == pytest.approx(dots[:, 1].mean(), abs=1e-3)
    assert ink.splat(np.array([[-5.0, 3], [3, 500]]), 80).max() == 0  # points outside are not drawn


def test_camera_holds_the_points_of_every_frame_even_as_they_shrink():
    shrinking = NOISE * np.geomspace(80, 1, 30)[:, None, None]
    centre, half = film._camera(shrinking)
    inside = (np.abs(shrinking - centre[:, None]) < half[:, None, None]).all(-1).mean(-1)
    assert inside.min() > 0.97
    ratio = half / np.abs(shrinking).max((1, 2))
    assert ratio.min() > 0.7 and ratio.max() < 1.3  # the view is not much larger than the points


def test_select_frames_gives_most_to_the_levels_where_shapes_come_out():
    alpha_bar = np.cumprod(1 - np.linspace(1e-4, 0.02, 1_000))
    log_snr = np.log(alpha_bar / (1 - alpha_bar))
    chosen = select_frames(log_snr, 40)
    assert chosen[0] == 0 and chosen[-1] == 999 and 30 < len(chosen) <= 40
    share = np.sqrt(1 - alpha_bar[chosen])
    assert 0.35 < np.mean(share < 0.25) < 0.65  # a tenth of the levels has half of the frames
    assert np.mean(np.sqrt(1 - alpha_bar) < 0.25) < 0.12
    np.testing.assert_array_equal(select_frames(log_snr[::-1], 40), 999 - chosen[::-1])
    infinite = select_frames([np.inf, 9, 8.9, -9, -np.inf], 3)
    assert infinite[0] == 0 and infinite[-1] == 4
    np.testing.assert_array_equal(select_frames(log_snr[:7], 40), range(7))


def test_a_long_animation_is_small(tmp_path):
    angle = np.linspace(0, np.pi / 2, 40)[:, None, None]
    data = make_moons(4_000, noise=0.03, random_state=1)[0]
    noise = np.random.default_rng(1).normal(size=data.shape)
    trajectory = np.cos(angle) * data + np.sin(angle) * noise
    save_film(tmp_path / "a.gif", trajectory, ["label"] * 40, "moons")
    assert (tmp_path / "a.gif").stat().st_size < 1_500_000


# ---------------------------------------------------------------- many sets, and sets that grow


def read_gif(path):
    """(frames u8[F, h, w, 3], their durations in milliseconds)."""
    with Image.open(path) as gif:
        pages, durations = [], []
        for i in range(gif.n_frames):
            gif.seek(i)
            pages.append(np.asarray(gif.convert("RGB")))
            durations.append(gif.info["duration"])
    return np.stack(pages), durations


def closest(pixels, colors):
    """Index of the colour in `colors` that is nearest to the darkest pixel of u8[..., 3]."""
    flat = pixels.reshape(-1, 3).astype(int)
    darkest = flat[flat.sum(-1).argmin()]
    return int(((np.array([ImageColor.getrgb(c) for c in colors]) - darkest) ** 2).sum(-1).argmin())


def test_new_points_of_a_birth_have_another_colour_and_frames_may_grow(tmp_path):
    left, right = [-0.5, 0.0], [0.5, 0.0]
    frames = [np.zeros((0, 2)), [left], [left, right], [left, right]]
    new = [[], [True], [False, True], [False, False]]
    save_film(tmp_path / "a.gif", frames, list("abcd"), "t", new=new, size=100)
    pages, durations = read_gif(tmp_path / "a.gif")
    assert pages.shape == (4, 140, 100, 3) and durations == [500, 70, 70, 2_000]
    plane = pages[:, :100]
    ink = (plane != plane[0, 0, 0]).any(-1)
    assert not ink[0].any() and ink[1, :, :50].any() and not ink[1, :, 50:].any()
    warm_or_cool = (SAMPLES, style.DATA)
    seen = [[closest(page[:, half], warm_or_cool) for half in (slice(50), slice(50, 100))]
            for page in plane[2:]]  # fmt: skip
    assert closest(plane[1], warm_or_cool) == 1 and seen == [[0, 1], [0, 0]]


def test_the_view_of_a_birth_follows_a_cloud_but_holds_still_while_points_are_added():
    growing = [NOISE[:3], NOISE[:200], DATA]
    centre, half = film.view(growing)
    assert (centre == centre[0]).all() and (half == half[0]).all()
    assert (np.abs(DATA - centre[-1]) < half[-1]).all()
    centre, half = film.view([5 * DATA, DATA])
    assert half[0] == pytest.approx(5 * half[1], rel=1e-4)
    for empty in ([np.zeros((0, 2))], [np.full((3, 2), np.nan)]):
        assert np.isfinite(film.view(empty)[1]).all()


@pytest.mark.filterwarnings("error")
def test_points_that_are_not_finite_are_left_out(tmp_path):
    holes = np.concatenate([DATA, [[np.nan, 0], [np.inf, 1]]])
    for name, points in (("a", holes), ("b", DATA)):
        save_film(tmp_path / name, [points, DATA[:5], DATA], [""] * 3, "", size=100)
    assert np.abs(np.diff([read_gif(tmp_path / n)[0].astype(int) for n in "ab"], axis=0)).max() < 12


def test_few_points_are_drawn_larger_than_many():
    one = np.array([[50.5, 50.5]])
    areas = [(ink.splat(one, 101, count) > 0.2).sum() for count in (5, 20, 2_000)]
    assert areas[0] > areas[1] > areas[2] > 0
    assert all(0.6 < ink.splat(one, 101, count).max() < 0.8 for count in (5, 20, 2_000))


def test_grow_shows_block_after_block():
    way = np.stack([np.full((4, 2), s) + np.arange(4)[:, None] * 10 for s in (2, 1, 0)])
    frames, new = grow(way, [1, 1, 2], 99)
    assert [len(points) for points in frames] == [1, 1, 1, 2, 2, 2, 4, 4, 4]
    assert [points[:, 0].tolist() for points in frames[3:7]] == [
        [0, 12], [0, 11], [0, 10], [0, 10, 22, 32]
    ]  # fmt: skip
    assert new[3].tolist() == [False, True] and new[6].tolist() == [False, False, True, True]
    assert not new[5].any() and not new[8].any()
    frames, new = grow(way, [1, 1, 2], 4)
    assert len(frames) == len(new) == 4
    np.testing.assert_array_equal(frames[-1], way[-1])
    with pytest.raises(ValueError, match="sum to 3"):
        grow(way, [1, 2], 4)


def test_grids_show_each_set_in_its_panel_in_the_colour_of_its_member(tmp_path):
    count, member = 6, np.array([3, 0, 2, 1, 3, 11])
    ways = np.broadcast_to(FORWARD[::-1, None, :100], (12, count, 100, 2)).copy()
    ways[:, 4] = np.nan  # in this frame the set has no points yet
    for name in ("a.gif", "b.gif"):
        save_grid_film(tmp_path / name, ways, LABELS, "t", member, size=400)
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()
    pages, durations = read_gif(tmp_path / "a.gif")
    assert durations == [500] + [70] * 10 + [2_000]
    assert pages.shape == (12, 206 + 40, 400, 3)  # two rows of four, and the caption
    for k, m in enumerate(member):
        y, x = k // 4 * 100 + 6, k % 4 * 100 + 3
        panel = pages[-1, y : y + 94, x : x + 94]
        if k == 4:
            assert np.unique(panel.reshape(-1, 3), axis=0).shape == (1, 3)
            continue
        flat = panel.reshape(-1, 3).astype(int)
        shown, wanted = flat[flat.sum(-1) < 700], MEMBERS[m % 10]
        distance = np.abs(shown - ImageColor.getrgb(wanted)).sum(-1)
        others = [np.abs(shown - ImageColor.getrgb(c)).sum(-1).min() for c in MEMBERS[:4]
                  if c != wanted]  # fmt: skip
        assert distance.min() < min(30, *others)


@pytest.mark.parametrize("member, color", [(None, SAMPLES), ([0], MEMBERS[0]), ([11], MEMBERS[1])])
def test_a_set_has_the_colour_of_samples_or_of_its_member(member, color, tmp_path):
    """The most frequent strong tone of the last frame is nearest to the colour."""
    ways = np.broadcast_to(DATA[:256], (3, 1, 256, 2))
    save_grid_film(tmp_path / "a.gif", ways, ["label"] * 3, "t", member, size=300)
    panel = read_gif(tmp_path / "a.gif")[0][-1, 40:].reshape(-1, 3).astype(int)
    distance = [np.abs(panel - ImageColor.getrgb(c)).sum(-1).min() for c in (SAMPLES, *MEMBERS[:2])]
    assert (SAMPLES, *MEMBERS[:2])[int(np.argmin(distance))] == color


@pytest.mark.parametrize("count, columns", [(1, 1), (3, 3), (16, 4)])
def test_grids_of_any_number_of_sets_are_small(count, columns, tmp_path):
    rng = np.random.default_rng(0)
    angle = np.linspace(np.pi / 2, 0, 40)[:, None, None, None]
    data = np.broadcast_to(DATA[:256], (count, 256, 2))
    ways = np.cos(angle) * data + np.sin(angle) * rng.normal(size=data.shape)
    save_grid_film(tmp_path / "a.gif", ways, ["label"] * 40, "moons")
    assert (tmp_path / "a.gif").stat().st_size < 3e6
    rows = -(-count // columns)
    step = 560 // columns
    assert Image.open(tmp_path / "a.gif").size == (columns * step, rows * step + 6 + 40)


def test_a_long_title_leaves_room_for_the_label():
    short = ink.caption("", "log SNR +10.2", 480)
    for title in ("dino + moons + circle + MNIST 3: from noise", "moons + " * 40):
        page = ink.caption(title, "log SNR +10.2", 480)
        np.testing.assert_array_equal(page[:, 380:], short[:, 380:])
        assert page[:, :380].any()


@pytest.mark.parametrize("name", [
    "page", "style", "text", "samples", "loss", "sets", "attention", "film"
])  # fmt: skip
def test_importing_a_module_imports_no_plotting_library(name):
    import subprocess

    code = f"import tiny_diffusion_jax.figures.{name}, sys; "
    code += "print({'matplotlib', 'PIL'} & {*sys.modules})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert result.stdout.strip() == "set()", result.stderr
