"""The config `points`: see tiny_diffusion_jax/configs/points.py."""

from tiny_diffusion_jax.configs.points import get_config as get_config
