"""Measure what a model draws and scores for given points of the test sets of SpatialMNIST."""

from collections.abc import Callable

import numpy as np
from spatial_protocol import SEED, Bench, shuffled

import tiny_diffusion_jax as td
from tiny_diffusion_jax.metrics import classifier
from tiny_diffusion_jax.sets import strategy_of

TRAIN_SETS = 100_000  # sets that train the classifier of halves


def of_completions(
    bench: Bench, experiment, params, steps: int, sizes, count: int, exact: Callable[[], float]
) -> dict:  # fmt: skip
    """Conditional likelihoods of `count` test sets, and the labels of as many completed sets.

    sizes: numbers h of given points. Half of the points of a completed set are given. exact:
    returns the `exact_share`, which is the same for all models.
    """
    model = experiment.model
    if not (strategy_of(model).grows and model.traits.completes) or not sizes:
        return {}
    sets, labels = bench.partial(count)
    each = {h: td.log_prob(experiment, params, sets, steps, num_given=h) for h in sizes}

    def share_named(told=None) -> float:
        made = [td.complete(experiment, params, points[: bench.num_points // 2], num_sets=1, seed=i,
                            labels=None if told is None else told[i : i + 1])[0]
                for i, points in enumerate(sets)]  # fmt: skip
        return float(np.mean(bench.predict(np.array(made)) == labels))

    told = {"completed_told": share_named(labels)} if model.num_labels else {}
    return {
        "given": {str(h): [x.mean(), x.std() / len(x) ** 0.5] for h, x in each.items()},
        "completed": share_named(), "completed_exact": exact(),
        "completed_real": float(np.mean(bench.predict(sets) == labels)), "given_sets": len(sets),
    } | told  # fmt: skip


def exact_share(bench: Bench) -> float:
    """Lower bound of the share of sets whose label an exact completion of their half keeps.

    Let y be the label of a test set X with the half H, and c(X) the label that the classifier of
    `Bench` names. An exact draw X' has the same law as X given H, so

        P(c(X') = y) = E sum_d P(y = d | H) P(c(X) = d | H) = E P(y = c(X) | H).

    P(y | H) is a second classifier, which is trained on halves of training sets. It knows less
    about y than H does, so the result is a lower bound, up to the calibration of this classifier.
    """
    from sklearn.neural_network import MLPClassifier

    dataset, half, rng = bench.dataset, bench.num_points // 2, np.random.default_rng(SEED)
    index = rng.integers(0, dataset.num_sources, TRAIN_SETS)
    halves = shuffled(rng, bench.sets_of(dataset, index, SEED + 2))[:, :half]
    # Stops early, so its probabilities are calibrated.
    network = MLPClassifier((256, 256), alpha=1e-3, batch_size=min(500, TRAIN_SETS // 4), tol=1e-3,
                            early_stopping=True, n_iter_no_change=3, random_state=SEED)  # fmt: skip
    network.fit(classifier.histograms(halves, bench.limits),
                np.asarray(dataset.source_labels)[index])  # fmt: skip
    halves = shuffled(rng, bench.test)[:, :half]
    p = network.predict_proba(classifier.histograms(halves, bench.limits))
    named = np.searchsorted(network.classes_, bench.predict(bench.test))
    return float(p[np.arange(len(p)), named].mean())
