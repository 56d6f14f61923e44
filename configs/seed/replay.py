"""configs/seed/replay.py:PART: dino first, then moons, and the first is remembered: replay.

    python main.py --config=configs/seed/replay.py:first     # dino alone
    python main.py --config=configs/seed/replay.py:forget    # from its weights, moons alone
    python main.py --config=configs/seed/replay.py:replay    # moons, and the sets that `first` drew

Nothing of the dinosaur's data is read after the first part: its own samples stand for them (arXiv
1705.08690). With --config.model.name=set_latent and the like for all three parts alike.
"""

from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.errors import require_choice

PARTS = ("first", "forget", "replay")


def get_config(part: str = "first", model: str = "history"):
    require_choice("configs/seed/replay.py:PART", part, PARTS)
    config = default_config(model)
    config.name = f"seed_replay_{part}_{model}"
    first = f"runs/seed_replay_first_{model}"
    config.data.name = "mixture"
    config.data.members = {"first": "dino", "forget": "moons", "replay": f"{first}+moons"}[part]
    config.train.init_from = "" if part == "first" else first
    config.train.checkpoint_every = 5_000
    config.sample.sampler = "sde-dpm++2m"
    config.sample.num_steps = 30
    config.sample.num_sets = 1_000
    config.sample.num_points = 256
    return config
