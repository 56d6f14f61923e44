"""Test whether a generator memorizes its training data: compare each set with every training set.

An image is a density p_i of points, so a set x_1..x_N has a likelihood under each training image i.
The images are sorted by this likelihood, and i is the image of l_(1):

    l_i = 1/N sum_n log p_i(x_n),    l_(1) >= l_(2) >= ...
    score = (l_(1) - mean of l_(2) .. l_(6)) + (l_(1) - E_i),    E_i = sum_x p_i(x) log p_i(x)

The first term of the score is the lead over the next best images. The second term compares l_(1)
with E_i, the expected l_i of a set from image i. A copy has a large lead and an l_(1) near E_i.
A set from a new image has neither.

l_(1) alone cannot detect copies, because it mainly measures how many pixels are lit. The test
threshold is the 99 % quantile over sets from test images of MNIST. For sets redrawn from training
images, these shares exceed the threshold:

    points per set     l_(1)     lead     score
    64                   1 %     45 %      51 %
    256                  2 %     66 %      76 %

Observed sets have no density. `set_memorization` has the corresponding score for observed sets.
"""

import jax
import numpy as np

from tiny_diffusion_jax.dataset import Dataset
from tiny_diffusion_jax.errors import require
from tiny_diffusion_jax.metrics import ragged, set_memorization
from tiny_diffusion_jax.metrics.points import require_finite

BLUR = 0.3  # pixels; points just outside of a stroke are unlikely, not impossible.
BACKGROUND = 1e-3  # share of an image's mass that is spread evenly over all pixels.
RIVALS = set_memorization.RIVALS  # next best images, which define the lead of the best image.
CHUNK = 4_096  # images whose densities are in memory at once: 13 MB of MNIST
MAX_REFERENCE = 2_000  # held-out images or sets
ENOUGH = 100  # held-out sets; with fewer, training sets are added to the reference
EXTREME = 0.01  # share of held-out sets that count as close to a training set
VERDICTS = (
    "no more sets follow one training {} closely than new ones would",
    "COPIES: more sets follow one training {} closely than new ones would",
)
FLAGGED = 1e-3  # p-value below which chance does not explain the share of close sets


def compare(dataset: Dataset, key: jax.Array, sets) -> dict:
    """Share of `sets` f32[B, N, D] that are closer to training data than 99 % of held-out sets.

    The reference is R sets, each from a different held-out image or observed set. A set is close
    if fewer than m = R / 100 reference scores are as large as its score.
    `value` is the share of close sets. The expected share is `floor` = m / (R + 1) for new sets
    and `ceiling` for sets redrawn from training data. value_se includes the chance in B and in R.
    p_value: probability that new sets have at least as many close sets. This probability is exact:
    all R + B scores are exchangeable, so the number of close sets is beta-binomial.
    If p_value < 0.001, the sets are `flagged`. `verdict` describes the result in words.
    sets_95, heldout_95: 95 % quantiles of the scores, in nats per point.
    Observed sets, and the `sets` compared with observed sets, are padded with NaN. If fewer than
    100 observed sets are held out, training sets join the reference, each scored without itself.
    Raises UserError if a coordinate is not finite or nothing is held out.
    """
    from scipy.stats import betabinom

    sets = np.asarray(sets, np.float32)
    observed = dataset.images is None
    (ragged.require_padded if observed else require_finite)("sets", sets)
    available = 0 if dataset.heldout is None else dataset.heldout.num_sources
    kind = "set" if observed else "image"
    require(available > 0, f"held-out {kind}s", available, "at least 1")
    B, num_points = sets.shape[:2]
    heldout_key, train_key = jax.random.split(key)
    heldout, _ = ragged.one_set_each(dataset.heldout, heldout_key, MAX_REFERENCE, num_points)
    redrawn, _ = ragged.one_set_each(dataset, train_key, B, num_points)
    groups = [sets, heldout, redrawn]
    if observed:
        groups = np.concatenate([ragged.pad(group, num_points) for group in groups])
        scored, added = _observed_scores(dataset, key, groups, len(heldout))
    else:
        scored, added = scores(dataset.images, np.concatenate(groups)), []
    score, reference, of_redrawn = np.split(scored, [B, B + len(heldout)])
    reference = np.concatenate([reference, added])

    R = len(reference)
    m = max(1, round(EXTREME * R))
    threshold = np.sort(reference)[R - m]
    close, expected = int((score > threshold).sum()), m / (R + 1)
    share, p_value = close / B, float(betabinom.sf(close - 1, B, m, R + 1 - m))
    spread = share * (1 - share) / B + expected * (1 - expected) / (R + 2)
    return {
        "value": share, "value_se": float(spread**0.5), "floor": expected, "ratio": None,
        "ceiling": float((of_redrawn > threshold).mean()), "p_value": p_value,
        "flagged": p_value < FLAGGED,
        "verdict": VERDICTS[p_value < FLAGGED].format(kind),
        "sets_95": float(np.quantile(score, 0.95)),
        "heldout_95": float(np.quantile(reference, 0.95)), "num_sets": B,
        "num_points": num_points, "num_train": dataset.num_sources, "num_heldout": R,
    }  # fmt: skip


def _observed_scores(dataset: Dataset, key, sets: np.ndarray, num_heldout: int):
    """Scores of `sets`, and of training sets that replace missing held-out sets."""
    draw, again = jax.random.split(jax.random.fold_in(key, 2))
    index = np.arange(dataset.num_sources)
    most = min(int(np.max(dataset.sizes)), set_memorization.MOST_OF_TRAINING)
    training = ragged.real_sets(dataset, draw, index, most)
    scored = set_memorization.scores(training, sets)
    if num_heldout >= ENOUGH or len(index) < 3:
        return scored, []
    own = np.random.default_rng(0).permutation(index)[:MAX_REFERENCE]
    alike = ragged.real_sets(dataset, again, own, sets.shape[1])
    return scored, set_memorization.scores(training, alike, own)


def scores(images: jax.Array, sets: np.ndarray) -> np.ndarray:
    """Scores f32[B] in nats per point: how closely each set f32[B, N, 2] follows one image.

    images: u8[S, H, W], each with a lit pixel; points in pixels with y up. One matrix product of
    pixel counts and log densities gives all l_i. With fewer than 6 images the lead counts as 0,
    because every set has a large lead over a few unlike images.
    """
    count = pixel_counts(sets, *images.shape[1:])
    largest, excess = [], []
    for start in range(0, len(images), CHUNK):
        log_density, expected = log_densities(images[start : start + CHUNK])
        log_likelihood = count @ log_density.T
        best = log_likelihood.argmax(1)
        excess.append(log_likelihood[np.arange(len(sets)), best] - expected[best])
        others = max(0, len(expected) - RIVALS - 1)  # numpy selects faster than XLA's top_k
        largest.append(np.partition(log_likelihood, others, axis=1)[:, others:])
    of_chunk = np.argmax([values.max(1) for values in largest], axis=0)
    largest = -np.sort(-np.concatenate(largest, axis=1))
    rivals = largest[:, 1 : RIVALS + 1]
    lead = largest[:, 0] - rivals.mean(1) if rivals.shape[1] == RIVALS else 0.0
    return lead + np.stack(excess)[of_chunk, np.arange(len(sets))]


def pixel_counts(sets: np.ndarray, height: int, width: int) -> np.ndarray:
    """Share f32[B, H W] of each set's points in each pixel, row by row from the top.

    Points outside of the picture count at its edge.
    """
    column = np.clip(np.floor(sets[..., 0]), 0, width - 1).astype(int)
    row = np.clip(height - 1 - np.floor(sets[..., 1]), 0, height - 1).astype(int)
    cell = (np.arange(len(sets))[:, None] * height + row) * width + column
    count = np.bincount(cell.ravel(), minlength=len(sets) * height * width)
    return (count.reshape(len(sets), -1) / sets.shape[1]).astype(np.float32)


def log_densities(
    images: jax.Array, blur: float = BLUR, background: float = BACKGROUND
) -> tuple[np.ndarray, np.ndarray]:
    """Return log p_i f32[S, H W] of each pixel, for blurred images p_i, and E_i f32[S].

    blur: standard deviation in pixels; background: the share of p_i that is spread evenly.
    E_i is the mean of log p_i over points of the original image, which is not blurred.
    """
    from scipy.ndimage import gaussian_filter

    images = np.asarray(images, np.float32)
    blurred = gaussian_filter(images, (0, blur, blur))
    mass, blurred_mass = (
        each.reshape(len(each), -1) / each.sum((1, 2))[:, None] for each in (images, blurred)
    )
    log_density = np.log((1 - background) * blurred_mass + background / mass.shape[1])
    return log_density, np.einsum("sp,sp->s", mass, log_density)
