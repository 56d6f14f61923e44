"""Check log_prob as a JAX function, and log p along the path that draws the points."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from weights import random_weights

import tiny_diffusion_jax as td
from tiny_diffusion_jax import api
from tiny_diffusion_jax.diffusion.ode_likelihood import log_likelihood, sample_with_log_prob
from tiny_diffusion_jax.errors import UserError
