"""Check that any config is either refused in one line, or can be saved and built."""

import fuzz
from hypothesis import HealthCheck, given, settings


@settings(max_examples=400, derandomize=True, deadline=None,
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(fuzz.CONFIGS)
def test_any_config_is_refused_in_a_line_or_can_be_used(case):
    fuzz.outcome(fuzz.use_config, case)
