"""The config `student/replay`: see tiny_diffusion_jax/configs/student/replay.py."""

from tiny_diffusion_jax.configs.student.replay import get_config as get_config
