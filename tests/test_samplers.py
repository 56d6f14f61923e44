"""Every sampler, driven by the ideal denoiser: nothing is left to blame but the sampler."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import one_gaussian, three_components

from tiny_diffusion_jax import diffusion
from tiny_diffusion_jax.diffusion import make_process
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.metrics import sliced_wasserstein2
from tiny_diffusion_jax.samplers import SAMPLERS, ddim, make_sampler, sample, time_grid
from tiny_diffusion_jax.schedules import FAMILIES, Schedule, make_schedule

NUM_SETS, NUM_POINTS = 8, 1000
KEYS = jax.random.split(jax.random.key(1), NUM_SETS)
DETERMINISTIC = ["ddim", "dpm++2m", "heun"]


@functools.partial(jax.jit, static_argnames=("name", "eta", "num_points", "keep_trajectory"))
def run(process, mixture, grid, keys, name, eta, num_points, keep_trajectory=False):
    sampler = make_sampler(name, eta)
    return sample(process, sampler, mixture.denoise, grid, keys, num_points, keep_trajectory)


def float64_levels(process):
    schedule = process.schedule
    return np.asarray(schedule.alpha, np.float64), np.asarray(schedule.sigma, np.float64)


@functools.cache
def reference_draws():
    """Two independent real draws, and the distance between them: what no sampler can beat."""
    mixture = three_components()
    a, b = (mixture.draw(jax.random.key(seed), NUM_SETS, NUM_POINTS).points for seed in (2, 3))
    return a, float(distance(a, b))


@jax.jit
def distance(a, b):
    return jax.vmap(functools.partial(sliced_wasserstein2, num_projections=32))(a, b).mean()


# ---------------------------------------------------------------- against the exact answer


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(
    "sampler, eta, num_steps",
    [("ancestral", 0.0, 1000), ("ddim", 0.0, 100), ("ddim", 0.5, 250), ("dpm++2m", 0.0, 25),
     ("heun", 0.0, 25)],
)
def test_the_ideal_denoiser_gives_back_the_mixture(sampler, eta, num_steps, name):
    mixture = three_components()
    process = make_process(make_schedule(name, 1000))
    # The seed's cosine leaves its data at once: few steps must be placed by log SNR.
    spacing = "log_snr" if name == "seed_cosine" and num_steps < 1000 else "time"
    grid = time_grid(process.schedule, num_steps, spacing)
    x = run(process, mixture, grid, KEYS, sampler, eta, NUM_POINTS)
    assert x.shape == (NUM_SETS, NUM_POINTS, 2) and x.dtype == jnp.float32
    real, floor = reference_draws()
    assert distance(x, real) < 1.2 * floor

    flat = np.asarray(x, np.float64).reshape(-1, 2)
    weight, mean, std = (np.float64(a) for a in (mixture.weight, mixture.mean, mixture.std))
    share = np.bincount(np.asarray(mixture.owner(x)).ravel(), minlength=3) / len(flat)
    np.testing.assert_allclose(share, weight, atol=0.025)  # 4.5 standard errors
    np.testing.assert_allclose(flat.mean(0), 0, atol=0.05)
    axes = [np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) for a in mixture.angle]
    parts = [np.outer(m, m) + r @ np.diag(s**2) @ r.T
             for m, r, s in zip(mean, axes, std, strict=True)]
    covariance = np.einsum("k,kij->ij", weight, parts)
    np.testing.assert_allclose(np.cov(flat.T), covariance, atol=0.07)


def ode_error(name, sampler, num_steps):
    """Distance from the closed form of the ODE for N(0, 0.25 I), relative; from level T to 1.

    x / sqrt(0.25 alpha^2 + sigma^2) is constant along it.
    """
    options = dict(beta_min=1e-3, beta_max=0.05, sigma_min=0.02, sigma_max=20.0)
    process = make_process(make_schedule(name, 385, **options))
    grid = np.linspace(385, 1, num_steps + 1).astype(np.int32)
    way = run(process, one_gaussian(0.5), grid, KEYS[:2], sampler, 0.0, 50, keep_trajectory=True)
    alpha, sigma = float64_levels(process)
    spread = np.sqrt(0.25 * alpha**2 + sigma**2)
    exact = np.float64(way[0]) * spread[1] / spread[385]
    return np.sqrt(np.mean((way[-1] - exact) ** 2) / np.mean(exact**2))


@pytest.mark.parametrize("name", ["linear", "cosine", "karras", "flow"])
@pytest.mark.parametrize("sampler, order", [("ddim", 1), ("dpm++2m", 2), ("heun", 2)])
def test_deterministic_samplers_converge_at_their_order(sampler, order, name):
    coarse, fine = ode_error(name, sampler, 96), ode_error(name, sampler, 192)
    assert np.log2(coarse / fine) == pytest.approx(order, abs=0.25)
    assert fine < {"ddim": 0.02, "dpm++2m": 3e-3, "heun": 2e-4}[sampler]


@pytest.mark.parametrize("name", ["linear", "cosine", "flow"])
@pytest.mark.parametrize("sampler", ["ddim", "heun"])
def test_one_point_is_found_in_any_number_of_steps(sampler, name):
    """With one possible x_0 the path is x_t = alpha x_0 + sigma eps, whatever the steps."""
    process = make_process(make_schedule(name, 50))
    point = jnp.array([0.3, -2.0])
    denoise = lambda x_t, level: jnp.broadcast_to(point, x_t.shape)
    for num_steps in (1, 5, 50):
        grid = time_grid(process.schedule, num_steps)
        x = sample(process, make_sampler(sampler), denoise, grid, KEYS[:2], 3)
        np.testing.assert_allclose(x, np.broadcast_to(point, x.shape), atol=1e-5)


def test_heun_leaves_standard_normal_data_where_it_is():
    process = make_process(make_schedule("linear", 1000))
    grid = time_grid(process.schedule, 5)
    way = run(process, one_gaussian(1.0), grid, KEYS[:2], "heun", 0.0, 50, keep_trajectory=True)
    np.testing.assert_allclose(way[1:-1], np.broadcast_to(way[0], way[1:-1].shape), atol=1e-5)


# ---------------------------------------------------------------- one step, by hand


@pytest.mark.parametrize("name", FAMILIES)
def test_ddim_with_eta_1_steps_to_a_draw_of_the_posterior(name):
    process = make_process(make_schedule(name, 100))
    x_0, eps, z = (jax.random.normal(jax.random.key(i), (2, 5, 2)) for i in range(3))
    for s, t in [(0, 1), (0, 100), (1, 2), (1, 100), (30, 31), (20, 80), (99, 100)]:
        t, s = process.level(jnp.int32(t)), process.level(jnp.int32(s))
        x_t = diffusion.add_noise(t, x_0, eps)
        _, x_s = ddim(1.0).step(lambda x, level: x_0, (), x_t, t, s, z)
        mean, var = diffusion.posterior(t, s, x_t, x_0)
        tolerance = 2e-5 * float(s.alpha + s.sigma)
        np.testing.assert_allclose(x_s, mean + jnp.sqrt(var) * z, atol=tolerance)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_ddim_keeps_the_right_amount_of_noise(eta):
    """x_s given x_0 has mean alpha_s x_0 and variance sigma_s^2 for every eta."""
    process = make_process(make_schedule("cosine", 100))
    t, s = process.level(jnp.int32(70)), process.level(jnp.int32(40))
    eps, z = (jax.random.normal(jax.random.key(i), (1, 40_000, 2)) for i in range(2))
    _, x_s = ddim(eta).step(lambda x, level: 2.0, (), t.alpha * 2.0 + t.sigma * eps, t, s, z)
    assert float(x_s.mean()) == pytest.approx(2 * float(s.alpha), abs=0.01)
    assert float(x_s.var()) == pytest.approx(float(s.sigma) ** 2, rel=0.02)
    if eta < 1:  # and the share of fresh noise grows with eta
        r = float(diffusion.noise_ratio(t, s))
        fresh = float(jnp.mean((x_s - x_s.mean()) * z))
        assert fresh == pytest.approx(eta * np.sqrt(r) * float(s.sigma), abs=0.01)


def test_ancestral_on_the_full_grid_is_ddpm_as_published():
    """Algorithm 2 of arXiv 2006.11239, in float64, with the sampler's own noise."""
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
    ours = run(process, one_gaussian(std), grid, key[None], "ancestral", 0.0, n)
    np.testing.assert_allclose(ours[0], x, atol=2e-5)


@pytest.mark.parametrize("name", SAMPLERS)
def test_evaluations_are_counted_right(name):
    process = make_process(make_schedule("karras", 20))
    calls = []

    def denoise(x_t, level):
        calls.append(level)
        return 0.5 * x_t

    sampler = make_sampler(name)
    with jax.disable_jit():
        grid = time_grid(process.schedule, 4)
        sample(process, sampler, denoise, grid, KEYS[:1], 2)
    to_data = 1
    assert len(calls) == 3 * sampler.evaluations + to_data


# ---------------------------------------------------------------- structure


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_batch_is_its_sets_one_by_one(name):
    process = make_process(make_schedule("cosine", 100))
    grid = time_grid(process.schedule, 10)
    draw = lambda keys: run(process, three_components(), grid, keys, name, 0.5, 7)
    together = draw(KEYS[:3])
    for b in range(3):
        np.testing.assert_allclose(together[b], draw(KEYS[b : b + 1])[0], atol=1e-5)
    np.testing.assert_array_equal(together, draw(KEYS[:3]))
    assert np.abs(together[0] - together[1]).max() > 0.1


@pytest.mark.parametrize("name", SAMPLERS)
def test_permuting_points_permutes_the_step(name):
    process, mixture = make_process(make_schedule("karras", 100)), three_components()
    t, s = process.level(jnp.int32(60)), process.level(jnp.int32(40))
    x_t, z = (jax.random.normal(jax.random.key(i), (2, 6, 2)) for i in range(2))
    order = np.array([3, 0, 5, 1, 4, 2])
    sampler = make_sampler(name, 0.5)
    step = jax.jit(lambda x, z: sampler.step(mixture.denoise, sampler.init(x), x, t, s, z)[1])
    moved = step(x_t[:, order], z[:, order])
    np.testing.assert_allclose(moved, step(x_t, z)[:, order], atol=1e-5)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_trajectory_runs_from_the_noise_to_the_sample(name):
    process = make_process(make_schedule("karras", 100), sigma_data=0.5)
    grid = time_grid(process.schedule, 10)
    mixture = three_components()
    way = run(process, mixture, grid, KEYS, name, 0.5, 50, keep_trajectory=True)
    end = run(process, mixture, grid, KEYS, name, 0.5, 50)
    assert way.shape == (11, NUM_SETS, 50, 2)
    np.testing.assert_allclose(way[-1], end, atol=1e-6)
    noise = jax.random.normal(jax.random.fold_in(KEYS[3], 0), (50, 2))
    np.testing.assert_allclose(way[0, 3], np.hypot(0.5, 80) * noise, rtol=1e-5)
    spread = np.asarray(way).std((1, 2, 3))
    assert np.all(np.diff(spread) < 0.05)  # the noise only ever leaves


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_deterministic_samplers_do_not_read_the_noise(name):
    sampler = make_sampler(name)
    assert not sampler.stochastic
    process = make_process(make_schedule("linear", 100))
    t, s = process.level(jnp.int32(60)), process.level(jnp.int32(40))
    x_t = jnp.ones((1, 2, 2))
    step = lambda z: sampler.step(lambda x, level: 0.5 * x, sampler.init(x_t), x_t, t, s, z)[1]
    np.testing.assert_array_equal(step(jnp.zeros(())), step(jnp.full((1, 2, 2), 9.0)))


@pytest.mark.parametrize("spacing", ["time", "log_snr"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_any_number_of_steps_is_finite(name, spacing):
    """T = 1, alpha_T = 0, a single step: none may divide 0 by 0."""
    for family in FAMILIES:
        for num_levels, num_steps in [(1, 1), (2, 2), (30, 1), (30, 3)]:
            process = make_process(make_schedule(family, num_levels))
            grid = time_grid(process.schedule, num_steps, spacing)
            x = run(process, three_components(), grid, KEYS[:2], name, 0.5, 4)
            assert np.isfinite(x).all(), (family, num_levels, num_steps)
            if num_steps == 1:  # straight to the denoiser's answer
                x_T = process.prior_std * jax.vmap(
                    lambda key: jax.random.normal(jax.random.fold_in(key, 0), (4, 2))
                )(KEYS[:2])
                x_0_hat = three_components().denoise(x_T, process.level(jnp.int32(num_levels)))
                np.testing.assert_allclose(x, x_0_hat, atol=1e-5)


# ---------------------------------------------------------------- the levels visited


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
                assert np.ptp(np.diff(grid)) <= 1  # as even as whole numbers allow


def test_the_full_time_grid_visits_every_level():
    np.testing.assert_array_equal(time_grid(make_schedule("cosine", 12), 12), np.arange(12, -1, -1))


@pytest.mark.parametrize("name", FAMILIES)
def test_log_snr_spacing_is_even_in_log_snr(name):
    schedule = make_schedule(name, 10_000)
    grid = time_grid(schedule, 12, "log_snr")
    assert len(grid) == 13 and grid[-2] == 1
    log_snr = np.asarray(schedule.log_snr, np.float64)
    inner = log_snr[grid[1:-1]]  # the first step may start at -inf, the last ends at +inf
    steps = np.diff(inner)
    resolution = 2 * np.abs(np.diff(log_snr[1:-1])).max(initial=0, where=np.isfinite(
        np.diff(log_snr[1:-1])))
    np.testing.assert_allclose(steps, steps.mean(), atol=min(resolution, 0.3 * steps.mean()))


def test_a_grid_uses_the_schedule_and_not_its_name():
    """log SNR linear in t: both spacings agree, up to the step to clean data."""
    nu = np.exp(np.linspace(-3, 3, 60))
    arrays = np.ones(61, np.float32), np.concatenate([[0], nu]).astype(np.float32)
    schedule = Schedule(*map(jnp.asarray, arrays))
    grid = time_grid(schedule, 60, "log_snr")
    np.testing.assert_array_equal(grid, np.arange(60, -1, -1))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: make_sampler("euler"),
         "config.sample.sampler = 'euler': must be one of ancestral, ddim, dpm++2m, heun"),
        (lambda: make_sampler("ddim", 1.5), "config.sample.eta = 1.5: must be between 0"),
        (lambda: make_sampler("ddim", -0.1), "config.sample.eta = -0.1: must be between 0"),
        (lambda: make_sampler("ddim", float("nan")), "config.sample.eta = nan: must be"),
        (lambda: time_grid(make_schedule("flow", 10), 0),
         "config.sample.num_steps = 0: must be in 1..10"),
        (lambda: time_grid(make_schedule("flow", 10), 11),
         "config.sample.num_steps = 11: must be in 1..10"),
        (lambda: time_grid(make_schedule("flow", 10), 5, "even"),
         "config.sample.spacing = 'even': must be one of time, log_snr"),
    ],
)
def test_a_bad_request_is_named(make, message):
    with pytest.raises(UserError) as error:
        make()
    assert str(error.value).startswith(message)
