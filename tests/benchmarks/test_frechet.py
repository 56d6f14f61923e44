"""Compare the Frechet distance with its closed form, and check which changes it detects."""

import numpy as np
import pytest
from frechet import frechet

A = np.random.default_rng(0).normal(size=(4_000, 6)) @ np.random.default_rng(1).normal(size=(6, 6))


def test_features_are_at_distance_0_from_themselves():
    assert frechet(A, A) == pytest.approx(0, abs=1e-6)


def test_a_shift_counts_by_its_square():
    assert frechet(A, A + np.array([3, 0, 0, 4, 0, 0])) == pytest.approx(25, rel=1e-6)


def test_a_factor_counts_by_the_spread():
    """C_b = f^2 C_a gives the distance tr(C_a) (1 - f)^2."""
    centred = A - A.mean(0)
    trace = centred.var(0).sum()
    assert frechet(centred, 1.5 * centred) == pytest.approx(0.25 * trace, rel=1e-6)


def test_a_rotation_of_two_axes():
    """C_a = diag(a, b) and C_b = diag(b, a) have (C_a C_b)^(1/2) = sqrt(a b) I."""
    z = np.random.default_rng(2).normal(size=(10_000, 2))
    z = (z - z.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(z.T, bias=True))).T
    a, b = z * np.sqrt([1.0, 9.0]), z * np.sqrt([9.0, 1.0])
    assert frechet(a, b) == pytest.approx(2 * (1 + 9) - 4 * 3, rel=1e-6)
    assert frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-9)


def test_collapsed_features_are_far():
    assert frechet(A, np.repeat(A.mean(0)[None], 10, 0)) == pytest.approx(A.var(0).sum(), rel=1e-6)
