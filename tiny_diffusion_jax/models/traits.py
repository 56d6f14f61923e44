"""Properties of a denoiser: its strategy, its history in training, its memory, its limits."""

from typing import NamedTuple


class Traits(NamedTuple):
    """Properties that generation and training read."""

    strategy: str  # name of the strategy that generates sets, see sets/
    floats_per_point: int  # float32 values that an evaluation keeps alive for each point,
    floats_per_pair: int = 0  # for each pair of points of a set,
    floats_per_history_point: int = 0  # and for each pair of a point and a history point
    # "": no history. "same_set": clean points of the same set. "previous_batch": points of the
    # previous batch, from any member.
    history_source: str = ""
    completes: bool = False  # whether the strategy can complete given points to a set
    max_points: int | None = None  # size of the largest set; None: no limit
    max_points_reason: str = ""  # for the error message about larger sets
    learned_queries: bool = False  # whether attention queries are learned vectors
