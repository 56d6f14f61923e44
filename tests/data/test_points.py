import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from ml_collections import ConfigDict

from tiny_diffusion_jax import data
from tiny_diffusion_jax.data.columns import read_points
from tiny_diffusion_jax.errors import UserError

XY = np.array([[1.5, -2.0], [3.0, 4e3], [0.0, 7.0]])
BODY = "1.5,-2\n3,4e3\n0,7\n"


def config(path, **fields):
    defaults = {
        "name": "points", "normalize": True, "jitter": "gaussian", "jitter_std": 0.15,
        "path": str(path), "columns": "", "header": "auto", "where": "", "array": "",
        "heldout": 0.1, "per_axis": False, "clip_outliers": False,
    }  # fmt: skip
    return ConfigDict({**defaults, **fields})


def write(tmp_path, text, name="table.csv"):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


def load(path, **options):
    return read_points(path, **options).points


def draw(dataset, num=4096, seed=0):
    points = jax.jit(lambda d, key: d.draw(key, 1, num).points[0])(dataset, jax.random.key(seed))
    return np.asarray(points)


@pytest.mark.parametrize("text, name, options", [
    (BODY, "a.csv", {}),
    ("x,y\n" + BODY, "a.csv", {}),
    ("\ufeffx,y\r\n" + BODY.replace("\n", "\r\n"), "a.csv", {"columns": "x,y"}),
    ("# made by hand\n\nx,y\n" + BODY + "\n", "a.csv", {}),
    ("x\ty\n" + BODY.replace(",", "\t"), "a.tsv", {}),
    ("x;y\n" + BODY.replace(",", ";"), "a.csv", {}),
    ("9,9\n" + BODY, "a.csv", {"header": "yes"}),
    ("kind,x,y\na,1.5,-2\nb,3,4e3\nc,0,7\n", "a.csv", {}),
    ('"the, x",y\n' + BODY, "a.csv", {"columns": "0,1"}),
    ("y,x\n-2,1.5\n4e3,3\n7,0\n", "a.csv", {"columns": "x, y"}),
    ("y,x\n-2,1.5\n4e3,3\n7,0\n", "a.csv", {"columns": "1,0"}),
    (",x,y\n0,1.5,-2\n1,3,4e3\n2,0,7\n", "a.csv", {}),
    ("id,x,y\n0,1.5,-2\n1,3,4e3\n2,0,7\n", "A.CSV", {"columns": "x,y"}),
    ("x,y,s\n1.5,-2,a\n8,8,b\n3,4e3,a\n0,7, a\n", "a.csv", {"where": "s=a"}),
    ("x,y,s\n1.5,-2,1\n8,8,2\n3,4e3,1.0\n0,7,1\n", "a.csv", {"where": " s = 1 "}),
    ("1.5,-2,a\n8,nan,b\n3,4e3,a\n0,7,a\n", "a.csv", {"where": "2=a"}),
])  # fmt: skip
def test_text_tables(tmp_path, text, name, options):
    file = tmp_path / name
    file.write_bytes(text.encode())
    np.testing.assert_array_equal(load(file, **options), XY)


def test_a_numeric_first_row_is_data_unless_told_otherwise(tmp_path):
    file = write(tmp_path, BODY)
    assert len(load(file, header="no")) == 3 and len(load(file, header="yes")) == 2


def test_numpy_files(tmp_path):
    np.save(tmp_path / "a.npy", XY)
    np.testing.assert_array_equal(load(tmp_path / "a.npy"), XY)
    np.testing.assert_array_equal(load(tmp_path / "a.npy", columns="1,0"), XY[:, ::-1])
    np.testing.assert_array_equal(load(tmp_path / "a.npy", where="0=3"), XY[1:2])
    np.savez(tmp_path / "a.npz", first=XY, second=XY.astype(np.int64))
    np.testing.assert_array_equal(load(tmp_path / "a.npz"), XY)
    second = load(tmp_path / "a.npz", array="second")
    np.testing.assert_array_equal(second, XY.astype(np.int64))
    rows = np.array([("a", 1.5, -2), ("b", 9, 9)], [("kind", "U3"), ("x", "f4"), ("y", "f8")])
    np.save(tmp_path / "rows.npy", rows)
    np.testing.assert_array_equal(load(tmp_path / "rows.npy", where="kind=a"), XY[:1])


def test_rows_are_drawn_evenly_with_replacement(tmp_path):
    dataset = data.build(config(write(tmp_path, BODY), jitter="none"))
    points = draw(dataset, num=3000)
    counts = [(points == row).all(1).sum() for row in XY.astype(np.float32)]
    assert sum(counts) == 3000 and scipy.stats.chisquare(counts).pvalue > 1e-3
    assert np.any(points != draw(dataset, num=3000, seed=1)) and dataset.log_prob is None
    np.testing.assert_array_equal(points, dataset.draw(jax.random.key(0), 1, 3000).points[0])


def test_jitter_is_in_table_units_and_units_are_exact(tmp_path):
    xy = np.array([[10.0, 20.0], [40.0, 20.0], [10.0, 24.0]])
    np.save(tmp_path / "a.npy", xy)
    dataset = data.build(config(tmp_path / "a.npy", jitter_std=0.5))
    np.testing.assert_allclose(dataset.shift, xy.mean(0), rtol=1e-6)
    np.testing.assert_allclose(dataset.scale, np.sqrt(xy.var(0).mean() + 0.25), rtol=1e-6)
    points = draw(dataset, num=2**15)
    near = points[(np.abs(points - xy[1]) < 6).all(1)]
    assert abs(len(near) / 2**15 - 1 / 3) < 5 * np.sqrt(2 / 9 / 2**15)
    np.testing.assert_allclose(near.std(0), 0.5, rtol=0.04)
    normalized = dataset.normalize(points)
    assert abs(float(normalized.var(0).mean()) - 1) < 0.03
    np.testing.assert_allclose(dataset.denormalize(normalized), points, rtol=1e-4)


def table_of(tmp_path, num):
    xy = np.random.default_rng(0).normal(size=(num, 2)).astype(np.float32)
    np.save(tmp_path / "rows.npy", xy)
    return xy, tmp_path / "rows.npy"


@pytest.mark.parametrize("fields", [{"jitter": "none"}, {"jitter_std": 0.0}])
def test_without_jitter_rows_are_held_out(tmp_path, fields):
    xy, file = table_of(tmp_path, 80)
    dataset, again = (data.build(config(file, **fields)) for _ in range(2))
    train, heldout = np.asarray(dataset.rows), np.asarray(dataset.heldout.rows)
    assert len(train) == 72 and len(heldout) == 8
    together = np.concatenate([train, heldout])
    np.testing.assert_array_equal(np.sort(together, 0), np.sort(xy, 0))
    assert len(np.unique(together, axis=0)) == 80  # no row is in both splits
    np.testing.assert_array_equal(again.heldout.rows, heldout)
    drawn = {tuple(point) for point in draw(dataset, 2_000)}
    assert drawn == {tuple(row) for row in train}
    np.testing.assert_allclose(dataset.shift, train.mean(0), atol=1e-6)
    assert float(dataset.heldout.scale) == float(dataset.scale)
    assert {tuple(point) for point in draw(dataset.heldout, 500)} == set(map(tuple, heldout))


@pytest.mark.parametrize("num, fields", [
    (80, {"jitter_std": 0.1}), (80, {"jitter": "none", "heldout": 0.0}), (49, {"jitter": "none"}),
])  # fmt: skip
def test_nothing_is_held_out_where_draws_are_new_or_rows_are_few(tmp_path, num, fields):
    _, file = table_of(tmp_path, num)
    dataset = data.build(config(file, **fields))
    assert dataset.heldout is None
    jittered = "jitter_std" in fields
    assert dataset.rows is None if jittered else len(dataset.rows) == num


def test_log_prob_is_the_mixture(tmp_path):
    xy = np.random.default_rng(0).normal(size=(50, 2))
    np.save(tmp_path / "a.npy", xy)
    dataset = data.build(config(tmp_path / "a.npy", jitter_std=0.2))
    points = draw(dataset, num=64)
    normals = [scipy.stats.multivariate_normal(row, 0.04).pdf(points) for row in xy]
    expected = np.log(np.mean(normals, axis=0))
    np.testing.assert_allclose(dataset.log_prob(jnp.asarray(points)), expected, atol=1e-4)
    np.save(tmp_path / "b.npy", np.random.default_rng(0).normal(size=(5000, 2)))
    assert data.build(config(tmp_path / "b.npy")).log_prob is None


def test_title_is_the_filter_or_the_file(tmp_path):
    file = write(tmp_path, "s,x,y\ncat,1,2\ndog,3,4\n")
    assert data.build(config(file)).title == "table"
    assert data.build(config(file, where="s=dog")).title == "dog"


@pytest.mark.skipif("DATASAURUS_TSV" not in os.environ, reason="DATASAURUS_TSV names no table")
def test_datasaurus():
    xy = load(os.environ["DATASAURUS_TSV"], where="dataset=dino")
    assert xy.shape == (142, 2)
    # mean and standard deviation as published
    np.testing.assert_allclose(xy.mean(0), [54.263, 47.832], atol=1e-3)
    np.testing.assert_allclose(xy.std(0, ddof=1), [16.765, 26.935], atol=1e-3)


def test_numbers_survive_a_long_table(tmp_path):
    xy = np.random.default_rng(0).normal(size=(20_000, 2))
    np.savetxt(tmp_path / "a.csv", xy, delimiter=",", header="x,y")
    np.testing.assert_allclose(load(tmp_path / "a.csv"), xy)


TABLES = {
    "good.csv": "s,x,y\na,1,2\nb,3,4\n",
    "empty.csv": "",
    "head.csv": "x,y\n",
    "one.csv": "s,x\na,1\n",
    "nan.csv": "x,y\n1,2\n\n3,nan\n",
    "inf.csv": "x,y\n-inf,2\n",
    "huge.csv": "x,y\n1,2\n1,1e39\n",
    "gap.csv": "x,y\n1,2\n3,\n",
    "slip.csv": "x,y\n1,2\n3,4\n5,six\n",
    "ragged.csv": "x,y\n1,2\n3,4,5\n",
    "same.csv": "x,y\n1,2\n1,2\n",
    "a.json": "[[1, 2]]",
}


@pytest.mark.parametrize("name, fields, message", [
    ("a.json", {}, r"config\.data\.path = '.*a\.json': must be a \.csv, \.tsv, .* or \.npz file"),
    ("none.csv", {}, r"config\.data\.path = '.*none\.csv': must be an existing file"),
    ("empty.csv", {}, r"empty\.csv': must hold at least one row of data, but the table is empty"),
    ("head.csv", {}, r"head\.csv': must hold at least one row of data"),
    ("one.csv", {}, r"one\.csv': has 1 numeric columns: must be at least 2"),
    ("nan.csv", {}, r"nan\.csv': line 4, column 'y' holds 'nan': must be a finite number"),
    ("inf.csv", {}, r"inf\.csv': line 2, column 'x' holds '-inf': must be a finite number"),
    ("huge.csv", {}, r"huge\.csv': line 3, column 'y' holds '1e39': must be a finite number"),
    ("gap.csv", {}, r"gap\.csv': line 3, column 'y' holds '': must be a finite number"),
    ("slip.csv", {}, r"slip\.csv': line 4, column 'y' holds 'six': must be a finite number"),
    ("ragged.csv", {}, r"ragged\.csv': line 3 has 3 cells: must be 2, as in line 1"),
    ("same.csv", {"jitter": "none"}, r"normalize = True: must be False where all points coincide"),
    ("latin.csv", {}, r"latin\.csv': must be a text file in UTF-8"),
    ("good.csv", {"columns": "x,z"}, r"columns = 'x,z': no column 'z'; there are s, x, y"),
    ("good.csv", {"columns": "1,3"}, r"columns = '1,3': no column '3'; there are s, x, y"),
    ("good.csv", {"columns": "x"}, r"columns = 'x': must be two different columns or more"),
    ("good.csv", {"columns": "s,x"}, r"line 2, column 's' holds 'a': must be a finite number"),
    ("good.csv", {"where": "s=c"}, r"where = 's=c': matches no row; 's' holds a, b"),
    ("good.csv", {"where": "q=c"}, r"where = 'q=c': no column 'q'; there are s, x, y"),
    ("good.csv", {"where": "s"}, r"config\.data\.where = 's': must be 'column=value' or ''"),
    ("cube.npy", {}, r"cube\.npy': has shape \(2, 3, 4\): must be \(rows, columns\)"),
    ("flat.npy", {}, r"flat\.npy': has shape \(3,\): must be \(rows, columns\)"),
    ("thin.npy", {}, r"thin\.npy': has 1 numeric columns: must be at least 2"),
    ("none.npy", {}, r"none\.npy': must hold at least one row of data"),
    ("nan.npy", {}, r"nan\.npy': row 1, column '0' holds 'nan': must be a finite number"),
    ("complex.npy", {"columns": "0,1"}, r"row 0, column '0' holds '.*j.*': must be a finite numb"),
    ("junk.npy", {}, r"junk\.npy': must be a numpy file of numbers"),
    ("objects.npy", {}, r"objects\.npy': must be a numpy file of numbers"),
    ("junk.npz", {}, r"junk\.npz': must be a numpy file of numbers"),
    ("bare.npz", {}, r"bare\.npz': must hold an array, but the archive is empty"),
    ("two.npz", {"array": "c"}, r"config\.data\.array = 'c': must be one of a, b"),
])  # fmt: skip
def test_bad_tables_are_one_clear_line(tmp_path, name, fields, message):
    for file, text in TABLES.items():
        write(tmp_path, text, file)
    (tmp_path / "latin.csv").write_bytes(b"x,y\n1,\xff\n")
    arrays = {"cube": np.ones((2, 3, 4)), "flat": np.ones(3), "thin": np.ones((3, 1)),
              "none": np.ones((0, 2)), "nan": [[1, 2], [np.nan, 3]], "complex": np.eye(2) * 1j,
              "objects": np.array([[1, "a"]], object)}  # fmt: skip
    for file, array in arrays.items():
        np.save(tmp_path / f"{file}.npy", array)
    for file in ("junk.npy", "junk.npz"):
        write(tmp_path, "PK not really", file)
    np.savez(tmp_path / "bare.npz")
    np.savez(tmp_path / "two.npz", a=XY, b=XY)
    with pytest.raises(UserError, match=message) as error:
        data.build(config(tmp_path / name, **fields))
    assert "\n" not in str(error.value)


def test_three_columns_are_points_in_space(tmp_path):
    file = write(tmp_path, "x,y,z\n0,1,2\n3,4,5\n6,7,7\n")
    dataset = data.build(config(file, columns="x,y,z", jitter_std=0.1))
    points = draw(dataset)
    assert points.shape == (4096, 3) and dataset.dim == 3
    centre = np.array([[0, 1, 2], [3, 4, 5], [6, 7, 7]])
    some = points[:5]
    density = np.mean([scipy.stats.multivariate_normal(c, 0.01).pdf(some) for c in centre], 0)
    np.testing.assert_allclose(dataset.log_prob(jnp.asarray(some)), np.log(density), atol=1e-3)
    np.testing.assert_array_equal(load(file, dim=3), load(file, columns="x,y,z"))


def test_a_coordinate_far_narrower_than_another_is_said(tmp_path):
    xy = np.random.default_rng(0).normal(size=(60, 2)) * [212, 0.0007]
    np.save(tmp_path / "a.npy", xy)
    notice = data.build(config(tmp_path / "a.npy", jitter="none")).notice
    assert "coordinate 0 has a spread of" in notice and "coordinate 1 one of 0.000" in notice
    assert "config.data.per_axis=True" in notice
    each = data.build(config(tmp_path / "a.npy", per_axis=True, jitter="none"))
    assert not each.notice and each.scale.shape == (2,)
    np.testing.assert_allclose(each.normalize(draw(each)).std(0), 1, rtol=0.05)
    np.save(tmp_path / "b.npy", xy * [1, 1e5])
    assert not data.build(config(tmp_path / "b.npy")).notice
    np.save(tmp_path / "c.npy", xy * [1, 0])
    with pytest.raises(UserError, match="per_axis = True: must be False where coordinate 1 never"):
        data.build(config(tmp_path / "c.npy", per_axis=True, jitter="none"))
