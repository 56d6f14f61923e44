"""Learn a distribution of points in the plane by diffusion: see `python main.py --help`."""

from tiny_diffusion_jax.cli.main import start

if __name__ == "__main__":
    start()
