"""Compare the JavaScript networks of live pages with JAX, along whole trajectories."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tiny_diffusion_jax as td
from tiny_diffusion_jax.api import init
from tiny_diffusion_jax.config import editable
from tiny_diffusion_jax.diffusion.process import make_denoise, make_process
from tiny_diffusion_jax.diffusion.samplers import SAMPLERS, make_sampler, sample, time_grid
from tiny_diffusion_jax.diffusion.schedules import make_schedule
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.point_sets import Conditioning, PointSets
from tiny_diffusion_jax.sampling import label_of
from tiny_diffusion_jax.sets.autoregressive import block_sizes
from tiny_diffusion_jax.sets.latent import BLUR_KEY, LATENT_RUN
from tiny_diffusion_jax.sets.sizes import capacity
from tiny_diffusion_jax.web.live import NETWORKS, WORKER, level_table, live_model
from tiny_diffusion_jax.web.packing import pack_weights

# Generate a whole set by one strategy. All noise is passed in, in the order in which it is used.
GENERATE = """([noise, options]) => {
  const normal = (n) => {
    const next = Float32Array.from(noise.shift());
    if (next.length !== n) throw Error(`${n} numbers requested, ${next.length} drawn`);
    return next;
  };
  options.given = Float32Array.from(options.given);
  const frames = STRATEGIES[model.strategy](model, options, normal);
  let frame = frames.next();
  while (!frame.done) frame = frames.next();
  if (noise.length) throw Error(`${noise.length} draws of noise are left`);
  return [...frame.value];
}"""
EVALUATE = """([x, condition]) => {
  const array = (numbers) => numbers && Float32Array.from(numbers);
  const conditioning = {...condition, history: array(condition.history)}, { network } = model;
  const filledCache = () => {
    const cache = network.begin(9, conditioning), { history } = conditioning;
    return history ? network.extend(cache, history) : cache;
  };
  if (network.encode)
    conditioning.latent = network.encode(conditioning.history ?? new Float32Array(0));
  const context = network.given(network.begin ? filledCache() : conditioning);
  return [...network.apply(array(x), Math.fround(0.3), context)];
}"""
REVERSE = """([table, grid, name, noise]) => {
  const all = loadLevels(table), levels = grid.map((t) => all[t]);
  const denoise = (x, { alpha, sigma }) =>
    x.map((v) => (alpha * v) / (alpha ** 2 + sigma ** 2) - 1);
  const start = { mean: [0, 0], std: Math.hypot(all.at(-1).alpha, all.at(-1).sigma) };
  const normal = () => Float32Array.from(noise.shift()), sampler = SAMPLERS[name](0.5);
  const frames = reverse({ denoise, sampler, levels, start, size: 6, normal });
  return [...frames].map(({ x }) => [...x]);
}"""


@pytest.fixture(scope="module")
def script(scripts):
    """All scripts that the worker of a live page runs, without a page."""
    return scripts(*WORKER)


def tiny(name: str, **options):
    """A small model with labels and counts; all weights are random and nonzero."""
    config = td.default_config(name)
    config.data.update(name="mixture", members="moons+circle")
    config.model.update(
        labels=True, sizes=True, hidden_dim=16, num_blocks=2, num_heads=2, num_frequencies=3,
        time_frequencies=3, scale=3.0, max_period=10.0, latent_dim=4, context_dim=8,
        context_blocks=2, num_inducing=3,
    )  # fmt: skip
    config.train.max_history = 4
    config.sample.update(num_sets=1, num_points=8, num_steps=5, first_block=2, growth=1.5,
                         sampler="dpm++2m")
    config.update_from_flattened_dict(options)
    experiment = td.build(config)
    rng = np.random.default_rng(0)

    def random(leaf):
        values = rng.normal(size=leaf.shape) * (0.7 if leaf.ndim > 1 else 0.1)
        values = np.asarray(values / max(leaf.shape[0], 1) ** 0.5, np.float32)
        # these floats are exact in 3 bytes
        return (values.view(np.uint32) & 0xFFFFFF00).view(np.float32)

    like = jax.eval_shape(lambda: init(experiment)).params
    return experiment, jax.tree.map(random, like)


def load(script, experiment, params) -> None:
    script.evaluate("packed => { globalThis.model = loadModel(packed); }",
                    live_model(experiment, params))  # fmt: skip


def flat(array) -> list[float]:
    return np.asarray(array, float).ravel().tolist()


# ---------------------------------------------------------------- a network by itself

EMBEDDED = {"causal": "gaussian", "set_latent": "learned", "set_transformer": "identity"}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_agree(name, script):
    options = {"model.embedding": EMBEDDED.get(name, "sinusoidal"),
               "model.fade": name != "set_transformer", "model.relative": True}  # fmt: skip
    experiment, params = tiny(name, **options)
    load(script, experiment, params)
    rng = np.random.default_rng(1)
    x, points = (rng.normal(size=(1, n, 2)).astype(np.float32) for n in (7, 3))
    time = jnp.array([0.3])
    apply = jax.jit(experiment.model.apply)
    history = PointSets(points) if name in ("history", "causal", "set_latent") else None
    expected = apply(params, x, time, Conditioning(jnp.array([1]), jnp.array([9]), history))
    condition = {"label": 1, "count": 9} | ({"history": flat(points)} if history else {})
    output = script.evaluate(EVALUATE, [flat(x), condition])
    np.testing.assert_allclose(output, flat(expected), atol=1e-4)


@pytest.mark.parametrize("rows, size, out", [(1, 5, 36), (3, 4, 2), (6, 7, 8), (300, 3, 12)])
def test_layers_in_webassembly_and_in_javascript_agree(rows, size, out, script):
    rng = np.random.default_rng(2)
    x, kernel, bias = (rng.normal(size=shape).astype(np.float32)
                       for shape in ((rows, size), (size, out), (out,)))  # fmt: skip
    packed = {"kernel": pack_weights(kernel), "bias": pack_weights(bias)}
    for vectors in ("makeVectors({ layer: packed })", "null"):
        result = script.evaluate(f"""([packed, x]) => {{
          const layer = loadDense(packed, {vectors});
          return [layer.vectors !== undefined, [...dense(Float32Array.from(x), layer)]];
        }}""", [packed, flat(x)])  # fmt: skip
        assert result[0] == (vectors != "null" and out % 4 == 0)
        np.testing.assert_allclose(result[1], flat(x @ kernel + bias), atol=1e-5)


# ---------------------------------------------------------------- samplers


@pytest.mark.parametrize("schedule, names", [("cosine", SAMPLERS), ("flow", ["sde-dpm++2m"])])
def test_samplers_agree(schedule, names, script):
    """Samplers agree also from alpha_T = 0, and with the fresh noise of stochastic samplers."""
    process = make_process(make_schedule(schedule, 20))
    grid, keys = np.array([20, 14, 9, 4, 1, 0]), jax.random.split(jax.random.key(0), 1)
    denoise = lambda x, level: level.alpha * x / (level.alpha**2 + level.sigma**2) - 1
    for name in names:
        sampler = make_sampler(name, 0.5)
        expected = sample(process, sampler, denoise, grid, keys, (3, 2), keep_trajectory=True)
        draws = range(len(grid) if sampler.stochastic else 1)
        noise = [flat(jax.random.normal(jax.random.fold_in(keys[0], i), (3, 2))) for i in draws]
        drawn = script.evaluate(REVERSE, [level_table(process), grid.tolist(), name, noise])
        np.testing.assert_allclose(drawn, np.reshape(expected, (len(grid), -1)), atol=1e-4,
                                   err_msg=name)  # fmt: skip


@pytest.mark.parametrize("schedule", ["karras", "cosine", "linear", "flow"])
@pytest.mark.parametrize("spacing, sigma_min", [("time", 0.0), ("log_snr", 0.0), ("log_snr", 0.03)])
def test_the_visited_levels_agree(schedule, spacing, sigma_min, script):
    process = make_process(make_schedule(schedule, 1000, sigma_max=12.0))
    grids = """([table, steps, ...how]) => steps.map((n) => timeGrid(loadLevels(table), n, ...how)
      .map(({ time }) => Math.round(1000 * time)))"""
    steps = [1, 2, 7, 16, 25, 100, 1000]
    found = script.evaluate(grids, [level_table(process), steps, spacing, sigma_min])
    for n, grid in zip(steps, found, strict=True):
        assert grid == time_grid(process.schedule, n, spacing, sigma_min).tolist()


def test_the_arrows_are_the_score(script):
    """The field at the drawn places is sigma x score of the points that are drawn there."""
    experiment, params = tiny("fourier_mlp", **{"model.labels": False, "model.sizes": False})
    load(script, experiment, params)
    places, field = script.evaluate("""() => {
      const contexts = [model.network.given({})], level = model.levels[400];
      return [gridPlaces(model.data_mean, model.sigma_data), fieldOf(model, contexts, level, 1)]
        .map((values) => [...values]);
    }""")  # fmt: skip
    process = experiment.process
    level = process.level(np.array([400]))
    mean, sigma_data = np.asarray(process.data_mean), float(process.sigma_data)
    spread = float(jnp.hypot(level.alpha * sigma_data, level.sigma)[0]) / sigma_data
    x_t = level.alpha * mean + spread * (np.reshape(places, (1, -1, 2)) - mean)
    x_0 = make_denoise(process, experiment.model.apply, params)(x_t, level)
    expected = (level.alpha * x_0 - x_t) / level.sigma
    np.testing.assert_allclose(field, flat(expected), atol=1e-4)


# Errors of samplers for normal data with standard deviations s, whose denoiser is known:
#   x_0_hat = alpha s^2 x_t / v, v = alpha^2 s^2 + sigma^2, and x_0 = s x_T / sqrt(v_T).
CONVERGENCE = """([table, s]) => {
  const levels = loadLevels(table), { alpha, sigma } = levels.at(-1), exact = {};
  const apply = (x, time) => {
    const level = levels[Math.round(1000 * time)];
    return x.map((v, i) => {
      const variance = (level.alpha * s[i % 2]) ** 2 + level.sigma ** 2, x_t = v / level.c_in;
      const x_0 = (level.alpha * s[i % 2] ** 2 * x_t) / variance;
      return (x_0 - level.c_skip * x_t) / level.c_out;
    });
  };
  const model = {
    strategy: "independent", dim: 2, sigma_data: 1, levels, guides: [], data_mean: [0, 0],
    sample: { spacing: "time", sigma_min: 0, eta: 0 }, network: { given: () => ({}), apply },
    start: { mean: [0, 0], std: Math.hypot(alpha, sigma) },
  };
  const asked = { numPoints: 5, label: null, guidanceScale: 1, spacing: "time" };
  const x_T = new Random(5).normals(40).map((v) => model.start.std * v);
  const end = x_T.map((v, i) => (s[i % 2] * v) / Math.hypot(alpha * s[i % 2], sigma));
  const denoise = denoiseWith(model, [{}, null], 1);
  const far = (numSteps) => medianDistance(
    solve(model, denoise, x_T, { sampler: "heun", numSteps, spacing: "time" }), end, 2);
  return [[...convergence(model, asked, 5)], far(4), far(200)];
}"""


@pytest.mark.parametrize("schedule", ["karras", "flow"])
def test_errors_against_steps_have_the_order_of_the_sampler(schedule, script):
    """Euler (ddim) has order 1 and Heun order 2, and the long run is near the exact solution."""
    process = make_process(make_schedule(schedule, 1000, sigma_max=12.0))
    curve, early, late = script.evaluate(CONVERGENCE, [level_table(process), [1.0, 0.3]])
    assert late < 1e-3 * early
    order = {}
    for sampler in ("ddim", "heun", "dpm++2m"):
        errors = {p["numSteps"]: p["error"] for p in curve if p["sampler"] == sampler}
        assert list(errors) == [1, 2, 4, 8, 16, 32, 64]
        order[sampler] = np.log2(errors[8] / errors[32]) / 2
    assert order["ddim"] == pytest.approx(1, abs=0.2)
    assert order["heun"] == pytest.approx(2, abs=0.4) and order["dpm++2m"] > 1.5


# ---------------------------------------------------------------- whole sets


def noise_of(experiment, sample, num_given: int) -> list:
    """Noise that td.sample draws for its first set, in the order in which the page uses it."""
    key = jax.random.fold_in(jax.random.key(sample.seed), 0)
    num_points, strategy = sample.num_points, experiment.model.traits.strategy

    def draw(number: int, index: int, rows: int, dim: int = 2) -> list[float]:
        one = jax.random.fold_in(jax.random.fold_in(key, number), index)
        return flat(jax.random.normal(one, (rows, dim)))

    if strategy in ("autoregressive", "causal"):
        burned, kept = block_sizes(sample, num_points, num_given)
        return [draw(i, 0, capacity(n))[: 2 * n] for i, n in enumerate([*burned, *kept])]
    if strategy == "latent":
        size = experiment.config.model.latent_dim
        latent = [] if num_given else [draw(LATENT_RUN, 0, 1, size)]
        blur = flat(jax.random.normal(jax.random.fold_in(key, BLUR_KEY), (1, size)))
        return [*latent, blur, draw(0, 0, num_points - num_given)]
    if strategy == "joint" and num_given:
        rows, levels = num_points + -(-num_points // num_given) * num_given, sample.num_steps + 1
        return [draw(0, 0, rows)] + [draw(0, levels + i, rows) for i in range(levels)]
    return [draw(0, 0, num_points)]


def largest_error(script, experiment, params, given=None) -> float:
    """Largest difference between a set of the page and of td.sample, in the network's units."""
    config, dataset = experiment.config.sample, experiment.dataset
    expected = dataset.normalize(td.sample(experiment, params, config, given=given)[0])
    load(script, experiment, params)
    num_given = 0 if given is None else len(given)
    label = label_of(experiment, config, given)
    options = {
        "given": [] if given is None else flat(dataset.normalize(given)),
        "label": None if label < 0 else label, "numPoints": config.num_points,
        "guidanceScale": config.guidance_scale, "sampler": config.sampler,
        "numSteps": config.num_steps,
    }  # fmt: skip
    drawn = script.evaluate(GENERATE, [noise_of(experiment, config, num_given), options])
    drawn, expected = np.reshape(drawn, expected.shape), np.array(expected)
    for points in (drawn, expected):  # the page may return the given points in rows
        points[:num_given] = points[:num_given][points[:num_given, 0].argsort()]
    return np.abs(drawn - expected).max()


@pytest.mark.parametrize("name, num_given, options", [
    ("fourier_mlp", 0, {"label": 1, "guidance_scale": 2.0, "spacing": "log_snr"}),
    # without a label, guidance uses the history
    ("history", 0, {"label": -2, "guidance_scale": 1.5, "burn_in": 4, "first_block": 4}),
    ("causal", 3, {"label": 1, "guidance_scale": 2.0, "num_points": 7}),
    ("causal", 3, {"model.relative": True, "num_points": 7}),
    ("causal", 3, {"model.order": "rows:0.5", "model.given_share": 0.5, "growth": 1.0,
                   "first_block": 1, "num_points": 6}),
    ("set_latent", 0, {"label": 1, "guidance_scale": 1.5}),
    ("set_latent", 3, {}),
    ("set_transformer", 3, {"label": 1, "sampler": "ddim"}),
])  # fmt: skip
def test_whole_sets_agree(name, num_given, options, script):
    options = {f"{'' if '.' in option else 'sample.'}{option}": value
               for option, value in options.items()}  # fmt: skip
    options |= {"model.num_blocks": 1, "model.context_blocks": 1}
    experiment, params = tiny(name, **options)
    given = np.array([[0.1, 0.4], [-0.7, 0.2], [0.9, -1.1]], np.float32) if num_given else None
    assert largest_error(script, experiment, params, given) < 1e-3


@pytest.mark.parametrize("name, labels, label_drop, history_drop, guides", [
    ("history", True, 0.1, 0.2, ["label", "history"]),
    ("history", True, 0.0, 0.0, []),
    ("history", False, 0.1, 0.2, ["history"]),
    ("causal", True, 0.1, 0.2, ["label"]),
])  # fmt: skip
def test_samples_are_guided_by_what_training_left_out(
    name, labels, label_drop, history_drop, guides
):
    experiment, params = tiny(name, **{"model.labels": labels, "train.label_drop": label_drop,
                                       "train.history_drop": history_drop})  # fmt: skip
    assert live_model(experiment, params)["guides"] == guides


# ---------------------------------------------------------------- what cannot be sampled there


def test_what_a_page_does_not_support_is_refused():
    config = td.default_config("attention_v1")
    with pytest.raises(UserError, match="config.model.name.* must be one of fourier_mlp, history"):
        live_model(td.build(config), {})
    experiment = td.build(td.default_config("causal"))
    config = editable(experiment.config)
    config.sample.burn_in = 16
    experiment = experiment._replace(config=config)
    with pytest.raises(UserError, match="config.sample.burn_in = 16: must be 0 with config.model"):
        live_model(experiment, {})
    experiment = td.build(td.default_config())
    solid = experiment.dataset.replace(shift=jnp.zeros(3))
    with pytest.raises(UserError, match="coordinates of a point = 3: must be 2"):
        live_model(experiment._replace(dataset=solid), {})
