"""Compare a stored run with a config and a dataset, to find whether it is the same run."""

import contextlib
from collections.abc import Collection

import numpy as np

from tiny_diffusion_jax.config import flatten

# Parts of a config that a trained model depends on. Other parts may change from call to call.
MODEL_PARTS = {"seed", "quick", "data", "schedule", "diffusion", "model", "train"}
# Fields of these parts that do not change the weights. The data that were read are compared in
# place of the fields source and path.
FREE_FIELDS = {
    "data.source", "data.path", "data.data_dir", "data.cache_dir", "train.keep",
    "train.checkpoint_every", "train.snapshots",
}


def affects_model(field: str) -> bool:
    """Return whether a trained model depends on the option `field`, such as "train.steps"."""
    return field.partition(".")[0] in MODEL_PARTS and field not in FREE_FIELDS


def model_differences(stored: dict, config: dict, ignored: Collection[str] = ()) -> list[str]:
    """List the differences of two configs in options that a trained model depends on."""
    stored, config = flatten(stored), flatten(config)
    unrelated = {field for field in stored | config if not affects_model(field)}
    return differences(stored, config, unrelated.union(ignored))


def data_differences(stored: dict, facts: dict) -> list[str]:
    """List the differences of two descriptions of data, apart from rounding.

    The title follows from the file's name, so the same data may have another title. Facts that an
    older version did not store are not compared. The origin is not compared either, because it is
    not a property of the data.
    """
    ignored = facts.keys() - stored.keys() - {"title", "source", "shift", "scale", "init_from"}
    ignored |= facts.keys() & {"moments", "columns", "title" if "sha256" in stored else ""}
    with contextlib.suppress(KeyError, TypeError, ValueError):
        rtol = 0.0 if "origin" in stored and "origin" in facts else 1e-4
        atol = 1e-4 * np.max(facts["scale"])
        if (np.allclose(stored["shift"], facts["shift"], rtol, atol)
                and np.allclose(stored["scale"], facts["scale"], 1e-4, atol)):  # fmt: skip
            ignored |= {"shift", "scale", "origin"}
    return [f"dataset.{line}" for line in differences(stored, facts, ignored)]


def differences(stored: dict, current: dict, ignored: Collection[str] = ()) -> list[str]:
    """["field: stored -> current"] for every field that differs, apart from the `ignored` ones."""
    missing = "(none)"
    return [
        f"{field}: {stored.get(field, missing)!r} -> {current.get(field, missing)!r}"
        for field in sorted((stored.keys() | current.keys()) - set(ignored))
        if stored.get(field, missing) != current.get(field, missing)
    ]
