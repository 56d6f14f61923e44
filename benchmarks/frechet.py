"""Frechet distance between two groups of features, under the assumption that both are Gaussian."""

import numpy as np


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """|mean_a - mean_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)) of features f[n, F] and f[m, F].

    The distance is in squared units of the features (Dowson and Landau 1982; arXiv 1706.08500,
    equation 6). The distance is larger for few sets, so compare it with the distance of equally
    many real sets.
    """
    means = [x.mean(0, dtype=np.float64) for x in (a, b)]
    roots = [(x - mean) / len(x) ** 0.5 for x, mean in zip((a, b), means, strict=True)]
    # C_a C_b has the eigenvalues of H C_b H with H = C_a^(1/2), and H C_b H is symmetric. So
    # tr (C_a C_b)^(1/2) is the sum of the square roots of the eigenvalues of H C_b H.
    covariances = [root.T @ root for root in roots]
    values, vectors = np.linalg.eigh(covariances[0])
    half = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(half @ covariances[1] @ half), 0)).sum()
    traces = sum(np.trace(covariance) for covariance in covariances)
    return float(np.sum((means[0] - means[1]) ** 2) + traces - 2 * cross)
