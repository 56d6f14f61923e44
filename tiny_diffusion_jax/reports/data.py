"""Quantities that several sections of a report share: samples, real draws, trajectories."""

from functools import cached_property

import jax
import numpy as np

from tiny_diffusion_jax import cache, sampling, scoring
from tiny_diffusion_jax.api import Experiment
from tiny_diffusion_jax.call_checks import is_distilled
from tiny_diffusion_jax.config import editable
from tiny_diffusion_jax.data import units
from tiny_diffusion_jax.dataset import draw_points, draw_sets
from tiny_diffusion_jax.figures.style import square_limits
from tiny_diffusion_jax.metrics import likelihood_metrics, score_field, separation
from tiny_diffusion_jax.metrics.ragged import described_sets, first_of_each
from tiny_diffusion_jax.point_sets import lengths
from tiny_diffusion_jax.sets import strategy_of
from tiny_diffusion_jax.sets.autoregressive import block_sizes
from tiny_diffusion_jax.sets.reverse import visited_levels
from tiny_diffusion_jax.sets.sizes import capacity

# More sets make a ratio to the floor less noisy: its standard error is about 0.07 at 32.
MAX_CLOUDS, CLOUD_POINTS = 64, 4_000
REAL_SETS = 200  # real sets that set the limits of the axes of a figure.
TRAJECTORIES = 24  # largest number of sets whose trajectories are shown.
SHOWN_POINTS = 16_384  # largest number of their points, but four sets are always shown.
WEIGHTS_CHOSEN_ON = {True: "the same held-out sets", False: "other held-out sets"}


class ReportData:
    """The samples of a run, and every quantity that more than one section of the report needs.

    Each attribute is computed when a section first reads it. samples: f[S, N, D]; given: the first
    points of every set, f[n, D], or None; trajectories: of the samples, f[steps + 1, S, N, D], or
    None. These three arguments are in own units. Every attribute and result is in centred units,
    see data/units.py. rows: the rows of metrics.jsonl. snapshots:
    the snapshots of the training, in own units.
    """

    def __init__(
        self, experiment: Experiment, params, samples: np.ndarray, given=None, trajectories=None,
        rows=(), snapshots=(),
    ):  # fmt: skip
        self.experiment, self.params, self.rows = experiment, params, rows
        self.snapshots = snapshots
        self.dataset, self.model = experiment.dataset, experiment.model
        self.samples, self.given, self._trajectories = (
            None if points is None else units.to_centred(self.dataset.origin, points)
            for points in (samples, given, trajectories)
        )
        self.config, self.options = experiment.config.evaluate, experiment.config.sample
        self.key = jax.random.key(self.config.seed)
        self._labelled = np.zeros((0, *samples.shape[1:]), np.float32), np.zeros(0, int)

    @property
    def is_comparable(self) -> bool:
        """Whether samples can be compared with real sets."""
        return self.given is None and self.dataset.has_points

    @property
    def shows_sets(self) -> bool:
        """Whether to show several sets, because they differ or contain given points."""
        return self.given is not None or self.dataset.sets_differ

    @property
    def has_likelihood(self) -> bool:
        """Whether the model has a likelihood; a distilled model has none."""
        return not is_distilled(self.experiment.config)

    @property
    def has_density(self) -> bool:
        """Whether the report shows the density of single points in the plane."""
        return (self.config.density_size > 0 and self.has_point_density
                and self.dataset.dim == 2 and self.is_comparable and not self.shows_sets)

    @property
    def has_point_density(self) -> bool:
        """Whether the model has a density of single points, known also where a flow starts."""
        start = self.dataset.start
        return (self.has_likelihood and strategy_of(self.model).has_point_density
                and (start is None or start.log_prob is not None))  # fmt: skip

    @property
    def start_title(self) -> str:
        """Name of the density of x_T."""
        return "noise" if self.dataset.start is None else self.dataset.start.title

    def noise(self, x_0) -> np.ndarray:
        """Draw x_1 f32[..., N, D], in the units of the network, for points x_0 of the same shape.

        x_1 is Gaussian noise, or from the density that a flow starts from. With optimal pairs, x_1
        is paired with x_0, as in training.
        """
        process = self.experiment.process
        x_1 = process.draw_noise(self.key, x_0.shape)
        if process.pair is None:
            return np.asarray(x_1)
        flat = [np.asarray(a).reshape(1, -1, a.shape[-1]) for a in (x_0, x_1)]
        return np.asarray(process.pair(*flat)).reshape(x_0.shape)

    @property
    def weights_chosen_on(self) -> dict:
        """Entry of a metric on held-out sets, if held-out sets have selected the weights."""
        if not self.experiment.config.train.keep_best:
            return {}
        return {"weights_chosen_on": WEIGHTS_CHOSEN_ON[self.dataset.validation is None]}

    @property
    def title(self) -> str:
        if self.given is None:
            return self.dataset.title
        return f"{self.dataset.title}: completed from {len(self.given)} points"

    @cached_property
    def clouds(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(samples, real, other real) f32[num_sets, num_points, 2] of one density."""
        sets, points = min(len(self.samples), MAX_CLOUDS), min(self.samples.shape[1], CLOUD_POINTS)
        real = np.asarray(draw_points(self.dataset, self.key, 2 * sets, points))
        return self.samples[:sets, :points], real[:sets], real[sets:]

    def log_prob(self, points: np.ndarray, num_steps: int) -> np.ndarray:
        """Log density of the model f32[n] at points f32[n, 2], in centred units.

        A model with `counts` is conditioned on the size of the sets of its training.
        """
        num_points = self.experiment.config.train.num_points
        size = {"sizes": np.full(len(points), num_points)} if self.model.counts else {}
        points = units.to_own(self.dataset.origin, points)
        return scoring.log_prob(self.experiment, self.params, points, num_steps, **size)

    @cached_property
    def density(self) -> tuple[np.ndarray, tuple]:
        """Log density of the model f32[G, G] at the pixels of a figure, and the figure's extent."""
        real = self.clouds[1][0, :CLOUD_POINTS]
        extent = square_limits(real)
        log_density = likelihood_metrics.picture(
            lambda points: self.log_prob(points, self.config.density_steps), extent,
            self.config.density_size, np.concatenate([real, self.samples.reshape(-1, 2)]),
            self.config.heldout_points,
        )  # fmt: skip
        return log_density, extent

    @cached_property
    def counts(self) -> score_field.Counts:
        """Number of real points in the cells of the figure of `density`."""
        return score_field.count(self.dataset, jax.random.fold_in(self.key, 6), self.density[1])

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

    @cached_property
    def real_sets(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Different real sets f32[R, N, D], R <= REAL_SETS, and their labels; NaN pads small sets.

        Each image or observed set is used once, and sets with equal points count as one set.
        """
        which = REAL_SETS
        if self.dataset.num_sources:
            key = jax.random.fold_in(self.key, 7)
            which = np.asarray(jax.random.permutation(key, self.dataset.num_sources))[:REAL_SETS]
        real = described_sets(self.dataset, self.key, which, self.samples.shape[1])
        points = np.asarray(real.points)
        first = first_of_each(points)
        return points[first], None if real.label is None else np.asarray(real.label)[first]

    def labelled(self, num_sets: int) -> tuple[np.ndarray, np.ndarray]:
        """Guided sets f32[num_sets, N, 2] with all labels in turn, and the labels i64[num_sets].

        A set depends on its own number only, so fewer sets are the first sets of a larger request.
        """
        if len(self._labelled[1]) < num_sets:
            labels = np.unique(draw_sets(self.dataset, jax.random.key(0), 1_000, 1).label)
            labels = np.resize(labels, num_sets)
            sets = self._sample({
                "num_sets": num_sets, "guidance_scale": self.config.guidance_scale,
                "num_points": self.options.num_points and self.samples.shape[1],  # 0: own numbers
            }, labels=labels)  # fmt: skip
            self._labelled = sets, labels
        return tuple(array[:num_sets] for array in self._labelled)

    @cached_property
    def trajectories(self) -> tuple[np.ndarray, np.ndarray]:
        """Trajectories of the first sets f32[steps + 1, sets, N, D] and their noise levels."""
        most = max(4, SHOWN_POINTS // self.samples.shape[1])
        num_sets = min(TRAJECTORIES, most, len(self.samples))
        levels = self._levels(self.options.num_steps)
        if self._trajectories is not None:
            return self._trajectories[:, :num_sets], levels
        given = {} if self.given is None else {
            "given": units.to_own(self.dataset.origin, self.given)}  # fmt: skip
        return self._sample({"num_sets": num_sets}, keep_trajectory=True, **given), levels

    @cached_property
    def trajectory(self) -> tuple[np.ndarray, np.ndarray]:
        """Trajectory of one set f32[steps + 1, N, 2] and its noise levels i[steps + 1].

        The number of steps is the larger of the steps in `config.sample` and the number of frames.
        """
        num_steps = min(max(self.options.num_steps, self.config.frames - 1),
                        self.experiment.process.schedule.num_levels)  # fmt: skip
        num_points = min(self.samples.shape[1], CLOUD_POINTS)
        options = {"num_sets": 1, "num_points": num_points, "num_steps": num_steps}
        return self._sample(options, keep_trajectory=True)[:, 0], self._levels(num_steps)

    def blocks(self, number: int) -> list[int]:
        """Number of points in each block of set `number`, after the given points.

        The last block is cut to the size of the set.
        """
        [size] = lengths(self.samples[number : number + 1])
        num_given = 0 if self.given is None else len(self.given)
        num_points = self.options.num_points or capacity(size)
        _, sizes = block_sizes(self.options, num_points, num_given)
        ends = np.minimum(num_given + np.cumsum(sizes), size)
        return [int(n) for n in np.diff(ends, prepend=num_given) if n > 0]

    def _sample(self, options: dict, **arguments) -> np.ndarray:
        """Draw as `sampling.sample` does, with these options of config.sample, in centred units."""
        config = editable(self.options)
        config.update(options)
        sets = sampling.sample(self.experiment, self.params, config, **arguments)
        return units.to_centred(self.dataset.origin, sets)

    def _levels(self, num_steps: int) -> np.ndarray:
        schedule, options = self.experiment.process.schedule, self.options
        return visited_levels(schedule, options, num_steps)
