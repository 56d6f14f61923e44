"""Trajectories of a trained model, whose ends a network learns, to draw in 1, 2 or 4 steps.

A deterministic sampler of the trained model maps noise x_T along a trajectory x_t to a set x_0. The
distilled network has the same form as the trained one (equation 3 of process.py), but learns the
end of the trajectory in place of the mean of all x_0:

    minimise |F - (x_0 - c_skip x_t) / c_out|^2,    x_t, x_0 on one trajectory

This is the usual loss with the noise eps_t = (x_t - alpha_t x_0) / sigma_t of the trajectory in
place of a random eps. A regression on pairs (x_T, x_0) is due to arXiv 2101.02388. Levels below T
are learned too, because several steps start from these levels.
"""

import flax.struct
import jax

from tiny_diffusion_jax.diffusion.process import draw_times
from tiny_diffusion_jax.point_sets import Conditioning
from tiny_diffusion_jax.sets.batch import Batch, BatchSpec


@flax.struct.dataclass
class Trajectories:
    """Trajectories of S sets at F noise levels, in normalised units."""

    x_0: jax.Array  # f32[S, N, D], the ends
    eps: jax.Array  # f32[F, S, N, D], (x_t - alpha_t x_0) / sigma_t
    levels: jax.Array  # i32[F], all above 0
    conditioning: Conditioning = Conditioning()  # label i32[S], size i32[S], mask bool[S, N]

    def draw_batches(
        self, key: jax.Array, num_levels: int, steps: int, spec: BatchSpec
    ) -> Batch:
        """Draw a random set and a random level for each set of `steps` batches.

        The levels of a batch are stratified, see `draw_times`.
        """
        set_key, level_key = jax.random.split(key)
        shape = steps, spec.num_sets
        index = jax.random.randint(set_key, shape, 0, len(self.x_0))
        level = draw_times(level_key, shape, len(self.levels)) - 1
        conditioning = jax.tree.map(lambda a: a[index], self.conditioning)
        return Batch(self.x_0[index], self.eps[level, index], self.levels[level], conditioning)

    def split(self, num_first: int) -> tuple["Trajectories", "Trajectories"]:
        """Split the sets into the first `num_first` and all others."""
        parts = slice(num_first), slice(num_first, None)
        return tuple(
            Trajectories(self.x_0[part], self.eps[:, part], self.levels,
                         jax.tree.map(lambda a, part=part: a[part], self.conditioning))
            for part in parts
        )  # fmt: skip


@jax.jit
def from_paths(process, paths: jax.Array, levels: jax.Array, conditioning: Conditioning):
    """Make `Trajectories` from paths f32[F + 1, S, N, D] at the levels i32[F + 1], the last 0."""
    x_0, level = paths[-1], process.level(levels[:-1])
    alpha, sigma = (a[:, None, None, None] for a in (level.alpha, level.sigma))
    return Trajectories(x_0, (paths[:-1] - alpha * x_0) / sigma, levels[:-1], conditioning)
