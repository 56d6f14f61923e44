"""Report overfitting from held-out sets: the selected weights, and a warning.

The held-out loss falls while a model learns the distribution of sets. It rises when the model
starts to memorise its training sets.
"""

import numpy as np

from tiny_diffusion_jax.data.halves import size

RISE = 1.02  # ratio to the lowest loss; smaller rises are noise of a small held-out batch


# The held-out sets that selected the weights, with their names in metrics.json.
OTHER, SAME = "other held-out sets", "the same held-out sets"


def which_weights(state, dataset) -> str:
    """Sentence with the step of the best weights, and the held-out sets that selected them."""
    measured = 0 if dataset.heldout is None else size(dataset.heldout)
    if not measured:  # a run that is read without its data
        sets = "held-out sets"
    elif dataset.validation is None:
        sets = (f"{measured} sets; 1-NNA and likelihood are measured on the same sets, so they are "
                "optimistic")  # fmt: skip
    else:
        sets = (f"{size(dataset.validation)} sets; 1-NNA and likelihood are measured on {measured} "
                "other sets")  # fmt: skip
    return (f"weights: the average at step {int(state.best.step)} of {int(state.step)}, which has "
            f"the lowest held-out loss, {float(state.best.loss):.4f}, on {sets}")  # fmt: skip


def chosen_on(experiment) -> dict:
    """{"weights_chosen_on": `OTHER` or `SAME`} for a metric on held-out sets; {} if not chosen."""
    if not experiment.config.train.keep_best:
        return {}
    return {"weights_chosen_on": SAME if experiment.dataset.validation is None else OTHER}


def warning(rows: list[dict], keeps_best: bool) -> str:
    """Warning if the held-out loss has risen from its minimum, from rows of metrics.jsonl; or "".

    The end of the curve is the median of its last tenth, so no single block decides.
    """
    curve = [(row["heldout_loss"], row["step"]) for row in rows if row.get("heldout_loss")]
    if not curve:
        return ""
    lowest, step = min(curve)
    last = float(np.median([loss for loss, _ in curve[-max(1, len(curve) // 10) :]]))
    if last <= RISE * lowest:
        return ""
    advice = ("samples are drawn with the weights of that step" if keeps_best else
    "config.train.keep_best=True draws with the weights of that step")  # fmt: skip
    return (f"overfitting: the held-out loss was {lowest:.4f} at step {step} and is {last:.4f} "
            f"at the end; {advice}; more sets, or moved ones (config.data.augment_*), "
            "help")  # fmt: skip
