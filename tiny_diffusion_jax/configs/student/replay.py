"""student/replay:PART: dino, then moons; replay keeps the model from forgetting dino.

    python main.py --config=student/replay:first
    python main.py --config=student/replay:forget
    python main.py --config=student/replay:replay

`first` learns dino only. The other two parts start from the weights of `first`. `forget` learns
moons only. `replay` learns moons, and in half of the sets the samples of `first`. It reads no data
of the dinosaur, because the model's own samples replace these data (arXiv 1705.08690).
--config.model.name must choose the same model for all three parts.

Time: 6 min each.
"""

from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.errors import require_choice

PARTS = ("first", "forget", "replay")


def get_config(part: str = "first", model: str = "attention_v2_same_set"):
    require_choice("--config=student/replay:PART", part, PARTS)
    config = default_config(model)
    config.name = f"student_replay_{part}_{model}"
    first = f"runs/student_replay_first_{model}"
    config.data.name = "mixture"
    config.data.members = {"first": "dino", "forget": "moons", "replay": f"{first}+moons"}[part]
    config.train.init_from = "" if part == "first" else first
    config.train.checkpoint_every = 5_000
    config.sample.sampler = "sde-dpm++2m"
    config.sample.num_steps = 30
    config.sample.num_sets = 1_000
    config.sample.num_points = 256
    return config
