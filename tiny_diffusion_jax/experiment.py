"""An experiment: the pieces a config describes, put together; how to train it and draw from it."""

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tiny_diffusion_jax import data, diffusion, likelihood, models, samplers, schedules, training
from tiny_diffusion_jax.data.base import Dataset
from tiny_diffusion_jax.errors import require


class Experiment(NamedTuple):
    """Everything that stays the same during a run."""

    config: Any  # ml_collections.ConfigDict, as config.py describes
    dataset: Dataset
    process: diffusion.Process
    model: Any  # a Flax module, as models/ describes
    optimizer: optax.GradientTransformation


class TrainingDiverged(RuntimeError):
    """The loss is no longer a finite number."""

    exit_code = 1


def build(config) -> Experiment:
    """Puts the pieces together. Raises UserError for any field out of its range."""
    check_seed("config.seed", config.seed)
    check_sample(config.sample)
    check_evaluate(config.evaluate)
    schedule = schedules.make_schedule(**config.schedule)
    samplers.time_grid(schedule, config.sample.num_steps, config.sample.spacing)
    model = models.make_model(config.model)
    optimizer = training.make_optimizer(config.train)
    diffusion.make_process(schedule, **config.diffusion)  # names first, before any data is read
    dataset = data.build(config.data)
    points = dataset.draw(jax.random.key(0), 4096, 1).points
    sigma_data = 1.0 if config.data.normalize else float(jnp.sqrt(points.var((0, 1)).mean()))
    process = diffusion.make_process(schedule, **config.diffusion, sigma_data=sigma_data)
    return Experiment(config, dataset, process, model, optimizer)


def check_seed(field: str, seed: int) -> None:
    """Raises UserError for what cannot be the seed of a key."""
    require(0 <= seed < 2**32, field, seed, "in 0..4294967295")


def check_sample(config) -> None:
    """Raises UserError for a field of `config.sample` out of its range."""
    samplers.make_sampler(config.sampler, config.eta)
    for field in ("num_sets", "num_points", "memory_mb"):
        require(config[field] >= 1, f"config.sample.{field}", config[field], "at least 1")
    check_seed("config.sample.seed", config.seed)


def check_evaluate(config) -> None:
    """Raises UserError for a field of `config.evaluate` out of its range."""
    for field in ("num_projections", "exact_points", "likelihood_steps", "density_steps",
                  "heldout_points"):
        require(config[field] >= 1, f"config.evaluate.{field}", config[field], "at least 1")
    check_seed("config.evaluate.seed", config.seed)
    for field in ("density_size", "frames"):
        require(config[field] >= 0, f"config.evaluate.{field}", config[field], "0 or more")


def init(experiment: Experiment) -> training.TrainState:
    """The state before the first step; it follows from config.seed."""
    key = jax.random.fold_in(jax.random.key(experiment.config.seed), 0)
    num_points = experiment.config.train.num_points
    return training.init_state(key, experiment.model, experiment.optimizer, num_points)


def train(
    experiment: Experiment,
    state: training.TrainState | None = None,
    on_block: Callable[[training.TrainState, dict], bool] | None = None,
    progress: bool = True,
) -> training.TrainState:
    """Trains from `state` (None: from the start) to config.train.steps; returns the final state.

    After each block of steps `on_block(state, row)` gets the state and a row of plain numbers
    (step, loss, grad_norm, steps_per_second, loss_by_time, and once compile_seconds); when it
    returns True, training stops there. `state` is consumed. Raises TrainingDiverged when the loss
    is not finite.
    """
    from tqdm import tqdm

    config = experiment.config.train
    state = init(experiment) if state is None else state
    key = jax.random.fold_in(jax.random.key(experiment.config.seed), 1)
    block = training.make_train_block(
        experiment.process, experiment.model, experiment.optimizer, config
    )
    programs = {}  # number of steps -> compiled program: at most two
    step = int(state.step)
    with tqdm(total=config.steps, initial=step, unit="step", disable=not progress,
              smoothing=0.05, dynamic_ncols=True, desc="train") as bar:
        while step < config.steps:
            steps = min(config.block, config.steps - step)
            compile_seconds = 0.0
            if steps not in programs:
                start = time.perf_counter()
                lowered = block.lower(state, experiment.dataset, key, steps=steps)
                programs[steps] = lowered.compile()
                compile_seconds = time.perf_counter() - start
                bar.unpause()  # the time left follows from the steps alone
            start = time.perf_counter()
            state, metrics = programs[steps](state, experiment.dataset, key)
            metrics = jax.tree.map(np.asarray, metrics)  # waits for the device
            seconds = time.perf_counter() - start
            bad = np.flatnonzero(~np.isfinite(metrics.loss))
            if bad.size:
                raise TrainingDiverged(f"loss = {metrics.loss[bad[0]]} at step {step + bad[0] + 1}")
            step += steps
            row = {
                "step": step,
                "loss": float(metrics.loss.mean()),
                "grad_norm": float(metrics.grad_norm.mean()),
                "steps_per_second": steps / seconds,
                "loss_by_time": [float(x) if np.isfinite(x) else None
                                 for x in metrics.loss_by_time],
            }
            if compile_seconds:
                row["compile_seconds"] = compile_seconds
            bar.set_postfix(loss=f"{row['loss']:.4f}", refresh=False)
            bar.update(steps)
            if on_block is not None and on_block(state, row):
                break
    return state


def sample(
    experiment: Experiment, params, config=None, keep_trajectory: bool = False,
    progress: bool = False,
) -> np.ndarray:
    """Draws config.num_sets sets of config.num_points points, f32[num_sets, num_points, 2].

    `config` is the `sample` part of a config (None: the experiment's); points come in the data's
    own units. A set depends on config.seed and its own number only, not on how many sets are asked
    for; requests too large for config.memory_mb are drawn in chunks. With `keep_trajectory` the way
    from noise is kept too, f32[steps + 1, num_sets, num_points, 2], noise first.
    """
    from tqdm import tqdm

    config = experiment.config.sample if config is None else config
    check_sample(config)
    process, model = experiment.process, experiment.model
    sampler = samplers.make_sampler(config.sampler, config.eta)
    grid = jnp.asarray(samplers.time_grid(process.schedule, config.num_steps, config.spacing))
    sets, points, parts = _chunks(config, model)

    @jax.jit
    def draw(params, dataset, keys):
        denoise = diffusion.make_denoise(process, model.apply, params)
        x = samplers.sample(process, sampler, denoise, grid, keys, points, keep_trajectory)
        return dataset.denormalize(x)

    # Key of part j of set i: fold_in(fold_in(seed, i), j). The last chunk is filled up with sets
    # that are thrown away, so one program serves all chunks.
    set_keys = jax.vmap(jax.random.fold_in, (None, 0))(
        jax.random.key(config.seed), jnp.arange(config.num_sets)
    )
    part_keys = jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)), (0, None))(
        set_keys, jnp.arange(parts)
    ).reshape(-1)
    total = config.num_sets * parts
    chunks = []
    starts = range(0, total, sets)
    for start in tqdm(starts, desc="sample", unit="chunk",
                      disable=not progress or len(starts) == 1):
        index = jnp.minimum(jnp.arange(start, start + sets), total - 1)
        chunk = np.asarray(draw(params, experiment.dataset, part_keys[index]))
        chunks.append(chunk[..., : total - start, :, :])
    drawn = np.concatenate(chunks, axis=-3)  # [..., num_sets * parts, points, 2]
    drawn = drawn.reshape(*drawn.shape[:-3], config.num_sets, parts * points, 2)
    return drawn[..., : config.num_points, :]


def _chunks(config, model) -> tuple[int, int, int]:
    """(sets per chunk, points per set and chunk, parts per set) within config.memory_mb."""
    bytes_per_point = 2 * 4 * model.floats_per_point  # arrays in and out of a layer
    room = max(1, config.memory_mb * 2**20 // bytes_per_point)
    if not model.per_point:
        return max(1, min(config.num_sets, room // config.num_points)), config.num_points, 1
    # The points of a set are independent: larger sets are drawn in parts of a fixed size, so that
    # memory_mb decides about speed and never about which points are drawn.
    part = min(config.num_points, 16_384)
    parts = math.ceil(config.num_points / part)
    return max(1, min(config.num_sets * parts, room // part)), part, parts


def log_prob(experiment: Experiment, params, points: np.ndarray, num_steps: int) -> np.ndarray:
    """Exact log-likelihood of points f32[n, 2] in own units, in nats per point, f32[n].

    A density per unit area of the data: the network's log p minus 2 log(scale).
    """
    process, model = experiment.process, experiment.model
    require(model.per_point, "config.model", type(model).__name__,
            "a denoiser of single points: in a joint one a point alone has no density")

    @jax.jit
    def evaluate(params, dataset, points):
        denoise = diffusion.make_denoise(process, model.apply, params)
        z = dataset.normalize(points)[None]
        log_p = likelihood.log_likelihood(process, denoise, z, num_steps)[0]
        return log_p - 2 * jnp.log(dataset.scale)

    chunk = min(len(points), 16_384)
    padded = np.resize(points, (math.ceil(len(points) / chunk) * chunk, 2)).astype(np.float32)
    parts = [np.asarray(evaluate(params, experiment.dataset, p))
             for p in padded.reshape(-1, chunk, 2)]
    return np.concatenate(parts)[: len(points)]
