"""Numpy files of sets: points[S, N, D] with or without a mask, or all points[P, D] in a row."""

from pathlib import Path

import numpy as np

from tiny_diffusion_jax.data.cells import are_missing, texts_of
from tiny_diffusion_jax.data.collection import Collection, collect, join_equal, listed, one_each
from tiny_diffusion_jax.data.columns import NO_COLUMN, parse_columns
from tiny_diffusion_jax.data.table import ARRAYS, are_columns, load_arrays
from tiny_diffusion_jax.dataset import coordinate_names
from tiny_diffusion_jax.errors import UserError, require, require_choice

ZERO_SETS = 0.05  # smallest share of sets with a zero row at the end for a notice


def is_table(config, arrays: dict | None = None) -> bool:
    """Return whether a file is a table, with a row for each point and a column for the set.

    arrays: the content of an .npz file, in place of the file.

    A numpy file is a table if it has structured rows, or one array for each column. If
    `config.set_column` is the number of a column, an array [P, C] is a table.
    """
    path = Path(config.path).expanduser()
    if path.suffix.lower() not in ARRAYS:
        return True
    arrays = arrays or load_arrays(path)
    if len(arrays) > 1 and not config.array:
        return are_columns(arrays)
    array = arrays.get(config.array, next(iter(arrays.values())))
    return bool(array.dtype.names) or (array.ndim == 2 and config.set_column.isdecimal())


def read(config, arrays: dict | None = None) -> Collection:
    """Read the sets in `arrays` by name, or in the file `config.path`.

    A .npy file holds points[S, N, D]. In an .npz file the points are the array `config.array`, or
    for '' the array named points, or else the only array. This array has one of two shapes.
    points[S, N, D]: sizes[S] counts the first points of each set that exist, or mask[S, N] is True
    for points that exist. Without both the rows of NaN at the end of a set are padding.
    points[P, D]: sizes[S] counts the points of each set, or set[P] names the set of each point.
    mask[P] is True for points that exist.
    label[S] and split[S] have one entry for each set. With set[P] these entries are in the order of
    the sorted values of set. `config.set_column`, `config.label_column` and `config.split_column`
    replace the array names set, label and split. `config.columns` selects coordinates.
    Raises `UserError` with the name of the array and the invalid entry.
    """
    require(not config.where, "config.data.where", config.where, "'' for arrays without rows")
    titles = {role: config[f"{role}_column"].strip() or role for role in ("set", "label", "split")}
    in_memory = arrays is not None
    arrays, others = _by_role(config, titles, arrays)
    points, columns = _coordinates(arrays["points"], config)
    has_padding = points.ndim == 3 and not {"mask", "sizes"} & arrays.keys()
    notices = _padding_notices(points) if has_padding else []
    if others and in_memory:  # a file may hold arrays of other programs
        advice = "; config.data.label_column=NAME names the array of labels"
        notices.append(f"not read: {listed(others)}{'' if 'label' in arrays else advice}")
    codes, ids, equal_names = join_equal(*_codes(points, arrays, config, titles))
    notices += [equal_names] if equal_names else []
    exists = _exists(points, arrays)
    rows, kept = _finite(points[exists], codes[exists], ids, config, "mask" in arrays, notices)

    def of_sets(role: str) -> np.ndarray | None:  # text [S]; the array has S or P entries
        if role not in arrays:
            return None
        name, values = titles[role], _flat(arrays[role])
        if values.shape == (len(ids),):
            texts = texts_of(values)
            if (absent := np.flatnonzero(texts == "")).size:
                entry = f"{name} of set {ids[absent[0]]!r} is missing"
                raise UserError(problem=entry, allowed="a text or a number")
            return texts.astype(str)
        if "set" in arrays and values.shape == codes.shape:
            field = f"config.data.{role}_column"
            return one_each(values, codes, ids, field, name, "row {}".format)
        raise UserError(problem=f"{name} has shape {values.shape}",
                        allowed=f"{(len(ids),)}, one a set")  # fmt: skip

    return collect(
        rows, kept, ids, config, label=of_sets("label"), split=of_sets("split"), columns=columns,
        label_column=titles["label"], set_column=titles["set"], notice="; ".join(notices),
        remarks=f"; not read: {listed(others)}" if others else "",
    )  # fmt: skip


def _by_role(config, titles: dict[str, str], arrays: dict | None) -> tuple[dict, list[str]]:
    """Return arrays by role (points, mask, sizes, set, label, split), and names of other arrays."""
    arrays = arrays or load_arrays(Path(config.path).expanduser())
    if config.array:
        require_choice("config.data.array", config.array, [name for name in arrays if name])
    elif "points" not in arrays and len(arrays) != 1:
        raise UserError(problem=f"must hold an array points; there are {', '.join(arrays)}; "
                                "config.data.array names another")  # fmt: skip
    points = config.array or ("points" if "points" in arrays else next(iter(arrays)))
    names = {"points": points, "mask": "mask", "sizes": "sizes"} | titles
    for role, name in titles.items():
        is_named = config[f"{role}_column"] and (name != NO_COLUMN or role == "set")
        if is_named and name not in arrays:
            names = ", ".join(key for key in arrays if key) or "none"
            raise UserError(f"config.data.{role}_column", name,
                            problem=f"no array {name!r}; there are {names}")  # fmt: skip
    roles = {role: arrays[name] for role, name in names.items() if name in arrays}
    return roles, [name for name in arrays if name not in names.values()]


def _coordinates(points: np.ndarray, config) -> tuple[np.ndarray, list[str]]:
    """Return the coordinates that `config.columns` selects, and their names."""
    if points.dtype.kind not in "biuf":
        raise UserError(problem=f"points are of type {points.dtype}", allowed="real numbers")
    shape = f"points have shape {points.shape}"
    if points.ndim not in (2, 3):
        raise UserError(problem=shape, allowed="[S, N, D], or [P, D] with set[P] or sizes[S]")
    dim = points.shape[-1]
    if dim < 2:
        raise UserError(problem=f"{shape}: must have D = 2 coordinates or more")
    names = list(coordinate_names(dim))
    if not config.columns:
        return points, names
    chosen = parse_columns(names, config.columns)
    return points[..., chosen], [names[i] for i in chosen]


def _codes(points: np.ndarray, arrays: dict, config, titles) -> tuple[np.ndarray, list[str]]:
    """Return the index of the set of each point, int[S, N] or int[P], and the names of the sets."""
    num = len(points)
    if points.ndim == 3:
        return np.repeat(np.arange(num)[:, None], points.shape[1], 1), list(map(str, range(num)))
    if "sizes" in arrays and not config.set_column:
        sizes = _whole_numbers(_flat(arrays["sizes"]))
        if sizes is None or np.any(sizes < 0) or sizes.sum() != num:
            total = "" if sizes is None else f" and sum {sizes.sum()}"
            raise UserError(problem=f"sizes of shape {arrays['sizes'].shape}{total}",
                            allowed=f"[S], whole numbers of sum {num}, the number of points")
        return np.repeat(np.arange(len(sizes)), sizes), list(map(str, range(len(sizes))))
    if "set" not in arrays:
        raise UserError(problem="points have shape [P, D]: must go with set[P] or sizes[S]; one "
                                "set of points is learned by --config=points")  # fmt: skip
    sets = _flat(arrays["set"])
    if sets.shape != (num,):
        raise UserError(problem=f"{titles['set']} has shape {sets.shape}", allowed=str((num,)))
    if (is_missing := are_missing(sets)).any():
        raise UserError(problem=f"{titles['set']} of row {int(np.argmax(is_missing))} is missing",
                        allowed="the name of a set")  # fmt: skip
    ids, codes = np.unique(sets, return_inverse=True)
    return codes, list(map(str, ids.tolist()))


def _exists(points: np.ndarray, arrays: dict) -> np.ndarray:
    """Return which points exist, bool[S, N] or bool[P]: by sizes, by a mask, or by rows of NaN."""
    mask = _mask(arrays["mask"], points.shape[:-1]) if "mask" in arrays else None
    if points.ndim == 3 and "sizes" in arrays:
        counted = _first_points(arrays["sizes"], *points.shape[:2])
        if mask is not None and (differs := (mask != counted).any(1)).any():
            raise UserError(problem=f"sizes and mask differ in set '{int(np.argmax(differs))}'",
                            allowed="equal", hint="Leave out one of them")  # fmt: skip
        return counted
    if mask is None and points.ndim == 3 and points.dtype.kind == "f":
        return ~_trailing(np.isnan(points).all(-1))
    return np.ones(points.shape[:-1], bool) if mask is None else mask


def _mask(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Convert a mask of this shape to bool; raise UserError unless it holds truth values."""
    mask = mask[..., 0] if mask.shape == (*shape, 1) else mask
    if mask.shape != shape:
        raise UserError(problem=f"mask has shape {mask.shape}", allowed=f"{shape}, as points")
    if mask.dtype.kind not in "biuf" or (is_odd := ~np.isin(mask, (0, 1))).any():
        value = mask.flat[0 if mask.dtype.kind not in "biuf" else np.argmax(is_odd)]
        raise UserError(problem=f"mask holds {value.item()!r}",
                        allowed="True or False, or 1 or 0, for each point")  # fmt: skip
    return mask.astype(bool)


def _first_points(sizes: np.ndarray, S: int, N: int) -> np.ndarray:
    """Mask bool[S, N] of the first sizes[s] points of each set."""
    numbers = _whole_numbers(_flat(sizes))
    allowed = f"[{S}], whole numbers from 0 to {N}, the number of points of each set"
    if numbers is None or numbers.shape != (S,):
        raise UserError(problem=f"sizes of shape {sizes.shape}", allowed=allowed)
    if (is_odd := (numbers < 0) | (numbers > N)).any():
        raise UserError(problem=f"sizes hold {int(numbers[is_odd][0])}", allowed=allowed)
    return np.arange(N) < numbers[:, None]


def _whole_numbers(sizes: np.ndarray) -> np.ndarray | None:
    """Return sizes [S] if they are whole numbers, else None."""
    return sizes if sizes.ndim == 1 and sizes.dtype.kind in "iu" else None


def _flat(values: np.ndarray) -> np.ndarray:
    """Flatten an array [S] or [S, 1] to values [S]."""
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values


def _trailing(is_empty: np.ndarray) -> np.ndarray:
    """Trailing True entries bool[S, N] of each row of bool[S, N]."""
    return np.logical_and.accumulate(is_empty[:, ::-1], axis=1)[:, ::-1]


def _padding_notices(points: np.ndarray) -> list[str]:
    """Notices about rows of points[S, N, D] that look like padding, although there is no mask."""
    notices = []
    num_zeros = _trailing((points == 0).all(-1)).sum(1)
    if (num_zeros > 1).any() or (num_zeros > 0).mean() > ZERO_SETS:
        share = 100 * num_zeros.sum() / (len(points) * points.shape[1])
        notices.append(
            f"{share:.0f} % of all points are zeros at the end of sets: if they are padding, an "
            ".npz file with an array mask[S, N] leaves them out")  # fmt: skip
    last = points[..., -1]
    if last.size and np.isin(last, (0, 1)).all() and np.ptp(last) > 0:
        others = ",".join(map(str, range(points.shape[-1] - 1)))
        choose = f" and config.data.columns={others}" if points.shape[-1] > 2 else ""
        notices.append("the last coordinate is 0 or 1 in all points: if it is a mask, an .npz file "
                       f"with an array mask[S, N]{choose} keeps it from being learned")  # fmt: skip
    return notices


def _finite(rows, codes, ids, config, is_masked: bool, notices: list[str]):
    """Return the rows of finite numbers, and their codes.

    With `config.skip_incomplete` rows with NaN are left out. Raises UserError for other non-finite
    numbers.
    """
    missing = np.isnan(rows).any(1) if rows.dtype.kind == "f" else np.zeros(len(rows), bool)
    if config.skip_incomplete and missing.any():
        notices.append(f"left out: {missing.sum():,} of {len(rows):,} points with missing values "
                       f"(the first is in set {ids[codes[np.argmax(missing)]]!r})")  # fmt: skip
        rows, codes = rows[~missing], codes[~missing]
    with np.errstate(over="ignore"):
        bad = ~np.isfinite(rows.astype(np.float32))
    if bad.any():
        row = int(np.argmax(bad.any(1)))
        masked = " where mask is True" if is_masked else ""
        advice = "config.data.skip_incomplete=True leaves out points with NaN"
        raise UserError(problem=f"set {ids[codes[row]]!r} has a point {rows[row].tolist()}",
                        allowed=f"finite numbers{masked}",
                        hint=advice if np.isnan(rows[row]).any() else "")  # fmt: skip
    return rows, codes
