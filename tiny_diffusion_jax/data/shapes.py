"""Analytic densities, roughly in [-4, 4]^2: `sample(key, n) -> f32[n, 2]` and exact log densities.

A log density is exact in one of three ways. It is a closed form, or the closed form of a polyline
(the dinosaur), or an integral over a curve that is blurred by a Gaussian. The integral uses
Gauss-Legendre quadrature. Its error is below the error of float32 if nodes are about one standard
deviation apart.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax.data.densities import mixture_log_prob
from tiny_diffusion_jax.data.dinosaur import dino, dino_log_prob
from tiny_diffusion_jax.data.tree import tree, tree_log_prob


class Shape(NamedTuple):
    """A sampler of a density, and the log density."""

    sample: Callable[[jax.Array, int], jax.Array]  # (key, n) -> f32[n, 2]
    log_prob: Callable[[jax.Array], jax.Array]  # f32[..., 2] -> f32[...]


def _polar(radius, angle) -> jax.Array:
    return jnp.stack([radius * jnp.cos(angle), radius * jnp.sin(angle)], axis=-1)


def _blurred(key: jax.Array, points: jax.Array, std) -> jax.Array:
    return points + jnp.asarray(std) * jax.random.normal(key, points.shape)


def _blurred_curve_log_prob(curve: Callable, num_branches: int, std, nodes: int, points):
    """log of the mean over branches b and u in [0, 1] of N(points; curve(b, u), diag(std^2))."""
    u, weights = np.polynomial.legendre.leggauss(nodes)
    u, log_weights = (u + 1) / 2, np.log(weights / 2 / num_branches)
    centers = jnp.concatenate([curve(b, jnp.asarray(u, jnp.float32)) for b in range(num_branches)])
    log_weights = jnp.asarray(np.tile(log_weights, num_branches), jnp.float32)
    return mixture_log_prob(centers, std, log_weights, points)


# -- shapes of the student project --------------------------------------------------------------

MOONS_STD = (0.06, 0.09)  # noise of 0.03, with axes scaled by 2 and 3


def _moons_curve(branch, u):
    """Point on the upper (branch 0) or lower half circle, at the fraction u of its length."""
    x, y = jnp.cos(jnp.pi * u), jnp.sin(jnp.pi * u)
    x, y = jnp.where(branch == 0, x, 1 - x), jnp.where(branch == 0, y, 0.5 - y)
    return jnp.stack([2 * (x + 0.3) - 1, 3 * (y + 0.3) - 1], axis=-1)


def moons(key: jax.Array, num: int) -> jax.Array:
    """Draw two half circles with noise 0.03, then x -> 2 (x + 0.3) - 1, y -> 3 (y + 0.3) - 1.

    The points are independent draws. scikit-learn's `make_moons` has the same density, but its
    points are at equal steps along the arcs.
    """
    branch_key, u_key, noise_key = jax.random.split(key, 3)
    curve = _moons_curve(jax.random.randint(branch_key, (num,), 0, 2), _uniform(u_key, num))
    return _blurred(noise_key, curve, MOONS_STD)


moons_log_prob = partial(_blurred_curve_log_prob, _moons_curve, 2, MOONS_STD, 192)


CIRCLE_RADIUS, CIRCLE_MOVE = 3.0, 0.09


def circle(key: jax.Array, num: int) -> jax.Array:
    """Draw a ring of radius 3; each point moves by r ~ U(0, 0.09) in a uniform direction."""
    angle_key, radius_key, direction_key = jax.random.split(key, 3)
    ring = _polar(CIRCLE_RADIUS, 2 * jnp.pi * _uniform(angle_key, num))
    direction = 2 * jnp.pi * _uniform(direction_key, num)
    return ring + _polar(CIRCLE_MOVE * _uniform(radius_key, num), direction)


def circle_log_prob(points: jax.Array) -> jax.Array:
    """Log of the integral over the ring of 1 / (2 pi a rho), for distances rho < a = 0.09.

    With d = | |x| - R | and c = 4 R |x|, and up to a relative error of a^4 / c^2 = 5e-8,
        p(x) = [asinh(u / d) (1 - d^2 / 4 c) + a u / 4 c] / (pi^2 a sqrt(c)),    u^2 = a^2 - d^2.
    """
    radius, a = jnp.linalg.norm(points, axis=-1), CIRCLE_MOVE
    c = 4 * CIRCLE_RADIUS * jnp.maximum(radius, CIRCLE_RADIUS / 2)
    d = jnp.maximum(jnp.abs(radius - CIRCLE_RADIUS), 1e-7)  # the density is infinite at d = 0
    inside = d < a
    u = jnp.sqrt(jnp.where(inside, a**2 - d**2, 1.0))
    integral = jnp.arcsinh(u / d) * (1 - d**2 / (4 * c)) + a * u / (4 * c)
    return jnp.where(inside, jnp.log(integral / (jnp.pi**2 * a * jnp.sqrt(c))), -jnp.inf)


def line(key: jax.Array, num: int) -> jax.Array:
    """Draw a thick vertical line: uniform in [-2, 2] x [-4, 4]."""
    return jax.random.uniform(key, (num, 2), minval=-1.0) * jnp.array([2.0, 4.0])


def line_log_prob(points: jax.Array) -> jax.Array:
    """-log 32 inside [-2, 2] x [-4, 4], -inf outside."""
    inside = (jnp.abs(points) <= jnp.array([2.0, 4.0])).all(-1)
    return jnp.where(inside, -jnp.log(32.0), -jnp.inf)


# -- common toy densities -----------------------------------------------------------------------

EIGHT_STD = 0.2


def _eight_centers(index):
    return _polar(3.0, jnp.pi / 4 * index)


def eight_gaussians(key: jax.Array, num: int) -> jax.Array:
    """Draw eight Gaussians of standard deviation 0.2 at equal angles on a circle of radius 3."""
    index_key, noise_key = jax.random.split(key)
    centers = _eight_centers(jax.random.randint(index_key, (num,), 0, 8))
    return _blurred(noise_key, centers, EIGHT_STD)


def eight_gaussians_log_prob(points: jax.Array) -> jax.Array:
    """Log of the mean of the eight normal densities."""
    return mixture_log_prob(_eight_centers(jnp.arange(8)), EIGHT_STD, -jnp.log(8.0), points)


SPIRALS_STD = 0.08


def _spirals_curve(branch, u):
    """Point at angle 3 pi sqrt(u). Arc length is about angle^2, so the density is nearly even."""
    angle = 3 * jnp.pi * jnp.sqrt(u)
    return jnp.where(branch == 0, 1.0, -1.0)[..., None] * _polar(3.6 / (3 * jnp.pi) * angle, angle)


def two_spirals(key: jax.Array, num: int) -> jax.Array:
    """Draw two arms of an Archimedean spiral, point reflections of each other, with noise 0.08."""
    branch_key, u_key, noise_key = jax.random.split(key, 3)
    branch, u = jax.random.randint(branch_key, (num,), 0, 2), _uniform(u_key, num)
    return _blurred(noise_key, _spirals_curve(branch, u), SPIRALS_STD)


def two_spirals_log_prob(points: jax.Array) -> jax.Array:
    """Integral over v = sqrt(u) with weight 2 v, because the curve is smooth in v."""
    v, weights = np.polynomial.legendre.leggauss(320)
    v = (v + 1) / 2
    centers = jnp.concatenate([_spirals_curve(b, jnp.asarray(v**2)) for b in jnp.arange(2)])
    log_weights = jnp.asarray(np.tile(np.log(weights * v / 2), 2), jnp.float32)
    return mixture_log_prob(centers, SPIRALS_STD, log_weights, points)


PINWHEEL_ARMS, PINWHEEL_STD, PINWHEEL_TWIST, PINWHEEL_SIZE = 5, (0.3, 0.08), 0.4, 2.0


def _pinwheel_angle(radius, arm):
    return 2 * jnp.pi / PINWHEEL_ARMS * arm + PINWHEEL_TWIST * jnp.exp(radius)


def _rotate(points, angle):
    x, y, c, s = points[..., 0], points[..., 1], jnp.cos(angle), jnp.sin(angle)
    return jnp.stack([c * x - s * y, s * x + c * y], axis=-1)


def pinwheel(key: jax.Array, num: int) -> jax.Array:
    """Draw five blades N((1, 0), diag(0.3^2, 0.08^2)), twisted by 0.4 exp(radius), doubled.

    The twist rotates each circle about the origin. It preserves areas, so the density is exact.
    """
    arm_key, noise_key = jax.random.split(key)
    blade = _blurred(noise_key, jnp.tile(jnp.array([1.0, 0.0]), (num, 1)), PINWHEEL_STD)
    arm = jax.random.randint(arm_key, (num,), 0, PINWHEEL_ARMS)
    return PINWHEEL_SIZE * _rotate(blade, _pinwheel_angle(jnp.linalg.norm(blade, axis=-1), arm))


def pinwheel_log_prob(points: jax.Array) -> jax.Array:
    """Log of the mean over arms of the density of a blade at the untwisted point."""
    points = points[..., None, :] / PINWHEEL_SIZE
    angle = _pinwheel_angle(jnp.linalg.norm(points, axis=-1), jnp.arange(PINWHEEL_ARMS))
    std = jnp.array(PINWHEEL_STD)
    z = (_rotate(points, -angle) - jnp.array([1.0, 0.0])) / std
    log_norm = jnp.log(2 * jnp.pi * std.prod() * PINWHEEL_SIZE**2 * PINWHEEL_ARMS)
    return jax.nn.logsumexp(-0.5 * (z**2).sum(-1), axis=-1) - log_norm


def checkerboard(key: jax.Array, num: int) -> jax.Array:
    """Draw uniformly on the 8 dark squares of a 4 x 4 board on [-4, 4]^2; lower left is dark."""
    square_key, place_key = jax.random.split(key)
    square = jax.random.randint(square_key, (num,), 0, 8)
    row = square // 2
    column = 2 * (square % 2) + row % 2
    corner = 2.0 * jnp.stack([column, row], axis=-1) - 4
    return corner + 2 * jax.random.uniform(place_key, (num, 2))


def checkerboard_log_prob(points: jax.Array) -> jax.Array:
    """-log 32 on the dark squares, -inf elsewhere."""
    square = jnp.floor((points + 4) / 2)
    dark = (jnp.abs(points) <= 4).all(-1) & (square.sum(-1) % 2 == 0)
    return jnp.where(dark, -jnp.log(32.0), -jnp.inf)


RINGS_RADII, RINGS_STD = (0.9, 1.8, 2.7, 3.6), 0.08


def rings(key: jax.Array, num: int) -> jax.Array:
    """Draw four circles in proportion to their lengths, with noise 0.08."""
    radius_key, angle_key, noise_key = jax.random.split(key, 3)
    radii = jnp.array(RINGS_RADII)
    radius = radii[jax.random.categorical(radius_key, jnp.log(radii), shape=(num,))]
    return _blurred(noise_key, _polar(radius, 2 * jnp.pi * _uniform(angle_key, num)), RINGS_STD)


def rings_log_prob(points: jax.Array) -> jax.Array:
    """log sum_k w_k exp(-(r^2 + R_k^2) / 2 s^2) I_0(r R_k / s^2) / (2 pi s^2), I_0 by Bessel.

    The radius of a blurred circle has a Rice distribution, and the angle is uniform.
    """
    radii = jnp.array(RINGS_RADII)
    r = jnp.linalg.norm(points, axis=-1)[..., None]
    bessel = jnp.log(jax.scipy.special.i0e(r * radii / RINGS_STD**2))  # i0e(x) = exp(-x) I_0(x)
    log_rings = bessel - 0.5 * ((r - radii) / RINGS_STD) ** 2 + jnp.log(radii / radii.sum())
    return jax.nn.logsumexp(log_rings, axis=-1) - jnp.log(2 * jnp.pi * RINGS_STD**2)


SWISS_STD = 0.1


def _swiss_curve(branch, u):
    angle = 1.5 * jnp.pi * (1 + 2 * u)
    return _polar(angle / 3.6, angle)


def swiss_roll(key: jax.Array, num: int) -> jax.Array:
    """Draw a spiral, uniform in its angle 1.5 pi to 4.5 pi, radius angle / 3.6, noise 0.1."""
    u_key, noise_key = jax.random.split(key)
    return _blurred(noise_key, _swiss_curve(0, _uniform(u_key, num)), SWISS_STD)


swiss_roll_log_prob = partial(_blurred_curve_log_prob, _swiss_curve, 1, SWISS_STD, 384)


def _uniform(key: jax.Array, num: int) -> jax.Array:
    return jax.random.uniform(key, (num,))


SHAPES = {
    "moons": Shape(moons, moons_log_prob),
    "circle": Shape(circle, circle_log_prob),
    "line": Shape(line, line_log_prob),
    "eight_gaussians": Shape(eight_gaussians, eight_gaussians_log_prob),
    "two_spirals": Shape(two_spirals, two_spirals_log_prob),
    "pinwheel": Shape(pinwheel, pinwheel_log_prob),
    "checkerboard": Shape(checkerboard, checkerboard_log_prob),
    "rings": Shape(rings, rings_log_prob),
    "swiss_roll": Shape(swiss_roll, swiss_roll_log_prob),
    "dino": Shape(dino, dino_log_prob),
    "tree": Shape(tree, tree_log_prob),
}
