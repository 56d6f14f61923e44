"""Gaussian mixtures in the plane, for which every quantity is known exactly.

    p_0(x) = sum_k w_k N(x; m_k, R_k diag(s_k^2) R_k^T)
    p_t(x) = sum_k w_k N(x; alpha m_k, R_k diag(alpha^2 s_k^2 + sigma^2) R_k^T)                (1)
    E[x_0 | x_t] = sum_k p(k | x_t) (m_k + R_k diag(alpha s_k^2 / (alpha^2 s_k^2 + sigma^2))
                                           R_k^T (x_t - alpha m_k))                            (2)

There is no network and no training, so every error with (2) is an error of the sampler or of the
likelihood.
"""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax.diffusion.process import Level
from tiny_diffusion_jax.point_sets import PointSets

CLEAN = Level(0.0, 1.0, 0.0)


@flax.struct.dataclass
class GaussianMixture:
    """K components with axes rotated by `angle`; all arrays float32."""

    weight: jax.Array  # f32[K], sums to 1
    mean: jax.Array  # f32[K, 2]
    std: jax.Array  # f32[K, 2], along the component's own axes
    angle: jax.Array  # f32[K], radians

    def draw(self, key: jax.Array, num_sets: int, num_points: int) -> PointSets:
        """Exact draws from p_0, f32[B, N, 2]; callable inside jit, as `Dataset.draw` is."""
        pick, noise = jax.random.split(key)
        shape = (num_sets, num_points)
        k = jax.random.categorical(pick, jnp.log(self.weight), shape=shape)
        own = self.std[k] * jax.random.normal(noise, (*shape, 2))
        return PointSets(self.mean[k] + jnp.einsum("...ij,...j->...i", self._axes()[k], own))

    def log_prob(self, x: jax.Array, level: Level = CLEAN) -> jax.Array:
        """log p_t(x) in nats f32[B, N], equation (1); x f32[B, N, 2], level scalars or f32[B]."""
        return jax.nn.logsumexp(self._log_joint(x, level)[0], axis=-1)

    def denoise(self, x_t: jax.Array, level: Level) -> jax.Array:
        """The ideal denoiser, equation (2); x_t f32[B, N, 2], level scalars or f32[B]."""
        log_joint, own, variance = self._log_joint(x_t, level)
        gain = _expand(level.alpha) * self.std**2 / variance
        x_0 = self.mean + jnp.einsum("kij,...kj->...ki", self._axes(), gain * own)
        return jnp.einsum("...k,...ki->...i", jax.nn.softmax(log_joint, axis=-1), x_0)

    def owner(self, x: jax.Array) -> jax.Array:
        """Component that each clean point most likely comes from, i32[B, N]."""
        return jnp.argmax(self._log_joint(x, CLEAN)[0], axis=-1)

    def _axes(self) -> jax.Array:
        """Rotation R_k, f32[K, 2, 2]; its columns are the axes of the component."""
        c, s = jnp.cos(self.angle), jnp.sin(self.angle)
        return jnp.stack([jnp.stack([c, -s], -1), jnp.stack([s, c], -1)], -2)

    def _log_joint(self, x: jax.Array, level: Level):
        """log p_t(k, x) [B, N, K]; R_k^T (x - alpha m_k) and its variance, both [B, N, K, 2]."""
        alpha, sigma = _expand(level.alpha), _expand(level.sigma)
        own = jnp.einsum("kji,...kj->...ki", self._axes(), x[..., None, :] - alpha * self.mean)
        variance = alpha**2 * self.std**2 + sigma**2
        log_normal = -0.5 * jnp.sum(own**2 / variance + jnp.log(2 * jnp.pi * variance), axis=-1)
        return jnp.log(self.weight) + log_normal, own, variance


def _expand(a) -> jax.Array:
    """A scalar, or one number per set [B], reshaped to broadcast with [B, N, K, 2]."""
    return jnp.asarray(a)[..., None, None, None]


def make_mixture(weight, mean, std, angle) -> GaussianMixture:
    """A mixture moved and scaled to mean 0 and mean variance 1, the units of the samplers."""
    weight, mean, std = (np.asarray(a, np.float64) for a in (weight, mean, std))
    weight = weight / weight.sum()
    mean = mean - weight @ mean
    scale = np.sqrt(0.5 * weight @ (mean**2 + std**2).sum(-1))
    arrays = weight, mean / scale, std / scale, angle
    return GaussianMixture(*(jnp.asarray(a, jnp.float32) for a in arrays))


def three_components() -> GaussianMixture:
    """A mixture with unequal weights, widths and directions, because symmetries hide errors."""
    return make_mixture(
        weight=[0.5, 0.3, 0.2],
        mean=[[-2.0, 0.5], [1.5, 2.0], [2.0, -2.0]],
        std=[[0.6, 0.25], [0.3, 0.3], [0.8, 0.4]],
        angle=[0.5, 0.0, -1.0],
    )


def one_gaussian(std: float) -> GaussianMixture:
    """N(0, std^2 I), not rescaled: its ODE has a solution in closed form."""
    array = lambda a: jnp.asarray(a, jnp.float32)
    return GaussianMixture(array([1.0]), array([[0.0, 0.0]]), array([[std, std]]), array([0.0]))


@flax.struct.dataclass
class MemberMixture:
    """Sets whose points all come from one of K members; each member is a mixture of Gaussians.

        p_t(X) = sum_k w_k prod_i p_kt(x_i),    p(k | X_t) ~ w_k prod_i p_kt(x_i)
        E[x_0i | X_t] = sum_k p(k | X_t) E_k[x_0 | x_ti]                                        (3)

    A network that sees one point at a time can at best learn (3) with p(k | x_ti) for p(k | X_t).
    """

    members: GaussianMixture  # arrays with a leading axis of length K
    weight: jax.Array  # f32[K], sums to 1

    def draw(self, key: jax.Array, num_sets: int, num_points: int) -> PointSets:
        """Exact draws, f32[B, N, 2]; the label of each set is its member."""
        pick, points = jax.random.split(key)
        label = jax.random.categorical(pick, jnp.log(self.weight), shape=(num_sets,))
        draw = lambda member, key: member.draw(key, 1, num_points).points[0]
        own = jax.tree.map(lambda a: a[label], self.members)
        points = jax.vmap(draw)(own, jax.random.split(points, num_sets))
        return PointSets(points, None, label)

    def log_prob(self, x: jax.Array, level: Level = CLEAN) -> jax.Array:
        """log p_t(X) of whole sets in nats, f32[B]; x f32[B, N, 2]."""
        return jax.nn.logsumexp(jnp.log(self.weight) + self._log_points(x, level).sum(1), axis=-1)

    def denoise(self, x_t: jax.Array, level: Level) -> jax.Array:
        """The ideal joint denoiser, equation (3); x_t f32[B, N, 2], level scalars or f32[B]."""
        log_joint = jnp.log(self.weight) + self._log_points(x_t, level).sum(1)
        return self._mean(x_t, level, jax.nn.softmax(log_joint, axis=-1)[:, None])

    def point_denoise(self, x_t: jax.Array, level: Level) -> jax.Array:
        """The ideal denoiser of single points: the denoiser of the mixture of all members."""
        log_joint = jnp.log(self.weight) + self._log_points(x_t, level)
        return self._mean(x_t, level, jax.nn.softmax(log_joint, axis=-1))

    def owner(self, x: jax.Array) -> jax.Array:
        """Member that each clean point most likely comes from, i32[B, N]."""
        return jnp.argmax(jnp.log(self.weight) + self._log_points(x, CLEAN), axis=-1)

    def _log_points(self, x: jax.Array, level: Level) -> jax.Array:
        """log p_kt(x_i), f32[B, N, K]."""
        return jax.vmap(lambda member: member.log_prob(x, level), out_axes=-1)(self.members)

    def _mean(self, x_t: jax.Array, level: Level, share: jax.Array) -> jax.Array:
        """sum_k share_k E_k[x_0 | x_t] with share f32[B, N or 1, K]."""
        x_0 = jax.vmap(lambda member: member.denoise(x_t, level), out_axes=-1)(self.members)
        return (x_0 * share[:, :, None]).sum(-1)


def three_members() -> MemberMixture:
    """A triangle of unequal corners, this triangle rotated by 40 degrees, three blobs in a row."""
    turns = 2 * np.pi * np.arange(3) / 3
    corners = lambda by: np.stack([np.cos(turns + by), np.sin(turns + by)], -1)
    triangle = lambda by: make_mixture(
        weight=[1, 2, 2], mean=corners(by), std=[[0.2, 0.05], [0.1, 0.1], [0.1, 0.1]], angle=turns
    )
    row = make_mixture(
        weight=[1, 1, 1], mean=[[-2, 0], [0, 0], [2, 0]], std=[[0.3, 0.3]] * 3, angle=[0.0] * 3
    )
    members = jax.tree.map(lambda *a: jnp.stack(a), triangle(0.0), triangle(np.deg2rad(40)), row)
    return MemberMixture(members, jnp.asarray([0.5, 0.3, 0.2], jnp.float32))
