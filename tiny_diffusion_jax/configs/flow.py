"""flow[:START:TARGET]: a flow from one density to another, by flow matching.

    python main.py --config=flow:eight_gaussians:moons
    python main.py --config=flow:mnist:3:mnist:8

START and TARGET are a shape (see the config moons), mnist:DIGIT[:INDEX], a picture or a table of
points. Pairs of both densities are matched by optimal transport within a batch, which keeps the
paths short and straight. On a TPU, use --config.train.pairs=independent.

The time is in CPU seconds on one core: compilation, and 500 steps scaled to all 12,000 steps,
without evaluation.

Time: 140 s.
"""

import re

from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.data.mixture import parse_member
from tiny_diffusion_jax.errors import UserError

NAME = r"(mnist:\d(?::\d+)?|[^:]+)"


def get_config(names: str = "eight_gaussians:moons", model: str = "fourier_mlp"):
    found = re.fullmatch(f"{NAME}:{NAME}", names)
    if found is None:
        raise UserError(f"--config=flow:{names}", allowed="two densities, START:TARGET")
    start, target = found.groups()
    config = default_config(model)
    config.name = "flow_" + re.sub(r"\W", "_", names)
    config.data.start = start
    config.data.update(parse_member(target, f"--config=flow:{names}: {target!r}"))
    config.schedule.name = "flow"
    config.train.pairs = "optimal"
    config.sample.sampler = "heun"
    return config
