"""Conversion of units: own units on the host, centred units on the device.

    own = centred + origin,    normalised = (centred - shift) / scale

The user's file is in own units. float32 holds 24 bits, so it rounds a coordinate by up to
2^-24 of its size: UTM coordinates (10^6 m) by 0.25 m, Unix times by a minute. Therefore the host
subtracts the origin in float64 before points become float32, and adds it in float64 afterwards.
Distances, and densities per unit area, are the same in both units.

An origin is a tuple of D numbers. If float32 represents own units well, the origin is (). Then both
units are equal, and nothing is converted.
"""

import math

import numpy as np

from tiny_diffusion_jax.errors import UserError

# float32 is precise enough if it rounds the largest number by at most 2^-12 of the standard
# deviation, an eighth of the least default noise (schedule.sigma_min = 0.002).
LARGEST = 2.0**12  # standard deviations
# Smallest range of a coordinate. Normal numbers of float32 begin at 1e-38, and smaller differences
# between points, down to 2^-12 of the range, must be normal too.
SMALLEST = 1e-33
DIGITS = 9  # significant digits that distinguish all float32 numbers


def check_spread(points: np.ndarray, per_axis: bool, path: str) -> None:
    """Raise UserError if float32 cannot hold the differences between points f64[P, D] of a file.

    per_axis: whether each coordinate is divided by its own scale, so that the narrowest counts.
    """
    spread = np.ptp(points, axis=0)
    spread = np.min(spread[spread > 0], initial=np.inf) if per_axis else spread.max()
    if 0 < spread < SMALLEST:
        raise UserError("config.data.path", path, f"at least {SMALLEST:g}, because numbers are "
                        "float32", "Write the points in other units",
                        problem=f"the points spread over {spread:.2g}")  # fmt: skip


def choose_origin(points: np.ndarray) -> tuple[float, ...]:
    """Choose an origin for points f64[P, D]: a rounded mean in each coordinate that needs one.

    A coordinate needs an origin if its largest number exceeds 2^12 of its standard deviations. A
    constant coordinate is compared with the spread of the other coordinates.
    """
    points = np.asarray(points, np.float64)
    changes = np.ptp(points, axis=0) > 0
    std = np.where(changes, points.std(0), 0.0)
    std = np.where(changes, std, np.sqrt(np.mean(std**2)))
    needs = (std > 0) & (np.abs(points).max(0) > LARGEST * std)
    if not needs.any():
        return ()
    return tuple(
        round(mean, -math.floor(math.log10(spread))) if needed else 0.0
        for mean, spread, needed in zip(points.mean(0).tolist(), std.tolist(), needs, strict=True)
    )


def to_centred(origin: tuple[float, ...], points) -> np.ndarray:
    """Convert points f[..., D] from own to centred units, f32[..., D]; no change without origin."""
    if not origin:
        return points
    return (np.asarray(points, np.float64) - origin).astype(np.float32)


def to_own(origin: tuple[float, ...], points) -> np.ndarray:
    """Convert points f[..., D] from centred to own units, f64[..., D]; no change without origin."""
    return np.asarray(points, np.float64) + origin if origin else points


def significant_digits(points: np.ndarray) -> int:
    """Number of digits for writing points f[..., D] in own units: 9, and more with an offset."""
    points = np.asarray(points)
    if points.dtype != np.float64:
        return DIGITS
    flat = points.reshape(-1, points.shape[-1])
    spread = np.nanmax(flat, axis=0) - np.nanmin(flat, axis=0)
    largest = np.nanmax(np.abs(flat), axis=0)
    ratio = np.max(largest[spread > 0] / spread[spread > 0], initial=1.0)
    return min(17, DIGITS + math.ceil(math.log10(ratio)))
