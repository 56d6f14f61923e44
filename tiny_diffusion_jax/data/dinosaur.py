"""Drawing of a dinosaur for this project: strokes, and points that are uniform along the strokes.

The drawing is a list of polylines in [-4, 4]^2. It consists of smooth curves through points placed
by hand, ellipses (eye, nostril, spots), and plates on the curve of the back.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax.data.densities import draw_index, inverse_cdf_table, map_points

JITTER = 0.02  # standard deviation of a point about its stroke

# The curve runs from the snout over the head, neck and back to the tip of the tail.
BACK = (
    (3.86, 2.34), (3.80, 2.72), (3.46, 2.94), (3.14, 3.30), (2.62, 3.62), (2.04, 3.50),
    (1.68, 3.02), (1.56, 2.40), (1.40, 1.74), (1.04, 1.18), (0.45, 0.90), (-0.35, 0.90),
    (-1.08, 0.66), (-1.66, 0.18), (-2.14, -0.42), (-2.62, -0.84), (-3.08, -0.82),
    (-3.36, -0.44), (-3.38, 0.08), (-3.56, 0.60),
)  # fmt: skip

STROKES = {
    "back": BACK,
    "tail, hind leg and thigh": (
        (-3.56, 0.60), (-3.86, 0.10), (-3.92, -0.58), (-3.60, -1.20), (-3.02, -1.52),
        (-2.55, -1.66), (-2.22, -2.02), (-2.14, -2.50), (-2.18, -2.95), (-2.24, -3.25),
        (-2.04, -3.48), (-1.50, -3.52), (-0.96, -3.48), (-0.78, -3.24), (-0.88, -2.90),
        (-0.82, -2.62), (-0.62, -2.28), (-0.50, -1.80), (-0.56, -1.30), (-0.84, -0.84),
        (-1.30, -0.60), (-1.78, -0.72), (-2.04, -1.14),
    ),
    "far hind leg": (
        (-0.78, -3.24), (-0.45, -3.28), (-0.12, -3.26), (0.04, -3.08), (-0.03, -2.80), (0.0, -2.48),
    ),
    "belly": ((-0.76, -2.50), (-0.20, -2.52), (0.35, -2.42), (0.70, -2.24)),
    "front leg": (
        (0.62, -1.92), (0.70, -2.24), (0.70, -2.60), (0.66, -2.95), (0.58, -3.25), (0.78, -3.48),
        (1.30, -3.52), (1.82, -3.48), (2.02, -3.24), (1.92, -2.90), (1.92, -2.40), (2.02, -1.90),
        (1.98, -1.45),
    ),
    "jaw, throat, chest and far front leg": (
        (3.86, 2.34), (3.68, 1.92), (3.26, 1.72), (2.76, 1.66), (2.46, 1.36), (2.38, 0.80),
        (2.52, 0.16), (2.70, -0.50), (2.76, -1.20), (2.70, -1.90), (2.64, -2.50), (2.70, -2.88),
        (2.80, -3.08), (2.66, -3.26), (2.34, -3.28), (2.02, -3.24),
    ),
    "smile": ((3.72, 2.20), (3.40, 2.06), (3.04, 2.10), (2.74, 2.36)),
    "cheek": ((2.58, 2.30), (2.72, 2.39), (2.88, 2.40)),
    "brow": ((2.40, 3.27), (2.60, 3.37), (2.84, 3.33)),
}  # fmt: skip

TOE = ((-0.15, 0.0), (-0.11, 0.16), (0.0, 0.23), (0.11, 0.16), (0.15, 0.0))
TOES = ((-1.92, -3.5), (-1.50, -3.5), (-1.08, -3.5), (0.88, -3.5), (1.30, -3.5), (1.72, -3.5))

# Centre x, y and half-axes.
ELLIPSES = {
    "eye": (2.72, 2.88, 0.25, 0.30),
    "nostril": (3.56, 2.66, 0.05, 0.04),
    "spots": (
        (0.28, -0.05, 0.26, 0.22), (0.98, -0.42, 0.17, 0.16), (0.35, -0.85, 0.15, 0.14),
        (1.68, 0.42, 0.18, 0.16), (-0.32, 0.32, 0.13, 0.11),
    ),
    # The length of a ring grows with its radius, so rings at equal distances fill the pupil evenly.
    "pupil": tuple((2.78, 2.85, r, 1.2 * r) for r in (0.150, 0.124, 0.098, 0.072, 0.046, 0.020)),
}  # fmt: skip

# Distance of a plate's middle from the snout along the back, its width and its height.
PLATES = (
    (3.05, 0.40, 0.32), (3.68, 0.46, 0.38), (4.34, 0.50, 0.40), (5.02, 0.50, 0.36),
    (5.78, 0.66, 0.56), (6.62, 0.76, 0.70), (7.48, 0.76, 0.70), (8.26, 0.64, 0.56),
    (8.92, 0.52, 0.44), (9.48, 0.40, 0.31),
)  # fmt: skip


def spline(points, pieces: int = 10) -> np.ndarray:
    """Smooth curve through n points: the centripetal Catmull-Rom spline, f64[., 2].

    Centripetal knots (distance^1/2) allow neither cusps nor loops between two points.
    Barry & Goldman 1988; Yuksel et al. 2011, "Parameterization and applications of Catmull-Rom".
    """
    points = np.asarray(points, np.float64)
    ends = 2 * points[[0, -1]] - points[[1, -2]]  # extends the curve straight beyond its ends
    padded = np.concatenate([ends[:1], points, ends[1:]])
    knots = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(padded, axis=0), axis=1) ** 0.5)])

    def blend(a, b, i, j, t):  # the line from a at knot i to b at knot j
        return ((knots[j] - t) * a + (t - knots[i]) * b) / (knots[j] - knots[i])

    curve = []
    for i in range(len(points) - 1):
        t = np.linspace(knots[i + 1], knots[i + 2], pieces, endpoint=False)[:, None]
        a = [blend(padded[i + k], padded[i + k + 1], i + k, i + k + 1, t) for k in range(3)]
        b = [blend(a[k], a[k + 1], i + k, i + k + 2, t) for k in range(2)]
        curve.append(blend(b[0], b[1], i + 1, i + 2, t))
    return np.concatenate([*curve, points[-1:]])


def ellipse(x: float, y: float, half_width: float, half_height: float) -> np.ndarray:
    """Closed ellipse as 48 chords, f64[49, 2]."""
    angle = np.linspace(0, 2 * np.pi, 49)
    return np.stack([x + half_width * np.cos(angle), y + half_height * np.sin(angle)], axis=1)


def plate(curve: np.ndarray, middle: float, width: float, height: float) -> np.ndarray:
    """Pointed plate on the right side of `curve` at arc length `middle`, f64[., 2]."""
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    at = np.array([middle - width / 2, middle + width / 2])
    start, end = np.stack([np.interp(at, length, axis) for axis in curve.T], axis=1)
    along = (end - start) / np.linalg.norm(end - start)
    up = np.array([along[1], -along[0]])
    sides = ((-0.5, 0.0), (-0.40, 0.45), (0.04, 1.0)), ((0.04, 1.0), (0.48, 0.45), (0.5, 0.0))
    place = [(start + end) / 2 + np.outer(s[:, 0] * width, along) + np.outer(s[:, 1] * height, up)
             for s in map(np.array, sides)]  # fmt: skip
    return np.concatenate([spline(place[0]), spline(place[1])[1:]])


@cache
def segments() -> tuple[np.ndarray, np.ndarray]:
    """Straight pieces of the drawing: starts f32[S, 2] and steps f32[S, 2] to the ends."""
    back = spline(BACK)
    lines = [spline(stroke) for stroke in STROKES.values()]
    lines += [spline(np.array(TOE) + toe) for toe in TOES]
    lines += [ellipse(*row) for group in ELLIPSES.values() for row in np.reshape(group, (-1, 4))]
    lines += [plate(back, *row) for row in PLATES]
    starts = np.concatenate([line[:-1] for line in lines])
    steps = np.concatenate([np.diff(line, axis=0) for line in lines])
    return starts.astype(np.float32), steps.astype(np.float32)


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
