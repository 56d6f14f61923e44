"""Check that pages and figures share one palette, which colour-blind readers can use."""

import re

import numpy as np
import pytest

from tiny_diffusion_jax.figures import style
from tiny_diffusion_jax.web.render import HERE

# Linear RGB as seen without red, and without green cones (Machado 2009, severity 1).
NO_RED = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
          [-0.003882, -0.048116, 1.051998]]  # fmt: skip
NO_GREEN = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881]]  # fmt: skip
# OKLab (Ottosson 2020): linear RGB to cones, and cube roots of these to lightness and two hues.
CONES = [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
         [0.0883024619, 0.2817188376, 0.6299787005]]  # fmt: skip
OKLAB = [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
         [0.0259040371, 0.7827717662, -0.8086757660]]  # fmt: skip


def themes() -> list[dict[str, str]]:
    """Colours of page.css by name: for the light page and for the dark page."""
    text = (HERE / "static" / "page.css").read_text("utf-8")
    return [dict(re.findall(r"--([\w-]+): (#\w{6});", block))
            for block in re.findall(r":root.*?\{(.*?)\}", text, re.DOTALL)]  # fmt: skip


def members(theme: dict[str, str]) -> list[str]:
    return [theme[f"member-{k}"] for k in range(len(style.MEMBERS))]


def linear(colors: list[str]) -> np.ndarray:
    """Linear RGB f[n, 3] of colours in hexadecimal."""
    c = np.array([[int(text[i : i + 2], 16) for i in (1, 3, 5)] for text in colors]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def test_pages_have_the_colours_of_figures():
    light, _ = themes()
    for name in ("paper", "ink", "data", "samples", "alert"):
        assert light[name] == getattr(style, name.upper())
    assert tuple(members(light)) == style.MEMBERS


@pytest.mark.parametrize("theme", [0, 1])
def test_colour_blind_readers_distinguish_members(theme):
    """Any two of the ten differ by 0.068 in OKLab, and any two of the first four by 0.09."""
    rgb = linear(members(themes()[theme]))
    for eye in (np.eye(3), NO_RED, NO_GREEN):
        seen = np.cbrt(np.clip(rgb @ np.transpose(eye), 0, 1) @ np.transpose(CONES))
        lab = seen @ np.transpose(OKLAB)
        apart = np.linalg.norm(lab[:, None] - lab, axis=-1) + np.eye(len(lab))
        assert apart.min() > 0.068 and apart[:4, :4].min() > 0.09


def test_members_are_visible_on_the_dark_page():
    luminance = linear([*members(themes()[1]), themes()[1]["panel"]]) @ [0.2126, 0.7152, 0.0722]
    assert ((luminance[:-1] + 0.05) / (luminance[-1] + 0.05)).min() > 3


def test_other_colours_are_not_those_of_data_and_samples():
    """Lines and shapes beside data and samples skip the two members that look like these.

    Any two of the ten members differ, so eight of them differ from data and samples. The first
    three of these have a contrast of 3 to the panel.
    """
    text = (HERE / "static" / "colours.js").read_text("utf-8")
    order = [int(k) for k in re.search(r"OTHERS = \[(.*?)\]", text)[1].split(",")]
    for theme in themes():
        tones = members(theme)
        assert tones[:2] == [theme["samples"], theme["data"]] and sorted(order) == [*range(2, 10)]
        first = [tones[k] for k in order[:3]]
        *luminance, panel = linear([*first, theme["panel"]]) @ [0.2126, 0.7152, 0.0722]
        assert min((max(a, panel) + 0.05) / (min(a, panel) + 0.05) for a in luminance) > 3
