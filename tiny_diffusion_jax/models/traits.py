"""Properties of a denoiser that generation and training need."""

from typing import NamedTuple


class Traits(NamedTuple):
    """How sets are generated from a denoiser, its history in training, and its memory."""

    # Strategy to generate sets: "alone", "joint", "chain", "causal" or "latent", see sets/.
    generation: str
    floats_per_point: int  # float32 values that an evaluation keeps alive for each point,
    floats_per_pair: int = 0  # for each pair of points of a set,
    floats_per_shown: int = 0  # and for each pair of a point and a history point
    # Source of the history in training. "": no history. "same_set": other points of the same set.
    # "previous_batch": points of the previous batch, from any member.
    shown: str = ""
    # Height of the rows that order the points, in data units, see sets/row_order.py; 0: any order.
    row_height: float = 0.0
    completes: bool = False  # whether given points can be completed to a set
    latent_dim: int = 0  # size of the latent of each set; 0: no latent
    latent_noise: float = 0.0  # noise that is added to latents in training
    teacher_forcing: float = 0.0  # share of the sets whose decoder reads the target
    max_points: int | None = None  # size of the largest set; None: no limit
    max_points_reason: str = ""  # for the error message about larger sets
    learned_queries: bool = False  # whether attention queries are learned vectors
