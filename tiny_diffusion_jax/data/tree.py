"""A tree of Gaussians with finer branches at each level, like the toy of arXiv 2406.02507.

Each branch ends in two shorter and thinner branches, which turn to the left and to the right. All
levels of the tree have the same mass, so the density has structure at scales from 0.03 to 3.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax.data.densities import mixture_log_prob

LEVELS, PER_BRANCH = 6, 20  # 2^level branches of 20 Gaussians
ROOT, LENGTH, SHORTER = (-0.2, -3.8), 2.2, 0.7
STD, THINNER = 0.09, 0.8
TURNS = 0.6, -0.5  # of the two branches at the end of a branch, in radians


def _levels() -> list[np.ndarray]:
    """Centres f32[2^level * PER_BRANCH, 2] of the Gaussians of each level."""
    start, angle, levels = np.array([ROOT]), np.array([np.pi / 2]), []
    along = (np.arange(PER_BRANCH) + 0.5)[:, None, None] / PER_BRANCH
    for level in range(LEVELS):
        branch = LENGTH * SHORTER**level * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        levels.append(np.float32((start + along * branch).reshape(-1, 2)))
        start = np.tile(start + branch, (2, 1))
        angle = np.concatenate([angle + turn for turn in TURNS])
    return levels


CENTERS = _levels()
STDS = tuple(STD * THINNER**level for level in range(LEVELS))


def tree(key: jax.Array, num: int) -> jax.Array:
    """Draw from a tree of 6 levels and 1,260 Gaussians; standard deviation 0.09 * 0.8^level."""
    level_key, center_key, noise_key = jax.random.split(key, 3)
    level = jax.random.randint(level_key, (num,), 0, LEVELS)
    size = jnp.array([len(centers) for centers in CENTERS])
    first = jnp.cumsum(size) - size
    place = first[level] + jax.random.randint(center_key, (num,), 0, size[level])
    noise = jax.random.normal(noise_key, (num, 2)) * jnp.array(STDS)[level, None]
    return jnp.concatenate(CENTERS)[place] + noise


def tree_log_prob(points: jax.Array) -> jax.Array:
    """Log of the mean over levels of the mean of the normal densities of a level."""
    of_level = partial(mixture_log_prob, points=points)
    levels = [of_level(centers, std, -np.log(len(centers)))
              for centers, std in zip(CENTERS, STDS, strict=True)]  # fmt: skip
    return jax.nn.logsumexp(jnp.stack(levels), axis=0) - np.log(LEVELS)
