"""Check that invalid options, or invalid combinations, give one line: field, value, limits.

The tables below are the contract. Nothing here reads data or draws samples.
"""

import jax
import numpy as np
import pytest

from tiny_diffusion_jax import api, call_checks, checks, data, interface, scoring
from tiny_diffusion_jax.config import default_config, editable, flatten
from tiny_diffusion_jax.dataset import draw_sets
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.models import MODELS, make_model
from tiny_diffusion_jax.options import ANY, OPTIONS
from tiny_diffusion_jax.sets import strategy_of

NAN = float("nan")

ALONE = {  # option: [(value, allowed values), ...], for the default config
    "seed": [(-1, "must be in [0, 4294967295]"), (2**32, "must be in"), (10**20, "must be")],
    "data.name": [("heart", "must be one of moons, circle, line, ")],
    "data.jitter": [("big", "must be one of uniform, gaussian, none")],
    "data.jitter_std": [(-1.0, "must be at least 0"), (NAN, "must be at least 0")],
    "data.invert": [("maybe", "must be one of auto, yes, no")],
    "data.threshold": [(2.0, "must be in [0, 1]"), (NAN, "must be in [0, 1]")],
    "data.max_side": [(0, "must be at least 1")],
    "data.header": [("2", "must be one of auto, yes, no")],
    "data.augment_shift": [(-0.1, "must be at least 0"), (NAN, "must be at least 0")],
    "data.augment_scale": [(-0.1, "must be in [0, 1]"), (2.0, "must be in [0, 1]")],
    "data.heldout": [(0.6, "must be in [0, 0.5]"), (-0.1, "must be in [0, 0.5]")],
    "data.digit": [(12, "must be in [0, 9]"), (-1, "must be in [0, 9]")],
    "data.max_images": [(-1, "must be at least 0")],
    "data.source": [("web", "must be one of auto, tfds, openml, digits")],
    "data.order": [("sorted", "must be one of shuffled, sequential")],
    "data.digits": [("0x", "must be digits such as '017', or '' for all"), ("0,1", "must be dig")],
    "schedule.name": [("bogus", "must be one of linear, quadratic, student_cosine, cosine, ")],
    "schedule.num_levels": [(0, "must be in [1, 1000000]"), (2**31, "must be in [1, 1000000]")],
    "schedule.beta_min": [(0.0, "must be in (0, 1)"), (1.0, "must be in (0, 1)")],
    "schedule.beta_max": [(1.5, "must be in (0, 1)"), (1e-5, "must be at least beta_min")],
    "schedule.sigma_min": [(-1.0, "must be above 0")],
    "schedule.sigma_max": [
        (0.001, "must be above sigma_min"), (1e7, "must be in (0, 1000000]")],
    "schedule.rho": [(0.0, "must be in [0.1, 1000]"), (0.001, "must be in [0.1, 1000]")],
    "diffusion.prediction": [("y", "must be one of eps, x0, v, edm")],
    "train.optimizer": [("sgd", "must be one of adamw, muon")],
    "train.precision": [("half", "must be one of default, float32")],
    "diffusion.levels": [("odd", "must be one of uniform, log_normal, distances")],
    "diffusion.weighting": [("heavy", "must be one of simple, min_snr, likelihood")],
    "model.name": [("transformer9", "must be one of fourier_mlp")],
    "model.embedding": [("wavelet", "must be one of sinusoidal, gaussian, learned, identity")],
    "model.hidden_dim": [(0, "must be at least 1")],
    "model.num_blocks": [(-1, "must be at least 0")],
    "model.num_inducing": [(-1, "must be at least 0")],
    "model.context_dim": [(0, "must be at least 1")],
    "model.context_blocks": [(-1, "must be at least 0")],
    "model.order": [("rows:-1", "must be random, rows:HEIGHT"), ("rows", "must be random"),
                    ("rows:1.2.3", "must be random"), ("columns:1e999", "must be random")],
    "model.given_share": [(1.5, "must be in [0, 1]")],
    "model.latent_dim": [(1, "must be at least 2")],
    "model.latent_noise": [(-0.1, "must be at least 0")],
    "model.teacher_forcing": [(2.0, "must be in [0, 1]"), (NAN, "must be in [0, 1]")],
    "model.state_dim": [(0, "must be at least 1")],
    "model.encoder": [("backward", "must be one of forward, both")],
    "model.num_frequencies": [(0, "must be at least 1")],
    "model.scale": [(NAN, "must be above 0"), (0.0, "must be above 0")],
    "model.max_period": [(0.5, "must be at least 1")],
    "model.time_frequencies": [(0, "must be at least 1")],
    "model.time_scale": [(-1.0, "must be above 0")],
    "model.labels": [(True, "must be False for data without labels")],
    "train.steps": [(-5, "must be in [1, 2147483647]"), (0, "must be in"), (10**20, "must be in")],
    "train.num_sets": [(0, "must be at least 1")],
    "train.num_points": [(0, "must be at least 1")],
    "train.min_points": [
        (9, "must be at most config.train.num_points = 8"), (-1, "must be at least 0")],
    "train.max_points": [(-1, "must be at least 0")],
    "train.num_levels": [(0, "must be at least 1")],
    "train.min_history": [(0, "must be at least 1")],
    "train.max_history": [(0, "must be at least 1")],
    "train.history_drop": [(1.5, "must be in [0, 1]"), (NAN, "must be in [0, 1]")],
    "train.label_drop": [(-0.1, "must be in [0, 1]")],
    "train.learning_rate": [(0.0, "must be above 0"), (NAN, "must be above 0")],
    "train.warmup": [(-1, "must be at least 0")],
    "train.weight_decay": [(NAN, "must be at least 0"), (-0.1, "must be at least 0")],
    "train.clip_norm": [(0.0, "must be above 0")],
    "train.ema_decay": [(1.0, "must be in [0, 1)")],
    "train.block": [(0, "must be at least 1")],
    "train.checkpoint_every": [(0, "must be at least 1")],
    "train.keep": [(0, "must be at least 1")],
    "train.snapshots": [(-1, "must be at least 0")],
    "train.pairs": [("odd", "must be one of independent, optimal")],
    "train.trajectories": [(-1, "must be at least 0")],
    "train.references": [(-1, "must be at least 0")],
    "sample.sampler": [("euler9", "must be one of ancestral, ddim, dpm++2m, sde-dpm++2m, heun, "
                                    "consistency")],
    "sample.eta": [(1.5, "must be in [0, 1]")],
    "sample.num_steps": [
        (1001, "must be at most config.schedule.num_levels = 1000"), (0, "must be at least 1")],
    "sample.spacing": [("wide", "must be one of time, log_snr")],
    "sample.sigma_min": [(-0.1, "must be in [0, 1]"), (2.0, "must be in [0, 1]")],
    "sample.precision": [("half", "must be one of default, float32")],
    "sample.num_sets": [(0, "must be at least 1")],
    "sample.num_points": [(-1, "must be at least 0")],
    "sample.seed": [(-1, "must be in [0, 4294967295]")],
    "sample.memory_mb": [(0, "must be at least 1")],
    "sample.label": [
        ("0", "must be -1 for a model without labels; train one with config.model.labels=True"),
        ("ring", "must be -1 for a model without labels; train one with config.model.labels")],
    "sample.guidance_scale": [
        (2.0, "must be 1 for a model without labels or history"), (NAN, "must be a finite number")],
    "sample.first_block": [(0, "must be at least 1")],
    "sample.growth": [(0.5, "must be at least 1"), (float("inf"), "must be a finite number")],
    "sample.burn_in": [(-1, "must be at least 0")],
    "evaluate.seed": [(-1, "must be in [0, 4294967295]")],
    "evaluate.num_projections": [(0, "must be at least 1")],
    "evaluate.exact_points": [(0, "must be in [1, 2000]"), (2001, "must be in [1, 2000]")],
    "evaluate.likelihood_steps": [(0, "must be at least 1")],
    "evaluate.set_likelihood_steps": [(0, "must be at least 1")],
    "evaluate.density_steps": [(0, "must be at least 1")],
    "evaluate.likelihood_sets": [(-1, "must be at least 0")],
    "evaluate.heldout_points": [(0, "must be at least 1")],
    "evaluate.density_size": [(-1, "must be at least 0")],
    "evaluate.frames": [(-1, "must be at least 0")],
    "evaluate.max_sets": [(1, "must be at least 2")],
    "evaluate.guidance_scale": [(NAN, "must be a finite number")],
}  # fmt: skip
# Texts, switches, options that depend on the content of a file, and options checked at first use.
NO_RANGE = {
    "name", "compilation_cache", "log.tensorboard", "data.normalize", "data.path", "data.columns",
    "data.where", "data.array", "data.index", "data.data_dir", "data.cache_dir", "data.align",
    "data.replace", "data.members", "data.weights", "data.set_column", "data.label_column",
    "data.split_column", "data.per_axis", "data.skip_unreadable", "data.augment_rotate",
    "data.skip_incomplete", "data.skip_small", "data.clip_outliers",
    "data.augment_reflect", "model.num_heads", "model.sizes", "model.fade", "model.relative",
    "train.keep_best", "train.split_heldout", "evaluate.gifs", "quick", "data.start",
    "train.init_from",
}  # fmt: skip

MIXTURE = {"data.name": "mixture", "data.members": "dino+moons"}
NAMED = MIXTURE | {"model.labels": True}
DIGITS = {"data.name": "mnist_sets", "model.labels": True}
FULL = MIXTURE | {"model.name": "set_transformer", "model.num_inducing": 0}
TOGETHER = {  # changed options, field and value in the line, rest of the line
    "eps from pure noise": (
        {"schedule.name": "flow", "diffusion.prediction": "eps"},
        "config.diffusion.prediction = 'eps': must be x0, v or edm with a schedule that ends in"),
    "jitter of a table": (
        {"data.name": "points", "data.jitter": "uniform"},
        "config.data.jitter = 'uniform': must be one of gaussian, none"),
    "jitter of sets of images": (
        DIGITS | {"data.jitter": "gaussian"},
        "config.data.jitter = 'gaussian': must be one of uniform, none"),
    "augmentation of one density": (
        {"data.augment_rotate": True},
        "config.data.augment_rotate = True: must be False for data that are not many sets"),
    "member unknown": (
        {"data.name": "mixture", "data.members": "dino+heart"},
        "config.data.members = 'dino+heart': 'heart': must be one of moons, circle, line, "),
    "weights of another sum": (
        MIXTURE | {"data.weights": "0.5+0.6"},
        "config.data.weights = '0.5+0.6': must be numbers of sum 1, not 1.1"),
    "heads": (
        {"model.name": "set_transformer", "model.num_heads": 5},
        "config.model.num_heads = 5: must be a divisor of config.model.hidden_dim = 128"),
    "heads of a history": (
        {"model.name": "history", "model.num_heads": 0},
        "config.model.num_heads = 0: must be a divisor of config.model.hidden_dim = 128"),
    "heads of a causal transformer": (
        {"model.name": "causal", "model.num_heads": 5},
        "config.model.num_heads = 5: must be a divisor of config.model.context_dim = 96"),
    "relative positions in two units": (
        {"model.name": "causal", "model.relative": True, "data.normalize": False},
        "config.model.relative = True: must be False with config.data.normalize = False"),
    "points encoded": (
        {"model.name": "set_latent", "train.max_history": 0},
        "config.train.max_history = 0: must be at least 1"),
    "one point tells no member": (
        MIXTURE | {"sample.num_points": 1},
        "config.sample.num_points = 1: must be at least 2, for a set to be told apart"),
    "too large for full attention": (
        FULL | {"sample.num_points": 4097},
        "config.sample.num_points = 4097: must be at most 4096 for full attention; "
        "config.model.num_inducing = 16 takes any number"),
    "too large to train full attention": (
        FULL | {"train.num_points": 4097},
        "config.train.num_points = 4097: must be at most 4096 for full attention; config.model."),
    "growing too large for full attention": (
        FULL | {"train.max_points": 8192},
        "config.train.max_points = 8192: must be at most 4096 for full attention; config.model."),
    "too long a sequence": (
        MIXTURE | {"model.name": "seq2seq", "sample.num_points": 5000},
        "config.sample.num_points = 5000: must be at most 4096 for the sequences of seq2seq"),
    "label of no member": (
        NAMED | {"sample.label": 2},
        "config.sample.label = '2': must be one of dino, moons, -1 for random ones, or -2"),
    "label of no digit": (
        DIGITS | {"sample.label": 10},
        "config.sample.label = '10': must be one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, -1 for random"),
    "label of no digit in these data": (
        DIGITS | {"data.digits": "01", "sample.label": 7},
        "config.sample.label = '7': must be one of 0, 1, -1 for random ones, or -2 for none"),
    "label between those in these data": (
        DIGITS | {"data.digits": "72", "sample.label": 3},
        "config.sample.label = '3': must be one of 2, 7, -1 for random ones, or -2 for none"),
    "guidance without the label": (
        NAMED | {"sample.guidance_scale": 2.0, "sample.label": -2},
        "config.sample.guidance_scale = 2.0: must be 1 without a label to guide to: set config."),
    "guidance of a latent": (
        MIXTURE | {"sample.guidance_scale": 2.0, "model.name": "set_latent"},
        "config.sample.guidance_scale = 2.0: must be 1 for a model without labels or history"),
    "no label, which was never seen": (
        NAMED | {"train.label_drop": 0.0, "sample.label": -2},
        "config.sample.label = '-2': must be a label: the model saw no set without one, as con"),
    "guidance away from no label, which was never seen": (
        NAMED | {"train.label_drop": 0.0, "sample.guidance_scale": 2.0},
        "config.sample.guidance_scale = 2.0: must be 1: the model saw no set without its label"),
    "guidance away from no history, which was never seen": (
        MIXTURE | {"model.name": "history", "train.history_drop": 0.0,
                   "sample.guidance_scale": 2.0},
        "config.sample.guidance_scale = 2.0: must be 1: the model saw no set without a history"),
    "burn-in of a causal transformer": (
        MIXTURE | {"model.name": "causal", "sample.burn_in": 16},
        "config.sample.burn_in = 16: must be 0 with config.model.name = 'causal'. Only history "
        "and attention models have a burn-in"),
    "labels measured with a guidance that was never seen": (
        DIGITS | {"train.label_drop": 0.0},
        "config.evaluate.guidance_scale = 2.0: must be 1 for a model that saw no set without its "
        "label: set config.evaluate.guidance_scale=1, or train with config.train.label_drop above"),
}  # fmt: skip

FINE = {  # combinations that must be accepted
    "few steps, with the warm-up of many": {"train.steps": 1},
    "heads that nothing uses": {"model.num_heads": 5},
    "a width that heads do not divide": {"model.hidden_dim": 7},
    "units of the data": {"model.name": "causal", "data.normalize": False},
    "a latent of fewer points": {"model.name": "set_latent", "train.min_history": 64,
                                 "train.max_history": 32},
    "a label of a mixture": NAMED | {"sample.label": 1, "sample.guidance_scale": 2.0},
    "digits without their labels": DIGITS | {"model.labels": False, "train.label_drop": 0.0},
    "always with a label": DIGITS | {"train.label_drop": 0.0, "evaluate.guidance_scale": 1.0},
    "members always with a label": NAMED | {"train.label_drop": 0.0},
    "one point": {"sample.num_points": 1},
    "guidance of a history": MIXTURE | {"model.name": "history", "sample.guidance_scale": 1.7},
    "autoregressive and never without a history": {
        "model.name": "history", "train.history_drop": 0.0},
}  # fmt: skip


def config_of(fields: dict, model: str = ""):
    config = default_config(model)
    config.update_from_flattened_dict(fields)
    return config


def refusal(check, *arguments, **fields) -> str:
    with pytest.raises(UserError) as error:
        check(*arguments, **fields)
    assert "\n" not in str(error.value)
    return str(error.value)


# ---------------------------------------------------------------- options of a config


def test_an_option_out_of_its_range_is_named():
    for field, mistakes in ALONE.items():
        for value, allowed in mistakes:
            line = refusal(checks.check, config_of({field: value}))
            assert line.startswith(f"config.{field} = {value!r}: {allowed}"), line


def test_a_number_is_finite_whatever_option_it_is_of():
    floats = [f for f, value in flatten(default_config()).items() if isinstance(value, float)]
    assert len(floats) > 20
    for field in floats:
        for value in (NAN, float("inf"), -float("inf"), 1e308):
            line = refusal(checks.check, config_of({field: value}))
            assert line.startswith(f"config.{field} = {value!r}: must be "), line


def test_every_option_has_a_range_or_can_have_none():
    fields = flatten(default_config()).keys()
    assert ALONE.keys() | NO_RANGE == fields and not ALONE.keys() & NO_RANGE
    assert {option for option in fields if OPTIONS[option].rule != ANY} <= ALONE.keys()


@pytest.mark.parametrize("fields, line", TOGETHER.values(), ids=TOGETHER)
def test_options_at_odds_are_named(fields, line):
    assert refusal(checks.check, config_of(fields)).startswith(line)


@pytest.mark.parametrize("fields", FINE.values(), ids=FINE)
def test_what_goes_together_passes(fields):
    checks.check(config_of(fields))


@pytest.mark.parametrize("model", MODELS)
def test_every_recipe_passes_and_can_draw_and_be_measured(model):
    checks.check_measured(default_config(model))
    checks.check_measured(config_of(NAMED, model))


def test_build_checks_before_any_data_is_read(monkeypatch):
    monkeypatch.setattr(data, "build", lambda _: pytest.fail("read the data"))
    line = refusal(api.build, config_of({"evaluate.exact_points": 3000}))
    assert line.startswith("config.evaluate.exact_points = 3000: must be")
    assert refusal(api.build, config_of(TOGETHER["heads"][0])).startswith("config.model.num")


# ---------------------------------------------------------------- one call


def check_call(fields, model="", labels=None, given=None, **sample):
    """Call `check_sample` with options `sample` on a model trained with `fields`."""
    config = config_of(fields, model)
    changed = editable(config.sample)
    changed.update(sample)
    call_checks.check_sample(config, changed, labels, given)


def test_a_call_is_checked_as_the_config_was():
    line = refusal(check_call, {}, sampler="euler9")
    assert line.startswith("config.sample.sampler = 'euler9': must be one of ancestral")
    assert refusal(check_call, {}, num_steps=2000) == (
        "config.sample.num_steps = 2000: must be at most config.schedule.num_levels = 1000"
    )
    assert "= 5000: must be at most 4096" in refusal(check_call, FULL, num_points=5000)
    check_call({}, num_points=1)


def test_a_set_from_nothing_takes_a_model_that_began_with_nothing():
    never = {"train.history_drop": 0.0}
    for model in ("history", "attention_v1", "attention_v2"):
        line = refusal(check_call, never, model, guidance_scale=1.0)
        assert line.startswith("config.train.history_drop = 0.0: must be above 0 to draw new sets")
        check_call({}, model)
    check_call(never, "set_latent")
    check_call(never, "history", given=np.zeros((2, 2)))
    line = refusal(checks.check_measured, config_of(never, "history"))
    assert line.startswith("config.train.history_drop = 0.0: must be above 0")


def test_a_model_sees_a_label_before_it_draws_one():
    all_dropped = NAMED | {"train.label_drop": 1.0}
    line = "config.train.label_drop = 1.0: must be below 1 "
    for options in (all_dropped, all_dropped | {"sample.label": "-2"}):
        assert refusal(api.build, config_of(options)).startswith(f"{line}for a model with labels")
    checks.check(config_of(all_dropped))  # so that existing runs with this option can be loaded
    for options in ({}, {"label": "1"}, {"labels": [0, 1], "num_sets": 2}):
        message = refusal(check_call, all_dropped, **options)
        assert message.startswith(f"{line}to draw sets with a label, because the model never saw")
    check_call(all_dropped, label="-2")
    check_call(all_dropped, "set_transformer", given=POINTS)
    check_call(MIXTURE | {"train.label_drop": 1.0})
    api.build(config_of(MIXTURE | {"train.label_drop": 1.0}))


@pytest.mark.parametrize("fields, labels, line", [
    (MIXTURE, [0, 1], "labels = [0, 1]: must be None for a model without labels; train one with "
                      "config.model.labels=True"),
    (NAMED, [0, 1, 1], "labels.shape = (3,): must be (num_sets,) = (2,)"),
    (NAMED, [0, 2], "labels = [2]: must be all in 0..1"),
    (NAMED, [-1, 0], "labels = [-1]: must be all in 0..1"),
    (DIGITS | {"data.digits": "72"}, [7, 3], "labels = [3]: must be all one of 2, 7"),
])  # fmt: skip
def test_labels_are_those_of_the_data(fields, labels, line):
    assert refusal(check_call, fields, labels=np.array(labels), num_sets=2) == line
    check_call(NAMED, labels=np.array([0, 1]), num_sets=2, guidance_scale=3.0)


POINTS = np.zeros((3, 2), np.float32)


def test_a_call_of_a_causal_model_has_no_burn_in():
    for given in (None, POINTS):
        line = refusal(check_call, MIXTURE, "causal", burn_in=2, given=given)
        assert line.startswith("config.sample.burn_in = 2: must be 0 with config.model.name = 'cau")
    check_call(MIXTURE, "history", burn_in=2)


# ---------------------------------------------------------------- training on set sizes

COUNTED = {"model.sizes": True, "train.num_points": 8, "train.steps": 400, "train.block": 200}


@pytest.mark.parametrize("fields", [
    {}, MIXTURE, {"train.max_points": 31}, {"train.min_points": 8},
    {"train.max_points": 32, "train.steps": 200},  # one block
])  # fmt: skip
def test_a_number_of_points_that_never_varies_is_not_learned_from(fields):
    built = api.build(config_of(COUNTED | fields))
    line = (
        "config.model.sizes = True: must be False if all training sets have 8 points. Vary the "
        "size with config.train.min_points below 8, or with config.train.max_points of at least 32 "
        "over several blocks")  # fmt: skip
    assert refusal(api.train, built, progress=False) == line


@pytest.mark.parametrize("fields", [
    {"model.sizes": False}, {"train.min_points": 7}, {"train.max_points": 32},
    MIXTURE | {"train.trajectories": 64, "sample.sampler": "consistency"},  # a distilled model
])  # fmt: skip
def test_a_number_of_points_that_varies_is_learned_from(fields):
    built = api.build(config_of(COUNTED | fields))
    checks.check_sizes_vary(*built[:2], built.model)


def test_observed_sets_have_different_numbers_of_points():
    built = api.build(config_of(COUNTED))
    data = built.dataset.replace(sizes=np.array([3, 3]))
    checks.check_sizes_vary(built.config, data, built.model)


def test_a_model_of_rows_draws_point_after_point_and_completes_if_it_saw_given_points():
    rows = {"model.name": "causal", "model.order": "rows:2"}
    assert refusal(check_call, MIXTURE | rows, growth=1.25) == (
        "config.sample.growth = 1.25: must be 1 with config.model.order = 'rows:2', to draw point "
        "by point")  # fmt: skip
    check_call(MIXTURE | rows, growth=1.0)
    assert refusal(check_call, MIXTURE | rows, growth=1.0, given=POINTS) == (
        "config.model.given_share = 0.0: must be above 0 in training, for a model of sorted points "
        "that is given points")  # fmt: skip
    check_call(MIXTURE | rows | {"model.given_share": 0.5}, growth=1.0, given=POINTS)


@pytest.mark.parametrize("model", [name for name in MODELS])
def test_only_models_that_complete_sets_accept_given_points(model):
    if model in ("history", "causal", "set_transformer", "set_latent"):
        return check_call(MIXTURE, model, given=POINTS)
    assert refusal(check_call, MIXTURE, model, given=POINTS) == (
        f"config.model.name = {model!r}: must be a model that completes sets: history, "
        "causal, set_transformer, set_latent")  # fmt: skip


@pytest.mark.parametrize("given, line", [
    (np.zeros((0, 2)), "given.shape = (0, 2): must be (n, 2), n in 1..31 (config.sample.num_poin"),
    (np.zeros((32, 2)), "given.shape = (32, 2): must be (n, 2), n in 1..31 (config.sample.num_poi"),
    (np.zeros(4), "given.shape = (4,): must be (n, 2), n in 1..31"),
    (np.zeros((4, 3)), "given.shape = (4, 3): must be (n, 2), n in 1..31"),
    (np.array([[0, np.inf]]), "given: must be finite numbers"),
])  # fmt: skip
def test_given_points_are_part_of_a_set(given, line):
    message = refusal(check_call, MIXTURE, "set_transformer", given=given, num_points=32)
    assert message.startswith(line)


@pytest.mark.parametrize("fields, sample, line", [
    ({}, {"guidance_scale": 2.0},
     "config.sample.guidance_scale = 2.0: must be 1 without a label to guide to: set config."),
    ({"train.label_drop": 0.0}, {},
     "config.sample.label = '': must be a label: the model saw no set without one, as config."),
    ({"model.name": "set_latent"}, {"guidance_scale": 2.0},
     "config.sample.guidance_scale = 2.0: must be 1 when completing with latents: they come from"),
    ({"model.name": "set_latent"}, {"label": 1},
     "config.sample.label = '1': must be -1 when completing with latents: they come from the poi"),
])  # fmt: skip
def test_what_would_have_no_effect_on_a_completion_is_refused(fields, sample, line):
    model = fields.get("model.name", "set_transformer")
    message = refusal(check_call, NAMED | fields, model, given=POINTS, **sample)
    assert message.startswith(line)


def test_completions_with_a_label_or_a_history_may_be_guided():
    check_call(NAMED, "set_transformer", given=POINTS, label=1, guidance_scale=2.0)
    check_call(NAMED | {"train.label_drop": 0.0}, "set_transformer", given=POINTS, label=1)
    check_call(NAMED | {"train.label_drop": 0.0}, "set_latent", given=POINTS)
    check_call(NAMED, "history", given=POINTS, guidance_scale=2.0)  # guidance by the history


def test_copies_of_the_given_points_must_fit_into_full_attention():
    # 2,048 points and 683 copies of 3: 4,097
    joint = strategy_of(make_model(config_of(FULL).model))
    assert joint.points_in_memory(2048, 3) == 4097
    message = refusal(check_call, FULL, given=POINTS, num_points=2048)
    assert message == (
        "config.sample.num_points = 2048: must be lower: with copies of the 3 given points the "
        "model sees 4097 at once, and takes at most 4096 for full attention; "
        "config.model.num_inducing = 16 takes any number")  # fmt: skip
    check_call(FULL, given=POINTS, num_points=2046)
    check_call(MIXTURE, "set_transformer", given=POINTS, num_points=5000)
    check_call(MIXTURE, "history", given=POINTS, num_points=5000)


def test_measured_samples_have_two_points_and_two_sets():
    one = "must be at least 2, to be compared with real sets; --mode=sample draws any number"
    assert refusal(checks.check_measured, config_of({"sample.num_points": 1})) == (
        f"config.sample.num_points = 1: {one}")  # fmt: skip
    config = config_of(DIGITS | {"sample.num_sets": 1, "sample.num_points": 8})
    assert refusal(checks.check_measured, config) == f"config.sample.num_sets = 1: {one}"
    checks.check_measured(config_of({"sample.num_sets": 1}))
    checks.check(config)


# ---------------------------------------------------------------- labels of the data


@pytest.mark.parametrize("fields, names, present", [
    ({}, (), ()),
    ({"data.name": "mnist"}, (), ()),
    (MIXTURE, ("dino", "moons"), (0, 1)),
    ({"data.name": "mixture", "data.members": "dino + mnist:3+mnist:3:7"},
     ("dino", "mnist:3", "mnist:3:7"), (0, 1, 2)),
    (DIGITS, tuple("0123456789"), tuple(range(10))),
    (DIGITS | {"data.digits": "727"}, tuple("0123456789"), (2, 7)),
])  # fmt: skip
def test_labels_are_known_before_the_data(fields, names, present):
    assert data.labels(config_of(fields).data)[:2] == (names, present)


def test_labels_are_those_that_the_data_turn_out_to_have():
    config = config_of({"data.name": "mixture", "data.members": "line+circle+line"}).data
    dataset = data.build(config)
    assert data.about_built(dataset).labels == data.labels(config)
    config = config_of(DIGITS | {"data.digits": "72", "data.source": "digits"}).data
    dataset = data.build(config)
    assert data.about_built(dataset).labels[:2] == data.labels(config)[:2]
    drawn = np.unique(draw_sets(dataset, jax.random.key(0), 100, 1).label)
    assert tuple(drawn) == data.labels(config).present


def test_a_rotation_needs_one_scale_for_all_axes_in_training_only():
    rotated = DIGITS | {"data.augment_rotate": True}
    both = config_of(rotated | {"data.per_axis": True})
    checks.check(both)  # so that existing runs with these options can be loaded
    assert refusal(checks.check_augmentation, both) == (
        "config.data.augment_rotate = True: must be False with config.data.per_axis = True. "
        "Rotated sets have the same spread along all axes, so one scale fits: "
        "config.data.per_axis = False.")  # fmt: skip
    checks.check_augmentation(config_of(rotated))


@pytest.mark.parametrize("name, value", [
    ("augment_rotate", True), ("augment_scale", 0.2), ("augment_reflect", True)])  # fmt: skip
def test_sets_are_transformed_about_the_mean_in_training_only(name, value):
    options = DIGITS | {f"data.{name}": value}
    checks.check_augmentation(config_of(options))
    config = config_of(options | {"data.normalize": False})
    checks.check(config)
    assert refusal(checks.check_augmentation, config).startswith(
        f"config.data.{name} = {value}: must be {type(value)()} with config.data.normalize = Fals")
    shifted = DIGITS | {"data.augment_shift": 0.2, "data.normalize": False}
    checks.check_augmentation(config_of(shifted))


def test_a_latent_without_noise_has_no_likelihood():
    fields = {"model.name": "set_latent", "model.latent_noise": 0.0, "train.history_drop": 0.0}
    density, mixture = config_of(fields), config_of(fields | MIXTURE)
    checks.check(mixture)  # so that existing runs with this option can be loaded
    checks.check_measured(density)
    checks.check_measured(config_of(fields | MIXTURE | {"evaluate.likelihood_sets": 0}))
    line = "config.model.latent_noise = 0.0: must be above 0 for a likelihood, which divides by "
    assert refusal(checks.check_measured, mixture).startswith(line)
    experiment = api.build(mixture)
    assert refusal(scoring.log_prob, experiment, None, np.zeros((2, 3, 2))).startswith(line)
    assert refusal(interface.evaluate, experiment, None).startswith(line)
