"""Check which sections a report has, and that shared results are computed once."""

import json
import threading

import jax
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy.optimize import linear_sum_assignment
from weights import random_weights

import tiny_diffusion_jax as td
from tiny_diffusion_jax import reports, sampling, scoring
from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.data.description import describe, restore
from tiny_diffusion_jax.metrics import points, separation
from tiny_diffusion_jax.metrics.ragged import first_of_each
from tiny_diffusion_jax.reports import density, measure, player, sets, summary
from tiny_diffusion_jax.reports.data import ReportData
from tiny_diffusion_jax.reports.player import sets_player
from tiny_diffusion_jax.reports.sections import Section, sections_of

SMALL = {
    "model.hidden_dim": 8, "model.num_blocks": 1, "model.num_frequencies": 4,
    "model.time_frequencies": 4, "model.num_inducing": 2, "train.num_sets": 4,
    "sample.num_sets": 6, "sample.num_points": 16, "sample.num_steps": 3, "evaluate.frames": 2,
    "evaluate.density_size": 8, "evaluate.exact_points": 12, "evaluate.num_projections": 4,
    "evaluate.heldout_points": 16, "evaluate.likelihood_steps": 2,
    "evaluate.set_likelihood_steps": 2, "evaluate.density_steps": 2, "evaluate.gifs": True,
}  # fmt: skip
MIXTURE = {"data.name": "mixture", "data.members": "moons+circle", "model.name": "set_transformer"}
IMAGES = {"data.name": "mnist_sets", "data.source": "digits", "model.name": "set_transformer"}


def build(**fields):
    config = default_config()
    config.update_from_flattened_dict(SMALL | fields)
    return td.build(config)


@pytest.fixture(autouse=True)
def model(monkeypatch):
    """Replace sampling by noise, because only the report is tested; returns requested labels."""
    asked = []

    def sample(experiment, params, config=None, keep_trajectory=False, labels=None):
        config = config or experiment.config.sample
        asked.append(labels)
        shape = config.num_sets, config.num_points, 2
        steps = (config.num_steps + 1,) if keep_trajectory else ()
        return np.random.default_rng(0).normal(size=steps + shape).astype(np.float32)

    monkeypatch.setattr(sampling, "sample", sample)
    monkeypatch.setattr(scoring, "log_prob", lambda e, p, points, steps: -(points**2).sum(-1))
    return asked


def gather(built):
    params = random_weights(built.model)
    return ReportData(built, params, sampling.sample(built, params))


def figures_of(data, folder):
    """Write the figures of each section; return the names of the files of each section."""
    return {section.name: [name for name, write in section.figures.items()
                           if write(data, folder / name) is not False]
            for section in sections_of(data)}  # fmt: skip


@pytest.mark.parametrize("fields, names", [
    ({}, "training samples likelihood density trajectory films page"),
    ({"evaluate.density_size": 0}, "training samples likelihood trajectory films page"),
    ({"model.name": "set_transformer"}, "training samples trajectory films page"),
    (MIXTURE, "training sets members set_likelihood attention set_film page"),
    (IMAGES, "training sets collection set_likelihood attention set_film page"),
    (IMAGES | {"model.labels": True},
     "training sets collection labels set_likelihood attention set_film page"),
])  # fmt: skip
def test_sections_follow_from_data_and_model(fields, names):
    data = ReportData(build(**fields), None, np.zeros((2, 16, 2), np.float32))
    assert [section.name for section in sections_of(data)] == names.split()


def test_completions_and_samples_without_data_are_drawn_and_not_compared():
    for fields, alone in (({}, "samples"), (MIXTURE, "sets")):
        built, samples = build(**fields), np.zeros((2, 16, 2), np.float32)
        completed = ReportData(built, None, samples, samples[0, :3])
        assert [section.name for section in sections_of(completed)] == ["completion", "page"]
        restored = built._replace(dataset=restore(describe(built.dataset)))
        rest = sections_of(ReportData(restored, None, samples))
        assert [section.name for section in rest] == [alone, "page"]


def test_one_density_is_drawn_once_for_numbers_and_pictures(tmp_path, monkeypatch):
    data = gather(build(**{"data.jitter": "none"}))
    draws, clouds = [], points
    real = clouds.compare
    monkeypatch.setattr(clouds, "compare", lambda *a, **k: draws.append(a) or real(*a, **k))
    numbers = measure(data)
    assert {"sliced_wasserstein2", "energy_distance", "mmd_rbf", "wasserstein2",
            "log_likelihood", "total_variation"} == set(numbers)  # fmt: skip
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers
    assert numbers["wasserstein2"]["num_points"] == 12
    shown = []
    draw = density.samples.samples_figure
    monkeypatch.setattr(density.samples, "samples_figure",
                        lambda *a: shown.append(a) or draw(*a))
    files = figures_of(data, tmp_path)
    assert files == {"training": [], "samples": ["samples.png"], "likelihood": [], "density": [],
                     "trajectory": ["trajectory.npy"], "films": ["reverse.gif", "forward.gif"],
                     "page": []}  # fmt: skip
    assert {path.name for path in tmp_path.iterdir()} == set(sum(files.values(), []))
    # both figures use the same real points
    np.testing.assert_array_equal(shown[0][0], draws[0][1][0])


def test_the_player_pairs_real_points_with_noise_as_in_training(monkeypatch):
    flow = {"data.name": "moons", "schedule.name": "flow", "train.pairs": "optimal"}
    experiment, drawn = build(**flow), {}
    monkeypatch.setattr(player, "pack_noising", lambda *arrays: drawn.update(arrays=arrays))
    samples = np.random.default_rng(1).normal(size=(1, 16, 2)).astype(np.float32)
    player.density_player(ReportData(experiment, random_weights(experiment.model), samples))
    x_0, eps = (np.asarray(a)[0] for a in drawn["arrays"][:2])
    x_0 = np.asarray(experiment.dataset.normalize(x_0))
    cost = ((x_0[:, None] - eps) ** 2).sum(-1)
    assert np.trace(cost) == pytest.approx(cost[linear_sum_assignment(cost)].sum(), rel=1e-5)
    assert np.trace(cost) < 0.9 * cost.mean() * len(cost)


def test_animations_can_be_left_out(tmp_path):
    built = build(**{"data.jitter": "none", "evaluate.gifs": False, "evaluate.density_size": 0})
    files = figures_of(gather(built), tmp_path)
    assert files["trajectory"] == ["trajectory.npy"] and not list(tmp_path.glob("*.gif"))
    built = build(**MIXTURE, **{"evaluate.gifs": False})
    assert "set_film" not in {section.name for section in sections_of(gather(built))}


def test_sections_are_measured_at_the_same_time_and_listed_in_their_order(monkeypatch):
    both = threading.Barrier(2, timeout=20)  # broken unless both sections wait in it

    def section(name):
        return Section(name, lambda data: True, metrics=lambda data: {name: {"at": both.wait()}})

    monkeypatch.setattr(reports, "sections_of", lambda data: [section("first"), section("second")])
    assert list(measure(None)) == ["first", "second"]


def test_members_are_calibrated_once_for_numbers_and_pictures(tmp_path, monkeypatch):
    data = gather(build(**MIXTURE, **{"data.cache_dir": str(tmp_path / "cache")}))
    calls, shown = [], []
    real, draw = separation.calibrate, sets.set_figures.sets_figure

    def calibrate(*arguments, **fields):
        calls.append(fields)
        return real(*arguments, **fields, num_reference=256, num_stray=256)

    def sets_figure(*arguments, **fields):
        shown.append(fields)
        return draw(*arguments, **fields)

    monkeypatch.setattr(separation, "calibrate", calibrate)
    monkeypatch.setattr(sets.set_figures, "sets_figure", sets_figure)
    numbers, files = measure(data), figures_of(data, tmp_path)
    assert len(calls) == 1 and calls[0]["num_real"] == 200  # as many real sets as 6 samples need
    assert len(list((tmp_path / "cache").iterdir())) == 1
    rejected = shown[0]["bad"]  # the figure agrees with the metric
    assert numbers["separation"]["value"] == pytest.approx(1 - rejected.mean())
    share = np.bincount(shown[0]["member"], minlength=2) / 6
    np.testing.assert_allclose(numbers["frequency_error"]["members"], share)
    assert files["sets"] == ["sets.png"] and files["set_film"] == ["birth.gif"]
    assert files["attention"] == ["attention.png"]


def test_members_of_few_rows_are_named_and_have_no_stray_points(tmp_path, caplog):
    rows = np.random.default_rng(0).normal(size=(30, 2))
    lines = [f"{x},{y},{kind}" for kind in ("oak", "elm") for x, y in rows]
    (tmp_path / "trees.csv").write_text("\n".join(["x,y,species", *lines]))
    data = gather(build(**MIXTURE | {
        "data.members": f"{tmp_path}/trees.csv?species", "data.cache_dir": str(tmp_path),
    }))  # fmt: skip
    numbers = sets.member_metrics(data)
    assert "separation" in numbers and "stray" not in numbers
    assert [message.partition(" (")[0] for message in caplog.messages] == [
        f"no stray points of {name}: their threshold needs 1000 distinct real points, and 30 are "
        "drawn" for name in ("oak", "elm")]  # fmt: skip


def test_a_causal_point_looks_at_those_up_to_itself():
    """Rows and columns are points; the first token is not a point and is omitted."""
    built = build(**MIXTURE | {"model.name": "causal", "model.context_dim": 8, "model.num_heads": 2,
                               "model.context_blocks": 2})  # fmt: skip
    points = np.random.default_rng(0).normal(size=(5, 2))
    weights = sets.attention_weights(gather(built), points, 5)
    assert weights.shape == (5, 5)
    np.testing.assert_array_equal(weights > 0, np.tri(5, dtype=bool))
    assert (weights.sum(1) < 1).all()


@pytest.mark.parametrize("order, expected", [
    ("random", {"bound": False}), ("rows:1", {"bound": True, "samples_out_of_order": 0.25}),
])  # fmt: skip
def test_a_likelihood_in_rows_is_a_bound_with_the_share_out_of_order(monkeypatch, order, expected):
    built = build(**MIXTURE | {"model.name": "causal", "model.context_dim": 8, "model.num_heads": 2,
                               "model.order": order, "sample.growth": 1.0})  # fmt: skip
    monkeypatch.setattr(sets.likelihood_metrics, "compare_whole_sets", lambda *_: {"value": 0.5})
    samples = np.float32([[[0, 2], [1, 2], [0, 1]]] * 4)
    samples[1, :2] = samples[1, 1::-1]
    numbers = sets.likelihood(ReportData(built, None, samples))
    assert numbers["set_log_likelihood"] == {"value": 0.5} | expected


def test_attention_is_conditioned_on_the_label_and_the_whole_size_of_the_sample(
    monkeypatch, tmp_path
):
    """A history contains 4 of the 16 points of a set."""
    built = build(**MIXTURE | {
        "model.name": "history", "model.labels": True, "model.sizes": True, "train.max_history": 4,
        "sample.label": 1,
    })  # fmt: skip
    calls = []
    monkeypatch.setattr(sets, "_attention",
                        lambda process, params, *seen, strategy: calls.append(seen) or [])
    assert not sets.attention_figure(gather(built), tmp_path)
    [(x, conditioning)] = calls
    assert x.shape == (1, 4, 2) and conditioning.size == 16 and conditioning.label == 1


def test_image_sets_have_copies_and_labels(tmp_path, monkeypatch, model):
    monkeypatch.setattr(sets.classifier, "TRAIN_SETS", 200)
    monkeypatch.setattr(sets.memorization, "MAX_REFERENCE", 40)
    monkeypatch.setattr(sets, "LABELLED", 4)
    shown, draw = [], sets.set_figures.sets_figure
    monkeypatch.setattr(sets.set_figures, "sets_figure",
                        lambda *a, **k: shown.append((a[0], k)) or draw(*a, **k))  # fmt: skip
    data = gather(build(**IMAGES, **{
        "model.labels": True, "data.digits": "01", "evaluate.max_sets": 5, "evaluate.frames": 0,
        "evaluate.likelihood_sets": 0,
    }))  # fmt: skip
    numbers, files = measure(data), figures_of(data, tmp_path)
    assert {"nna_cd", "nna_emd", "cov_cd", "mmd_emd", "copies", "label_accuracy"} <= set(numbers)
    assert numbers["nna_cd"]["num_sets"] == 5 and numbers["copies"]["num_heldout"] == 40
    assert numbers["label_accuracy"]["guidance_scale"] == 2.0
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers
    # drawn once, for the metric and for the figure
    [labels] = [labels for labels in model if labels is not None]
    assert len(labels) == 5
    # the figure has the first four sets, sorted by label
    order = sorted(range(4), key=lambda i: labels[i])
    assert order != [0, 1, 2, 3]
    np.testing.assert_array_equal(shown[-1][0], data.labelled(4)[0][order])
    np.testing.assert_array_equal(shown[-1][1]["member"], np.asarray(labels)[order])
    assert files["labels"] == ["labels.png"] and (tmp_path / "labels.png").exists()


def test_one_training_image_has_all_numbers_but_the_accuracy(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(sets.memorization, "MAX_REFERENCE", 40)
    monkeypatch.setattr(sets, "LABELLED", 2)
    data = gather(build(**IMAGES, **{
        "model.labels": True, "data.max_images": 1, "evaluate.max_sets": 5, "evaluate.frames": 0,
        "evaluate.likelihood_sets": 0,
    }))  # fmt: skip
    numbers = measure(data)
    assert "label_accuracy" not in numbers and {"nna_cd", "mmd_emd", "copies"} <= set(numbers)
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers
    assert caplog.messages == ["no label accuracy: the training data have a single label"]
    sets.label_figure(data, tmp_path / "labels.png")
    assert (tmp_path / "labels.png").exists()


@pytest.mark.parametrize("count, missing", [
    (0, "no MMD, COV and 1-NNA, and no copies: they need at least 4 sets held out, and 0 are"),
    (1, "no MMD, COV and 1-NNA: they need at least 4 sets held out, and 1 are"),
])  # fmt: skip
def test_zero_or_one_set_held_out(count, missing, caplog):
    data = gather(build(**IMAGES, **{"evaluate.max_sets": 5}))
    heldout = data.dataset.heldout
    images, labels = heldout.images[:count], heldout.source_labels[:count]
    args = heldout.draw_from.args[0], images, labels, heldout.draw_from.args[3]
    few = heldout.replace(
        images=images, source_labels=labels,
        draw_from=Partial(heldout.draw_from.func, *args),
    )  # fmt: skip
    data.dataset = data.dataset.replace(heldout=few)
    numbers = sets.collection_metrics(data)
    assert list(numbers) == ["copies"] * count + ["outside", "neighbours"]
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers
    assert [message.partition(" (")[0] for message in caplog.messages] == [missing]


@pytest.mark.parametrize("split, words", [
    (True, "other held-out sets"), (False, "the same held-out sets"),
])  # fmt: skip
def test_metrics_say_whether_other_sets_chose_the_weights(monkeypatch, split, words):
    options = {"data.digits": "01", "evaluate.max_sets": 5, "train.split_heldout": split}
    built = build(**IMAGES, **options, **{"train.keep_best": True})
    monkeypatch.setattr(sets.memorization, "compare", lambda *_: {"value": 0.0, "verdict": "none"})
    monkeypatch.setattr(sets.likelihood_metrics, "compare_whole_sets", lambda *_: {"value": 0.0})
    data = ReportData(built, None, np.zeros((6, 16, 2), np.float32))
    numbers = sets.collection_metrics(data) | sets.likelihood(data)
    for name in ("nna_cd", "mmd_emd", "set_log_likelihood"):
        assert numbers[name]["weights_chosen_on"] == words
    text = {row["name"]: row["text"] for row in summary.rows(numbers)}
    assert all(("optimistic" in line) == (not split) for name, line in text.items()
               if "1-NNA" in name or "likelihood" in name)  # fmt: skip
    assert any("1-NNA" in name for name in text) and any("likelihood" in name for name in text)


@pytest.mark.parametrize("count, source", [(3, "images"), (5, "tables")])
def test_no_real_set_is_pictured_twice(count, source, tmp_path):
    """Nearly all of 200 draws from 3 images, or from 5 observed sets, would be repeated."""
    if source == "images":
        built = build(**IMAGES, **{"data.max_images": count})
    else:
        rows = np.random.default_rng(0).normal(size=(count, 16, 2))
        rows = np.concatenate([rows, rows[:2, ::-1]])  # two sets appear twice, in different orders
        split = ["train"] * len(rows) + ["test"] * 4
        rows = np.concatenate([rows, rows[:4] + 1])
        lines = [f"{s},{x},{y},{split[s]}" for s, points in enumerate(rows) for x, y in points]
        (tmp_path / "sets.csv").write_text("\n".join(["set,x,y,split", *lines]))
        built = build(**IMAGES | {"data.name": "sets", "data.path": f"{tmp_path}/sets.csv"})
    data = gather(built)
    real, labels = data.real_sets
    assert len(real) == count and (labels is None or len(labels) == count)
    player = sets_player(data)
    assert player["reverse"]["sizes"] == [16] * 6
    assert player["forward"]["sizes"] == [16] * count + [0] * (6 - count)


def test_different_sets_are_found_whatever_the_order_of_their_points():
    sets = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    sets[2, 1] = np.nan
    repeated = np.concatenate([sets, sets[:, ::-1], sets])
    np.testing.assert_array_equal(first_of_each(sets), [0, 1, 2])
    np.testing.assert_array_equal(first_of_each(repeated[[0, 3, 1, 4, 2, 8]]), [0, 2, 4])


def test_data_that_no_section_reads_are_not_computed(monkeypatch):
    monkeypatch.setattr(separation, "calibrate", None)
    built = build(**MIXTURE)
    ReportData(built, None, np.zeros((2, 16, 2)))
    assert jax.tree.leaves(built.dataset.weights)[0].shape == (2,)


def test_trajectories_that_were_kept_are_not_drawn_again(monkeypatch):
    """The page shows the trajectories of the first sets, which were kept with the samples."""
    built = build(**MIXTURE, **{"sample.num_sets": 30})
    kept = np.random.default_rng(1).normal(size=(4, 30, 16, 2)).astype(np.float32)
    monkeypatch.setattr(sampling, "sample", lambda *_, **__: pytest.fail("drawn again"))
    shown, levels = ReportData(built, None, kept[-1], trajectories=kept).trajectories
    assert len(levels) == 4
    np.testing.assert_array_equal(shown, kept[:, :24])
