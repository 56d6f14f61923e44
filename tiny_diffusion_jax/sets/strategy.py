"""A strategy: all that training, sampling and scoring of whole sets need.

A subclass owns the history and the noise of a batch, its loss, how sets are drawn and completed,
the log-likelihood of a set, memory, and limits. To add a strategy, write a subclass in a new file
and name it in `sets.STRATEGIES`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from tiny_diffusion_jax.diffusion import Process, draw_times, loss_per_set, make_denoise
from tiny_diffusion_jax.diffusion.ode_likelihood import log_likelihood
from tiny_diffusion_jax.point_sets import Conditioning, PointSets
from tiny_diffusion_jax.sets.batch import Batch, BatchSpec
from tiny_diffusion_jax.sets.order import Key
from tiny_diffusion_jax.sets.reverse import SamplingContext


class ScoredSets(NamedTuple):
    """B sets whose likelihood is computed, with what the computation needs."""

    process: Process
    params: Any
    keys: jax.Array  # [B], a key for each set
    x: jax.Array  # f32[B, N, D], normalised
    mask: jax.Array  # bool[B, N], False for padding
    conditioning: Conditioning  # label, size, and number of given points
    num_steps: int  # of Runge-Kutta
    max_history: int  # largest number of history points in training
    num_given: int = 0  # first points that are given: log p(x_{h+1} ... x_N | x_1 ... x_h)


@dataclass(frozen=True)
class Strategy:
    """Generate sets with the denoiser `model`. The methods below are the defaults."""

    model: Any  # a Flax module

    # Points are independent given the label, so a single point has a density.
    has_point_density: ClassVar[bool] = False
    # Keys by which the points of a set are sorted (order.py); () for points in random order.
    sort_keys: ClassVar[tuple[Key, ...]] = ()
    # A set grows in blocks of points, with one reverse process for each block.
    grows: ClassVar[bool] = False
    # Guidance can compare with an empty history, and new sets start from one.
    reads_history: ClassVar[bool] = False
    # A completed set takes neither label nor guidance, because its latent is encoded from points.
    guides_latent: ClassVar[bool] = False
    # The log-likelihood is a lower bound of the log-likelihood of the generated sets.
    is_lower_bound: ClassVar[bool] = False
    # Number of random draws of a likelihood. `averages_log_p`: average log p over them, not p.
    default_draws: ClassVar[int] = 1
    averages_log_p: ClassVar[bool] = False

    @property
    def sorts(self) -> bool:
        """Whether the points of a set are sorted."""
        return bool(self.sort_keys)

    @property
    def scores_given(self) -> bool:
        """Whether log p(given points | number of points of the set) is known.

        The model then is conditioned on the size, and generates the points in random order.
        """
        return self.grows and self.model.counts and not self.sorts

    # ------------------------------------------------------------ training

    def extra_draws(self, spec: BatchSpec) -> tuple[int, int]:
        """Number of batches before the first, and of points per set beyond spec.num_points."""
        return 0, 0

    def values_per_set(self, spec: BatchSpec) -> int:
        """Number of points and noise levels that are drawn for a set."""
        return spec.num_points

    def split(
        self, key: jax.Array, points: jax.Array, mask: jax.Array | None, spec: BatchSpec
    ) -> tuple[PointSets | None, jax.Array, jax.Array | None]:
        """Split points [steps, B, N + extra, D] into (history, points to denoise, their mask)."""
        return None, points, mask

    def draw_given(self, key: jax.Array, exists: jax.Array) -> jax.Array | None:
        """Draw the given points bool[..., N] of sets whose points `exists`; None: no points."""
        return None

    def order(self, points, mask, origin, given=None) -> jax.Array | None:
        """Order i32[..., N] of `points` in centred units; None: the order does not matter.

        Points that are given, bool[..., N], come first.
        """
        return None

    def noise(self, keys, shape, mask, num_levels: int, spec: BatchSpec) -> dict:
        """Draw the fields of `Batch` that are noise, for points [steps, B, N, D].

        keys: for the noise of points, for the noise levels, and for latents.
        """
        eps_key, time_key, _ = keys
        t = draw_times(time_key, shape[:2], num_levels)
        return {"eps": jax.random.normal(eps_key, shape), "t": t}

    def loss(self, process: Process, apply, params, batch: Batch) -> jax.Array:
        """Loss f32[B] of each set (or more values per set); the loss of a batch is the mean."""
        return loss_per_set(process, apply, params, batch.x_0, batch.eps, batch.t,
                            batch.conditioning, batch.forced, batch.mean)  # fmt: skip

    # ------------------------------------------------------------ sampling

    def points_in_memory(self, num_points: int, num_given: int = 0) -> int:
        """Number of points of a set that are in memory at once."""
        return num_points

    def draw(
        self, context: SamplingContext, keys: jax.Array, conditioning: Conditioning, sizes=None
    ) -> jax.Array:
        """Draw sets f32[B, N, D], or trajectories [steps + 1, B, N, D], from a key for each set.

        conditioning: label and size. sizes: i32[B], number of points to draw for each set, of which
        context.num_points is the capacity; None: context.num_points for all sets.
        """
        raise NotImplementedError

    def complete(
        self, context: SamplingContext, keys: jax.Array, given: jax.Array,
        conditioning: Conditioning, sizes=None,
    ) -> jax.Array:  # fmt: skip
        """Draw sets like `draw`; all sets start with the points `given` f32[n, D]."""
        raise NotImplementedError

    def sample_limits(self, options) -> Iterator[tuple[str, bool, str]]:
        """Yield (option, whether its value is allowed, what is allowed) of the `sample` options."""
        yield from ()

    def attention(self, process: Process, params, x: jax.Array, conditioning: Conditioning):
        """Attention weights f32[1, heads, queries, keys] of each layer on a set x f32[1, N, D].

        The network sees x at a quarter of all noise levels, and as history if it reads one.
        """
        level = process.level(jnp.array([process.schedule.num_levels // 4]))
        history = PointSets(x) if self.model.traits.history_source else None
        scaled = process.coefficients(level).c_in[:, None, None] * x
        _, state = self.model.apply(params, scaled, level.time,
                                    conditioning._replace(history=history),
                                    mutable=["intermediates"])  # fmt: skip
        return jax.tree.leaves(state)

    # ------------------------------------------------------------ likelihood

    def num_draws(self, requested: int, num_points: int, dim: int) -> int:
        """Number of random draws that estimate log p(X); 1 if log p(X) is exact."""
        return requested or self.default_draws

    def scored_points(self, num_points: int, max_history: int) -> int:
        """Number of points in memory to score a set of num_points points."""
        return num_points

    def scores_training_sizes(self, sizes_vary: bool) -> bool:
        """Return whether the model can score only sets that are cut as in training.

        sizes_vary: whether the data are observed sets, whose sizes differ from the batches'.
        """
        return False

    def random_order(self, scored: ScoredSets) -> ScoredSets:
        """Put the points of each set in a random order, if the order matters."""
        return scored

    def log_prob(self, scored: ScoredSets) -> tuple[jax.Array, jax.Array]:
        """Log-likelihood of each point f32[B, N], and a log weight f32[B] or f32[] of each set.

        log p(X) is the sum of both. It is one draw of an estimate if `num_draws` is above 1.
        """
        return self.log_prob_of_points(scored, scored.conditioning), 0.0

    def log_prob_of_points(
        self, scored: ScoredSets, conditioning: Conditioning, directions=None
    ) -> jax.Array:
        """Log-likelihood f32[B, N] of each point by the probability-flow ODE."""
        denoise = make_denoise(scored.process, self.model.apply, scored.params, conditioning)
        return log_likelihood(scored.process, denoise, scored.x, scored.num_steps, directions)
