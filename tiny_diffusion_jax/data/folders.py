"""Folders of pictures as collections of images: one subfolder for each label, or no labels."""

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tiny_diffusion_jax.data import images
from tiny_diffusion_jax.data.collection import (
    HELDOUT_WORDS,
    TRAIN_WORDS,
    held_out,
    number_labels,
)
from tiny_diffusion_jax.errors import UserError


class Pictures(NamedTuple):
    """S pictures, centred in images of one size."""

    images: np.ndarray  # u8[S, H, W], none of them blank
    labels: np.ndarray | None  # i64[S]: label k is names[k]
    names: tuple[str, ...]
    heldout: np.ndarray  # bool[S]
    details: str  # the background, in words
    notice: str  # pictures that were left out, in words
    columns: tuple[str, ...] = ("x", "y")
    set_column: str = "set"
    label_column: str = "label"


class Picture(NamedTuple):
    """A file of the folder, with the label and split from its path."""

    file: Path
    label: str
    split: str


def read(config) -> Pictures:
    """Read the pictures of the folder `config.path`; the names of subfolders are the labels.

    If the top level has only folders train and test (or valid), these folders define the held-out
    pictures. Otherwise the share `config.heldout` is held out with a fixed seed. Pictures larger
    than `config.max_side` are reduced. Raises `UserError` for a folder without pictures, and for a
    picture that cannot be read or has no ink. With `config.skip_unreadable` such pictures are left
    out.
    """
    pictures, notice = find(Path(config.path).expanduser()), ""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        inks = list(pool.map(lambda picture: _read(str(picture.file), config), pictures))
    pairs = list(zip(pictures, inks, strict=True))
    bad = [(picture.file.name, ink) for picture, ink in pairs if isinstance(ink, str)]
    if bad:
        names = ", ".join(name for name, _ in bad[:5]) + (", ..." if len(bad) > 5 else "")
        notice = (f"left out: {len(bad)} of {len(pairs)} pictures cannot be used: {names} "
                  f"({bad[0][0]}: {bad[0][1]})")  # fmt: skip
        if not config.skip_unreadable:
            raise UserError(problem=notice.removeprefix("left out: ") + "; "
                            "config.data.skip_unreadable=True leaves them out")  # fmt: skip
        if len(bad) == len(pairs):
            raise UserError(problem=f"has {len(bad)} pictures: must have one that can be read")
    pictures, inks = zip(*(pair for pair in pairs if not isinstance(pair[1], str)), strict=True)
    split = [picture.split for picture in pictures] if pictures[0].split else None
    held = held_out(config, [picture.file.name for picture in pictures], split, "pictures")
    labels, names = number_labels(
        [picture.label for picture in pictures] if pictures[0].label else None)  # fmt: skip
    canvas = _centred([ink.intensity for ink in inks])
    [(background, num), *_] = Counter(ink.background for ink in inks).most_common()
    others = f" ({len(inks) - num} pictures: another)" if num < len(inks) else ""
    details = (f"{len(inks)} pictures, at most {canvas.shape[2]} x {canvas.shape[1]} pixels, "
               f"{held.sum()} held out; {background}{others}")  # fmt: skip
    return Pictures(canvas, labels, names, held, details, notice)


def find(folder: Path) -> list[Picture]:
    """Find the pictures below `folder` by the endings of their names, sorted by path."""
    from PIL import Image

    endings = {end for end, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in endings)
    pairs = [(file, file.relative_to(folder).parts) for file in files]
    pairs = [(file, parts) for file, parts in pairs
             if not any(part.startswith(".") for part in parts)]  # fmt: skip
    if not pairs:
        raise UserError(problem="a folder without pictures: must hold some, or in subfolders")
    tops = {parts[0].lower() for _, parts in pairs if len(parts) > 1}
    train, heldout = set(TRAIN_WORDS), set(HELDOUT_WORDS)
    has_splits = bool(tops & train and tops & heldout and tops <= train | heldout)
    loose = [parts for _, parts in pairs if len(parts) <= 1 + has_splits]
    if 0 < len(loose) < len(pairs):
        raise UserError(problem="has pictures in subfolders, which are labels, and others beside "
                        f"them, as {'/'.join(loose[0])!r}", allowed="all in one way")  # fmt: skip
    return [Picture(file, "" if loose else parts[has_splits], parts[0] if has_splits else "")
            for file, parts in pairs]  # fmt: skip


def _read(path: str, config) -> images.Ink | str:
    """Read the ink of a picture; return the reason in words if the picture has no ink."""
    try:
        ink = images.read_ink(path, config.invert, config.max_side)
    except UserError as error:
        return error.reason
    lit = ink.intensity * (ink.intensity >= config.threshold)
    if not np.round(lit * 255).any():
        return "must be a picture with some ink, but it is blank"
    return ink._replace(intensity=lit)


def _centred(inks: list[np.ndarray]) -> np.ndarray:
    """Centre each picture in an image u8[S, H, W] with the height and width of the largest."""
    height, width = np.max([ink.shape for ink in inks], axis=0)
    result = np.zeros((len(inks), height, width), np.uint8)
    for image, ink in zip(result, inks, strict=True):
        top, left = (height - ink.shape[0]) // 2, (width - ink.shape[1]) // 2
        image[top : top + ink.shape[0], left : left + ink.shape[1]] = np.round(ink * 255)
    return result
