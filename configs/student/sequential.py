"""The config `student/sequential`: see tiny_diffusion_jax/configs/student/sequential.py."""

from tiny_diffusion_jax.configs.student.sequential import get_config as get_config
