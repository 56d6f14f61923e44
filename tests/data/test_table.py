"""Check tables in all formats: values are read as written, or an error names the cell."""

import bz2
import gzip
import io
import lzma
import random
import sys
import zipfile

import numpy as np
import pandas
import pytest

from tiny_diffusion_jax.data import cells
from tiny_diffusion_jax.data.columns import read_points
from tiny_diffusion_jax.data.table import SUFFIXES, read_table, stem
from tiny_diffusion_jax.errors import UserError

XY = np.array([[1.5, -2.0], [3.0, 4e3], [0.0, 7.0]])


def write(tmp_path, content, name="a.csv"):
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(file)


def read(tmp_path, content, name="a.csv", **options):
    return read_points(write(tmp_path, content, name), **options)


# ---------------------------------------------------------------- text


LINES = ("x,y", "1.5,-2", "3,4e3", "0,7")
FORMS = {
    "comma": ("\n".join(LINES), "a.csv"),
    "comma and blank": ("\n".join(LINES).replace(",", ", "), "a.csv"),
    "semicolon": ("\n".join(LINES).replace(",", ";"), "a.csv"),
    "tab": ("\n".join(LINES).replace(",", "\t"), "a.csv"),
    "bar": ("\n".join(LINES).replace(",", "|"), "a.csv"),
    "blank": ("\n".join(LINES).replace(",", " "), "a.csv"),
    "several blanks": ("\n".join(f"  {line}  " for line in LINES).replace(",", " \t "), "a.dat"),
    "np.savetxt": ("1.5e+00 -2e+00\n3.00e+00 4.0e+03\n0e+00 7e+00\n", "a.csv"),
    "np.savetxt with a header": ("# x y\n1.5 -2\n3 4000\n0 7\n", "a.txt"),
    "np.savetxt of two delimiters": ("# x y\n1.5,-2\n3,4000\n0,7\n", "a.txt"),
    "R write.csv": ('"","x","y"\n"1",1.5,-2\n"2",3,4000\n"3",0,7\n', "a.csv"),
    "R write.csv2": ('"";"x";"y"\n"1";1,5;-2\n"2";3;4000\n"3";0;7\n', "a.csv"),
    "R write.table": ('"x" "y"\n"1" 1.5 -2\n"2" 3 4000\n"3" 0 7\n', "a.txt"),
    "R write.table of commas": ('"x" "y"\n"1" 1,5 -2\n"2" 3 4000\n"3" 0 7\n', "a.txt"),
    "decimal comma and tab": ("x\ty\n1,5\t-2,0\n3\t4e3\n0,0\t7\n", "a.tsv"),
    "decimal comma in quotes": ('x,y\n"1,5","-2,0"\n"3","4000"\n"0,0","7"\n', "a.csv"),
    "decimal comma without names": ("1,5;-2\n3;4000\n0;7,0\n", "a.csv"),
    "pandas to_csv": (",x,y\n0,1.5,-2\n1,3,4e3\n2,0,7\n", "a.csv"),
    "pandas numbers": (",0,1\n0,1.5,-2\n1,3,4e3\n2,0,7\n", "a.csv"),
    "pandas numbers without index": ("0,1\n1.5,-2\n3,4e3\n0,7\n", "a.csv"),
    "pandas index with a name": ("cell,0,1\n5,1.5,-2\n6,3,4e3\n9,0,7\n", "a.csv", "0,1"),
    "Excel sep line": ("sep=;\nx;y\n1,5;-2\n3;4000\n0;7\n", "a.csv"),
    "Excel sep line of a colon": ("sep=:\r\nx:y\r\n1.5:-2\r\n3:4000\r\n0:7\r\n", "a.csv"),
    "Excel sep line in quotes": ('"sep=,"\nx,y\n1.5,-2\n3,4000\n0,7\n', "a.csv"),
    "Excel empty rows": ("x,y,\n1.5,-2,\n3,4000,\n0,7,\n,,\n,,\n", "a.csv"),
    "delimiter at the end": ("x,y\n1.5,-2,\n3,4000,\n0,7,\n", "a.csv"),
    "delimiter at the end, no names": ("1.5,-2,\n3,4000,\n0,7,\n", "a.csv"),
    "Windows": ("\r\n".join(LINES), "a.csv"),
    "old Macintosh": ("\r".join(LINES), "a.csv"),
    "UTF-8 with BOM": ("\ufeff" + "\n".join(LINES), "a.csv"),
    "UTF-16": ("\n".join(LINES).encode("utf-16"), "a.csv"),
    "UTF-16 without BOM": ("\n".join(LINES).encode("utf-16-le"), "a.csv"),
    "UTF-16 big-endian": ("\n".join(LINES).encode("utf-16-be"), "a.csv"),
    "UTF-32": ("\n".join(LINES).encode("utf-32"), "a.csv"),
    "comments": ("# by hand, on \"Monday\n\n#x,y\n1.5,-2\n# later\n3,4e3\n0,7\n", "a.csv"),
    "comment of a percent": ("%x,y\n1.5,-2\n3,4e3\n0,7\n", "a.csv"),
    "names in quotes": ('"x","y"\n"1.5","-2"\n"3","4e3"\n"0","7"\n', "a.csv"),
    "delimiter in a name": ('x,y,"mass, kg"\n1.5,-2,1\n3,4e3,1\n0,7,1\n', "a.csv"),
    "delimiter in cells": ('name;x;y\n"a;b";1,5;-2\n"c,d";3;4000\ne;0;7\n', "a.csv"),
    "line ends in cells": ('name,x,y\n"a\nb",1.5,-2\n"c",3,4e3\nd,0,7\n', "a.csv"),
    "quote within a cell": ('name,x,y\n5" nail,1.5,-2\n6" nail,3,4e3\nd,0,7\n', "a.csv"),
    "names among numbers": ("x,y,2019\n1.5,-2,1\n3,4e3,1\n0,7,1\n", "a.csv"),
    ".pts": ("3\n1.5 -2\n3 4e3\n0 7\n", "a.pts"),
    ".xyz of atoms": ("3\nin a box\nC 1.5 -2 \nO 3 4e3\nH 0 7\n", "a.xyz"),
    "signs": ("x,y\n+1.5,-2.\n3.,+4E+3\n.0,7\n", "a.csv"),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_text_forms(tmp_path, form):
    text, name, *columns = FORMS[form]
    points = read(tmp_path, text, name, columns=",".join(columns)).points
    np.testing.assert_array_equal(points, XY)


def test_compressed_files(tmp_path):
    text = "\n".join(LINES).encode()
    for ending, pack in (("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)):
        np.testing.assert_array_equal(read(tmp_path, pack(text), f"a.csv.{ending}").points, XY)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("data/", "")
        file.writestr("data/a.txt", text)
        file.writestr("__MACOSX/a.txt", "junk")
    np.testing.assert_array_equal(read(tmp_path, archive.getvalue(), "a.zip").points, XY)
    assert stem("data/cells.csv.gz") == stem("cells.csv") == "cells"


def test_names_of_point_clouds_without_a_header(tmp_path):
    found = read(tmp_path, "1 2 3 255\n4 5 6 255\n", "a.xyz")
    assert found.columns == ("x", "y", "z") and found.points.shape == (2, 3)


def test_numbers_are_the_nearest_float64(tmp_path):
    """2,000 numbers with 17 digits; fast parsers of old pandas versions misread some of them."""
    rng = np.random.default_rng(0)
    xy = rng.normal(size=(2_000, 2)) * 10.0 ** rng.integers(-300, 30, (2_000, 2))
    text = "x,y\n" + "\n".join(f"{x!r},{y!r}" for x, y in xy.tolist())
    np.testing.assert_array_equal(read(tmp_path, text).points, xy)


def test_empty_lines_and_quotes_change_no_row(tmp_path):
    text = "set,x,y,kind\n" + "".join(f" s {i // 3} ,{i},{i / 7},k{i % 2}\n" for i in range(30))
    options = {"where": "kind=k1", "set_column": ""}
    table = read(tmp_path, text, **options)
    assert table.points.tolist() == [[i, i / 7] for i in range(1, 30, 2)]
    assert list(table.rows) == [f"line {i}" for i in range(3, 33, 2)]
    assert cells.encode(table.roles["set"][1])[1] == [f"s {i}" for i in range(10)]
    for form in (text.replace("k1\n", "k1\n\n"), text.replace("k1\n", '"k1"\n'), text[:-1]):
        np.testing.assert_array_equal(read(tmp_path, form, **options).points, table.points)


@pytest.mark.parametrize("end, message", [
    ("5,six\n", "line 32, column 'y' holds 'six'"), ("5\n", "line 32 has 1 cells: must be 2"),
    ("\n5,\n", "line 33, column 'y' holds ''"), ("5,6,7\n", "line 32 has 3 cells: must be 2"),
    ("5,1_0\n", "line 32, column 'y' holds '1_0'"), ("#a\n5,inf\n", "line 33, column 'y' holds 'i"),
    ('"5,6\n7,8\n', "line 32 has 1 cells: must be 2, as in line 1. A quote is opened there"),
])  # fmt: skip
def test_errors_far_below_the_first_rows_are_located(tmp_path, end, message):
    with pytest.raises(UserError) as error:
        read(tmp_path, "x,y\n" + "1,2\n" * 30 + end)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_short_rows_and_comments_far_below_are_seen(tmp_path):
    text = "name,x,y,kind\n" + "a,1,2,b\n" * 30
    with pytest.raises(UserError, match="line 32 has 3 cells: must be 4, as in line 1"):
        read(tmp_path, text + "a,3,4\n")
    found = read(tmp_path, text + "#a,3,4,b\n")
    assert len(found.points) == 30 and "(the first is line 32)" in found.notice


MALFORMED = {
    "1,234.5": "Write numbers without thousands separators", "1.234,5": "without thousands separ",
    "1 234": "without thousands separators", "1\u202f234": "without thousands separators",
    "1'234.5": "without thousands separators", "1,234,567": "without thousands separators",
    "\u22121.5": "The minus is a Unicode sign; write -", "5 mm": "without a unit",
    "12%": "without a unit", "inf": "", "-Infinity": "", "1e400": "", "1_000": "without thousands",
    "1D+03": "Write numbers", "0x10": "", "six": "", "True": "", "2024-01-02": "", "1;2": "",
    "NA": "skip_incomplete", "": "skip_incomplete", "NaN": "skip_incomplete",
    "null": "skip_incomplete", "None": "skip_incomplete", "-": "skip_incomplete",
    "#N/A": "skip_incomplete", "n/a": "skip_incomplete", ".": "skip_incomplete",
}  # fmt: skip


@pytest.mark.parametrize("delimiter", ",;\t")
@pytest.mark.parametrize("text", MALFORMED)
def test_a_cell_that_is_no_number_is_named(tmp_path, text, delimiter):
    """Try every row, with column names that identify the coordinates and with names that do not."""
    for names in ("x", "y"), ("u", "v"):
        for row in 0, 1, 2:
            rows = [["1.5", "2"], ["3", "4"], ["5", "6.5"]]
            rows[row][row % 2] = f'"{text}"'
            lines = [delimiter.join(cells) for cells in (names, *rows)]
            is_text = cells.kind_of(text) == cells.TEXT and names == ("u", "v") and row
            with pytest.raises(UserError) as error:
                read(tmp_path, "\n".join(lines))
            place = f"line {row + 2}, column {names[row % 2]!r} holds {text!r}: must be a finite"
            assert is_text or place in str(error.value)
            assert MALFORMED[text] in str(error.value) and "0 numeric" not in str(error.value)


def test_an_ambiguous_comma_is_refused(tmp_path):
    with pytest.raises(UserError, match="'1,234'.* decimal or part thousands; write 1.234 or 1234"):
        read(tmp_path, "x\ty\n1,234\t2\n3\t4\n")
    assert read(tmp_path, "x\ty\n1,234\t0,5\n3\t4\n").points[0].tolist() == [1.234, 0.5]
    # the form that Excel writes
    assert read(tmp_path, "x;y\n1,234;2\n3;4\n").points[0].tolist() == [1.234, 2]
    with pytest.raises(UserError, match="A decimal comma is read if all numbers have it"):
        read(tmp_path, "x;y\n1,5;2.5\n3;4\n")


def test_notices_name_what_was_decided(tmp_path):
    for text, notice in (
        ("0,1\n2,3\n", "line 1 (0, 1) is read as names of columns, as pandas writes; config.data."
                       "header=no reads it as a point"),
        ("x,y\n1,2\n#3,4\n5,6\n", "left out as comments: 1 line that begins with # or % (the fir"),
        ("x,y\n1,2\n9007199254740993,4\n", "line 3, column x: 9007199254740993 is rounded to 9007"),
        ("2\n1 2\n3 4\n", "line 1 is read as the number of rows"),
    ):  # fmt: skip
        assert notice in read(tmp_path, text).notice
    assert len(read(tmp_path, "0,1\n2,3\n", header="no").points) == 2


REFUSED = {
    "empty": ("", "a.csv", "must hold at least one row of data, but the table is empty"),
    "names alone": ("x,y\n", "a.csv", "must hold at least one row of data"),
    "one column": ("x\n1\n2\n", "a.csv", "has 1 numeric columns: must be at least 2"),
    "one column of numbers": ("1\n2\n", "a.csv", "has 1 numeric columns: must be at least 2"),
    "words": ("a,b\nc,d\n", "a.csv", "has 0 numeric columns: must be at least 2. No numbers, or"),
    "short row": ("x,y\n1,2\n3\n", "a.csv", "line 3 has 1 cells: must be 2, as in line 1"),
    "units": ("x,y\nmm,mm\n1,2\n", "a.csv", "line 2, column 'x' holds 'mm': must be a finite number"
                                            ". A row of units or of names must be deleted"),
    "units below names": ("u,v\n(mm),(mm)\n1,2\n", "a.csv", "line 2, column 'u' holds '(mm)'"),
    "more names": ("u,v\na,b\nc,d\n1,2\n3,4\n", "a.csv", "A row of units or of names must be"),
    "Latin-1": ("x,y\n1,2\n\u00e4,3\n".encode("latin-1"), "a.csv",
                "must be a text file in UTF-8 or UTF-16, but line 3 is not"),
    "zero byte": (b"x,y\n1,2\n\0,3\n" + b"3,4\n" * 99, "a.csv", "line 3 holds a zero byte"),
    "no gzip": ("x,y\n1,2\n", "a.csv.gz", "must be a file that can be read (Not a gzipped file"),
    "cut gzip": (gzip.compress(b"x,y\n1,2\n" * 99)[:-9], "a.csv.gz", "must be a file that can be"),
    "no zip": ("x,y\n1,2\n", "a.zip", "must be a file that can be read (File is not a zip file)"),
    "GeoJSON": ("{}", "a.geojson", "To convert: geopandas.read_file(path)"),
    "point cloud": ("ply", "a.ply", "To convert: numpy.savetxt('points.xyz', trimesh.load(path)"),
    "old Excel": ("", "a.xls", "save the sheet as .xlsx or .csv"),
    "two columns of a name": ("x,x,y\n1,2,3\n", "a.csv", "columns 0, 1 are all named 'x' (x, x)"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_files_are_one_clear_line(tmp_path, case):
    content, name, message = REFUSED[case]
    with pytest.raises(UserError) as error:
        read(tmp_path, content, name)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_archives_of_several_tables_are_refused(tmp_path):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.csv", "x,y\n1,2\n")
        file.writestr("b.csv", "x,y\n1,2\n")
    with pytest.raises(UserError, match="must be a .zip file of one table; it holds a.csv, b.csv"):
        read(tmp_path, archive.getvalue(), "a.zip")


# ---------------------------------------------------------------- other formats


def test_numpy_files(tmp_path):
    path = lambda name: str(tmp_path / name)
    np.savez(path("columns.npz"), x=XY[:, 0], y=XY[:, 1], name=np.array(["a", "b", "c"]))
    found = read_points(path("columns.npz"), where="name=b")
    assert found.columns == ("x", "y") and found.points.tolist() == [[3.0, 4e3]]
    np.savez(path("points.npz"), other=np.ones((4, 3)), points=XY)
    np.testing.assert_array_equal(read_points(path("points.npz")).points, XY)
    np.savez(path("two.npz"), a=XY, b=XY + 1)
    found = read_points(path("two.npz"))
    assert found.notice == "array a is read; config.data.array chooses another (b)"
    assert read_points(path("two.npz"), array="b").points[0, 0] == 2.5 and found.points[
        0, 0] == 1.5  # fmt: skip
    np.save(path("sets.npy"), np.ones((2, 3, 2)))
    with pytest.raises(UserError, match="must be .rows, columns.; --config=sets learns sets"):
        read_points(path("sets.npy"))
    big = np.array([[2**53 + 1, 0], [5, 6]])
    np.save(path("big.npy"), big)
    assert "9007199254740993 is rounded to" in read_points(path("big.npy")).notice


def test_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame(XY.copy(), columns=["x", "y"], index=[5, 6, 7])
    frame["flag"], frame["day"] = True, pandas.Timestamp("2024-01-02")
    frame.rename_axis("plot").to_parquet(tmp_path / "a.parquet")
    found = read_points(str(tmp_path / "a.parquet"))
    np.testing.assert_array_equal(found.points, XY)
    assert set(found.others) == {"flag", "day", "plot"}
    frame.loc[6, "x"] = np.nan
    frame.to_parquet(tmp_path / "a.parquet")
    with pytest.raises(UserError, match="row 1, column 'x' holds 'nan': .*skip_incomplete=True"):
        read_points(str(tmp_path / "a.parquet"))
    frame.drop(columns=["x", "y"]).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(UserError, match="has 0 numeric columns"):
        read_points(str(tmp_path / "a.parquet"))


def test_excel(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (["made in Excel"][:0], [None, "id", "x", "y"], [None, 1, 1.5, -2],
                [None, 2, 3, 4000], [None, 3, 0, 7]):  # fmt: skip
        book.active.append(row)
    book.create_sheet("other").append(["x", "y"])
    book.save(tmp_path / "a.xlsx")
    found = read_points(str(tmp_path / "a.xlsx"))
    np.testing.assert_array_equal(found.points, XY)
    assert "sheet Sheet is read; config.data.array chooses another (other)" in found.notice
    book["other"].append([1, "two"])
    book.save(tmp_path / "a.xlsx")
    with pytest.raises(UserError, match="row 2, column 'y' holds 'two': must be a finite number"):
        read_points(str(tmp_path / "a.xlsx"), array="other")
    with pytest.raises(UserError, match="array = 'third': must be one of Sheet, other"):
        read_points(str(tmp_path / "a.xlsx"), array="third")


@pytest.mark.parametrize("name, package", [("a.xlsx", "openpyxl"), ("a.parquet", "pyarrow")])
def test_a_missing_package_is_named(tmp_path, monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=f"{package}, which reads .*: pip install {package}"):
        read(tmp_path, "", name)


def test_every_suffix_is_named_to_the_user(tmp_path):
    with pytest.raises(UserError) as error:
        read(tmp_path, "", "a.docx")
    assert all(suffix in str(error.value) for suffix in SUFFIXES)


# ---------------------------------------------------------------- any table at all


class Case:
    """A random table: the text, and the points or the faulty cell that the reader must report."""

    def __init__(self, rng: random.Random):
        self.delimiter = rng.choice([",", ";", "\t", "|", " "])
        self.decimal = rng.choice([".", ","]) if self.delimiter in ";\t" else "."
        self.rows = rng.randint(3, 25)
        names = rng.choice([["x", "y"], ["X", "Y"], ["x", "y", "z"], ["lon", "lat"], ["u", "v"]])
        offset, scale = rng.choice([0, 1, 1e3, 1e9, -1e6]), 10.0 ** rng.randint(-6, 6)
        form = rng.choice(["{!r}", "{:.6f}", "{:.3e}", "{:g}", "{:.0f}"])
        columns = {name: [form.format(offset + scale * rng.gauss(0, 1)) for _ in range(self.rows)]
                   for name in names}  # fmt: skip
        self.names = names
        values = np.array([[float(text) for text in columns[name]] for name in names]).T
        others = {
            "": [str(i) for i in range(self.rows)], "id": [str(i * 7) for i in range(self.rows)],
            "kind": [rng.choice(["oak", "ash", "mountain-ash"]) for _ in range(self.rows)],
            "frame": [str(i % 4) for i in range(self.rows)],
        }  # fmt: skip
        for name in rng.sample(sorted(others), rng.randint(0, 3)):
            if not (name == "" and self.delimiter == " "):
                columns[name] = others[name]
        if self.decimal == ",":
            columns = {name: [t.replace(".", ",") for t in ts] for name, ts in columns.items()}
        self.fault, missing = None, np.zeros(self.rows, bool)
        if rng.random() < 0.3:
            row, name = rng.randrange(self.rows), rng.choice(names)
            text = rng.choice(["NA", "NaN", "-", "null", "None", "\u22125.0", "1 234.5", "3 mm"])
            columns[name][row] = text
            self.fault, missing[row] = (row, name, text), text in ("NA", "NaN", "-", "null", "None")
        self.missing = missing
        self.points = values
        order = rng.sample(sorted(columns), len(columns))
        if names == ["u", "v"]:  # of two columns, the first is the first coordinate
            order = [n for n in order if n not in names] + names
        self.text = self.write(rng, order, columns)

    def write(self, rng, order, columns) -> str:
        quoted = lambda cell: f'"{cell}"' if (
            self.delimiter in cell or cell == "" or rng.random() < 0.1) else cell  # fmt: skip
        rows = [[columns[name][i] for name in order] for i in range(self.rows)]
        lines = [self.delimiter.join(map(quoted, row)) for row in [order, *rows]]
        self.first = 2
        comment = rng.random() < 0.2
        if comment:
            lines.insert(0, "# a table, by \"nobody")
            self.first += 1
        if rng.random() < 0.1 and not comment and self.delimiter != " ":
            lines.insert(0, f"sep={self.delimiter}")
            self.first += 1
        end = rng.choice(["\n", "\n", "\r\n"])
        return rng.choice(["", "", "\ufeff"]) + end.join(lines) + rng.choice(["", end])


@pytest.mark.parametrize("part", range(4))
def test_2000_random_tables(tmp_path, part):
    """The reader returns the table that was written, or an error with line, column and text."""
    outcomes = {"read": 0, "refused": 0, "left out": 0}
    for number in range(500 * part, 500 * (part + 1)):
        rng = random.Random(number)
        case = Case(rng)
        encoding = rng.choice(["utf-8", "utf-8", "utf-16-le"])
        path = write(tmp_path, case.text.encode(encoding), "a.csv")
        skip_incomplete = rng.random() < 0.3
        try:
            found = read_points(path, skip_incomplete=skip_incomplete)
        except UserError as error:
            if "may be decimal or part thousands" in str(error) and case.decimal == ",":
                continue
            assert case.fault, (number, case.text, error)
            row, name, text = case.fault
            place = f"line {case.first + row}, column {name!r} holds {text!r}: must be a finite"
            assert place in str(error), (number, case.text, error)
            outcomes["refused"] += 1
            continue
        keep = ~case.missing
        assert not case.fault or (skip_incomplete and not keep.all()), (number, case.text)
        assert found.columns == tuple(case.names), (number, case.text)
        np.testing.assert_array_equal(found.points, case.points[keep], err_msg=case.text)
        outcomes["read" if keep.all() else "left out"] += 1
    assert min(outcomes.values()) > 5 and outcomes["read"] > 300, outcomes


def test_head_of_a_table_has_its_names(tmp_path):
    assert read_table(write(tmp_path, "\n".join(LINES))).names == ["x", "y"]
