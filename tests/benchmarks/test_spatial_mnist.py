"""Check the benchmarks of SpatialMNIST, their protocol and their baselines.

Each benchmark runs at a tiny size through its own command line, and exits with an error if one of
its parts fails.
"""

from types import SimpleNamespace

import baselines
import completions
import numpy as np
import pytest
import rows_order
import spatial_mnist
import spatial_protocol
from benchmark_files import read
from command_line import ROOT, SETS, run

from tiny_diffusion_jax import api
from tiny_diffusion_jax.cli import commands
from tiny_diffusion_jax.cli.flags import parse
from tiny_diffusion_jax.data import image_sets
from tiny_diffusion_jax.metrics import classifier
from tiny_diffusion_jax.metrics import memorization as copies
from tiny_diffusion_jax.run import released
from tiny_diffusion_jax.sets.order import parse_order

pytestmark = pytest.mark.slow


def test_spatial_mnist_quick(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(classifier, "TRAIN_SETS", 200)
    monkeypatch.setattr(spatial_protocol, "VALIDATION", 20)
    monkeypatch.setattr(completions, "TRAIN_SETS", 200)
    monkeypatch.setattr(commands.reports, "measure", lambda _: {})  # the benchmark measures itself
    size = ["--sets=12", "--test=12", "--pixel_steps=3", "--likelihood_steps=2"]
    monkeypatch.setattr(released, "FOLDER", tmp_path / "released")
    quick = ["--quick", f"--runs={tmp_path}", f"--output={tmp_path / 'spatial.json'}", *size]
    spatial_mnist.main([*quick, "--models=causal", "--release=tiny", "--", *SETS,
                        "--config.model.context_dim=8", "--config.model.context_blocks=1"])
    result = read(tmp_path / "spatial.json")
    rows = result["rows"]
    assert list(rows) == ["independent", "images", "pixels", "pixel_rows", "real", "causal"]
    assert all("nna_cd" in row and "copies" in row for row in rows.values())
    assert all(np.mean(row["nna_cd_halves"]) == pytest.approx(row["nna_cd"])
               for row in rows.values())  # fmt: skip
    assert list(rows["causal"]["given"]) == ["4", "8"]
    shares = [rows["causal"][f"completed{kind}"] for kind in ("", "_told", "_exact", "_real")]
    assert all(0 <= share <= 1 for share in shares)
    assert all("ppll" in row for name, row in rows.items() if name != "real")
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[0].startswith(f"test sets {result['test_sets']}, 8x8 digit sets")
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1
    # A variant without labels has no columns that need one.
    spatial_mnist.main([*quick, "--models=unlabelled", "--baselines=", "--given=", "--", *SETS,
                        "--config.sample.first_block=1", "--config.model.context_dim=8",
                        "--config.model.context_blocks=1"])  # fmt: skip
    plain = read(tmp_path / "spatial.json")["rows"]["unlabelled"]
    assert "frechet_se" in plain and not plain.keys() & {"label", "frechet_weak", "given"}
    # The scores of the released model equal the scores of its run; the other rows are kept.
    spatial_mnist.main([*quick, "--models=tiny", "--yardsticks=", "--likelihood_steps=0"])
    again = read(tmp_path / "spatial.json")
    assert again["rows"].keys() == rows.keys() | {"tiny", "unlabelled"}
    assert again["test_sets"] == result["test_sets"]
    scores = ("nna_cd", "mmd_emd", "frechet", "label", "train_seconds", "command")
    assert [again["rows"]["tiny"][s] for s in scores] == [rows["causal"][s] for s in scores]


def test_spatial_mnist_variants_are_trainings_that_differ_in_what_they_say():
    def config(name):
        return parse(["", *spatial_mnist.flags_of(name)]).config

    order = {name: config(name).model.order for name in ("rows", "rows_4", "columns", "sorted_x")}
    assert order == {"rows": "rows:1", "rows_4": "rows:4", "columns": "columns:1",
                     "sorted_x": "coordinate:x"}  # fmt: skip
    assert config("rows").model.labels and not config("unlabelled").model.labels
    fixed = config("fixed")
    assert fixed.data.name == "sets" and not fixed.model.labels and fixed.model.order == "rows:1"
    assert (config("given@2").seed, config("given@2").model.given_share) == (2, 0.5)
    for model in ("rows", "given", "causal"):
        assert config(model).model.relative and not config(f"{model}_absolute").model.relative
    assert [config(name).train.num_sets for name in ("given", "given_128")] == [32, 128]


def test_spatial_protocol_scores_files_of_any_model(tmp_path, capsys, monkeypatch):
    """Real sets score as real sets; sets in other units or upside down are noticed."""
    monkeypatch.setattr(classifier, "TRAIN_SETS", 200)
    small = ["--", "--config.data.source=digits", "--config.sample.num_points=16",
             "--config.train.num_points=16"]  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(classifier, "train", None)  # no score is written, so no label is predicted
        spatial_protocol.main([f"--write={tmp_path}", "--per_image=2", *small])
    test, train = (np.load(tmp_path / f"{name}.npz") for name in ("test", "train"))
    assert len(train["sets"]) == 2 * len(np.unique(train["image"]))
    assert (train["sets"] >= 0).all() and test["sets"].shape[1:] == (16, 2)
    bench = spatial_protocol.Bench(spatial_protocol.experiment_of(
        ["--config=configs/spatial_mnist.py", *small[1:]]), 80)  # fmt: skip
    np.testing.assert_array_equal(bench.test, test["sets"])
    np.save(tmp_path / "log_p.npy", np.linspace(-2, -1, 11))
    output = tmp_path / "row.json"

    def scored(sets):
        np.save(tmp_path / "sets.npy", sets)
        spatial_protocol.main([f"--output={output}", "--sets=80", "--name=real",
                               f"--log_likelihoods={tmp_path / 'log_p.npy'}",
                               f"--samples={tmp_path / 'sets.npy'}", *small])  # fmt: skip
        return read(output), capsys.readouterr().out

    result, printed = scored(test["sets"][80:160])
    row, expected = result["rows"]["real"], bench.quality(bench.test[80:160], None)
    assert row["ppll"] == -1.5 and row["ppll_se"] == pytest.approx(np.sqrt(0.1 / 11))
    assert {name: row[name] for name in expected} == expected and "y may" not in printed
    assert "| real | -1.500 ± 0.095 |" in printed and bench.hash == result["test_sets"]
    assert "warning: y may point down" in scored(test["sets"][80:160] * [1, -1] + [0, 8])[1]
    with pytest.raises(SystemExit, match="2"):
        scored(test["sets"][80:160] / 8)
    assert "--samples = 'from " in capsys.readouterr().err


def test_the_likelihood_of_a_set_is_the_mean_density_over_orders():
    """Use a density of 1 for orders that start with the first point, and e^-100 for all others."""
    bench = object.__new__(spatial_protocol.Bench)
    points = np.stack([np.arange(3.0), 10 + np.arange(3.0)], -1)
    bench.scored, bench.num_points = np.tile(points, (500, 1, 1)), 3

    def by_first(sets):
        assert (np.sort(sets, axis=1) == points).all() and (sets[..., 1] - sets[..., 0] == 10).all()
        return np.where(sets[:, 0, 0] == 0, 0.0, -100.0)

    one, many = bench.likelihood(by_first), bench.likelihood(by_first, 30)
    assert one["ppll"] == 0 and "ppll_one_order" not in one and many["ppll_orders"] == 30
    # a third of the orders start with the first point
    assert many["ppll"] == pytest.approx(np.log(1 / 3) / 3, abs=0.02)
    assert many["ppll_one_order"] == pytest.approx(-100 * 2 / 3, abs=3)


def test_completions_by_exact_draws_have_a_share_in_closed_form(monkeypatch):
    """Two points lie left (label 0) or right (label 1) of the middle with probability 0.8 each.

    One point is given, and the classifier names 1 for two points on the right. Given a left point,
    it names 0, and the label is 0 with probability 0.8. Given a right point, the other one is right
    with probability 0.68 = 0.8^2 + 0.2^2, and the share is 0.68 x 0.8 + 0.32 x 0.2.
    """
    monkeypatch.setattr(completions, "TRAIN_SETS", 8_000)
    rng = np.random.default_rng(0)

    def sets_of(labels, index, seed):
        right = rng.random((len(index), 2)) < np.where(labels[index] == 1, 0.8, 0.2)[:, None]
        x = right + rng.uniform(0.0, 0.1, right.shape)
        return np.stack([x, rng.uniform(0.0, 1.0, x.shape)], axis=-1).astype(np.float32)

    y = np.arange(20_000) % 2
    bench = SimpleNamespace(
        num_points=2, test=sets_of(y, np.arange(len(y)), 0), limits=np.array([[0, 0], [1.1, 1]]),
        predict=lambda sets: (sets[..., 0] > 0.5).all(1).astype(int),
        dataset=SimpleNamespace(num_sources=len(y), source_labels=y),
        sets_of=lambda dataset, index, seed: sets_of(dataset.source_labels, index, seed),
    )  # fmt: skip
    expected = (0.8 + 0.68 * 0.8 + 0.32 * 0.2) / 2
    assert expected - 0.035 < completions.exact_share(bench) < expected + 0.005  # a lower bound


def test_baselines_have_their_densities():
    """Use two images without a common lit pixel, and sets that lie on one of the two images."""
    images = np.zeros((2, 4, 4), np.uint8)
    images[0, :, 0], images[1, :2, 2:] = 100, 200
    images[1, 0, 2] = 50
    sets = np.array([[[0.5, 0.5], [0.5, 3.5]], [[2.5, 2.5], [3.5, 3.5]]], np.float32)
    one = baselines.Independent(np.repeat(images, 2, axis=0))
    each = baselines.BlurredImages(images, np.array([3, 7]), sets)
    assert (each.blur, each.spread) == (min(baselines.BLURS), min(baselines.SPREADS))
    for made, points in ((one, 4_000), (each, 400)):
        drawn, labels = made.draw(50, points, seed=0)
        count = copies.pixel_counts(drawn, 4, 4).mean(0)
        # density of one point: from the likelihood, and from counts of draws
        grid = np.stack(np.meshgrid(np.arange(4) + 0.5, 3.5 - np.arange(4)), -1).reshape(16, 1, 2)
        density = np.exp(made.log_prob(np.float32(grid)))
        assert density.sum() == pytest.approx(1, abs=1e-4)
        np.testing.assert_allclose(count, density, atol=0.08 if labels is not None else 0.01)
    assert set(labels) == {3, 7}


def test_pixels_in_rows_have_the_density_of_sets_without_an_order():
    """Draw two different pixels of four lit ones: the 4 x 3 ordered pairs are equally likely."""
    data = image_sets.from_images(np.full((1, 2, 2), 9, np.uint8), None, 1.0, False, False)
    made = baselines.PixelSoftmax(data, 2, steps=100, in_rows=True)
    sets = np.array([[[0.5, 0.5], [1.5, 1.5]], [[0.5, 1.5], [1.5, 1.5]]], np.float32)
    expected = np.log(1 / 12) / 2
    np.testing.assert_allclose(made.log_prob(sets), expected, atol=0.05)
    np.testing.assert_allclose(made.log_prob(sets[:, ::-1]), expected, atol=0.05)


def test_a_superposition_and_a_copy_are_caught(monkeypatch):
    """1-NNA detects the superposition, the share of copies detects copies; real sets pass both."""
    monkeypatch.setattr(classifier, "TRAIN_SETS", 200)
    config = parse(["", f"--config={ROOT / 'configs' / 'spatial_mnist.py'}",
                    "--config.data.source=digits"]).config
    bench = spatial_protocol.Bench(api.build(config), 80, 10)
    superposed, real = (
        spatial_mnist.of_baseline(bench, name, 0, 1) for name in ("independent", "real")
    )
    copied = bench.quality(bench.sets_of(bench.dataset, np.arange(80), seed=5), None)
    assert superposed["nna_emd"] > 0.7 > real["nna_emd"] and superposed["frechet"] > real["frechet"]
    assert copied["copies_p"] < 1e-3 < real["copies_p"]


def test_rows_order(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(commands.reports, "evaluate_run", lambda *_: None)
    folder = tmp_path / "run"
    size = ["--config.train.num_points=4", "--config.model.context_dim=8",
            "--config.model.context_blocks=1", f"--config.data.cache_dir={tmp_path}"]  # fmt: skip
    assert run(f"--config={ROOT / 'configs' / 'spatial_mnist.py'}:rows", *SETS, *size,
               "--config.data.source=digits", "--config.sample.growth=1.0",
               "--config.sample.first_block=1", f"--workdir={folder}").code == 0  # fmt: skip
    small = ["--num_sets=9", "--num_steps=3", f"--output={tmp_path / 'rows.json'}"]
    rows_order.main([f"--workdir={folder}", *small])
    result, printed = read(tmp_path / "rows.json"), capsys.readouterr().out
    # the model is hardly trained
    assert result["num_sets"] == 9 and 0 < result["share_of_pairs"] < 1
    assert f"sets out of order: {result['sets_out_of_order']} of 9 " in printed
    with pytest.raises(SystemExit, match="2"):  # this run was not trained with points in rows
        rows_order.main([f"--workdir={runs / 'mixture_moons+circle_history'}", *small])
    assert "config.model.order other than" in capsys.readouterr().err


def test_rows_order_counts_sets_and_pairs():
    good, bad = [[0.0, 2.5], [1.0, 2.5], [0.0, 1.5]], [[1.0, 2.5], [0.0, 2.5], [0.0, 1.5]]
    keys = parse_order("rows:1", ("x", "y"))
    result = rows_order.count(np.array([good, bad, good, good]), keys)
    assert result["sets_out_of_order"] == 1 and result["share_of_pairs"] == 1 / 8
    assert result["missing_nats_per_point"] == pytest.approx(-np.log(0.75) / 3)
    assert result["missing_nats_se"] == pytest.approx((0.25 / 0.75 / 4) ** 0.5 / 3)
    assert rows_order.count(np.array([good]), keys)["missing_nats_per_point"] == 0
    assert rows_order.count(np.array([bad]), keys)["missing_nats_per_point"] is None
