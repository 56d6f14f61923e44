"""The numbers and pictures of a run whose every sample is a whole set: mixtures, MNIST sets."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax import experiment, generation
from tiny_diffusion_jax.data.base import PointSets, draw_points
from tiny_diffusion_jax.evaluate import classifier, separation
from tiny_diffusion_jax.evaluate import sets as set_metrics
from tiny_diffusion_jax.experiment import Experiment
from tiny_diffusion_jax.figures import film as animation
from tiny_diffusion_jax.figures import sets as set_plots
from tiny_diffusion_jax.run import workdir

BIRTHS = 8  # sets in the animation
NUM_TRAIN = 5_000  # training sets among which the nearest is looked for
QUERIES = 4  # points whose attention is drawn


def evaluate(setup: Experiment, params, samples: np.ndarray) -> dict:
    """Metrics beside their floors: separation for a mixture, MMD, COV and 1-NNA otherwise."""
    config, dataset = setup.config.evaluate, setup.dataset
    if dataset.members:
        return separation.compare(dataset, jax.random.key(config.seed), samples)
    sets, points = min(len(samples), config.max_sets), samples.shape[1]
    key = jax.random.key(config.seed)
    real = draw_points(dataset.heldout, jax.random.fold_in(key, 0), 2 * sets, points)
    train = draw_points(dataset, jax.random.fold_in(key, 1), NUM_TRAIN, points)
    result = set_metrics.compare_sets(samples[:sets], real[:sets], real[sets:], train, sets)
    if setup.model.num_labels:
        drawn, labels = labelled(setup, params, sets, points)
        result["label_accuracy"] = classifier.accuracy(
            dataset, jax.random.fold_in(key, 2), drawn, labels
        ) | {"guidance_scale": config.guidance_scale}
    return result


def labelled(setup: Experiment, params, num_sets: int, num_points: int):
    """Sets f32[num_sets, num_points, 2] of all labels in turn, guided, and the labels i64."""
    config = setup.config.sample.copy_and_resolve_references()
    config.update(num_sets=num_sets, num_points=num_points,
                  guidance_scale=setup.config.evaluate.guidance_scale)
    present = np.unique(_labels(setup.dataset))
    labels = present[np.arange(num_sets) % len(present)]
    return experiment.sample(setup, params, config, labels=labels), labels


def _labels(dataset) -> np.ndarray:
    return np.asarray(dataset.draw(jax.random.key(0), 1_000, 1).label)


def pictures(setup: Experiment, folder: Path, params, samples: np.ndarray) -> None:
    """sets.png, with labels labels.png, birth.gif and, where there is attention, attention.png."""
    config, dataset = setup.config.evaluate, setup.dataset
    colours = {}
    if dataset.members:
        calibration = separation.calibrate(
            dataset, jax.random.key(config.seed), samples.shape[1], num_real=500
        )
        found = separation.separate(calibration, samples)
        colours = {"member": found.member, "bad": ~found.accepted}
    real = dataset.draw(jax.random.key(config.seed), 8, samples.shape[1])
    with workdir.atomic(folder / "sets.png") as path:
        set_plots.save_sets(
            path, samples, dataset.title, dataset.notice, real=np.asarray(real.points),
            **colours, **({"names": dataset.label_names, "real_member": np.asarray(real.label)}
                        if dataset.members else {}),
        )  # fmt: skip
    if not dataset.members and setup.model.num_labels:
        drawn, labels = labelled(setup, params, 60, samples.shape[1])
        order = np.argsort(labels, kind="stable")
        with workdir.atomic(folder / "labels.png") as path:
            title = f"{dataset.title}: asked for, guidance {config.guidance_scale:g}"
            set_plots.save_sets(path, drawn[order], title, dataset.notice,
                                member=labels[order], names=dataset.label_names, by_member=True)
    attention(setup, folder / "attention.png", params, samples[0])
    if config.frames:
        birth(setup, folder / "birth.gif", params, colours.get("member"))


def birth(setup: Experiment, path: Path, params, member=None) -> None:
    """Whole sets on their way from noise, side by side; a chain's blocks one after the other."""
    config = setup.config.sample.copy_and_resolve_references()
    config.num_sets = min(BIRTHS, config.num_sets)
    way = experiment.sample(setup, params, config, keep_trajectory=True)
    title, member = setup.dataset.title, None if member is None else member[:BIRTHS]
    if setup.model.traits.generation != "chain":
        index = np.unique(np.linspace(0, len(way) - 1, setup.config.evaluate.frames).astype(int))
        labels = [f"step {i} of {len(way) - 1}" for i in index]
        with workdir.atomic(path) as temporary:
            animation.save_births(temporary, way[index], labels, title, member)
        return
    sizes = generation.block_sizes(config.num_points, 0, config.first_block, config.growth)
    frames, new, _ = animation.grow(way[:, 0], sizes, max(setup.config.evaluate.frames, 2))
    with workdir.atomic(path) as temporary:
        labels = [f"{len(points)} points" for points in frames]
        animation.save_birth(temporary, frames, labels, title, new=new)


def attention(setup: Experiment, path: Path, params, points: np.ndarray) -> None:
    """What a few points of a finished set look at, as the network weighs them at little noise.

    No picture of a network without attention.
    """
    model, dataset = setup.model, setup.dataset
    process = setup.process
    if model.traits.shown:
        points = points[: setup.config.train.max_history]
    x = dataset.normalize(jnp.asarray(points))[None]
    level = process.level(jnp.array([process.schedule.num_levels // 4]))
    history = PointSets(x) if model.traits.shown else None
    c = process.coefficients(level)
    _, kept = model.apply(params, c.c_in[:, None, None] * x, level.time, history=history,
                          mutable=["intermediates"])  # fmt: skip
    found = jax.tree.leaves(kept)
    if not found:
        return
    weights = np.asarray(found[-1])[0].mean(0)[:, -len(points):]  # heads averaged, no null token
    inducing = model.traits.learned_queries
    chosen = _spread(points, QUERIES) if not inducing else np.arange(min(QUERIES, len(weights)))
    queries = None if inducing else points[chosen]
    with workdir.atomic(path) as temporary:
        set_plots.save_attention(temporary, points, weights[chosen], queries,
                                 f"{dataset.title}: " + ("what learned queries look at" if inducing
                                                       else "what a point looks at"))


def _spread(points: np.ndarray, count: int) -> np.ndarray:
    """Indices of `count` points far from each other: each the farthest from those before."""
    chosen = [0]
    while len(chosen) < count:
        far = np.min([np.sum((points - points[i]) ** 2, -1) for i in chosen], axis=0)
        chosen.append(int(far.argmax()))
    return np.array(chosen)
