"""The config `sets`: see tiny_diffusion_jax/configs/sets.py."""

from tiny_diffusion_jax.configs.sets import get_config as get_config
