"""The config `image`: see tiny_diffusion_jax/configs/image.py."""

from tiny_diffusion_jax.configs.image import get_config as get_config
