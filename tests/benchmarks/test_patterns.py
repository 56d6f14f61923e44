"""Check the benchmark of replicated point patterns and its summary functions.

Each benchmark runs at a tiny size through its own command line, and exits with an error if one of
its parts fails.
"""

import gzip

import numpy as np
import patterns
import pytest
import summaries
from benchmark_files import read
from command_line import SETS

pytestmark = pytest.mark.slow


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


def test_more_sets_of_a_process_begin_with_the_same_sets():
    (few, _), (more, _) = patterns.load("thomas", None), patterns.load("thomas", None, 50)
    assert (len(few), len(more)) == (36, 50)
    assert all(np.array_equal(a, b) for a, b in zip(few, more, strict=False))


@pytest.mark.parametrize("arguments", [
    "--patterns=osteo --sets=100", "--patterns=thomas --sets=20",
])  # fmt: skip
def test_patterns_refuse_numbers_of_sets_that_they_do_not_have(arguments):
    message = "--sets = .*: must be at least 36, and is only for hard_core and thomas"
    with pytest.raises(SystemExit, match=message):
        patterns.main(arguments.split())


def test_patterns_quick(tmp_path, capsys):
    arguments = [f"--runs={tmp_path}", f"--output={tmp_path / 'patterns.json'}"]
    with pytest.raises(SystemExit, match="--patterns = 'osteo': must be with --data"):
        patterns.main(["--patterns=osteo", *arguments])
    patterns.main(["--patterns=thomas", "--sets=40", *arguments, "--", *SETS,
                   "--config.sample.num_sets=16", "--config.model.context_dim=8"])  # fmt: skip
    rows = read(tmp_path / "patterns.json")["patterns"]["thomas"]
    assert list(rows) == ["28 training sets", "uniform points", "causal"]
    assert rows["28 training sets"]["K"]["p"] > 0.05 > rows["uniform points"]["K"]["p"]
    assert rows["causal"]["sets"] == 16
    written = tmp_path / "patterns_thomas_40.csv"
    table = np.genfromtxt(written, delimiter=",", names=True, dtype=None,
                          encoding="utf-8")  # fmt: skip
    sets = [len(np.unique(table["set"][table["split"] == split])) for split in ("train", "test")]
    assert sets == [4 * 24, 4]  # with mirror images
    printed = capsys.readouterr().out
    assert "24 training sets, 4 choose the weights, 12 test sets" in printed
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
