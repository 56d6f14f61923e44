"""The config `spatial_mnist`: see tiny_diffusion_jax/configs/spatial_mnist.py."""

from tiny_diffusion_jax.configs.spatial_mnist import get_config as get_config
