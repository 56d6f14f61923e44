"""student/sequential: the student project's dino first, then moons; dino is forgotten.

    python main.py --config=student/sequential --config.model.name=attention_v1

The first half of the steps trains on the first member only, the second half on the second member.

The time is in CPU seconds on one core: compilation, and 500 steps scaled to all 20,000 steps
of `fourier_mlp`, without evaluation.

Time: 56 s.
"""

from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.recipes import STUDENT_RECIPES


def get_config(members: str = "dino+moons", model: str = "fourier_mlp"):
    config = default_config(model, STUDENT_RECIPES)
    config.name = f"student_sequential_{model}"
    config.data.name = "mixture"
    config.data.members = members
    config.data.order = "sequential"
    return config
