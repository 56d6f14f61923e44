"""An experiment: the pieces a config describes, put together; how to train it and draw from it."""

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tiny_diffusion_jax import data, diffusion, generation, models
from tiny_diffusion_jax.data.base import Dataset
from tiny_diffusion_jax.diffusion import likelihood, samplers, schedules
from tiny_diffusion_jax.errors import require
from tiny_diffusion_jax.training import step as training


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
    check_evaluate(config.evaluate)
    schedule = schedules.make_schedule(**config.schedule)
    samplers.time_grid(schedule, config.sample.num_steps, config.sample.spacing)
    optimizer = training.make_optimizer(config.train)
    # All that can be checked before any data is read.
    diffusion.make_process(schedule, **config.diffusion)
    check_sample(config.sample)
    model = make_model(config)
    check_sample(config.sample, model)
    check_sizes(config, model)
    dataset = data.build(config.data)
    points = dataset.draw(jax.random.key(0), 4096, 1).points
    sigma_data = 1.0 if config.data.normalize else float(jnp.sqrt(points.var((0, 1)).mean()))
    process = diffusion.make_process(schedule, **config.diffusion, sigma_data=sigma_data)
    return Experiment(config, dataset, process, model, optimizer)


def make_model(config):
    """The denoiser of `config`, before its data is read: how many labels they have is in a name."""
    data_ = config.data
    num_labels = {"mixture": data_.members.count("+") + 1, "mnist_sets": 10}.get(data_.name, 0)
    return models.make_model(config.model, num_labels)


def check_sizes(config, model) -> None:
    """Raises UserError for sets larger than `model` takes, or too small to be told apart."""
    for field in ("num_points", "max_points"):
        check_limit(f"config.train.{field}", config.train[field], model)
    require(config.data.name != "mixture" or config.sample.num_points >= 2,
            "config.sample.num_points", config.sample.num_points,
            "at least 2, for a set to be told apart")


def check_limit(field: str, num_points: int, model) -> None:
    """Raises UserError for sets of more points than `model` takes."""
    limit = model.traits.max_points
    require(limit is None or num_points <= limit, field, num_points,
            f"at most {limit} for {model.traits.max_points_reason}")


def check_seed(field: str, seed: int) -> None:
    """Raises UserError for what cannot be the seed of a key."""
    require(0 <= seed < 2**32, field, seed, "in 0..4294967295")


def check_sample(config, model=None, labels: bool = False) -> None:
    """Raises UserError for a field of `config.sample` out of its range, or not for `model`."""
    samplers.make_sampler(config.sampler, config.eta)
    for field in ("num_sets", "num_points", "memory_mb", "first_block"):
        require(config[field] >= 1, f"config.sample.{field}", config[field], "at least 1")
    require(1 <= config.growth < math.inf, "config.sample.growth", config.growth,
            "a finite number, at least 1")
    require(math.isfinite(config.guidance_scale), "config.sample.guidance_scale",
            config.guidance_scale, "a finite number")
    require(config.redraw >= 0, "config.sample.redraw", config.redraw, "0 or more")
    require(config.label >= -2, "config.sample.label", config.label,
            "a label, -1 for random ones, or -2 for none")
    check_seed("config.sample.seed", config.seed)
    if model is None:
        return
    last = model.num_labels - 1
    require(config.label <= last, "config.sample.label", config.label,
            f"in 0..{last}, -1 for random ones, or -2 for none" if model.num_labels else
            "-1 for a model without labels; train one with config.model.labels=True")
    named = model.num_labels > 0 and (config.label >= -1 or labels)
    guided = named or (model.traits.generation == "chain")
    require(guided or config.guidance_scale == 1, "config.sample.guidance_scale",
            config.guidance_scale, "1 without a label to guide to: set config.sample.label"
            if model.num_labels else "1 for a model without labels or history")
    check_limit("config.sample.num_points", config.num_points, model)


def check_evaluate(config) -> None:
    """Raises UserError for a field of `config.evaluate` out of its range."""
    for field in ("num_projections", "exact_points", "likelihood_steps", "density_steps",
                  "heldout_points"):
        require(config[field] >= 1, f"config.evaluate.{field}", config[field], "at least 1")
    check_seed("config.evaluate.seed", config.seed)
    require(math.isfinite(config.guidance_scale), "config.evaluate.guidance_scale",
            config.guidance_scale, "a finite number")
    require(config.max_sets >= 2, "config.evaluate.max_sets", config.max_sets, "at least 2")
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
    programs = {}  # (number of steps, shapes) -> compiled program: a few
    step = int(state.step)
    with tqdm(total=config.steps, initial=step, unit="step", disable=not progress,
              smoothing=0.05, dynamic_ncols=True, desc="train") as bar:
        while step < config.steps:
            steps = min(config.block, config.steps - step)
            compile_seconds = 0.0
            plan = training.make_plan(config, experiment.model, step // config.block)
            if (steps, plan) not in programs:
                start = time.perf_counter()
                lowered = block.lower(state, experiment.dataset, key, steps=steps, plan=plan)
                programs[steps, plan] = lowered.compile()
                compile_seconds = time.perf_counter() - start
                bar.unpause()  # the time left follows from the steps alone
            start = time.perf_counter()
            state, metrics = programs[steps, plan](state, experiment.dataset, key)
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
    progress: bool = False, given: np.ndarray | None = None, labels: np.ndarray | None = None,
) -> np.ndarray:
    """Draws config.num_sets sets of config.num_points points, f32[num_sets, num_points, 2].

    `config` is the `sample` part of a config (None: the experiment's); points come in the data's
    own units. A set depends on config.seed and its own number only, not on how many sets are asked
    for; requests too large for config.memory_mb are drawn in chunks. With `keep_trajectory` the way
    from noise is kept too, f32[steps + 1, num_sets, num_points, 2], noise first. `given`, points
    f32[n, 2] in own units, begins every set, and the rest is drawn to go with it; `labels`
    i32[num_sets] takes the place of config.label.
    """
    config = experiment.config.sample if config is None else config
    check_sample(config, experiment.model, labels is not None)
    return generation.draw(
        experiment, params, config, keep_trajectory, progress, given, labels
    )


def log_prob(experiment: Experiment, params, points: np.ndarray, num_steps: int) -> np.ndarray:
    """Exact log-likelihood of points f32[n, 2] in own units, in nats per point, f32[n].

    A density per unit area of the data: the network's log p minus 2 log(scale).
    """
    process, model = experiment.process, experiment.model
    require(model.traits.generation == "alone", "config.model", type(model).__name__,
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
