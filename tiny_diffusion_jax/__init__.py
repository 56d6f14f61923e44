"""tiny_diffusion_jax: distributions of points in the plane, learned by diffusion."""

from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.experiment import Experiment, build, log_prob, sample, train

__version__ = "0.1.0"
__all__ = ["Experiment", "build", "default_config", "log_prob", "sample", "train"]
