"""Check the scores of sets against training sets at known distances."""

import numpy as np
import pytest

from tiny_diffusion_jax.metrics import set_memorization

NAN = [np.nan, np.nan]
# Training set h is (0, h) and (2, h). Its mean squared distances from SETS are h^2 + 1/3 and h^2.
TRAINING = np.float32([[[0, h], [2, h], NAN] for h in range(1, 9)])
SETS = np.float32([[[0, 0], [2, 0], [1, 0]], [[0, 0], [2, 0], NAN]])
EXCESS = np.array([1 / 3, 0.0])


def score(nearest: int, rivals) -> np.ndarray:
    """Mean log d of the rivals - 2 log d of the nearest set, with d the mean squared distance."""
    log = lambda h: np.log(h**2 + EXCESS)
    return np.mean([log(h) for h in rivals], axis=0) - 2 * log(nearest)


@pytest.mark.parametrize("count, own, nearest, rivals", [
    (8, None, 1, (2, 3, 4, 5, 6)),
    (8, 0, 2, (3, 4, 5, 6, 7)),  # set 0 itself is excluded
    (8, 3, 1, (2, 3, 5, 6, 7)),
    (3, None, 1, (2, 3)),
    (3, 1, 1, (3,)),
])  # fmt: skip
def test_scores_are_of_mean_distances(count, own, nearest, rivals):
    own = None if own is None else np.array([own, own])
    found = set_memorization.scores(TRAINING[:count], SETS, own)
    np.testing.assert_allclose(found, score(nearest, rivals), atol=1e-5)


def test_an_exact_copy_has_a_finite_score():
    """A distance of 0 is replaced by 1e-10 of the mean variance over the coordinates."""
    points = TRAINING[:, :2]
    least = 1e-10 * (1 + np.var(np.arange(1, 9))) / 2
    found = set_memorization.scores(TRAINING, points[:1])
    # the rivals are at distances 1, 2, ...
    rivals = np.mean([np.log(float(h) ** 2) for h in range(1, 6)])
    np.testing.assert_allclose(found, rivals - 2 * np.log(least), rtol=1e-5)
