"""configs/seed/shuffled.py: the seed's question: dino and moons together, who is told apart?

    python main.py --config=configs/seed/shuffled.py --config.model.name=attention_v2

The seed's models (fourier_mlp, seq2seq, attention_v1, attention_v2) give the superposition of both,
or nothing. With a history of the same member (attention_v1_own, attention_v2_own) sets come apart
here; preconditioned as well, and with the LSTM (seq2seq_aligned), in configs/mixture.py.
"""

from tiny_diffusion_jax.models.recipes import seed_config


def get_config(members: str = "dino+moons", model: str = "fourier_mlp"):
    config = seed_config("shuffled", model)
    config.data.name = "mixture"
    config.data.members = members
    return config
