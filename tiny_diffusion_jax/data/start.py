"""The density that a flow starts from, `config.data.start`, in place of Gaussian noise."""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from tiny_diffusion_jax.data.mixture import parse_member, recentred
from tiny_diffusion_jax.dataset import Dataset
from tiny_diffusion_jax.diffusion.source import Source
from tiny_diffusion_jax.errors import UserError, require

log = logging.getLogger("tiny_diffusion_jax")
FIELD = "config.data.start"
BLUR = 0.5  # pixels, std of the noise on pixels: with uniform noise, log p is -inf beside the ink
FILES = ("image", "points")


def parse(name: str) -> dict:
    """Convert the name of the start to fields of `config.data`. Raises UserError for other names.

    The names are the names of members: a shape, mnist:DIGIT[:INDEX], a picture or a table.
    """
    place = f"{FIELD} = {name!r}"
    fields = parse_member(name, place)
    require(fields["name"] != "run", FIELD, name, "a density, but it is the folder of a run")
    if fields["name"] in ("mnist", "image"):
        fields |= {"jitter": "gaussian", "jitter_std": BLUR}
    return fields


def add(config, dataset: Dataset, builders: dict[str, Callable]) -> Dataset:
    """Add the density `config.start` to `dataset`, in its units; '' or a known start: no change.

    config: the `data` part of a config; builders: functions that build single densities, by name.
    Raises UserError for a density that cannot be built, or of another dimension.
    """
    if not config.get("start") or dataset.start is not None:
        return dataset
    fields = parse(config.start)
    options = config.copy_and_resolve_references()
    # Fields of the config that describe only the data, and the file of the start.
    options.update({"normalize": True, "where": "", "columns": "", "path": ""} | fields)
    try:
        start = builders[fields["name"]](options)
    except UserError as error:
        raise replace(error, field=f"{FIELD} = {config.start!r}: {error.field}") from error
    require(start.dim == dataset.dim, FIELD, config.start,
            f"a density of points with {dataset.dim} coordinates, as in the data; it has "
            f"{start.dim}")  # fmt: skip
    start = recentred(start, dataset.origin)
    if fields.get("index"):
        start = start.replace(title=f"{start.title} #{fields['index']}")
    mean = ", ".join(f"{x:.2f}" for x in dataset.normalize(start.shift).tolist())
    std = float(jnp.mean(start.scale / dataset.scale))
    blur = f"; std of the noise on pixels: {BLUR}" if fields.get("jitter_std") == BLUR else ""
    origin = "" if start.source == "analytic" else f", from {start.source}"
    log.info("flow from %s%s (shift and scale of the data: mean (%s), std %.2f in the network%s)",
             start.title, origin, mean, std, blur)  # fmt: skip
    if start.log_prob is not None:
        # A density that is 0 in places would give a log-likelihood of minus infinity.
        far = start.log_prob(start.shift + 30 * start.scale)
        start = start.replace(log_prob=start.log_prob if jnp.isfinite(far) else None)
    return dataset.replace(start=start.replace(shift=dataset.shift, scale=dataset.scale))


def source_of(dataset: Dataset) -> Source | None:
    """Return the start of `dataset` in the units of the network; None without a start."""
    start = dataset.start
    if start is None:
        return None
    draw = Partial(_draw, start.draw, start.shift, start.scale)
    points = jax.jit(partial(draw, num=4096))(jax.random.key(0))
    log_prob = start.log_prob and Partial(_log_prob, start.log_prob, start.shift, start.scale)
    return Source(draw, jnp.sqrt(jnp.mean(points**2)), log_prob)


def file_of(config) -> Path | None:
    """Path of the file of the start; None if the start is not from a file."""
    fields = parse(config.start) if config.start else {}
    return Path(fields["path"]).expanduser() if fields.get("name") in FILES else None


def _draw(draw, shift, scale, key: jax.Array, num: int) -> jax.Array:
    return (draw(key, 1, num).points[0] - shift) / scale


def _log_prob(log_prob, shift, scale, z: jax.Array) -> jax.Array:
    return log_prob(z * scale + shift) + jnp.broadcast_to(jnp.log(scale), shift.shape).sum()
