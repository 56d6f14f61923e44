"""A folder of pictures as a collection of images: one subfolder a label, or all in one place."""

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
    """S pictures in the middle of images of one size."""

    images: np.ndarray  # u8[S, H, W], none of them blank
    labels: np.ndarray | None  # i64[S]: label k is names[k]
    names: tuple[str, ...]
    heldout: np.ndarray  # bool[S]
    details: str  # what was taken as background
    notice: str  # what was left out


class Found(NamedTuple):
    """A file of the folder, and what its place says."""

    file: Path
    label: str
    split: str


def read(config) -> Pictures:
    """The pictures of the folder `config.path`, its subfolders' names their labels.

    Folders train and test (or valid) above those, if they are all there is, say what is held out;
    else the seeded share `config.heldout` is. A picture that cannot be read or has no ink stops the
    reading unless `config.skip_unreadable`. Larger ones are reduced to `config.max_side`.
    Raises `UserError`, also for a folder without pictures.
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
    """The pictures below `folder`, by their names' endings, in order of their paths."""
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
    """The ink of one picture with at least one pixel of it, or in words why there is none."""
    try:
        ink = images.read_ink(path, config.invert, config.max_side)
    except UserError as error:
        return str(error).partition(": ")[2]
    lit = ink.intensity * (ink.intensity >= config.threshold)
    if not np.round(lit * 255).any():
        return "must be a picture with some ink, but it is blank"
    return ink._replace(intensity=lit)


def _left_out(bad: list[tuple[Path, str]], num: int, config, place: str) -> str:
    """What to say of pictures that cannot be used; `UserError` unless they may be left out."""
    names = ", ".join(file.name for file, _ in bad[:5]) + (", ..." if len(bad) > 5 else "")
    text = f"{len(bad)} of {num} pictures cannot be used: {names} ({bad[0][0].name}: {bad[0][1]})"
    if not config.skip_unreadable:
        raise UserError(f"{place}: {text}; config.data.skip_unreadable=True leaves them out")
    return f"left out: {text}"


def _centred(inks: list[np.ndarray]) -> np.ndarray:
    """u8[S, H, W]: each picture in the middle of an image as large as the largest."""
    height, width = (max(ink.shape[axis] for ink in inks) for axis in (0, 1))
    result = np.zeros((len(inks), height, width), np.uint8)
    for image, ink in zip(result, inks, strict=True):
        top, left = (height - ink.shape[0]) // 2, (width - ink.shape[1]) // 2
        image[top : top + ink.shape[0], left : left + ink.shape[1]] = np.round(ink * 255)
    return result


def _backgrounds(inks: Sequence[images.Ink]) -> str:
    """In words what was taken as empty, of most pictures and of how many others."""
    words = [ink.background for ink in inks]
    most = max(set(words), key=words.count)
    others = len(words) - words.count(most)
    return most + (f" ({others} pictures: another)" if others else "")
