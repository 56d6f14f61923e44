"""Run every benchmark at a tiny size through its own command line.

A benchmark exits with an error if one of its parts fails. All tests together are slow.
"""

import gzip
import json
import shutil
import subprocess
import time
from functools import partial

import baselines
import common
import flow
import fuzz
import golden
import growth
import hawkes
import jets
import kill_resume
import latency
import make_sets
import memory
import nats
import numpy as np
import one_process
import patterns
import pytest
import quality
import rows_order
import samplers
import scaling
import separate
import shapes_3d
import sharpness
import spatial_mnist
import spatial_protocol
import speed
import student
import student_fixes
import student_replay
import summaries
import time_to_quality
import tpu
import transformer
from command_line import MOONS, ROOT, SETS, TINY, run
from hypothesis import strategies as st
from PIL import Image

import tiny_diffusion_jax as td
from tiny_diffusion_jax import api, checks, data, devices
from tiny_diffusion_jax.cli import commands
from tiny_diffusion_jax.cli.flags import parse
from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.data import image_sets
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.metrics import classifier, separation
from tiny_diffusion_jax.metrics import memorization as copies
from tiny_diffusion_jax.recipes import RECIPES
from tiny_diffusion_jax.run import released
from tiny_diffusion_jax.sets.order import parse_order

pytestmark = pytest.mark.slow
FEW = [*SETS, "--config.sample.first_block=2", "--config.sample.growth=2.0",
       "--config.evaluate.frames=0"]  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def small():
    """Shrink what no option shrinks: processes, networks, matrices and draws of real sets."""
    def matmul_rate(rows, inner, length):
        return common.matmul_rate(min(rows, 32), min(inner, 32), min(length, 10))

    few_real = partial(separation.calibrate, num_reference=128, num_stray=128)
    with pytest.MonkeyPatch.context() as patch:
        for module in (common, golden, speed, latency):
            patch.setattr(module, "subprocess", one_process)
        for module in (speed, transformer):
            patch.setattr(module, "matmul_rate", matmul_rate)
        for module, sizes in ((speed, {"HIDDEN": 16, "FEATURES": 16}), (transformer, {"HIDDEN": 8}),
                              (samplers, {"STEPS": dict.fromkeys(samplers.STEPS, (10, 1000))})):
            for name, size in sizes.items():
                patch.setattr(module, name, size)
        patch.setattr(separation, "calibrate", few_real)
        # benchmarks do not read the pictures and pages of their runs
        patch.setattr(commands.reports, "_is_written", lambda *_: True)
        yield


def read(path):
    """Contents of a results file: the command that made it, and numbers without NaN or infinity."""
    result = json.loads(path.read_text("utf-8"), parse_constant=pytest.fail)
    assert result["command"].startswith("python benchmarks/")
    return result


def test_each_benchmark_has_a_test():
    files = {file.stem for file in (ROOT / "benchmarks").glob("*.py")}
    tests = " ".join(f"{name}_" for name in globals())
    parts = {"common", "frechet", "pytorch", "release"}  # of other benchmarks
    assert {file for file in files if f"test_{file}_" not in tests} == parts


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folder of the tiny runs that `quality` trained, next to its results."""
    folder = tmp_path_factory.mktemp("quality")
    quality.main(["--members=moons+circle", "--models=history", f"--runs={folder}",
                  f"--output={folder / 'quality.json'}", "--", *FEW,
                  f"--config.data.cache_dir={folder}"])  # fmt: skip
    return folder


def test_make_sets(tmp_path):
    make_sets.main([f"--output={tmp_path}", "--num_digits=60", "--num_sets=300"])
    found, truth = {}, np.load(tmp_path / "solids.npz")
    for name in ("digits", "digits.csv", "solids.npz"):
        options = default_config().data
        options.update(name="sets", path=str(tmp_path / name))
        found[name] = data.about(options)
    assert found["digits"].labels.names == found["digits.csv"].labels.names == tuple("0123456789")
    assert found["solids.npz"].dim == 3 and found["solids.npz"].labels.names == make_sets.KINDS
    assert sum(1 for _ in (tmp_path / "digits").rglob("*.png")) == 60
    real = np.split(truth["points"], np.cumsum(truth["sizes"])[:-1])
    seen = make_sets.estimates(real)
    np.testing.assert_array_equal(seen["count"], truth["sizes"])
    np.testing.assert_array_equal(seen["label"], truth["label"])
    error = seen["radius"] / truth["radius"] - 1
    assert np.sqrt(np.mean(error**2)) < 0.02 and abs(error.mean()) < 0.004


def test_shapes_3d_are_compared_with_their_density(tmp_path, capsys, monkeypatch):
    # one padded size of 64 points, so few programs are compiled
    monkeypatch.setattr(make_sets, "COUNT", (40, 64))
    shapes_3d.main([f"--runs={tmp_path}", f"--output={tmp_path / 'shapes_3d.json'}",
                    "--num_sets=40", "--real=300", "--", *SETS, "--config.sample.num_points=0",
                 "--config.evaluate.frames=0"])  # fmt: skip
    result = read(tmp_path / "shapes_3d.json")["models"]["set_transformer"]
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) - 2 == len(result["rows"]) >= 8 and {line.count("|") for line in lines} == {5}
    assert {"count, mean", "radius, sd", "share of torus"} <= result["rows"].keys()
    assert {"nna_cd", "copies", "sizes", "label_accuracy"} <= result["metrics"].keys()
    options = default_config().data
    for name in ("samples.npz", "samples.csv"):  # check that the written files can be read
        options.update(name="sets", path=str(tmp_path / "solids_set_transformer" / name))
        drawn = data.about(options)
        assert drawn.dim == 3 and drawn.largest <= 64 and len(drawn.labels.names) > 1


def test_shapes_3d_of_the_density_pass_and_others_fail():
    def found(seed, zoom=1.0):
        of = make_sets.solids(600, seed)
        return shapes_3d.seen(zoom * of["points"], of["sizes"], of["label"])

    real = found(2)
    z = {name: row["z"] for name, row in shapes_3d.compare(found(3), real).items() if row["z"]}
    assert len(z) >= 8 and max(map(abs, z.values())) < 4
    far = shapes_3d.compare(found(3, zoom=1.1), real)
    assert far["radius, mean"]["z"] > 5 and far["radius, sd"]["z"] > 2


def test_spatial_mnist_quick(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(classifier, "TRAIN_SETS", 200)
    monkeypatch.setattr(spatial_protocol, "VALIDATION", 20)
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
    assert list(rows["causal"]["given"]) == ["4", "8"] and "completed" in rows["causal"]
    assert all("ppll" in row for name, row in rows.items() if name != "real")
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[0].startswith(f"test sets {result['test_sets']}, 8x8 digit sets")
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1
    # A variant without labels has no columns that need one.
    spatial_mnist.main([*quick, "--models=unlabelled", "--yardsticks=", "--given=", "--", *SETS,
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
        spatial_mnist.of_yardstick(bench, name, 0, 1) for name in ("independent", "real")
    )
    copied = bench.quality(bench.sets_of(bench.dataset, np.arange(80), seed=5), None)
    assert superposed["nna_emd"] > 0.7 > real["nna_emd"] and superposed["frechet"] > real["frechet"]
    assert copied["copies_p"] < 1e-3 < real["copies_p"]


def test_quality_trains_measures_and_reads_a_finished_run(runs, capsys):
    result = read(runs / "quality.json")["models"]["history"]
    assert 0 <= result["metrics"]["separation"]["value"] <= 1 and result["parameters"] > 0
    assert "--config.model.name=history" in result["command"]
    # the finished run is only read, so its checkpoints are not needed
    (runs / "mixture_moons+circle_history" / "checkpoints").rename(runs / "away")
    quality.main(["--members=moons+circle", "--models=history", f"--runs={runs}",
                  f"--output={runs / 'quality.json'}", "--", *FEW])  # fmt: skip
    (runs / "away").rename(runs / "mixture_moons+circle_history" / "checkpoints")
    head, rule, row, real = capsys.readouterr().out.strip().splitlines()
    assert row.startswith("| `history` |") and real.startswith("| real sets |")
    assert head.count("|") == rule.count("|") == row.count("|") == real.count("|")


def test_quality_fails_when_a_run_fails(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(common, "subprocess", subprocess)
    with pytest.raises(subprocess.CalledProcessError):
        quality.main(["--members=moons+nothing", "--models=history", f"--runs={tmp_path}",
                      f"--output={tmp_path / 'quality.json'}"])  # fmt: skip
    assert not (tmp_path / "quality.json").exists()
    assert "nothing" in capfd.readouterr().err


def test_growth(runs):
    growth.main([f"--workdir={runs / 'mixture_moons+circle_history'}", "--growths=1.5,2",
                 "--num_sets=6", f"--output={runs / 'growth'}"])  # fmt: skip
    result = read(runs / "growth.json")
    assert [row["growth"] for row in result["rows"]] == [1.5, 2.0]
    for row in result["rows"]:
        assert {"separation", "separation_se", "stray", "stray_se", "seconds"} <= row.keys()
    assert result["rows"][0]["blocks"] > result["rows"][1]["blocks"]
    assert 0.5 < result["real"]["separation"] <= 1 and Image.open(runs / "growth.png").width > 1000


def test_fuzz(tmp_path):
    fuzz.main(["--quick", f"--output={tmp_path / 'fuzz.json'}"])
    result = read(tmp_path / "fuzz.json")
    assert result["failures"] == {} and result["cases"] == 40
    assert {kind: sum(count.values()) for kind, count in result["counts"].items()} == {
        "config": 23, "file": 16, "run": 1}
    assert result["counts"]["config"]["done"] and result["counts"]["file"]["done"]


def test_fuzz_catches_a_traceback_a_long_line_and_a_hang(monkeypatch):
    def fail(kind, folder):
        if kind == "hang":
            time.sleep(10)
        raise UserError("x" * 5_000) if kind == "line" else KeyError("no such thing")

    monkeypatch.setattr(fuzz, "LONGEST", 1)
    for kind, error in (("traceback", "KeyError"), ("line", "xxx"), ("hang", "TimeoutError")):
        counts, failure = fuzz.examine(st.just(kind), fail, 1, 0)
        assert error in failure and not counts and f"case='{kind}'" in failure


def test_golden_numbers_are_repeated_and_a_change_is_named(tmp_path, capsys):
    args = [f"--runs={tmp_path}", "--only=released", "--", "--config.sample.num_points=16"]
    seeds = [*args, "--config.sample.num_steps=2", "--config.sample.seed=7"]
    assert golden.main(["--record", *seeds]) == 0
    assert golden.main(seeds) == 0 and "0 numbers differ" in capsys.readouterr().out
    assert golden.main([*args, "--config.sample.num_steps=3"]) == 1
    assert "released: samples float32 (20, 16, 2)" in capsys.readouterr().out


def test_memory(tmp_path):
    """Measure in separate processes, because the benchmark reports memory and time per process."""
    memory.main(["--points=2000", "--steps=400", f"--output={tmp_path / 'memory.json'}", "--",
                 *FEW, "--config.train.steps=400", "--config.data.source=digits"])  # fmt: skip
    result = read(tmp_path / "memory.json")
    assert 100 < result["memory"]["mib"] < 4_000 and 0 < result["checkpoint"]["share"] < 1
    assert result["going_on"]["new"] > 0 and result["going_on"]["goes_on"] > 0


def test_scaling(tmp_path, capsys):
    scaling.main(["--models=fourier_mlp", "--axes=width", "--calls=1", "--largest=128",
                  f"--output={tmp_path / 'scaling.json'}"])  # fmt: skip
    (rows,) = read(tmp_path / "scaling.json")["rows"].values()
    assert [row["value"] for row in rows] == [32, 128] and rows[0]["gflop"] < rows[1]["gflop"]
    assert "| `fourier_mlp` | width 32, 128 |" in capsys.readouterr().out
    cubic = [{"value": n, "cost": 5.0 * n**3} for n in (2, 6, 12)]
    np.testing.assert_allclose(scaling.exponents(cubic, "cost"), 3.0)


def test_kill_resume(tmp_path):
    """Kill a real run at random with SIGKILL: each time it resumes with identical results."""
    kill_resume.main(["--quick", f"--output={tmp_path / 'kill_resume.json'}", "--",
                "--config.compilation_cache="])  # fmt: skip
    result = read(tmp_path / "kill_resume.json")
    assert result["exact"] == result["kills"] == len(result["each"]) == 5 and result["seed"] == 0
    assert result["each"][-1]["went_on"]["step"] == result["steps"]


def test_separate_draws_the_first_sets_of_both_runs(runs):
    folder = runs / "mixture_moons+circle_history"
    sets = np.load(folder / "samples.npy")[:2]
    figure = separate.figure(sets, sets, [0, 1])
    assert len([ax for ax in figure.axes if ax.collections]) == 4
    separate.main([f"--alone={folder}", f"--together={folder}", f"--output={runs / 'a.png'}"])
    assert Image.open(runs / "a.png").width > 1000


def options_of(commands):
    """Configs of the commands; each config must be valid for training and evaluation."""
    for words in commands:
        config = parse(words.split()[1:]).config
        checks.check_measured(config)
        yield config


def stored_metrics(folder, options):
    """Return metrics.json of a run of any options, in place of common.finished."""
    return json.loads((folder / "metrics.json").read_text("utf-8"))


def test_student_fixes_writes_a_table_and_a_figure_of_its_runs(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(student_fixes, "finished", stored_metrics)
    for _, _, name, _ in student_fixes.ROWS["attention_v2"][1]:
        shutil.copytree(runs / "mixture_moons+circle_history", tmp_path / name)
    student_fixes.main(["--rows=attention_v2", f"--runs={tmp_path}",
                        f"--output={tmp_path / 'm.json'}",
                        f"--figure={tmp_path / 'm.png'}"])  # fmt: skip
    cells = read(tmp_path / "m.json")["rows"]["attention_v2"]
    changes = [(c.data.align, c.diffusion.prediction, c.train.history_drop, c.model.name)
               for c in options_of(cell["command"] for cell in cells)]  # fmt: skip
    assert changes == [
        (False, "eps", 0.7, "attention_v2"), (False, "eps", 0.15, "attention_v2_same_set"),
        (True, "edm", 0.15, "attention_v2_same_set"),
    ]  # fmt: skip
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 5 and len({line.count("|") for line in lines}) == 1
    assert Image.open(tmp_path / "m.png").width > 1000


def test_student_fixes_measures_the_effect_of_the_order():
    _, model, _, flags = student_fixes.ROWS["seq2seq"][1][2]
    setup = api.build(parse(["", *flags, f"--config.model.name={model}", *SETS]).config)
    for row in student_fixes.of_orders(setup, api.init(setup).params):
        assert 0 < row["spread"] < row["error"] and row["error_of_mean"] < row["error"]


def test_student_replay_measures_every_part_against_the_true_members(
    runs, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(student_replay, "finished", stored_metrics)
    for part in student_replay.PARTS:
        folder = tmp_path / f"student_replay_{part}_attention_v2_same_set"
        shutil.copytree(runs / "mixture_moons+circle_history", folder)
    student_replay.main([f"--runs={tmp_path}", f"--output={tmp_path / 'r.json'}",
                 f"--figure={tmp_path / 'r.png'}"])  # fmt: skip
    rows = read(tmp_path / "r.json")["rows"]
    first = str(tmp_path / "student_replay_first_attention_v2_same_set")
    asked = [(c.data.members, c.train.init_from)
             for c in options_of(row["command"] for row in rows.values())]  # fmt: skip
    assert asked == [("dino", ""), ("moons", first), (f"{first}+moons", first)]
    assert all(sum(row["frequencies"]) == pytest.approx(1) for row in rows.values())
    assert len(capsys.readouterr().out.strip().splitlines()) == 5
    assert Image.open(tmp_path / "r.png").width > 1000


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


def test_samplers(tmp_path, monkeypatch):
    # the benchmark draws the samples with each sampler
    monkeypatch.setattr(commands.reports, "evaluate_run", lambda *_: None)
    assert run(*MOONS, f"--workdir={tmp_path / 'run'}").code == 0
    assert run(f"--workdir={tmp_path / 'run'}", "--mode=distill", "--config.train.steps=20",
               "--config.train.trajectories=32").code == 0  # fmt: skip
    samplers.main([f"--workdir={tmp_path / 'run'}", f"--few={tmp_path / 'run_few'}",
                   "--num_sets=2", "--num_points=16",
                   "--max_steps=10", f"--output={tmp_path / 'out'}"])  # fmt: skip
    rows = read(tmp_path / "out.json")["rows"]
    assert {row["sampler"]: (row["steps"], row["evaluations"]) for row in rows} == {
        "ancestral": (10, 10), "ddim": (10, 10), "dpm++2m": (10, 10), "sde-dpm++2m": (10, 10),
        "heun": (10, 19), "consistency": (10, 10)}  # fmt: skip
    assert Image.open(tmp_path / "out.png").width > 900


def test_samplers_are_measured_over_the_floor(monkeypatch):
    """Sliced W2 of a shift s in the plane is |s| / sqrt(2), so ratios equal ratios of shifts."""
    shift = np.array([3.0, 4.0])

    def real(dataset, key, num_sets, num_points):
        points = np.random.default_rng(0).normal(size=(num_points, 2))
        # floors of 1 and 3 shift lengths
        return points + shift * np.array([0, 0, 1, 3])[:, None, None]

    def sample(setup, params, config):
        far = {"ancestral": 1, "ddim": 2, "dpm++2m": 3, "sde-dpm++2m": 5, "heun": 4}[config.sampler]
        points = np.random.default_rng(0).normal(size=(config.num_points, 2))
        return points + shift * far * np.array([1, 5])[:, None, None]

    monkeypatch.setattr("tiny_diffusion_jax.dataset.draw_points", real)
    monkeypatch.setattr("tiny_diffusion_jax.sample", sample)
    setup = api.build(default_config())
    rows = samplers.measure(setup, None, 2, 30, 10)
    assert [(row["sampler"], row["ratio"], row["ratio_se"]) for row in rows] == [
        ("ancestral", 1.5, 0.25), ("ddim", 3.0, 0.5), ("dpm++2m", 4.5, 0.75),
        ("sde-dpm++2m", 7.5, 1.25), ("heun", 6.0, 1.0)
    ]  # fmt: skip
    assert samplers.slowest(rows) == rows[0]


def test_student(tmp_path):
    """A finished run is not trained again, so its losses can be replaced by known numbers."""
    arguments = ["--only=sequential", "--models=fourier_mlp", f"--runs={tmp_path}",
             f"--output={tmp_path / 'student.json'}", f"--figures={tmp_path}", "--",
             *FEW, f"--config.data.cache_dir={tmp_path}"]  # fmt: skip
    student.main(arguments)
    folder = tmp_path / "student_sequential_fourier_mlp"
    losses = (9.0, 8.0, 1.0, 2.0, 3.0, 4.0, 10.0)
    rows = "".join(json.dumps({"step": i, "loss": loss}) + "\n" for i, loss in enumerate(losses))
    (folder / "metrics.jsonl").write_text(rows)
    (tmp_path / "student_sequential.png").unlink()
    student.main(arguments)
    result = read(tmp_path / "student.json")["runs"]["sequential fourier_mlp"]
    # last_loss is the mean of the last five
    assert (result["first_loss"], result["last_loss"]) == (9.0, 4.0)
    assert result["metrics"] == json.loads((folder / "metrics.json").read_text())["metrics"]
    assert Image.open(tmp_path / "student_sequential.png").width > 800


def test_the_hawkes_process_has_its_moments():
    """A first event has a Borel number of descendants, with mean 1 / (1 - m), m = 0.6."""
    sets = hawkes.sequences(3_000, seed=3)
    counts = np.array(list(map(len, sets)))
    mean, variance = 15 / 0.4, 15 * (0.6 / 0.4**3 + 1 / 0.4**2)
    assert mean - 0.4 < counts.mean() + 1 < mean + 1.8  # few events start near the end
    assert counts.var() == pytest.approx(variance, rel=0.12)
    arm = np.repeat(np.arange(10), 500)
    found = hawkes.arm_of(hawkes.places(np.random.default_rng(0), arm))
    assert (found == arm).mean() > 0.95


def test_wrong_sequences_are_caught():
    """A wrong number of events, other times, and places without memory, each by its metric."""
    test, real = (hawkes.sequences(400, seed) for seed in (1, 2))
    rng = np.random.default_rng(0)
    fewer = [x[: max(1, len(x) - 15)] for x in real]
    evenly = [np.column_stack([np.sort(rng.uniform(0, 30, len(x))), x[:, 1:]]) for x in real]
    mixed = [np.column_stack([x[:, 0], rng.permutation(x[:, 1:])]) for x in real]
    floor, few, even, mix = (hawkes.compare(x, test) for x in (real, fewer, evenly, mixed))
    assert few["count"] > 12 > 2 > floor["count"] and few["mmd"] > 0.05 > 0.01 > floor["mmd"]
    assert even["gap"] > 0.1 > 0.05 > floor["gap"]
    assert mix["next_arm"] < 0.1 < 0.3 < floor["next_arm"]


def test_hawkes_quick(tmp_path, capsys):
    hawkes.main(["--train=60", f"--runs={tmp_path}", f"--output={tmp_path / 'hawkes.json'}", "--",
                 *SETS, "--config.sample.first_block=1", "--config.model.context_dim=8"])
    rows = read(tmp_path / "hawkes.json")["rows"]
    assert list(rows) == ["real", "causal"] and rows["causal"]["count"] > rows["real"]["count"] >= 0
    assert "| causal |" in capsys.readouterr().out


@pytest.mark.parametrize("dim", [2, 3])
def test_summaries_of_uniform_points_have_their_closed_forms(dim):
    """K(r) is the volume of the ball of radius r, and G(r) = 1 - exp(-intensity K(r))."""
    rng, box = np.random.default_rng(0), np.array([[0, 2.0], [-1, 0], [3, 4.0]])[:dim]
    intensity = 60
    sets = patterns.poisson(rng, rng.poisson(intensity * np.diff(box).prod(), 400), box)
    r = np.array([0.05, 0.1, 0.2, 0.3])
    ball = np.pi * r**2 * (1 if dim == 2 else 4 / 3 * r)
    for function, truth in ((summaries.ripley, ball),
                            (summaries.nearest, 1 - np.exp(-intensity * ball))):  # fmt: skip
        parts = zip(*(function(x, box, r) for x in sets), strict=True)
        top, low = map(np.array, parts)
        # the first distance has few pairs of points
        np.testing.assert_allclose(top.sum(0) / low.sum(), truth, rtol=0.02 if dim == 2 else 0.1)


def test_patterns_of_known_law_have_their_closed_forms():
    """Thomas: K = pi r^2 + (1 - exp(-r^2 / 4 spread^2)) / centres. Matern II: its intensity."""
    rng, box, r = np.random.default_rng(1), np.array([[0, 1.0]] * 2), np.array([0.03, 0.08, 0.2])
    sets = [patterns.thomas(rng) for _ in range(3_000)]
    # pairs of all sets over the squared mean number: n is not fixed in the closed form
    pairs = sum(summaries.ripley(x, box, r)[0] * (len(x) - 1) for x in sets if len(x) > 1)
    intensity = patterns.CENTRES * patterns.CHILDREN
    more = (1 - np.exp(-(r**2) / (4 * patterns.SPREAD**2))) / patterns.CENTRES
    found = pairs / len(sets) / intensity**2
    np.testing.assert_allclose(found, np.pi * r**2 + more, rtol=0.04)
    sets = [patterns.hard_core(rng) for _ in range(500)]
    disc = np.pi * patterns.HARD**2
    expected = (1 - np.exp(-patterns.PARENTS * disc)) / disc
    assert np.mean(list(map(len, sets))) == pytest.approx(expected, rel=0.015)
    assert all(summaries.ripley(x, box, np.array([patterns.HARD]))[0] == 0 for x in sets)


def test_patterns_without_the_law_of_the_data_are_outside_of_the_envelope():
    """Exchangeable groups have uniform p; uniform points are caught by K and by G."""
    rng, box = np.random.default_rng(2), np.array([[0, 1.0]] * 2)
    test = [patterns.hard_core(rng) for _ in range(12)]
    uniform = patterns.compare(patterns.poisson(rng, list(map(len, test)), box), test, box)
    assert uniform["K"]["p"] < 0.01 > uniform["G"]["p"] and uniform["outside"] == 0
    same = [patterns.compare([patterns.thomas(rng) for _ in range(20)],
                             [patterns.thomas(rng) for _ in range(8)], box)
            for _ in range(60)]  # fmt: skip
    for name in "KG":
        below = np.mean([row[name]["p"] <= 0.2 for row in same])
        assert 0.05 < below < 0.4  # 0.2 with standard error 0.05
        assert all((row[name]["deviation"] > row[name]["envelope"]) == (row[name]["p"] <= 0.05)
                   for row in same)  # fmt: skip
    moved = patterns.compare([x + [0.5, 0] for x in test], test, box)
    assert moved["outside"] == pytest.approx(0.5, abs=0.1)


def test_patterns_quick(tmp_path, capsys):
    arguments = [f"--runs={tmp_path}", f"--output={tmp_path / 'patterns.json'}"]
    with pytest.raises(SystemExit, match="--patterns = 'osteo': must be with --data"):
        patterns.main(["--patterns=osteo", *arguments])
    patterns.main(["--patterns=thomas", *arguments, "--", *SETS,
                   "--config.sample.num_sets=16", "--config.model.context_dim=8"])  # fmt: skip
    rows = read(tmp_path / "patterns.json")["patterns"]["thomas"]
    assert list(rows) == ["training sets", "uniform points", "causal"]
    assert rows["training sets"]["K"]["p"] > 0.05 > rows["uniform points"]["K"]["p"]
    assert rows["causal"]["sets"] == 16
    table = np.genfromtxt(tmp_path / "patterns_thomas.csv", delimiter=",", names=True, dtype=None,
                          encoding="utf-8")  # fmt: skip
    sets = [len(np.unique(table["set"][table["split"] == split])) for split in ("train", "test")]
    assert sets == [4 * 20, 4]  # with mirror images
    printed = capsys.readouterr().out
    assert "20 training sets, 4 choose the weights, 12 test sets" in printed
    assert "| thomas | causal | 16 |" in printed


def test_patterns_of_r_keep_sets_of_equal_names(tmp_path):
    """A list of R may have one name twice, which a dict of Python cannot have."""
    rdata = pytest.importorskip("rdata")
    sets = {name: {"window": {"xrange": np.array([0.0, 4.0]), "yrange": np.array([0.0, 2.0])},
                   "x": np.array([x, 1.0]), "y": np.array([1.0, 1.9])}
            for name, x in (("a", 0.5), ("b", 1.5))}  # fmt: skip
    frame = {"nvars": np.array([1]), "hypercolumns": {"pattern": sets}}
    rdata.write_rda(tmp_path / "flu.rda", {"flu": frame})
    raw = gzip.decompress((tmp_path / "flu.rda").read_bytes())
    one, two = (bytes([0, 4, 0, 9, 0, 0, 0, 1]) + name for name in (b"a", b"b"))
    assert raw.count(one) == raw.count(two) == 1
    (tmp_path / "flu.rda").write_bytes(gzip.compress(raw.replace(two, one)))
    found, box = patterns.load("flu", tmp_path)
    np.testing.assert_array_equal(box, [[0, 2], [0, 1]])
    assert [x.tolist() for x in found] == [[[0.5, 1.0]], [[1.5, 1.0]]]
    with pytest.raises(SystemExit, match="must have osteo.rda"):
        patterns.load("osteo", tmp_path)


def toy_jets(num, seed):
    """Jets of two groups of particles; the groups of a jet are equally far from its axis."""
    rng, sets = np.random.default_rng(seed), []
    for _ in range(num):
        count, away = rng.integers(10, 30), rng.uniform(0.02, 0.4)
        side = rng.choice([-1, 1], (count, 1)) * away
        place = side * [1, 0] + rng.normal(0, 0.01, (count, 2))
        sets.append(jets.hardest(np.column_stack([place, rng.dirichlet(np.ones(count))])))
    return sets


def test_jets_have_the_mass_of_their_particles():
    """m^2 = 2 pT_1 pT_2 (cosh(eta_1 - eta_2) - cos(phi_1 - phi_2)) for two particles."""
    two = np.array([[0.3, -0.2, 0.6], [-0.1, 0.5, 0.4]])
    expected = np.sqrt(2 * 0.6 * 0.4 * (np.cosh(0.4) - np.cos(0.7)))
    assert jets.relative_mass(two) == pytest.approx(expected)
    assert jets.relative_mass(two[:1]) == pytest.approx(0, abs=1e-7)
    # across phi = pi, and in the units of the jet
    turned = jets.relative(np.array([[1.0, 3.1, 50.0], [1.2, -3.1, 25.0]]), 1.0, 3.0, 100.0)
    np.testing.assert_allclose(turned, [[0, 0.1, 0.5], [0.2, 2 * np.pi - 6.1, 0.25]], atol=1e-12)
    cut = jets.hardest(np.column_stack([np.zeros((40, 2)), np.linspace(0, 0.1, 40)]))
    assert len(cut) == jets.PARTICLES and (np.diff(cut[:, 2]) < 0).all()
    assert jets.hardest(np.array([[0, 0, 0.004], [0, 0, 0.006]])).tolist() == [[0, 0, 0.006]]


def test_jets_that_are_wrong_are_caught():
    """Particles exchanged between jets, other momenta, and fewer particles, each by its metric."""
    test, real = toy_jets(2_000, 1), toy_jets(2_000, 2)
    mixed = jets.exchanged(real)
    softer, fewer = [x * [1, 1, 0.8] for x in real], [x[:-3] for x in real]
    floor, mix, soft, few = (jets.compare(x, test) for x in (real, mixed, softer, fewer))
    assert mix["mass"] > 5 * floor["mass"] and mix["multiplicity"] == floor["multiplicity"]
    assert mix["particles"] == pytest.approx(floor["particles"])
    assert soft["particles"] > 3 * floor["particles"] and soft["hard"] > 10 * floor["hard"]
    assert few["multiplicity"] == pytest.approx(3, abs=0.3) and floor["multiplicity"] < 0.5


def test_jets_quick(tmp_path, capsys):
    for part, seed in jets.SEEDS.items():
        kinds = {kind: toy_jets(60, 10 * seed + i) for i, kind in enumerate(jets.KINDS)}
        jets.write_jets(tmp_path / f"jets_{part}_60.npz", kinds)
    again = jets.read_jets(tmp_path / "jets_real_60.npz")
    assert all(np.allclose(a, b) for kind in kinds
               for a, b in zip(kinds[kind], again[kind], strict=True))  # fmt: skip
    jets.main(["--name=small", "--train=60", "--test=60", f"--runs={tmp_path}",
               f"--output={tmp_path / 'jets.json'}", "--",
               *SETS, "--config.sample.num_sets=12", "--config.sample.first_block=1",
               "--config.model.context_dim=8"])
    rows = read(tmp_path / "jets.json")["rows"]
    assert list(rows) == ["exchanged", "small"]
    assert sum(row["jets"] for row in rows["small"]["kinds"].values()) == 12
    for kind in jets.KINDS:
        row = rows["small"]["kinds"][kind]
        assert row["mass"] > row["floor"]["mass"] > 0 and row["floor"]["jets"] == row["jets"]
    assert capsys.readouterr().out.count("| small, ") == 2


@pytest.mark.parametrize("options, change", [
    (["--config.train.learning_rate=0.5"], "train.learning_rate: 0.002 -> 0.5"),
    (["--config.sample.num_sets=3"], "sample.num_sets: 6 -> 3"),
])  # fmt: skip
def test_a_finished_run_of_other_options_is_refused(runs, capsys, options, change):
    folder = runs / "mixture_moons+circle_history"
    flags = ["--config=configs/mixture.py:moons+circle", "--config.model.name=history", *FEW]
    assert common.finished(folder, flags) == stored_metrics(folder, flags)
    with pytest.raises(SystemExit, match="2"):
        common.finished(folder, [*flags, *options])
    line, = capsys.readouterr().err.splitlines()
    assert line.startswith("error: --workdir = ") and f"It differs in {change}. Move" in line


def test_a_finished_run_of_other_data_is_refused(tmp_path, capsys):
    small = [f"--runs={tmp_path}", f"--output={tmp_path / 'a.json'}", "--real=20"]
    options = ["--", *SETS, "--config.sample.num_points=0", "--config.evaluate.frames=0"]
    shapes_3d.main([*small, "--num_sets=40", *options])
    shapes_3d.main([*small, "--num_sets=40", *options])
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        shapes_3d.main([*small, "--num_sets=41", *options])
    line, = capsys.readouterr().err.splitlines()
    assert "must be the data of the run" in line and "dataset.sha256" in line


def test_nats_to_the_truth_of_shapes(tmp_path, capsys):
    """A model that is hardly trained misses much, and draws points outside of the board."""
    output = tmp_path / "nats.json"
    small = ["--points=300", f"--output={output}", "--", "--config.train.block=10", *TINY]
    nats.main(["--shapes=checkerboard", "--steps=10", *small])
    nats.main(["--shapes=rings", "--steps=10,20", *small])
    found = read(output)["results"]
    assert {name: list(rows) for name, rows in found.items()} == {
        "checkerboard": ["10"], "rings": ["10", "20"]}  # fmt: skip
    assert found["checkerboard"]["10"]["outside"] > 0.1 > found["rings"]["20"]["outside"] == 0
    assert all(row["nats"] > 0.2 for rows in found.values() for row in rows.values())
    assert "| checkerboard | 10 |" in capsys.readouterr().out


def test_sharpness_of_a_digit_and_of_a_table(tmp_path, capsys):
    table = tmp_path / "table.csv"
    table.write_text("dataset,x,y\n" + "".join(f"star,{i % 7},{i}\n" for i in range(20)), "utf-8")
    sharpness.main(["--digits=3", f"--table={table}", "--shapes=star", "--points=40",
                    "--variants=of one strength", f"--output={tmp_path / 'sharp.json'}", "--",
                    *TINY, f"--config.data.cache_dir={tmp_path}",
                    "--config.data.source=digits"])  # fmt: skip
    found = read(tmp_path / "sharp.json")["results"]
    assert found.keys() == {"MNIST 3", "star"}
    # The model is hardly trained, so both measures are far from the data.
    missing = found["star"]["of one strength"]
    assert missing["nats_to_truth"] > 0.2 and missing["nats_of_bound"] > 0.2
    assert capsys.readouterr().out.count("| star | of one strength |") == 1
    assert Image.open(tmp_path / "sharp.png").width > 500


@pytest.mark.parametrize("sigma", [0.03, 0.3, 3.0])
def test_exact_denoisers_are_the_mean_of_the_clean_points(sigma):
    """Compare with sums over a fine grid of x_0, at noise within one pixel and far above."""
    pixels, weights = np.array([[0.0, 0.0], [0.5, 0.0], [-1.0, 0.5]]), np.array([0.2, 0.5, 0.3])
    rows, std = np.array([[0.0, 0.1], [0.4, -0.2]]), 0.1
    z = np.random.default_rng(0).normal(size=(6, 2)) * 0.5 + 0.3
    x = (np.arange(800) + 0.5) / 200 - 2
    x = np.stack(np.meshgrid(x, x), -1).reshape(-1, 2)
    inside = ((x[:, None] >= pixels) & (x[:, None] < pixels + 0.5)).all(-1)
    normal = np.exp(-((x[:, None] - rows) ** 2).sum(-1) / (2 * std**2)).sum(1)
    for density, exact in ((inside @ weights, sharpness.of_pixels(np.log(weights), pixels, 0.5)),
                           (normal, sharpness.of_rows(rows, std))):  # fmt: skip
        log_w = -((z[:, None] - x) ** 2).sum(-1) / (2 * sigma**2)
        w = density * np.exp(log_w - np.where(density > 0, log_w, -np.inf).max(1, keepdims=True))
        expected = (w / w.sum(1, keepdims=True)) @ x
        np.testing.assert_allclose(exact(np.float32(z), sigma), expected, atol=2e-3)


def test_speed_measures_each_part_and_fails_with_it(tmp_path, monkeypatch):
    small = ["--pairs=1", "--batches=4", "--steps=2", "--num_points=8", "--starts=1",
             "--against=eager", f"--output={tmp_path / 'speed.json'}"]  # fmt: skip
    speed.main(small)
    result = read(tmp_path / "speed.json")
    assert result["training"]["batch_4"]["us_per_step"]["ours"] > 0
    assert set(result["sampling"]) == {"ancestral", "ddim", "dpm++2m", "heun"}
    assert result["startup_seconds"].keys() == {"cold", "cached"}
    # make every process of the benchmark fail
    monkeypatch.setattr(speed, "subprocess", subprocess)
    monkeypatch.setattr(speed, "__file__", "missing.py")
    with pytest.raises(subprocess.CalledProcessError):
        speed.main(small)


def test_transformer(tmp_path, monkeypatch):
    measured, measure = {}, transformer.training_speed

    def once(model, *size, slices):  # other slices of the same network would be compiled again
        if model not in measured:
            measured[model] = measure(model, *size, slices=slices)
        return measured[model]

    monkeypatch.setattr(transformer, "training_speed", once)
    size = ["--num_sets=4", "--num_points=4", "--blocks=1", "--pairs=1", "--sizes=4"]
    for what in ("speed", "cost"):
        path = tmp_path / f"{what}.json"
        transformer.main([what, *size, f"--output={path}"])
        assert len(read(path)["rows"]) == 1
    assert len(measured) == 3 and min(row["gflops"] for row in measured.values()) > 0


def test_tpu(tmp_path, monkeypatch, capsys):
    """Run on a CPU instead of a TPU; tests/test_tpu.py compiles for TPUs."""
    monkeypatch.setattr(tpu, "mesh_of", lambda chips: devices.make_mesh())
    path = tmp_path / "tpu.json"
    tpu.main(["--programs=metric", "--models=fourier_mlp", f"--output={path}"])
    tpu.main(["--programs=log_prob", "--models=fourier_mlp", f"--output={path}"])
    rows = read(path)["rows"]
    assert list(rows) == ["metric chamfer x 1", "metric sliced_w2 x 1", "metric mmd x 1",
                          "log_prob fourier_mlp x 1"]  # fmt: skip
    assert all(row["gflop"] > 0 for row in rows.values())
    out = capsys.readouterr().out
    assert all(f"| {name} |" in out for name in rows)
    kinds = {kind: make([*RECIPES]) for kind, make in tpu.PROGRAMS.items()}
    assert len(kinds["train"]) == len(RECIPES) and kinds["sample"] and kinds["metric"]


def test_latency(tmp_path):
    latency.main(["--pairs=1", "--num_points=17", f"--output={tmp_path / 'latency.json'}", "--",
                *TINY])  # fmt: skip
    result = read(tmp_path / "latency.json")
    assert {"whole", "train", "evaluate + pictures"} <= result["main_job"]["ours"].keys()
    assert result["calls"]["ours"].keys() == {
        "first td.sample", "second td.sample", "first td.log_prob", "second td.log_prob"}


def test_latency_compares_pair_by_pair():
    pairs = [{"ours": {"a": 1.0, "b": 1.0}, "other": {"a": 2.0}},
             {"ours": {"a": 3.0, "b": 1.0}, "other": {"a": 3.0}}]  # fmt: skip
    assert latency.summary(pairs)["ratio"] == {"a": 0.75}
    assert "ratio" not in latency.summary([{"ours": {"a": 1.0}}])


def test_flow_measures_each_case_and_pairs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(flow, "CASES", {
        "moons": flow.CASES["moons"], "theirs": flow.CASES["theirs"]})  # fmt: skip
    flow.main([f"--output={tmp_path / 'out.json'}", "--steps=2", "--num_sets=2", "--num_points=20",
               "--cases=moons,theirs"])  # fmt: skip
    rows = read(tmp_path / "out.json")["rows"]
    assert [(row["case"], row["pairs"]) for row in rows] == [
        (case, pairs) for case in ("moons", "theirs") for pairs in ("independent", "optimal")]
    assert all(row["path_energy"] >= 1 and row["floor"] > 0 for row in rows)
    assert rows[0]["nats"] is not None and rows[2]["nats"] is None
    assert "| moons | optimal |" in capsys.readouterr().out


def test_flow_draws_finished_runs(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    np.save(folder / "trajectory.npy", np.random.default_rng(0).normal(size=(11, 50, 2)))
    facts = {"dataset": {"title": "moons", "start": {"title": "rings"}}}
    (folder / "config.json").write_text(json.dumps(facts), "utf-8")
    flow.main([f"--figure={tmp_path / 'flow.png'}", f"--runs={folder},{folder}"])
    assert Image.open(tmp_path / "flow.png").width > 900


def test_flow_draws_the_densities_of_the_paper():
    rng = np.random.default_rng(0)
    eight, moons = flow.eight_gaussians(rng, 40_000), flow.moons(rng, 40_000)
    np.testing.assert_allclose(eight.var(0), 12.5 + 0.1**0.5, rtol=0.03)
    # The mean of both half circles is (1/2, 1/4); the added number has mean 0.1.
    np.testing.assert_allclose(moons.mean(0), [3 * 0.6 - 1, 3 * 0.35 - 1], atol=0.03)


def test_time_to_quality_trains_each_setting_and_length(tmp_path, capsys):
    law = "diffusion.levels=log_normal,train.learning_rate=0.01"
    words = [f"--output={tmp_path / 'out.json'}", "--config=moons:line", "--num_points=20",
             "--options=train.num_points=4"]  # fmt: skip
    time_to_quality.main([*words, "--steps=2,3", "--settings", law])
    time_to_quality.main([*words, "--steps=4", "--title=thick line", "--append"])
    result = read(tmp_path / "out.json")
    rows = result["rows"]
    assert [(row["data"], row["settings"], row["steps"]) for row in rows] == [
        ("moons:line", "", 2), ("moons:line", "", 3), ("moons:line", law, 2),
        ("moons:line", law, 3), ("thick line", "", 4)]  # fmt: skip
    assert len({row["nats"] for row in rows}) == 5 and result["command"].count(" && ") == 1
    assert f"| {law} | 3 |" in capsys.readouterr().out and (tmp_path / "out.png").exists()


def test_time_to_quality_measures_the_weights_of_pytorch(tmp_path):
    """The copied network computes the same eps, at the same levels, and trains in PyTorch."""
    torch = pytest.importorskip("torch")
    import pytorch

    experiment = td.build("moons:line", config=time_to_quality.as_pytorch())
    x, t = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32), np.arange(1, 51)
    net = pytorch.Net()
    expected = net(torch.from_numpy(x), torch.from_numpy(t).float()).detach().numpy()
    result = experiment.model.apply(net.flax_params(), x[:, None], t / 50)[:, 0]
    np.testing.assert_allclose(result, expected, atol=1e-6)
    power = np.asarray(experiment.process.schedule.alpha)[1:] ** 2
    np.testing.assert_allclose(power, pytorch.alpha_bar(), atol=1e-6)
    time_to_quality.main([f"--output={tmp_path / 'out.json'}", "--config=moons:line", "--steps=2",
                          "--num_points=200", "--epochs=1,3"])  # fmt: skip
    ours, first, last = read(tmp_path / "out.json")["rows"]
    assert (first["steps"], last["steps"]) == (250, 750) and last["nats"] < first["nats"]
    assert first["settings"] == time_to_quality.PYTORCH != ours["settings"]
