"""MMDs of many sets with a Gaussian kernel, ten times as fast as a sum over all pairs.

The mean kernel of two sets of points is the inner product of two small pictures, one for each set.
"""

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax import devices

NODES = 96  # nodes a side of the grid of the kernel sum, half a bandwidth apart


@jax.jit
@devices.float32_matmuls
def embed(points: jax.Array, centre: jax.Array, bandwidth: jax.Array) -> jax.Array:
    """The kernel mean embedding f32[NODES, NODES] of points f32[N, 2]: <embed x, embed y> = mean k.

    k(x, y) = exp(-|x - y|^2 / (2 b^2)) = 1 / (2 pi) sum_g exp(-|x - g|^2 / b^2 - |y - g|^2 / b^2)

    The sum is over nodes g of a grid with spacing b / 2. It is the trapezoidal rule for a product
    of Gaussians and exact to 1e-8. Each Gaussian is a product over the two axes, so N points take
    the product of two matrices N x NODES, a tenth of the time of all pairs. Points farther than
    21 b from the centre, which is 2.6 median distances of the member, are first moved to that
    border.
    """
    offset = (jnp.arange(NODES) - (NODES - 1) / 2) / 2  # in bandwidths
    # Gaussian products of points inside this border are negligible outside of the grid.
    border = offset[-1] - 2.75
    scaled = jnp.clip((points - centre) / bandwidth, -border, border)
    along_x, along_y = (jnp.exp(-((scaled[:, axis, None] - offset) ** 2)) for axis in (0, 1))
    return along_x.T @ along_y / (len(points) * np.sqrt(2 * np.pi))


def _distinct(mean: jax.Array, n: int) -> jax.Array:
    """Convert the mean over all pairs of n points to the mean over i != j; k(x, x) = 1."""
    return (n * mean - 1) / (n - 1)


def embed_reference(points: np.ndarray, bandwidth: np.ndarray):
    """(embedding, centre, self_kernel) of each member's points f32[K, R, 2]; bandwidth f32[K]."""
    centre = np.median(points, axis=1)
    members = zip(points, centre, bandwidth, strict=True)
    embedding = np.stack([embed(*member) for member in members])
    return embedding, centre, _distinct((embedding**2).sum((1, 2)), points.shape[1])


def _to_member(embedding, centre, bandwidth, self_kernel, points) -> jax.Array:
    of_set = embed(points, centre, bandwidth)
    within = _distinct((of_set**2).sum(), len(points))
    return within + self_kernel - 2 * (of_set * embedding).sum()


@jax.jit
def discrepancy(embedding, centre, bandwidth, self_kernel, sets) -> jax.Array:
    """Squared MMDs f32[B, K] of sets f32[B, N, 2] and K members; no units.

    MMD^2 = E k(X, X') + E k(Y, Y') - 2 E k(X, Y),   k(x, y) = exp(-|x - y|^2 / (2 b^2))

    X are points of the set and Y points of the member. The other arguments are fields of a
    `separation.Calibration`. Means over distinct points make this a U-statistic, which is 0 on
    average for sets of the member and may be negative. The sets are processed one by one, so
    memory does not grow with B. Gretton et al. 2012, equation 3.
    """
    members = (embedding, centre, bandwidth, self_kernel)
    to_all = jax.vmap(_to_member, (0, 0, 0, 0, None))
    return jax.lax.map(lambda points: to_all(*members, points), sets)


@jax.jit
def discrepancy_to_own_member(embedding, centre, bandwidth, self_kernel, sets) -> jax.Array:
    """Squared MMDs f32[K, B] of sets f32[K, B, N, 2] to the member of each set, in one program."""
    to_one = lambda a: jax.lax.map(lambda points: _to_member(*a[:4], points), a[4])
    return jax.lax.map(to_one, (embedding, centre, bandwidth, self_kernel, sets))
