"""The settings of the student project that asked the question: a library for `configs/seed/`."""

from tiny_diffusion_jax.config import default_config

# What each of its denoisers adds to the settings below.
MODELS = {
    "fourier_mlp": {},
    # One list of 50 points a sequence: a batch is 5 of them.
    "seq2seq": {"train.num_sets": 5, "train.num_points": 50, "train.shards": 1,
                "train.steps": 3_000, "sample.num_points": 250},
    # Batches of 250 as 10 noise levels of 25 points: every level reads the whole history.
    "attention_v1": {"train.steps": 10_000, "train.num_sets": 10, "train.num_points": 25,
                     "train.max_history": 250, "train.history_drop": 0.0},
    # 70 % of the steps without a history; w = 0.7 of arXiv 2207.12598 is a scale of 1 + w.
    "attention_v2": {"train.steps": 10_000, "train.num_sets": 10, "train.num_points": 25,
                     "train.max_history": 250, "train.history_drop": 0.7,
                     "sample.guidance_scale": 1.7},
}  # fmt: skip


def seed_config(name: str, model: str):
    """The seed's diffusion, optimizer and sampling; 128 hidden units where it had 128 or 800."""
    config = default_config()
    config.name = f"seed_{name}_{model}"
    config.model.name = model
    config.model.hidden_dim = 128
    config.model.num_frequencies = 64
    config.model.scale = 25.0
    config.model.max_period = 10_000.0
    config.schedule.name = "linear"
    config.schedule.num_levels = 250
    config.diffusion.prediction = "eps"
    config.data.normalize = False
    config.data.align = False
    config.train.steps = 20_000  # 50 epochs of 100,000 points
    config.train.num_sets = 250  # points that do not know of each other
    config.train.num_points = 1
    config.train.learning_rate = 1e-4
    config.train.warmup = 0
    config.train.weight_decay = 5e-10
    config.train.ema_decay = 0.0
    config.sample.sampler = "ancestral"
    config.sample.num_steps = 250
    config.sample.num_sets = 2
    config.sample.num_points = 3000
    # Batches of 250, each the history of the next.
    config.sample.first_block = 250
    config.sample.growth = 1.0
    config.update_from_flattened_dict(MODELS.get(model, {}))
    return config
