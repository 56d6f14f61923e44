"""Any config at all is refused in one line, or can be written down and put together."""

import json
import math

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tiny_diffusion_jax import checks, models
from tiny_diffusion_jax.config import default_config, flatten
from tiny_diffusion_jax.diffusion import make_process
from tiny_diffusion_jax.diffusion.schedules import make_schedule
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.models.recipes import RECIPES
from tiny_diffusion_jax.training.batches import make_plan

TEXTS = [
    "", "auto", "none", "yes", "no", "0", "moons", "dino", "mixture", "dino+moons", "0.3+0.7", "1+",
    "x,y", "karras", "linear", "cosine", "flow", "eps", "x0", "v", "edm", "likelihood", "min_snr",
    "gaussian", "uniform", "identity", "learned", "muon", "ddim", "heun", "log_snr", "float32",
    "sequential", "digits", "017", "\n", "é", "a" * 300, "../..", "%s", "{}",
]  # fmt: skip
WHOLE = [-(2**63), -2, -1, 0, 1, 2, 3, 4, 5, 7, 8, 16, 50, 64, 1000, 4096, 2**31, 2**63]
NUMBERS = [0.0, -0.0, 1e-30, 1e-6, 0.1, 0.5, 0.999, 1.0, 1.5, 2.0, 12.0, 1e6, 1e30, 1e308, -1.0,
           math.nan, math.inf, -math.inf]  # fmt: skip


def values(default):
    """What an option of this type may be given."""
    if isinstance(default, bool):
        return st.booleans()
    if isinstance(default, int):
        return st.sampled_from(WHOLE) | st.integers(-10, 10_000)
    if isinstance(default, float):
        return st.sampled_from(NUMBERS) | st.floats(width=32)
    return st.sampled_from(TEXTS) | st.text(max_size=5)


FIELDS = {field: value for field, value in flatten(default_config()).items()
          if field != "model.name"}  # fmt: skip
# One to four options of a recipe, each anything of its type.
CHANGES = st.lists(st.sampled_from(sorted(FIELDS)), min_size=1, max_size=4, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: values(FIELDS[name]) for name in names}))


@settings(max_examples=400, derandomize=True, deadline=None,
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(st.sampled_from(sorted(RECIPES)), CHANGES)
def test_any_config_is_refused_in_a_line_or_can_be_used(model, changes):
    config = default_config(model)
    config.update_from_flattened_dict(changes)
    try:
        checks.check(config)
        checks.check_sample(config, config.sample)
    except UserError as error:
        assert str(error).strip() and len(str(error)) < 1000
        return
    json.dumps(config.to_dict(), allow_nan=False)  # no option that is no number gets through
    schedule = make_schedule(**config.schedule)
    make_process(schedule, **config.diffusion)
    make_plan(config.train, models.make_model(config.model, 0))
