"""Check that sets written to files can be read with the same values."""

import csv

import numpy as np
import pytest

from tiny_diffusion_jax.data.observed import from_observed
from tiny_diffusion_jax.point_sets import padded
from tiny_diffusion_jax.reports import save_samples

COUNT = np.array([3, 1, 2])
SETS = padded(np.random.default_rng(0).normal(size=(3, 4, 2)), COUNT)[:, :3]


def observed(**fields):
    return from_observed(np.eye(4, 2), np.array([0, 2]), np.array([2, 2]), np.array([0, 1]),
                         num_labels=2, label_names=("cat", "dog"), **fields)  # fmt: skip


def test_sets_of_different_sizes_one_after_the_other(tmp_path):
    name = save_samples.write_sets(
        tmp_path, "samples", SETS, observed(), [1, 0, 1], same_size=False)  # fmt: skip
    with np.load(tmp_path / name) as arrays:
        assert {key: (a.dtype, a.shape) for key, a in arrays.items()} == {
            "points": ("f4", (6, 2)), "set": ("i4", (6,)), "sizes": ("i4", (3,)),
            "label": ("i4", (3,)),
        }  # fmt: skip
        np.testing.assert_array_equal(arrays["sizes"], COUNT)
        np.testing.assert_array_equal(arrays["set"], [0, 0, 0, 1, 2, 2])
        np.testing.assert_array_equal(arrays["points"][3], SETS[1, 0])
        np.testing.assert_array_equal(arrays["label"], [1, 0, 1])


@pytest.mark.parametrize("fields, header", [
    ({}, ["set", "x", "y", "label"]),
    ({"columns": ("a", "b"), "set_column": "id", "label_column": "kind"}, ["id", "a", "b", "kind"]),
])  # fmt: skip
def test_a_table_is_as_the_one_that_was_read(fields, header, tmp_path):
    data = observed(**fields)
    save_samples.write_sets(tmp_path, "samples", SETS, data, [1, 0, -1], same_size=False)
    with (tmp_path / "samples.csv").open(newline="", encoding="utf-8") as file:
        first, *rows = csv.reader(file)
    assert first == header
    assert [row[0] for row in rows] == list("000122")
    assert [row[3] for row in rows] == ["dog"] * 3 + ["cat", "", ""]
    np.testing.assert_allclose(np.array([row[1:3] for row in rows], float)[3], SETS[1, 0], 1e-6)


def random_bits(dtype, count=6_000):
    """Finite numbers of all magnitudes, some of them with many digits: f[count / 2, 2]."""
    unsigned = {np.float32: np.uint32, np.float64: np.uint64}[dtype]
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, np.iinfo(unsigned).max, count, unsigned).view(dtype)
    numbers[:7] = 123456.78, 4194303.75, 0.1, -0.0, np.finfo(dtype).max, np.finfo(dtype).tiny, 1e-45
    numbers[7:1_000] = 123456 + rng.random(993)
    return np.where(np.isfinite(numbers), numbers, 0).astype(dtype).reshape(-1, 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["samples", "completed"])
def test_every_number_of_a_table_is_read_back_exactly(dtype, name, tmp_path):
    points = random_bits(dtype)
    save_samples.write_sets(tmp_path, name, points[None], observed(), None, same_size=True)
    with (tmp_path / f"{name}.csv").open(newline="") as file:
        table = np.array(list(csv.reader(file))[1:])[:, 1:]
    np.testing.assert_array_equal(table.astype(float).astype(dtype), points)


def test_the_table_has_nine_digits(tmp_path):
    sets = np.full((1, 1, 2), 123456.78, np.float32)
    save_samples.write_sets(tmp_path, "samples", sets, observed(), None, same_size=True)
    assert (tmp_path / "samples.csv").read_text().splitlines()[1] == "0,123456.781,123456.781"


def test_no_file_is_left_that_says_something_else(tmp_path):
    save_samples.write_sets(tmp_path, "samples", SETS, observed(), None, same_size=False)
    assert {p.name for p in tmp_path.iterdir()} == {"samples.npz", "samples.csv"}
    full = np.zeros((2, 3, 2), np.float32)
    save_samples.write_sets(tmp_path, "samples", full, observed(), None, same_size=True)
    assert {p.name for p in tmp_path.iterdir()} == {"samples.npy", "samples.csv"}
    assert (tmp_path / "samples.csv").read_text("utf-8").splitlines()[:2] == ["set,x,y", "0,0,0"]
    images = observed().replace(sizes=None)
    save_samples.write_sets(tmp_path, "samples", full, images, None, same_size=True)
    assert {p.name for p in tmp_path.iterdir()} == {"samples.npy"}


def test_coordinates_have_names():
    many = observed().replace(shift=np.zeros(4), columns=tuple("0123"))
    assert many.coordinates == ("x0", "x1", "x2", "x3")
    assert many.replace(shift=np.zeros(3), columns=()).coordinates == ("x", "y", "z")
