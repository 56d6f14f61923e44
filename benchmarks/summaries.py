"""Compare two groups of point patterns by Ripley's K and the nearest-neighbour function G.

A set f64[n, D] lies in a box f64[D, 2], the window of observation. Points near its border have
unobserved neighbours, which both estimates correct. `deviations` is a permutation test: if the two
groups have one law, each exchange of sets between the groups is equally likely (Hahn 2012, doi
10.1080/01621459.2012.688463). It uses the studentised largest difference over r (Myllymaki et al.
2017, arXiv 1307.0239).
"""

import numpy as np
from scipy.spatial import KDTree

STEPS, PERMUTATIONS = 24, 999


def ripley(points: np.ndarray, box: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, float]:
    """Return n K(r) f64[R] and n of one set f64[n, D], 0 and 0 for n < 2.

    K(r) = |W|^2 / (n (n - 1)) sum_{i != j} [|x_i - x_j| <= r] / |W cap (W + x_i - x_j)|, the
    translation correction. Mean functions are weighted by n (Diggle et al. 1991).
    """
    n, sides = len(points), np.diff(box)[:, 0]
    if n < 2:
        return np.zeros(len(r)), 0.0
    i, j = KDTree(points).query_pairs(r[-1], output_type="ndarray").T  # each pair once
    apart = np.abs(points[i] - points[j])
    weight = 2 * np.prod(sides) ** 2 / np.prod(sides - apart, axis=1) / (n - 1)
    far = np.linalg.norm(apart, axis=1)
    return np.histogram(far, np.append(0, r), weights=weight)[0].cumsum(), float(n)


def nearest(points: np.ndarray, box: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, float]:
    """Return numerator f64[R] and denominator of G(r) of one set f64[n, D], 0 and 0 for n < 2.

    G(r) = sum_i w_i [d_i <= r] / sum_i w_i, with the distance d_i of the nearest neighbour and
    w_i = [d_i <= distance of x_i to the border] |W| / |W eroded by d_i| (Hanisch 1984).
    """
    if len(points) < 2:
        return np.zeros(len(r)), 0.0
    sides = np.diff(box)[:, 0]
    far = KDTree(points).query(points, 2)[0][:, 1]
    far = far[far <= np.minimum(points - box[:, 0], box[:, 1] - points).min(1)]
    weight = 1 / np.prod(1 - 2 * far[:, None] / sides, axis=1)
    return np.histogram(far, np.append(0, r), weights=weight)[0].cumsum(), weight.sum()


def deviations(a, b, num: int = PERMUTATIONS, seed: int = 0) -> np.ndarray:
    """Return the deviation f64[num + 1] of two groups of sets, and of `num` permutations.

    a, b: pairs of numerators f64[S, R] and denominators f64[S]. The mean function of a group is
    M(r) = sum numerators / sum denominators. The deviation is the largest |M_a(r) - M_b(r)| / s(r)
    over r, with the standard deviation s(r) of the difference over all permutations.
    """
    top, low = np.concatenate([a[0], b[0]]), np.concatenate([a[1], b[1]])[:, None]
    rng, first = np.random.default_rng(seed), np.arange(len(low)) < len(a[1])
    groups = np.stack([first, *(rng.permutation(first) for _ in range(num))])
    with np.errstate(invalid="ignore"):  # a mean function is NaN if all denominators are 0
        means = [(1.0 * group @ top) / (1.0 * group @ low) for group in (groups, ~groups)]
    difference = np.abs(means[0] - means[1])
    # differences by rounding are 0; a group without a mean function has the largest deviation
    difference[difference < 1e-9 * means[0]] = 0
    spread = np.sqrt(np.nanmean(difference**2, axis=0))
    return np.nan_to_num(difference / np.where(spread > 0, spread, 1), nan=np.inf).max(1)


def functions(sets: list[np.ndarray], box: np.ndarray, real: list[np.ndarray]) -> dict[str, tuple]:
    """Return K and G of sets, at distances that depend on the box and on the real sets.

    K is at STEPS distances up to a quarter of the mean side, and G at distances up to the
    95 % quantile of nearest neighbours in `real`.
    """
    near = np.concatenate([KDTree(x).query(x, 2)[0][:, 1] for x in real if len(x) > 1])
    grid = np.arange(1, STEPS + 1) / STEPS
    result = {}
    for name, function, most in (("K", ripley, np.diff(box).mean() / 4),
                                 ("G", nearest, np.quantile(near, 0.95))):  # fmt: skip
        of_sets = [function(points, box, most * grid) for points in sets]
        result[name] = tuple(np.array(part) for part in zip(*of_sets, strict=True))
    return result
