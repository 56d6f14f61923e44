"""The config `mnist_digit`: see tiny_diffusion_jax/configs/mnist_digit.py."""

from tiny_diffusion_jax.configs.mnist_digit import get_config as get_config
