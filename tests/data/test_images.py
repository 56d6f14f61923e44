import struct
import zlib

import jax
import numpy as np
import pytest
import scipy.stats
from ml_collections import ConfigDict
from PIL import Image

from tiny_diffusion_jax import data
from tiny_diffusion_jax.data import images
from tiny_diffusion_jax.errors import UserError


def intensity(path, invert, max_side):
    return images.read_ink(path, invert, max_side).intensity


def config(path="", **fields):
    defaults = {
        "name": "image", "normalize": True, "jitter": "uniform", "jitter_std": 0.3,
        "path": str(path), "invert": "auto", "threshold": 0.0, "max_side": 256,
    }  # fmt: skip
    return ConfigDict({**defaults, **fields})


def save(tmp_path, pixels, mode=None, name="picture.png", **options):
    image = Image.fromarray(np.asarray(pixels, np.uint8))
    image = image.convert(mode) if mode else image
    image.save(tmp_path / name, **options)
    return tmp_path / name


def density(intensity, threshold=0.0, **fields):
    return images.from_intensity(np.asarray(intensity, float), threshold, config(**fields))


def draw(dataset, num=4096, seed=0):
    points = jax.jit(lambda d, key: d.draw(key, 1, num).points[0])(dataset, jax.random.key(seed))
    return np.asarray(points)


@jax.jit
def log_prob(dataset, points):
    return dataset.log_prob(points)


# A white 5 x 4 page with one black pixel in the top row, column 3: x in [3, 4], y in [4, 5].
PAGE = np.full((5, 4), 255)
PAGE[0, 3] = 0


def test_rows_run_down_and_y_runs_up(tmp_path):
    dataset = data.build(config(save(tmp_path, PAGE)))
    points = draw(dataset)
    assert points.min(0) == pytest.approx([3, 4], abs=0.01) and (points >= [3, 4]).all()
    assert points.max(0) == pytest.approx([4, 5], abs=0.01) and (points < [4, 5]).all()
    assert dataset.title == "picture" and dataset.source == "image"


def test_pixels_are_drawn_in_proportion_and_dark_ones_never():
    intensity = np.random.default_rng(0).random((16, 16)) ** 3
    intensity[:, ::4] = 0
    intensity[-1, -1] = 0.9
    points = draw(density(intensity), num=2**17)
    column, row = np.floor(points).astype(int).T
    counts = np.zeros((16, 16))
    np.add.at(counts, (15 - row, column), 1)
    lit = intensity > 0
    assert counts[~lit].sum() == 0
    expected = intensity[lit] / intensity.sum() * 2**17
    assert scipy.stats.chisquare(counts[lit], expected).pvalue > 1e-3
    within = np.histogram2d(*(points % 1).T, bins=8, range=[[0, 1], [0, 1]])[0]
    assert scipy.stats.chisquare(within.ravel()).pvalue > 1e-3


def test_log_prob_is_the_pixel_mass_per_unit_area():
    intensity = np.array([[0.2, 0.0, 0.4], [0.1, 0.3, 1.0]])
    dataset = density(intensity)
    points = np.stack(np.meshgrid([0.5, 1.5, 2.5], [1.5, 0.5]), -1)  # row 0 is the top row
    np.testing.assert_allclose(np.exp(log_prob(dataset, points)), intensity / 2, rtol=1e-6)
    outside = np.array([[-0.01, 0.5], [3.01, 0.5], [0.5, -0.01], [0.5, 2.01], [1.5, 1.5]])
    assert np.all(np.asarray(log_prob(dataset, outside)) == -np.inf)


def test_no_draw_is_rounded_out_of_its_pixel():
    intensity = np.zeros((256, 256))
    # float32 has 2^-16 left for the position in the pixel, so u often rounds to 1
    intensity[3, 252] = 1
    dataset = density(intensity)
    points = draw(dataset, num=2**20)
    assert np.all(np.floor(points) == [252, 252])
    assert np.all(np.isfinite(log_prob(dataset, points)))


@pytest.mark.parametrize("jitter", ["uniform", "gaussian", "none"])
def test_units_are_the_exact_mean_and_spread(jitter):
    dataset = density(np.random.default_rng(1).random((9, 7)), jitter=jitter)
    points = np.asarray(dataset.normalize(draw(dataset, num=2**17)))
    assert np.all(np.abs(points.mean(0)) < 5 / np.sqrt(2**17))
    assert abs(points.var(0).mean() - 1) < 0.01
    assert float(density(np.ones((9, 7)), normalize=False).scale) == 1


def test_gaussian_jitter_is_a_mixture_about_the_centres():
    intensity = np.array([[0.0, 0.5], [1.0, 0.0]])
    dataset = density(intensity, jitter="gaussian", jitter_std=0.1)
    points = draw(dataset, num=2**15)
    lower = points[:, 1] < 1
    assert abs(lower.mean() - 2 / 3) < 5 * np.sqrt(2 / 9 / 2**15)
    assert np.allclose(points[lower].mean(0), [0.5, 0.5], atol=0.005)
    assert np.allclose(points[~lower].std(0), 0.1, rtol=0.03)
    normal = scipy.stats.multivariate_normal
    lower, upper = (normal([c, c], 0.01).pdf(points[:50]) for c in (0.5, 1.5))
    expected = np.log(2 / 3 * lower + 1 / 3 * upper)
    np.testing.assert_allclose(log_prob(dataset, points[:50]), expected, atol=1e-4)


def test_without_jitter_points_are_centres_and_have_no_density():
    dataset = density(np.ones((2, 3)), jitter="none")
    assert set(map(tuple, draw(dataset) % 1)) == {(0.5, 0.5)} and dataset.log_prob is None


def test_threshold_keeps_pixels_that_reach_it():
    levels = np.array([[249, 250, 255]]) / 255
    dataset = density(levels, threshold=250 / 255)
    mass = np.exp(log_prob(dataset, np.array([[0.5, 0.5], [1.5, 0.5], [2.5, 0.5]])))
    np.testing.assert_allclose(mass, [0, 250 / 505, 255 / 505], rtol=1e-6)


def test_paper_is_what_the_border_shows(tmp_path):
    disc = np.zeros((9, 9))
    disc[2:7, 2:7] = 200
    ink = intensity(save(tmp_path, disc), "auto", 256)
    np.testing.assert_allclose(ink, disc / 255)
    ink = intensity(save(tmp_path, 255 - disc), "auto", 256)
    np.testing.assert_allclose(ink, disc / 255)
    ink = intensity(save(tmp_path, disc), "yes", 256)
    np.testing.assert_allclose(ink, 1 - disc / 255)
    ink = intensity(save(tmp_path, 255 - disc), "no", 256)
    np.testing.assert_allclose(ink, 1 - disc / 255)


def ring(background, ring, size=96, radius=30, width=6):
    """(image u8[size, size, 3] of a ring, distance of each pixel from the ring in pixels)."""
    row, column = np.indices((size, size)) - (size - 1) / 2
    away = np.maximum(np.abs(np.hypot(row, column) - radius) - width / 2, 0)
    return np.where(away[..., None] > 0, background, ring).astype(np.uint8), away


# background, ring, noise of the background, file name, distance in pixels that may count as ink
RINGS = {
    "bright on dark": ((20, 20, 40), (250, 220, 90), 0, "a.png", 0),
    "of the same lightness": ((200, 60, 60), (60, 129, 60), 0, "a.png", 0),
    "JPEG": ((20, 20, 40), (250, 220, 90), 0, "a.jpg", 3),
    "JPEG, dark on grey": ((170, 170, 160), (20, 30, 60), 0, "a.jpg", 3),
    "grain": ((60, 80, 60), (240, 240, 240), 6, "a.png", 0),
    "grain in a JPEG": ((230, 225, 210), (40, 40, 40), 4, "a.jpg", 3),
}  # fmt: skip


@pytest.mark.parametrize("background, colour, noise, name, beside", RINGS.values(), ids=RINGS)
def test_the_tone_of_the_border_is_empty(tmp_path, background, colour, noise, name, beside):
    pixels, away = ring(background, colour)
    grain = np.random.default_rng(0).normal(0, noise, pixels.shape) if noise else 0
    file = save(tmp_path, np.clip(pixels + grain, 0, 255), name=name)
    ink = intensity(file, "auto", 256)
    # no ink outside the ring, except grain beyond 5 sigma
    assert ink[away > beside].sum() < 1e-3 * ink.sum()
    assert ink[away == 0].min() > 0.5 * ink.max()
    background = images.read_ink(file, "auto", 256).background
    assert background.startswith("tone (") and background.endswith("it") == bool(noise or beside)


def test_soft_shadows_are_empty(tmp_path):
    pixels, away = ring((235,) * 3, (40,) * 3)
    row, column = np.indices(away.shape) / (len(away) - 1) - 0.5
    # vignetting, and a lamp on one side
    for shade in (30 * 2 * (row**2 + column**2), 20 * (row + 0.5)):
        dark = np.clip(pixels - shade[..., None], 0, 255)
        ink = intensity(save(tmp_path, dark), "auto", 256)
        assert ink[away > 0].sum() == 0 and ink[away == 0].min() > 0.5


def test_the_border_may_show_some_of_the_shape(tmp_path):
    page = np.full((40, 40), 230)
    page[:, 15:25] = 30  # a bar from edge to edge, which covers a quarter of two sides
    ink = intensity(save(tmp_path, page), "auto", 256)
    assert np.all((ink > 0) == (page == 30))


@pytest.mark.parametrize("colour", [0, 255])
def test_one_colour_with_alpha_is_the_shape_of_the_alpha(tmp_path, colour):
    pixels = np.full((6, 6, 4), colour)
    pixels[..., 3] = 0
    pixels[1:3, 2:5, 3] = [255, 128, 64]
    ink = intensity(save(tmp_path, pixels), "auto", 256)
    np.testing.assert_allclose(ink, pixels[..., 3] / 255)


def test_transparent_pixels_hold_no_ink(tmp_path):
    # a transparent border with black colour values, as many programs write it
    pixels = np.zeros((6, 6, 4))
    pixels[1:5, 1:5] = 255
    pixels[2, 2, :3] = 0
    ink = intensity(save(tmp_path, pixels), "auto", 256)
    assert ink[2, 2] == 1 and ink.sum() == 1
    ink = intensity(save(tmp_path, pixels), "no", 256)
    np.testing.assert_allclose(ink, (pixels[..., 3] - 255 * (np.indices((6, 6)) == 2).all(0)) / 255)


@pytest.mark.parametrize("mode, name", [
    ("1", "a.png"), ("L", "a.png"), ("LA", "a.png"), ("P", "a.gif"), ("P", "a.png"),
    ("RGB", "a.bmp"), ("RGB", "a.tif"), ("RGB", "a.webp"), ("RGBA", "a.png"), ("CMYK", "a.tif"),
    ("I;16", "a.png"), ("I;16", "a.tif"), ("I", "a.tif"), ("F", "a.tif"),
])  # fmt: skip
def test_every_mode_of_pillow(tmp_path, mode, name):
    options = {"lossless": True} if name == "a.webp" else {}
    if mode in ("I;16", "I", "F"):
        dtype = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        white = 1 if mode == "F" else 65535
        Image.fromarray((PAGE // 255 * white).astype(dtype)).save(tmp_path / name)
        file = tmp_path / name
    else:
        file = save(tmp_path, PAGE, mode, name, **options)
    with Image.open(file) as image:
        assert image.mode.startswith(mode) or name == "a.webp"
    np.testing.assert_allclose(intensity(file, "auto", 256), PAGE == 0, atol=1e-6)


def test_palette_with_a_transparent_colour(tmp_path):
    image = Image.new("P", (4, 5), 0)
    image.putpalette([255, 0, 0, 0, 0, 0])
    image.putpixel((3, 0), 1)
    image.save(tmp_path / "a.png", transparency=0)
    np.testing.assert_allclose(intensity(tmp_path / "a.png", "auto", 256), PAGE == 0)


def test_sixteen_bits_are_kept(tmp_path):
    levels = np.array([[0, 0, 0], [0, 1000, 1001], [0, 0, 0]], np.uint16)
    Image.fromarray(levels).save(tmp_path / "a.png")
    ink = intensity(tmp_path / "a.png", "auto", 256)
    np.testing.assert_allclose(ink, levels / 65535, rtol=1e-6)


def test_of_an_animation_the_first_frame_is_read(tmp_path):
    frames = [Image.fromarray(page.astype(np.uint8)) for page in (PAGE, 255 - PAGE)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(intensity(tmp_path / "a.gif", "auto", 256), PAGE == 0)


def header_of_png(width: int, height: int) -> bytes:
    """First bytes of a greyscale PNG file with the given size."""
    size = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    crc = struct.pack(">I", zlib.crc32(size))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + size + crc + bytes(4) + b"IDAT" + bytes(4)


def test_a_picture_that_would_fill_the_memory_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(header_of_png(20_000, 20_000))
    with pytest.raises(UserError, match="must be a picture that Pillow can read .*decompression"):
        intensity(tmp_path / "a.png", "auto", 256)


def test_a_large_picture_is_read_without_a_warning(tmp_path, monkeypatch, recwarn):
    file = save(tmp_path, np.kron(PAGE, np.ones((4, 4), np.uint8)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", PAGE.size * 10)
    assert intensity(file, "auto", 256).shape == tuple(4 * n for n in PAGE.shape)
    assert not recwarn.list


def test_photographs_are_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation 6: rotate by 90 degrees clockwise to view
    file = save(tmp_path, PAGE, name="a.png", exif=exif)
    np.testing.assert_allclose(intensity(file, "auto", 256), np.rot90(PAGE == 0, -1))


def test_large_pictures_shrink_by_area_means(tmp_path):
    big = np.kron([[0, 255], [102, 0]], np.full((40, 80), 1))
    ink = intensity(save(tmp_path, big), "no", 4)
    assert ink.shape == (2, 4)
    np.testing.assert_allclose(ink, np.kron([[0, 1], [0.4, 0]], np.ones((1, 2))), atol=1e-6)
    assert intensity(save(tmp_path, big), "no", 160).shape == (80, 160)


def test_pictures_are_leaves_and_not_part_of_the_program():
    traces = []

    @jax.jit
    def program(dataset, key):
        traces.append(1)
        return dataset.draw(key, 2, 8).points

    one, other = density([[1.0, 0.5]]), density([[0.5, 1.0]])
    assert program(one, jax.random.key(0)).shape == (2, 8, 2)
    program(other, jax.random.key(0))
    assert len(traces) == 1
    points = draw(one)
    assert np.abs(points - draw(one, seed=1)).max() > 0.1
    np.testing.assert_array_equal(points, one.draw(jax.random.key(0), 1, 4096).points[0])


def test_one_bright_pixel_without_jitter_has_no_scale():
    with pytest.raises(UserError, match="config.data.normalize = True: must be False where all"):
        density([[1.0]], jitter="none")
    assert draw(density([[1.0]], jitter="none", normalize=False)).std() == 0


def files(tmp_path):
    (tmp_path / "text.png").write_text("not a picture", "utf-8")
    whole = save(tmp_path, np.random.default_rng(0).integers(0, 255, (64, 64))).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    save(tmp_path, np.zeros((4, 4, 4)), name="clear.png")
    save(tmp_path, PAGE * 0 + 255, name="white.png")
    save(tmp_path, PAGE * 0, name="black.png")
    save(tmp_path, np.pad([[100]], 2), name="grey.png")
    save(tmp_path, PAGE, name="good.png")


@pytest.mark.parametrize("name, fields, message", [
    ("none.png", {}, r"config\.data\.path = '.*none\.png': must be an existing picture file"),
    (".", {}, r"config\.data\.path = '.*': must be an existing picture file"),
    ("text.png", {}, r"config\.data\.path = '.*text\.png': must be a picture that Pillow can read"),
    ("cut.png", {}, r"config\.data\.path = '.*cut\.png': must be a picture that Pillow can read"),
    ("white.png", {}, r"config\.data\.path = '.*white\.png': must be a picture with some ink"),
    ("black.png", {}, r"config\.data\.path = '.*black\.png': must be a picture with some ink"),
    ("clear.png", {}, r"config\.data\.path = '.*clear\.png': must be a picture with some ink"),
    ("grey.png", {"threshold": 0.5}, r"threshold = 0\.5: must be at most 0\.3922, the strongest"),
])  # fmt: skip
def test_bad_pictures_are_one_clear_line(tmp_path, name, fields, message):
    files(tmp_path)
    with pytest.raises(UserError, match=message) as error:
        data.build(config(tmp_path / name, **fields))
    assert "\n" not in str(error.value)
