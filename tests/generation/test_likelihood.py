"""The likelihood of whole sets against closed forms, with networks that know the answer."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tiny_diffusion_jax as td
from tiny_diffusion_jax.data.base import make_dataset, single_density
from tiny_diffusion_jax.diffusion import make_process
from tiny_diffusion_jax.diffusion.schedules import make_schedule
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.experiment import Experiment
from tiny_diffusion_jax.models.layers import read_history
from tiny_diffusion_jax.models.traits import Traits

TAU, STEPS, N = 0.8, 40, 5
SETS = np.random.default_rng(0).normal(size=(6, N, 2)) + np.random.default_rng(1).normal(
    size=(6, 1, 2)
) * TAU
# To a noise beside which no mean of a conditional counts: log p ends in N(0, sigma_max^2).
PROCESS = make_process(
    make_schedule("karras", 400, sigma_min=0.002, sigma_max=1000.0), prediction="x0"
)


def dataset():
    data = make_dataset(single_density(lambda key, n: jax.random.normal(key, (n, 2))),
                        normalize=False)  # fmt: skip
    return data.replace(shift=jnp.array([0.5, -1.0]), scale=jnp.float32(2.0))


class Oracle(NamedTuple):
    """E[x_0 | x_t, the points before] of sets x_i = m + e_i, m ~ N(0, TAU^2), e ~ N(0, 1).

    Given k points of mean c the next is N(k TAU^2 c / (k TAU^2 + 1), 1 + TAU^2 / (k TAU^2 + 1)).
    With `members`: sets of N((3, 0), 1) or of N((-3, 0), 1), half and half.
    """

    way: str
    members: bool = False
    num_labels: int = 0
    counts: bool = False

    @property
    def traits(self):
        shown = "same_set" if self.way == "chain" else ""
        return Traits(self.way, 10, shown=shown)

    def apply(self, params, x, *args, method=None, **given):
        if method == "contexts":
            mask = jnp.arange(x.shape[1])[:, None] > jnp.arange(x.shape[1])  # [N, N]
            points = jnp.broadcast_to(x[:, None], (len(x), x.shape[1], *x.shape[1:]))
            return self.summary(points, mask)
        return self.denoise(x, *args, **given)

    def summary(self, points, mask):
        """(sum of the points there, their number) f32[..., 3]."""
        mask = jnp.broadcast_to(mask, points.shape[:-1])
        total = jnp.where(mask[..., None], points, 0).sum(-2)
        return jnp.concatenate([total, mask.sum(-1)[..., None].astype(jnp.float32)], axis=-1)

    def denoise(self, x, time, *, history=None, latent=None, **_):
        if latent is None:
            latent = self.summary(*read_history(history, len(x), 2))[:, None]
        index = time * PROCESS.schedule.num_levels
        table = jnp.arange(PROCESS.schedule.num_levels + 1.0)
        alpha, log_nu = (jnp.interp(index, table, a)[:, None, None] for a in (
            PROCESS.schedule.alpha, -0.5 * PROCESS.schedule.log_snr.at[0].set(20.0)))  # fmt: skip
        sigma = alpha * jnp.exp(log_nu)
        total, k = latent[..., :2], latent[..., 2:]
        if not self.members:
            mean = TAU**2 * total / (k * TAU**2 + 1)
            variance = 1 + TAU**2 / (k * TAU**2 + 1)
            return mean + variance * alpha / (variance * alpha**2 + sigma**2) * (x - alpha * mean)
        centre = jnp.array([3.0, 0.0])
        # log odds of the members, by the points before and by x_t itself
        odds = 2 * (total @ centre + (x @ centre) * alpha[..., 0] / (alpha**2 + sigma**2)[..., 0])
        shrink = alpha / (alpha**2 + sigma**2)
        sides = [s * centre + shrink * (x - alpha * s * centre) for s in (1, -1)]
        share = jax.nn.sigmoid(odds)[..., None]
        return share * sides[0] + (1 - share) * sides[1]


def log_normal(x, mean, variance):
    """f64[...] of x f64[..., 2]."""
    return -((x - mean) ** 2).sum(-1) / (2 * variance) - np.log(2 * np.pi * variance)


def exchangeable(sets):
    """log p(X) / N: each coordinate of a set is N(0, I + TAU^2 11^T)."""
    covariance = np.eye(N) + TAU**2
    quadratic = np.einsum("snd,nm,smd->s", sets, np.linalg.inv(covariance), sets)
    return (-0.5 * quadratic - N * np.log(2 * np.pi) - np.linalg.slogdet(covariance)[1]) / N


def two_members(sets):
    each = [log_normal(sets, np.array([s, 0.0]), 1.0).sum(-1) for s in (3, -3)]
    return (np.logaddexp(*each) - np.log(2)) / N


@pytest.mark.parametrize("way", ["chain", "causal"])
@pytest.mark.parametrize("members", [False, True])
def test_sets_of_a_known_law(way, members):
    config = td.default_config("history")
    setup = Experiment(config, dataset(), PROCESS, Oracle(way, members))
    z = SETS + members * np.array([3.0, 0.0]) * np.array([1, -1, 1, -1, 1, -1])[:, None, None]
    found = td.log_prob(setup, None, 2 * z + np.array([0.5, -1.0]), STEPS)
    expected = (two_members(z) if members else exchangeable(z)) - 2 * np.log(2)
    np.testing.assert_allclose(found, expected, atol=1e-2)


def test_points_that_are_missing_count_for_nothing():
    setup = Experiment(td.default_config("causal"), dataset(), PROCESS, Oracle("causal"))
    short = np.concatenate([SETS[:, :3], np.full((6, 2, 2), np.nan)], axis=1)
    found = td.log_prob(setup, None, short, STEPS)
    np.testing.assert_allclose(found, td.log_prob(setup, None, SETS[:, :3], STEPS), atol=1e-5)


def test_a_joint_model_has_none_yet():
    setup = Experiment(td.default_config("history"), dataset(), PROCESS, Oracle("joint"))
    with pytest.raises(UserError, match="config.model.name = 'history': must be one that draws"):
        td.log_prob(setup, None, SETS, STEPS)
