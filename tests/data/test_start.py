"""The density that a flow starts from, its pairs with the data, and the laws of noise levels."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tiny_diffusion_jax as td
from tiny_diffusion_jax import api, data
from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.data import pairs, start
from tiny_diffusion_jax.data.description import describe
from tiny_diffusion_jax.diffusion.level_law import level_law
from tiny_diffusion_jax.diffusion.schedules import make_schedule
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.training.batches import draw_batches, make_batch_spec

SMALL = {"model.hidden_dim": 8, "model.num_blocks": 1, "model.num_frequencies": 4,
         "train.num_sets": 4, "train.num_points": 3, "train.steps": 4, "train.block": 2,
         "evaluate.likelihood_steps": 4, "sample.num_sets": 1, "sample.num_points": 20,
         "sample.num_steps": 4, "compilation_cache": ""}  # fmt: skip
FLOW = SMALL | {"data.start": "eight_gaussians", "schedule.name": "flow"}


def refused(options, base="moons") -> str:
    with pytest.raises(UserError) as caught:
        td.build(base, config=options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------- pairs


def test_pairs_are_the_best_of_all_permutations():
    x_0, x_1 = np.float32(np.random.default_rng(0).normal(size=(2, 4, 6, 2)))
    paired = np.asarray(jax.jit(pairs.pair_optimally)(x_0, x_1))
    for a, b, c in zip(x_0, x_1, paired, strict=True):
        best = min(((a - b[list(order)]) ** 2).sum() for order in itertools.permutations(range(6)))
        np.testing.assert_allclose(((a - c) ** 2).sum(), best, rtol=1e-5)
        np.testing.assert_array_equal(np.sort(c, 0), np.sort(b, 0))


def test_pairs_stay_within_groups(monkeypatch):
    monkeypatch.setattr(pairs, "PAIRED", 3)
    x_0, x_1 = np.float32(np.random.default_rng(1).normal(size=(2, 1, 8, 2)))
    order = pairs._assign(x_0, x_1)[0]
    for group in ([0, 1, 2], [3, 4, 5], [6, 7]):
        assert set(order[group]) == set(group)


@pytest.mark.parametrize("name", ["independent", "optimal"])
def test_a_batch_has_points_of_the_start_and_shorter_pairs_if_optimal(name):
    experiment = td.build("moons", config=FLOW | {"train.pairs": name, "train.num_sets": 32})
    config, dataset, process, model, _ = experiment
    spec = make_batch_spec(config.train, model)
    batch = draw_batches(jax.random.key(0), dataset, 1000, 20, spec, process)
    own = np.asarray(dataset.denormalize(batch.eps)).reshape(-1, 2)
    np.testing.assert_allclose(np.hypot(*own.T), 3, atol=1.0)  # the circle of the eight centres
    distance = float(((batch.x_0 - batch.eps) ** 2).sum(-1).mean())
    scale = float(dataset.scale)
    expected = distance * scale**2
    # Independent pairs: E|x_0 - x_1|^2 = sum of variances and of the squared difference of means.
    assert (expected > 12) if name == "independent" else (expected < 8)


# ---------------------------------------------------------------- start


def test_the_start_keeps_its_units_and_its_density():
    experiment = td.build("moons", config=FLOW)
    dataset, source = experiment.dataset, experiment.process.source
    x = np.asarray(source.draw(jax.random.key(0), 4000) * dataset.scale + dataset.shift)
    np.testing.assert_allclose(np.hypot(*x.T), 3, atol=1.2)
    np.testing.assert_allclose(x.std(), np.sqrt(4.5 + 0.04), atol=0.05)
    z = jnp.linspace(-4, 4, 400)
    grid = jnp.stack(jnp.meshgrid(z, z), -1)
    mass = float(jnp.exp(source.log_prob(grid)).sum()) * float(z[1] - z[0]) ** 2
    np.testing.assert_allclose(mass, 1, atol=1e-3)


def test_a_digit_starts_with_blurred_pixels_and_a_finite_density():
    options = SMALL | {"data.start": "mnist:3", "schedule.name": "flow", "data.source": "digits"}
    experiment = td.build("mnist_digit:8", config=options)
    assert experiment.dataset.start.title == "digit 3 (8x8)"
    log_p = experiment.process.source.log_prob(jnp.float32([[0, 0], [3, 3]]))
    assert np.isfinite(log_p).all() and log_p[0] > log_p[1]


def test_a_table_in_space_and_far_from_zero_is_a_start(tmp_path):
    rng = np.random.default_rng(0)
    for name, shift in (("a", 5e6), ("b", 5e6 + 3)):
        table = rng.normal(size=(200, 3)) + shift
        np.savetxt(tmp_path / f"{name}.csv", table, delimiter=",", header="x,y,z", comments="",
                   fmt="%.4f")  # fmt: skip
    options = SMALL | {"data.start": str(tmp_path / "b.csv"), "schedule.name": "flow",
                       "data.jitter_std": 0.1}  # fmt: skip
    experiment = td.build(f"points:{tmp_path / 'a.csv'}", config=options)
    mean = np.asarray(experiment.process.source.draw(jax.random.key(0), 4000)).mean(0)
    np.testing.assert_allclose(mean * experiment.dataset.scale, 3, atol=0.4)
    sets = td.sample(experiment, api.init(experiment))
    assert sets.dtype == np.float64 and abs(sets.mean() - 5e6) < 100
    stored = describe(experiment.dataset, experiment.config.data)["start"]
    (tmp_path / "b.csv").write_text("x,y,z\n" + "1,2,3\n2,1,4\n5,6,1\n" * 20, "utf-8")
    changed = td.build(f"points:{tmp_path / 'a.csv'}", config=options)
    assert describe(changed.dataset, changed.config.data)["start"] != stored


def test_what_is_refused():
    assert "data.start" in refused(FLOW | {"data.start": "nothing"})
    assert "schedule.name" in refused(FLOW | {"schedule.name": "karras"})
    assert "sample.sampler" in refused(FLOW | {"sample.sampler": "ancestral"})
    assert "sample.sampler" in refused(FLOW | {"sample.sampler": "sde-dpm++2m"})
    assert "sample.sampler" in refused(FLOW | {"sample.sampler": "ddim", "sample.eta": 0.5})
    assert "diffusion.weighting" in refused(FLOW | {"diffusion.weighting": "min_snr"})
    assert "diffusion.prediction" in refused(FLOW | {"diffusion.prediction": "eps"})
    assert "model.name" in refused(FLOW, "mixture:dino+moons")
    noise = SMALL | {"train.pairs": "optimal"}
    assert "schedule.name" in refused(noise)
    td.build("moons", config=noise | {"schedule.name": "flow"})


def test_a_start_of_another_dimension_is_refused(tmp_path):
    np.savetxt(tmp_path / "a.csv", np.random.default_rng(0).normal(size=(60, 3)), delimiter=",",
               header="x,y,z", comments="")  # fmt: skip
    message = refused(FLOW, f"points:{tmp_path / 'a.csv'}")
    assert "3 coordinates" in message and "it has 2" in message


def test_log_p_needs_a_density_at_the_start():
    experiment = td.build("moons", config=FLOW | {"data.start": "circle"})
    params, points = api.init(experiment), np.zeros((3, 2))
    assert td.sample(experiment, params).shape == (1, 20, 2)
    for call in (lambda: td.log_prob(experiment, params, points),
                 lambda: td.sample(experiment, params, with_log_prob=True)):  # fmt: skip
        with pytest.raises(UserError, match="start with a density"):
            call()
    assert np.isfinite(td.log_prob(td.build("moons", config=FLOW), params, points)).all()


def test_data_in_memory_have_a_start(tmp_path):
    points = np.random.default_rng(0).normal(size=(100, 2))
    experiment = td.build(data=points, config=FLOW)
    state = td.train(experiment, progress=False)
    td.save(tmp_path / "run", experiment, state)
    loaded, params = td.load(tmp_path / "run")
    np.testing.assert_array_equal(td.sample(loaded, params), td.sample(experiment, state))


def test_a_run_is_loaded_without_its_data_but_not_from_another_start(tmp_path, monkeypatch):
    points = np.random.default_rng(0).normal(size=(100, 2))
    experiment = td.build(data=points, config=FLOW)
    state = td.train(experiment, progress=False)
    td.save(tmp_path / "run", experiment, state)
    (tmp_path / "run" / "data.npz").unlink()
    loaded, params = td.load(tmp_path / "run")
    assert not loaded.dataset.has_points
    np.testing.assert_allclose(td.sample(loaded, params), td.sample(experiment, state), atol=1e-5)
    file = tmp_path / "run" / "config.json"
    file.write_text(file.read_text("utf-8").replace('"title": "eight gaussians"', '"title": "x"'))
    with pytest.raises(UserError, match="start"):
        td.load(tmp_path / "run")


def test_the_name_of_a_config_splits_start_and_target():
    from tiny_diffusion_jax.config_files import load_config

    config = load_config("flow:mnist:3:mnist:8")
    assert (config.data.start, config.data.name, config.data.digit) == ("mnist:3", "mnist", 8)
    config = load_config("flow:mnist:3:7:moons")
    assert (config.data.start, config.data.name) == ("mnist:3:7", "moons")
    with pytest.raises(UserError, match="START:TARGET"):
        load_config("flow:moons")


# ---------------------------------------------------------------- laws of noise levels


def test_log_normal_levels_have_the_moments_of_the_law():
    schedule = make_schedule("karras", 1000, sigma_max=80.0)
    law = np.asarray(level_law("log_normal", schedule, None))
    log_nu = np.log(np.asarray(schedule.sigma)[law[1:]])
    np.testing.assert_allclose([log_nu.mean(), log_nu.std()], [-1.2, 1.2], atol=0.01)
    assert law.shape == (1001,) and law[0] == 0 and (np.diff(law) >= 0).all()


@pytest.mark.parametrize("name", ["flow", "karras", "cosine", "linear"])
def test_levels_of_every_law_are_levels_of_the_schedule(name):
    dataset = data.build(default_config().data)
    for law in ("log_normal", "distances"):
        table = np.asarray(level_law(law, make_schedule(name, 100), dataset))
        assert table[1:].min() >= 1 and table.max() <= 100


def test_distances_have_the_mean_square_of_the_data():
    schedule, dataset = make_schedule("karras", 1000), data.build(default_config().data)
    nu = np.asarray(schedule.sigma)[np.asarray(level_law("distances", schedule, dataset))[1:]]
    np.testing.assert_allclose((nu**2).mean(), 1, atol=0.03)


def test_a_batch_draws_its_levels_by_the_law():
    experiment = td.build("moons", config=SMALL | {"diffusion.levels": "log_normal"})
    config, dataset, process, model, _ = experiment
    spec = make_batch_spec(config.train, model)
    uniform = draw_batches(jax.random.key(0), dataset, 1000, 20, spec)
    batch = draw_batches(jax.random.key(0), dataset, 1000, 20, spec, process)
    np.testing.assert_array_equal(batch.t, np.asarray(process.law)[np.asarray(uniform.t)])
    np.testing.assert_array_equal(batch.eps, uniform.eps)


def test_uniform_levels_and_noise_leave_the_process_as_it_was():
    process = td.build("moons", config=SMALL).process
    assert (process.law, process.source, process.pair) == (None, None, None)


def test_names_of_a_start_are_names_of_members():
    assert start.parse("mnist:3:7")["index"] == 7
    assert start.parse("examples/points.csv")["path"] == "examples/points.csv"
