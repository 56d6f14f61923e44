"""The config `student/shuffled`: see tiny_diffusion_jax/configs/student/shuffled.py."""

from tiny_diffusion_jax.configs.student.shuffled import get_config as get_config
