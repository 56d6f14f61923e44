"""The config `student/digit`: see tiny_diffusion_jax/configs/student/digit.py."""

from tiny_diffusion_jax.configs.student.digit import get_config as get_config
