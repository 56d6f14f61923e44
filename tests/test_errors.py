"""Check that errors are one line made of their parts."""

import dataclasses
import pickle

import pytest

from tiny_diffusion_jax.errors import UserError, errors_about, reason_of, rename_fields


@pytest.mark.parametrize("error, line", [
    (ValueError(" a\n  b"), "a"), (KeyError(), "KeyError"),
    (OSError("x" * 5_000), "x" * 200 + " ..."),
])  # fmt: skip
def test_a_reason_is_a_short_line(error, line):
    assert reason_of(error) == line


@pytest.mark.parametrize("parts, line", [
    (("config.train.steps", 0, "at least 1"), "config.train.steps = 0: must be at least 1"),
    (("--points", "a.csv", "a file", "Is it moved?"),
     "--points = 'a.csv': must be a file. Is it moved?"),
    (("no device",), "no device"),
])  # fmt: skip
def test_an_error_is_the_line_of_its_parts(parts, line):
    error = UserError(*parts)
    assert str(error) == str(pickle.loads(pickle.dumps(error))) == line
    assert str(dataclasses.replace(error, field="x")).startswith("x")


def test_a_field_is_renamed_without_a_hint_that_no_longer_helps():
    def line(error):
        with pytest.raises(UserError) as raised, rename_fields({"given": "--points"}, "config."):
            raise error
        return str(raised.value)

    assert line(UserError("given", 3, "new", "Set config.x")) == "--points = 3: must be new"
    assert line(UserError("other", 3, "new", "Set it")) == "other = 3: must be new. Set it"


def test_an_error_in_a_file_gets_the_field_that_names_the_file():
    def line(error):
        with pytest.raises(UserError) as raised, errors_about("config.data.path", "a.csv"):
            raise error
        return str(raised.value)

    cells = UserError(problem="line 2 has 3 cells", allowed="2", hint="Is a quote open?")
    assert line(cells) == (
        "config.data.path = 'a.csv': line 2 has 3 cells: must be 2. Is a quote open?")
    assert line(UserError("config.where", "a", "x=a")) == "config.where = 'a': must be x=a"
