"""The config `flow`: see tiny_diffusion_jax/configs/flow.py."""

from tiny_diffusion_jax.configs.flow import get_config as get_config
