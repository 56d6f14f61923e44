"""Shorten error messages of other libraries to a part of one line."""

import pytest

from tiny_diffusion_jax.errors import reason_of


@pytest.mark.parametrize("error, line", [
    (ValueError("a\n  b"), "a b"), (KeyError(), "KeyError"),
    (OSError("x" * 5_000), "x" * 200 + " ..."),
])  # fmt: skip
def test_a_reason_is_a_short_line(error, line):
    assert reason_of(error) == line
