"""The config `mixture`: see tiny_diffusion_jax/configs/mixture.py."""

from tiny_diffusion_jax.configs.mixture import get_config as get_config
