"""Check the picture of the data's density against a known density."""

import base64

import numpy as np

import tiny_diffusion_jax as td
from tiny_diffusion_jax.web.density import HALF, SIZE, data_density


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


def test_each_label_has_its_picture():
    config = {"data.name": "mixture", "data.members": "moons+circle", "model.labels": True}
    moons, circle = tones(**config)
    assert np.abs(moons - circle).mean() > 0.02
