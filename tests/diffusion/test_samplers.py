"""Check every sampler with the ideal denoiser, so that all errors are errors of the sampler."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from oracle import GaussianMixture, three_components

from tiny_diffusion_jax import diffusion
from tiny_diffusion_jax.diffusion.process import Level, make_process
from tiny_diffusion_jax.diffusion.samplers import SAMPLERS, make_sampler, sample, time_grid
from tiny_diffusion_jax.diffusion.schedules import FAMILIES, Schedule, make_schedule
from tiny_diffusion_jax.point_sets import PointSets

KEYS = jax.random.split(jax.random.key(4), 8)
DETERMINISTIC = ["ddim", "dpm++2m", "heun"]
posterior = jax.jit(diffusion.posterior)


@functools.partial(jax.jit, static_argnames=("name", "eta", "num_points", "keep_trajectory"))
def run(process, denoise, grid, keys, name, eta, num_points, keep_trajectory=False):
    sampler = make_sampler(name, eta)
    return sample(process, sampler, denoise, grid, keys, (num_points, 2), keep_trajectory)


@functools.partial(jax.jit, static_argnames=("name", "eta"))
def one_step(denoise, memory, x_t, t, s, noise, name, eta):
    return make_sampler(name, eta).step(denoise, memory, x_t, t, s, noise)


def prior_std(process) -> np.float32:
    """Standard deviation of x_T."""
    schedule = process.schedule
    return np.float32(process.prior(schedule.alpha[-1], schedule.sigma[-1])[1] ** 0.5)


def walk(process, denoise, grid, x_T, name, eta=0.0):
    """Sample step by step from a given x_T: one small program for every grid and schedule."""
    at = [level_at(process, t) for t in grid]
    x, memory = x_T, make_sampler(name, eta).init(x_T)
    for i in range(len(grid) - 1):
        memory, x = one_step(
            denoise, memory, x, at[i], at[i + 1], normal(i, *x_T.shape), name, eta
        )
    return np.asarray(x)


def level_at(process, t):
    """Level t in numpy, so that nothing is compiled."""
    schedule = process.schedule
    alpha, sigma = np.asarray(schedule.alpha)[t], np.asarray(schedule.sigma)[t]
    return Level(np.float32(t / schedule.num_levels), alpha, sigma)


def normal(seed, *shape):
    return np.float32(np.random.default_rng(seed).normal(size=shape))


@Partial
def tanh_denoiser(x_t, level):
    """A nonlinear function that compiles quickly."""
    return jnp.tanh(2 * x_t + level.alpha)


def known_x_0(x_0, x_t, level):
    return x_0


@Partial
def point_denoiser(x_t, level):
    """E[x_0 | x_t] for data at one point."""
    return jnp.broadcast_to(jnp.array([0.3, -2.0]), x_t.shape)


def normal_denoiser(std, x_t, level):
    """E[x_0 | x_t] for data N(0, std^2 I)."""
    return level.alpha * std**2 / (level.alpha**2 * std**2 + level.sigma**2) * x_t


def float64_levels(process):
    schedule = process.schedule
    return np.asarray(schedule.alpha, np.float64), np.asarray(schedule.sigma, np.float64)


# ---------------------------------------------------------------- against the exact answer


@jax.jit
def draw_and_denoise(mixture, key, level):
    """(real points, their denoised values after noising to `level`).

    The denoised values are the best result that a sampler can reach.
    """
    data_key, noise_key = jax.random.split(key)
    x_0 = mixture.draw(data_key, 1, 32_000).points
    x_t = diffusion.add_noise(level, x_0, jax.random.normal(noise_key, x_0.shape))
    return x_0[0], mixture.denoise(x_t, level)[0]


def distance(x, reference, num_directions=8):
    """Sliced W2 between `x` and a `reference` that has an integer multiple of its points.

    numpy is used because its sort is faster.
    """
    angle = np.pi * np.arange(num_directions) / num_directions
    directions = np.stack([np.cos(angle), np.sin(angle)])
    x = np.repeat(np.sort(x @ directions, axis=0), len(reference) // len(x), axis=0)
    return np.sqrt(np.mean((x - np.sort(reference @ directions, axis=0)) ** 2))


RUNS = [("ancestral", 0.0, 250), ("ddim", 0.0, 125), ("ddim", 0.5, 150), ("dpm++2m", 0.0, 40),
        ("heun", 0.0, 30), ("sde-dpm++2m", 0.0, 60)]
FEW = ("linear", "karras", "flow")


# The samplers of many steps run on three schedules here, and on the others in the slow tests.
@pytest.mark.parametrize(
    "sampler, eta, num_steps, name",
    [pytest.param(*run, name, marks=[pytest.mark.slow] * (run[2] > 60 and name not in FEW))
     for run in RUNS for name in FAMILIES if name != "student_cosine"]
    + [("ancestral", 0.0, 500, "student_cosine"), ("dpm++2m", 0.0, 40, "student_cosine")],
)  # fmt: skip
def test_the_ideal_denoiser_gives_back_the_mixture(sampler, eta, num_steps, name):
    mixture = three_components()
    levels, spacing = dict(num_levels=250, beta_min=4e-4, beta_max=0.08), "time"
    if name == "student_cosine":
        # This schedule adds most of its noise near the data. It needs small steps there, so few
        # steps must be spaced by log SNR.
        levels = dict(num_levels=500, beta_min=2e-4, beta_max=0.02)
        spacing = "time" if num_steps == 500 else "log_snr"
    process = make_process(make_schedule(name, **levels))
    grid = time_grid(process.schedule, num_steps, spacing)
    x = run(process, Partial(GaussianMixture.denoise, mixture), grid, KEYS, sampler, eta, 1000)
    assert x.shape == (8, 1000, 2) and x.dtype == jnp.float32
    x = np.asarray(x).reshape(-1, 2)

    last = process.level(jnp.int32(grid[-2]))
    clean, attainable = map(np.asarray, draw_and_denoise(mixture, jax.random.key(2), last))
    assert distance(x, attainable) < 0.065  # real draws: 0.034 +- 0.011
    if last.sigma / last.alpha < 0.05:  # otherwise the last step, to a mean, loses visible detail
        assert distance(x, clean) < 0.065
    share, expected = (
        np.bincount(np.asarray(mixture.owner(a[None]))[0], minlength=3) / len(a)
        for a in (x, attainable)
    )
    np.testing.assert_allclose(share, expected, atol=0.025)  # 4.5 standard errors
    np.testing.assert_allclose(x.mean(0), attainable.mean(0), atol=0.05)
    np.testing.assert_allclose(np.cov(x.T), np.cov(attainable.T), atol=0.07)


def ode_error(name, sampler, num_steps):
    """Relative distance from the closed form of the ODE for N(0, 0.25 I), from level T to 1.

    x / sqrt(0.25 alpha^2 + sigma^2) is constant along a trajectory.
    """
    options = dict(beta_min=1e-3, beta_max=0.05, sigma_min=0.02, sigma_max=20.0)
    process = make_process(make_schedule(name, 385, **options))
    grid = np.linspace(385, 1, num_steps + 1).astype(np.int32)
    x_T = prior_std(process) * normal(0, 1, 100, 2)
    x_1 = walk(process, Partial(normal_denoiser, 0.5), grid, x_T, sampler)
    alpha, sigma = float64_levels(process)
    spread = np.sqrt(0.25 * alpha**2 + sigma**2)
    exact = np.float64(x_T) * spread[1] / spread[385]
    return np.sqrt(np.mean((x_1 - exact) ** 2) / np.mean(exact**2))


@pytest.mark.parametrize("name", ["linear", "cosine", "karras", "flow"])
@pytest.mark.parametrize("sampler, order", [("ddim", 1), ("dpm++2m", 2), ("heun", 2)])
def test_deterministic_samplers_converge_at_their_order(sampler, order, name):
    coarse, fine = ode_error(name, sampler, 96), ode_error(name, sampler, 192)
    assert np.log2(coarse / fine) == pytest.approx(order, abs=0.25)
    assert fine < {"ddim": 0.02, "dpm++2m": 3e-3, "heun": 2e-4}[sampler]


@pytest.mark.parametrize("name", ["linear", "cosine", "flow"])
@pytest.mark.parametrize("sampler", ["ddim", "heun"])
def test_one_point_is_found_in_any_number_of_steps(sampler, name):
    """A single possible x_0 has the trajectory x_t = alpha x_0 + sigma eps, whatever the steps."""
    process = make_process(make_schedule(name, 50))
    x_T = normal(0, 2, 3, 2)
    for num_steps in (1, 5, 50):
        x = walk(process, point_denoiser, time_grid(process.schedule, num_steps), x_T, sampler)
        np.testing.assert_allclose(x, np.broadcast_to([0.3, -2.0], x.shape), atol=1e-5)


def test_heun_does_not_move_standard_normal_data():
    process = make_process(make_schedule("linear", 1000))
    x_T = normal(0, 2, 50, 2)
    x_1 = walk(process, Partial(normal_denoiser, 1.0), [1000, 700, 100, 1], x_T, "heun")
    np.testing.assert_allclose(x_1, x_T, atol=1e-5)


# ---------------------------------------------------------------- one step, by hand


@pytest.mark.parametrize("name", FAMILIES)
def test_ddim_with_eta_1_steps_to_a_draw_of_the_posterior(name):
    process = make_process(make_schedule(name, 100))
    x_0, eps, z = (normal(i, 2, 5, 2) for i in range(3))
    for s, t in [(0, 1), (0, 100), (1, 2), (1, 100), (30, 31), (20, 80), (99, 100)]:
        t, s = level_at(process, t), level_at(process, s)
        x_t = diffusion.add_noise(t, x_0, eps)
        _, x_s = one_step(Partial(known_x_0, x_0), (), x_t, t, s, z, "ddim", 1.0)
        mean, var = posterior(t, s, x_t, x_0)
        tolerance = 2e-5 * float(s.alpha + s.sigma)
        np.testing.assert_allclose(x_s, mean + np.sqrt(var) * z, atol=tolerance)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_first_step_of_the_stochastic_second_order_is_ancestral(name):
    """D is x_0_hat in the first step, which has no previous step, and in the step to clean data."""
    process = make_process(make_schedule(name, 100))
    x_t, z, previous = (normal(i, 2, 5, 2) for i in range(3))
    sde = make_sampler("sde-dpm++2m")
    assert sde.stochastic
    for t, s in [(100, 60), (60, 20), (2, 1), (20, 0)]:
        t, s = level_at(process, t), level_at(process, s)
        memory = sde.init(x_t) if s.sigma > 0 else (previous, jnp.float32(2.0))
        _, x_s = one_step(tanh_denoiser, memory, x_t, t, s, z, "sde-dpm++2m", 0.0)
        _, expected = one_step(tanh_denoiser, (), x_t, t, s, z, "ancestral", 0.0)
        np.testing.assert_allclose(x_s, expected, atol=2e-6 * float(s.alpha + s.sigma))


def test_the_stochastic_second_order_looks_back():
    """D = x_0_hat + (h / 2 h_prev) (x_0_hat - x_0_hat_prev), in float64."""
    process = make_process(make_schedule("cosine", 100))
    x_t, z = normal(0, 2, 5, 2), normal(1, 2, 5, 2)
    levels = [level_at(process, t) for t in (80, 50, 30)]
    step = lambda memory, x, t, s: one_step(
        tanh_denoiser, memory, x, t, s, z, "sde-dpm++2m", 0.0
    )
    memory, x_s = step(make_sampler("sde-dpm++2m").init(x_t), x_t, *levels[:2])
    _, x_r = step(memory, x_s, *levels[1:])
    (_, a0, s0), (_, a1, s1), (_, a2, s2) = (map(float, level) for level in levels)
    h_before, h = np.log(a1 * s0 / (s1 * a0)), np.log(a2 * s1 / (s2 * a1))
    old, new = (np.tanh(2 * np.float64(x) + a) for x, a in ((x_t, a0), (x_s, a1)))
    d = new + h / (2 * h_before) * (new - old)
    r = -np.expm1(-2 * h)
    expected = s2 / s1 * np.exp(-h) * np.float64(x_s) + a2 * r * d + s2 * np.sqrt(r) * z
    np.testing.assert_allclose(x_r, expected, atol=1e-5)
    assert np.abs(d - new).max() > 0.05


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_ddim_keeps_the_right_amount_of_noise(eta):
    """x_s given x_0 has mean alpha_s x_0 and variance sigma_s^2 for every eta."""
    process = make_process(make_schedule("cosine", 100))
    t, s = level_at(process, 70), level_at(process, 40)
    eps, z = normal(0, 1, 40_000, 2), normal(1, 1, 40_000, 2)
    denoise = Partial(known_x_0, np.float32(2.0))
    _, x_s = one_step(denoise, (), t.alpha * 2 + t.sigma * eps, t, s, z, "ddim", eta)
    x_s = np.asarray(x_s)
    assert float(x_s.mean()) == pytest.approx(2 * float(s.alpha), abs=0.01)
    assert float(x_s.var()) == pytest.approx(float(s.sigma) ** 2, rel=0.02)
    if eta < 1:  # the share of fresh noise grows with eta
        r = float(diffusion.noise_ratio(t, s))
        fresh = float(np.mean((x_s - x_s.mean()) * z))
        assert fresh == pytest.approx(eta * np.sqrt(r) * float(s.sigma), abs=0.01)


def test_ancestral_on_the_full_grid_is_ddpm_as_published():
    """Compare with algorithm 2 of arXiv 2006.11239, in float64, with the noise of the sampler."""
    T, std = 30, 0.5
    process = make_process(make_schedule("linear", T, beta_min=0.01, beta_max=0.3))
    key, n = jax.random.key(7), 20
    normal = lambda i: np.float64(jax.random.normal(jax.random.fold_in(key, i), (n, 2)))
    beta = np.linspace(0.01, 0.3, T)
    alpha_bar = np.cumprod(1 - beta)
    x = normal(0)
    for index, t in enumerate(reversed(range(T)), start=1):  # beta[t] belongs to level t + 1
        x_0 = np.sqrt(alpha_bar[t]) * std**2 / (alpha_bar[t] * std**2 + 1 - alpha_bar[t]) * x
        eps = (x - np.sqrt(alpha_bar[t]) * x_0) / np.sqrt(1 - alpha_bar[t])
        before = alpha_bar[t - 1] if t > 0 else 1.0
        variance = (1 - before) / (1 - alpha_bar[t]) * beta[t]
        x = (x - beta[t] / np.sqrt(1 - alpha_bar[t]) * eps) / np.sqrt(1 - beta[t])
        x = x + np.sqrt(variance) * normal(index)
    grid = time_grid(process.schedule, T)
    ours = run(process, Partial(normal_denoiser, std), grid, key[None], "ancestral", 0.0, n)
    np.testing.assert_allclose(ours[0], x, atol=2e-5)


@pytest.mark.parametrize("name", SAMPLERS)
def test_evaluations_are_counted_right(name):
    process = make_process(make_schedule("karras", 20))
    calls = []

    def denoise(x_t, level):
        calls.append(level)
        return 0.5 * x_t

    sampler, x_t = make_sampler(name), jnp.ones((1, 2, 2))
    levels = [level_at(process, t) for t in (20, 10, 0)]
    with jax.disable_jit():  # otherwise both branches of a lax.cond are traced
        memory, x_s = sampler.step(denoise, sampler.init(x_t), x_t, *levels[:2], x_t)
        assert len(calls) == sampler.evaluations
        calls.clear()
        sampler.step(denoise, memory, x_s, *levels[1:], x_t)
        assert len(calls) == 1  # the step to clean data calls the network once


# ---------------------------------------------------------------- structure


# one with noise, one with a memory of the previous step
@pytest.mark.parametrize("name", ["ddim", "dpm++2m"])
def test_a_batch_is_its_sets_one_by_one(name):
    process = make_process(make_schedule("cosine", 100))
    grid = time_grid(process.schedule, 10)
    draw = lambda keys: run(process, tanh_denoiser, grid, keys, name, 0.5, 7)
    together = draw(KEYS[:3])
    for b in range(3):
        np.testing.assert_allclose(together[b], draw(KEYS[b : b + 1])[0], atol=1e-5)
    np.testing.assert_array_equal(together, draw(KEYS[:3]))
    assert np.abs(together[0] - together[1]).max() > 0.1


@pytest.mark.parametrize("name", SAMPLERS)
def test_permuting_points_permutes_the_step(name):
    process = make_process(make_schedule("karras", 100))
    t, s = level_at(process, 60), level_at(process, 40)
    x_t, z = normal(0, 2, 5, 2), normal(1, 2, 5, 2)
    order, memory = np.array([3, 0, 1, 4, 2]), make_sampler(name).init(x_t)
    step = lambda x, z: np.asarray(one_step(tanh_denoiser, memory, x, t, s, z, name, 0.5)[1])
    moved = step(x_t[:, order], z[:, order])
    np.testing.assert_allclose(moved, step(x_t, z)[:, order], atol=1e-5)


@pytest.mark.parametrize("name", ["ddim", "dpm++2m"])
def test_the_trajectory_runs_from_the_noise_to_the_sample(name):
    process = make_process(make_schedule("cosine", 100), sigma_data=0.5)
    grid = time_grid(process.schedule, 10)
    trajectory = run(process, tanh_denoiser, grid, KEYS[:3], name, 0.5, 7, keep_trajectory=True)
    end = run(process, tanh_denoiser, grid, KEYS[:3], name, 0.5, 7)
    assert trajectory.shape == (11, 3, 7, 2)
    np.testing.assert_allclose(trajectory[-1], end, atol=1e-5)
    noise = jax.random.normal(jax.random.fold_in(KEYS[1], 0), (7, 2))
    np.testing.assert_allclose(trajectory[0, 1], prior_std(process) * noise, rtol=1e-5)
    # the last step leads to clean data, so it ends in the denoiser's output
    trajectory = np.asarray(trajectory)
    x_0_hat = np.tanh(2 * trajectory[-2] + level_at(process, grid[-2]).alpha)
    np.testing.assert_allclose(trajectory[-1], x_0_hat, atol=1e-5)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_deterministic_samplers_do_not_read_the_noise(name):
    sampler = make_sampler(name)
    assert not sampler.stochastic
    process = make_process(make_schedule("linear", 100))
    t, s = level_at(process, 60), level_at(process, 40)
    x_t = np.ones((2, 5, 2), np.float32)
    step = lambda z: one_step(tanh_denoiser, sampler.init(x_t), x_t, t, s, z, name, 0.0)[1]
    np.testing.assert_array_equal(step(np.zeros_like(x_t)), step(np.full_like(x_t, 9.0)))


@pytest.mark.parametrize("name", SAMPLERS)
def test_few_steps_are_finite(name):
    """Check T = 1, alpha_T = 0 and a single step: no sampler may divide 0 by 0."""
    for family in FAMILIES:
        process = make_process(make_schedule(family, 1))
        x_T = prior_std(process) * normal(0, 2, 5, 2)
        x = walk(process, tanh_denoiser, [1, 0], x_T, name, 0.5)
        # the single step ends in the denoiser's output
        x_0_hat = np.tanh(2 * x_T + level_at(process, 1).alpha)
        np.testing.assert_allclose(x, x_0_hat, atol=1e-5, err_msg=family)
        process = make_process(make_schedule(family, 30))
        for spacing in ("time", "log_snr"):
            grid = time_grid(process.schedule, 3, spacing)
            x = walk(process, tanh_denoiser, grid, x_T, name, 0.5)
            assert np.isfinite(x).all(), (family, spacing)


@pytest.mark.parametrize("name", ["ancestral", "sde-dpm++2m", "heun"])
def test_given_points_end_at_their_positions(name):
    process = make_process(make_schedule("karras", 100))
    grid = jnp.asarray(time_grid(process.schedule, 8))
    points = normal(9, 3, 6, 2)
    is_given = np.array([[True] * 6, [True, False, True, False, False, True], [False] * 6])

    def mean_denoiser(x_t, level):  # the output depends on all points of the set
        return 0.3 * tanh_denoiser(x_t, level) + x_t.mean(1, keepdims=True) / (1 + level.sigma)

    draw = jax.jit(lambda given: sample(
        process, make_sampler(name), mean_denoiser, grid, KEYS[:3], (6, 2), True, given
    ))
    trajectory, free = np.asarray(draw(PointSets(points, is_given))), np.asarray(draw(None))
    np.testing.assert_array_equal(trajectory[-1][is_given], points[is_given])
    # the third set has no given points
    np.testing.assert_allclose(trajectory[:, 2], free[:, 2], rtol=1e-5, atol=1e-5)
    # given points have the noise of each level, with fresh noise in every step
    alpha, sigma = float64_levels(process)
    at = np.asarray(grid)[:-1, None, None]
    eps = (trajectory[:-1, 0] - alpha[at] * points[0]) / sigma[at]
    assert 0.8 < np.std(eps) < 1.2
    assert np.abs(np.corrcoef(eps.reshape(len(eps), -1)) - np.eye(len(eps))).max() < 0.9
    # the other points are drawn conditionally on the given points
    assert np.abs(trajectory[-1, 1, 1] - free[-1, 1, 1]).max() > 0.01


def test_points_may_have_any_number_of_coordinates():
    """A latent of 5 numbers is one point in 5 dimensions; the Gaussian case is exact."""
    process = make_process(make_schedule("karras", 200), sigma_data=0.5)
    keys = jax.random.split(jax.random.key(1), 2000)
    grid = jnp.asarray(time_grid(process.schedule, 30))
    draw = jax.jit(lambda keys: sample(
        process, make_sampler("dpm++2m"), Partial(normal_denoiser, 0.5), grid, keys, (1, 5)
    ))
    x = np.asarray(draw(keys))[:, 0]
    assert x.shape == (2000, 5)
    np.testing.assert_allclose(np.cov(x.T), 0.25 * np.eye(5), atol=0.03)
    np.testing.assert_allclose(x.mean(0), 0, atol=0.05)


# ---------------------------------------------------------------- grids of levels


@pytest.mark.parametrize("spacing", ["time", "log_snr"])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_grid_goes_from_T_to_0_without_repeats(name, spacing):
    for T in (1, 2, 10, 1000):
        schedule = make_schedule(name, T)
        for num_steps in sorted({1, 2, 3, 7, T // 3, T - 1, T} & set(range(1, T + 1))):
            grid = time_grid(schedule, num_steps, spacing)
            assert grid.dtype == np.int32 and grid[0] == T and grid[-1] == 0
            assert np.all(np.diff(grid) < 0)
            assert len(grid) <= num_steps + 1
            if spacing == "time":
                assert len(grid) == num_steps + 1
                assert np.ptp(np.diff(grid)) <= 1  # as even as integers allow


def test_the_full_time_grid_visits_every_level():
    np.testing.assert_array_equal(time_grid(make_schedule("cosine", 12), 12), np.arange(12, -1, -1))


@pytest.mark.parametrize("name", FAMILIES)
def test_log_snr_spacing_is_even_in_log_snr(name):
    """Each level is one of the two neighbours of an evenly spaced level, and none is skipped."""
    T, num_steps = 1000, 12
    schedule = make_schedule(name, T)
    inner = time_grid(schedule, num_steps, "log_snr")[1:-1]
    log_snr = np.asarray(schedule.log_snr, np.float64)
    noisiest = log_snr[T] if np.isfinite(log_snr[T]) else log_snr[T - 1]
    targets = noisiest + (log_snr[1] - noisiest) * np.arange(1, num_steps) / (num_steps - 1)
    below = np.array([np.max(np.nonzero(log_snr >= target - 1e-6)) for target in targets])
    around = np.stack([below, below + 1])  # log SNR decreases with t
    assert inner[-1] == 1
    assert np.isin(inner, around).all()
    assert np.isin(around, [T, *inner]).any(axis=0).all()
    if name != "cosine":  # the last levels of `cosine` are too far apart for an even choice
        assert len(inner) == num_steps - 1


@pytest.mark.parametrize("name", FAMILIES)
def test_a_grid_may_end_before_the_least_noise(name):
    schedule = make_schedule(name, 1000)
    noise = np.exp(-0.5 * np.asarray(schedule.log_snr, np.float64))
    for sigma_min in (0.05, 0.3):
        grid = time_grid(schedule, 12, "log_snr", sigma_min)
        assert noise[grid[-2]] >= sigma_min > noise[grid[-2] - 1]
        steps = -np.diff(np.log(noise[grid[1:-1]]))
        if name == "karras":
            np.testing.assert_allclose(steps, steps.mean(), rtol=0.1)
    np.testing.assert_array_equal(time_grid(schedule, 12, "log_snr", noise[1] / 2),
                                  time_grid(schedule, 12, "log_snr"))  # fmt: skip


def test_a_grid_uses_the_schedule_and_not_its_name():
    """Log SNR is linear in t, so both spacings agree, except in the step to clean data."""
    nu = np.exp(np.linspace(-3, 3, 60))
    arrays = np.ones(61, np.float32), np.concatenate([[0], nu]).astype(np.float32)
    schedule = Schedule(*map(jnp.asarray, arrays))
    grid = time_grid(schedule, 60, "log_snr")
    np.testing.assert_array_equal(grid, np.arange(60, -1, -1))
