"""Show without a network why sets are superposed, using exact scores of a mixture of members.

With the joint score each set has one member, whatever the sampler. The score of single points is
the best that a per-point network can learn; it draws each set from all members at once.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import MemberMixture, three_members

from tiny_diffusion_jax.diffusion.process import Level, make_process
from tiny_diffusion_jax.diffusion.samplers import SAMPLERS, make_sampler, sample, time_grid
from tiny_diffusion_jax.diffusion.schedules import make_schedule

NUM_SETS, NUM_POINTS = 600, 16
WEIGHT = np.array([0.5, 0.3, 0.2])
STEPS = {"ancestral": 150, "ddim": 60, "sde-dpm++2m": 60}  # all other samplers take 30 steps


def members(mixture):
    """Members of a mixture, each as a mixture of Gaussians in numpy."""
    return [jax.tree.map(lambda a, k=k: np.asarray(a)[k], mixture.members) for k in range(3)]


def one_member(owner):
    """Share of sets whose points most likely all come from one member."""
    return (owner == owner[:, :1]).all(1).mean()


def fractions(owner):
    """Share of the points of each set that come from each member, [B, K]."""
    return np.stack([(owner == k).mean(1) for k in range(3)], axis=1)


@functools.cache
def real():
    """(sets, their labels, members of the points, log p(X)) of many draws."""
    mixture = three_members()
    sets = jax.jit(mixture.draw, static_argnums=(1, 2))(jax.random.key(1), 4000, NUM_POINTS)
    owner, log_prob = jax.jit(lambda x: (mixture.owner(x), mixture.log_prob(x)))(sets.points)
    return np.asarray(sets.points), np.asarray(sets.label), np.asarray(owner), np.asarray(log_prob)


@functools.cache
def generated(sampler, score):
    """(members of the points of generated sets, log p(X) of each set)."""
    mixture = three_members()
    process = make_process(make_schedule("karras", 1000))
    grid = time_grid(process.schedule, STEPS.get(sampler, 30))

    @jax.jit
    def draw(mixture, keys):
        denoise = functools.partial(getattr(MemberMixture, score), mixture)
        x = sample(process, make_sampler(sampler, 0.5), denoise, grid, keys, (NUM_POINTS, 2))
        return mixture.owner(x), mixture.log_prob(x)

    return tuple(map(np.asarray, draw(mixture, jax.random.split(jax.random.key(4), NUM_SETS))))


# ---------------------------------------------------------------- the oracle itself


def test_real_sets_have_one_member_each():

    points, label, owner, _ = real()
    assert points.shape == (4000, NUM_POINTS, 2)
    np.testing.assert_allclose(np.bincount(label) / 4000, WEIGHT, atol=0.03)
    assert (owner == label[:, None]).mean() > 0.95  # members overlap a little
    for k, member in enumerate(members(three_members())):
        of_member = points[label == k].reshape(-1, 2)
        np.testing.assert_allclose(of_member.mean(0), 0, atol=0.05)
        np.testing.assert_allclose(member.weight @ member.mean, 0, atol=1e-5)
        assert of_member.var(0).mean() == pytest.approx(1.0, abs=0.05)


def test_the_joint_density_is_the_sum_over_members():
    """Evaluate the density in float64, one number at a time."""
    mixture, level = three_members(), Level(jnp.float32(0.5), jnp.float32(0.8), jnp.float32(0.4))
    x = np.random.default_rng(0).normal(size=(2, 3, 2))
    total = np.zeros(2)
    for weight, member in zip(WEIGHT, members(mixture), strict=True):
        product = np.ones(2)
        for i in range(3):
            density = np.zeros(2)
            for w, mean, std, angle in zip(
                *(np.float64(a) for a in (member.weight, member.mean, member.std, member.angle)),
                strict=True,
            ):
                turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
                cov = 0.8**2 * turn @ np.diag(std**2) @ turn.T + 0.4**2 * np.eye(2)
                d = x[:, i] - 0.8 * mean
                quad = np.einsum("bi,ij,bj->b", d, np.linalg.inv(cov), d)
                density += w * np.exp(-quad / 2) / (2 * np.pi * np.sqrt(np.linalg.det(cov)))
            product *= density
        total += weight * product
    log_prob = jax.jit(mixture.log_prob)(jnp.float32(x), level)
    np.testing.assert_allclose(log_prob, np.log(total), rtol=1e-4)


@pytest.mark.parametrize("score", ["denoise", "point_denoise"])
def test_the_denoiser_is_the_gradient_of_its_density(score):
    """Tweedie: E[x_0 | x_t] = (x_t + sigma^2 grad log p_t(x_t)) / alpha, for sets and points."""
    mixture, level = three_members(), Level(jnp.float32(0.5), jnp.float32(0.9), jnp.float32(0.3))
    x_t = 0.7 * jax.random.normal(jax.random.key(3), (4, 5, 2))

    def log_prob(x):
        # each point becomes a set of one point
        x = x if score == "denoise" else x.reshape(-1, 1, 2)
        return mixture.log_prob(x, level).sum()

    slope = jax.jit(jax.grad(log_prob))(x_t)
    x_0 = jax.jit(getattr(mixture, score))(x_t, level)
    np.testing.assert_allclose(x_0, (x_t + 0.3**2 * slope) / 0.9, atol=2e-4)


def test_the_joint_denoiser_of_one_point_is_the_point_denoiser():
    mixture, level = three_members(), Level(jnp.float32(0.5), jnp.float32(0.9), jnp.float32(0.3))
    x_t = jax.random.normal(jax.random.key(3), (6, 4, 2))
    joint, point = jax.jit(mixture.denoise), jax.jit(mixture.point_denoise)
    alone = joint(x_t.reshape(-1, 1, 2), level).reshape(x_t.shape)
    np.testing.assert_allclose(alone, point(x_t, level), atol=1e-5)
    assert np.abs(joint(x_t, level) - point(x_t, level)).max() > 0.1
    np.testing.assert_allclose(joint(x_t[:, ::-1], level), joint(x_t, level)[:, ::-1], atol=1e-5)


# ---------------------------------------------------------------- the two scores, sampled


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "consistency"])
def test_with_the_joint_score_each_set_is_of_one_member(sampler):
    _, _, real_owner, real_log_prob = real()
    owner, log_prob = generated(sampler, "denoise")
    assert one_member(owner) == pytest.approx(one_member(real_owner), abs=0.06)
    share, real_share = fractions(owner), fractions(real_owner)
    np.testing.assert_allclose(share.mean(0), real_share.mean(0), atol=0.06)
    np.testing.assert_allclose(share.var(0), real_share.var(0), atol=0.035)
    # the sets are as likely as real sets, not only their members
    assert log_prob.mean() == pytest.approx(real_log_prob.mean(), abs=0.1 * NUM_POINTS)


@pytest.mark.parametrize("sampler", ["sde-dpm++2m", "dpm++2m"])
def test_with_the_score_of_a_point_each_set_is_a_superposition(sampler):
    _, _, real_owner, real_log_prob = real()
    owner, log_prob = generated(sampler, "point_denoise")
    assert one_member(owner) < 0.01 < 0.5 < one_member(real_owner)
    # each point is of member k with probability w_k, independent of all other points
    share, w = fractions(owner), fractions(real_owner).mean(0)
    np.testing.assert_allclose(share.mean(0), w, atol=0.02)
    np.testing.assert_allclose(share.var(0), w * (1 - w) / NUM_POINTS, rtol=0.2)
    assert log_prob.mean() < real_log_prob.mean() - NUM_POINTS
