"""Check the words for metrics in the log and on pages, and the verdict about all metrics."""

from tiny_diffusion_jax.metrics.intervals import TOO_FEW
from tiny_diffusion_jax.reports import summary, words


def test_a_likelihood_that_is_conditional_says_so():
    metric = {"value": -1.0, "floor": None, "nats_to_truth": None, "given_labels": True}
    [row] = summary.rows({"set_log_likelihood": metric})
    assert row["text"].endswith(", given the label of each set")
    [row] = summary.rows({"set_log_likelihood": metric | {"given_labels": False}})
    assert "label" not in row["text"]


def test_words_follow_the_numbers():
    metric = {"value": 0.031, "floor": 0.0295, "floor_std": 0.0041, "ratio": 1.05, "ratio_se": 0.05,
              "num_sets": 9}  # fmt: skip
    assert summary.headline({"sliced_wasserstein2": metric}) == (
        "Cannot be told from the data by these measures; the only measure is Sliced W2: 0.031 "
        "(floor 0.0295 ± 0.0041), 1.05 x the floor")  # fmt: skip
    far = summary.rows({"wasserstein2": metric | {"ratio": 4.0}, "new_metric": {"value": 3}})
    assert far[0]["grade"] == "differs"
    assert far[1] == {"name": "new metric", "value": "3", "floor": "", "grade": "", "text": "",
                      "flagged": False}  # fmt: skip
    copies = {"value": 0.5, "floor": 0.01, "flagged": True, "verdict": "COPIES: half"}
    assert summary.rows({"copies": copies})[0]["text"] == "COPIES: half"
    near = {"value": 1.0, "floor": 0.0, "floor_std": 0.1, "ratio": None, "num_sets": 8}
    row = summary.rows({"mmd_rbf": near})[0]
    assert row["floor"] == "0 ± 0.1" and row["text"].startswith("10.0 spreads above the floor")
    texts = [words.near_zero(near | {"value": value}, None) for value in (-0.004, 0.004, -0.02)]
    assert texts == ["at the floor", "at the floor", "0.2 spreads below the floor"]
    assert [words.duration(s) for s in (0.04, 48.2, 200, 7500)] == [
        "0.0 s", "48 s", "3 min 20 s", "2 h 5 min"]  # fmt: skip


def test_shares_are_per_cent_and_members_have_names():
    shares = {"value": 0.02, "floor": 0.01, "members": [0.48, 0.52], "weights": [0.5, 0.5]}
    text = summary.rows({"frequency_error": shares}, ["dino", "moons"])[0]["text"]
    assert "dino 48.0 % (should be 50.0 %), moons 52.0 % (should be 50.0 %)" in text
    separate = {"value": 1.0, "floor": 0.996, "num_sets": 100}
    assert "100 % of the sets" in summary.headline({"separation": separate})
    none = {"value": 0.0, "floor": 0.996, "num_sets": 100}
    assert summary.headline({"separation": none}) == (
        "Differs from the data; the only measure is Separate sets: 0 (floor 0.996), 0 % of the "
        "sets are one member and nothing else; of real sets 99.60 % pass the test")  # fmt: skip


def test_the_worst_measure_makes_the_headline_with_one_ratio_everywhere():
    """A value of 119 floors was 13 spreads above the floor, below another metric's headline."""
    good = {"value": 0.06, "floor": 0.05, "floor_std": 0.01, "ratio": 1.2, "ratio_se": 0.1,
            "num_sets": 32}  # fmt: skip
    energy = {"value": 0.0119, "floor": 0.0001, "floor_std": 0.0009, "ratio": None, "num_sets": 8}
    metrics = {"sliced_wasserstein2": good, "energy_distance": energy,
               "total_variation": {"value": 0.2, "floor": 0.01}}  # fmt: skip
    assert summary.headline(metrics) == (
        "Differs from the data; the worst of 3 measures is Energy distance: 0.0119 (floor 0.0001 "
        "± 0.0009), 13.1 spreads above the floor")  # fmt: skip
    assert [row["grade"] for row in summary.rows(metrics)] == ["like data", "differs", "close"]
    assert words.log_line("energy_distance", energy) == (
        "energy_distance: 0.0119, floor 0.0001 ± 0.0009")  # fmt: skip
    metrics["total_variation"]["value"] = 0.771
    assert summary.verdict(metrics).endswith("the worst of 3 measures is Total variation")


def test_few_sets_are_not_judged():
    few = {"value": 1 / 3, "floor": 0.5, "ratio": None, "num_sets": 3, "interval": [0.1, 0.8],
           "floor_interval": [0.2, 0.9], "note": TOO_FEW}  # fmt: skip
    row = summary.rows({"nna_cd": few})[0]
    assert row["text"] == "too few sets to judge: 95 % interval 0.1 to 0.8 over 3 sets"
    assert row["grade"] == "" and row["floor"] == "0.5 (0.2 to 0.9)"
    assert summary.headline({"nna_cd": few}) == "Too few sets to judge"
    undecided = {"value": 0.3, "floor": 0.2, "ratio": 1.5, "num_sets": 1}
    assert summary.rows({"wasserstein2": undecided})[0]["grade"] == "too few sets"
    assert summary.headline({"wasserstein2": undecided}) == "Too few sets to judge"
    likelihood = {"value": -2.0, "floor": -1.0, "nats_to_truth": 1.0}
    assert summary.verdict({"nna_cd": few, "set_log_likelihood": likelihood}) == (
        "Differs from the data (too few sets for 1 more); the only measure is Log-likelihood of "
        "sets")  # fmt: skip
    copies = {"value": 0.0, "floor": 0.04, "flagged": False}
    assert summary.verdict({"wasserstein2": undecided, "copies": copies}) == (
        "Cannot be told from the data by these measures (too few sets for 1 more); the only "
        "measure is Copies")  # fmt: skip
    assert summary.headline({"nna_cd": few, "copies": copies}) == (
        "Too few sets to judge; another measure sees no difference")  # fmt: skip
    assert words.log_line("nna_cd", few) == (
        "nna_cd: 0.3333, floor 0.5 (0.2 to 0.9), 95 % interval 0.1 to 0.8, too few sets "
        "to judge")  # fmt: skip
    assert summary.headline({"log_likelihood": {"value": 1.0, "floor": None}}) == ""


def test_log_lines_show_the_verdict_of_a_flagged_metric():
    copies = {"value": 0.25, "floor": 0.01, "ratio": None, "flagged": True, "verdict": "COPIES: x"}
    assert words.log_line("copies", copies) == "copies: 0.25, floor 0.01: COPIES: x"
    assert words.log_line("nll", {"value": 1.0, "floor": None}) == "nll: 1"
