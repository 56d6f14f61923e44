"""Make specs of batches for a strategy, without a network."""

from typing import NamedTuple

from tiny_diffusion_jax.models.traits import Traits
from tiny_diffusion_jax.sets import STRATEGIES
from tiny_diffusion_jax.sets.batch import BatchSpec


class Model(NamedTuple):
    """The fields of a denoiser that strategies read."""

    strategy: str = "independent"
    history_source: str = ""
    counts: bool = False
    latent_dim: int = 0
    latent_noise: float = 0.0
    order: str = "random"
    coordinates: tuple[str, ...] = ("x", "y")
    given_share: float = 0.0
    teacher_forcing: float = 0.0

    @property
    def traits(self) -> Traits:
        return Traits(self.strategy, 1, history_source=self.history_source)


INDEPENDENT = Model()
SAME_SET = Model("autoregressive", "same_set")
PREVIOUS_BATCH = Model("autoregressive", "previous_batch")


def make_spec(num_sets: int, num_points: int, model=INDEPENDENT, **fields) -> BatchSpec:
    """Spec of batches of the strategy of `model`; fields: other fields of the spec."""
    return BatchSpec(STRATEGIES[model.strategy](model), num_sets, num_points, **fields)

