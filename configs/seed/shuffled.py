"""configs/seed/shuffled.py: the seed's question: dino and moons together, who is told apart?

    python main.py --config=configs/seed/shuffled.py --config.model.name=attention_v2

Every model here (fourier_mlp, seq2seq, attention_v1, attention_v2) gives the superposition of both,
or nothing; configs/mixture.py has the ones that do not.
"""

from tiny_diffusion_jax.models.recipes import seed_config


def get_config(members: str = "dino+moons", model: str = "fourier_mlp"):
    config = seed_config("shuffled", model)
    config.data.name = "mixture"
    config.data.members = members
    return config
