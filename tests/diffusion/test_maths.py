"""Compare the samplers with the formulas of docs/ideas.md, evaluated in float64."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from tiny_diffusion_jax.diffusion.process import Level
from tiny_diffusion_jax.diffusion.samplers import SAMPLERS, make_sampler

MATHS = " ".join((Path(__file__).parents[2] / "docs" / "ideas.md").read_text().split())
# Formulas copied from the page; `documented` below implements them in numpy.
STEP = (r"x_s = \alpha_s D + \sqrt{\sigma_s^2 - \eta^2 r \sigma_s^2} \; \hat\epsilon_D + "
        r"\eta \sqrt{r} \sigma_s z , \qquad \hat\epsilon_D = (x_t - \alpha_t D) / \sigma_t .")
EXTRAPOLATED = r"D = \hat x_0 + \frac{h}{2 h'} (\hat x_0 - \hat x_0') ."
HEUN = (r"y_s = y_t + (\phi_s - \phi_t) \tfrac12 (\hat v_t + \hat v_s), \qquad "
        r"\hat v = \cos\phi \, \hat\epsilon - \sin\phi \, \hat x_0 .")
ETA = {"ancestral": 1.0, "ddim": 0.4, "dpm++2m": 0.0, "sde-dpm++2m": 1.0}
# (alpha, sigma) of three levels and of clean data. Alpha and sigma have no relation, so that a
# mistake cannot cancel.
LEVELS = np.array([[0.4, 1.3], [0.7, 0.8], [0.9, 0.3], [1.0, 0.0]])
X_T, NOISE = np.random.default_rng(0).normal(size=(2, 2, 3, 2))


def x_0_hat(x, alpha):
    return np.tanh(2 * x + alpha)


@Partial
def denoise(x_t, level):
    return jnp.tanh(2 * x_t + level.alpha)


def lam(alpha, sigma):
    return np.log(alpha / sigma)


def documented(name, x, before, previous, now, then):
    """x_s from x_t; `before` is (x_0_hat, level) of the previous step from level `previous`."""
    (a_t, s_t), (a_s, s_s) = now, then
    x_0 = x_0_hat(x, a_t)
    if name == "heun":
        return documented_heun(x, x_0, now, then)
    d = x_0
    if "2m" in name and before is not None and s_s > 0:
        h, h_before = lam(*then) - lam(*now), lam(*now) - lam(*previous)
        d = x_0 + h / (2 * h_before) * (x_0 - before)
    eta, r = ETA[name], 1 - (a_t / s_t) ** 2 * (s_s / a_s) ** 2
    eps_d = (x - a_t * d) / s_t
    return a_s * d + np.sqrt(s_s**2 - eta**2 * r * s_s**2) * eps_d + eta * np.sqrt(r) * s_s * NOISE


def documented_heun(x, x_0, now, then):
    (a_t, s_t), (a_s, s_s) = now, then
    euler = a_s * x_0 + s_s * (x - a_t * x_0) / s_t
    if s_s == 0:
        return euler

    def slope(x, x_0, alpha, sigma):
        phi = np.arctan(sigma / alpha)
        return np.cos(phi) * (x - alpha * x_0) / sigma - np.sin(phi) * x_0

    slopes = slope(x, x_0, a_t, s_t) + slope(euler, x_0_hat(euler, a_s), a_s, s_s)
    y = x / np.sqrt(a_t**2 + s_t**2) + (np.arctan(s_s / a_s) - np.arctan(s_t / a_t)) * slopes / 2
    return y * np.sqrt(a_s**2 + s_s**2)


@pytest.mark.parametrize("formula", [STEP, EXTRAPOLATED, HEUN])
def test_the_page_has_the_formulas_that_are_tested(formula):
    assert formula in MATHS


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "consistency"])
def test_every_sampler_is_the_formula_of_the_page(name):
    """Take three steps: the second-order samplers extrapolate once and end at clean data."""
    sampler = make_sampler(name, 0.4)
    x, found, before, previous = X_T, jnp.float32(X_T), None, None
    memory = sampler.init(found)
    for now, then in zip(LEVELS, LEVELS[1:], strict=False):
        t, s = (Level(jnp.float32(0), *jnp.float32(level)) for level in (now, then))
        memory, found = sampler.step(denoise, memory, found, t, s, jnp.float32(NOISE))
        next_x = documented(name, x, before, previous, now, then)
        before, previous, x = x_0_hat(x, now[0]), now, next_x
        np.testing.assert_allclose(found, x, atol=2e-5)
