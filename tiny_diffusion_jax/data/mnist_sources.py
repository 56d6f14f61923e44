"""Images of MNIST from a prepared TFDS copy, from OpenML, or scikit-learn's 8x8 digits.

Each source returns images or raises `Unavailable`. A source that is selected by name must return
images. 'auto' tries all sources in order and logs a warning if the first source is unavailable.
"""

import contextlib
import hashlib
import io
import logging
import os
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from tiny_diffusion_jax import cache
from tiny_diffusion_jax.errors import UserError, reason_of, require

log = logging.getLogger("tiny_diffusion_jax")

# A TFDS copy is shuffled, so "the first 3" differs between sources.
NOTICES = {
    "tfds": "",
    "openml": "no prepared TFDS copy of MNIST: using OpenML's, in another order",
    "digits": "MNIST not found: using scikit-learn's bundled 8x8 digits",
}
PROBE_SECONDS = 1.5  # per host; two hosts at most, so 3 s in all
TFDS_HOST, OPENML_HOST = "https://storage.googleapis.com/", "https://www.openml.org/"


class Unavailable(Exception):
    """Reason why a source is unavailable, in one line."""


def load_digit(
    source: str, data_dir: str, cache_dir: str, digit: int, index: int, split: str = "train"
) -> tuple[np.ndarray, str, str]:
    """(image u8[h, w], source used, notice): image number `index` of class `digit`.

    A TFDS copy is read only up to this image, because decoding all images takes seconds.
    Raises `UserError` as in `load_images`, and if the class has no such image.
    """

    def pick(pairs):  # the image, or the number of images of the class
        num = 0
        for image, label in pairs:
            if label == digit:
                if num == index:
                    return image if isinstance(image, np.ndarray) else _decode_png(image)
                num += 1
        return num

    image, source, notice = _first_available(source, {
        "tfds": lambda: pick(_tfds_records(_tfds_folder(data_dir), split)),
        "openml": lambda: pick(zip(*_openml(cache_dir, split), strict=True)),
        "digits": lambda: pick(zip(*_digits(split), strict=True)),
    })  # fmt: skip
    if not isinstance(image, np.ndarray):
        allowed = f"within 0..{image - 1} (digit {digit} has {image} images in {source!r})"
        require(False, "config.data.index", index, allowed)
    return image, source, notice


def load_images(
    source: str, data_dir: str, cache_dir: str, split: str = "train"
) -> tuple[np.ndarray, np.ndarray, str, str]:
    """(images u8[n, h, w], labels i64[n], source used, notice) of the 'train' or 'test' split.

    source: 'tfds', 'openml', 'digits', or 'auto' for the first available source.
    data_dir: folder of prepared TFDS copies, '' = $TFDS_DATA_DIR, else ~/tensorflow_datasets.
    cache_dir: folder for decoded arrays, '' = ~/.cache/tiny_diffusion_jax.
    notice: '', or a message for the user if 'auto' skipped a source.
    Raises `UserError` if the named source, or every source of 'auto', is unavailable.
    """
    (pictures, labels), source, notice = _first_available(source, {
        "tfds": lambda: _tfds(data_dir, cache_dir, split),
        "openml": lambda: _openml(cache_dir, split),
        "digits": lambda: _digits(split),
    })  # fmt: skip
    return pictures, labels, source, notice


def _first_available(source: str, readers: dict[str, Callable]) -> tuple:
    """(result, source used, notice) of the named source, or of the first available source."""
    reasons = []
    for name in readers if source == "auto" else [source]:
        try:
            result = readers[name]()
        except Unavailable as error:
            reasons.append(f"{name}: {error}")
            continue
        if reasons:
            log.info("no MNIST from %s", "; ".join(reasons))
        return result, name, NOTICES[name] if source == "auto" else ""
    raise UserError("config.data.source", source, f"one that is at hand ({'; '.join(reasons)})")


# -- TFDS ---------------------------------------------------------------------------------------


def _tfds_folder(data_dir: str) -> Path:
    """Folder of a prepared copy; prepares a copy if there is none."""
    home = Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    if copies := sorted(home.glob("mnist/*/dataset_info.json")):
        return copies[-1].parent
    if find_spec("tensorflow") is None:
        raise Unavailable(
            f"no prepared copy of mnist in {home} (TFDS_DATA_DIR or config.data.data_dir), "
            "and preparing one needs TensorFlow, which is not installed"
        )
    if not probe(TFDS_HOST):
        raise Unavailable(f"no prepared copy of mnist in {home}, and {TFDS_HOST} does not answer")
    with _reading(home):
        import tensorflow_datasets as tfds

        builder = tfds.builder("mnist", data_dir=home, file_format="array_record")
        builder.download_and_prepare()
        return Path(builder.data_dir)


@contextlib.contextmanager
def _reading(folder: Path):
    """Convert every error of TFDS and its readers to one line, and hide their warnings."""
    from absl import logging as absl_logging

    verbosity = absl_logging.get_verbosity()
    absl_logging.set_verbosity(absl_logging.ERROR)
    try:
        yield
    except ImportError as error:
        raise Unavailable(f"tensorflow-datasets cannot be imported ({reason_of(error)})") from error
    except Exception as error:  # RuntimeError, ParseError, JSONDecodeError, OSError, ValueError
        raise Unavailable(f"the copy in {folder} cannot be read ({reason_of(error)})") from error
    finally:
        absl_logging.set_verbosity(verbosity)


def _tfds_records(folder: Path, split: str) -> Iterator[tuple[bytes, int]]:
    """Yield the image, as a PNG file, and the label of each record of a prepared copy."""
    with _reading(folder):
        import tensorflow_datasets as tfds

        records = tfds.builder_from_directory(folder).as_data_source(
            split=split, decoders={"image": tfds.decode.SkipDecoding()})  # fmt: skip
        for start in range(0, len(records), 256):
            block = range(start, min(start + 256, len(records)))
            for record in records.__getitems__(list(block)):
                yield record["image"], record["label"]


def _decode_png(data: bytes) -> np.ndarray:
    from PIL import Image

    try:
        return np.asarray(Image.open(io.BytesIO(data)).convert("L"))
    except (OSError, SyntaxError, ValueError) as error:
        raise Unavailable(f"an image of the copy cannot be read ({reason_of(error)})") from error


def _tfds(data_dir: str, cache_dir: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    folder = _tfds_folder(data_dir)
    # The cache name contains the path and sizes of the copy, so that two copies never mix.
    sizes = sorted((file.name, file.stat().st_size) for file in folder.iterdir())
    name = hashlib.sha256(repr((str(folder.resolve()), sizes)).encode()).hexdigest()[:12]

    def decode():
        pictures, labels = zip(*_tfds_records(folder, split), strict=True)
        return np.stack([_decode_png(picture) for picture in pictures]), np.int64(labels)

    return _cached(cache.home(cache_dir) / f"mnist-tfds-{name}-{split}.npz", decode)


def _cached(file: Path, load: Callable) -> tuple[np.ndarray, np.ndarray]:
    """(images, labels) from `file`, or else from `load`."""
    arrays = cache.read(file, ("images", "labels"))
    if arrays is None:
        arrays = load()
        cache.write(file, images=arrays[0], labels=arrays[1])
    return arrays


# -- OpenML and scikit-learn --------------------------------------------------------------------


def _openml(cache_dir: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Load mnist_784: the first 60,000 images for training, the last 10,000 for test."""
    home = cache.home(cache_dir)
    pictures, labels = _cached(home / "mnist-openml.npz", lambda: _fetch_openml(home))
    part = slice(None, 60_000) if split == "train" else slice(60_000, None)
    return pictures[part], labels[part]


def _fetch_openml(home: Path) -> tuple[np.ndarray, np.ndarray]:
    default = Path(os.environ.get("SCIKIT_LEARN_DATA") or "~/scikit_learn_data").expanduser()
    copies = [path for path in (home, default) if any((path / "openml").rglob("*mnist_784*"))]
    if not copies and not probe(OPENML_HOST):
        raise Unavailable(f"no cached copy of mnist_784, and {OPENML_HOST} does not answer")
    from sklearn.datasets import fetch_openml

    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30)  # a stalled connection would block the run forever
    try:
        table = fetch_openml(
            "mnist_784", version=1, as_frame=False, parser="liac-arff",
            data_home=(copies or [home])[0],
        )  # fmt: skip
        pictures = np.asarray(table.data, np.uint8).reshape(-1, 28, 28)
        return pictures, np.asarray(table.target, np.int64)
    except Exception as error:  # URLError, OSError, errors of arff and of the hash
        raise Unavailable(f"mnist_784 cannot be fetched ({reason_of(error)})") from error
    finally:
        socket.setdefaulttimeout(patience)


def _digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Load 1,500 training and 297 test images of 8 x 8 pixels, scaled from 0..16 to 0..255."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    part = slice(None, 1500) if split == "train" else slice(1500, None)
    pictures = np.round(digits.images * (255 / 16)).astype(np.uint8)
    return pictures[part], digits.target[part].astype(np.int64)


def probe(url: str, seconds: float = PROBE_SECONDS) -> bool:
    """Return whether the host answers within `seconds`, even if the DNS look-up hangs.

    This sends a request, because a bare connection would ignore a proxy from the environment.
    """
    answered = []

    def ask():
        with contextlib.suppress(Exception):
            request = urllib.request.Request(url, method="HEAD")
            with urllib.request.urlopen(request, timeout=seconds):
                answered.append(True)

    thread = threading.Thread(target=ask, daemon=True)  # a daemon thread does not delay the exit
    thread.start()
    thread.join(seconds)
    return bool(answered)
