"""Check the settings of the student project against its description."""

import numpy as np
import pytest

import tiny_diffusion_jax as td
from tiny_diffusion_jax.recipes import STUDENT_RECIPES


@pytest.mark.parametrize("model", STUDENT_RECIPES)
def test_the_student_project_predicts_eps_over_250_levels_of_linear_betas(model):
    """alpha_bar_T = prod (1 - beta) is 0.080, so x_T keeps signal and samples are blurred."""
    config = td.default_config(model, STUDENT_RECIPES)
    config.data.name = "moons"
    process = td.build(config).process
    alpha_bar = np.cumprod(1 - np.linspace(1e-4, 0.02, 250))
    assert alpha_bar[-1] == pytest.approx(0.080, abs=5e-4)
    np.testing.assert_allclose(process.schedule.alpha[1:] ** 2, alpha_bar, rtol=1e-4)
    assert process.prediction == "eps"
    assert (config.sample.sampler, config.sample.num_steps) == ("ancestral", 250)
    assert (config.train.learning_rate, config.train.ema_decay) == (1e-4, 0.0)
