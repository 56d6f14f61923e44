"""Compare noising, posterior, the four predictions and the loss with formulas derived by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import CLEAN, three_components

from tiny_diffusion_jax.diffusion import process as diffusion
from tiny_diffusion_jax.diffusion.process import Level, make_process
from tiny_diffusion_jax.diffusion.schedules import FAMILIES, make_schedule
from tiny_diffusion_jax.point_sets import Conditioning

T = 100
PREDICTIONS = list(diffusion.PREDICTIONS)
# eps-prediction is refused if alpha_T = 0
PAIRS = [(s, p) for s in FAMILIES for p in PREDICTIONS if (s, p) != ("flow", "eps")]


def float64_levels(process):
    """(alpha, sigma) of every level, as the library stores them."""
    schedule = process.schedule
    return np.asarray(schedule.alpha, np.float64), np.asarray(schedule.sigma, np.float64)


def normal(seed, *shape):
    return np.float32(np.random.default_rng(seed).normal(size=shape))


# compiled whole, because each operation would be a program
add_noise, posterior = jax.jit(diffusion.add_noise), jax.jit(diffusion.posterior)
coefficients = jax.jit(lambda process, level: process.coefficients(level))
level_of = jax.jit(lambda process, t: process.level(t))


def level_at(process, t):
    return level_of(process, np.int32(t))


# ---------------------------------------------------------------- the oracle itself


def test_oracle_density_is_the_mixture_of_scipy():
    from scipy.stats import multivariate_normal

    mixture = three_components()
    x = np.asarray(2 * normal(0, 1, 50, 2), np.float64)
    level = Level(0.5, 0.7, 0.4)
    expected = 0.0
    for w, m, s, a in zip(mixture.weight, mixture.mean, mixture.std, mixture.angle, strict=True):
        axes = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
        cov = 0.7**2 * axes @ np.diag(np.square(s)) @ axes.T + 0.4**2 * np.eye(2)
        expected += float(w) * multivariate_normal.pdf(x[0], 0.7 * np.asarray(m), cov)
    log_prob = jax.jit(lambda m, x: m.log_prob(x, level))(mixture, x)
    np.testing.assert_allclose(log_prob[0], np.log(expected), atol=2e-5)


@jax.jit
def oracle_answers(mixture, x_t, level):
    """(x_0_hat, score)."""
    score = jax.grad(lambda x: mixture.log_prob(x, level).sum())(x_t)
    return mixture.denoise(x_t, level), score


@pytest.mark.parametrize("alpha, sigma", [(1.0, 0.05), (0.8, 0.6), (1.0, 20.0), (0.01, 1.0)])
def test_oracle_denoiser_obeys_tweedie(alpha, sigma):
    """E[x_0 | x_t] = (x_t + sigma^2 grad log p_t) / alpha, with the score from autodiff."""
    mixture = three_components()
    level = Level(*np.float32([0.5, alpha, sigma]))
    draw = jax.jit(lambda mixture: mixture.draw(jax.random.key(1), 1, 64).points)
    x_t = alpha * np.asarray(draw(mixture)) + np.float32(sigma) * normal(2, 1, 64, 2)
    denoised, score = oracle_answers(mixture, x_t, level)
    tweedie = (np.asarray(x_t, np.float64) + sigma**2 * np.asarray(score, np.float64)) / alpha
    # an error of the score is multiplied by sigma^2 / alpha in x_0
    tolerance = 1e-5 + 3e-6 * sigma / alpha
    np.testing.assert_allclose(denoised, tweedie, atol=tolerance)


def test_oracle_draws_have_the_moments_of_the_mixture():
    mixture = three_components()
    draw = jax.jit(lambda m: m.draw(jax.random.key(3), 4, 50_000).points)
    x = np.asarray(draw(mixture)).reshape(-1, 2)
    assert np.abs(x.mean(0)).max() < 0.01 and abs(x.var(0).mean() - 1) < 0.01
    share = np.bincount(np.asarray(mixture.owner(x[None]))[0], minlength=3) / len(x)
    np.testing.assert_allclose(share, mixture.weight, atol=0.01)
    # draws from any other density have a lower mean log p
    log_prob = jax.jit(lambda m, x: m.log_prob(x[None], CLEAN).mean())
    assert log_prob(mixture, x) > log_prob(mixture, 1.05 * x) + 1e-3


# ---------------------------------------------------------------- q(x_t | x_0)


@pytest.mark.parametrize("name", FAMILIES)
def test_noised_data_has_the_mean_and_variance_of_its_level(name):
    process = make_process(make_schedule(name, T))
    alpha, sigma = float64_levels(process)
    x_0 = np.float32([1.5, -0.5])
    for t in (0, 1, 40, T):
        x_t = add_noise(level_at(process, t).expand(), x_0, normal(t, 40_000, 1, 2))
        x_t = np.asarray(x_t, np.float64)[:, 0]
        error = 0.02 * sigma[t] + 1e-6  # four standard errors of the mean
        np.testing.assert_allclose(x_t.mean(0), alpha[t] * np.asarray(x_0), atol=error)
        np.testing.assert_allclose(x_t.var(0), sigma[t] ** 2, rtol=0.03, atol=1e-12)
    assert level_at(process, 40).time == pytest.approx(0.4)


def test_each_set_has_its_own_level():
    process = make_process(make_schedule("linear", T))
    alpha, sigma = float64_levels(process)
    x_0, eps, t = normal(0, 3, 5, 2), normal(1, 3, 5, 2), np.array([1, 50, T])
    x_t = add_noise(level_at(process, t).expand(), x_0, eps)
    expected = alpha[t, None, None] * x_0 + sigma[t, None, None] * eps
    np.testing.assert_allclose(x_t, expected, rtol=1e-6, atol=1e-6)


# ---------------------------------------------------------------- the posterior


def conditioned(alpha, sigma, s, t, x_t, x_0):
    """x_s | x_t for the joint Gaussian (x_s, x_t) given x_0, by the standard formula.

    x_t = (alpha_t / alpha_s) x_s + fresh noise, so Cov(x_s, x_t) = (alpha_t / alpha_s) sigma_s^2.
    """
    covariance = alpha[t] / alpha[s] * sigma[s] ** 2
    gain = covariance / sigma[t] ** 2
    mean = alpha[s] * x_0 + gain * (x_t - alpha[t] * x_0)
    return mean, sigma[s] ** 2 - gain * covariance


@pytest.mark.parametrize("name", FAMILIES)
def test_posterior_is_gaussian_conditioning(name):
    process = make_process(make_schedule(name, T))
    alpha, sigma = float64_levels(process)
    rng = np.random.default_rng(0)
    pairs = [sorted(rng.choice(T + 1, 2, replace=False)) for _ in range(20)]
    pairs += [[0, 1], [0, T], [1, T], [T - 1, T], [40, 41]]
    for s, t in pairs:
        x_0 = rng.normal(size=(1, 8, 2))
        x_t = alpha[t] * x_0 + sigma[t] * rng.normal(size=x_0.shape)
        expected_mean, expected_var = conditioned(alpha, sigma, s, t, x_t, x_0)
        mean, var = posterior(
            level_at(process, t), level_at(process, s), np.float32(x_t), np.float32(x_0)
        )
        scale = alpha[s] + sigma[s]
        np.testing.assert_allclose(mean, expected_mean, atol=3e-5 * scale, err_msg=f"{s}, {t}")
        np.testing.assert_allclose(var, expected_var, rtol=2e-3, atol=1e-12, err_msg=f"{s}, {t}")


@pytest.mark.parametrize("name", FAMILIES)
def test_posterior_at_the_data_is_the_data(name):
    process = make_process(make_schedule(name, T))
    x_0, x_t = normal(0, 1, 8, 2), normal(1, 1, 8, 2)
    for t in (1, T):
        mean, var = posterior(level_at(process, t), level_at(process, 0), x_t, x_0)
        np.testing.assert_array_equal(mean, x_0)
        assert var == 0


def test_posterior_variance_is_ddpms_beta_tilde():
    """Expected: (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t) beta_t, arXiv 2006.11239, equation 7."""
    process = make_process(make_schedule("linear", T))
    beta = np.linspace(1e-4, 0.02, T)
    alpha_bar = np.concatenate([[1.0], np.cumprod(1 - beta)])
    expected = (1 - alpha_bar[:-1]) / (1 - alpha_bar[1:]) * beta
    t = np.arange(1, T + 1)
    zero = np.zeros(T, np.float32)
    _, var = posterior(level_at(process, t), level_at(process, t - 1), zero, zero)
    np.testing.assert_allclose(var, expected, rtol=1e-3)


def test_noise_ratio_and_eps():
    process = make_process(make_schedule("cosine", T))
    alpha, sigma = float64_levels(process)
    ratio = diffusion.noise_ratio(level_at(process, 60), level_at(process, 20))
    snr = (alpha / np.where(sigma == 0, 1, sigma)) ** 2
    assert ratio == pytest.approx(1 - snr[60] / snr[20], rel=1e-5)
    x_0, eps = normal(0, 1, 8, 2), normal(1, 1, 8, 2)
    level = level_at(process, 60)
    x_t = add_noise(level, x_0, eps)
    np.testing.assert_allclose(diffusion.eps_from_x0(level, x_t, x_0), eps, atol=1e-5)


# ---------------------------------------------------------------- what the network predicts


def network_target(prediction, alpha, sigma, sigma_data, x_0, eps):
    """Output F for which x_0_hat = x_0, from the definition of the prediction."""
    norm = np.sqrt(alpha**2 * sigma_data**2 + sigma**2)
    return {
        "eps": eps,
        "x0": x_0,
        "v": alpha * eps - sigma * x_0,
        # (x_0 - c_skip x_t) / c_out with EDM's three numbers multiplied out
        "edm": (sigma / sigma_data * x_0 - alpha * sigma_data * eps) / norm,
    }[prediction]


@pytest.mark.parametrize("sigma_data", [0.5, 1.0])
@pytest.mark.parametrize("name, prediction", PAIRS)
def test_a_perfect_network_recovers_the_clean_points(name, prediction, sigma_data):
    process = make_process(make_schedule(name, T), prediction, sigma_data=sigma_data)
    alpha, sigma = float64_levels(process)
    x_0, eps = np.float64(normal(0, 4, 8, 2)), np.float64(normal(1, 4, 8, 2))
    t = np.array([1, 20, 90, T])
    a, s = alpha[t, None, None], sigma[t, None, None]
    seen = {}

    def apply(params, x, time, _):
        seen.update(params=params, x=x, time=time)
        return np.float32(network_target(prediction, a, s, sigma_data, x_0, eps))

    denoise = diffusion.make_denoise(process, apply, "weights")
    x_t = a * x_0 + s * eps
    x_0_hat = denoise(np.float32(x_t), level_at(process, t))
    # at the noisiest level x_0 from eps multiplies the float32 error by sigma / alpha
    tolerance = 1e-5 + (1e-6 * (sigma / alpha)[t].max() if prediction == "eps" else 0.0)
    np.testing.assert_allclose(x_0_hat, x_0, atol=tolerance)
    c_in = 1 / np.sqrt(a**2 * sigma_data**2 + s**2) if prediction == "edm" else 1.0
    np.testing.assert_allclose(seen["x"], c_in * x_t, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(seen["time"], t / T, rtol=1e-6)
    assert seen["params"] == "weights"


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_denoising_one_level_for_all_sets_or_one_each(prediction):
    process = make_process(make_schedule("cosine", T), prediction)
    denoise = diffusion.make_denoise(
        process, lambda params, x, time, conditioning:
        jnp.tanh(x) + time[:, None, None] + conditioning.label, None, Conditioning(label=0.25),
    )  # fmt: skip
    x_t = normal(0, 3, 5, 2)
    one = denoise(x_t, level_at(process, 30))
    each = denoise(x_t, level_at(process, [30, 30, 30]))
    np.testing.assert_allclose(one, each, rtol=1e-6, atol=1e-6)
    c = coefficients(process, level_at(process, 30))
    by_hand = c.c_skip * x_t + c.c_out * (jnp.tanh(c.c_in * x_t) + 0.3 + 0.25)
    np.testing.assert_allclose(one, by_hand, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["linear", "quadratic", "student_cosine", "cosine"])
def test_edm_is_minus_v_where_variance_is_preserved(name):
    schedule = make_schedule(name, T)
    levels = level_at(make_process(schedule), np.arange(T + 1))
    edm = coefficients(make_process(schedule, "edm"), levels)
    v = coefficients(make_process(schedule, "v"), levels)
    np.testing.assert_allclose(edm.c_in, v.c_in, atol=1e-6)
    np.testing.assert_allclose(edm.c_skip, v.c_skip, atol=1e-6)
    np.testing.assert_allclose(edm.c_out, -v.c_out, atol=1e-6)


@pytest.mark.parametrize("sigma_data", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("name", FAMILIES)
def test_edm_sees_and_predicts_unit_variance(name, sigma_data):
    process = make_process(make_schedule(name, T), "edm", sigma_data=sigma_data)
    alpha, sigma = (a[1:] for a in float64_levels(process))
    c = coefficients(process, level_at(process, np.arange(1, T + 1)))
    c_in, c_skip, c_out = (np.float64(a) for a in c)
    variance_in = c_in**2 * (alpha**2 * sigma_data**2 + sigma**2)
    np.testing.assert_allclose(variance_in, 1, rtol=1e-5)
    # target = (x_0 - c_skip (alpha x_0 + sigma eps)) / c_out
    of_x_0, of_eps = (1 - c_skip * alpha) * sigma_data, c_skip * sigma
    np.testing.assert_allclose((of_x_0**2 + of_eps**2) / c_out**2, 1, rtol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_prior_is_the_spread_of_the_last_level(name):
    process = make_process(make_schedule(name, T), sigma_data=0.7)
    alpha, sigma = float64_levels(process)
    expected = np.sqrt(alpha[T] ** 2 * 0.49 + sigma[T] ** 2)
    _, variance = process.prior(process.schedule.alpha[-1], process.schedule.sigma[-1])
    assert float(variance) ** 0.5 == pytest.approx(expected, rel=1e-6)


# ---------------------------------------------------------------- the loss


def network(params, x, time, _):
    """Arbitrary output instead of a trained network."""
    return jnp.sin(3 * x) * params + time[:, None, None]


def squared_errors(process, x_0, eps, t, params):
    """Mean squares of F - target and of x_0_hat - x_0, per set, in float64."""
    alpha, sigma = (a[t, None, None] for a in float64_levels(process))
    x_0, eps = np.float64(x_0), np.float64(eps)
    x_t = alpha * x_0 + sigma * eps
    norm = np.sqrt(alpha**2 * process.sigma_data**2 + sigma**2)
    x = x_t / norm if process.prediction == "edm" else x_t
    output = np.sin(3 * x) * params + (t / T)[:, None, None]
    target = network_target(process.prediction, alpha, sigma, process.sigma_data, x_0, eps)
    slope = {"eps": -sigma / alpha, "x0": np.ones_like(alpha),
             "v": -sigma / (alpha**2 + sigma**2), "edm": sigma * process.sigma_data / norm}
    error = output - target
    of_x_0 = slope[process.prediction] * error  # x_0_hat is linear in F
    return (error**2).mean((1, 2)), (of_x_0**2).mean((1, 2))


def likelihood_weight(snr, t):
    """T / 2 (SNR_{t-1} - SNR_t), arXiv 2107.00630, equation 13; SNR_1 alone for t = 1."""
    return np.array([T / 2 * (snr[i - 1] - snr[i] if i > 1 else snr[i]) for i in t])


@pytest.mark.parametrize("weighting", diffusion.WEIGHTINGS)
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("name", ["linear", "karras"])
def test_loss_is_the_weighted_error(name, prediction, weighting):
    process = make_process(make_schedule(name, T), prediction, weighting, sigma_data=0.8)
    x_0, eps, t = normal(0, 5, 6, 2), normal(1, 5, 6, 2), np.array([1, 2, 30, 70, T])
    of_output, of_x_0 = squared_errors(process, x_0, eps, t, params=0.5)
    alpha, sigma = float64_levels(process)
    snr = (alpha[1:] / sigma[1:]) ** 2
    snr = np.concatenate([[np.inf], snr])
    expected = {
        "simple": of_output,
        "min_snr": np.minimum(snr[t], 5.0) * of_x_0,
        "likelihood": likelihood_weight(snr, t) * of_x_0,
    }[weighting]
    loss = diffusion.loss_per_set(process, network, 0.5, x_0, eps, jnp.asarray(t))
    assert loss.shape == (5,) and loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, expected, rtol=2e-3)


def test_simple_is_the_weight_that_cancels_c_out():
    """All three weightings are weights of |x_0_hat - x_0|^2; "simple" is 1 / c_out^2."""
    process = make_process(make_schedule("linear", T), "eps")
    alpha, sigma = float64_levels(process)
    t = np.array([1, 30, T])
    weight = diffusion.WEIGHTINGS["simple"](process, jnp.asarray(t))
    np.testing.assert_allclose(weight, (alpha[t] / sigma[t]) ** 2, rtol=1e-5)


@pytest.mark.parametrize("weighting", diffusion.WEIGHTINGS)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_loss_and_gradient_are_finite_at_every_level(prediction, weighting):
    t, x_0, eps = jnp.arange(1, 21), normal(0, 20, 3, 2), normal(1, 20, 3, 2)
    for name in FAMILIES:
        if (name, prediction) in PAIRS:
            process = make_process(make_schedule(name, 20), prediction, weighting)
            loss, slope = loss_and_slope(process, x_0, eps, t, None)
            assert np.isfinite(loss).all() and np.isfinite(slope), name


@jax.jit
def loss_and_slope(process, x_0, eps, t, mask):
    conditioning = Conditioning(mask=mask)
    loss = lambda w: diffusion.loss_per_set(process, network, w, x_0, eps, t, conditioning)
    return loss(0.5), jax.grad(lambda w: loss(w).sum())(0.5)


@pytest.mark.parametrize("weighting", ["simple", "min_snr"])
def test_padding_changes_nothing(weighting):
    process = make_process(make_schedule("cosine", T), "v", weighting)
    x_0, eps, t = normal(0, 3, 6, 2), normal(1, 3, 6, 2), jnp.array([5, 50, 95])
    sizes = [6, 4, 1]
    mask = jnp.arange(6) < jnp.array(sizes)[:, None]
    padded = jnp.where(mask[..., None], x_0, 1e3)
    loss, slope = loss_and_slope(process, x_0, eps, t, mask)
    np.testing.assert_array_equal(loss, loss_and_slope(process, padded, eps, t, mask)[0])
    assert slope == loss_and_slope(process, padded, eps, t, mask)[1]
    # mean over the real points: not a sum, and not a mean over all 6 slots
    for b, n in enumerate(sizes):
        of_output, of_x_0 = squared_errors(
            process, x_0[b : b + 1, :n], eps[b : b + 1, :n], np.asarray(t)[b : b + 1], 0.5
        )
        snr = np.asarray(process.schedule.snr, np.float64)[t[b]]
        expected = of_output if weighting == "simple" else min(snr, 5.0) * of_x_0
        np.testing.assert_allclose(loss[b], expected[0], rtol=1e-4)


def test_the_network_is_called_with_the_conditioning_and_the_target_of_forced_sets():
    process = make_process(make_schedule("cosine", T), "x0")
    x_0, t = normal(0, 2, 3, 2), jnp.array([5, 50])
    conditioning = Conditioning(mask=jnp.ones((2, 3), bool), label="seven")
    calls = []

    def apply(params, x, time, conditioning, **teacher):
        calls.append((time, conditioning, teacher))
        return x

    for forced in (None, jnp.array([True, False])):
        diffusion.loss_per_set(process, apply, None, x_0, x_0, t, conditioning, forced)
    (time, passed, nothing), (*_, teacher) = calls
    assert passed is conditioning and not nothing
    np.testing.assert_allclose(time, [0.05, 0.5])
    np.testing.assert_allclose(teacher["target"], x_0, atol=1e-6)  # x0-prediction
    np.testing.assert_array_equal(teacher["forced"], [True, False])



# ---------------------------------------------------------------- times


draw_times = jax.jit(diffusion.draw_times, static_argnums=(1, 2))


def test_times_are_uniform_on_1_to_T():
    t = np.asarray(draw_times(jax.random.key(0), (20_000, 5), 7))
    assert t.dtype == np.int32 and t.min() == 1 and t.max() == 7
    for column in t.T:  # each position in the batch is uniform
        share = np.bincount(column, minlength=8)[1:] / len(column)
        np.testing.assert_allclose(share, 1 / 7, atol=0.01)  # four standard errors


@pytest.mark.parametrize("batch, num_levels", [(100, 10), (32, 1000), (7, 3), (1, 50), (5, 1)])
def test_times_are_stratified(batch, num_levels):
    """Below any cut of 1..T lies the expected share of a batch, up to one draw."""
    t = np.asarray(draw_times(jax.random.key(1), (300, batch), num_levels))
    assert t.shape == (300, batch) and t.min() >= 1 and t.max() <= num_levels
    for cut in np.unique(np.linspace(1, num_levels, 20).astype(int)):
        below = (t <= cut).sum(axis=1)
        assert np.abs(below - batch * cut / num_levels).max() <= 1 + 1e-3
    if num_levels > 1:
        assert len(np.unique(t[:, 0])) > 1  # each batch has a different u


# ---------------------------------------------------------------- mistakes
