"""Run the functions of a notebook: data in memory, options by name, save, load, report, show."""

import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pandas
import pytest
from weights import random_weights

import tiny_diffusion_jax as td
from tiny_diffusion_jax.models.traits import Traits

TINY = {"model.hidden_dim": 8, "model.num_blocks": 1, "model.num_heads": 2,
        "model.num_frequencies": 4, "train.steps": 4, "train.block": 2, "train.num_sets": 4,
        "train.num_points": 4, "train.max_history": 8, "sample.num_steps": 3, "sample.num_sets": 4,
        "compilation_cache": ""}  # fmt: skip
RNG = np.random.default_rng(0)
RINGS = [RNG.normal(size=(n, 2)) for n in RNG.integers(3, 7, 24)]
NAMES = np.array(["ring", "disc"] * 12, object)  # as a column of pandas


def heart(key, n):
    t, noise = jax.random.uniform(key, (n,)) * 6.28, jax.random.normal(key, (n, 2))
    return jnp.stack([jnp.sin(t) ** 3, jnp.cos(t)], -1) + 0.05 * noise


@pytest.fixture(scope="module")
def density():
    return td.build(data=heart, config=TINY, name="heart")


@pytest.fixture(scope="module")
def jets():
    return td.build("set_latent", data=RINGS, labels=NAMES, counts=True, config=TINY)


def test_one_density_is_a_function(density):
    assert density.dataset.title == "heart" and density.config.model.name == "fourier_mlp"
    state = td.train(density, steps=2, progress=False)
    assert int(state.step) == 2
    sets, log_p = td.sample(density, state, num_sets=2, num_points=30, with_log_prob=True)
    assert sets.shape == (2, 30, 2) and log_p.shape == (2, 30)


def test_sets_of_any_sizes_with_names_as_labels(jets):
    assert jets.model.counts and jets.dataset.label_names == ("disc", "ring")
    params = random_weights(jets.model)
    sets = td.sample(jets, params, num_sets=3, label="ring", guidance_scale=2, seed=3)
    again = td.sample(jets, params, num_sets=3, labels=["ring"] * 3, guidance_scale=2, seed=3)
    np.testing.assert_array_equal(sets, again)
    parts = td.ragged(sets)
    assert {p.shape[1] for p in parts} == {2} and all(3 <= len(p) <= 6 for p in parts)
    given = [[0, 1], [2, 3]]
    completed = td.complete(jets, params, given=given, num_sets=2)
    np.testing.assert_allclose(completed[:, :2], [given] * 2, atol=1e-5)


@pytest.mark.parametrize("data", [
    RINGS, td.pad_sets(RINGS), {"points": np.concatenate(RINGS), "sizes": [*map(len, RINGS)]},
    {"points": np.nan_to_num(td.pad_sets(RINGS)), "mask": ~np.isnan(td.pad_sets(RINGS))[..., 0]},
    pandas.DataFrame({"set": np.repeat(np.arange(24), [*map(len, RINGS)]),
                      "x": np.concatenate(RINGS)[:, 0], "y": np.concatenate(RINGS)[:, 1]}),
], ids=["list", "padded", "sizes", "mask", "table"])  # fmt: skip
def test_all_forms_of_the_same_sets_are_the_same_data(data):
    dataset = td.build("history", data=data, config=TINY).dataset
    expected = td.build("history", data=RINGS, config=TINY).dataset
    for name in ("points", "sizes", "shift", "scale"):
        np.testing.assert_array_equal(getattr(dataset, name), getattr(expected, name))


def test_points_and_tables_of_one_density():
    points = RNG.normal(size=(100, 3))
    dataset = td.build(data=points, config=TINY).dataset
    assert dataset.dim == 3 and not dataset.num_sources
    table = pandas.DataFrame(points, columns=["name", "lon", "lat"])
    dataset = td.build("fourier_mlp", data=table, config=TINY).dataset
    assert dataset.columns == ("lon", "lat")


def test_a_config_a_file_or_its_name():
    config = td.default_config("causal")
    experiment = td.build(config, config={"model.order": "rows:0.5", "sample.growth": 1.0})
    config.sample.num_points = 7
    assert experiment.config.sample.num_points != 7 and experiment.model.order == "rows:0.5"
    with pytest.raises(AttributeError):
        experiment.config.sample.num_points = 7
    assert td.build("moons:circle").config.data.name == "circle"


def test_options_are_arguments_of_one_call(density):
    params = random_weights(density.model)
    assert td.sample(density, params, num_sets=2, num_points=5).shape == (2, 5, 2)
    config = td.default_config().sample
    config.update(num_sets=3, num_points=2, num_steps=3)
    assert td.sample(density, params, config, num_points=5).shape == (3, 5, 2)
    assert td.sample(density, params, {"num_sets": 3}, num_points=5).shape == (3, 5, 2)
    assert density.config.sample.num_sets == 4


def test_weights_are_params_a_state_or_a_loaded_run(density, tmp_path):
    state = td.train(density, progress=False)
    folder = td.save(tmp_path / "run", density, state)
    loaded = td.load(folder, data=heart)
    expected = td.sample(density, state.sampled, num_points=5)
    for weights in (state, loaded, loaded[1]):
        np.testing.assert_array_equal(td.sample(density, weights, num_points=5), expected)
    with pytest.raises(td.UserError, match="weights = 'ndarray': must be the parameters"):
        td.sample(density, np.zeros(3))


def test_interrupted_training_returns_the_last_state(density):
    def interrupt(state, row):
        raise KeyboardInterrupt

    assert int(td.train(density, on_block=interrupt, progress=False).step) == 2


# ---------------------------------------------------------------- folders


@pytest.mark.parametrize("format", ["checkpoint", "safetensors"])
def test_a_saved_run_is_loaded_with_its_data(jets, format, tmp_path):
    if format == "safetensors":
        pytest.importorskip("safetensors")
    params = random_weights(jets.model)
    folder = td.save(tmp_path / "run", jets, params, format=format)
    assert not np.load(folder / "data.npz")["label"].dtype.hasobject
    experiment, weights = td.load(folder, with_data=True)
    jax.tree.map(np.testing.assert_array_equal, weights, params)
    np.testing.assert_array_equal(experiment.dataset.points, jets.dataset.points)
    assert experiment.dataset.label_names == jets.dataset.label_names
    td.save(folder, jets, params, format=format)  # the same run may be saved again
    other = td.build("set_latent", data=RINGS, labels=NAMES, config=TINY | {"train.block": 4})
    with pytest.raises(td.UserError, match="--workdir.*must be a run of the same config"):
        td.save(folder, other, params)
    fewer = td.build("set_latent", data=RINGS[1:], labels=NAMES[1:], config=TINY)
    with pytest.raises(td.UserError, match="path.*data.npz holds other data. Use another folder"):
        td.save(folder, fewer, params)


def test_a_file_of_other_data_is_kept_and_refused(jets, tmp_path):
    file = tmp_path / "data.npz"
    for content in (b"not an archive", None):
        np.savez(file, points=np.zeros((3, 2))) if content is None else file.write_bytes(content)
        before = file.read_bytes()
        with pytest.raises(td.UserError, match="data.npz holds other data. Use another folder"):
            td.save(tmp_path, jets, random_weights(jets.model))
        assert list(tmp_path.iterdir()) == [file] and file.read_bytes() == before
    # A refused save leaves no data behind.
    (tmp_path / "samples.npy").write_bytes(b"")
    file.unlink()
    with pytest.raises(td.UserError, match="config.json that says what"):
        td.save(tmp_path, jets, random_weights(jets.model))
    assert not file.exists()


def test_the_log_says_how_the_rows_of_a_table_are_read(caplog):
    table = pandas.DataFrame({"x": RNG.normal(size=300), "y": RNG.normal(size=300),
                              "set": np.repeat(np.arange(60), 5)})  # fmt: skip
    with caplog.at_level("INFO", "tiny_diffusion_jax"):
        td.build("history", data=table, config=TINY)
        td.build(data=table, config=TINY)
    said = [r.message for r in caplog.records if "rows of the table" in r.message]
    assert [line.removeprefix("data: the rows of the table are points of ") for line in said] == [
        "sets (decided by history)", "sets (decided by its columns)"]  # fmt: skip


def test_the_command_line_resumes_a_saved_run(jets, tmp_path):
    from command_line import run

    state = td.train(jets, progress=False, on_block=lambda state, row: True)
    folder = td.save(tmp_path / "run", jets, state)
    assert int(state.step) == 2
    result = run(f"--workdir={folder}", "--mode=train", "--config.evaluate.gifs=False")
    assert result.code == 0 and "resuming from step 2 of 4" in result.err


def test_a_report_and_metrics(jets, tmp_path):
    folder = td.save(tmp_path / "run", jets, random_weights(jets.model))
    page = td.report(folder)
    assert page.path == folder / "report.html" and "<iframe" in page._repr_html_()
    metrics = json.loads((folder / "metrics.json").read_text())["metrics"]
    experiment, weights = td.load(folder, with_data=True)
    assert td.evaluate(experiment, weights).keys() == metrics.keys()
    sets = td.ragged(td.sample(jets, weights))
    assert td.evaluate(experiment, weights, sets) == td.evaluate(experiment, weights)


def test_show_draws_a_figure_or_a_player(jets):
    import matplotlib.figure

    params = random_weights(jets.model)
    sets = td.sample(jets, params, keep_trajectory=True)
    for drawn in (sets[-1], td.ragged(sets[-1]), sets[-1, 0]):
        assert isinstance(td.show(drawn), matplotlib.figure.Figure)
    page = td.show(sets, jets)
    assert "class=\"player" in page.html and "//" not in page.html.split("<style>")[0]
    with pytest.raises(td.UserError, match="experiment = None: must be given to show traj"):
        td.show(sets)


# ---------------------------------------------------------------- a module of the user


class Mine(nn.Module):
    """The smallest denoiser of single points."""

    num_labels: int = 0
    counts: bool = False
    traits: Traits = Traits(strategy="independent", floats_per_point=10)

    @nn.compact
    def __call__(self, x, time, conditioning=None):
        level = jnp.broadcast_to(time[:, None, None], (*x.shape[:2], 1))
        return nn.Dense(x.shape[-1])(jnp.concatenate([x, level], -1))


def test_a_module_of_the_user_is_trained_saved_and_loaded(tmp_path):
    experiment = td.build(data=heart, model=Mine(), config=TINY)
    state = td.train(experiment, progress=False)
    folder = td.save(tmp_path / "run", experiment, state)
    _, weights = td.load(folder, model=Mine(), data=heart)
    jax.tree.map(np.testing.assert_array_equal, weights, state.sampled)
    assert td.sample(experiment, weights, num_points=5).shape == (4, 5, 2)
    with pytest.raises(td.UserError, match="config.model.name = 'custom'.*td.load.folder, model="):
        td.load(folder, data=heart)


def test_a_named_column_of_labels_conditions_the_model(jets):
    sets = [i // 10 for i in range(80)]
    table = pandas.DataFrame(
        {"x": RNG.normal(size=80), "y": RNG.normal(size=80), "set": sets,
         "kind": [f"kind {i % 2}" for i in sets]})  # fmt: skip
    build = lambda **options: td.build("set_latent", data=table, config=options)
    assert build(**{"data.label_column": "kind"}).model.num_labels == 2
    assert build(**{"data.label_column": "kind", "model.labels": False}).model.num_labels == 0
    assert build().model.num_labels == 0


def test_objects_are_shown_in_one_short_line(jets):
    state = td.train(jets, steps=2, progress=False)
    for value in (jets, jets.dataset, state):
        assert len(repr(value)) < 400 and "\n" not in repr(value)
    assert "set_latent" in repr(jets) and repr(state).startswith("TrainState(step 2, ")


def test_public_names():
    assert dir(td) == sorted(td.__all__) and all(callable(getattr(td, name)) for name in dir(td))
