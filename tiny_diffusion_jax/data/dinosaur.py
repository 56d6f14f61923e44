"""Drawing of a dinosaur for this project: points that are uniform along its strokes.

dinosaur.csv lists the straight segments of the strokes in [-4, 4]^2: the start x, y of each segment
and the step dx, dy to its end. The segments approximate smooth curves through points placed by
hand, ellipses (eye, nostril, spots), and plates on the curve of the back.
"""

from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax.data.densities import draw_index, inverse_cdf_table, map_points

JITTER = 0.02  # standard deviation of a point about its stroke


@cache
def segments() -> tuple[np.ndarray, np.ndarray]:
    """Straight segments of the drawing: starts f32[S, 2] and steps f32[S, 2] to the ends."""
    file = Path(__file__).with_suffix(".csv")
    table = np.loadtxt(file, np.float32, delimiter=",", skiprows=1)
    return table[:, :2], table[:, 2:]


@cache
def _table() -> np.ndarray:
    return inverse_cdf_table(np.linalg.norm(segments()[1], axis=1))


def dino(key: jax.Array, num: int) -> jax.Array:
    """Draw points f32[num, 2], uniform along the strokes, plus N(0, 0.02^2) in x and y."""
    starts, steps = map(jnp.asarray, segments())
    index_key, along_key, jitter_key = jax.random.split(key, 3)
    index = draw_index(index_key, jnp.asarray(_table()), num)
    along = jax.random.uniform(along_key, (num, 1))
    jitter = JITTER * jax.random.normal(jitter_key, (num, 2))
    return starts[index] + along * steps[index] + jitter


def dino_log_prob(points: jax.Array) -> jax.Array:
    """Exact log density of `dino`, f32[...] for points f32[..., 2].

    A segment of length l has the density p = N(d; 0, s^2) (Phi(a / s) - Phi((a - l) / s)) / l.
    Here a is the position of the point along the segment and d across the segment, both from its
    start. The weight of a segment is l over the length of the drawing.
    """
    starts, steps = map(jnp.asarray, segments())
    lengths = jnp.linalg.norm(steps, axis=1)
    along = steps / lengths[:, None]

    def one(point):
        offset = (point - starts) / JITTER
        a = (offset * along).sum(-1)
        d = offset[:, 0] * along[:, 1] - offset[:, 1] * along[:, 0]
        low, high = a - lengths / JITTER, a
        # Take Phi(high) - Phi(low) in the tail where both are small, to avoid cancellation.
        right = low + high > 0
        low, high = jnp.where(right, -high, low), jnp.where(right, -low, high)
        log_high, log_low = jax.scipy.special.log_ndtr(high), jax.scipy.special.log_ndtr(low)
        log_mass = log_high + jnp.log(-jnp.expm1(log_low - log_high))
        return jax.nn.logsumexp(log_mass - 0.5 * d**2)

    log_norm = 0.5 * np.log(2 * np.pi) + np.log(JITTER) + jnp.log(lengths.sum())
    return map_points(one, points, 4 * len(starts)) - log_norm
