"""Pictures: their sizes, their axes, what they say; dots land where the points are."""

import sys

import numpy as np
import pytest
from PIL import Image, ImageColor
from sklearn.datasets import make_moons

from tiny_diffusion_jax.figures import clouds as plotting
from tiny_diffusion_jax.figures import film as animation

DATA = make_moons(300, noise=0.03, random_state=0)[0].astype(np.float32)
NOISE = np.random.default_rng(0).normal(size=DATA.shape).astype(np.float32)
FORWARD = np.stack([np.cos(a) * DATA + np.sin(a) * NOISE for a in np.linspace(0, np.pi / 2, 12)])
LABELS = [f"level {i}" for i in range(12)]


def rows(count=60):
    return [
        {
            "step": 50 * (i + 1),
            "loss": 2.0 / (i + 1),
            "grad_norm": 1.0 / (i + 1),
            "steps_per_second": 1234.0,
            "loss_by_time": [4.0 / (i + 1), 2.0, 1.0],
        }
        for i in range(count)
    ]


def texts(figure):
    """Everything written on a figure, except the numbers of its axes."""
    titles = [ax.get_title(loc) for ax in figure.axes for loc in ("left", "right")]
    return " | ".join([figure.get_suptitle(), *(t.get_text() for t in figure.texts), *titles])


# ---------------------------------------------------------------- data beside samples


def test_both_panels_have_the_same_square_axes_and_hold_all_data():
    figure = plotting.samples_figure(DATA, DATA + 3, "moons")
    left, right = figure.axes
    assert left.get_xlim() == right.get_xlim() and left.get_ylim() == right.get_ylim()
    (x0, x1), (y0, y1) = left.get_xlim(), left.get_ylim()
    assert x1 - x0 == pytest.approx(y1 - y0)
    assert (DATA > [x0, y0]).all() and (DATA < [x1, y1]).all()
    assert left.get_aspect() == right.get_aspect() == 1
    shown = [ax.collections[0].get_offsets() for ax in figure.axes]
    np.testing.assert_allclose(shown[0], DATA)
    np.testing.assert_allclose(shown[1], DATA + 3)


def test_title_notice_and_counts_are_written():
    samples = np.concatenate([DATA, [[99, 0], [0, 99]]])
    written = texts(plotting.samples_figure(DATA, samples, "MNIST 3", notice="fell back"))
    for part in ("MNIST 3", "fell back", "300 points", "302 points, 2 outside"):
        assert part in written
    assert "fell back" not in texts(plotting.samples_figure(DATA, samples, "MNIST 3"))


def test_a_long_notice_is_wrapped_inside_the_figure():
    figure = plotting.samples_figure(DATA, DATA, "MNIST 3", notice="a long story " * 20)
    figure.canvas.draw()
    box = figure.texts[-1].get_window_extent()
    assert box.x1 < figure.bbox.x1 and box.height > 20
    assert box.y0 > figure.axes[0].title.get_window_extent().y1


def test_many_points_are_thinned_and_said_to_be():
    many = np.tile(DATA, (100, 1))
    figure = plotting.samples_figure(DATA, many, "moons")
    assert len(figure.axes[1].collections[0].get_offsets()) == plotting.MAX_DOTS
    assert "30,000 points, 20,000 drawn" in texts(figure)


def test_density_panel_shows_exp_log_density_upright_on_the_same_axes():
    log_density = np.full((4, 4), -np.inf)
    log_density[0, 3] = np.log(0.5)  # lowest y, largest x
    extent = (-1, 3, -2, 2)
    figure = plotting.samples_figure(DATA, DATA, "moons", "", log_density, extent)
    ax = figure.axes[2]
    (image,) = ax.images
    assert tuple(image.get_extent()) == extent and image.origin == "lower"
    assert image.get_array()[0, 3] == pytest.approx(0.5) and image.get_array().sum() == 0.5
    assert ax.get_xlim() == figure.axes[0].get_xlim() and ax.get_ylim() == figure.axes[0].get_ylim()
    default = plotting.samples_figure(DATA, DATA, "moons", log_density=log_density).axes[2].images
    assert tuple(default[0].get_extent()) == plotting.square_limits(DATA)


def test_png_files_have_the_size_of_their_figure_and_repeat(tmp_path):
    for name in ("a.png", "b.png"):
        plotting.save_samples(tmp_path / name, DATA, DATA, "moons", "notice")
    first, second = ((tmp_path / name).read_bytes() for name in ("a.png", "b.png"))
    assert first == second
    figure = plotting.samples_figure(DATA, DATA, "moons", "notice")
    with Image.open(tmp_path / "a.png") as image:
        assert image.format == "PNG"
        assert image.size == pytest.approx(160 * figure.get_size_inches(), abs=1)


@pytest.mark.parametrize("count, columns", [(1, 1), (5, 3), (9, 3)])
def test_grid_places_every_set_on_the_same_axes(count, columns, tmp_path):
    sets = np.stack([DATA + i for i in range(count)])
    figure = plotting.grid_figure(sets, "sets")
    assert len(figure.axes) == count
    assert len({(ax.get_xlim(), ax.get_ylim()) for ax in figure.axes}) == 1
    assert len({round(ax.get_position().x0, 6) for ax in figure.axes}) == columns
    for i, ax in enumerate(figure.axes):
        box = ax.get_position()
        assert 0 <= box.x0 < box.x1 <= 1 and 0 <= box.y0 < box.y1 <= 1
        np.testing.assert_allclose(ax.collections[0].get_offsets(), sets[i])
    if count == 1:
        plotting.save_grid(tmp_path / "grid.png", sets, "sets")
        assert Image.open(tmp_path / "grid.png").width > 400


# ---------------------------------------------------------------- the loss


def test_loss_figure_draws_the_rows(tmp_path):
    figure = plotting.loss_figure(rows())
    loss, by_time, grad = figure.axes
    np.testing.assert_allclose(loss.lines[0].get_xdata(), 50 * np.arange(1, 61))
    np.testing.assert_allclose(loss.lines[0].get_ydata(), 2 / np.arange(1, 61))
    np.testing.assert_allclose(grad.lines[0].get_ydata(), 1 / np.arange(1, 61))
    assert {ax.get_yscale() for ax in figure.axes} == {"log"}
    assert "3,000 steps" in texts(figure) and "1,234 steps/s" in texts(figure)
    assert len(by_time.lines) == 4  # from early to late quarter
    latest = by_time.lines[-1].get_ydata()
    np.testing.assert_allclose(latest, [np.mean(4 / np.arange(46, 61)), 2, 1])
    plotting.save_loss(tmp_path / "loss.png", rows())
    assert Image.open(tmp_path / "loss.png").width > 1_000


def test_loss_figure_takes_gaps_and_repeated_steps():
    log = [*rows(3), {"step": 100, "loss": 7.0}, {"step": 200, "loss": float("nan")}]
    log[0]["loss_by_time"] = [None, 2.0, float("nan")]
    figure = plotting.loss_figure(log)
    assert figure.axes[0].lines[0].get_ydata().tolist() == [2.0, 7.0, pytest.approx(2 / 3)]
    first = figure.axes[1].lines[0].get_ydata()
    assert np.isnan(first[[0, 2]]).all() and first[1] == 2
    for empty in ([], [{"step": 1}]):
        assert texts(plotting.loss_figure(empty)).count("none logged") == 3


def test_smoothing_keeps_a_constant_and_a_power_law():
    assert plotting._smooth(np.full(200, 3.0)) == pytest.approx(3.0)
    falling = np.exp(-0.01 * np.arange(200))
    inner = slice(0, 195)  # five rows at the end look back only
    assert plotting._smooth(falling)[inner] == pytest.approx(falling[inner])
    noisy = np.exp(np.random.default_rng(0).normal(size=200))
    assert np.log(plotting._smooth(noisy)).std() < 0.5 * np.log(noisy).std()


# ---------------------------------------------------------------- animations


def test_gif_has_its_frames_durations_and_size(tmp_path):
    animation.save_animation(tmp_path / "a.gif", FORWARD, LABELS, "moons", fps=20, hold=2, size=200)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 12 and gif.size == (200, 240) and gif.info["loop"] == 0
        durations = []
        for i in range(gif.n_frames):
            gif.seek(i)
            durations.append(gif.info["duration"])
    assert durations == [500] + [50] * 10 + [2_000]


def test_gif_repeats_and_its_caption_changes_with_the_label(tmp_path):
    for name in ("a.gif", "b.gif"):
        animation.save_animation(tmp_path / name, FORWARD[:2], ["x", "x"], "t", size=200)
    animation.save_animation(tmp_path / "c.gif", FORWARD[:2], ["x", "y"], "t", size=200)
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()
    captions = []
    for name in ("a.gif", "c.gif"):
        with Image.open(tmp_path / name) as gif:
            gif.seek(1)
            captions.append(np.asarray(gif.convert("RGB"))[204:])
    assert (captions[0] != captions[1]).any()
    with pytest.raises(ValueError):
        animation.save_animation(tmp_path / "d.gif", FORWARD[:2], ["x"], "t", size=200)


def test_gif_shows_points_where_they_are_in_the_colours_asked_for(tmp_path):
    corner = np.array([[0.0, 0.0]] * 40 + [[1.0, 1.0]] * 2)  # dense low left, sparse high right
    animation.save_animation(
        tmp_path / "a.gif", corner[None], [""], "", ramp=plotting.COOL, size=100
    )
    image = np.asarray(Image.open(tmp_path / "a.gif").convert("RGB"))[:100].astype(int)
    ink = (255 - image).sum(-1)
    low_left, high_right = ink[50:, :50], ink[:50, 50:]
    assert low_left.max() > high_right.max() > 100
    assert ink[:50, :50].max() < 30 and ink[50:, 50:].max() < 30  # paper
    red, _, blue = image[np.unravel_index(ink.argmax(), ink.shape)]
    assert blue > red


def test_splat_keeps_the_ink_and_the_place_of_every_dot():
    dots = np.array([[20.3, 40.8], [60.0, 10.5]])
    ink = -4 * np.log1p(-animation._splat(dots, 80, 40).astype(float))  # undo the tone curve
    assert ink.sum() == pytest.approx(2 * 16, rel=1e-4)  # the blur has weight 4 x 4
    y, x = np.mgrid[:80, :80] + 0.5
    assert (ink * x).sum() / ink.sum() == pytest.approx(dots[:, 0].mean(), abs=1e-3)
    assert (ink * y).sum() / ink.sum() == pytest.approx(dots[:, 1].mean(), abs=1e-3)
    assert animation._splat(np.array([[-5.0, 3], [3, 500]]), 80).max() == 0  # outside: nothing


def test_camera_holds_the_points_of_every_frame_even_as_they_shrink():
    shrinking = NOISE * np.geomspace(80, 1, 30)[:, None, None]
    centre, half = animation._camera(shrinking)
    inside = (np.abs(shrinking - centre[:, None]) < half[:, None, None]).all(-1).mean(-1)
    assert inside.min() > 0.97
    ratio = half / np.abs(shrinking).max((1, 2))
    assert ratio.min() > 0.7 and ratio.max() < 1.3  # and not from far away


def test_select_frames_gives_most_to_the_levels_where_shapes_come_out():
    alpha_bar = np.cumprod(1 - np.linspace(1e-4, 0.02, 1_000))
    log_snr = np.log(alpha_bar / (1 - alpha_bar))
    chosen = animation.select_frames(log_snr, 40)
    assert chosen[0] == 0 and chosen[-1] == 999 and 30 < len(chosen) <= 40
    share = np.sqrt(1 - alpha_bar[chosen])
    assert 0.35 < np.mean(share < 0.25) < 0.65  # a tenth of the levels, half of the frames
    assert np.mean(np.sqrt(1 - alpha_bar) < 0.25) < 0.12
    np.testing.assert_array_equal(animation.select_frames(log_snr[::-1], 40), 999 - chosen[::-1])
    infinite = animation.select_frames([np.inf, 9, 8.9, -9, -np.inf], 3)
    assert infinite[0] == 0 and infinite[-1] == 4
    np.testing.assert_array_equal(animation.select_frames(log_snr[:7], 40), range(7))


def test_a_long_animation_is_small(tmp_path):
    angle = np.linspace(0, np.pi / 2, 40)[:, None, None]
    data = make_moons(4_000, noise=0.03, random_state=1)[0]
    noise = np.random.default_rng(1).normal(size=data.shape)
    trajectory = np.cos(angle) * data + np.sin(angle) * noise
    animation.save_animation(tmp_path / "a.gif", trajectory, ["label"] * 40, "moons")
    assert (tmp_path / "a.gif").stat().st_size < 1_500_000


# ---------------------------------------------------------------- sets being born


def read_gif(path):
    """Its frames u8[F, h, w, 3] and their durations in milliseconds."""
    with Image.open(path) as gif:
        pages, durations = [], []
        for i in range(gif.n_frames):
            gif.seek(i)
            pages.append(np.asarray(gif.convert("RGB")))
            durations.append(gif.info["duration"])
    return np.stack(pages), durations


def closest(pixels, colors):
    """Which of `colors` the darkest of pixels u8[..., 3] is nearest to."""
    flat = pixels.reshape(-1, 3).astype(int)
    darkest = flat[flat.sum(-1).argmin()]
    return int(((np.array([ImageColor.getrgb(c) for c in colors]) - darkest) ** 2).sum(-1).argmin())


def test_new_points_of_a_birth_have_another_colour_and_frames_may_grow(tmp_path):
    left, right = [-0.5, 0.0], [0.5, 0.0]
    frames = [np.zeros((0, 2)), [left], [left, right], [left, right]]
    new = [[], [True], [False, True], [False, False]]
    animation.save_birth(tmp_path / "a.gif", frames, list("abcd"), "t", new=new, hold=1,
                         limits=(-1, 1, -1, 1), size=100)  # fmt: skip
    pages, durations = read_gif(tmp_path / "a.gif")
    assert pages.shape == (4, 140, 100, 3) and durations == [250, 70, 70, 1_000]
    plane = pages[:, :100]
    ink = (plane != plane[0, 0, 0]).any(-1)
    assert not ink[0].any() and ink[1, :, :50].any() and not ink[1, :, 50:].any()
    warm_or_cool = (plotting.SAMPLES, plotting.DATA)
    seen = [[closest(page[:, half], warm_or_cool) for half in (slice(50), slice(50, 100))]
            for page in plane[2:]]  # fmt: skip
    assert closest(plane[1], warm_or_cool) == 1 and seen == [[0, 1], [0, 0]]


def test_the_view_of_a_birth_follows_a_cloud_but_holds_still_while_points_are_added():
    growing = [NOISE[:3], NOISE[:200], DATA]
    centre, half = animation._view(growing)
    assert (centre == centre[0]).all() and (half == half[0]).all()
    assert (np.abs(DATA - centre[-1]) < half[-1]).all()
    centre, half = animation._view([5 * DATA, DATA])
    assert half[0] == pytest.approx(5 * half[1], rel=1e-4)
    centre, half = animation._view(growing, (0, 4, -1, 3))
    assert centre.tolist() == [[2, 1]] * 3 and half.tolist() == [2] * 3
    for empty in ([np.zeros((0, 2))], [np.full((3, 2), np.nan)]):
        assert np.isfinite(animation._view(empty)[1]).all()


@pytest.mark.filterwarnings("error")
def test_points_that_are_not_finite_are_left_out(tmp_path):
    holes = np.concatenate([DATA, [[np.nan, 0], [np.inf, 1]]])
    for name, points in (("a", holes), ("b", DATA)):
        limits = plotting.square_limits(DATA)
        animation.save_birth(tmp_path / name, [points], [""], "", limits=limits, size=100)
    assert np.abs(np.diff([read_gif(tmp_path / n)[0].astype(int) for n in "ab"], axis=0)).max() < 12


def test_few_points_are_drawn_larger_than_many():
    one = np.array([[50.5, 50.5]])
    areas = [(animation._splat(one, 101, count) > 0.2).sum() for count in (5, 20, 2_000)]
    assert areas[0] > areas[1] > areas[2] > 0
    assert all(0.6 < animation._splat(one, 101, count).max() < 0.8 for count in (5, 20, 2_000))


def test_grow_shows_block_after_block():
    way = np.stack([np.full((4, 2), s) + np.arange(4)[:, None] * 10 for s in (2, 1, 0)])
    frames, new, blocks = animation.grow(way, [1, 1, 2], 99)
    assert blocks == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert [len(points) for points in frames] == [1, 1, 1, 2, 2, 2, 4, 4, 4]
    assert [points[:, 0].tolist() for points in frames[3:7]] == [
        [0, 12], [0, 11], [0, 10], [0, 10, 22, 32]
    ]  # fmt: skip
    assert new[3].tolist() == [False, True] and new[6].tolist() == [False, False, True, True]
    assert not new[5].any() and not new[8].any()
    frames, new, blocks = animation.grow(way, [1, 1, 2], 4)
    assert len(frames) == len(new) == len(blocks) == 4
    np.testing.assert_array_equal(frames[-1], way[-1])
    with pytest.raises(ValueError, match="sum to 3"):
        animation.grow(way, [1, 2], 4)


def test_births_show_each_set_in_its_panel_in_the_colour_of_its_member(tmp_path):
    count, member = 6, np.array([3, 0, 2, 1, 3, 11])
    ways = np.broadcast_to(FORWARD[::-1, None, :100], (12, count, 100, 2)).copy()
    ways[:, 4] = np.nan  # a set whose points are not there yet
    for name in ("a.gif", "b.gif"):
        animation.save_births(tmp_path / name, ways, LABELS, "t", member, size=400, fps=10, hold=1)
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()
    pages, durations = read_gif(tmp_path / "a.gif")
    assert durations == [250] + [100] * 10 + [1_000]
    assert pages.shape == (12, 206 + 40, 400, 3)  # two rows of four, and the caption
    for k, m in enumerate(member):
        y, x = k // 4 * 100 + 6, k % 4 * 100 + 3
        panel = pages[-1, y : y + 94, x : x + 94]
        if k == 4:
            assert np.unique(panel.reshape(-1, 3), axis=0).shape == (1, 3)
            continue
        flat = panel.reshape(-1, 3).astype(int)
        shown, wanted = flat[flat.sum(-1) < 700], plotting.MEMBERS[m % 10]
        distance = np.abs(shown - ImageColor.getrgb(wanted)).sum(-1)
        others = [np.abs(shown - ImageColor.getrgb(c)).sum(-1).min() for c in plotting.MEMBERS[:4]
                  if c != wanted]  # fmt: skip
        assert distance.min() < min(30, *others)


@pytest.mark.parametrize("count, columns", [(1, 1), (3, 3), (16, 4)])
def test_births_of_any_number_of_sets_are_small(count, columns, tmp_path):
    rng = np.random.default_rng(0)
    angle = np.linspace(np.pi / 2, 0, 40)[:, None, None, None]
    data = np.broadcast_to(DATA[:256], (count, 256, 2))
    ways = np.cos(angle) * data + np.sin(angle) * rng.normal(size=data.shape)
    animation.save_births(tmp_path / "a.gif", ways, ["label"] * 40, "moons")
    assert (tmp_path / "a.gif").stat().st_size < 3e6
    rows = -(-count // columns)
    step = 560 // columns
    assert Image.open(tmp_path / "a.gif").size == (columns * step, rows * step + 6 + 40)


def test_a_long_title_leaves_room_for_the_label():
    short = animation._caption("", "log SNR +10.2", 480)
    for title in ("dino + moons + circle + MNIST 3: from noise", "moons + " * 40):
        page = animation._caption(title, "log SNR +10.2", 480)
        np.testing.assert_array_equal(page[:, 380:], short[:, 380:])
        assert page[:, :380].any()


@pytest.mark.parametrize("name", ["plotting", "animation", "page", "set_plots"])
def test_importing_a_module_imports_no_plotting_library(name):
    import subprocess

    code = f"import tiny_diffusion_jax.{name}, sys; "
    code += "print({'matplotlib', 'PIL'} & {*sys.modules})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "set()", result.stderr
