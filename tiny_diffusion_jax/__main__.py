"""`python -m tiny_diffusion_jax`: the command line of main.py."""

from tiny_diffusion_jax.cli.main import start

if __name__ == "__main__":
    start()
