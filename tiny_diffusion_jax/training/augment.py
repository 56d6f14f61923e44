"""Augment sets by random shifts, rotations, scalings and reflections."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from tiny_diffusion_jax import devices


class Augment(NamedTuple):
    """x' = exp(scale u) R F x + shift v for all points x of a set, in normalised units.

    u and v are standard normal, R is a uniform rotation, and F is a mirror in half of the sets. R
    is a rotation in the units of the data only if all axes have the same scale
    (checks.check_augmentation).
    """

    shift: float = 0.0  # standard deviation of the shift along each axis
    rotate: bool = False  # in three dimensions about any axis
    scale: float = 0.0  # standard deviation of the log of the factor
    reflect: bool = False  # mirror the first coordinate in half of the sets


def make_augment(config) -> Augment | None:
    """Augmentation of `config`, the `data` part of a config; None: no augmentation."""
    augment = Augment(config.augment_shift, config.augment_rotate, config.augment_scale,
                      config.augment_reflect)  # fmt: skip
    return None if augment == Augment() else augment


@devices.float32_matmuls
def apply(augment: Augment, key: jax.Array, points: jax.Array) -> jax.Array:
    """Transform each set of points f32[..., N, D] by an independent random draw."""
    *outer, _, dim = points.shape
    shift_key, rotate_key, scale_key, reflect_key = jax.random.split(key, 4)
    if augment.reflect:
        sign = 1 - 2.0 * jax.random.bernoulli(reflect_key, shape=(*outer, 1))
        points = points.at[..., 0].multiply(sign)
    if augment.rotate:
        points = points @ random_rotations(rotate_key, tuple(outer), dim).mT
    if augment.scale:
        points = points * jnp.exp(augment.scale * jax.random.normal(scale_key, (*outer, 1, 1)))
    if augment.shift:
        points = points + augment.shift * jax.random.normal(shift_key, (*outer, 1, dim))
    return points


def random_rotations(key: jax.Array, shape: tuple[int, ...], dim: int) -> jax.Array:
    """Random rotations f32[*shape, dim, dim], uniform on the rotations of `dim` dimensions.

    Compute Q of the QR decomposition of a Gaussian matrix, with the diagonal of R made positive
    (Mezzadri 2007, arXiv math-ph/0609050). If the determinant is -1, change the sign of one column.
    """
    q, r = jnp.linalg.qr(jax.random.normal(key, (*shape, dim, dim)))
    q = q * jnp.sign(jnp.diagonal(r, axis1=-2, axis2=-1))[..., None, :]
    return q.at[..., 0].multiply(jnp.linalg.det(q)[..., None])
