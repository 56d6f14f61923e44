"""Run the examples of the documentation as written, and check that all links have a target."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

from tiny_diffusion_jax.dataset import draw_points
from tiny_diffusion_jax.diffusion.schedules import FAMILIES

DOCS = Path(__file__).resolve().parent.parent / "docs"


def test_what_is_added_in_the_examples_works(monkeypatch):
    monkeypatch.setattr("tiny_diffusion_jax.diffusion.schedules.FAMILIES", dict(FAMILIES))
    names = {}
    text = (DOCS / "extending.md").read_text("utf-8")
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(code, names)
    hearts = draw_points(names["hearts"], jax.random.key(0), 1, 5_000)[0]  # points in own units
    np.testing.assert_allclose(hearts.min(0), [-2.1, -2.2], atol=0.15)
    np.testing.assert_allclose(hearts.max(0), [2.1, 1.6], atol=0.15)
    alpha, sigma = names["process"].schedule.alpha, names["process"].schedule.sigma
    np.testing.assert_allclose(alpha**2 + sigma**2, 1, atol=1e-6)
    assert (np.diff(alpha[1:]) < 0).all()
    np.testing.assert_allclose(names["ones"], 1, atol=1e-6)
    assert np.isfinite(names["state"].sampled["params"]["Dense_0"]["kernel"]).all()


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_links_lead_to_files_and_sections(page):
    for link in re.findall(r"\]\(([^)]+)\)", (DOCS / page).read_text("utf-8")):
        if "://" in link:
            continue
        file, _, section = link.replace("\\", "").partition("#")
        target = DOCS / file if file else DOCS / page
        assert target.exists(), link
        if section:
            titles = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.MULTILINE)
            anchors = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
            assert section in anchors, link
