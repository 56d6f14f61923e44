"""MNIST from one of three sources: a prepared TFDS copy, OpenML, or scikit-learn's 8x8 digits.

Each source returns images or raises `Unavailable` with a reason of one line. A source that is
selected by name must return images. 'auto' tries all sources in order and logs a warning if the
first source is unavailable.
"""

import contextlib
import hashlib
import io
import logging
import os
import socket
import threading
import urllib.request
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from tiny_diffusion_jax import cache
from tiny_diffusion_jax.data import images
from tiny_diffusion_jax.dataset import Dataset
from tiny_diffusion_jax.errors import UserError, reason_of, require

log = logging.getLogger("tiny_diffusion_jax")

SOURCES = ("auto", "tfds", "openml", "digits")
# A TFDS copy is shuffled, so "the first 3" differs between sources.
NOTICES = {
    "tfds": "",
    "openml": "no prepared TFDS copy of MNIST: using OpenML's, in another order",
    "digits": "MNIST not found: using scikit-learn's bundled 8x8 digits",
}
# A pixel of the 8x8 digits is the sum of 4 x 4 finer pixels. The threshold of MNIST, 250/255, would
# leave only a few pixels of some digits and no pixel of others.
DIGITS_THRESHOLD = 0.5
PROBE_SECONDS = 1.5  # per host; two hosts at most, so 3 s in all
TFDS_HOST, OPENML_HOST = "https://storage.googleapis.com/", "https://www.openml.org/"


class Unavailable(Exception):
    """Reason why a source is unavailable, in one line."""


def build(config) -> Dataset:
    """Build the density of one image of a digit, in pixels with y up (`images.from_intensity`)."""
    image, source, notice = load_digit(
        config.source, config.data_dir, config.cache_dir, config.digit, config.index
    )
    title = f"digit {config.digit} (8x8)" if source == "digits" else f"MNIST {config.digit}"
    threshold, notice = fit_threshold(config.threshold, source, notice)
    place = f"config.data.digit = {config.digit}, config.data.index = {config.index}"
    fields = {"title": title, "source": source, "notice": notice}
    return images.from_intensity(image / 255, threshold, config, place, **fields)


def fit_threshold(threshold: float, source: str, notice: str) -> tuple[float, str]:
    """(threshold, notice); lowers the threshold with a notice if the source needs this."""
    if source == "digits" and DIGITS_THRESHOLD < threshold <= 1:
        lowered = f"threshold lowered from {threshold:.3g} to {DIGITS_THRESHOLD}: their ink is grey"
        return DIGITS_THRESHOLD, f"{notice or '8x8 digits'}, {lowered}"
    return threshold, notice


def load_digit(
    source: str, data_dir: str, cache_dir: str, digit: int, index: int, split: str = "train"
) -> tuple[np.ndarray, str, str]:
    """(image u8[h, w], source used, notice): image number `index` of class `digit`.

    A TFDS copy is read only up to this image, because decoding all images takes seconds.
    Raises `UserError` as in `load_images`, and if the class has no such image.
    """

    def pick(pairs):
        pictures, labels = pairs
        return _nth(pictures, labels, digit, index)

    (image, count), source, notice = _ask(source, {
        "tfds": lambda: _tfds_digit(data_dir, split, digit, index),
        "openml": lambda: pick(_openml(cache_dir, split)),
        "digits": lambda: pick(_digits(split)),
    })  # fmt: skip
    allowed = f"within 0..{count - 1} (digit {digit} has {count} images in {source!r})"
    require(image is not None, "config.data.index", index, allowed)
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
    (pictures, labels), source, notice = _ask(source, {
        "tfds": lambda: _tfds_images(data_dir, cache_dir, split),
        "openml": lambda: _openml(cache_dir, split),
        "digits": lambda: _digits(split),
    })  # fmt: skip
    return pictures, labels, source, notice


def _ask(source: str, readers: dict[str, Callable]) -> tuple:
    """(result, source used, notice) of the named source, or of the first available source."""
    reasons = []
    for name in readers if source == "auto" else [source]:
        try:
            answer = readers[name]()
        except Unavailable as error:
            reasons.append(f"{name}: {error}")
            continue
        if reasons:
            log.info("no MNIST from %s", "; ".join(reasons))
        return answer, name, NOTICES[name] if source == "auto" else ""
    raise UserError(
        f"config.data.source = {source!r}: must be one that is at hand ({'; '.join(reasons)})"
    )


def _nth(pictures, labels, digit: int, index: int) -> tuple[np.ndarray | None, int]:
    """Image number `index` of class `digit` (None if it does not exist) and size of the class."""
    members = np.flatnonzero(labels == digit)
    return (pictures[members[index]] if 0 <= index < len(members) else None), len(members)


# -- TFDS ---------------------------------------------------------------------------------------


def _tfds_home(data_dir: str) -> Path:
    home = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return Path(home).expanduser()


def _open_tfds(data_dir: str, split: str):
    """(records, folder): the records of a prepared copy, with images as PNG bytes."""
    home = _tfds_home(data_dir)
    found = sorted(home.glob("mnist/*/dataset_info.json"))
    if not found:
        found = [_prepare_tfds(home)]
    folder = found[-1].parent
    with _reading(folder):
        import tensorflow_datasets as tfds

        decoders = {"image": tfds.decode.SkipDecoding()}
        builder = tfds.builder_from_directory(folder)
        return builder.as_data_source(split=split, decoders=decoders), folder


def _prepare_tfds(home: Path) -> Path:
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
        return Path(builder.data_dir) / "dataset_info.json"


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


def _decode_png(data: bytes) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(data)).convert("L"))


def _tfds_digit(data_dir: str, split: str, digit: int, index: int):
    records, folder = _open_tfds(data_dir, split)
    count = 0
    with _reading(folder):
        for start in range(0, len(records), 256):
            block = range(start, min(start + 256, len(records)))
            for record in records.__getitems__(list(block)):
                if record["label"] == digit:
                    if count == index:
                        return _decode_png(record["image"]), count + 1
                    count += 1
    return None, count


def _tfds_images(data_dir: str, cache_dir: str, split: str):
    records, folder = _open_tfds(data_dir, split)
    # The cache name contains the path and sizes of the copy, so that two copies never mix.
    sizes = sorted((file.name, file.stat().st_size) for file in folder.iterdir())
    name = hashlib.sha256(repr((str(folder.resolve()), sizes)).encode()).hexdigest()[:12]
    file = cache.home(cache_dir) / f"mnist-tfds-{name}-{split}.npz"
    if (cached := cache.read(file, ("images", "labels"))) is not None:
        return cached
    with _reading(folder):
        rows = records.__getitems__(list(range(len(records))))
        pictures = np.stack([_decode_png(row["image"]) for row in rows])
        labels = np.array([row["label"] for row in rows], np.int64)
    cache.write(file, images=pictures, labels=labels)
    return pictures, labels


# -- OpenML and scikit-learn --------------------------------------------------------------------


def _openml(cache_dir: str, split: str):
    """Load mnist_784: the first 60,000 images for training, the last 10,000 for test."""
    home = cache.home(cache_dir)
    file = home / "mnist-openml.npz"
    cached = cache.read(file, ("images", "labels"))
    if cached is None:
        cached = _fetch_openml(home)
        cache.write(file, images=cached[0], labels=cached[1])
    part = slice(None, 60_000) if split == "train" else slice(60_000, None)
    return cached[0][part], cached[1][part]


def _fetch_openml(home: Path):
    if find_spec("sklearn") is None:
        raise Unavailable("scikit-learn is not installed")
    own = Path(os.environ.get("SCIKIT_LEARN_DATA") or "~/scikit_learn_data").expanduser()
    held = [place for place in (home, own) if any((place / "openml").rglob("*mnist_784*"))]
    if not held and not probe(OPENML_HOST):
        raise Unavailable(f"no cached copy of mnist_784, and {OPENML_HOST} does not answer")
    from sklearn.datasets import fetch_openml

    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30)  # a stalled connection would block the run forever
    try:
        table = fetch_openml(
            "mnist_784", version=1, as_frame=False, parser="liac-arff",
            data_home=(held or [home])[0],
        )  # fmt: skip
        pictures = np.asarray(table.data, np.uint8).reshape(-1, 28, 28)
        return pictures, np.asarray(table.target, np.int64)
    except Exception as error:  # URLError, OSError, errors of arff and of the hash
        raise Unavailable(f"mnist_784 cannot be fetched ({reason_of(error)})") from error
    finally:
        socket.setdefaulttimeout(patience)


def _digits(split: str):
    """Load 1,500 training and 297 test images of 8 x 8 pixels, scaled from 0..16 to 0..255."""
    if find_spec("sklearn") is None:
        raise Unavailable("scikit-learn is not installed")
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
