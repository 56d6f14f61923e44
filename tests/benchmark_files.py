"""Options of tiny runs of benchmarks, and their results files."""

import json

import pytest
from command_line import SETS

FEW = [*SETS, "--config.sample.first_block=2", "--config.sample.growth=2.0",
       "--config.evaluate.frames=0"]  # fmt: skip


def read(path):
    """Contents of a results file: the command that made it, and numbers without NaN or infinity."""
    result = json.loads(path.read_text("utf-8"), parse_constant=pytest.fail)
    assert result["command"].startswith("python benchmarks/")
    return result


def stored_metrics(folder, options):
    """Return metrics.json of a run of any options, in place of common.finished."""
    return json.loads((folder / "metrics.json").read_text("utf-8"))
