"""How short and straight the trajectories of a flow are: path energy against optimal transport."""

import numpy as np

from tiny_diffusion_jax.metrics.points import wasserstein2


def straightness(trajectory: np.ndarray, time: np.ndarray, exact_points: int = 1_000) -> dict:
    """Path energy over squared W2 of both ends, for trajectories f32[F, N, D] at times f64[F].

        E = mean over points of integral |dx/dt|^2 dt,    value = E / W_2^2(x_1, x_0) >= 1

    times run from 1 (start) to 0 (data). E of a polygon is sum |x_k+1 - x_k|^2 / |t_k+1 - t_k|. The
    value is 1 if all paths are straight, at constant speed, and follow an optimal plan
    (Benamou-Brenier). value - 1 is the normalised path energy of arXiv 2302.00482. `curvature` is E
    over the mean of |x_0 - x_1|^2, minus 1, which is 0 for straight paths of any plan. W2 is exact
    between the ends of the first `exact_points` trajectories.
    """
    x, t = np.asarray(trajectory, np.float64), np.asarray(time, np.float64)
    steps = (np.diff(x, axis=0) ** 2).sum(-1) / np.abs(np.diff(t))[:, None]
    energy = steps.sum(0)[:exact_points]
    start, end = x[0, :exact_points], x[-1, :exact_points]
    squared = wasserstein2(start, end) ** 2
    return {
        "value": float(energy.mean() / squared), "floor": None, "ratio": None,
        "energy": float(energy.mean()), "wasserstein2_squared": float(squared),
        "curvature": float(energy.mean() / ((start - end) ** 2).sum(-1).mean() - 1),
        "num_points": len(energy), "num_sets": 1,
    }  # fmt: skip
