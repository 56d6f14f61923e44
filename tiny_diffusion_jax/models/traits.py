"""What a denoiser says about itself: nothing else has to guess it from its attributes."""

from typing import NamedTuple


class Traits(NamedTuple):
    """How whole sets are drawn from a denoiser, what it is shown in training, what it costs."""

    # How whole sets are drawn: "alone", "joint", "chain", "causal" or "latent", see generation/.
    generation: str
    floats_per_point: int  # float32 numbers that an evaluation keeps alive for each point,
    floats_per_pair: int = 0  # for each pair of points of a set,
    floats_per_shown: int = 0  # and for each pair of a point and a shown one
    # Clean points shown in training: "" none, "same_set" others of the same set, "previous_batch"
    # those of the batch before, whatever their member.
    shown: str = ""
    # Height of the rows in whose order it takes points, own units, see data/rows.py; 0: in any.
    row_height: float = 0.0
    completes: bool = False  # whether it can draw a set of which some points are given
    latent_dim: int = 0  # size of the latent drawn once per set; 0: there is none
    latent_noise: float = 0.0  # blur of the latents in training
    teacher_forcing: float = 0.0  # share of the sets whose decoder is given the right answers
    max_points: int | None = None  # the largest set it takes; None: any
    max_points_reason: str = ""  # for the message about a set that is too large
    learned_queries: bool = False  # its attention is asked by learned vectors, not by points
