"""Baselines of spatial_mnist.py: models of sets of pixels without diffusion.

Each baseline is a class that is fitted to training images. `log_prob(sets f32[S, N, 2]) -> f[S]`
returns nats per point, in units of pixels. `draw(num_sets, num_points, seed)` returns
(sets, labels or None).
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import ROOT  # noqa: F401
from scipy.ndimage import gaussian_filter
from scipy.special import logsumexp

from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.metrics.memorization import log_densities, pixel_counts
from tiny_diffusion_jax.models.causal import CausalBlock, up_to_itself
from tiny_diffusion_jax.models.set_transformer import rms_norm
from tiny_diffusion_jax.sets.order import log_orders
from tiny_diffusion_jax.training.step import make_optimizer

BLURS, SPREADS = (0.4, 0.5, 0.6, 0.7, 0.85, 1.0), (0.005, 0.01, 0.02, 0.04)
CHUNK = 4_096  # images per chunk
BATCH = 64  # sets per training step of PixelSoftmax


def within(pixels: np.ndarray, height: int, width: int, seed: int) -> np.ndarray:
    """Draw points f32[S, N, 2], uniform in pixels i[S, N] that are numbered from the top left."""
    corner = np.stack([pixels % width, height - 1 - pixels // width], -1)
    return (corner + np.random.default_rng(seed).random(corner.shape)).astype(np.float32)


class Independent:
    """Draw all points independently from one density for all images: pure superposition."""

    def __init__(self, images: np.ndarray):
        self.shape = images.shape[1:]
        flat = images.reshape(len(images), -1).astype(np.float64)
        self.density = gaussian_filter(
            (flat / flat.sum(1, keepdims=True)).mean(0).reshape(self.shape), 0.3
        ).ravel() + 1e-9  # fmt: skip
        self.density /= self.density.sum()

    def log_prob(self, sets: np.ndarray) -> np.ndarray:
        return pixel_counts(sets, *self.shape) @ np.log(self.density)

    def draw(self, num_sets: int, num_points: int, seed: int):
        pick = np.random.default_rng(seed).choice
        pixels = pick(len(self.density), (num_sets, num_points), p=self.density)
        return within(pixels, *self.shape, seed + 1), None


class BlurredImages:
    """Mixture p(X) = mean_i prod_n p_i(x_n) with blurred training images p_i, without training.

    The blur (in pixels) and the share of mass that is spread evenly maximise the likelihood of
    `validation` sets.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, validation: np.ndarray):
        self.images, self.labels, self.shape = images, labels, images.shape[1:]
        settings = [(blur, spread) for blur in BLURS for spread in SPREADS]
        scored = [self._log_prob(validation, *setting).mean() for setting in settings]
        self.blur, self.spread = settings[int(np.argmax(scored))]

    def _log_prob(self, sets: np.ndarray, blur: float, spread: float) -> np.ndarray:
        count = pixel_counts(sets, *self.shape) * sets.shape[1]
        found = []
        for start in range(0, len(self.images), CHUNK):
            log_density, _ = log_densities(self.images[start : start + CHUNK], blur, spread)
            found.append(logsumexp(count @ log_density.T, axis=1))
        return (logsumexp(found, axis=0) - np.log(len(self.images))) / sets.shape[1]

    def log_prob(self, sets: np.ndarray) -> np.ndarray:
        return self._log_prob(sets, self.blur, self.spread)

    def draw(self, num_sets: int, num_points: int, seed: int):
        rng = np.random.default_rng(seed)
        index = rng.integers(len(self.images), size=num_sets)
        log_density, _ = log_densities(self.images[index], self.blur, self.spread)
        densities = np.exp(log_density.astype(np.float64))
        pixels = np.stack([
            rng.choice(len(p), num_points, p=p / p.sum()) for p in densities
        ])  # fmt: skip
        return within(pixels, *self.shape, seed + 1), self.labels[index]


class NextPixel(nn.Module):
    """Transformer of `causal` with a softmax over the pixels, so the model knows the pixel grid.

    Returns logits f32[B, N, P] for each of the pixels i32[B, N], given the pixels before it.
    """

    num_pixels: int
    size: int = 96
    num_blocks: int = 3
    num_heads: int = 4

    @nn.compact
    def __call__(self, pixels: jax.Array) -> jax.Array:
        B, N = pixels.shape
        start = jnp.full((B, 1), self.num_pixels)
        h = nn.Embed(self.num_pixels + 1, self.size)(jnp.concatenate([start, pixels], 1)[:, :-1])
        h = h + self.param("number", nn.initializers.normal(0.02), (N, self.size))
        empty, seen = jnp.zeros((B, N, self.size)), up_to_itself(0, N, N)
        for _ in range(self.num_blocks):
            h, *_ = CausalBlock(self.num_heads)(h, empty, empty, 0, seen)
        return nn.Dense(self.num_pixels)(rms_norm(h))


class PixelSoftmax:
    """Train `NextPixel` on sets of the dataset for `steps` steps of BATCH sets.

    in_rows: order the pixels from the top left to the bottom right, not randomly.
    """

    def __init__(self, dataset, num_points: int, steps: int, in_rows: bool = False):
        self.shape, self.in_rows = dataset.images.shape[1:], in_rows
        self.model = NextPixel(int(np.prod(self.shape)))
        config = default_config().train
        config.update(steps=steps, learning_rate=2e-3)
        optimizer = make_optimizer(config)
        params = self.model.init(jax.random.key(0), jnp.zeros((1, num_points), int))

        def step(carry, key):
            params, state = carry
            pixels = self._pixels(dataset.draw(key, BATCH, num_points).points)
            loss = lambda params: -self._log_pixels(params, pixels).mean()
            updates, state = optimizer.update(jax.grad(loss)(params), state, params)
            return (optax.apply_updates(params, updates), state), None

        keys = jax.random.split(jax.random.key(1), steps)
        train = jax.jit(lambda *carry: jax.lax.scan(step, carry, keys))
        # Wait for the result, because the caller measures the seconds of the training.
        (self.params, _), _ = jax.block_until_ready(train(params, optimizer.init(params)))

    def _pixels(self, points: jax.Array) -> jax.Array:
        height, width = self.shape
        column, row = jnp.floor(points[..., 0]), height - 1 - jnp.floor(points[..., 1])
        pixels = (row * width + column).astype(jnp.int32)
        return jnp.sort(pixels, axis=-1) if self.in_rows else pixels

    def _log_pixels(self, params, pixels) -> jax.Array:
        log_p = jax.nn.log_softmax(self.model.apply(params, pixels))
        return jnp.take_along_axis(log_p, pixels[..., None], axis=-1)[..., 0]

    def log_prob(self, sets: np.ndarray) -> np.ndarray:
        score = jax.jit(lambda sets: self._log_pixels(self.params, self._pixels(sets)).mean(1))
        parts = np.array_split(sets, -(-len(sets) // 256))
        found = np.concatenate([score(part) for part in parts])
        return found - log_orders(sets.shape[1]) / sets.shape[1] if self.in_rows else found

    def draw(self, num_sets: int, num_points: int, seed: int):
        @partial(jax.jit, static_argnames="num")
        def grow(params, key, num):
            def place(i, pixels):
                logits = self.model.apply(params, pixels)[:, i]
                return pixels.at[:, i].set(
                    jax.random.categorical(jax.random.fold_in(key, i), logits)
                )

            return jax.lax.fori_loop(0, num_points, place, jnp.zeros((num, num_points), int))

        keys = jax.random.split(jax.random.key(seed), -(-num_sets // 250))
        pixels = np.concatenate([grow(self.params, key, 250) for key in keys])[:num_sets]
        return within(pixels, *self.shape, seed + 1), None
