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

LUMINANCE = [0.2126, 0.7152, 0.0722]


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


def oklab(rgb: np.ndarray, eye) -> np.ndarray:
    """OKLab f[n, 3] of linear RGB, as seen by `eye` [3, 3]."""
    cones = np.clip(rgb @ np.transpose(eye), 0, 1) @ np.transpose(CONES)
    return np.cbrt(cones) @ np.transpose(OKLAB)


def test_pages_have_the_colours_of_figures():
    light, _ = themes()
    for name in ("paper", "ink", "data", "samples", "alert"):
        assert light[name] == getattr(style, name.upper())
    assert tuple(members(light)) == style.MEMBERS


@pytest.mark.parametrize("theme", [0, 1])
def test_colour_blind_readers_distinguish_members_data_and_samples(theme):
    """Any two differ by 0.069 in OKLab; any two of the first four, data and samples by 0.095."""
    colours = themes()[theme]
    rgb = linear([colours["data"], colours["samples"], *members(colours)])
    for eye in (np.eye(3), NO_RED, NO_GREEN):
        lab = oklab(rgb, eye)
        apart = np.linalg.norm(lab[:, None] - lab, axis=-1) + np.eye(len(lab))
        apart[:2, :2] = 1
        assert apart.min() > 0.069 and apart[:6, :6].min() > 0.095


@pytest.mark.parametrize("theme, count, contrast", [(0, 7, 3), (1, 4, 4.5), (1, 10, 3)])
def test_lines_of_members_are_visible(theme, count, contrast):
    """Lines and small marks need a contrast of 3 to the panel; dots on a dark panel need more."""
    colours = themes()[theme]
    *tones, panel = linear([*members(colours)[:count], colours["panel"]]) @ LUMINANCE
    assert min((max(a, panel) + 0.05) / (min(a, panel) + 0.05) for a in tones) > contrast


def test_members_have_the_same_hue_on_both_pages():
    """Hues of colours with chroma differ by 30 degrees at most; a stray point is none of them."""
    light, dark = (oklab(linear([*members(theme), theme["alert"]]), np.eye(3))
                   for theme in themes())  # fmt: skip
    chroma = [np.hypot(*lab[:-1, 1:].T) for lab in (light, dark)]
    hue = [np.arctan2(lab[:-1, 2], lab[:-1, 1]) for lab in (light, dark)]
    differ = np.cos(hue[0] - hue[1]) < np.cos(np.pi / 6)
    assert not (differ & (np.minimum(*chroma) > 0.05)).any()
    for lab in (light, dark):
        assert np.linalg.norm(lab[:-1] - lab[-1], axis=1).min() > 0.08
