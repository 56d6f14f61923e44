"""Check the choice of coordinate, set and label columns, and the messages about the choice."""

import logging

import numpy as np
import pytest

from tiny_diffusion_jax import data
from tiny_diffusion_jax.cli.commands import describe_data
from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.data.column_names import is_identifier
from tiny_diffusion_jax.data.columns import read_column, read_points
from tiny_diffusion_jax.errors import UserError


def write(tmp_path, text, name="a.csv"):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return str(tmp_path / name)


def table(names, num=6, **cells):
    """Text of a table: `cells` by column name, otherwise k + 10 i + i^2 in column k and row i."""
    rows = [[cells[name][i] if name in cells else f"{k + 10 * i + i * i}"
             for k, name in enumerate(names)] for i in range(num)]  # fmt: skip
    quoted = [f'"{name}"' if "," in name else name for name in names]
    return "\n".join([",".join(quoted), *map(",".join, rows)]) + "\n"


BY_NAME = {
    "x,y": "x,y", "y,x": "x,y", "X,Y": "X,Y", "id,x,y": "x,y", "frame,x,y": "x,y",
    "Area,X,Y": "X,Y", "mass,Y,X,charge": "X,Y", "x,y,z": "x,y,z", "Z,Y,X": "X,Y,Z",
    "Unnamed: 0,x,y": "x,y", ",Area,X,Y": "X,Y", "lat,lon": "lon,lat", "Lat,Lng": "Lng,Lat",
    "latitude,longitude": "longitude,latitude", "LATITUDE,depth,LONG": "LONG,LATITUDE",
    "decimalLatitude,decimalLongitude": "decimalLongitude,decimalLatitude",
    "lon,x,lat,y": "x,y", "X (px),Y (px),Mean": "X (px),Y (px)", "x_um,y_um,i": "x_um,y_um",
    "northing,easting": "easting,northing", "x [mm],z,y [mm]": "x [mm],y [mm],z",
    " x ,y": "x,y",
}  # fmt: skip


@pytest.mark.parametrize("names", BY_NAME)
def test_names_decide_in_any_case_and_order(tmp_path, names):
    found = read_points(write(tmp_path, table(names.split(","))))
    assert ",".join(found.columns) == BY_NAME[names] and not found.notice
    expected = {name.strip(): [k + 10 * i + i * i for i in range(6)]
                for k, name in enumerate(names.split(","))}  # fmt: skip
    np.testing.assert_array_equal(found.points.T, [expected[name] for name in found.columns])
    left = [name.strip() for name in names.split(",") if name.strip()]
    assert set(found.others) == set(left) - set(found.columns)


GUESSED = {
    "u,v,w": "u,v", "id,u,v": "u,v", "index,u,v": "u,v", "cell_id,u,v": "u,v", "ID,u,v": "u,v",
    "OBJECTID,u,v": "u,v", "frame,u,v": "u,v", "Unnamed: 0,u,v,w": "u,v", "trackID,u,v": "u,v",
    "Spot ID,u,v": "u,v", "u,id,v": "u,v", "label,u,v": "u,v", "index_right,u,v": "u,v",
    "x,u,v": "x,u", "lat,u,v": "lat,u", "Row Number,u,v": "u,v",
}  # fmt: skip


@pytest.mark.parametrize("names", GUESSED)
def test_a_guess_avoids_identifiers_and_says_so(tmp_path, names):
    found = read_points(write(tmp_path, table(names.split(","))))
    assert ",".join(found.columns) == GUESSED[names]
    assert found.notice == (
        f"coordinates are the first 2 columns of numbers: {', '.join(found.columns)}; "
        "config.data.columns=NAME,NAME chooses others")  # fmt: skip


def test_a_guess_wants_numbers_in_all_rows(tmp_path):
    kinds = ["oak", "1", "2", "3", "4", "5"]
    late = ["1", "2", "3", "4", "5", "A6"]
    for cells, columns, notice in (
        ({"a": ["True"] * 6}, ("b", "c"), ""),
        ({"a": ["2024-01-02"] * 6}, ("b", "c"), ""),
        ({"a": ["2"] + ["x7"] * 5}, ("b", "c"), "column a is not one of them, because line 3 h"),
        ({"a": late}, ("b", "c"), "column a is not one of them, because line 7 holds 'A6'"),
        ({"b": late}, ("a", "c"), "column b is not one of them"),
        ({"a": [str(i) for i in range(6)]}, ("b", "c"), ""),  # column a holds the row numbers
    ):
        found = read_points(write(tmp_path, table("abcd", **cells)))
        assert found.columns == columns and notice in found.notice
    with pytest.raises(UserError, match="line 2, column 'a' holds 'oak'.* row of units or of na"):
        read_points(write(tmp_path, table("abcd", a=kinds)))


@pytest.mark.parametrize("row", [0, 1, 5])
@pytest.mark.parametrize("text", ["", "NA", "NaN", "null", "None", "-", "#N/A", "?"])
@pytest.mark.parametrize("names", ["x,y,dbh", "u,v,dbh"])
def test_a_missing_value_never_changes_the_columns(tmp_path, names, text, row):
    first, second, _ = names.split(",")
    cells = [str(i * i) for i in range(6)]
    cells[row] = text
    path = write(tmp_path, table(names.split(","), **{first: cells}))
    with pytest.raises(UserError) as error:
        read_points(path)
    assert f"line {row + 2}, column {first!r} holds {text!r}: must be a finite" in str(error.value)
    assert str(error.value).endswith(
        ". config.data.skip_incomplete=True leaves out rows with missing values")  # fmt: skip
    found = read_points(path, skip_incomplete=True)
    assert found.columns == (first, second) and len(found.points) == 5
    left_out = f"left out: 1 of 6 rows with missing values (the first is line {row + 2})"
    assert left_out in found.notice


def test_all_rows_missing_is_an_error_and_other_columns_may_be_incomplete(tmp_path):
    path = write(tmp_path, table(["x", "y", "dbh"], x=["NA"] * 6))
    with pytest.raises(UserError, match="skip_incomplete = True: must be False, because every row"):
        read_points(path, skip_incomplete=True)
    found = read_points(write(tmp_path, table(["x", "y", "dbh"], dbh=["NA"] * 6)))
    assert len(found.points) == 6


def test_z_is_not_dropped_in_silence(tmp_path):
    for names, z, columns, notice in (
        ("x,y,z", None, "x,y,z", ""),
        ("x,y,z", ["a"] * 6, "x,y", "z is left out, because it holds no numbers; config.data.colu"),
        ("lon,lat,z", None, "lon,lat", "z is left out, because its unit differs from that of the"),
    ):
        path = write(tmp_path, table(names.split(","), **({"z": z} if z else {})))
        found = read_points(path)
        assert ",".join(found.columns) == columns and found.notice.startswith(notice)
    path = write(tmp_path, table(["x", "y", "z"]))
    flat = read_points(path, dim=2)
    assert flat.columns == ("x", "y")
    assert flat.notice == "z is left out, because points are in the plane"
    with pytest.raises(UserError, match="line 4, column 'z' holds ''"):
        read_points(write(tmp_path, table("xyz", z=["1", "2", "", "3", "4", "5"])))
    with pytest.raises(UserError, match="a table of 3 coordinates; it has 2: u, v"):
        read_points(write(tmp_path, table("uv")), columns="u,v", dim=3)


def test_alike_names_decide_if_only_two_are_alike(tmp_path):
    found = read_points(write(tmp_path, table(["quality", "pos_y", "pos_x"])))
    assert found.columns == ("pos_x", "pos_y")
    assert found.notice.startswith("coordinates are pos_x, pos_y by their names")
    names = ["POSITION_X", "POSITION_Y", "POSITION_Z"]
    found = read_points(write(tmp_path, table(names)))
    assert found.columns == ("POSITION_X", "POSITION_Y", "POSITION_Z")
    found = read_points(write(tmp_path, table(["x_min", "y_min", "x_max", "y_max"])))
    assert found.columns == ("x_min", "y_min") and "first 2 columns of numbers" in found.notice


def test_options_name_columns_in_any_case_or_by_number(tmp_path):
    path = write(tmp_path, table(["id", "East", "a, b", "2"]))
    for columns, names in (("east,id", ("East", "id")), ("1,0", ("East", "id")),
                           ('"a, b",0', ("a, b", "id")), ("2,East", ("2", "East"))):  # fmt: skip
        assert read_points(path, columns=columns).columns == names
    assert read_column(path, "east") == [str(1 + 10 * i + i * i) for i in range(6)]
    for columns, message in (
        ("East,west", "no column 'west'; there are id, East, a, b, 2"),
        ("East,east", "must be two different columns or more"), ("East", "must be two different c"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=message):
            read_points(path, columns=columns)
    twice = write(tmp_path, table(["x", "x", "y"]))
    with pytest.raises(UserError, match="columns 0, 1 are all named 'x': must be the number"):
        read_points(twice, columns="x,y")
    assert read_points(twice, columns="1,2").columns == ("x", "y")


def test_usual_names_come_first(tmp_path):
    path = write(tmp_path, table(["x", "y", "east", "north"]))
    assert read_points(path, dim=2, usual=("East", "north")).columns == ("east", "north")
    assert read_points(path, dim=2, usual=("east", "up")).columns == ("x", "y")


def test_rows_are_selected_before_they_are_checked(tmp_path):
    path = write(tmp_path, "u,v,kind\n1,2,1\nsix,4,2\n5,6, 1.0\n")
    found = read_points(path, where="kind=1")
    assert found.points.tolist() == [[1, 2], [5, 6]] and list(found.rows) == ["line 2", "line 4"]


@pytest.mark.parametrize("name", ["", "id", "ID", "Id ", "index", "cell_id", "OBJECTID", "frame",
                                  "Frame", "Unnamed: 0", "Unnamed: 0.1", "track ID", "spotId",
                                  "level_0", "rownum", "Index", "point_idx", "id.x"])  # fmt: skip
def test_identifiers(name):
    assert is_identifier(name)


@pytest.mark.parametrize("name", ["x", "u", "grid", "width", "centroid", "fluid", "solid", "mass",
                                  "time", "humidity", "index of refraction"[9:]])  # fmt: skip
def test_other_names_are_no_identifiers(name):
    assert not is_identifier(name)


# ---------------------------------------------------------------- messages


def config(name, path, **fields):
    options = default_config().data
    options.update(name=name, path=path, **fields)
    return options


def plots(num=8, size=3):
    rows = [f"p{s},{s + k},{s * k},{'oak' if s % 2 else 'ash'}" for s in range(num)
            for k in range(size)]  # fmt: skip
    return "\n".join(["plot,x,y,species", *rows]) + "\n"


def test_the_log_names_what_was_chosen(tmp_path):
    path = write(tmp_path, plots(), "cells.csv")
    sets = data.build(config("sets", path, set_column="plot", label_column="species"))
    assert describe_data(sets) == (
        "cells.csv: 24 points, coordinates x, y; sets by plot (8); label species (2); "
        "3 points a set, 4 sets held out")  # fmt: skip
    points = data.build(config("points", path, where="species=oak", jitter="gaussian"))
    assert describe_data(points) == (
        "cells.csv where species=oak: 12 points, coordinates x, y; not read: plot")
    assert points.columns == sets.columns == ("x", "y")
    mixture = data.build(config("mixture", "", members=f"moons+{path}"))
    words = "cells.csv: 24 points, coordinates x, y; not read: plot, species"
    assert words in describe_data(mixture)


def test_notices_are_logged_once_as_warnings(tmp_path, caplog):
    path = write(tmp_path, table(["u", "v", "w"]))
    with caplog.at_level(logging.WARNING, logger="tiny_diffusion_jax"):
        data.build(config("points", path))
    assert [record.getMessage() for record in caplog.records] == [
        "notice: coordinates are the first 2 columns of numbers: u, v; "
        "config.data.columns=NAME,NAME chooses others"]  # fmt: skip


def test_a_split_that_points_do_not_follow_has_a_notice(tmp_path):
    split = ["train", "test"] * 3
    path = write(tmp_path, table(["x", "y", "Split"], Split=split))
    notice = ("column Split is not used, so the rows of all its values (test, train) are learned; "
              "config.data.where=Split=VALUE keeps the rows of one value")  # fmt: skip
    assert data.build(config("points", path)).notice == notice
    assert data.build(config("points", path, where="Split=train")).notice == ""
    path = write(tmp_path, table(["x", "y", "Split"], Split=["train"] * 6))
    assert data.build(config("points", path)).notice == ""


def test_members_of_mixtures_lie_in_the_plane(tmp_path):
    path = write(tmp_path, table(["x", "y", "z"]))
    mixture = data.build(config("mixture", "", members=f"moons+{path}"))
    assert mixture.dim == 2 and "z is left out, because points are in the plane" in mixture.notice
