"""Compare training in the browser with JAX: schedules, gradients, and ten whole steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tiny_diffusion_jax as td
from tiny_diffusion_jax.api import init
from tiny_diffusion_jax.diffusion.process import make_denoise, make_process
from tiny_diffusion_jax.diffusion.samplers import make_sampler, sample, time_grid
from tiny_diffusion_jax.diffusion.schedules import make_schedule
from tiny_diffusion_jax.point_sets import Conditioning
from tiny_diffusion_jax.sets.batch import Batch
from tiny_diffusion_jax.training.step import (
    TrainState,
    loss_and_grad,
    make_optimizer,
    make_train_step,
)
from tiny_diffusion_jax.web.training import ARITHMETIC, network_options

SCHEDULES = ("karras", "cosine", "linear", "flow")
SETS, POINTS = 8, 3
MEMORIES = ("makeSimd(4e6)", "({ heap: new Heap(4e6) })")  # products in WebAssembly or not
# Make a trainer with given parameters. Layers are named as in Flax.
MAKE = """([options, tree, memory]) => {
  globalThis.trainer = new Trainer([], options, eval(memory));
  const { parameters } = trainer.optimizer;
  for (const [name, layer] of Object.entries(parameters.layers)) {
    layer.kernel.set(tree[name].kernel);
    layer.bias.set(tree[name].bias);
  }
  trainer.optimizer.begin();
  globalThis.batchOf = ({ x_0, eps, t }) => (
    { x_0: Float32Array.from(x_0), eps: Float32Array.from(eps), t: Int32Array.from(t) });
}"""
TREE = """({ layers }) => Object.fromEntries(Object.entries(layers).map(
  ([name, { kernel, bias }]) => [name, { kernel: [...kernel], bias: [...bias] }]))"""
STEP = f"batch => [trainer.step(batchOf(batch)), ({TREE})(trainer.gradient.gradient)]"
STATE = f"() => [({TREE})(trainer.optimizer.parameters), ({TREE})(trainer.optimizer.ema)]"


@pytest.fixture(scope="module")
def script(scripts):
    """All scripts that compute in the worker of the training."""
    return scripts(*ARITHMETIC)


def small(schedule: str = "karras", **options):
    """Build an experiment with a small network; all its weights are random and nonzero."""
    config = td.default_config("fourier_mlp")
    config.schedule.name = schedule
    config.model.update(hidden_dim=12, num_blocks=2, num_frequencies=5, time_frequencies=3)
    config.train.update(num_sets=SETS, num_points=POINTS, steps=100)
    config.update_from_flattened_dict(options)
    experiment = td.build(config)
    rng = np.random.default_rng(0)

    def random(leaf):
        scale = 0.7 / leaf.shape[0] ** 0.5 if leaf.ndim > 1 else 0.1
        return jnp.asarray(rng.normal(size=leaf.shape) * scale, jnp.float32)

    return experiment, jax.tree.map(random, jax.eval_shape(lambda: init(experiment)).params)


def batches(num: int) -> list[Batch]:
    rng = np.random.default_rng(1)
    normal = lambda: rng.normal(size=(SETS, POINTS, 2)).astype(np.float32)
    level = lambda: rng.integers(1, 1001, SETS).astype(np.int32)
    return [Batch(normal(), eps=normal(), t=level(), conditioning=Conditioning())
            for _ in range(num)]  # fmt: skip


def as_json(batch: Batch) -> dict:
    flat = lambda a: np.asarray(a).ravel().tolist()
    return {"x_0": flat(batch.x_0), "eps": flat(batch.eps), "t": flat(batch.t)}


def layers(params) -> dict:
    """Weights by the name of the layer, as lists of numbers."""
    flat = lambda a: np.asarray(a, float).ravel().tolist()
    return jax.tree.map(flat, params["params"]["trunk"])


def make(script, experiment, params, memory="makeSimd(4e6)") -> None:
    script.evaluate(MAKE, [network_options(experiment.config), layers(params), memory])


def largest_difference(tree, expected) -> float:
    assert jax.tree.structure(tree) == jax.tree.structure(expected)
    differences = jax.tree.map(lambda a, b: abs(a - b), tree, expected)
    return max(jax.tree.leaves(differences))


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_gradient_is_that_of_jax(schedule, memory, script):
    """The loss and each number of the gradient agree to 1e-5 of the largest one."""
    experiment, params = small(schedule)
    batch = batches(1)[0]
    losses, grads = loss_and_grad(experiment.process, experiment.model, params, batch, 1)
    expected = layers(grads)
    make(script, experiment, params, memory)
    loss, gradient = script.evaluate(STEP, as_json(batch))
    assert loss == pytest.approx(float(losses.mean()), rel=1e-5)
    largest = max(map(abs, jax.tree.leaves(expected)))
    assert all(max(map(abs, jax.tree.leaves(layer))) > 1e-4 for layer in expected.values())
    assert largest_difference(gradient, expected) < 1e-5 * largest


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("clip_norm", [1.0, 0.05])  # without and with clipping
def test_ten_steps_are_those_of_jax(clip_norm, memory, script):
    """Weights and EMA weights agree to 1e-4 after the warm-up's ten steps."""
    experiment, params = small(**{"train.clip_norm": clip_norm, "train.learning_rate": 1e-2,
                                  "train.weight_decay": 0.1, "train.warmup": 4})  # fmt: skip
    config = experiment.config.train
    step = jax.jit(make_train_step(experiment.process, experiment.model, config, 1))
    state = TrainState(jnp.int32(0), params, params, make_optimizer(config).init(params))
    make(script, experiment, params, memory)
    for batch in batches(10):
        state, (losses, _) = step(state, batch)
        loss, _ = script.evaluate(STEP, as_json(batch))
        assert loss == pytest.approx(float(losses.mean()), abs=1e-4)
    weights, ema = script.evaluate(STATE)
    moved = largest_difference(layers(state.params), layers(params))
    assert moved > 0.02  # two hundred times the allowed difference
    assert largest_difference(weights, layers(state.params)) < 1e-4
    assert largest_difference(ema, layers(state.ema)) < 1e-4


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_levels_are_those_of_the_schedule(schedule, script):
    names = ("time", "alpha", "sigma", "c_in", "c_skip", "c_out")
    levels = script.evaluate("""([schedule, names]) =>
      makeLevels(schedule).map((level) => names.map((name) => level[name]))""", [schedule, names])
    process = make_process(make_schedule(schedule, 1000, sigma_max=12.0))
    level = process.level(np.arange(1001))
    expected = np.stack([*level, *process.coefficients(level)], axis=-1)
    np.testing.assert_allclose(levels, expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("schedule", ["karras", "flow"])
def test_samples_are_those_of_jax(schedule, script):
    """A batch of samples from the same noise, and sigma x score of the same points.

    Low frequencies, because a random network of high ones amplifies rounding in each step.
    """
    experiment, params = small(schedule, **{"model.scale": 3.0, "model.max_period": 10.0})
    process = experiment.process
    make(script, experiment, params)
    denoise = jax.jit(make_denoise(process, experiment.model.apply, params))
    noise = np.random.default_rng(2).normal(size=(1, 20, 2)).astype(np.float32)
    grid = time_grid(process.schedule, 12)
    keys = jax.random.split(jax.random.key(0), 1)
    expected = sample(process, make_sampler("dpm++2m", 0.0), denoise, grid, keys, (20, 2))
    first = jax.random.normal(jax.random.fold_in(keys[0], 0), (20, 2))
    drawn = script.evaluate("noise => [...trainer.sample(Float32Array.from(noise), 12)]",
                            np.asarray(first).ravel().tolist())  # fmt: skip
    np.testing.assert_allclose(drawn, np.ravel(expected), atol=1e-4)
    level = process.level(np.array([400]))
    spread = float(jnp.hypot(level.alpha, level.sigma)[0])
    x_t = noise * spread
    score = (level.alpha * denoise(x_t, level) - x_t) / level.sigma
    field = script.evaluate("x => [...trainer.field(Float32Array.from(x), 400)]",
                            noise.ravel().tolist())  # fmt: skip
    np.testing.assert_allclose(field, np.ravel(score), atol=1e-4)


def test_batches_are_stratified_draws_of_the_shapes(script):
    """Each level of a batch is in its own stratum, noise is normal, and a set is of one shape."""
    options = network_options(small()[0].config) | {"num_sets": 40, "num_points": 50}
    draws = script.evaluate("""([options, shapes]) => {
      const trainer = new Trainer(shapes.map((x) => Float32Array.from(x)), options,
                                  { heap: new Heap(3e7), seed: 4 });
      return [0, 1].map(() => Object.values(trainer.draw()).map((values) => [...values]));
    }""", [options, [[1.0, 2.0] * 3, [5.0, 6.0] * 3]])
    for x_0, eps, t in draws:
        assert sorted((np.array(t) - 1) * 40 // 1000) == list(range(40))
        sets = np.reshape(x_0, (40, 50, 2))
        assert (sets == sets[:, :1]).all() and set(sets[:, 0, 0]) == {1.0, 5.0}
        assert abs(np.mean(eps)) < 0.08 and abs(np.std(eps) - 1) < 0.06
    assert draws[0] != draws[1]


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize(
    "M, K, N", [(4, 3, 8), (9, 1, 12), (3, 7, 20), (5, 3, 44), (6, 5, 2), (5, 4, 3)]
)
def test_products_add(M, K, N, memory, script):
    """C + A B and C + A^T B, also for matrices that tiles of 4 x 8 and 1 x 32 do not fill."""
    rng = np.random.default_rng(3)
    a, b, c = (rng.normal(size=shape).astype(np.float32) for shape in ((M, K), (K, N), (M, N)))
    multiply = """([a, b, c, M, K, N, aRow, aColumn, memory]) => {
      const { heap, product = addProduct } = eval(memory);
      const put = (numbers) => { const x = heap.floats(numbers.length); x.set(numbers); return x; };
      const [A, B, C] = [a, b, c].map(put);
      product(A, aRow, aColumn, B, C, M, K, N);
      return [...C];
    }"""
    flat = lambda x: np.ravel(x).tolist()
    for matrix, strides in ((a, (K, 1)), (a.T, (1, M))):
        result = script.evaluate(multiply, [flat(matrix), flat(b), flat(c), M, K, N, *strides,
                                            memory])  # fmt: skip
        np.testing.assert_allclose(result, flat(c + a @ b), atol=1e-5)
