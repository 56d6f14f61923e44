"""Check the figure of data and samples: sizes, axes, texts, and dots at the points."""

import numpy as np
import pytest
from drawn import all_inside, panels, texts
from PIL import Image
from sklearn.datasets import make_moons

from tiny_diffusion_jax.figures.samples import samples_figure
from tiny_diffusion_jax.figures.style import MAX_DOTS, save_figure, square_limits

DATA = make_moons(300, noise=0.03, random_state=0)[0].astype(np.float32)


def test_both_panels_have_the_same_square_axes_and_hold_all_data():
    figure = samples_figure(DATA, DATA + 3, "moons")
    left, right = panels(figure)
    assert left.get_xlim() == right.get_xlim() and left.get_ylim() == right.get_ylim()
    (x0, x1), (y0, y1) = left.get_xlim(), left.get_ylim()
    assert x1 - x0 == pytest.approx(y1 - y0)
    assert (DATA > [x0, y0]).all() and (DATA < [x1, y1]).all()
    assert left.get_aspect() == right.get_aspect() == 1
    shown = [ax.collections[0].get_offsets() for ax in panels(figure)]
    np.testing.assert_allclose(shown[0], DATA)
    np.testing.assert_allclose(shown[1], DATA + 3)


def test_title_notice_and_counts_are_written():
    samples = np.concatenate([DATA, [[99, 0], [0, 99]]])
    written = texts(samples_figure(DATA, samples, "MNIST 3", notice="fell back"))
    for part in ("MNIST 3", "fell back", "300 points", "302 points, 2 outside"):
        assert part in written
    assert "fell back" not in texts(samples_figure(DATA, samples, "MNIST 3"))


def test_a_long_notice_is_wrapped_inside_the_figure():
    figure = samples_figure(DATA, DATA, "MNIST 3", notice="a long story " * 20)
    assert all_inside(figure)
    [notice] = [text for text in texts(figure) if "story" in text]
    assert notice.count("\n") > 0 and " ".join(notice.split()) == ("a long story " * 20).strip()


def test_many_points_are_thinned_and_said_to_be():
    many = np.tile(DATA, (100, 1))
    figure = samples_figure(DATA, many, "moons")
    assert len(panels(figure)[1].collections[0].get_offsets()) == MAX_DOTS
    assert "30,000 points, 20,000 drawn" in texts(figure)


def test_density_panel_shows_exp_log_density_upright_on_the_same_axes():
    log_density = np.full((4, 4), -np.inf)
    log_density[0, 3] = np.log(0.5)  # lowest y, largest x
    extent = (-1, 3, -2, 2)
    figure = samples_figure(DATA, DATA, "moons", "", log_density, extent)
    _, _, ax, _ = panels(figure)
    (image,) = ax.images
    assert tuple(image.get_extent()) == extent and image.origin == "lower"
    assert image.get_array()[0, 3] == pytest.approx(0.5) and image.get_array().sum() == 0.5
    assert ax.get_xlim() == panels(figure)[0].get_xlim()
    assert ax.get_ylim() == panels(figure)[0].get_ylim()
    default = panels(samples_figure(DATA, DATA, "moons", log_density=log_density))[2].images
    assert tuple(default[0].get_extent()) == square_limits(DATA)


def test_png_files_have_the_size_of_their_figure_and_repeat(tmp_path):
    for name in ("a.png", "b.png"):
        save_figure(samples_figure(DATA, DATA, "moons", "notice"), tmp_path / name)
    first, second = ((tmp_path / name).read_bytes() for name in ("a.png", "b.png"))
    assert first == second
    figure = samples_figure(DATA, DATA, "moons", "notice")
    with Image.open(tmp_path / "a.png") as image:
        assert image.format == "PNG"
        assert image.size == pytest.approx(160 * figure.get_size_inches(), abs=1)


def test_points_in_space_are_three_projections_of_each():
    space = np.concatenate([DATA, DATA[:, :1] ** 2], 1)
    figure = samples_figure(space, space[:100] + np.float32([0, 0, 9]), "moons", "notice")
    assert len(panels(figure)) == 6 and all_inside(figure)
    for row, points in ((0, space), (3, space[:100] + np.float32([0, 0, 9]))):
        for k, pair in enumerate(((0, 1), (0, 2), (1, 2))):
            ax = panels(figure)[row + k]
            np.testing.assert_allclose(ax.collections[0].get_offsets(), points[:, pair], rtol=1e-6)
            assert (ax.get_xlabel(), ax.get_ylabel()) == tuple("xyz"[axis] for axis in pair)
    assert "100 points, 100 outside" in texts(figure)


def test_axes_carry_the_names_of_the_columns():
    figure = samples_figure(DATA, DATA, "trees", names=["east (m)", "a" * 40])
    data, samples = panels(figure)
    assert data.get_xlabel() == samples.get_xlabel() == "east (m)"
    name = data.get_ylabel()
    assert name == name[::-1] and 20 < len(name) < 30 and name.strip("a") == "\u2026"
    assert all_inside(figure)
    assert not any(ax.get_xlabel() for ax in samples_figure(DATA, DATA, "moons").axes)
    space = np.concatenate([DATA, DATA[:, :1]], axis=1)
    labels = {ax.get_xlabel() for ax in samples_figure(space, space, "t", names="uvw").axes}
    assert labels == {"", "u", "v"}
