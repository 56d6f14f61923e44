"""Facts about a dataset that a run stores, so that samples can be drawn without the data.

`describe` returns the facts as JSON, for "dataset" in a run's config.json. `restore` makes a
dataset without points from these facts, with the units, labels, sizes of sets and column names of
the data.
"""

import hashlib
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from tiny_diffusion_jax.data import start, units
from tiny_diffusion_jax.dataset import Dataset, moments_of_draws
from tiny_diffusion_jax.point_sets import PointSets

TEXTS = ("columns", "set_column", "label_column")
FILES = ("image", "points", "sets")  # datasets from one file or folder, config.path


def describe(dataset: Dataset, config=None) -> dict:
    """Facts about `dataset`, which was built from `config`, the `data` part of a config.

    Normalised points are (points - shift) / scale. The origin is stored if it exists (units.py).
    """
    scale, shift = dataset.scale, np.asarray(dataset.shift)
    facts = {
        "title": dataset.title,
        "source": dataset.source,
        "shift": units.to_own(dataset.origin, shift).tolist() if dataset.origin else [
            _rounded(x) for x in shift],
        "scale": [_rounded(x) for x in scale] if np.ndim(scale) else _rounded(scale),
        "num_sources": dataset.num_sources,
    }
    if dataset.origin:
        facts["origin"] = list(dataset.origin)
    facts |= {name: getattr(dataset, name) for name in TEXTS if getattr(dataset, name)}
    if dataset.num_labels:
        facts["labels"] = {
            "names": list(dataset.label_names), "options": list(dataset.label_options),
            "shares": dataset.label_shares.tolist(),
        }  # fmt: skip
    if dataset.sizes is not None:
        facts["sizes"] = _count_sizes(dataset)
    if config is not None and not config.normalize:
        mean, std = moments_of_draws(dataset)
        facts["moments"] = {"mean": [_rounded(x) for x in mean], "std": std}
    if config is not None and config.name in FILES:
        facts["sha256"] = hash_of(Path(config.path).expanduser())
    if dataset.start is not None:
        facts["start"] = describe_start(dataset, config)
    return facts


def describe_start(dataset: Dataset, config) -> dict:
    """Facts about the density that a flow starts from, for config.json."""
    facts = {"title": dataset.start.title, "source": dataset.start.source}
    file = None if config is None else start.file_of(config)
    return facts if file is None else facts | {"sha256": hash_of(file)}


def is_complete(facts) -> bool:
    """Return whether facts are complete; older versions stored title, source, shift and scale."""
    return isinstance(facts, dict) and "num_sources" in facts


def restore(facts: dict) -> Dataset:
    """Make a dataset without points: `draw` returns labels and NaN points."""
    origin = tuple(facts.get("origin", ()))
    shift = jnp.asarray(units.to_centred(origin, facts["shift"]), jnp.float32)
    scale = jnp.asarray(facts["scale"], jnp.float32)
    labels = facts.get("labels", {"names": [], "options": [], "shares": []})
    shares = np.array(labels["shares"], np.float64)
    fields = {name: facts[name] for name in TEXTS if name in facts}
    if "columns" in fields:
        fields["columns"] = tuple(fields["columns"])
    if "sizes" in facts:
        fields["sizes"], of_label = _list_sizes(facts["sizes"])
        fields["source_labels"] = of_label if len(shares) else None
    if "moments" in facts:
        moments = facts["moments"]
        fields["moments"] = jnp.asarray(moments["mean"], jnp.float32), moments["std"]
    with np.errstate(divide="ignore"):  # log 0 for labels without sets
        log_shares = np.log(shares).astype(np.float32)
    return Dataset(
        draw=Partial(partial(_draw_labels, len(shift)), log_shares), shift=shift, scale=scale,
        weights=shares if len(shares) else None, title=facts["title"], source=facts["source"],
        num_labels=len(shares), label_names=tuple(labels["names"]),
        label_options=tuple(labels["options"]), hidden_sources=facts["num_sources"],
        has_points=False, origin=origin, **fields,
    )  # fmt: skip


def hash_of(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of all files in a folder."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()} {hash_of(file)}\n".encode())
    return digest.hexdigest()


def _rounded(x) -> float:
    return float(f"{x:.9g}")  # all digits of a float32


def _count_sizes(dataset: Dataset) -> list[list[int]]:
    """Sorted list of [label, size, number of sets], with label 0 for sets without labels."""
    sizes = np.asarray(dataset.sizes)
    labels = np.zeros_like(sizes) if dataset.source_labels is None else dataset.source_labels
    rows, counts = np.unique(np.stack([labels, sizes], 1), axis=0, return_counts=True)
    return np.column_stack([rows, counts]).tolist()


def _list_sizes(counts: list[list[int]]) -> tuple[jax.Array, jax.Array]:
    """Sizes i32[S] and labels i32[S] of all sets, in order."""
    labels, sizes, number = np.array(counts, np.int32).T
    return jnp.asarray(np.repeat(sizes, number)), jnp.asarray(np.repeat(labels, number))


def _draw_labels(dim: int, log_shares, key, num_sets: int, num_points: int) -> PointSets:
    points = jnp.full((num_sets, num_points, dim), jnp.nan)
    if not len(log_shares):
        return PointSets(points)
    return PointSets(points, label=jax.random.categorical(key, log_shares, shape=(num_sets,)))
