"""Names of columns: which columns are coordinates, and which are identifiers."""

import re
from collections.abc import Callable, Sequence

from tiny_diffusion_jax.data.collection import listed
from tiny_diffusion_jax.errors import UserError

# Names of the first and the second coordinate of a plane, in any order in the file.
PLANES = (
    (("x",), ("y",)),
    (("lon", "lng", "long", "longitude", "decimallongitude", "locationlong"),
     ("lat", "latitude", "decimallatitude", "locationlat")),
    (("easting", "east"), ("northing", "north")),
)  # fmt: skip
UNIT_WORDS = {"um", "\u00b5m", "\u03bcm", "nm", "mm", "cm", "m", "km", "px", "pixel", "pixels",
              "deg", "micron", "microns"}  # fmt: skip
# Names of identifiers, sets and labels, which are not coordinates.
IDENTIFIERS = {
    "", "id", "ids", "index", "idx", "ind", "no", "nr", "num", "number", "row", "rows", "rownames",
    "frame", "frames", "slice", "fid", "gid", "oid", "uid", "guid", "uuid", "pk", "key", "rank",
    "order", "seq", "serial", "record", "rownum", "set", "group", "label", "labels", "split",
    "class", "cluster",
}  # fmt: skip
IDENTIFIER = re.compile(
    r"unnamed( .*)?|level \d+|(id|index|idx) .*|.* (id|ids|index|idx|no|nr|num|number)|"
    r"(object|cell|track|point|particle|spot|sample|image|set|group|plot|tree|event|jet|frame|node|"
    r"vertex|star|source|record|row|user|feature|trial|subject|patient|nucleus|roi|hit|shape|site|"
    r"station|animal|obj|pt|atom|mol|poly|polygon)(id|index|idx|no|nr|num)"
)


def find_column(names: Sequence[str], name: str, field: str, value: str) -> int:
    """Find the index of the column `name`, which is a name in any case or an index from 0."""
    for same in (lambda other: other == name, lambda other: other.lower() == name.lower()):
        indices = [i for i, other in enumerate(names) if same(other)]
        if len(indices) > 1:
            problem = f"columns {', '.join(map(str, indices))} are all named {name!r}"
            raise UserError(field, value, "the number of a column", problem=problem)
        if indices:
            return indices[0]
    if name.isdecimal() and int(name) < len(names):
        return int(name)
    problem = f"no column {name!r}; there are {', '.join(names)}"
    raise UserError(field, value, problem=problem)


def split_words(name: str) -> list[str]:
    """Split a name into words in lower case: "cell", "id" for cellID, cell_id and "Cell ID"."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name.strip())
    return re.sub(r"[\W_]+", " ", parted).lower().split()


def is_identifier(name: str) -> bool:
    """Return whether a column of this name holds an index, an identifier, a set or a label."""
    words = " ".join(split_words(name))
    return words in IDENTIFIERS or IDENTIFIER.fullmatch(words) is not None


def find_coordinates(
    names: Sequence[str], dim: int | None, has_numbers: Callable[[int], bool]
) -> tuple[list[int], list[str]] | None:
    """Return (indices of the coordinates, notes) by the names of the columns, or None.

    dim: number of coordinates, None for 2, or 3 if there is a z; has_numbers(i): whether column i
    holds numbers. Raises UserError if several columns have the name of a coordinate.
    """
    notes = []
    for first, second in PLANES:
        plane = [_find_coordinate(names, words) for words in (first, second)]
        if None not in plane:
            height = _find_coordinate(names, ("z",))
            break
    else:
        # The only two columns that differ in the word x or y, such as pos_x and pos_y.
        words, first = [split_words(name) for name in names], ("x",)
        partner = lambda parts, axis: [axis if word == "x" else word for word in parts]
        pairs = [[i, words.index(partner(parts, "y"))] for i, parts in enumerate(words)
                 if "x" in parts and partner(parts, "y") in words]  # fmt: skip
        if len(pairs) != 1:
            return None
        plane = pairs[0]
        third = partner(words[plane[0]], "z")
        height = words.index(third) if third in words else None
        notes += [f"coordinates are {listed([names[i] for i in plane])} by their names",
                  "config.data.columns chooses others"]  # fmt: skip
    if dim is not None and dim > 2 and (height is None or dim > 3):
        return None
    if height is None:
        return plane, notes
    columns = ",".join(names[i] for i in [*plane, height])
    advice = [f"config.data.columns={columns} reads it"]
    if dim == 2:
        reason, advice = "points are in the plane", []
    elif first != ("x",):
        reason = "its unit differs from that of the other coordinates"
    elif has_numbers(height):
        return [*plane, height], notes
    else:
        reason = "it holds no numbers"
    return plane, [*notes, f"{names[height]} is left out, because {reason}", *advice]


def _find_coordinate(names: Sequence[str], words: Sequence[str]) -> int | None:
    """Find the index of the column with a name in `words`, in any case, perhaps with a unit."""

    def without_unit(name: str) -> str:  # "x" for "X (px)" and x_um
        parts = split_words(re.sub(r"\s*[(\[{].*[)\]}]\s*$", "", name))
        return "".join(parts[:-1] if len(parts) > 1 and parts[-1] in UNIT_WORDS else parts)

    for plain in (lambda name: name.strip().lower(), without_unit):
        indices = [i for i, name in enumerate(names) if plain(name) in words]
        if len(indices) > 1:
            problem = (f"columns {', '.join(map(str, indices))} are all named {words[0]!r} "
                       f"({listed([names[i] for i in indices])}): choose by number, as "
                       "config.data.columns=0,1")  # fmt: skip
            raise UserError(problem=problem)
        if indices:
            return indices[0]
    return None
