"""Data that the sections of a report share: samples, real draws, calibration.

Each attribute is computed once.
"""

from functools import cached_property, partial

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax import api, cache, sets
from tiny_diffusion_jax.api import Experiment
from tiny_diffusion_jax.data import units
from tiny_diffusion_jax.dataset import PointSets, draw_points, draw_sets
from tiny_diffusion_jax.diffusion import samplers
from tiny_diffusion_jax.diffusion.process import add_noise
from tiny_diffusion_jax.figures.style import square_limits
from tiny_diffusion_jax.metrics import (
    likelihood_metrics as likelihood,
)
from tiny_diffusion_jax.metrics import (
    score_field as fields,
)
from tiny_diffusion_jax.metrics import (
    separation,
)
from tiny_diffusion_jax.metrics.ragged import described_sets, first_of_each
from tiny_diffusion_jax.sets import likelihood as set_likelihood
from tiny_diffusion_jax.sets.autoregressive import block_sizes
from tiny_diffusion_jax.sets.padding import ragged
from tiny_diffusion_jax.sets.sizes import width

# More sets make a ratio to the floor less noisy: its standard error is about 0.07 at 32.
MAX_CLOUDS, CLOUD_POINTS = 64, 4_000
PICTURED = 200  # real sets that set the limits of the axes of a figure.
BIRTHS = 24  # largest number of sets whose trajectories are kept.
BIRTH_POINTS = 16_384  # largest number of their points in total, but four sets are always kept.


class ReportData:
    """The samples of a run, and every quantity that more than one section needs.

    Each attribute is computed when a section first reads it. samples: f[S, N, D]; given: the first
    points of every set, f[n, D], or None; ways: trajectories of the samples, f[steps + 1, S, N, D],
    or None. These three arguments are in own units. Every attribute and result is in centred units,
    see data/units.py.
    """

    def __init__(
        self, experiment: Experiment, params, samples: np.ndarray, given=None, ways=None
    ):  # fmt: skip
        self.experiment, self.params = experiment, params
        self.dataset, self.model = experiment.dataset, experiment.model
        self.samples, self.given, self.ways = (
            None if points is None else units.to_centred(self.dataset.origin, points)
            for points in (samples, given, ways)
        )
        self.config = experiment.config.evaluate
        self.key = jax.random.key(self.config.seed)
        self._labelled = np.zeros((0, *samples.shape[1:]), np.float32), np.zeros(0, int)

    @cached_property
    def clouds(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(samples, real, other real) f32[num_sets, num_points, 2] of one density."""
        sets, points = min(len(self.samples), MAX_CLOUDS), min(self.samples.shape[1], CLOUD_POINTS)
        real = np.asarray(draw_points(self.dataset, self.key, 2 * sets, points))
        return self.samples[:sets, :points], real[:sets], real[sets:]

    def log_prob(self, num_steps: int):
        """Log density of the model as a function f32[n, 2] -> f32[n], in centred units.

        A model with `counts` is conditioned on the size of the sets of its training.
        """
        def log_prob(points):
            size, known = self.experiment.config.train.num_points, {}
            if self.model.counts:
                known["sizes"] = np.full(len(points), size)
            points = units.to_own(self.dataset.origin, points)
            return api.log_prob(self.experiment, self.params, points, num_steps, **known)

        return log_prob

    def _sample(self, config, **arguments) -> np.ndarray:
        """Draw as `api.sample` does, in centred units."""
        origin = self.dataset.origin
        if "given" in arguments:
            arguments["given"] = units.to_own(origin, arguments["given"])
        drawn = api.sample(self.experiment, self.params, config, **arguments)
        return units.to_centred(origin, drawn)

    def log_prob_of_sets(self, sets, labels=None, sizes=None) -> set_likelihood.Estimate:
        """Log-likelihood of sets f32[S, N, D], in centred units and nats per point.

        labels, sizes: i32[S] or None, see `set_likelihood.estimate`.
        """
        return set_likelihood.estimate(
            self.experiment, self.params, sets, self.config.likelihood_steps, labels, sizes=sizes
        )

    @cached_property
    def calibration(self) -> separation.Calibration:
        """Statistics of real sets of each member, with the number of points of the samples."""
        return separation.calibrate(
            self.dataset, jax.random.fold_in(self.key, 3), self.samples.shape[1],
            num_real=separation.enough_real(len(self.samples)),
            folder=cache.home(self.experiment.config.data.cache_dir),
        )  # fmt: skip

    @cached_property
    def separation(self) -> separation.Separation:
        """The member of a mixture to which each sample belongs."""
        return separation.separate(self.calibration, self.samples)

    def labelled(self, num_sets: int) -> tuple[np.ndarray, np.ndarray]:
        """Guided sets f32[num_sets, N, 2] with all labels in turn, and the labels i64[num_sets].

        A set depends on its own number only, so fewer sets are the first sets of a larger request.
        """
        if len(self._labelled[1]) < num_sets:
            config = self.experiment.config.sample.copy_and_resolve_references()
            config.update(num_sets=num_sets, guidance_scale=self.config.guidance_scale)
            if config.num_points:  # if 0, each set has its own number of points
                config.num_points = self.samples.shape[1]
            present = np.unique(draw_sets(self.dataset, jax.random.key(0), 1_000, 1).label)
            labels = present[np.arange(num_sets) % len(present)]
            sets = self._sample(config, labels=labels)
            self._labelled = sets, labels
        return tuple(array[:num_sets] for array in self._labelled)

    @cached_property
    def real_sets(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Different real sets f32[R, N, D], R <= PICTURED, and their labels; NaN pads small sets.

        Each image or observed set is used once, and sets with equal points count as one set.
        """
        count, which = self.dataset.num_sources, PICTURED
        if count:
            order = jax.random.permutation(jax.random.fold_in(self.key, 7), count)
            which = np.asarray(order)[:PICTURED]
        real = described_sets(self.dataset, self.key, which, self.samples.shape[1])
        points = np.asarray(real.points)
        first = first_of_each(points)
        label = None if real.label is None else np.asarray(real.label)[first]
        return points[first], label

    @cached_property
    def births(self) -> tuple[np.ndarray, np.ndarray]:
        """Trajectories of the first sets f32[steps + 1, sets, N, D] and their noise levels."""
        config = self.experiment.config.sample.copy_and_resolve_references()
        few = max(4, BIRTH_POINTS // self.samples.shape[1])
        config.num_sets = min(BIRTHS, few, len(self.samples))
        if self.ways is not None:
            return self.ways[:, : config.num_sets], self._levels(config)
        given = {} if self.given is None else {"given": self.given}
        way = self._sample(config, keep_trajectory=True, **given)
        return way, self._levels(config)

    @cached_property
    def trajectory(self) -> tuple[np.ndarray, np.ndarray]:
        """Trajectory of one set f32[steps + 1, N, 2] and its noise levels i[steps + 1].

        The number of steps is the larger of the steps in `config.sample` and the number of frames.
        """
        config = self.experiment.config.sample.copy_and_resolve_references()
        steps = max(config.num_steps, self.config.frames - 1)
        config.num_steps = min(steps, self.experiment.process.schedule.num_levels)
        config.num_sets, config.num_points = 1, min(self.samples.shape[1], CLOUD_POINTS)
        return self._sample(config, keep_trajectory=True)[:, 0], self._levels(config)

    @cached_property
    def density(self) -> tuple[np.ndarray, tuple] | tuple[None, None]:
        """Log density of the model f32[G, G] at the pixels of a figure, and the figure's extent.

        (None, None) if the model has no density, points are not in the plane, no figure is wanted,
        or real points, which give the extent, are missing.
        """
        size, alone = self.config.density_size, self.model.traits.generation == "alone"
        if not (size and alone and self.dataset.dim == 2 and self.dataset.has_points):
            return None, None
        real = self.clouds[1][0, :CLOUD_POINTS]
        extent = square_limits(real)
        everything = np.concatenate([real, self.samples.reshape(-1, 2)])
        log_prob = self.log_prob(self.config.density_steps)
        return likelihood.picture(
            log_prob, extent, size, everything, self.config.heldout_points
        ), extent

    @cached_property
    def counts(self) -> fields.Counts:
        """Number of real points in the cells of the figure of `density`."""
        return fields.count(self.dataset, jax.random.fold_in(self.key, 6), self.density[1])

    def _levels(self, config) -> np.ndarray:
        schedule = self.experiment.process.schedule
        return samplers.time_grid(schedule, config.num_steps, config.spacing, config.sigma_min)

    def blocks(self, number: int) -> list[int]:
        """Number of points in each block of set `number`, after the given points.

        The last block is cut to the size of the set.
        """
        config = self.experiment.config.sample.copy_and_resolve_references()
        size = len(ragged(self.samples[number : number + 1])[0])
        num_given = 0 if self.given is None else len(self.given)
        config.num_points = config.num_points or width(size)
        plan = block_sizes(config, num_given)[1]
        ends = np.minimum(num_given + np.cumsum(plan), size)
        return [int(n) for n in np.diff(ends, prepend=num_given) if n > 0]

    def noised(self, points: np.ndarray, levels: np.ndarray) -> np.ndarray:
        """x_t of `points` f32[n, 2] at each level, f32[F, n, 2], with one eps per point."""
        eps = jax.random.normal(self.key, points.shape)
        x_0 = self.dataset.normalize(jnp.asarray(points))
        level = self.experiment.process.level(levels)
        return np.asarray(self.dataset.denormalize(add_noise(level.expand(), x_0, eps)))

    def attention(self, points: np.ndarray, size: int) -> np.ndarray | None:
        """Attention weights f32[queries, n] on `points` f32[n, D], at low noise.

        The queries and keys are points of the first sample, which has `size` points. Weights are
        from the last layer and averaged over heads. None if the network has no attention.
        """
        x = self.dataset.normalize(jnp.asarray(points))[None]
        labels, _ = sets.asked(self.experiment, self.experiment.config.sample, self.given)
        known = {"label": None if labels is None else jnp.asarray(labels)[:1],
                 "count": jnp.array([size]) if self.model.counts else None}  # fmt: skip
        weights = _attention(self.experiment.process, self.params, x, known, model=self.model)
        if not weights:
            return None
        return np.asarray(weights[-1])[0].mean(0)[:, -len(points):]  # without the null token


@partial(jax.jit, static_argnames="model")
def _attention(process, params, x: jax.Array, known: dict, *, model) -> list[jax.Array]:
    """Weights f32[1, heads, queries, keys] of each layer, at a quarter of all levels."""
    if model.traits.generation == "causal":  # each token attends to tokens up to itself
        whole = jnp.pad(x, ((0, 0), (0, 1), (0, 0)))  # the last point has no token
        _, kept = model.apply(params, whole, **known, method="contexts",
                              mutable=["intermediates"])  # fmt: skip
        return [weights[:, :, 1:] for weights in jax.tree.leaves(kept)]  # skip the start token
    level = process.level(jnp.array([process.schedule.num_levels // 4]))
    history = PointSets(x) if model.traits.shown else None
    scaled = process.coefficients(level).c_in[:, None, None] * x
    _, kept = model.apply(params, scaled, level.time, history=history, **known,
                          mutable=["intermediates"])  # fmt: skip
    return jax.tree.leaves(kept)
