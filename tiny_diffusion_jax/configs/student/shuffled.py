"""student/shuffled: the student project's question: does training on both separate?

    python main.py --config=student/shuffled --config.model.name=attention_v2

The student models fourier_mlp, attention_v1 and attention_v2 draw the superposition of dino and
moons, and seq2seq learns nothing. With a history of the same member (attention_v1_same_set,
attention_v2_same_set), the sets become separate. In the config mixture, the sets of these models,
with preconditioning, and of the LSTM seq2seq_aligned are separate too.

The time is in CPU seconds on one core: compilation, and 500 steps scaled to all 20,000 steps
of `fourier_mlp`, without evaluation.

Time: 48 s.
"""

from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.recipes import STUDENT_RECIPES


def get_config(members: str = "dino+moons", model: str = "fourier_mlp"):
    config = default_config(model, STUDENT_RECIPES)
    config.name = f"student_shuffled_{model}"
    config.data.name = "mixture"
    config.data.members = members
    return config
