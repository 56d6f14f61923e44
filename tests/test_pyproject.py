"""Check that pyproject.toml, requirements.txt, the citation and the documentation agree."""

import re
import tomllib

import pytest
from command_line import ROOT

import tiny_diffusion_jax as td

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = PYPROJECT["project"]


def test_requirements_are_those_of_the_package_and_its_tests():
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    requirements = [line for line in lines if not line.startswith("#")]
    assert requirements == PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]


def test_versions_of_the_package_agree():
    assert PROJECT["version"] == td.__version__
    for file in ("CITATION.cff", "CHANGELOG.md"):
        assert td.__version__ in (ROOT / file).read_text("utf-8"), file


@pytest.mark.parametrize("file", ["README.md", "docs/start.md", "requirements.txt"])
def test_versions_of_python_agree(file):
    versions = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    first, last = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["requires-python"]).groups()
    assert versions == [f"3.{minor}" for minor in range(int(first), int(last))]
    stated = re.search(r"Python (3\.\d+) to (3\.\d+)", (ROOT / file).read_text("utf-8"))
    assert stated.groups() == (versions[0], versions[-1])


def test_the_package_data_exist():
    for pattern in PYPROJECT["tool"]["setuptools"]["package-data"]["tiny_diffusion_jax"]:
        assert list((ROOT / "tiny_diffusion_jax").glob(pattern)), pattern


def test_types_of_the_package_are_for_its_users():
    assert (ROOT / "tiny_diffusion_jax" / "py.typed").read_text("utf-8") == ""
