"""Distil a trained model into a network that draws in 1, 2 or 4 steps.

The trained model generates trajectories once, and a copy of its network learns their ends
(training/trajectories.py). The distilled model is a run like any other.
"""

import logging

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict, FrozenConfigDict

from tiny_diffusion_jax import api, devices, sampling
from tiny_diffusion_jax.api import Experiment
from tiny_diffusion_jax.config import editable
from tiny_diffusion_jax.data import units
from tiny_diffusion_jax.errors import require
from tiny_diffusion_jax.models import make_model
from tiny_diffusion_jax.point_sets import Conditioning
from tiny_diffusion_jax.sets import strategy_of
from tiny_diffusion_jax.sets.reverse import visited_levels
from tiny_diffusion_jax.training.trajectories import from_paths

log = logging.getLogger("tiny_diffusion_jax")
TEACHER_STEPS = 40  # of the sampler that draws the trajectories
NUM_STEPS = {"independent": 4_000, "joint": 1_400}  # of the training
NUM_POINTS = {"independent": 2**17, "joint": 3 * 2**17}  # of all trajectories
# The last jump of two or more steps starts from this sigma / alpha: it moves points onto strokes.
# With levels evenly spaced in t (0.55) three times as many points of two steps are stray.
LAST_SIGMA = 0.1
HELDOUT = 16  # one of this many trajectories is held out and measures the loss
SEED = 2**31  # differs from usual seeds of samples


def distilled_config(config, init_from: str = "", model=None) -> ConfigDict:
    """Config of the distilled model of a run, which is in the folder `init_from`.

    model: the denoiser; None: the denoiser that config.model describes. Raises UserError for a
    model that is distilled already, and for a model that needs several reverse processes for a set.
    """
    require(config.train.trajectories == 0, "config.train.trajectories", config.train.trajectories,
            "0 for a model that is to be distilled", "This model is distilled already")
    model = model or make_model(config.model, 0)
    strategy, config = model.traits.strategy, editable(config)
    require(strategy in NUM_POINTS, "config.model.name", config.model.name,
            "a model that draws a set in one reverse process, such as fourier_mlp or "
            "set_transformer, to be distilled")  # fmt: skip
    train, sample, num_points = config.train, config.sample, config.train.num_points
    if strategy == "joint":
        # Trajectories of a part of a set differ, so train on sets of the size that is drawn.
        num_points = sample.num_points or num_points
        train.num_sets = max(train.num_sets * train.num_points // num_points, 8)
    config.name += "_few"
    train.update(
        init_from=init_from, trajectories=NUM_POINTS[strategy] // num_points,
        num_points=num_points, min_points=0, max_points=0, steps=NUM_STEPS[strategy],
        label_drop=0.0, keep_best=False,
    )  # fmt: skip
    sample.update(sampler="consistency", num_steps=2, spacing="log_snr", sigma_min=LAST_SIGMA,
                  guidance_scale=1.0)  # fmt: skip
    config.evaluate.update(guidance_scale=1.0, frames=0)  # two steps are no film
    return config


@devices.without_float64
def with_trajectories(experiment: Experiment, params, progress: bool = True) -> Experiment:
    """Return the experiment with trajectories of the trained weights `params` as training data.

    The trajectories follow from config.seed, so a training that resumes generates them again.
    """
    config, dataset, process, model, _ = experiment
    num_points = config.train.num_points
    if dataset.sizes is not None and not strategy_of(model).has_point_density:
        num_points = config.sample.num_points  # 0: sizes as in the data
    teacher = api.with_options(experiment, "train", {"trajectories": 0})
    teacher = api.with_options(teacher, "sample", {
        "sampler": "dpm++2m", "num_steps": min(TEACHER_STEPS, config.schedule.num_levels),
        "num_sets": config.train.trajectories, "num_points": num_points, "label": "",
        "spacing": "time",
        "seed": (SEED + config.seed) % 2**32})  # fmt: skip
    options = teacher.config.sample
    levels = visited_levels(process.schedule, options)
    log.info("drawing %d sets of %s points with their trajectories (%s, %d steps)",
             options.num_sets, num_points or "as many", options.sampler, len(levels) - 1)
    paths = sampling.sample(teacher, params, keep_trajectory=True, progress=progress)
    paths = np.asarray(dataset.normalize(units.to_centred(dataset.origin, paths)), np.float32)
    labels, sizes = sampling.conditioning(teacher, options)
    mask = None if sizes is None else jnp.asarray(~np.isnan(paths[-1, ..., 0]))
    size = np.full(len(paths[0]), num_points) if sizes is None else sizes
    size = jnp.asarray(size, jnp.int32) if model.counts else None
    drawn = from_paths(process, jnp.asarray(np.nan_to_num(paths)), jnp.asarray(levels),
                       Conditioning(labels, size, mask=mask))  # fmt: skip
    heldout, learned = drawn.split(-(-options.num_sets // HELDOUT))
    validation = dataset.replace(trajectories=heldout, heldout=None, validation=None)
    return experiment._replace(dataset=dataset.replace(trajectories=learned, validation=validation))


def distill(
    experiment: Experiment, params, options: dict, on_block=None, progress: bool = True
) -> tuple:
    """Return the distilled experiment and its state, see `interface.distill`."""
    config = distilled_config(experiment.config, model=experiment.model)
    distilled = experiment._replace(config=FrozenConfigDict(config))
    distilled = api.with_options(distilled, "train", options)
    state = api.init(distilled).replace(params=params, ema=params)
    state = jax.tree.map(jnp.asarray, state)
    with_paths = with_trajectories(distilled, params, progress)
    return distilled, api.train(with_paths, state, on_block, progress)
