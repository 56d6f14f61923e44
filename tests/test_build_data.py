"""td.build with data in memory: which settings the data get, and which columns are read."""

import jax
import numpy as np
import pandas
import pytest
from weights import random_weights

import tiny_diffusion_jax as td
from tiny_diffusion_jax import recipes
from tiny_diffusion_jax.config import flatten
from tiny_diffusion_jax.config_files import load_config
from tiny_diffusion_jax.data.columns import has_role
from tiny_diffusion_jax.data.sets import names_labels
from tiny_diffusion_jax.interface import label_indices

RNG = np.random.default_rng(0)
RINGS = [RNG.normal(size=(5, 2)) for _ in range(60)]
LABELS = ["ring", "disc"] * 30
TINY = {"model.hidden_dim": 8, "model.num_blocks": 1, "model.num_heads": 2}


def table_of(set_column: str, label_column: str = "Label") -> pandas.DataFrame:
    points = np.concatenate(RINGS)
    return pandas.DataFrame({"x": points[:, 0], "y": points[:, 1],
                             set_column: np.repeat(np.arange(60), 5),
                             label_column: np.repeat(LABELS, 5)})  # fmt: skip


def test_a_config_keeps_its_options():
    config = td.default_config("set_transformer")
    config.train.steps = 300
    config.sample.num_sets = 7
    built = td.build(config, data=RINGS).config
    assert built.train.steps == 300 and built.sample.num_sets == 7 and not built.model.sizes
    changed = {name for name, value in flatten(built).items() if value != flatten(config)[name]}
    assert changed == {"data.name", "data.path"}
    named = td.build("set_transformer", data=RINGS).config
    assert named.train.steps == 12_000 and named.model.sizes and named.sample.num_sets == 500


def test_labels_of_a_call_are_learned_and_the_log_names_labels_that_are_not(caplog):
    config = td.default_config("set_transformer")
    assert td.build(config, data=RINGS, labels=LABELS).model.num_labels == 2
    data = {"points": np.stack(RINGS), "label": np.array(LABELS)}
    with caplog.at_level("INFO", "tiny_diffusion_jax"):
        assert td.build(config, data=data).model.num_labels == 0
    assert "data: the labels are not learned (config.model.labels = False)" in caplog.messages
    assert td.build("set_transformer", data=data).model.num_labels == 2


@pytest.mark.parametrize("model", ["set_transformer", "causal", "history", "set_latent"])
def test_own_sets_have_the_same_settings_in_memory_and_in_a_file(model, tmp_path):
    table_of("set").to_csv(tmp_path / "rings.csv", index=False)
    of_file = load_config(f"sets:{tmp_path / 'rings.csv'}", model)
    in_memory = td.build(model, data=table_of("set")).config
    free = {"name", "data.path"}
    assert {name: value for name, value in flatten(in_memory).items() if name not in free} == {
        name: value for name, value in flatten(of_file).items() if name not in free}  # fmt: skip
    assert in_memory.model.relative == (model == "causal")
    assert recipes.own_sets(model).items() <= flatten(in_memory).items()


@pytest.mark.parametrize("name", ["Set ID", "set_id", "SetId", "GROUP", "id"])
def test_the_reader_and_build_agree_on_the_column_of_sets_and_labels(name):
    experiment = td.build(data=table_of(name), config=TINY)
    assert experiment.config.data.name == "sets" and len(experiment.dataset.sizes) > 50
    assert experiment.model.num_labels == 2 and has_role(name, "set") and has_role("Label", "label")


def test_an_option_that_names_the_column_of_sets_makes_sets():
    options = TINY | {"data.set_column": "cell"}
    assert td.build(data=table_of("cell"), config=options).config.data.name == "sets"
    assert td.build(data=table_of("cell"), config=TINY).config.data.name == "points"


def test_labels_of_a_file_are_found_under_the_names_that_the_reader_accepts(tmp_path):
    table = table_of("set")
    table.to_csv(tmp_path / "a.csv", index=False)
    np.savez(tmp_path / "columns.npz", **{name: table[name].to_numpy() for name in "xy"},
             set=table["set"].to_numpy(), Label=np.repeat(LABELS, 5))  # fmt: skip
    np.savez(tmp_path / "arrays.npz", points=np.stack(RINGS), Label=np.array(LABELS))
    found = {file.name: names_labels(str(file)) for file in tmp_path.iterdir()}
    assert found == {"a.csv": True, "columns.npz": True, "arrays.npz": False}


@pytest.mark.parametrize(["data", "jitter"], [
    (RINGS, "gaussian"), (np.concatenate(RINGS), "uniform"),
    (lambda key, n: jax.random.normal(key, (n, 2)), "gaussian"),
])  # fmt: skip
def test_a_jitter_that_the_data_cannot_have_is_refused(data, jitter):
    options = {"data.jitter": jitter, "data.jitter_std": 0.5}
    with pytest.raises(td.UserError, match=f"config.data.jitter = '{jitter}': must be one of"):
        td.build(data=data, config=options)


def test_points_in_memory_keep_their_jitter():
    options = {"data.jitter_std": 0.5}
    build = lambda jitter: td.build(data=np.concatenate(RINGS), config=options | jitter)
    assert build({}).dataset.log_prob is not None
    assert build({"data.jitter": "none"}).dataset.log_prob is None
    config = td.default_config()
    config.data.update(name="points", jitter="none", jitter_std=0.5)
    assert td.build(config, data=np.concatenate(RINGS)).dataset.log_prob is None


@pytest.mark.parametrize("options, keeps", [
    ({}, True), ({"train.keep_best": False}, False), ({"data.heldout": 0.0}, False),
    ({"data.jitter_std": 0.5}, False),
])  # fmt: skip
def test_a_table_selects_its_weights_on_held_out_rows(options, keeps, tmp_path):
    """A model that is trained for longer memorises the rows. With jitter none are held out."""
    points = np.concatenate(RINGS)
    np.save(tmp_path / "a.npy", points)
    config = load_config(f"points:{tmp_path / 'a.npy'}")
    for name, value in options.items():
        config.update_from_flattened_dict({name: value})
    for experiment in (td.build(config), td.build(data=points, config=options)):
        assert experiment.config.train.keep_best is keeps
        assert ("rows are held out" in experiment.dataset.details) == (
            experiment.dataset.heldout is not None)  # fmt: skip


def test_a_density_without_held_out_data_cannot_select_weights():
    with pytest.raises(td.UserError, match="no sets are held out"):
        td.build(td.default_config(), config={"train.keep_best": True})


def test_a_label_with_the_name_of_a_number_is_its_name_in_every_argument():
    experiment = td.build("set_latent", data=RINGS, labels=[1, 2, 3] * 20, config=TINY | {
        "train.label_drop": 0.15, "sample.num_steps": 2, "sample.num_points": 4})  # fmt: skip
    assert experiment.dataset.label_names == ("1", "2", "3")
    np.testing.assert_array_equal(label_indices(experiment, [1, 3]), [0, 2])
    params = random_weights(experiment.model)
    draw = lambda **options: td.sample(experiment, params, num_sets=2, **options)
    for labels in ([1, 1], ["1", "1"], np.array([1, 1])):
        np.testing.assert_array_equal(draw(labels=labels), draw(label=1))
    with pytest.raises(td.UserError, match="labels = '0': must be one of 1, 2, 3"):
        td.log_prob(experiment, params, RINGS[:2], labels=[0, 1])
    with pytest.raises(td.UserError, match="labels = 'traced': must be values that JAX does not"):
        jax.jit(lambda labels: td.log_prob(experiment, params, RINGS[:2], labels=labels))(
            np.array([1, 2]))  # fmt: skip


@pytest.mark.parametrize("kind", [float, object])
def test_a_missing_name_of_a_set_is_refused(kind):
    names = np.repeat(np.arange(60), 5).astype(kind)
    names[7] = np.nan if kind is float else None
    data = {"points": np.concatenate(RINGS), "set": names}
    with pytest.raises(td.UserError, match="data: set of row 7 is missing: must be the name of a"):
        td.build(data=data, config=TINY)
