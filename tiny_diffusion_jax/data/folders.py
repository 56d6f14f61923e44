"""Folders of pictures as collections of images: one subfolder for each label, or no labels."""

import os
from collections.abc import Sequence
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


class Found(NamedTuple):
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
    place = f"config.data.path = {config.path!r}"
    found = find(Path(config.path).expanduser(), place)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        read_ = list(pool.map(lambda each: _read(str(each.file), config), found))
    bad = [(each.file, ink) for each, ink in zip(found, read_, strict=True) if isinstance(ink, str)]
    notice = _left_out(bad, len(found), config, place) if bad else ""
    pairs = [(f, ink) for f, ink in zip(found, read_, strict=True) if not isinstance(ink, str)]
    if not pairs:
        raise UserError(f"{place}: has {len(found)} pictures: must have one that can be read")
    found, inks = [f for f, _ in pairs], [ink for _, ink in pairs]
    split = np.array([each.split for each in found]) if found[0].split else None
    held = held_out(config, [each.file.name for each in found], split, "pictures")
    labels, names = None, ()
    if found[0].label:
        labels, names = number_labels([each.label for each in found])
    canvas = _centred([ink.intensity for ink in inks])
    details = (f"{len(found)} pictures, at most {canvas.shape[2]} x {canvas.shape[1]} pixels, "
               f"{held.sum()} held out; {_backgrounds(inks)}")  # fmt: skip
    return Pictures(canvas, labels, names, held, details, notice)


def find(folder: Path, place: str) -> list[Found]:
    """Find the pictures below `folder` by the endings of their names, sorted by path."""
    from PIL import Image

    endings = {end for end, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in endings)
    parts = [file.relative_to(folder).parts for file in files]
    shown = [not any(part.startswith(".") for part in each) for each in parts]
    files, parts = ([v for v, s in zip(each, shown, strict=True) if s] for each in (files, parts))
    if not files:
        raise UserError(f"{place}: a folder without pictures: must hold some, or in subfolders")
    tops = {each[0].lower() for each in parts if len(each) > 1}
    above = bool(tops & set(TRAIN_WORDS)) and bool(tops & set(HELDOUT_WORDS))
    above = above and tops <= set(TRAIN_WORDS + HELDOUT_WORDS)
    named = [len(each) > 1 + above for each in parts]
    if any(named) != all(named):
        loose = parts[named.index(False)]
        raise UserError(f"{place}: has pictures in subfolders, which are labels, and others beside "
                        f"them, as {'/'.join(loose)!r}: must be all in one way")  # fmt: skip
    return [
        Found(file, each[above] if named[0] else "", each[0] if above else "")
        for file, each in zip(files, parts, strict=True)
    ]


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


def _left_out(bad: list[tuple[Path, str]], num: int, config, place: str) -> str:
    """Notice about unusable pictures; raises `UserError` unless these may be left out."""
    names = ", ".join(file.name for file, _ in bad[:5]) + (", ..." if len(bad) > 5 else "")
    text = f"{len(bad)} of {num} pictures cannot be used: {names} ({bad[0][0].name}: {bad[0][1]})"
    if not config.skip_unreadable:
        raise UserError(f"{place}: {text}; config.data.skip_unreadable=True leaves them out")
    return f"left out: {text}"


def _centred(inks: list[np.ndarray]) -> np.ndarray:
    """Centre each picture in an image u8[S, H, W] with the height and width of the largest."""
    height, width = (max(ink.shape[axis] for ink in inks) for axis in (0, 1))
    result = np.zeros((len(inks), height, width), np.uint8)
    for image, ink in zip(result, inks, strict=True):
        top, left = (height - ink.shape[0]) // 2, (width - ink.shape[1]) // 2
        image[top : top + ink.shape[0], left : left + ink.shape[1]] = np.round(ink * 255)
    return result


def _backgrounds(inks: Sequence[images.Ink]) -> str:
    """Describe the most frequent background, and count the pictures with other backgrounds."""
    words = [ink.background for ink in inks]
    most = max(set(words), key=words.count)
    others = len(words) - words.count(most)
    return most + (f" ({others} pictures: another)" if others else "")
