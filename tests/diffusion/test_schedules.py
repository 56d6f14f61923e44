"""Compare every schedule with its published formula, computed independently in float64."""

import math

import jax
import numpy as np
import pytest

from tiny_diffusion_jax.diffusion.schedules import FAMILIES, TERMINAL_SNR_WARNING, make_schedule

VARIANCE_PRESERVING = ["linear", "quadratic", "student_cosine", "cosine"]
SIZES = [1, 2, 7, 50, 1000]


def alpha_sigma_from_betas(betas):
    """alpha_bar_t = prod_{i <= t} (1 - beta_i), one factor at a time."""
    alpha_bar = [1.0]
    for beta in betas:
        alpha_bar.append(alpha_bar[-1] * (1.0 - beta))
    alpha_bar = np.array(alpha_bar)
    return np.sqrt(alpha_bar), np.sqrt(1.0 - alpha_bar)


def linear(T, low=1e-4, high=0.02):
    steps = max(T - 1, 1)
    return alpha_sigma_from_betas([low + (high - low) * i / steps for i in range(T)])


def quadratic(T, low=1e-4, high=0.02):
    root = [low**0.5 + (high**0.5 - low**0.5) * i / max(T - 1, 1) for i in range(T)]
    return alpha_sigma_from_betas([r * r for r in root])


def student_cosine(T, low=1e-4, high=0.02):
    wave = [math.cos(math.pi * i / max(T - 1, 1)) for i in range(T)]
    return alpha_sigma_from_betas([low + (high - low) * (1 + w) / 2 for w in wave])


def cosine(T):
    """Published formula of alpha_bar; the clip beta <= 0.999 changes the last levels only."""
    f = lambda t: math.cos((t / T + 0.008) / 1.008 * math.pi / 2) ** 2
    alpha_bar = np.array([f(t) / f(0) for t in range(T + 1)])
    alpha_bar[T] = max(alpha_bar[T], 1e-3 * alpha_bar[T - 1])
    return np.sqrt(alpha_bar), np.sqrt(1 - alpha_bar)


def karras(T, low=0.002, high=80.0, rho=7.0):
    """Noise levels in the numbering of EDM: i = 0 is the noisiest level."""
    edm = [
        (high ** (1 / rho) + i / (T - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho
        for i in range(T)
    ] if T > 1 else [high]  # a single level is the noisiest level
    return np.ones(T + 1), np.array([0.0, *reversed(edm)])


def flow(T):
    return np.array([(T - t) / T for t in range(T + 1)]), np.array([t / T for t in range(T + 1)])


REFERENCES = dict(
    linear=linear, quadratic=quadratic, student_cosine=student_cosine, cosine=cosine, karras=karras,
    flow=flow,
)


def test_every_family_has_a_reference():
    assert REFERENCES.keys() == FAMILIES.keys()


@pytest.mark.parametrize("num_levels", SIZES)
@pytest.mark.parametrize("name", FAMILIES)
def test_alpha_and_sigma_are_the_published_formula(name, num_levels):
    schedule = make_schedule(name, num_levels)
    alpha, sigma = REFERENCES[name](num_levels)
    assert schedule.num_levels == num_levels
    assert schedule.alpha.dtype == schedule.sigma.dtype == np.float32
    assert schedule.alpha.shape == schedule.sigma.shape == (num_levels + 1,)
    np.testing.assert_allclose(schedule.alpha, alpha, rtol=1e-6, atol=1e-9)
    # relative tolerance also for small sigma, which 1 - alpha_bar in float32 would round to three
    # digits
    np.testing.assert_allclose(schedule.sigma, sigma, rtol=1e-6)


@pytest.mark.parametrize("name", ["linear", "quadratic", "student_cosine"])
def test_the_betas_given_are_the_betas_used(name):
    given = dict(beta_min=0.003, beta_max=0.4)
    schedule = make_schedule(name, 30, **given)
    alpha, sigma = REFERENCES[name](30, 0.003, 0.4)
    np.testing.assert_allclose(schedule.alpha, alpha, rtol=1e-6)
    np.testing.assert_allclose(schedule.sigma, sigma, rtol=1e-6)


def test_the_sigmas_given_are_the_sigmas_used():
    schedule = make_schedule("karras", 30, sigma_min=0.1, sigma_max=5.0, rho=3.0)
    np.testing.assert_allclose(schedule.sigma, karras(30, 0.1, 5.0, 3.0)[1], rtol=1e-6)
    assert float(schedule.sigma[1]) == pytest.approx(0.1, rel=1e-6)
    assert float(schedule.sigma[-1]) == pytest.approx(5.0, rel=1e-6)


@pytest.mark.parametrize("num_levels", SIZES)
@pytest.mark.parametrize("name", FAMILIES)
def test_level_0_is_the_data_and_noise_only_grows(name, num_levels):
    schedule = make_schedule(name, num_levels)
    assert schedule.alpha[0] == 1 and schedule.sigma[0] == 0
    assert np.isfinite(schedule.alpha).all() and np.isfinite(schedule.sigma).all()
    assert np.all(np.diff(schedule.sigma) >= 0) and np.all(np.diff(schedule.alpha) <= 0)
    log_snr = np.asarray(schedule.log_snr)
    assert log_snr[0] == np.inf and not np.isnan(log_snr).any()
    assert np.all(log_snr[1:] < log_snr[:-1])


@pytest.mark.parametrize("name", VARIANCE_PRESERVING)
def test_variance_is_preserved(name):
    schedule = make_schedule(name, 1000)
    total = np.asarray(schedule.alpha, np.float64) ** 2 + np.asarray(schedule.sigma) ** 2
    np.testing.assert_allclose(total, 1, atol=2e-7)


@pytest.mark.parametrize(
    "num_levels, alpha_bar, digits", [(50, 0.603, 3), (100, 0.364, 3), (250, 0.080, 3),
                                      (1000, 4e-5, 5)]
)
def test_too_few_linear_steps_leave_signal_in_the_noise(num_levels, alpha_bar, digits):
    schedule = make_schedule("linear", num_levels)
    assert round(float(schedule.alpha[-1] ** 2), digits) == alpha_bar
    warned = schedule.terminal_snr > TERMINAL_SNR_WARNING
    assert warned == (num_levels < 1000)


@pytest.mark.parametrize("name", FAMILIES)
def test_snr_and_log_snr_follow_from_alpha_and_sigma(name):
    schedule = make_schedule(name, 100)
    alpha, sigma = REFERENCES[name](100)
    with np.errstate(divide="ignore"):
        snr = (alpha / sigma) ** 2
        np.testing.assert_allclose(schedule.snr, snr, rtol=1e-5, atol=1e-12)
        np.testing.assert_allclose(schedule.log_snr, np.log(snr), rtol=1e-5, atol=1e-5)
    assert schedule.terminal_snr == pytest.approx(snr[-1], rel=1e-5, abs=1e-12)
    assert isinstance(schedule.terminal_snr, float)


def test_student_cosine_adds_most_of_its_noise_first():
    """beta decreases from beta_max, so log alpha_bar falls by more than half in the first half."""
    log_alpha_bar = np.log(make_schedule("student_cosine", 1000).alpha ** 2)
    beta = -np.expm1(np.diff(log_alpha_bar))
    assert beta[0] == pytest.approx(0.02, rel=1e-3) and beta[-1] == pytest.approx(1e-4, rel=0.1)
    assert log_alpha_bar[500] / log_alpha_bar[1000] > 0.8


def test_cosine_clips_the_last_beta():
    alpha_bar = np.asarray(make_schedule("cosine", 1000).alpha ** 2, np.float64)
    assert 1 - alpha_bar[-1] / alpha_bar[-2] == pytest.approx(0.999, rel=1e-5)
    assert 1 - alpha_bar[-2] / alpha_bar[-3] < 0.8


def test_flow_ends_in_pure_noise():
    schedule = make_schedule("flow", 8)
    assert schedule.alpha[-1] == 0 and schedule.sigma[-1] == 1
    assert schedule.terminal_snr == 0 and schedule.log_snr[-1] == -np.inf


def test_a_schedule_passes_through_jit():
    schedule = make_schedule("linear", 10)
    inside = jax.jit(lambda s: s.log_snr)(schedule)
    np.testing.assert_allclose(inside, schedule.log_snr, rtol=1e-5)
