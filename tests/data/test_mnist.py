import os
import shutil
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from tiny_diffusion_jax import data
from tiny_diffusion_jax.data import mnist_sources as sources
from tiny_diffusion_jax.errors import UserError

needs_tfds = pytest.mark.skipif(
    not list(Path(os.environ.get("TFDS_DATA_DIR", "/nowhere")).glob("mnist/*/dataset_info.json")),
    reason="TFDS_DATA_DIR holds no prepared MNIST",
)


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """Disable the network, TensorFlow and caches of this machine, unless a test enables them."""
    monkeypatch.setattr(sources, "probe", lambda url: False)
    find_spec = sources.find_spec
    monkeypatch.setattr(sources, "find_spec", lambda n: None if n == "tensorflow" else find_spec(n))
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "sklearn"))


@pytest.fixture
def lines(monkeypatch):
    """Logged lines {"warning": [...], "info": [...]}."""
    logged = {"warning": [], "info": []}
    for level, texts in logged.items():
        monkeypatch.setattr(sources.log, level, lambda t, *a, texts=texts: texts.append(t % a))
    return logged


@pytest.fixture
def openml(monkeypatch):
    """Simulate an OpenML with 70,000 images; returns the list of calls."""
    import sklearn.datasets

    calls = []
    pictures = np.zeros((70_000, 784), np.uint8)
    pictures[:, 0] = np.arange(70_000) % 251
    labels = (np.arange(70_000) % 10).astype(str)

    def fetch(name, **options):
        calls.append((name, options))
        return types.SimpleNamespace(data=pictures.astype(float), target=labels)

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch)
    monkeypatch.setattr(sources, "probe", lambda url: url == sources.OPENML_HOST)
    return calls


def config(tmp_path, **fields):
    defaults = {
        "name": "mnist", "normalize": True, "jitter": "uniform", "jitter_std": 0.0,
        "threshold": 250 / 255, "digit": 3, "index": 0, "source": "auto",
        "data_dir": str(tmp_path / "none"), "cache_dir": str(tmp_path / "cache"),
    }  # fmt: skip
    return ConfigDict({**defaults, **fields})


def test_digits_are_scaled_and_split():
    train, train_labels, source, notice = sources.load_images("digits", "", "")
    test, test_labels, *_ = sources.load_images("digits", "", "", split="test")
    assert train.shape == (1500, 8, 8) and test.shape == (297, 8, 8) and train.dtype == np.uint8
    assert train.max() == 255 and set(train_labels) == set(test_labels) == set(range(10))
    assert (source, notice) == ("digits", "")
    image, _, _ = sources.load_digit("digits", "", "", digit=3, index=2)
    np.testing.assert_array_equal(image, train[train_labels == 3][2])


def test_auto_falls_back_to_digits_and_says_so_loudly_and_once(tmp_path, lines):
    dataset = data.build(config(tmp_path, threshold=0.5))
    assert dataset.source == "digits" and dataset.title == "digit 3 (8x8)"
    assert dataset.notice == "MNIST not found: using scikit-learn's bundled 8x8 digits"
    assert lines["warning"] == [f"notice: {dataset.notice}"]
    [why] = lines["info"]
    assert "no MNIST from tfds: no prepared copy" in why and "openml: no cached copy" in why


@pytest.mark.parametrize("digit", range(10))
def test_threshold_is_lowered_for_grey_digits(tmp_path, digit):
    dataset = data.build(config(tmp_path, source="digits", digit=digit))
    assert "threshold lowered from 0.98 to 0.5" in dataset.notice
    lit = np.isfinite(np.asarray(dataset.log_prob.args[0])).sum()
    assert 12 <= lit <= 36  # about as many of the 64 pixels as a stroke covers
    assert "threshold" not in data.build(config(tmp_path, threshold=0.4, source="digits")).notice


def test_auto_takes_openml_when_it_answers(tmp_path, lines, openml):
    images, labels, source, notice = sources.load_images("auto", str(tmp_path), str(tmp_path))
    assert source == "openml" and images.shape == (60_000, 28, 28) and images.dtype == np.uint8
    assert notice == sources.NOTICES["openml"] and "tfds: no prepared copy" in lines["info"][0]
    assert openml[0][0] == "mnist_784" and openml[0][1]["as_frame"] is False
    np.testing.assert_array_equal(images[:, 0, 0], np.arange(60_000) % 251)

    test_images, test_labels, *_ = sources.load_images("openml", "", str(tmp_path), split="test")
    assert len(openml) == 1  # the second call reads the decoded copy
    assert test_images[0, 0, 0] == 60_000 % 251 and len(test_labels) == 10_000
    assert [file.name for file in tmp_path.glob("*.npz")] == ["mnist-openml.npz"]
    assert not list(tmp_path.glob("*.part"))


def test_a_cached_openml_copy_needs_no_network(tmp_path, openml, monkeypatch):
    monkeypatch.setattr(sources, "probe", lambda url: pytest.fail("asked the network"))
    folder = tmp_path / "sklearn" / "openml" / "data_name" / "mnist_784"
    folder.mkdir(parents=True)
    image, source, _ = sources.load_digit("openml", "", str(tmp_path / "cache"), digit=4, index=1)
    assert source == "openml" and image[0, 0] == 14
    assert openml[0][1]["data_home"] == tmp_path / "sklearn"


def test_a_spoiled_or_unwritable_cache_is_no_error(tmp_path, openml):
    (tmp_path / "mnist-openml.npz").write_bytes(b"half")
    assert len(sources.load_images("openml", "", str(tmp_path))[0]) == 60_000 and len(openml) == 1
    (tmp_path / "file").write_text("", "utf-8")
    assert len(sources.load_images("openml", "", str(tmp_path / "file"))[0]) == 60_000


def test_a_failing_download_is_one_line(tmp_path, openml, monkeypatch):
    def fetch(*args, **options):
        raise OSError("connection reset\nby peer")

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch)
    with pytest.raises(UserError, match=r"mnist_784 cannot be fetched \(connection reset\)"):
        sources.load_images("openml", "", str(tmp_path))
    assert sources.load_images("auto", str(tmp_path), str(tmp_path))[2] == "digits"


@pytest.mark.parametrize("source, message", [
    ("tfds", r"source = 'tfds': must be one that is at hand \(tfds: no prepared copy of mnist in .*"
             r"none .*preparing one needs TensorFlow, which is not installed"),
    ("openml", r"source = 'openml': must be one that is at hand \(openml: no cached copy of mnist"),
])  # fmt: skip
def test_an_explicit_source_never_falls_back(tmp_path, source, message):
    for call in (
        lambda: data.build(config(tmp_path, source=source)),
        lambda: sources.load_images(source, str(tmp_path / "none"), str(tmp_path)),
    ):
        with pytest.raises(UserError, match=message) as error:
            call()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("fields, message", [
    ({"index": 9999}, r"config\.data\.index = 9999: must be within 0\.\.15\d \(digit 3 has 15\d"),
    ({"index": -1}, r"config\.data\.index = -1: must be within 0\.\."),
])  # fmt: skip
def test_bad_fields_are_one_clear_line(tmp_path, fields, message):
    with pytest.raises(UserError, match=message):
        data.build(config(tmp_path, **fields))


def test_probe_is_bounded_when_the_network_hangs(monkeypatch):
    monkeypatch.undo()
    release = threading.Event()
    monkeypatch.setattr(sources.urllib.request, "urlopen", lambda *a, **k: release.wait(20))
    start = time.monotonic()
    assert sources.probe(sources.OPENML_HOST, seconds=0.2) is False
    assert time.monotonic() - start < 2
    release.set()
    assert 2 * sources.PROBE_SECONDS <= 3


def test_probe_sees_a_server(tmp_path, monkeypatch):
    import http.server

    monkeypatch.undo()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = http.server.SimpleHTTPRequestHandler
    monkeypatch.setattr(handler, "log_message", lambda *args: None)
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        assert sources.probe(url)
    assert not sources.probe(url)


@needs_tfds
def test_a_prepared_copy_is_read_lazily_and_whole(tmp_path):
    start = time.monotonic()
    image, source, notice = sources.load_digit("auto", "", str(tmp_path), digit=3, index=5)
    assert time.monotonic() - start < 5 and (source, notice) == ("tfds", "")
    images, labels, *_ = sources.load_images("tfds", "", str(tmp_path), split="test")
    assert images.shape == (10_000, 28, 28) and images.dtype == np.uint8
    np.testing.assert_array_equal(
        np.bincount(labels), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    )
    lazy, *_ = sources.load_digit("tfds", "", str(tmp_path), digit=7, index=20, split="test")
    np.testing.assert_array_equal(lazy, images[labels == 7][20])
    assert len(list(tmp_path.glob("mnist-tfds-*-test.npz"))) == 1
    again = sources.load_images("tfds", "", str(tmp_path), split="test")
    np.testing.assert_array_equal(again[0], images)
    with pytest.raises(UserError, match=r"index = 1028: must be within 0\.\.1027 \(digit 7 has"):
        sources.load_digit("tfds", "", "", digit=7, index=1028, split="test")


@needs_tfds
def test_the_digit_as_a_density(tmp_path):
    image, *_ = sources.load_digit("tfds", "", "", digit=3, index=0)
    dataset = data.build(config(tmp_path, data_dir=os.environ["TFDS_DATA_DIR"]))
    assert dataset.title == "MNIST 3" and dataset.source == "tfds" and dataset.notice == ""
    kept = np.where(image >= 250, image, 0) / image[image >= 250].sum()
    x, y = np.meshgrid(np.arange(28) + 0.5, 27.5 - np.arange(28))
    density = np.exp(dataset.log_prob(np.stack([x, y], -1).astype(np.float32)))
    np.testing.assert_allclose(density, kept, rtol=1e-5)
    np.testing.assert_allclose(dataset.shift, [(kept * x).sum(), (kept * y).sum()], rtol=1e-5)


@needs_tfds
@pytest.mark.parametrize("spoil", ["records", "json"])
def test_a_spoiled_copy_fails_by_name_and_falls_back_in_auto(tmp_path, spoil, lines):
    whole = next(Path(os.environ["TFDS_DATA_DIR"]).glob("mnist/*/dataset_info.json")).parent
    copy = tmp_path / "mnist" / whole.name
    copy.mkdir(parents=True)
    for file in whole.glob("*.json"):
        shutil.copyfile(file, copy / file.name)
    if spoil == "records":
        for file in whole.glob("*record*"):
            (copy / file.name).write_bytes(file.read_bytes()[:100_000])
    else:
        (copy / "dataset_info.json").write_text("{", "utf-8")
    with pytest.raises(UserError, match=r"source = 'tfds': .*the copy in .* cannot be read"):
        sources.load_digit("tfds", str(tmp_path), "", digit=3, index=0)
    folders = str(tmp_path), str(tmp_path)
    image, source, notice = sources.load_digit("auto", *folders, digit=3, index=0)
    assert source == "digits" and image.shape == (8, 8) and notice == sources.NOTICES["digits"]
    assert "cannot be read" in lines["info"][0]
