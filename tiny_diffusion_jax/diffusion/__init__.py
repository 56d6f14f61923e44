"""Diffusion: schedules, process, samplers, likelihood. This module exports the process."""

from tiny_diffusion_jax.diffusion.process import (
    Level,
    Process,
    add_noise,
    draw_times,
    eps_from_x0,
    loss_per_set,
    make_denoise,
    make_process,
    noise_ratio,
    posterior,
)

__all__ = [
    "Level", "Process", "add_noise", "draw_times", "eps_from_x0", "loss_per_set", "make_denoise",
    "make_process", "noise_ratio", "posterior",
]  # fmt: skip
