"""Run the examples of the documentation as written, and check its links."""

import importlib
import re
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

import tiny_diffusion_jax as td
from tiny_diffusion_jax import sets
from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.dataset import draw_points
from tiny_diffusion_jax.diffusion.schedules import FAMILIES

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


def read(page: str) -> str:
    return (DOCS / page).read_text("utf-8")


def test_what_is_added_in_the_examples_works(monkeypatch):
    monkeypatch.setattr("tiny_diffusion_jax.diffusion.schedules.FAMILIES", dict(FAMILIES))
    monkeypatch.setattr(sets, "STRATEGIES", dict(sets.STRATEGIES))
    names = {}
    for code in re.findall(r"```python\n(.*?)```", read("guides/extending.md"), re.DOTALL):
        exec(code, names)
    hearts = draw_points(names["hearts"], jax.random.key(0), 1, 5_000)[0]  # points in own units
    np.testing.assert_allclose(hearts.min(0), [-2.1, -2.2], atol=0.15)
    np.testing.assert_allclose(hearts.max(0), [2.1, 1.6], atol=0.15)
    alpha, sigma = names["process"].schedule.alpha, names["process"].schedule.sigma
    np.testing.assert_allclose(alpha**2 + sigma**2, 1, atol=1e-6)
    assert (np.diff(alpha[1:]) < 0).all()
    np.testing.assert_allclose(names["ones"], 1, atol=1e-6)
    assert np.isfinite(names["state"].sampled["params"]["Dense_0"]["kernel"]).all()
    symmetric = names["first"]
    np.testing.assert_allclose(symmetric[:25] * [-1, 1], symmetric[25:], atol=1e-5)


@pytest.mark.slow
def test_examples_of_the_python_interface_run(monkeypatch, tmp_path):
    """Use small networks. The programs of `set_latent` take most of a minute to compile."""
    small = {"model.hidden_dim": 8, "model.num_blocks": 1, "model.num_heads": 2,
             "model.num_frequencies": 4, "train.num_sets": 4, "train.num_points": 4,
             "train.min_history": 8, "train.max_history": 8, "train.block": 2,
             "evaluate.likelihood_steps": 4, "evaluate.set_likelihood_steps": 4,
             "compilation_cache": ""}  # fmt: skip
    build = td.build
    monkeypatch.setattr(td, "build", lambda *args, config=None, **options: build(
        *args, config=small | (config or {}), **options))  # fmt: skip
    monkeypatch.chdir(tmp_path)
    names = {}
    for code in re.findall(r"```python\n(.*?)```", read("guides/python.md"), re.DOTALL):
        exec(code, names)
    assert names["sets"].shape == (1, 100, 2) and len(names["parts"]) == 3
    # After two training steps, rounding a point by 1 ulp changes log p in 4 steps by up to 0.14.
    # test_log_prob.py compares a smooth network within 1e-4.
    np.testing.assert_allclose(names["same"], names["values"], atol=0.3)
    assert names["scores"].shape == (100, 2) and np.isfinite(names["scores"]).all()
    assert int(names["longer"].step) == 4 and (tmp_path / "player.html").exists()
    assert (tmp_path / "runs/labelled/data.npz").exists()


class Tracker:
    """Stand-in for the loggers tensorboardX, wandb and trackio. `rows` has the logged numbers."""

    def __init__(self):
        self.rows, self.is_open = {}, True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.finish()

    def init(self, *, project: str, config: dict):
        assert project == "moons" and config["data"]["name"] == "moons"
        return self

    def add_scalar(self, tag: str, scalar_value: float, global_step: int):
        self.log({tag: scalar_value}, step=global_step)

    def log(self, data: dict, *, step: int):
        assert self.is_open and all(isinstance(value, float) for value in data.values())
        self.rows[step] = self.rows.get(step, {}) | data

    def finish(self):
        self.is_open = False


def test_loggers_receive_the_numbers_of_each_block(monkeypatch):
    """Train a small network for 30 steps in each example of the guide."""
    def small_config():
        config = default_config()
        config.model.update(hidden_dim=8, num_blocks=1, num_frequencies=4, time_frequencies=4)
        config.train.update(block=10, warmup=5, num_sets=8)
        return config

    monkeypatch.setattr(td, "default_config", small_config)
    trackers = {name: Tracker() for name in ("tensorboardX", "wandb", "trackio")}
    trackers["tensorboardX"].SummaryWriter = lambda folder: trackers["tensorboardX"]
    for name, tracker in trackers.items():
        monkeypatch.setitem(sys.modules, name, tracker)
    code = "".join(re.findall(r"```python\n(.*?)```", read("guides/logging.md"), re.DOTALL))
    assert "steps = 2000" in code
    exec(code.replace("steps = 2000", "steps = 30"), names := {})
    assert int(names["state"].step) == 30
    for name, tracker in trackers.items():
        assert list(tracker.rows) == [10, 20, 30] and not tracker.is_open, name
        for row in tracker.rows.values():
            assert {"loss", "grad_norm", "steps_per_second"} <= row.keys(), name
            assert np.isfinite(list(row.values())).all(), name


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_sections(page):
    for link in re.findall(r"\]\(([^)]+)\)", read(page)):
        if "://" in link:
            continue
        file, _, section = link.replace("\\", "").partition("#")
        target = (DOCS / page).parent / file if file else DOCS / page
        assert target.exists(), link
        if section:
            titles = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.MULTILINE)
            anchors = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
            assert section in anchors, link


def test_every_page_is_in_the_order_of_pages():
    for index in ("index.md", "api/index.md"):
        trees = re.findall(r"```\{toctree\}\n(.*?)```", read(index), re.DOTALL)
        names = re.findall(r"^(?!:)(\S+)$", "\n".join(trees), re.MULTILINE)
        folder = Path(index).parent
        listed = {(folder / f"{name}.md").as_posix() for name in names}
        assert len(listed) == len(names)
        expected = {page for page in PAGES if page.startswith("api/") == (index == "api/index.md")}
        if index == "index.md":
            expected.add("api/index.md")
        assert listed == expected - {index}


def test_modules_of_the_api_exist():
    for page in PAGES:
        for package, names in re.findall(r"```\{modules\} (\S+)\n(.*?)```", read(page), re.DOTALL):
            for name in names.split():
                importlib.import_module(f"{package}.{name}")
        for name in re.findall(r"automodule:: (\S+)", read(page)):
            importlib.import_module(name)


@pytest.mark.parametrize("page", PAGES)
def test_commands_name_real_files_and_options(page):
    text = read(page)
    for file in re.findall(r"\b((?:configs|benchmarks|tests|examples)/[\w/]+\.\w+)", text):
        assert (DOCS.parent / file).exists(), file
    config = default_config()
    parts = "|".join(part for part, value in config.items() if isinstance(value, ConfigDict))
    options = re.findall(rf"(?:--config\.|`)({parts})\.([a-z]\w+)(?=[=`])", text)
    for part, name in options:
        assert name in config[part], f"config.{part}.{name}"
