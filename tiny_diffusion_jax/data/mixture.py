"""Mixtures: each set comes from one of several densities.

One text names the members: "dino+moons+mnist:3+mnist:3:7+cat.png+table.csv+runs/dino". The name of
a table may select rows: "table.csv?dataset=dino". With "table.csv?dataset" each value of this
column is a member.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from tiny_diffusion_jax.data import generated
from tiny_diffusion_jax.data.columns import read_column
from tiny_diffusion_jax.data.shapes import SHAPES
from tiny_diffusion_jax.data.table import is_table
from tiny_diffusion_jax.dataset import Dataset
from tiny_diffusion_jax.errors import NO_VALUE, UserError, require
from tiny_diffusion_jax.point_sets import PointSets


def build(config, builders: dict[str, Callable]) -> Dataset:
    """Build the mixture of `config.members` with probabilities `config.weights` ("": equal).

    p({x_1..x_N}) = sum_k w_k prod_n p_k(x_n): one member is drawn for each set and is its label.
    `config.align`: each member is normalised to mean 0 and mean variance 1, else it keeps its
    units. builders: functions that build single densities, by name. Jitter is uniform within a
    pixel for pictures, and Gaussian with `config.jitter_std` for tables.
    Raises `UserError` for an unknown member, for a member that is not in the plane, and for weights
    that are not probabilities.
    """
    names = member_names(config.members)
    weights = parse_weights(config.weights, names)
    # If `align` is False, only the moments of the mixture need the moments of the members.
    is_measured = config.align or config.normalize
    members = [_build_member(config, name, is_measured, builders) for name in names]
    texts = {field: dict.fromkeys(getattr(member, field) for member in members)
             for field in ("source", "notice", "details")}  # fmt: skip
    origin, shift, scale = (), jnp.zeros(2), jnp.ones(())
    if config.align:
        members = [_transformed(member, member.shift, member.scale, ()) for member in members]
    else:
        # The origin of the first member with an origin, in each coordinate.
        origins = np.array([member.origin or (0.0, 0.0) for member in members])
        first = origins[np.argmax(origins != 0, axis=0), (0, 1)]
        origin = tuple(first.tolist()) if first.any() else ()
        members = [recentred(member, origin) for member in members]
    if config.normalize and not config.align:
        # shift = sum_k w_k m_k; scale^2 = sum_k w_k (s_k^2 + |m_k - shift|^2 / 2)
        means = np.array([member.shift for member in members], np.float64)
        scales = np.array([member.scale for member in members], np.float64)
        mean = weights @ means
        variance = weights @ (scales**2 + ((means - mean) ** 2).mean(1))
        shift, scale = jnp.asarray(mean, jnp.float32), jnp.float32(math.sqrt(variance))
    members = tuple(member.replace(shift=shift, scale=scale) for member in members)
    titles = tuple(member.title for member in members)
    mixture = Dataset(
        draw=None, shift=shift, scale=scale, members=members, title=" + ".join(titles),
        source=", ".join(s for s in texts["source"] if s != "analytic") or "analytic",
        notice="\n".join(filter(None, texts["notice"])),
        details="; ".join(filter(None, texts["details"])),
        num_labels=len(members), label_names=titles, label_options=names,
        sequential=config.order == "sequential", origin=origin,
    )  # fmt: skip
    return mixture.reweighted(jnp.asarray(weights, jnp.float32))  # sets `draw` and `log_prob`


def member_names(members: str) -> tuple[str, ...]:
    """Names ("dino", "moons") of "dino+moons"; "table?column" gives a name for each value.

    Reads the table for these values, and raises `UserError` if the table is not readable.
    """
    names = []
    for name in members.split("+"):
        table, mark, rows = (part.strip() for part in name.partition("?"))
        if mark and rows and "=" not in rows and is_table(table):
            try:
                values = read_column(table, rows)
            except UserError as error:
                place = f"config.data.members = {members!r}: {name.strip()!r}"
                field = ": ".join(filter(None, (place, error.field)))
                raise replace(error, field=field) from error
            names += [f"{table}?{rows}={value}" for value in values]
        else:
            names.append(name.strip())
    return tuple(names)


def member_title(name: str) -> str:
    """Title of one member before its dataset is built, without details from its file."""
    if name in SHAPES:
        return name.replace("_", " ")
    head, *numbers = name.split(":")
    if head == "mnist":
        return " #".join(["MNIST " + "".join(numbers[:1]), *numbers[1:]])
    path, _, rows = name.partition("?")
    return rows.partition("=")[2].strip() or Path(path).stem


def parse(config) -> None:
    """Check the members and weights of `config` without data; raises `UserError` as in `build`."""
    names = member_names(config.members)
    for name in names:
        parse_member(name, _place(config.members, name), ", joined by +")
    parse_weights(config.weights, names)


def parse_weights(text: str, names: Sequence[str]) -> np.ndarray:
    """Convert "0.3+0.7" to probabilities f64[K] of K members; "" gives equal probabilities."""
    if not text.strip():
        return np.full(len(names), 1 / len(names))

    try:
        weights = np.array([float(part) for part in text.split("+")])
    except ValueError:
        weights = np.zeros(0)
    for is_valid, allowed in (
        (len(weights), "numbers joined by +, as '0.3+0.7', or '' for equal ones"),
        (len(weights) == len(names), f"{len(names)} numbers, one for each member"),
        ((weights > 0).all() and np.isfinite(weights).all(), "positive numbers"),
        (abs(weights.sum() - 1) <= 1e-6, f"numbers of sum 1, not {weights.sum():.7g}"),
    ):
        require(bool(is_valid), "config.data.weights", text, allowed)
    return weights / weights.sum()


def _build_member(config, name: str, normalize: bool, builders) -> Dataset:
    place = _place(config.members, name)
    fields = parse_member(name, place, ", joined by +")
    member = config.copy_and_resolve_references()
    member.update(normalize=normalize, **fields)
    try:
        dataset = builders[fields["name"]](member)
    except UserError as error:  # names the invalid field, but not the member
        raise replace(error, field=f"{place}: {error.field}") from error
    if dataset.source == "points" and dataset.notice:
        notices = (f"{dataset.title}: {notice}" for notice in dataset.notice.split("\n"))
        dataset = dataset.replace(notice="\n".join(notices))
    require(dataset.dim == 2, place, NO_VALUE, "in the plane, as all members of a mixture, and its "
            f"points have {dataset.dim} coordinates")  # fmt: skip
    if fields.get("index"):
        dataset = dataset.replace(title=f"{dataset.title} #{fields['index']}")
    return dataset


def _place(members: str, name: str) -> str:
    """Return the field of an error about one member."""
    return f"config.data.members = {members!r}: {name!r}"


def parse_member(name: str, place: str, joined: str = "") -> dict:
    """Convert the name of one density to fields of `config.data`.

    place: the field of an error; joined: words about several names.
    """
    if name in SHAPES:
        return {"name": name}
    head, *numbers = name.split(":")
    if head == "mnist":
        if not 1 <= len(numbers) <= 2 or not all(n.isdecimal() for n in numbers):
            raise UserError(place, allowed="mnist:DIGIT or mnist:DIGIT:INDEX")
        digit, index = map(int, (*numbers, 0)[:2])
        if digit > 9:
            raise UserError(place, allowed="a digit of 0..9")
        return {"name": "mnist", "digit": digit, "index": index, "jitter": "uniform"}
    table, mark, rows = (part.strip() for part in name.partition("?"))
    if is_table(table):
        where = {"where": rows} if mark else {}
        return {"name": "points", "path": table, "jitter": "gaussian", "heldout": 0.0, **where}
    path = Path(name).expanduser()
    if generated.is_run(name):
        return {"name": "run", "path": name}
    if name and (path.suffix or path.exists()):
        return {"name": "image", "path": name, "jitter": "uniform"}
    known = f"{', '.join(SHAPES)}, mnist:DIGIT, mnist:DIGIT:INDEX, a file, or a run's folder"
    raise UserError(place, allowed=f"one of {known}{joined}")


def recentred(member: Dataset, origin: tuple[float, ...]) -> Dataset:
    """Convert `member` to the centred units of another `origin`."""
    if member.origin == origin:
        return member
    zero = (0.0,) * member.dim
    move = np.subtract(member.origin or zero, origin or zero)
    moved = lambda array: None if array is None else jnp.float32(np.float64(array) + move)
    member = member.replace(shift=moved(member.shift), rows=moved(member.rows))
    return _transformed(member, jnp.float32(-move), jnp.float32(1), origin)


def _transformed(member: Dataset, shift, scale, origin: tuple[float, ...]) -> Dataset:
    """Convert draws and the density of `member` to the units z = (x - shift) / scale."""
    return member.replace(
        draw=Partial(_draw_transformed, member.draw, shift, scale), origin=origin,
        log_prob=member.log_prob and Partial(_transformed_log_prob, member.log_prob, shift, scale),
    )  # fmt: skip


def _draw_transformed(draw, shift, scale, key, num_sets: int, num_points: int) -> PointSets:
    sets = draw(key, num_sets, num_points)
    return sets._replace(points=(sets.points - shift) / scale)


def _transformed_log_prob(log_prob, shift, scale, z):
    """Return log p(z) = log p(x) + sum of log scale over the axes, at x = z scale + shift."""
    return log_prob(z * scale + shift) + jnp.broadcast_to(jnp.log(scale), shift.shape).sum()
