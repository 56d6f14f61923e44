"""Tables of points (.csv, .tsv, .npy, .npz): rows drawn with replacement, plus Gaussian jitter."""

import contextlib
import csv
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from tiny_diffusion_jax.data.base import Dataset, make_dataset, mixture_log_prob, single_density
from tiny_diffusion_jax.data.images import MAX_MIXTURE
from tiny_diffusion_jax.errors import UserError, require, require_choice

MIN_ROWS = 50  # of a table without jitter, for some of them to be held out
MAX_SPREAD_RATIO = 100.0  # of two coordinates, above which one scale makes the narrow one vanish


class Table(NamedTuple):
    """Columns of one length, as read: strings from text files, numbers from arrays."""

    names: list[str]  # one per column: the header's, or "0", "1", ...
    columns: list[np.ndarray]
    rows: list[str]  # what an error calls each row: "line 7"


def build(config) -> Dataset:
    """The rows of `config.path` as a density in the table's own units.

    p(x) = mean over rows of N(x; row, jitter_std^2), or the bare rows with `config.jitter` 'none'.
    With jitter fresh draws are new to a model that is trained on others. Without it they are not:
    then the share `config.heldout` of the rows, the same ones in every run, is kept from training
    and becomes `heldout`; nothing is held out of fewer than 50 rows.
    A point has as many coordinates as `config.columns` names, x and y if it names none.
    `config.per_axis`: each coordinate has a scale of its own, instead of one for all.
    Raises `UserError` that names the row and column at fault.
    """
    std = config.jitter_std if config.jitter == "gaussian" else 0.0
    points = load_points(config.path, config.header, config.columns, config.where, config.array)
    heldout = None
    if std == 0 and config.heldout > 0 and len(points) >= MIN_ROWS:
        points, kept_back = _split(points, config.heldout)
        kept_back = jnp.asarray(kept_back, jnp.float32)
        heldout = make_dataset(_draw(kept_back, 0.0), normalize=False, rows=kept_back)
    rows = jnp.asarray(points, jnp.float32)
    log_prob = None
    if std > 0 and len(rows) <= MAX_MIXTURE:
        log_weight = -jnp.log(jnp.float32(len(rows)))
        log_prob = Partial(mixture_log_prob, rows, jnp.float32(std), log_weight)
    value = config.where.partition("=")[2].strip()
    title = value or Path(config.path).stem
    variance = points.var(0) + std**2
    one_scale = config.normalize and not config.per_axis
    notice = uneven_spreads(np.sqrt(variance)) if one_scale else ""
    dataset = make_dataset(
        _draw(rows, std), normalize=config.normalize, per_axis=config.per_axis,
        moments=(points.mean(0), variance), log_prob=log_prob, title=title,
        source="points", rows=rows if std == 0 else None, notice=notice,
    )  # fmt: skip
    if heldout is None:
        return dataset
    return dataset.replace(heldout=heldout.replace(shift=dataset.shift, scale=dataset.scale))


def uneven_spreads(std: np.ndarray) -> str:
    """What to say of coordinates with standard deviations [D] of very different sizes, "" if not.

    One scale for all would show the network the narrow one as a constant.
    """
    wide, narrow = int(np.argmax(std)), int(np.argmin(std))
    if std[wide] <= MAX_SPREAD_RATIO * std[narrow]:
        return ""
    return (
        f"coordinate {wide} has a spread of {std[wide]:.3g} and coordinate {narrow} one of "
        f"{std[narrow]:.2g}: with one scale for both the narrow one is learned as a constant; "
        "config.data.per_axis=True gives each a scale of its own"
    )


def _split(points: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows held out, each in the order of the table."""
    held = np.zeros(len(points), bool)
    chosen = np.random.default_rng(0).permutation(len(points))[: max(1, round(share * len(points)))]
    held[chosen] = True
    return points[~held], points[held]


def _draw(rows: jax.Array, std: float) -> Partial:
    return single_density(Partial(_sample, rows, jnp.float32(std)))


def _sample(rows, std, key: jax.Array, num: int) -> jax.Array:
    index_key, jitter_key = jax.random.split(key)
    index = jax.random.randint(index_key, (num,), 0, len(rows))
    return rows[index] + std * jax.random.normal(jitter_key, (num, rows.shape[1]))


def load_points(
    path: str, header="auto", columns="", where="", array="", dim: int = 2
) -> np.ndarray:
    """Two columns of a table or more, f64[rows, D].

    header: 'auto', 'yes' or 'no', for text; columns: 'x,y,z' by name or '0,1' by place, '' for the
    first `dim` numeric ones; where: 'column=value' keeps the rows that hold the value;
    array: the name of an array in an .npz file, '' for its first.
    Raises `UserError` naming what is wrong, with its row and column.
    """
    place = f"config.data.path = {path!r}"
    table = _select_rows(_read(path, header, array), where)
    chosen = _choose_columns(table, columns, place, dim)
    return np.stack([_numbers(table, index, place) for index in chosen], axis=1)


def values(path: str, column: str) -> list[str]:
    """The different values of a column of a table, in order of appearance; see `load_points`."""
    table = _read(path, "auto", "")
    cells = table.columns[_find_column(table, column, "column", column)]
    return list(dict.fromkeys(map(str, cells.tolist())))


def _read(path: str, header: str, array: str) -> Table:
    file = Path(path).expanduser()
    suffix, place = file.suffix.lower(), f"config.data.path = {path!r}"
    require(suffix in (".csv", ".tsv", ".npy", ".npz"), "config.data.path", path,
            "a .csv, .tsv, .npy or .npz file")  # fmt: skip
    require(file.is_file(), "config.data.path", path, "an existing file")
    text = suffix in (".csv", ".tsv")
    table = _read_text(file, header, place) if text else _read_array(file, array, place)
    if not table.rows:
        raise UserError(f"{place}: must hold at least one row of data, but the table is empty")
    return table


def _read_text(file: Path, header: str, place: str) -> Table:
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{place}: must be a text file in UTF-8 ({error})") from error
    return _parse_text(lines, _delimiter(file, lines), header, place)


def _delimiter(file: Path, lines: list[str]) -> str:
    first = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    return "\t" if file.suffix.lower() == ".tsv" else max(",;\t", key=first.count)


def _parse_text(lines: list[str], delimiter: str, header: str, place: str) -> Table:
    reader = csv.reader(lines, delimiter=delimiter)
    cells, rows = [], []
    try:
        for row in reader:
            row = [cell.strip() for cell in row]
            if any(row) and not row[0].startswith("#"):
                cells.append(row)
                rows.append(f"line {reader.line_num}")
    except csv.Error as error:
        raise UserError(
            f"{place}: line {reader.line_num}: must be a row of cells ({error})"
        ) from error
    if not cells:
        return Table([], [], [])
    width = len(cells[0])
    for row, name in zip(cells, rows, strict=True):
        if len(row) != width:
            allowed = f"must be {width}, as in {rows[0]}"
            raise UserError(f"{place}: {name} has {len(row)} cells: {allowed}")
    names = [str(i) for i in range(width)]
    if header == "yes" or (header == "auto" and not any(map(_is_number, cells[0]))):
        names, cells, rows = cells[0], cells[1:], rows[1:]
    return Table(names, [np.array(column) for column in zip(*cells, strict=True)], rows)


def _read_array(file: Path, name: str, place: str) -> Table:
    try:
        data = np.load(file, allow_pickle=False)
        if not isinstance(data, np.ndarray):  # an .npz archive, whatever its suffix
            with data:
                if not data.files:
                    raise UserError(f"{place}: must hold an array, but the archive is empty")
                if name:
                    require_choice("config.data.array", name, data.files)
                data = data[name or data.files[0]]
    except UserError:
        raise
    except Exception as error:  # np.load: OSError, ValueError, EOFError, BadZipFile, zlib.error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{place}: must be a numpy file of numbers ({reason})") from error
    if data.ndim == 1 and data.dtype.names:
        names, columns = list(data.dtype.names), [data[name] for name in data.dtype.names]
    elif data.ndim == 2:
        names, columns = [str(i) for i in range(data.shape[1])], list(data.T)
    else:
        raise UserError(f"{place}: has shape {data.shape}: must be (rows, columns)")
    return Table(names, columns, [f"row {i}" for i in range(len(data))])


def _select_rows(table: Table, where: str) -> Table:
    if not where:
        return table
    name, equals, value = (part.strip() for part in where.partition("="))
    require(bool(name and equals), "config.data.where", where, "'column=value' or ''")
    column = table.columns[_find_column(table, name, "config.data.where", where)]
    if _is_number(value):
        keep = np.array([_is_number(cell) and float(cell) == float(value) for cell in column])
    else:
        keep = np.array([str(cell) == value for cell in column])
    if not keep.any():
        values = sorted(set(map(str, column)))
        some = ", ".join(values[:8]) + (", ..." if len(values) > 8 else "")
        raise UserError(f"config.data.where = {where!r}: matches no row; {name!r} holds {some}")
    rows = [row for row, kept in zip(table.rows, keep, strict=True) if kept]
    return Table(table.names, [column[keep] for column in table.columns], rows)


def _choose_columns(table: Table, columns: str, place: str, dim: int) -> list[int]:
    if columns:
        names = [name.strip() for name in columns.split(",")]
        require(len(names) >= 2, "config.data.columns", columns,
                "two columns or more, as 'x,y', 'x,y,z' or '0,1'")  # fmt: skip
        return [_find_column(table, name, "config.data.columns", columns) for name in names]
    # A column counts as numeric by its first filled cell, so that a slip further down is reported
    # rather than the column passed over. A nameless one is the row numbers that pandas writes.
    numeric = [
        index
        for index, (name, column) in enumerate(zip(table.names, table.columns, strict=True))
        if name and _is_number(next((cell for cell in column if str(cell)), ""))
    ]
    if len(numeric) < dim:
        raise UserError(f"{place}: has {len(numeric)} numeric columns: must be at least {dim}")
    return numeric[:dim]


def _find_column(table: Table, name: str, field: str, value: str) -> int:
    if name in table.names:
        return table.names.index(name)
    if name.isdecimal() and int(name) < len(table.names):
        return int(name)
    raise UserError(f"{field} = {value!r}: no column {name!r}; there are {', '.join(table.names)}")


def _numbers(table: Table, index: int, place: str) -> np.ndarray:
    column, numbers = table.columns[index], None
    with contextlib.suppress(ValueError):
        if column.dtype.kind in "biufU":  # not complex numbers, not dates
            numbers = column.astype(np.float64)
    if numbers is None:
        bad = np.array([not _is_number(cell) for cell in column])
    else:
        with np.errstate(over="ignore"):
            bad = ~np.isfinite(numbers.astype(np.float32))
    if bad.any():
        row = int(np.argmax(bad))
        raise UserError(
            f"{place}: {table.rows[row]}, column {table.names[index]!r} holds "
            f"{str(column[row])!r}: must be a finite number"
        )
    return numbers


def _is_number(cell) -> bool:
    if not isinstance(cell, str):
        return np.asarray(cell).dtype.kind in "biuf"
    try:
        float(cell)
    except ValueError:
        return False
    return True
