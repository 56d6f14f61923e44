"""Compare all models on one mixture: separation and quality of their sets, and their cost.

    python benchmarks/quality.py --members=dino+moons             # trains every model: an hour
    python benchmarks/quality.py --members=dino+moons --models=history,set_latent

main.py trains and evaluates each model in runs/. Finished runs are read and not repeated.
Words after `--` are options of main.py for all models: `-- --config.train.steps=2000`.
Prints a table and writes benchmarks/results/quality_MEMBERS.json.
"""

import argparse
from pathlib import Path

from common import RESULTS, ROOT, command, finished, markdown, stored, write

MODELS = ("set_transformer", "history", "causal", "set_latent", "fourier_mlp", "attention_v1",
          "attention_v2", "seq2seq")  # fmt: skip


def row(members: str, model: str, runs: Path, options: list[str]) -> dict:
    """Return the metrics of one model from main.py, and the command."""
    flags = [f"--config=configs/mixture.py:{members}", f"--config.model.name={model}", *options]
    result = finished(runs / f"mixture_{members.replace(':', '')}_{model}", flags)
    kept = ("metrics", "parameters", "seconds", "sample", "device", "versions")
    return {"command": " ".join(["python main.py", *flags])} | {key: result[key] for key in kept}


def table(rows: dict) -> str:
    """Format the rows as a Markdown table."""
    columns = ("model", "separate sets", "stray points", "members", "sliced W2 / floor", "training",
               "parameters", "sampling, with compilation")  # fmt: skip
    lines = []
    order = [model for model in MODELS if model in rows]
    for model in order:
        row = rows[model]
        m, seconds = row["metrics"], row["seconds"]
        shares = " : ".join(f"{100 * x:.0f}" for x in m["frequency_error"]["members"])
        within = m.get("within_sliced_wasserstein2", {"ratio": float("nan")})
        lines.append((
            f"`{model}`", f"{100 * m['separation']['value']:.1f} %",
            f"{100 * m['stray']['value']:.2f} %", shares, f"{within['ratio']:.2f}",
            f"{seconds['train']:.0f} s", f"{row['parameters']:,}",
            f"{seconds['sample']:.0f} s, {row['sample']['num_sets']:,} sets",
        ))  # fmt: skip
    floors = rows[order[0]]["metrics"]
    lines.append(("real sets", f"{100 * floors['separation']['floor']:.1f} %",
                  f"{100 * floors['stray']['floor']:.2f} %", "", "1", "", "", ""))  # fmt: skip
    return markdown(columns, lines)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--members", default="dino+moons")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--runs", type=Path, default=ROOT / "runs")
    parser.add_argument("--output", type=Path, help="the JSON file")
    parser.add_argument("options", nargs="*", help="options of main.py, after --")
    args = parser.parse_args(argv)
    name = args.members.replace("+", "_").replace(":", "")
    path = args.output or RESULTS / f"quality_{name}.json"
    rows = stored(path, "models")
    for model in args.models.split(","):
        rows[model] = row(args.members, model, args.runs, args.options)
        write(path, {"command": command(__file__, argv), "models": rows})
    print(table(rows))


if __name__ == "__main__":
    main()
