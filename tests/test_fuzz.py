"""Check that any config is either refused in one line, or can be saved and built."""

import json

from fuzz import FIELDS, NUMBERS, TEXTS, WHOLE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tiny_diffusion_jax import call_checks, checks, models
from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.diffusion import make_process
from tiny_diffusion_jax.diffusion.schedules import make_schedule
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.recipes import RECIPES
from tiny_diffusion_jax.training.batches import make_batch_spec


def values(default):
    """Strategy for values of the type of an option."""
    if isinstance(default, bool):
        return st.booleans()
    if isinstance(default, int):
        return st.sampled_from(WHOLE) | st.integers(-10, 10_000)
    if isinstance(default, float):
        return st.sampled_from(NUMBERS) | st.floats(width=32)
    return st.sampled_from(TEXTS) | st.text(max_size=5)


# One to four options of a recipe, with any values of their types.
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
        call_checks.check_sample(config, config.sample)
    except UserError as error:
        assert str(error).strip() and len(str(error)) < 1000
        return
    json.dumps(config.to_dict(), allow_nan=False)  # NaN and infinite values are refused
    schedule = make_schedule(**config.schedule)
    make_process(schedule, **config.diffusion)
    make_batch_spec(config.train, models.make_model(config.model, 0))
