"""Check the benchmarks of events, jets and solids, whose law is known or made here.

Each benchmark runs at a tiny size through its own command line, and exits with an error if one of
its parts fails.
"""


import hawkes
import jets
import make_sets
import numpy as np
import pytest
import shapes_3d
from benchmark_files import read
from command_line import SETS

from tiny_diffusion_jax import data
from tiny_diffusion_jax.config import default_config

pytestmark = pytest.mark.slow


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
