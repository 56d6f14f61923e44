"""The config `moons`: see tiny_diffusion_jax/configs/moons.py."""

from tiny_diffusion_jax.configs.moons import get_config as get_config
