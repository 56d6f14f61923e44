"""Check that arrays read from a page equal the packed arrays, up to half a step."""

import base64

import numpy as np
import pytest
from javascript import unpack

from tiny_diffusion_jax.web.packing import NONE, pack, pack_weights


def test_each_column_has_its_own_steps_and_nan_stays_nan():
    array = np.random.default_rng(0).normal(size=(5, 7, 2)) * [1, 1e4] + [0, 1e6]
    array[2, 3] = np.nan
    error = np.abs(unpack(pack(array)) - array)
    assert np.isnan(error).sum() == 2
    half = (np.nanmax(array, (0, 1)) - np.nanmin(array, (0, 1))) / (NONE - 1) / 2
    np.testing.assert_array_less(np.nanmax(error, (0, 1)), half * 1.001)


def test_a_constant_and_an_empty_column():
    np.testing.assert_array_equal(unpack(pack(np.full((3, 2), 4.0))), 4.0)
    assert np.isnan(unpack(pack(np.full((3, 2), np.nan)))).all()
    assert pack(np.zeros((0, 2)))["data"] == ""


def test_infinite_numbers_are_refused():
    with pytest.raises(ValueError, match="infinite"):
        pack(np.array([[np.inf, 0.0]]))


def test_weights_are_exact():
    array = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    back = np.frombuffer(base64.b64decode(pack_weights(array)["data"]), np.float32).reshape(3, 4)
    np.testing.assert_array_equal(back, array)


def test_weights_of_three_bytes_are_near():
    array = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    array[0, :2] = 0.0, 1.9999999  # 1.9999999 rounds up into the exponent
    packed = pack_weights(array, 3)
    short = np.frombuffer(base64.b64decode(packed["data"]), np.uint8).reshape(-1, 3)
    back = np.pad(short, ((0, 0), (1, 0))).reshape(-1).view("<f4").reshape(packed["shape"])
    np.testing.assert_allclose(back, array, rtol=2**-16)
    assert back[0, 0] == 0 and back[0, 1] == 2
