"""Learn jets of particles: JetNet-like gluon and top jets of up to 30 particles.

    python benchmarks/jets.py             # causal in order of falling momentum
    python benchmarks/jets.py --write     # only make the jets; needs pip install pythia8mc fastjet

JetNet (arXiv 2106.11535) has jets of about 1 TeV, clustered with anti-kT, R = 0.8, in pp collisions
at 13 TeV. This file makes such jets with Pythia 8 and FastJet: hard scattering at 0.95 to 1.05 TeV,
initial and final radiation, hadronisation, hadronic decays of W, no multiple interactions, no
detector. The jet of a gluon or top quark is the nearest one, within 0.4. The coordinates of a
particle are etarel and phirel, from the axis of the jet, and ptrel = pT / pT of the jet. Particles
with ptrel above 0.005 are kept, at most the 30 of the largest ptrel.

The folder --runs has jets_train_NUMBER.npz, and jets_test_NUMBER.npz and jets_real_NUMBER.npz of
other seeds. main.py trains on the first file, with the kind as label. The result compares generated
jets with the test jets of their kind. As many real jets of the third file are the floor. Real jets
that exchange their particles have only the law of one particle. Each number is a Wasserstein-1
distance:

    mass            of the relative masses of the jets, W1M of JetNet;
    particles       of etarel, phirel and ptrel of all particles, the mean of three, W1P of JetNet;
    multiplicity    of the numbers of particles of a jet, at most 30;
    hard            of the numbers of particles with ptrel above 0.05.

Words after `--` are options of main.py. Runs with different options need different --name. Prints
a table and writes benchmarks/results/jets.json, which keeps the rows of other names.
"""

from pathlib import Path

import numpy as np
from common import add_rows, data_path, finished, grouped, markdown, of_training, parser_of
from scipy.stats import wasserstein_distance

COLUMNS = ("etarel", "phirel", "ptrel")
KINDS = {
    "gluon": ("HardQCD:gg2gg = on", "HardQCD:qqbar2gg = on"),
    "top": ("Top:gg2ttbar = on", "Top:qqbar2ttbar = on", "24:onMode = off",
            "24:onIfAny = 1 2 3 4 5"),
}  # fmt: skip
SETTINGS = ("Print:quiet = on", "Beams:eCM = 13000", "PartonLevel:MPI = off",
            "PhaseSpace:pTHatMin = 950", "PhaseSpace:pTHatMax = 1050",
            "Random:setSeed = on")  # fmt: skip
LOWEST, RADIUS, PARTICLES = 500.0, 0.8, 30  # pT of a jet in GeV, R of anti-kT, most particles
SOFT, HARD = 0.005, 0.05  # least ptrel of a particle, and of a hard particle
TRAIN, TEST = 10_000, 10_000  # jets of each kind
SEEDS = {"train": 0, "test": 1, "real": 2}  # of the three files of jets


def make_jets(kind: str, num: int, seed: int) -> list[np.ndarray]:
    """Make `num` jets f64[n, 3] of this kind, with the columns etarel, phirel and ptrel."""
    try:
        import fastjet
        import pythia8mc
    except ImportError as error:
        raise SystemExit(f"{error}; to make jets: pip install pythia8mc fastjet") from None
    pythia = pythia8mc.Pythia("", False)
    number = 1 + 2 * seed + list(KINDS).index(kind)  # 0 would be the time
    for line in (*SETTINGS, *KINDS[kind], f"Random:seed = {number}"):
        assert pythia.readString(line), line
    assert pythia.init()
    anti_kt = fastjet.JetDefinition(fastjet.antikt_algorithm, RADIUS)
    jets = []
    while len(jets) < num:
        if not pythia.next():
            continue
        visible = [fastjet.PseudoJet(p.px(), p.py(), p.pz(), p.e())
                   for p in pythia.event if p.isFinal() and p.isVisible()]  # fmt: skip
        clusters = fastjet.ClusterSequence(visible, anti_kt)
        momenta = [(np.array([(p.eta(), p.phi(), p.pt()) for p in (jet, *jet.constituents())]))
                   for jet in clusters.inclusive_jets(LOWEST)]  # fmt: skip
        for parton in (pythia.process[5], pythia.process[6]):
            away = [np.hypot(*relative(jet[:1], parton.eta(), parton.phi(), 1.0)[0, :2])
                    for jet in momenta]  # fmt: skip
            if away and min(away) < RADIUS / 2:
                jet = momenta[int(np.argmin(away))]
                jets.append(hardest(relative(jet[1:], *jet[0])))
    return jets[:num]


def relative(momenta: np.ndarray, eta: float, phi: float, pt: float) -> np.ndarray:
    """Return etarel, phirel in [-pi, pi) and ptrel of momenta f64[n, 3] of eta, phi, pt."""
    turn = (momenta[:, 1] - phi + np.pi) % (2 * np.pi) - np.pi
    return np.column_stack([momenta[:, 0] - eta, turn, momenta[:, 2] / pt])


def hardest(jet: np.ndarray) -> np.ndarray:
    """Return at most PARTICLES particles above SOFT of a jet f64[n, 3], by falling ptrel."""
    jet = jet[jet[:, 2] > SOFT]
    return jet[np.argsort(-jet[:, 2])[:PARTICLES]]


def relative_mass(jet: np.ndarray) -> float:
    """Mass of massless particles f64[n, 3] over the transverse momentum of the jet.

    m^2 = E^2 - p^2, with p = ptrel (cos phirel, sin phirel, sinh etarel), E = ptrel cosh etarel.
    """
    eta, phi, pt = jet.T
    energy = (pt * np.cosh(eta)).sum()
    momentum = [(pt * np.cos(phi)).sum(), (pt * np.sin(phi)).sum(), (pt * np.sinh(eta)).sum()]
    return float(np.sqrt(max(energy**2 - np.square(momentum).sum(), 0.0)))


def compare(jets: list[np.ndarray], test: list[np.ndarray]) -> dict:
    """Return the row of the table for jets f64[n, 3]; a ptrel below 0 counts as 0."""
    jets, test = ([np.column_stack([x[:, :2], np.maximum(x[:, 2], 0)]) for x in sets]
                  for sets in (jets, test))  # fmt: skip
    distance = lambda of: wasserstein_distance(list(map(of, jets)), list(map(of, test)))
    features = zip(np.concatenate(jets).T, np.concatenate(test).T, strict=True)
    return {
        "mass": distance(relative_mass),
        "particles": float(np.mean([wasserstein_distance(*pair) for pair in features])),
        "multiplicity": distance(len),
        "hard": distance(lambda x: int((x[:, 2] > HARD).sum())),
        "jets": len(jets),
    }  # fmt: skip


def exchanged(jets: list[np.ndarray]) -> list[np.ndarray]:
    """Exchange the particles of jets at random, which keeps the law of a particle and of a size."""
    particles = np.random.default_rng(0).permutation(np.concatenate(jets))
    return np.split(particles, np.cumsum(list(map(len, jets)))[:-1])


def write_jets(path: Path, jets: dict[str, list[np.ndarray]]) -> None:
    """Write jets of each kind as columns jet, kind, etarel, phirel and ptrel, a row a particle."""
    sizes = [list(map(len, sets)) for sets in jets.values()]
    number = np.repeat(np.arange(sum(map(len, sizes))), np.concatenate(sizes))
    kind = np.repeat(list(jets), list(map(sum, sizes)))
    points = np.concatenate([jet for sets in jets.values() for jet in sets]).astype(np.float32)
    np.savez_compressed(path, jet=number, kind=kind, **dict(zip(COLUMNS, points.T, strict=True)))


def read_jets(path: Path) -> dict[str, list[np.ndarray]]:
    """Read jets f64[n, 3] of each kind, from a file of `write_jets` or a table of main.py."""
    rows = dict(delimiter=",", names=True, dtype=None, encoding="utf-8")
    table = np.load(path) if path.suffix == ".npz" else np.genfromtxt(path, **rows)
    points = np.column_stack([table[name] for name in COLUMNS]).astype(float)
    jets = grouped(points, table["jet"])
    first = np.unique(table["jet"], return_index=True)[1]
    kind = np.asarray(table["kind"])[first]
    return {name: [jets[i] for i in np.flatnonzero(kind == name)] for name in KINDS}


def table(rows: dict[str, dict]) -> str:
    """Format the rows as a Markdown table, floors in brackets; mass and particles times 1000."""
    return markdown(("", "jets", "mass, 10^-3", "particles, 10^-3", "multiplicity", "hard"), [
        (f"{name}, {kind}", f"{row['jets']:,}", *(
            f"{scale * row[column]:.{digits}f} ({scale * row['floor'][column]:.{digits}f})"
            for column, scale, digits in (("mass", 1e3, 2), ("particles", 1e3, 2),
                                          ("multiplicity", 1, 3), ("hard", 1, 3))))
        for name, kinds in rows.items() for kind, row in kinds["kinds"].items()
    ])  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    parser = parser_of(__doc__, "jets")
    parser.add_argument("--write", action="store_true", help="only make the jets")
    parser.add_argument("--train", type=int, default=TRAIN, help="training jets of each kind")
    parser.add_argument("--test", type=int, default=TEST, help="test jets of each kind")
    args = parser.parse_args(argv)
    args.runs.mkdir(parents=True, exist_ok=True)
    paths = {}
    for part, seed in SEEDS.items():
        num = args.train if part == "train" else args.test
        paths[part] = args.runs / f"jets_{part}_{num}.npz"
        if not paths[part].exists():
            write_jets(paths[part], {kind: make_jets(kind, num, seed) for kind in KINDS})
            print(f"wrote {paths[part]} ({num:,} jets of each kind)")
    if args.write:
        return
    name = args.name or args.model
    workdir = args.runs / f"jets_{name}"
    # a jet may be a single particle, which is no set
    flags = [f"--config=configs/sets.py:{data_path(paths['train'])}",
             "--config.data.skip_small=True", f"--config.model.name={args.model}",
             f"--config.data.columns={','.join(COLUMNS)}", "--config.data.set_column=jet",
             "--config.data.label_column=kind",
             "--config.model.labels=True", "--config.data.per_axis=True",
             f"--config.train.num_points={PARTICLES}",
             f"--config.sample.num_sets={args.test}"]  # fmt: skip
    if args.model == "causal":
        flags += ["--config.model.order=coordinate:ptrel:desc"]
    flags += args.options
    metrics = finished(workdir, flags)
    drawn, test, real = map(read_jets, (workdir / "samples.csv", paths["test"], paths["real"]))

    def kinds(jets):  # with the floor of as many real jets
        return {kind: compare(jets[kind], test[kind])
                | {"floor": compare(real[kind][: len(jets[kind])], test[kind])}
                for kind in KINDS}  # fmt: skip

    rows = add_rows(args.output, __file__, argv, {
        "exchanged": {"kinds": kinds({kind: exchanged(sets) for kind, sets in real.items()})},
        name: {"kinds": kinds(drawn)} | of_training(metrics, flags),
    })  # fmt: skip
    print(table(rows))


if __name__ == "__main__":
    main()
