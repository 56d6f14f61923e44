"""Check the picture of the data's density against a known density."""

import base64

import numpy as np

import tiny_diffusion_jax as td
from tiny_diffusion_jax.web.density import HALF, SIZE, data_density
from tiny_diffusion_jax.web.render import HERE


def tones(**options) -> np.ndarray:
    config = td.default_config()
    config.update_from_flattened_dict(options)
    packed = data_density(td.build(config))
    size = packed["size"]
    return np.frombuffer(base64.b64decode(packed["data"]), np.uint8).reshape(-1, size, size) / 255


def test_tones_are_the_density_of_a_known_shape():
    """A ring: no tone in its middle, one tone along it, and its axes are not swapped."""
    [picture] = tones(**{"data.name": "eight_gaussians"})
    at = (np.arange(SIZE) + 0.5) / SIZE * 2 * HALF - HALF
    x, y = np.meshgrid(at, at)
    assert picture[np.hypot(x, y) < 0.3].max() < 0.05
    ring = np.abs(np.hypot(x, y) - 1.41) < 0.1  # mean variance 1: radius sqrt(2)
    assert picture[ring].mean() > 0.2 and picture[np.hypot(x, y) > 2.2].max() == 0


def test_the_lowest_row_comes_first():
    """The upper moon is left of the lower moon."""
    [picture] = tones(**{"data.name": "moons"})
    mean_x = lambda rows: (rows.sum(0) * np.arange(SIZE)).sum() / rows.sum()
    assert mean_x(picture[SIZE // 2 + 4 :]) < mean_x(picture[: SIZE // 2 - 4]) - 5


def test_the_picture_of_all_points_and_of_each_label():
    """Nine of ten sets are eight sharp peaks, and one of ten is a wide square of tiles."""
    config = {"data.name": "mixture", "data.members": "eight_gaussians+checkerboard",
              "data.weights": "0.9+0.1"}  # fmt: skip
    both, peaks, tiles = tones(**config, **{"model.labels": True})
    [unlabelled] = tones(**config)
    np.testing.assert_array_equal(both, unlabelled)
    # a mean of the pictures by their shares would give these tiles a tone of 0.1 or more
    assert both[tiles > 0.9].mean() < 0.1 < peaks.max() and np.abs(peaks - tiles).mean() > 0.02


def test_the_live_page_shows_the_picture_of_the_label(scripts):
    """Show the first picture for a random or an absent label, and for labels without pictures."""
    overlay = (HERE / "static" / "live" / "overlay.js").read_text("utf-8")
    show = """([overlay, pictures, label]) => {
      globalThis.$ = () => ({});
      (0, eval)(overlay);
      globalThis.model = { density: { size: 1 }, tones: Uint8Array.from(pictures) };
      return [...densityOf(label).tones];
    }"""
    script = scripts()
    shown = lambda pictures, label: script.evaluate(show, [overlay, pictures, label])
    three = [7, 8, 9]
    assert [shown(three, label) for label in (0, 1, -1, None)] == [[8], [9], [7], [7]]
    assert shown([7], 1) == [7]
