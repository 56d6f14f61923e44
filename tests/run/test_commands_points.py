"""Check that the points of several sets are not completed as one set."""

import pytest

from tiny_diffusion_jax.cli.commands import _check_one_set
from tiny_diffusion_jax.data.columns import read_points
from tiny_diffusion_jax.errors import UserError


@pytest.mark.parametrize("column, option", [("set", ""), ("image_id", "image_id")])
def test_points_of_several_sets_are_refused(tmp_path, column, option):
    file = tmp_path / "partial.csv"

    def check(rows):
        file.write_text(f"{column},x,y\n{rows}")
        table = read_points(file, columns="x,y")
        file.unlink()  # the table is read once
        _check_one_set(table, option)

    with pytest.raises(UserError, match=f"--points: sets in column {column} = 2: must be 1"):
        check("a,1,2\na,3,4\nb,5,6\n")
    check("a,1,2\na,3,4\n")
    check("a,1,2\nb,3,4\n")  # numbers of points
