"""Check data in memory: which points, sets and labels are read, and what is refused in one line."""

import numpy as np
import pandas
import pytest
from weights import random_weights

import tiny_diffusion_jax as td
from tiny_diffusion_jax.call_points import points_of

RNG = np.random.default_rng(0)
SIZES = RNG.integers(3, 7, 24)
SETS = [RNG.normal(size=(n, 2)) for n in SIZES]
POINTS, CODES = np.concatenate(SETS), np.repeat(np.arange(24), SIZES)
LABELS = np.array(["ring", "disc"] * 12)
TINY = {"model.hidden_dim": 8, "model.num_blocks": 1, "model.num_heads": 2}
TABLE = pandas.DataFrame({"label": LABELS[CODES], "cell": CODES, "x": POINTS[:, 0],
                          "y": POINTS[:, 1]})  # fmt: skip


def build(data, base=None, labels=None, **options):
    options = {f"data.{name}": value for name, value in options.items()}
    return td.build(base, data=data, labels=labels, config=TINY | options).dataset


def sets_of(dataset):
    """All sets, in training and held out, sorted by their first coordinate."""
    parts = [np.split(np.asarray(part.points), np.asarray(part.offsets)[1:])
             for part in (dataset, dataset.heldout)]  # fmt: skip
    return sorted([points[np.lexsort(points.T)].tolist() for part in parts for points in part])


def refused(data, message, **arguments):
    with pytest.raises(td.UserError) as error:
        build(data, **arguments)
    assert message in str(error.value) and "\n" not in str(error.value)


EXPECTED = sets_of(build(SETS))


# ---------------------------------------------------------------- tables of pandas


def frames(table=TABLE, by="cell"):
    return [frame for _, frame in table.groupby(by)]


def test_tables_in_a_list_are_sets_with_columns_by_name():
    for tables in (frames(), [f[["y", "cell", "x", "label"][:: 1 - 2 * (i % 2)]]
                              for i, f in enumerate(frames())]):  # fmt: skip
        dataset = build(tables)
        assert dataset.columns == ("x", "y") and dataset.label_names == ("disc", "ring")
        assert sets_of(dataset) == EXPECTED and dataset.set_column == "set"
    assert build(frames(), set_column="cell").set_column == "cell"
    named = build(frames(TABLE.rename(columns={"cell": "Set"}), "Set"))
    assert named.set_column == "Set" and sets_of(named) == EXPECTED
    assert sets_of(build(TABLE.groupby("cell"))) == EXPECTED
    bare = build([f[["x", "y"]] for f in frames()], labels=LABELS)
    assert bare.label_names == ("disc", "ring") and sets_of(bare) == EXPECTED


class Table:
    """A table of another library: columns by name, and an array by position."""

    def __init__(self, frame, names="columns"):
        self.frame = frame.iloc[:, ::-1]
        self.columns = self.frame.to_numpy().T
        setattr(self, names, list(self.frame.columns))

    def __getitem__(self, name):
        return self.frame[name].to_list()

    def __array__(self, dtype=None, copy=None):
        return self.frame.to_numpy(dtype)

    def to_pandas(self):
        raise ImportError("pyarrow")


@pytest.mark.parametrize("names", ["columns", "column_names"])  # polars and pyarrow
def test_tables_of_other_libraries_are_read_by_name(names):
    assert sets_of(build(Table(TABLE, names), set_column="cell")) == EXPECTED
    tables = [Table(frame, names) for frame in frames()]
    assert sets_of(build(tables)) == sets_of(build(tuple(tables))) == EXPECTED
    density = build(Table(TABLE[["x", "y"]], names))
    assert density.columns == ("x", "y")
    read = points_of("points", Table(TABLE, names), density)
    np.testing.assert_array_equal(read, POINTS)
    refused([(1, table) for table in tables], "lists the tables of a groupby")


def test_tables_in_a_list_that_differ_are_refused():
    tables = frames()
    refused([*tables[:-1], tables[-1].drop(columns="label")], "data[23].columns = ['cell', 'x', 'y"
            "']: must be ['label', 'cell', 'x', 'y'], as in data[0]")  # fmt: skip
    refused([*tables[:-1], SETS[-1]], "data[23] = 'ndarray': must be a table, in a list of tables")
    refused(list(TABLE.groupby("cell")), "data[0] = 'tuple': must be a table, in a list of tables")
    refused(dict(enumerate(tables)), "data = '0': must be a dictionary with names of arrays")
    refused([*tables, tables[0][:0]], "data[24] = 'empty': must be a table with rows")
    refused(tables, "labels = 'given': must be None for tables with a column 'label'",
            labels=LABELS)  # fmt: skip
    bare = [frame[["x", "y"]] for frame in tables]
    refused(bare, "labels.shape = (3,): must be (24,), one label for", labels=LABELS[:3])
    refused([frame.assign(set=range(len(frame))) for frame in tables],
            "data[0]['set'] = '1': must be one name of a set for each table")  # fmt: skip
    refused([f.assign(label=LABELS[:len(f)]) for f in tables], "label: set '0' has 'ring' and 'd"
            .replace("label:", "config.data.label_column = 'label':"))  # fmt: skip


# ---------------------------------------------------------------- sizes and masks of arrays

PADDED = td.pad_sets(SETS)
MASK = ~np.isnan(PADDED[..., 0])
ZEROS = np.nan_to_num(PADDED)


@pytest.mark.parametrize("arrays", [
    {"sizes": SIZES}, {"sizes": SIZES[:, None]}, {"sizes": SIZES, "mask": MASK},
    {"mask": MASK.astype(float)}, {"mask": MASK.astype(np.uint8)[..., None]},
], ids=["sizes", "column", "both", "floats", "bytes"])  # fmt: skip
def test_sizes_and_masks_leave_out_the_padding(arrays, tmp_path):
    dataset = build({"points": ZEROS, **arrays})
    assert sets_of(dataset) == EXPECTED and not dataset.notice
    np.savez(tmp_path / "a.npz", points=ZEROS, **arrays)
    assert sets_of(build(dict(np.load(tmp_path / "a.npz")))) == EXPECTED


SHIFTED = np.roll(MASK, 1, axis=0)
ODD_ARRAYS = {
    "sizes of another length": ({"sizes": SIZES[1:]}, "data: sizes of shape (23,): must be [24], "
                                "whole numbers from 0 to 6, the number of points of each set"),
    "sizes above N": ({"sizes": SIZES + 9}, "data: sizes hold 1"),
    "negative sizes": ({"sizes": SIZES - 9}, "data: sizes hold -"),
    "sizes with fractions": ({"sizes": SIZES + 0.5}, "data: sizes of shape (24,): must be [24], w"),
    "sizes that disagree": ({"sizes": SIZES, "mask": SHIFTED}, "data: sizes and mask differ in set "
                            "'0': must be equal. Leave out one of them"),
    "signs": ({"mask": np.where(MASK, 1, -1)}, "data: mask holds -1: must be True or False, or 1"),
    "NaN": ({"mask": np.where(MASK, 1, np.nan)}, "data: mask holds nan: must be True or False"),
    "logarithms": ({"mask": np.where(MASK, 0, -np.inf)}, "data: mask holds -inf: must be True or"),
    "words": ({"mask": np.where(MASK, "yes", "no")}, "data: mask holds 'yes': must be True or F"),
}  # fmt: skip


@pytest.mark.parametrize("arrays, message", ODD_ARRAYS.values(), ids=ODD_ARRAYS)
def test_sizes_and_masks_that_have_no_meaning_are_refused(arrays, message):
    refused({"points": ZEROS, **arrays}, message)


def test_a_mask_of_points_in_a_row_leaves_points_out():
    rows = np.concatenate([np.insert(points, 1, 9, axis=0) for points in SETS])
    exists = (rows != 9).all(1)
    sizes, label = SIZES + 1, LABELS[np.repeat(np.arange(24), SIZES + 1)]
    arrays = {"points": rows, "mask": exists}
    assert sets_of(build(arrays | {"sizes": sizes})) == EXPECTED
    dataset = build(arrays | {"set": np.repeat(np.arange(24), sizes), "label": label})
    assert sets_of(dataset) == EXPECTED and dataset.label_names == ("disc", "ring")
    refused({"points": rows, "mask": exists[1:], "sizes": sizes}, "data: mask has shape (")


def test_a_masked_array_has_missing_values():
    mask = np.repeat(~MASK[..., None], 2, axis=-1)
    padded = np.ma.masked_array(ZEROS, mask)
    assert sets_of(build(padded)) == sets_of(build({"points": padded})) == EXPECTED
    whole = np.ma.masked_array(np.rint(100 * ZEROS).astype(int), mask)
    assert sets_of(build(whole)) == sets_of(build(list(np.rint(100 * p) for p in SETS)))
    hole = [np.ma.masked_array(p, np.arange(len(p))[:, None] == [1, 1]) for p in SETS]
    message = "data: set '0' has a point [nan, nan]: must be finite numbers"
    refused(hole, message)
    refused({"points": np.ma.concatenate(hole), "sizes": SIZES}, message)
    dataset = build(hole, skip_incomplete=True)
    assert int(dataset.sizes.sum() + dataset.heldout.sizes.sum()) == SIZES.sum() - 24
    assert "left out: 24 of" in dataset.notice
    label = np.ma.masked_array(LABELS, np.arange(24) == 3)
    refused({"points": PADDED, "label": label}, "data: label of set '3' is missing")
    refused(SETS, "data: label of set '3' is missing", labels=label)


# ---------------------------------------------------------------- columns and arrays by name


def test_two_columns_of_one_name_are_refused():
    rows = POINTS[:, [0, 1, 0]]
    for names in (["x", "y", "x"], [0, 1, "0"]):
        table = pandas.DataFrame(rows, columns=names)
        message = f"data.columns = {names[2]!r}: must be different names of columns"
        refused(table, message)
        refused([table] * 8, message)
    refused(TABLE.set_index("cell").assign(cell=1), "data.columns = 'cell': must be different nam")


def test_the_index_is_a_column_if_it_has_a_name():
    table = TABLE.rename(columns={"cell": "set"}).set_index("set")
    dataset = build(table)
    assert dataset.set_column == "set" and sets_of(dataset) == EXPECTED
    both = table.set_index(["label"], append=True)
    assert build(both).label_names == ("disc", "ring")
    assert sets_of(build(frames(table, "set"))) == EXPECTED
    assert build(TABLE[["y", "x"]]).columns == ("x", "y")
    numbers = pandas.DataFrame(POINTS, columns=["u", "v"]).rename_axis("time")
    assert build(numbers).columns == ("u", "v")


def test_an_array_of_points_keeps_all_its_columns(tmp_path):
    points = np.random.default_rng(1).normal(size=(300, 5))
    points[:, 4] = np.arange(300)  # not a row number, because the array holds coordinates
    experiment = td.build(data=points, config=TINY)
    assert experiment.dataset.dim == 5 and not experiment.dataset.notice.startswith("coordinates")
    assert experiment.dataset.columns == ("x0", "x1", "x2", "x3", "x4")
    folder = td.save(tmp_path / "run", experiment, random_weights(experiment.model, 5))
    assert td.load(folder, with_data=True)[0].dataset.dim == 5
    assert build(points, columns="0,2").columns == ("x0", "x2")
    assert build(points[:, :3]).dim == 3 and build(points[:, :2]).dim == 2
    config = td.default_config()
    config.data.columns = "x3,x1"
    assert td.build(config, data=points).dataset.columns == ("x3", "x1")


@pytest.mark.parametrize("data, labels, options, message", [
    (SETS, dict(zip("ab" * 12, LABELS, strict=True)), {}, "labels = 'dict': must be a list with a"),
    (SETS, set(LABELS), {}, "labels = 'set': must be a list with a label for each set"),
    ({"points": PADDED, "label": LABELS}, LABELS, {}, "labels = 'given': must be None for data with"
     " an array 'label'"),
    ({"points": PADDED, "kind": LABELS}, LABELS, {"label_column": "kind"},
     "labels = 'given': must be None with config.data.label_column = 'kind'"),
])  # fmt: skip
def test_labels_that_contradict_the_data_are_refused(data, labels, options, message):
    refused(data, message, labels=labels, **options)


def test_arrays_that_are_not_read_have_a_notice():
    dataset = build({"points": PADDED, "labels": LABELS, "mass": SIZES})
    assert dataset.notice == ("not read: labels, mass; config.data.label_column=NAME names the "
                              "array of labels")  # fmt: skip
    assert build({"points": PADDED, "labels": LABELS}, label_column="labels").notice == ""
