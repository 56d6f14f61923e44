"""Compare the likelihood of whole sets with closed forms, using exact denoisers as networks."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tiny_diffusion_jax as td
from tiny_diffusion_jax import sampling
from tiny_diffusion_jax.api import Experiment
from tiny_diffusion_jax.config import editable
from tiny_diffusion_jax.data.densities import make_dataset, single_density
from tiny_diffusion_jax.data.observed import from_observed
from tiny_diffusion_jax.diffusion import make_process
from tiny_diffusion_jax.diffusion.schedules import make_schedule
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.models.layers import read_history
from tiny_diffusion_jax.models.traits import Traits
from tiny_diffusion_jax.point_sets import Conditioning, PointSets
from tiny_diffusion_jax.reports.data import ReportData
from tiny_diffusion_jax.reports.sets import likelihood as set_likelihood
from tiny_diffusion_jax.reports.sets import scored_points
from tiny_diffusion_jax.scoring import log_prob_of_sets
from tiny_diffusion_jax.sets import joint, likelihood, strategy_of
from tiny_diffusion_jax.sets.order import out_of_order, parse_order

TAU, STEPS, N = 0.8, 40, 5
SETS = np.random.default_rng(0).normal(size=(6, N, 2)) + np.random.default_rng(1).normal(
    size=(6, 1, 2)
) * TAU
# The largest noise exceeds every conditional mean, so log p ends in N(0, sigma_max^2).
PROCESS = make_process(
    make_schedule("karras", 400, sigma_min=0.002, sigma_max=1000.0), prediction="x0"
)


def dataset():
    data = make_dataset(single_density(lambda key, n: jax.random.normal(key, (n, 2))),
                        normalize=False)  # fmt: skip
    return data.replace(shift=jnp.array([0.5, -1.0]), scale=jnp.float32(2.0))


def own_units(z):
    return 2 * z + np.array([0.5, -1.0])


def noise_to_signal(time):
    """(sigma / alpha)^2 f32[B, 1, 1] of PROCESS, in which alpha is 1 at all levels."""
    log_snr = PROCESS.schedule.log_snr.at[0].set(20.0)
    index, levels = time * PROCESS.schedule.num_levels, jnp.arange(len(log_snr))
    return jnp.exp(-jnp.interp(index, levels, log_snr))[:, None, None]


@dataclasses.dataclass(frozen=True)
class Oracle:
    """Exact E[x_0 | x_t, previous points] of sets x_i = m + e_i, m ~ N(0, TAU^2), e ~ N(0, 1).

    Given k points with mean c, the next point has the density
    N(k TAU^2 c / (k TAU^2 + 1), 1 + TAU^2 / (k TAU^2 + 1)).
    With `members`, half of the sets come from N((3, 0), 1) and half from N((-3, 0), 1).
    """

    strategy: str
    members: bool = False
    num_labels: int = 0
    counts: bool = False
    order = "random"
    coordinates = ("x", "y")

    @property
    def traits(self):
        source = "same_set" if self.strategy == "autoregressive" else ""
        return Traits(self.strategy, 10, history_source=source)

    def apply(self, params, x, *inputs, method=None):
        if method == "contexts":
            mask = jnp.arange(x.shape[1])[:, None] > jnp.arange(x.shape[1])  # [N, N]
            points = jnp.broadcast_to(x[:, None], (len(x), x.shape[1], *x.shape[1:]))
            return self.summary(points, mask)
        return self.denoise(x, *inputs)

    def summary(self, points, mask):
        """(sum of the real points, their number) f32[..., 3]."""
        mask = jnp.broadcast_to(mask, points.shape[:-1])
        total = jnp.where(mask[..., None], points, 0).sum(-2)
        return jnp.concatenate([total, mask.sum(-1)[..., None].astype(jnp.float32)], axis=-1)

    def denoise(self, x, time, conditioning):
        latent = conditioning.latent
        if latent is None:
            latent = self.summary(*read_history(conditioning.history, len(x), 2))[:, None]
        noise, total, k = noise_to_signal(time), latent[..., :2], latent[..., 2:]
        if not self.members:
            mean = TAU**2 * total / (k * TAU**2 + 1)
            variance = 1 + TAU**2 / (k * TAU**2 + 1)
            return mean + variance / (variance + noise) * (x - mean)
        centre = jnp.array([3.0, 0.0])
        # log odds of the members, given the previous points and x_t
        odds = 2 * (total + x / (1 + noise)) @ centre
        sides = [s * centre + (x - s * centre) / (1 + noise) for s in (1, -1)]
        share = jax.nn.sigmoid(odds)[..., None]
        return share * sides[0] + (1 - share) * sides[1]


def log_normal(x, mean, variance):
    """Log density f64[...] of x f64[..., 2]."""
    return -((x - mean) ** 2).sum(-1) / (2 * variance) - np.log(2 * np.pi * variance)


def exchangeable(sets):
    """log p(X) / N if each coordinate of a set is N(0, I + TAU^2 11^T)."""
    n = sets.shape[1]
    covariance = np.eye(n) + TAU**2
    quadratic = np.einsum("snd,nm,smd->s", sets, np.linalg.inv(covariance), sets)
    return (-0.5 * quadratic - n * np.log(2 * np.pi) - np.linalg.slogdet(covariance)[1]) / n


def truth(strategy, z):
    """log p(X) / n of sets around 0, in own units."""
    independent = log_normal(z, 0.0, 1 + TAU**2).mean(1)
    return (independent if strategy == "independent" else exchangeable(z)) - 2 * np.log(2)


def two_members(sets):
    each = [log_normal(sets, np.array([s, 0.0]), 1.0).sum(-1) for s in (3, -3)]
    return (np.logaddexp(*each) - np.log(2)) / N


@pytest.mark.parametrize("strategy", ["autoregressive", "causal"])
@pytest.mark.parametrize("members", [False, True])
def test_sets_of_a_known_density(strategy, members):
    config = td.default_config("history")
    setup = Experiment(config, dataset(), PROCESS, Oracle(strategy, members))
    z = SETS + members * np.array([3.0, 0.0]) * np.array([1, -1, 1, -1, 1, -1])[:, None, None]
    log_p = td.log_prob(setup, None, own_units(z), STEPS)
    expected = (two_members(z) if members else exchangeable(z)) - 2 * np.log(2)
    np.testing.assert_allclose(log_p, expected, atol=1e-2)


def test_padding_does_not_count():
    setup = Experiment(td.default_config("causal"), dataset(), PROCESS, Oracle("causal"))
    short = np.concatenate([SETS[:, :3], np.full((6, 2, 2), np.nan)], axis=1)
    log_p = td.log_prob(setup, None, short, STEPS)
    np.testing.assert_allclose(log_p, td.log_prob(setup, None, SETS[:, :3], STEPS), atol=1e-5)


def test_the_density_of_all_orders_is_a_mean():
    """All orders of an exchangeable set have the same density, so their mean has no spread."""
    setup = Experiment(td.default_config("causal"), dataset(), PROCESS, Oracle("causal"))
    short = np.concatenate([SETS[:, :3], np.full((6, 2, 2), np.nan)], axis=1)
    log_p, spread = log_prob_of_sets(setup, None, short, STEPS, draws=3)
    np.testing.assert_allclose(log_p, td.log_prob(setup, None, short, STEPS), atol=2e-3)
    assert (spread < 2e-3).all()


class Rows(Oracle):
    """Sets of one point of N((0, 3), 0.2^2) and one of N((0, -3), 0.2^2), the upper point first.

    Without an order, such a set has half of this density.
    """

    order, given_share = "rows:1", 0.0

    def denoise(self, x, time, conditioning):
        mean = jnp.array([0.0, 3.0]) * (1 - 2 * conditioning.latent[..., 2:])
        return mean + 0.04 / (0.04 + noise_to_signal(time)) * (x - mean)


@pytest.mark.parametrize("draws", [1, 3])
def test_all_orders_of_points_in_rows_have_the_same_density(draws):
    data = dataset().replace(shift=jnp.zeros(2), scale=jnp.float32(1.0))
    setup = Experiment(td.default_config("causal"), data, PROCESS, Rows("causal"))
    sets = 0.2 * np.random.default_rng(3).normal(size=(4, 2, 2)) + np.array([[0, 3], [0, -3]])
    each = log_normal(sets, np.array([[0, 3], [0, -3]]), 0.04).sum(-1)
    sets[::2] = sets[::2, ::-1]
    log_p = log_prob_of_sets(setup, None, sets, 200, draws=draws).log_p
    np.testing.assert_allclose(log_p, (each - np.log(2)) / 2, atol=1e-2)
    with_padding = np.concatenate([sets, np.full((4, 1, 2), np.nan)], axis=1)
    padded_log_p = log_prob_of_sets(setup, None, with_padding, 200).log_p
    np.testing.assert_allclose(padded_log_p, log_p, atol=1e-5)


@pytest.mark.parametrize("strategy", ["autoregressive", "causal"])
def test_the_density_given_the_first_points_is_a_quotient(strategy):
    setup = Experiment(td.default_config("causal"), dataset(), PROCESS, Oracle(strategy))
    short = np.concatenate([SETS[:, :4], np.full((6, 2, 2), np.nan)], axis=1)
    whole, first, rest = (td.log_prob(setup, None, sets, STEPS, num_given=h) * n for sets, h, n in (
        (short, 0, 4), (SETS[:, :3], 0, 3), (short, 3, 1)))  # fmt: skip
    np.testing.assert_allclose(rest, whole - first, atol=1e-4)


def test_the_density_of_rows_given_a_point_has_the_orders_of_the_others():
    """log q is the same in both cases, and N! becomes (N - 1)!."""
    data = dataset().replace(shift=jnp.zeros(2), scale=jnp.float32(1.0))
    setup = Experiment(td.default_config("causal"), data, PROCESS, RowsWithGiven("causal"))
    points = np.array([[[0.0, -3.0], [0.1, 3.0], [0.2, -2.9]]])  # a given point of the last row
    log_p = td.log_prob(setup, None, points, 200, num_given=1) * 2
    expected = log_normal(points[:, 1:], np.array([[0, 3], [0, -3]]), 0.04).sum(-1) - np.log(2)
    np.testing.assert_allclose(log_p, expected, atol=2e-2)


def test_points_can_be_given_only_to_models_that_generate_point_by_point():
    score = lambda model, sets, h: td.log_prob(
        Experiment(td.default_config("causal"), dataset(), PROCESS, model), None, sets, 2,
        num_given=h)  # fmt: skip
    with pytest.raises(UserError, match=r"num_given = 5: must be in 0..4"):
        score(Oracle("causal"), SETS, 5)
    with pytest.raises(UserError, match="num_given = 1: must be 0 unless sets"):
        score(Oracle("joint"), SETS, 1)
    with pytest.raises(UserError, match=r"config.model.given_share = 0.0: must be above 0"):
        score(Rows("causal"), SETS, 1)


class RowsWithGiven(Rows):
    """The first point is given; the second is the upper point of `Rows`, the third the lower."""

    given_share = 0.5

    def denoise(self, x, time, conditioning):
        mean = jnp.array([0.0, 3.0]) * (3 - 2 * conditioning.latent[..., 2:])
        return mean + 0.04 / (0.04 + noise_to_signal(time)) * (x - mean)


class AnyOrder(Rows):
    """Two independent points of N(0, 1) in any order: half of the draws are out of order."""

    def denoise(self, x, time, conditioning):
        return x / (1 + noise_to_signal(time))


def test_in_rows_the_likelihood_lacks_the_mass_that_is_out_of_order():
    """Drawn sets have the density prod_i N(x_i); log p is lower by log(Z) / N, with Z = 1 / 2."""
    data = dataset().replace(shift=jnp.zeros(2), scale=jnp.float32(1.0))
    setup = Experiment(td.default_config("causal"), data, PROCESS, AnyOrder("causal"))
    sets = np.random.default_rng(3).normal(size=(4, 2, 2))
    drawn = np.random.default_rng(4).normal(size=(4_000, 2, 2))
    in_order = 1 - out_of_order(drawn, parse_order("rows:1", ("x", "y"))).any(1).mean()
    assert in_order == pytest.approx(0.5, abs=0.03)
    log_p = log_prob_of_sets(setup, None, sets, 200).log_p
    expected = log_normal(sets, 0.0, 1.0).mean(1)
    np.testing.assert_allclose(log_p - np.log(in_order) / 2, expected, atol=0.04)
    assert (log_p < expected).all()


def test_orders_that_differ_are_averaged():
    log_p = np.log(np.array([[0.1, 0.5], [0.3, 0.5]]))
    mean, spread = likelihood._log_mean(log_p)
    np.testing.assert_allclose(np.exp(mean), [0.2, 0.5])
    # the sd of 0.1, 0.3 is 0.1414, divided by sqrt 2
    np.testing.assert_allclose(spread, [0.1 / 0.2, 0])


class Joint(Oracle):
    """The same density, denoised jointly: E[x_0 | x_t] = C (C + nu^2 I)^-1 x_t / alpha."""

    def denoise(self, x, time, conditioning):
        mask = conditioning.mask
        weight = jnp.ones(x.shape[:2]) if mask is None else mask.astype(jnp.float32)
        n = weight.sum(1)[:, None, None]
        mean = (x * weight[..., None]).sum(1, keepdims=True) / n
        shrink = lambda variance: variance / (variance + noise_to_signal(time))
        return shrink(1 + n * TAU**2) * mean + shrink(1.0) * (x - mean)


@pytest.mark.parametrize("missing", [0, 2])
def test_a_joint_model_exactly(missing):
    setup = Experiment(td.default_config("set_transformer"), dataset(), PROCESS, Joint("joint"))
    z = SETS[:, : N - missing]
    sets = np.concatenate([own_units(z), np.full((6, missing, 2), np.nan)], 1)
    log_p, spread = log_prob_of_sets(setup, None, sets, STEPS)
    np.testing.assert_allclose(log_p, exchangeable(z) - 2 * np.log(2), atol=1e-2)
    assert not spread.any()


def test_a_joint_model_by_estimates(monkeypatch):
    monkeypatch.setattr(joint, "EXACT", 0)
    setup = Experiment(td.default_config("set_transformer"), dataset(), PROCESS, Joint("joint"))
    log_p, spread = log_prob_of_sets(setup, None, own_units(SETS), STEPS, draws=8)
    z = (log_p - exchangeable(SETS) + 2 * np.log(2)) / spread
    assert (0.01 < spread).all() and (spread < 0.5).all()
    assert np.abs(z).max() < 4 and np.abs(z).mean() > 0.1  # 6 sets


@pytest.mark.parametrize("num_points, requested, draws", [
    (16, 0, 1), (16, 9, 1),  # 32 coordinates: the divergence is exact
    (17, 0, 2), (17, 9, 9),
])  # fmt: skip
def test_the_draws_of_a_joint_model(num_points, requested, draws):
    assert strategy_of(Joint("joint")).num_draws(requested, num_points, 2) == draws


class Latent(Oracle):
    """z = m, the mean of the set; the encoder adds noise with the width of the posterior."""

    latent_dim = 2
    width = 1.0

    @property
    def latent_noise(self):
        return (TAU**2 / (N * TAU**2 + 1)) ** 0.5 * self.width

    @property
    def traits(self):
        return Traits("latent", 10, history_source="same_set", completes=True)

    def apply(self, params, x, time=None, conditioning=None, method=None):
        if method == "encode":
            return x.points.sum(1, keepdims=True) * TAU**2 / (N * TAU**2 + 1)
        noise = noise_to_signal(time)
        if method == "prior":  # z plus the noise of the encoder has variance TAU^2
            variance = TAU**2 - self.latent_noise**2
            return x * variance / (variance + noise)
        z = conditioning.latent
        return z + (x - z) / (1 + noise)


def test_a_latent_model_whose_code_is_the_posterior_has_no_spread():
    setup = Experiment(td.default_config("set_latent"), dataset(), PROCESS, Latent("latent"))
    log_p, spread = log_prob_of_sets(setup, None, own_units(SETS), STEPS, draws=3)
    np.testing.assert_allclose(log_p, exchangeable(SETS) - 2 * np.log(2), atol=1e-2)
    assert (spread < 5e-3).all()


def test_a_latent_model_with_another_code_is_bounded_from_below():
    wide = type("Wide", (Latent,), {"width": 1.8})("latent")
    setup = Experiment(td.default_config("set_latent"), dataset(), PROCESS, wide)
    true = exchangeable(SETS) - 2 * np.log(2)
    estimate = partial(log_prob_of_sets, setup, None, own_units(SETS), STEPS)
    several, many = [estimate(draws=2, seed=seed) for seed in range(6)], estimate(draws=64)
    assert np.mean([few.log_p - true for few in several]) < -0.03
    assert several[0].spread.mean() > many.spread.mean() > 1e-3
    np.testing.assert_allclose(many.log_p, true, atol=0.1)
    assert Latent("latent").latent_noise < wide.latent_noise


def drawn_covariance(given=None) -> tuple[float, float]:
    """(covariance of the last two points of 8,000 drawn sets, variance of the latent noise)."""
    model = type("Blurred", (Latent,), {"width": 1.5})("latent")
    config = td.default_config("set_latent")
    config.sample.update(num_sets=8_000, num_points=N, num_steps=60, spacing="log_snr",
                         sampler="dpm++2m")  # fmt: skip
    sets = td.sample(Experiment(config, dataset(), PROCESS, model), None, given=given)
    last, other = (sets[:, i] / 2 - sets[:, i].mean(0) / 2 for i in (-1, -2))
    return float((last * other).mean()), model.latent_noise**2


def test_a_latent_model_draws_with_the_blur_of_its_likelihood():
    """The covariance of two points is TAU^2, the variance of z including the latent noise."""
    covariance, blur = drawn_covariance()
    assert covariance == pytest.approx(TAU**2, abs=0.05) and blur > 0.3


def test_a_latent_of_given_points_has_the_blur():
    covariance, blur = drawn_covariance(given=np.array([[0.5, -1.0]]))
    assert covariance == pytest.approx(blur, abs=0.04)


def test_independent_points():
    model = Oracle("independent")
    setup = Experiment(td.default_config("fourier_mlp"), dataset(), PROCESS, model)
    log_p = td.log_prob(setup, None, own_units(SETS), STEPS)
    np.testing.assert_allclose(log_p, truth("independent", SETS), atol=1e-2)


# ---------------------------------------------------------------- sizes and labels


def centre(size, label):
    """Centre f[B, 2] of sets with these sizes and labels; a wrong size or label is far away."""
    terms = [2 * jnp.log(size)[:, None] * jnp.array([1.0, 0.0])] if size is not None else []
    if label is not None:
        terms.append(6.0 * label[:, None] * jnp.array([0.0, 1.0]) - jnp.array([0.0, 3.0]))
    return sum(terms)


@dataclasses.dataclass(frozen=True)
class Conditioned:
    """The density of another oracle, moved to `centre`; alpha is 1 at every level of PROCESS."""

    of: Oracle
    counts: bool = True
    num_labels: int = 0
    order = "random"
    coordinates = ("x", "y")

    @property
    def traits(self):
        return self.of.traits

    def apply(self, params, x, *inputs, method=None):
        *time, (label, size, history, latent, mask, _) = inputs
        if latent is not None:  # the context is computed below, together with its centre
            latent, move = latent[..., :-2], latent[..., -2:]
        else:
            assert (size is not None) == self.counts
            move = centre(size, label)[:, None]
        if method == "contexts":
            context = self.of.apply(params, x - move, method=method)
            return jnp.concatenate([context, jnp.broadcast_to(move, x.shape)], axis=-1)
        if history is not None:
            history = PointSets(history.points - move, history.mask)
        conditioning = Conditioning(history=history, latent=latent, mask=mask)
        return move + self.of.apply(params, x - move, *time, conditioning)


def conditioned(strategy, **fields):
    of = {"joint": Joint}.get(strategy, Oracle)(strategy)
    config = td.default_config()
    config.update_from_flattened_dict({"data.name": "mixture", "data.members": "moons+line"})
    data = dataset().replace(num_labels=2, label_names=("moons", "line"), weights=np.ones(2))
    return Experiment(config, data, PROCESS, Conditioned(of, **fields))


SIZES = np.array([5, 9, 40, 100, 7, 64])


@pytest.mark.parametrize("strategy", ["independent", "autoregressive", "causal", "joint"])
def test_a_part_of_a_set_is_conditioned_on_the_size_of_the_complete_set(strategy):
    setup = conditioned(strategy)
    move = np.asarray(centre(SIZES, None))[:, None]
    log_p = td.log_prob(setup, None, own_units(SETS + move), STEPS, sizes=SIZES)
    np.testing.assert_allclose(log_p, truth(strategy, SETS), atol=2e-2)
    # Sets without `sizes` are complete: here they have 3 points and padding.
    z = SETS[:, :3]
    sets = own_units(z + np.asarray(centre(np.full(6, 3), None))[:, None])
    sets = np.concatenate([sets, np.full((6, 2, 2), np.nan)], axis=1)
    log_p = td.log_prob(setup, None, sets, STEPS)
    np.testing.assert_allclose(log_p, truth(strategy, z), atol=2e-2)


@pytest.mark.parametrize("strategy", ["autoregressive", "causal"])
def test_given_points_imply_the_number_of_points_of_the_set(strategy):
    """p(n | given) is proportional to p(n) p(given | n), both in closed form."""
    setup = conditioned(strategy)
    numbers, count = np.array([6, 9, 40]), np.array([3, 1, 4])
    data = setup.dataset.replace(sizes=np.repeat(numbers, count), num_labels=0)
    config = editable(setup.config.sample)
    config.update(num_sets=3_000)
    z = SETS[0] + np.asarray(centre(np.array([10]), None))
    given = jnp.asarray(own_units(z), jnp.float32)
    sizes = sampling._sizes_given(setup._replace(dataset=data), None, config, None, given)
    log_p = N * exchangeable(z - np.asarray(centre(numbers, None))[:, None])
    expected = count * np.exp(log_p - log_p.max())
    share = [(sizes == n).mean() for n in numbers]
    np.testing.assert_allclose(share, expected / expected.sum(), atol=0.03)
    assert max(share) < 0.9


def test_single_points_are_conditioned_on_label_and_size():
    setup = conditioned("independent", num_labels=2)
    labels = np.array([0, 1, 1, 0, 0, 1])
    points = SETS[:, 0] + np.asarray(centre(SIZES, labels))
    log_p = td.log_prob(setup, None, own_units(points), STEPS, labels=labels, sizes=SIZES)
    np.testing.assert_allclose(log_p, truth("independent", SETS[:, :1]), atol=2e-2)


class SizedLatent(Conditioned):
    """z = m, the mean of the set, around a centre that conditions only the prior."""

    @property
    def latent_noise(self):
        return self.of.latent_noise

    def apply(self, params, x, *inputs, method=None):
        if method != "prior":
            return self.of.apply(params, x, *inputs, method=method)
        time, conditioning = inputs
        move = 0.3 * centre(conditioning.size / 5, None)[:, None]
        return move + self.of.apply(params, x - move, time, method=method)


def test_the_prior_of_a_latent_is_conditioned_on_the_size_of_the_complete_set():
    setup = conditioned("latent")._replace(model=SizedLatent(Latent("latent")))
    sizes = np.array([5, 60, 60, 12, 30, 60])
    move = 0.3 * np.asarray(centre(sizes / 5, None))[:, None]
    log_p = td.log_prob(setup, None, own_units(SETS + move), STEPS, draws=64, sizes=sizes)
    np.testing.assert_allclose(log_p, truth("latent", SETS), atol=0.05)


def observed(sizes, labels=None):
    """Sets of `Conditioned(Oracle("independent"))` in the units of PROCESS.

    There are 10 sets for each pair of size and label.
    """
    rng, sizes = np.random.default_rng(4), np.repeat(sizes, 10)
    labels = None if labels is None else np.repeat(labels, 10)
    centres = np.asarray(centre(sizes, labels))
    points = np.concatenate([
        c + (1 + TAU**2) ** 0.5 * rng.normal(size=(n, 2))
        for c, n in zip(centres, sizes, strict=True)
    ])
    return from_observed(points, np.cumsum(sizes) - sizes, sizes, labels, normalize=False,
                         num_labels=0 if labels is None else 2)  # fmt: skip


ENTROPY = 1 + np.log(2 * np.pi * (1 + TAU**2))


def test_the_report_conditions_a_set_on_its_complete_size():
    """Sets of 400 points are cut to 64 points for the likelihood."""
    sets = observed([40, 400])
    setup = conditioned("independent")._replace(dataset=sets.replace(heldout=sets))
    setup.config.evaluate.likelihood_steps = STEPS
    data = ReportData(setup, None, np.zeros((2, 400, 2), np.float32))
    metric = set_likelihood(data)["set_log_likelihood"]
    assert metric["value"] == pytest.approx(-ENTROPY, abs=0.1)
    assert metric["num_sets"] == 20 and metric["num_points"] == 64 and not metric["given_labels"]


def test_the_report_gives_labels_to_a_model_that_saw_no_set_without():
    sets = observed([5, 9], labels=[0, 1])
    setup = conditioned("independent", num_labels=2)._replace(dataset=sets.replace(heldout=sets))
    setup.config.train.label_drop = 0.0
    setup.config.evaluate.likelihood_steps = STEPS
    data = ReportData(setup, None, np.zeros((2, 9, 2), np.float32))
    metric = set_likelihood(data)["set_log_likelihood"]
    # the value is a mean over 140 points
    assert metric["value"] == pytest.approx(-ENTROPY, abs=0.25)
    assert metric["given_labels"]


def test_joint_sets_are_cut_as_in_training():
    """Training batches of 16 points give the joint density of 16 of 30 points, so 16 are scored."""
    sets = observed([5, 30])
    setup = conditioned("joint")._replace(dataset=sets)
    setup.config.train.num_points = 16
    samples = np.zeros((2, 30, 2), np.float32)
    assert scored_points(ReportData(setup, None, samples)) == 16
    autoregressive = conditioned("autoregressive")._replace(dataset=sets)
    assert scored_points(ReportData(autoregressive, None, samples)) == 30
    rows = setup._replace(model=Rows("causal"))
    assert scored_points(ReportData(rows, None, samples)) == 16


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("points, fields, words", [
    ((6, 3), {}, "points.shape = (6, 3): must be (n, 2) for points or (S, N, 2) for sets"),
    ((2, 6), {}, "points.shape = (2, 6): must be (n, 2) for points"),
    ((12,), {}, "points.shape = (12,): must be (n, 2) for points"),
    ((2, 6, 3), {}, "points.shape = (2, 6, 3): must be (n, 2) for points"),
    ((2, 0, 2), {}, "points.shape = (2, 0, 2): must be (n, 2) for points"),
    ((6, 2), {"num_steps": 0}, "num_steps = 0: must be at least 1"),
    ((2, 6, 2), {"num_steps": -1}, "num_steps = -1: must be at least 1"),
    ((2, 6, 2), {"draws": -1}, "draws = -1: must be at least 0"),
    ((6, 2), {"labels": np.zeros(6)}, "labels = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]: must be None for"),
    ((6, 2), {"sizes": np.full(6, 9)}, "sizes = 'given': must be None for a model with config."),
])  # fmt: skip
def test_arguments_that_cannot_be_scored_are_refused(points, fields, words):
    setup = Experiment(td.default_config("fourier_mlp"), dataset(), PROCESS, Oracle("independent"))
    with pytest.raises(UserError) as error:
        td.log_prob(setup, None, np.ones(points), **{"num_steps": 2} | fields)
    assert str(error.value).startswith(words) and "\n" not in str(error.value)


@pytest.mark.parametrize("points, fields, words", [
    ((2, 6, 2), {"labels": [0]}, "labels.shape = (1,): must be (num_sets,) = (2,)"),
    ((2, 6, 2), {"labels": [0, 7]}, "labels = '7': must be one of moons, line, "),
    ((2, 6, 2), {"labels": [0, -1]}, "labels = [-1]: must be all in 0..1"),
    ((2, 6, 2), {}, "labels = None: must be given: the model saw no set without its label"),
    ((6, 2), {"sizes": np.full(6, 9)}, "labels = None: must be given: the model saw no set"),
    ((2, 6, 2), {"labels": [0, 1], "sizes": [6]}, "sizes.shape = (1,): must be (num_sets,) = (2,)"),
    ((2, 6, 2), {"labels": [0, 1], "sizes": [6.5, 6]}, "sizes.dtype = 'float64': must be a type"),
    ((2, 6, 2), {"labels": [0, 1], "sizes": ["a", "b"]}, "sizes.dtype = '<U1': must be a type of"),
    ((2, 6, 2), {"labels": [0, 1], "sizes": [6, 5]}, "sizes = [5]: must be at least the number of"),
    ((2, 2), {"labels": [0, 1]}, "sizes = None: must be given for single points"),
])  # fmt: skip
def test_labels_and_sizes_that_do_not_fit_are_refused(points, fields, words):
    setup = conditioned("independent", num_labels=2)
    setup.config.train.label_drop = 0.0
    with pytest.raises(UserError) as error:
        td.log_prob(setup, None, np.ones(points), 2, **fields)
    assert str(error.value).startswith(words) and "\n" not in str(error.value)


def test_labels_that_the_model_never_saw_are_refused():
    setup = conditioned("independent", num_labels=2)
    setup.config.train.label_drop = 1.0
    score = lambda x: td.log_prob(setup, None, x, 2, labels=[0] * 6, sizes=np.full(6, 9))
    for call in (score, jax.jit(score)):
        with pytest.raises(UserError, match="labels = 'given': must be None: the model saw no set"):
            call(np.ones((6, 2)))


def test_numbers_that_are_not_finite_are_refused():
    setup = Experiment(td.default_config("fourier_mlp"), dataset(), PROCESS, Oracle("independent"))
    points = np.ones((2, 3, 2))
    points[1, 1, 0] = np.nan
    with pytest.raises(UserError, match="points: points that are not finite = 1: must be 0"):
        td.log_prob(setup, None, points.reshape(6, 2), 2)
    with pytest.raises(UserError, match="points: missing points = 'NaN': must be whole points"):
        td.log_prob(setup, None, points, 2)
    points[1] = np.nan
    with pytest.raises(UserError, match="points: missing points = 'NaN': must be whole points"):
        td.log_prob(setup, None, points, 2)


def test_nothing_has_no_likelihoods():
    setup = Experiment(td.default_config("fourier_mlp"), dataset(), PROCESS, Oracle("independent"))
    for shape in ((0, 2), (0, 4, 2)):
        assert td.log_prob(setup, None, np.zeros(shape), 2).shape == (0,)
