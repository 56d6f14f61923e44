"""spatial_mnist[:MODEL]: SpatialMNIST, the published benchmark for 2-D point sets.

    python main.py --config=spatial_mnist
    python benchmarks/spatial_mnist.py               # compares models and baselines

A set has 50 different pixels of one MNIST image. They are drawn in proportion to intensity, and
each point is uniform within its pixel (arXiv 1606.02185). The first 50,000 images of the training
split are for training, the last 10,000 for choosing settings, and the test split for metrics. The
model is conditioned on the digit for only half of the sets, because the benchmark has no labels.

`rows` (the default) is `causal` with the points of a set row by row, in reading order. It has the
best likelihood. `given` also completes sets: random points are given before the rows in half of
the training sets. `causal` takes the points in random order. All three see the earlier points
relative to the point that they draw, because no two points are in one pixel. They need the same
time: side by side on one GPU, each made 127 to 128 steps per second.

Time: 90 min.
"""

from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.recipes import SMALL_SETS


def get_config(model: str = "rows"):
    is_causal = model in ("causal", "rows", "given")
    config = default_config("causal" if is_causal else model)
    config.name = f"spatial_mnist_{model}"
    config.data.name = "mnist_sets"
    config.data.jitter = "uniform"
    config.data.replace = False
    config.data.max_images = 50_000
    config.model.labels = True
    config.train.label_drop = 0.5
    config.train.checkpoint_every = 2_000
    if model == "set_transformer":
        config.update_from_flattened_dict(SMALL_SETS)
    config.train.num_points = 50
    config.sample.num_sets = 1_000
    config.sample.num_points = 50
    if is_causal:
        config.model.order = "random" if model == "causal" else "rows:1"  # one pixel
        config.model.given_share = 0.5 if model == "given" else 0.0
        config.model.relative = True  # points avoid each other's pixels
        config.train.steps = 33_000 if model == "causal" else 30_000
        config.sample.growth = 1.0  # exact, because each block is one point
        # Fresh noise corrects earlier errors. 30 steps evenly spaced in log SNR are as good as 100
        # evenly spaced in time, see docs/notes.md.
        config.sample.sampler = "sde-dpm++2m"
        config.sample.num_steps = 30
        config.sample.spacing = "log_snr"
        config.sample.sigma_min = 0.03
    elif model in ("set_transformer", "set_latent"):
        config.sample.sampler = "sde-dpm++2m"
        config.sample.num_steps = 30
    return config
