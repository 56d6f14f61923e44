"""Check sets from each kind of file: the sets that are read, and the errors in one line."""

import jax
import numpy as np
import pytest
from PIL import Image

from tiny_diffusion_jax import data
from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.data import sets
from tiny_diffusion_jax.dataset import draw_sets
from tiny_diffusion_jax.errors import UserError

# 12 sets a0 .. a11 of 2 to 4 points (s, p); set s has the label "odd" or "even".
SIZES = np.arange(12) % 3 + 2
CODES = np.repeat(np.arange(12), SIZES)
POINTS = np.stack([CODES, np.concatenate([np.arange(n) for n in SIZES])], axis=1)
NAMES = np.array(["even", "odd"])


def config(path, **fields):
    options = default_config().data
    options.update(name="sets", path=str(path), **fields)
    return options


def load(path, **fields):
    return sets.load(config(path, **fields))


def table(header="set,x,y,label", row="a{s},{x},{y},{label}"):
    rows = [row.format(s=s, x=x, y=y, z=x + y, label=NAMES[s % 2]) for s, (x, y) in
            zip(CODES.tolist(), POINTS.tolist(), strict=True)]  # fmt: skip
    return "\n".join([header, *rows]) + "\n"


def write(tmp_path, text, name="a.csv"):
    (tmp_path / name).write_text(text, "utf-8")
    return tmp_path / name


def same(read, labels=True, points=POINTS):
    np.testing.assert_array_equal(read.points, points)
    np.testing.assert_array_equal(read.sizes, SIZES)
    if labels:
        assert read.names == ("even", "odd")
        np.testing.assert_array_equal(read.labels, np.arange(12) % 2)
    else:
        assert read.labels is None and read.names == ()
    assert read.heldout.sum() == 4
    return read


@pytest.mark.parametrize("text, name, fields", [
    (table(), "a.csv", {}),
    (table("# made\n\nset_id,y,x,label", "a{s},{y},{x},{label}"), "a.csv", {}),
    (table("label\tx\ty\tgroup", "{label}\t{x}\t{y}\t{s}"), "a.tsv", {}),
    (table("kind;cell;u;v", "{label};c {s};{x};{y}"), "a.csv",
     {"set_column": "cell", "label_column": "kind"}),
    (table("a,b,c,d", '"{label}","{s}",{x},{y}'), "a.csv",
     {"set_column": "1", "label_column": "0", "columns": "2,3"}),
    (table("set,x,y,label", "a{s},{x},{y},{label}\n"), "a.csv", {}),
    (table()[:-1], "a.csv", {}),
    (table().replace("\n", "\r\n"), "a.csv", {}),
    (table("ID,x,y,label,keep", "a{s},{x},{y},{label},1") + "b,1,1,odd,0\n", "a.csv",
     {"where": "keep=1"}),
    (table("set,x,y,label,note", "a{s},{x},{y},{label},any {x} text"), "a.csv", {}),
])  # fmt: skip
def test_tables(tmp_path, text, name, fields):
    read = same(load(write(tmp_path, text, name), **fields))
    assert len(read.columns) == 2 and read.label_column in ("label", "kind", "a")


def test_rows_in_any_order_three_coordinates_and_no_labels(tmp_path):
    head, *rows = table("set,x,y,z,label", "a{s},{x},{y},{z},{label}").splitlines()
    order = np.random.default_rng(0).permutation(len(rows))
    path = write(tmp_path, "\n".join([head, *(rows[i] for i in order)]))
    read = load(path, label_column="none")
    assert read.columns == ("x", "y", "z") and read.labels is None
    first = {int(s): None for s in CODES[order]}  # sets in the order of their first rows
    expected = [POINTS[order][CODES[order] == s] for s in first]
    np.testing.assert_array_equal(read.points[:, :2], np.concatenate(expected))
    np.testing.assert_array_equal(read.points[:, 2], read.points[:, :2].sum(1))
    assert load(path, columns="z,x").columns == ("z", "x")


def test_split_column(tmp_path):
    words = ["train", "Test", "train", "valid"]
    rows = [f"{s},{x},{y},{words[s % 4]}" for s, (x, y) in zip(CODES, POINTS, strict=True)]
    path = write(tmp_path, "\n".join(["set,x,y,split", *rows]))
    np.testing.assert_array_equal(load(path).heldout, np.arange(12) % 2 == 1)
    assert load(path, split_column="none").heldout.sum() == 4


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {"set": CODES, "x": POINTS[:, 0], "y": POINTS[:, 1], "label": NAMES[CODES % 2]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    same(load(tmp_path / "a.parquet"))


def test_arrays(tmp_path):
    mask = np.arange(4) < SIZES[:, None]
    padded = np.full((12, 4, 2), np.nan)
    padded[mask] = POINTS
    label, path = NAMES[np.arange(12) % 2], tmp_path / "a.npz"
    for arrays in ({"points": padded, "mask": mask, "label": label},
                   {"points": POINTS, "sizes": SIZES, "label": label},
                   {"points": POINTS, "set": CODES * 10, "label": label}):  # fmt: skip
        np.savez(path, **arrays)
        same(load(path))
    np.savez(path, mine=POINTS, sizes=SIZES)
    same(load(path, array="mine"), labels=False)
    np.save(tmp_path / "a.npy", np.arange(60.0).reshape(10, 2, 3))
    read = load(tmp_path / "a.npy")
    assert read.columns == ("x", "y", "z") and read.sizes.tolist() == [2] * 10
    np.savez(path, points=POINTS, sizes=SIZES, label=np.arange(12))
    assert load(path).names == tuple(map(str, range(12)))  # sets sorted by number, not by text


def test_what_is_built(tmp_path):
    options = config(write(tmp_path, table()))
    about = data.about(options)
    assert about == data.About(
        data.Labels(("even", "odd"), (0, 1)), 2, True, ("x", "y"), 4, ("none",))
    dataset = data.build(options)
    assert dataset.num_sources == 8 and dataset.heldout.num_sources == 4
    assert dataset.label_names == ("even", "odd") and dataset.num_labels == 2
    assert dataset.set_column == "set" and dataset.label_column == "label"
    assert dataset.columns == ("x", "y")
    assert dataset.details == (
        "a.csv: 36 points, coordinates x, y; sets by set (12); label label (2); "
        "2 to 4 points a set (median 3), 4 sets held out"
    )
    assert dataset.title == "a" and dataset.heldout.scale == dataset.scale
    train, held = (set(np.asarray(d.points)[:, 0].tolist()) for d in (dataset, dataset.heldout))
    assert not train & held and len(train | held) == 12
    drawn = draw_sets(dataset, jax.random.key(0), 50, 3)
    np.testing.assert_array_equal(drawn.label, drawn.points[:, 0, 0] % 2)
    np.testing.assert_array_equal(drawn.mask.sum(1), np.minimum(drawn.size, 3))
    each = data.build(config(tmp_path / "a.csv", per_axis=True))
    assert each.scale.shape == each.heldout.scale.shape == (2,)


def test_a_file_is_read_once_until_it_changes(tmp_path, monkeypatch):
    path, reads = write(tmp_path, table()), []
    read = sets.read_file
    monkeypatch.setattr(sets, "read_file", lambda *of: reads.append(1) or read(*of))
    data.about(config(path))
    data.build(config(path))
    assert len(reads) == 1
    data.labels(config(path, label_column="none"))
    write(tmp_path, table().replace("even", "level"))
    assert data.labels(config(path)).names == ("level", "odd") and len(reads) == 3


def test_small_sets_may_be_left_out(tmp_path):
    path = write(tmp_path, table() + "b0,1,1,odd\nb1,2,2,even\n")
    with pytest.raises(UserError) as error:
        load(path)
    assert str(error.value).endswith(
        "set 'b0' has 1 point (and 1 more sets): must be at least 2; sets by column 'set'; "
        "config.data.set_column names another (x, y); config.data.skip_small=True leaves small "
        "sets out")  # fmt: skip
    read = same(load(path, skip_small=True))
    assert read.notice == ("left out: 2 of 14 sets with fewer than 2 points (the first is 'b0')")
    assert data.build(config(path, skip_small=True)).notice.split("\n")[0] == read.notice
    sizes = np.r_[0, SIZES, 1]
    np.savez(tmp_path / "a.npz", points=np.r_[POINTS, [[9, 9]]], sizes=sizes,
             label=NAMES[np.r_[0, np.arange(12) % 2, 0]])  # fmt: skip
    same(load(tmp_path / "a.npz", skip_small=True))
    rows = "".join(f"{i},{i},{i}\n" for i in range(9))
    with pytest.raises(UserError, match=r"'0' has 1 point \(and 8 more sets\)"):
        load(write(tmp_path, "id,x,y\n" + rows), skip_small=True)


def test_a_guessed_set_column_of_single_points_is_named(tmp_path):
    rows = "".join(f"{i},n{i // 4},{i % 5},{i % 7}\n" for i in range(40))
    path = write(tmp_path, "id,nucleus,x,y\n" + rows)
    with pytest.raises(UserError) as error:
        load(path)
    assert ("set '0' has 1 point (and 39 more sets): must be at least 2; sets by column 'id'; "
            "config.data.set_column names another (nucleus, x, y)") in str(error.value)  # fmt: skip
    assert len(load(path, set_column="nucleus").sizes) == 10


@pytest.mark.parametrize("text", ["", "NA", "NaN", "null"])
def test_rows_without_a_set_or_coordinate_may_be_left_out(tmp_path, text):
    path = write(tmp_path, table() + f"{text},1,1,odd\na0,{text},2,even\n")
    with pytest.raises(UserError) as error:
        load(path)
    held = f"holds {text!r}" if text else "is empty"
    assert f"line 38, column 'set' {held}: must be the name of a set. config" in str(error.value)
    read = same(load(path, skip_incomplete=True))
    assert read.notice == "left out: 2 of 38 rows with missing values (the first is line 38)"


def test_padding_of_arrays(tmp_path):
    path, mask = tmp_path / "a.npy", np.arange(4) < SIZES[:, None]
    padded = np.full((12, 4, 2), np.nan, np.float32)  # the form that td.sample returns
    padded[mask] = POINTS
    np.save(path, padded)
    same(load(path), labels=False)
    holes = padded.copy()
    holes[2, 0, 1] = np.nan
    np.save(path, holes)
    with pytest.raises(UserError, match=r"set '2' has a point \[2.0, nan\]: .*skip_incomplete="):
        load(path)
    assert len(load(path, skip_incomplete=True).points) == len(POINTS) - 1
    jets = np.where(mask[..., None], np.random.default_rng(0).normal(size=(12, 4, 3)), 0)
    np.save(path, np.concatenate([jets, mask[..., None]], -1))
    read = load(path)
    assert read.notice == (
        "25 % of all points are zeros at the end of sets: if they are padding, an .npz file with "
        "an array mask[S, N] leaves them out; the last coordinate is 0 or 1 in all points: if it "
        "is a mask, an .npz file with an array mask[S, N] and config.data.columns=0,1,2 keeps it "
        "from being learned")  # fmt: skip
    assert load(path, columns="0,1").columns == ("x0", "x1")
    np.savez(tmp_path / "a.npz", points=jets, mask=mask[..., None])
    read = load(tmp_path / "a.npz")
    assert not read.notice and len(read.points) == len(POINTS)
    np.save(path, np.random.default_rng(0).normal(size=(12, 4, 2)))
    assert not load(path).notice


def test_a_label_of_held_out_sets_only_has_a_notice(tmp_path):
    split = np.array(["train"] * 8 + ["test"] * 4)
    arrays = {"points": POINTS, "sizes": SIZES, "split": split}
    label = np.array(["a", "b"] * 4 + ["c", "a", "d", "a"])
    np.savez(tmp_path / "a.npz", label=label, **arrays)
    notice = data.build(config(tmp_path / "a.npz")).notice.splitlines()[-1]
    assert notice == ("labels c, d occur only in held-out sets, so the model does not learn them; "
                      "a split in the data chooses other held-out sets")  # fmt: skip
    np.savez(tmp_path / "a.npz", label=np.where(label == "d", "a", label), **arrays)
    assert "label c occurs only in held-out" in data.build(config(tmp_path / "a.npz")).notice
    np.savez(tmp_path / "a.npz", label=label[[*range(8), *range(4)]], **arrays)
    assert "occur" not in data.build(config(tmp_path / "a.npz")).notice


def test_options_name_arrays(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, points=np.random.default_rng(0).normal(size=(12, 3, 3)),
             labels=np.arange(12)[:, None] % 2, part=["train", "test", "test"] * 4)  # fmt: skip
    read = load(path)
    assert read.labels is None and read.remarks == "; not read: labels, part"
    read = load(path, label_column="labels", split_column="part")
    assert read.names == ("0", "1") and read.label_column == "labels"
    assert read.heldout.tolist() == [False, True, True] * 4 and not read.remarks
    with pytest.raises(UserError, match="label_column = 'kind': no array 'kind'; there are poi"):
        load(path, label_column="kind")
    np.savez(path, points=POINTS, event=CODES, sizes=SIZES, kind=NAMES[CODES % 2])
    assert same(load(path, set_column="event"), labels=False).set_column == "event"
    np.savez(path, points=POINTS, set=CODES, kind=NAMES[CODES % 2])
    same(load(path, label_column="kind"))  # one label per point
    with pytest.raises(UserError, match="data.where = 'a=b': must be '' for arrays without rows"):
        load(path, where="a=b")


def test_set_names_that_are_equal_numbers_are_one_set(tmp_path):
    names = [f"{s}.0" if y else str(s) for s, y in POINTS.tolist()]
    rows = [f"{name},{x},{y}" for name, (x, y) in zip(names, POINTS.tolist(), strict=True)]
    path = write(tmp_path, "\n".join(["set,x,y", *rows]))
    read = same(load(path), labels=False)
    assert read.notice == ("set names that are equal numbers are one set: 12 numbers, such as "
                           "0 and 0.0")  # fmt: skip
    np.savez(tmp_path / "a.npz", points=POINTS, set=np.array(names), label=NAMES[CODES % 2])
    read = load(tmp_path / "a.npz")
    assert len(read.sizes) == 12 and read.notice.startswith("set names that are equal numbers")
    different = ["9007199254740993", "9007199254740992", "3", "3a", "1e999", "2e999"]
    text = "".join(f"{name},1,2\n{name},2,3\n" for name in different)
    read = load(write(tmp_path, "set,x,y\n" + text))
    assert len(read.sizes) == 6 and not read.notice


@pytest.mark.parametrize("columns, message", [
    ("x,y,label", "config.data.columns = 'x,y,label': must be without the label 'label'. "
                  "config.data.label_column=none reads it as a coordinate"),
    ("set,x", "config.data.columns = 'set,x': must be without the set 'set'"),
    ("0,1,2", "config.data.columns = '0,1,2': must be without the set 'set'"),
    ("x,split", "config.data.columns = 'x,split': must be without the split 'split'"),
])  # fmt: skip
def test_a_coordinate_is_not_also_a_set_or_a_label(tmp_path, columns, message):
    rows = [f"{s},{x},{y},{s % 2},{('train', 'test')[s % 2]}" for s, (x, y) in
            zip(CODES, POINTS.tolist(), strict=True)]  # fmt: skip
    path = write(tmp_path, "\n".join(["set,x,y,label,split", *rows]))
    with pytest.raises(UserError) as error:
        load(path, columns=columns)
    assert message in str(error.value) and "\n" not in str(error.value)
    read = load(path, columns="x,y,label", label_column="none")
    assert read.columns == ("x", "y", "label") and read.labels is None


def test_numpy_files_that_are_tables(tmp_path):
    np.savez(tmp_path / "a.npz", set=CODES, x=POINTS[:, 0], y=POINTS[:, 1],
             label=NAMES[CODES % 2])  # fmt: skip
    same(load(tmp_path / "a.npz"))
    rows = np.array([(s, *xy) for s, xy in zip(CODES, POINTS, strict=True)],
                    [("group", "i8"), ("x", "f4"), ("y", "f8")])  # fmt: skip
    np.save(tmp_path / "a.npy", rows)
    same(load(tmp_path / "a.npy"), labels=False)
    np.save(tmp_path / "b.npy", np.c_[CODES, POINTS])
    same(load(tmp_path / "b.npy", set_column="0"), labels=False)


def test_generated_sets_are_read_again(tmp_path):
    """Read samples.npz and samples.csv of sets of different sizes."""
    np.savez(tmp_path / "samples.npz", points=POINTS, sizes=SIZES, set=CODES)
    same(load(tmp_path / "samples.npz"), labels=False)


PICTURE = np.full((6, 5), 255, np.uint8)
PICTURE[2, 1:4] = 0


@pytest.fixture
def folder(tmp_path):
    for number in range(12):
        file = tmp_path / "icons" / NAMES[number % 2] / f"{number:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture = np.roll(PICTURE, number % 2, axis=0)  # odd images are shifted down by one row
        Image.fromarray(picture).save(file)
    (tmp_path / "icons" / "notes.txt").write_text("not a picture", "utf-8")
    return tmp_path / "icons"


def test_folders_of_pictures(folder):
    options = config(folder, jitter="uniform")
    assert data.about(options) == data.About(
        data.Labels(("even", "odd"), (0, 1)), many_sources=True, jitters=("uniform", "none")
    )
    dataset = data.build(options)
    assert dataset.images.shape == (8, 6, 5) and dataset.heldout.num_sources == 4
    assert dataset.sizes is None
    drawn = jax.jit(lambda d, key: d.draw(key, 40, 16))(dataset, jax.random.key(0))
    row = 5 - np.floor(np.asarray(drawn.points))[..., 1]
    np.testing.assert_array_equal(row, np.tile(2 + np.asarray(drawn.label)[:, None], (1, 16)))
    assert drawn.mask is None and drawn.size is None


def test_pictures_without_labels_of_many_sizes_and_with_a_split(folder, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for file in folder.rglob("*.png"):
        Image.open(file).save(flat / file.name)
    Image.fromarray(np.pad(PICTURE, 2, constant_values=255)).save(flat / "00.png")
    read = load(flat)
    assert read.labels is None and read.images.shape == (12, 10, 9)
    assert (read.images > 0).any((0, 1)).sum() == 3 and set(np.unique(read.images)) == {0, 255}
    assert draw_sets(data.build(config(flat)), jax.random.key(0), 2, 3).label is None
    (tmp_path / "both").mkdir()
    folder.rename(tmp_path / "both" / "train")
    for number in range(4):
        file = tmp_path / "both" / "test" / "even" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(PICTURE).save(file)
    read = load(tmp_path / "both")
    assert read.names == ("even", "odd") and read.heldout.sum() == 4 and len(read.images) == 16


def test_unusable_pictures_are_named_and_counted(folder):
    (folder / "odd" / "cut.png").write_text("no picture", "utf-8")
    Image.fromarray(PICTURE * 0).save(folder / "odd" / "blank.png")
    with pytest.raises(UserError) as error:
        load(folder)
    assert "2 of 14 pictures cannot be used: blank.png, cut.png (blank.png: " in str(error.value)
    assert "config.data.skip_unreadable=True leaves them out" in str(error.value)
    read = load(folder, skip_unreadable=True)
    assert len(read.images) == 12 and read.notice.startswith("left out: 2 of 14 pictures")
    assert read.details == (
        "12 pictures, at most 5 x 6 pixels, 4 held out; tone (255, 255, 255) of 255 is the "
        "background")  # fmt: skip


def rows(*lines):
    return "\n".join(lines) + "\n"


def many(row, num=12):
    return [row.format(s) for s in range(num) for _ in range(3)]


REFUSED = {
    "no such file": ("none.csv", None, {}, "none.csv': must be an existing file or folder"),
    "another kind": ("a.json", "x", {}, "must be a folder of pictures or a .csv, .tsv, .tab, "),
    "empty table": ("a.csv", "", {}, "must hold at least one row of data, but the table is empty"),
    "no set column": (
        "a.csv", rows("cell,x,y", *many("{},1,2")), {},
        "config.data.set_column = '': must name the column that says which set a point belongs "
        "to; there are cell, x, y"),
    "set column absent": (
        "a.csv", rows("set,x,y", *many("{},1,2")), {"set_column": "cell"},
        "config.data.set_column = 'cell': no column 'cell'; there are set, x, y"),
    "one set": (
        "a.csv", rows("set,x,y", "a,1,2", "a,2,3"), {},
        "holds a single set, 'a': must hold several, told apart by config.data.set_column; one "
        "set of points is learned by --config=points"),
    "one point": (
        "a.csv", rows("set,x,y", *many("{},1,2"), "b,1,2", "c,2,2"), {},
        "set 'b' has 1 point (and 1 more sets): must be at least 2"),
    "few sets": (
        "a.csv", rows("set,x,y", *many("{},1,2", 5)), {},
        "holds 5 sets: must be at least 6, of which 4 are held out to compare with"),
    "none held out": (
        "a.csv", rows("set,x,y", *many("{},1,2")), {"heldout": 0.0},
        "config.data.heldout = 0.0: must be above 0 for sets, which are compared with held-out"),
    "NaN": (
        "a.csv", rows("set,x,y", *many("{},1,2"), "7,nan,2"), {},
        "line 38, column 'x' holds 'nan': must be a finite number"),
    "word": (
        "a.csv", rows("set,x,y", *many("{},1,2"), "7,1,two"), {},
        "line 38, column 'y' holds 'two': must be a finite number"),
    "ragged rows": (
        "a.csv", rows("set,x,y", *many("{},1,2"), "7,1,2,3"), {},
        "line 38 has 4 cells: must be 3, as in line 1"),
    "nameless set": (
        "a.csv", rows("set,x,y", *many("{},1,2"), ",1,2"), {},
        "line 38, column 'set' is empty: must be the name of a set"),
    "labels differ": (
        "a.csv", rows("set,x,y,label", *many("{},1,2,cat"), "7,1,2,dog"), {},
        "config.data.label_column = 'label': set '7' has 'cat' and 'dog' (line 38): must be the "),
    "label empty": (
        "a.csv", rows("set,x,y,label", *many("{},1,2,cat"), "7,1,2,"), {},
        "config.data.label_column = 'label': line 38 is empty: must be a text"),
    "split unknown": (
        "a.csv", rows("set,x,y,split", *many("{},1,2,train"), "z,1,2,later", "z,1,2,later"), {},
        "the split of set 'z' is 'later': must be one of train, training, test, heldout, "),
    "few held out": (
        "a.csv", rows("set,x,y,split", *many("{},1,2,train"), "z,1,2,test", "z,1,2,test"), {},
        "has 1 sets held out: must be at least 4"),
    "one column": (
        "a.csv", rows("set,x", *many("{},1")), {}, "has 1 numeric columns beside the set's: must"),
    "one of columns": (
        "a.csv", rows("set,x,y", *many("{},1,2")), {"columns": "x"},
        "config.data.columns = 'x': must be two different columns or more, as 'x,y', 'x,y,z' or "),
    "array NaN": (
        "a.npz", {"points": np.full((8, 3, 2), np.nan)}, {},
        "set '0' has 0 points (and 7 more sets): must be at least 2"),
    "array mask": (
        "a.npz", {"points": np.ones((8, 3, 2)), "mask": np.ones((8, 2))}, {},
        "mask has shape (8, 2): must be (8, 3), as points"),
    "array sizes": (
        "a.npz", {"points": np.ones((8, 2)), "sizes": np.array([4, 5])}, {},
        "sizes of shape (2,) and sum 9: must be [S], whole numbers of sum 8, the number of points"),
    "array alone": (
        "a.npz", {"points": np.ones((8, 2))}, {},
        "points have shape [P, D]: must go with set[P] or sizes[S]; one set of points is learned"),
    "array labels": (
        "a.npz", {"points": np.ones((8, 3, 2)), "label": np.ones(7)}, {},
        "label has shape (7,): must be (8,), one a set"),
    "array names": (
        "a.npz", {"a": np.ones(3), "b": np.ones((3, 2))}, {}, "must hold an array points;"),
    "array one axis": ("a.npz", {"points": np.ones(3)}, {}, "points have shape (3,): must be [S, "),
    "array of text": ("a.npz", {"points": np.array(["a"])}, {}, "type <U1: must be real numbers"),
    "empty folder": ("folder", "folder", {}, "a folder without pictures: must hold some"),
}  # fmt: skip


@pytest.mark.parametrize("name, content, fields, line", REFUSED.values(), ids=REFUSED)
def test_bad_files_are_one_clear_line(tmp_path, name, content, fields, line):
    path = tmp_path / name
    if content == "folder":
        path.mkdir()
    elif isinstance(content, dict):
        np.savez(path, **content)
    elif content is not None:
        path.write_text(content, "utf-8")
    with pytest.raises(UserError) as error:
        load(path, **fields)
    assert line in str(error.value) and "\n" not in str(error.value)
