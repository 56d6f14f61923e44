"""The config `mnist_sets`: see tiny_diffusion_jax/configs/mnist_sets.py."""

from tiny_diffusion_jax.configs.mnist_sets import get_config as get_config
