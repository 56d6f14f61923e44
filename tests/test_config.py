"""Check that the table of options agrees with the code, and that it is documented."""

import subprocess
import sys
from pathlib import Path

import pytest

from tiny_diffusion_jax import data, experiments, models
from tiny_diffusion_jax.cli.flags import parse
from tiny_diffusion_jax.config import ALIASES, default_config, flatten, options_page
from tiny_diffusion_jax.data import mnist_sources
from tiny_diffusion_jax.diffusion.process import PREDICTIONS, WEIGHTINGS
from tiny_diffusion_jax.diffusion.samplers import SAMPLERS
from tiny_diffusion_jax.diffusion.schedules import FAMILIES
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.metrics.points import MAX_EXACT_POINTS
from tiny_diffusion_jax.models.layers import EMBEDDINGS
from tiny_diffusion_jax.options import OPTIONS, TYPES
from tiny_diffusion_jax.run.versions import migrate_config
from tiny_diffusion_jax.training.step import OPTIMIZERS

ROOT = Path(__file__).parents[1]
CHOICES = {
    "data.name": data.BUILDERS, "data.jitter": data.ALL_JITTERS,
    "data.source": ("auto", *mnist_sources.NOTICES), "schedule.name": FAMILIES,
    "diffusion.prediction": PREDICTIONS, "diffusion.weighting": WEIGHTINGS,
    "model.name": (*models.MODELS, experiments.CUSTOM), "model.embedding": EMBEDDINGS,
    "train.optimizer": OPTIMIZERS, "sample.sampler": SAMPLERS,
}  # fmt: skip


@pytest.mark.parametrize("option", CHOICES)
def test_choices_are_the_names_in_the_code(option):
    assert OPTIONS[option].allowed == "one of " + ", ".join(CHOICES[option])


def test_exact_points_are_limited_by_their_cost():
    assert OPTIONS["evaluate.exact_points"].rule.words == f"in [1, {MAX_EXACT_POINTS}]"


def test_a_default_is_allowed_and_has_a_help():
    assert OPTIONS.keys() == flatten(default_config()).keys()
    for option in OPTIONS.values():
        assert option.rule.holds(option.default) and type(option.default) in TYPES
        assert option.help and option.help[-1] != "." and "|" not in option.help


def test_the_page_of_options_is_current():
    """`python -m tiny_diffusion_jax.config > docs/options.md` writes the page, without jax."""
    assert (ROOT / "docs/options.md").read_text("utf-8") == options_page()
    code = ("import sys, runpy; sys.modules['jax'] = None; "
            "runpy.run_module('tiny_diffusion_jax.config', run_name='__main__')")  # fmt: skip
    page = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert page.stdout.decode() == options_page()


@pytest.mark.parametrize("name, hint", [
    ("train.step", "Did you mean config.train.steps?"),
    ("data.num_steps", "Did you mean config.sample.num_steps?"),
    ("sample.steps", "Did you mean config.sample.num_steps or config.train.steps?"),
    ("model.row_height", "Use config.model.order=rows:HEIGHT"),
    ("schedule.bla", "Options of schedule: beta_max, beta_min, name, num_levels, rho, sigma_max, "),
    ("bla", "Options of a config: compilation_cache, data, diffusion, evaluate, log, mod"),
])  # fmt: skip
def test_an_unknown_option_is_named_with_similar_ones(name, hint):
    with pytest.raises(UserError) as error:
        part, _, last = name.rpartition(".")
        config = default_config()
        setattr(config[part] if part else config, last, 1)
    assert str(error.value).startswith(f"config.{name}: must be an option. {hint}")


def test_old_spellings_are_accepted_with_a_warning(caplog):
    config = default_config("attention_v1_own")
    config.update_from_flattened_dict({"model.count": True, "schedule.name": "seed_cosine"})
    config.update({"model": {"name": "attention_v2_own", "count": False}})
    assert (config.model.name, config.schedule.name) == ("attention_v2_same_set", "student_cosine")
    assert config.model.sizes is False
    assert caplog.messages == [
        "warning: model.name=attention_v1_own is now called model.name=attention_v1_same_set",
        "warning: model.count is now called model.sizes",
        "warning: schedule.name=seed_cosine is now called schedule.name=student_cosine",
        "warning: model.name=attention_v2_own is now called model.name=attention_v2_same_set",
        "warning: model.count is now called model.sizes",
    ]
    config.name = "seed_cosine"  # no option of this name is renamed
    assert config.name == "seed_cosine"


def test_old_spellings_on_the_command_line_warn_once(caplog):
    command = parse(["main.py", f"--config={ROOT}/configs/mixture.py", "--noconfig.model.count",
                     "--config.model.name=attention_v1_own"])  # fmt: skip
    assert command.config.model.name == "attention_v1_same_set"
    assert command.workdir == "runs/mixture_dino+moons_attention_v1_same_set"
    assert len(caplog.messages) == 2
    command = parse(["main.py", "--config=configs/seed/digit.py:7"])
    assert command.config.data.digit == 7 and len(caplog.messages) == 3


def test_old_spellings_in_stored_configs_are_converted(caplog):
    """Nobody can change a file of an old run, so there is no warning."""
    stored = default_config().to_dict()
    del stored["model"]["sizes"]
    stored["model"] |= {"count": True, "name": "attention_v2_own"}
    stored["schedule"]["name"] = "seed_cosine"
    config = default_config()
    config.update(migrate_config(stored))
    assert (config.model.name, config.model.sizes) == ("attention_v2_same_set", True)
    assert config.schedule.name == "student_cosine" and not caplog.messages


def test_an_alias_leads_to_what_exists():
    for new in ALIASES.values():
        option, is_value, value = new.partition("=")
        assert option in OPTIONS or (ROOT / option).is_file()
        assert not is_value or OPTIONS[option].rule.holds(value)
