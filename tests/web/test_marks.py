"""Check the marks that all pages draw, and that each of them is defined once."""

import numpy as np
import pytest

from tiny_diffusion_jax.web.render import HERE

# Draw with a pen that records its path.
PATH = """([name, ...numbers]) => {
  const path = [], add = (...at) => path.push(at);
  ({ arrow, scoreArrow })[name]({ moveTo: add, lineTo: add }, ...numbers);
  return path;
}"""


@pytest.fixture(scope="module")
def script(scripts):
    return scripts("marks.js")


def test_an_arrow_has_its_middle_at_the_place(script):
    path = np.array(script.evaluate(PATH, ["arrow", 10, 20, 6, 8, 0.5]))
    tail, tip = np.array([7, 16]), np.array([13, 24])
    np.testing.assert_allclose(path[:2], [tail, tip])
    np.testing.assert_allclose(path[2::2], [tip, tip])
    sides = path[3::2] - tip  # both sides of the head are half as long as the arrow
    np.testing.assert_allclose(np.hypot(*sides.T), 5)
    along = sides @ (tip - tail) / (5 * 10)
    np.testing.assert_allclose(along, np.cos(2.6))


def test_the_length_of_the_arrow_of_a_score(script):
    """0.85 squares at two standard deviations of the noise or more, in proportion below; y up."""
    lengths = []
    for score in ([0, 0.01], [0, 1], [0, 2], [0, 9], [0.6, -0.8]):
        path = np.array(script.evaluate(PATH, ["scoreArrow", 0, 0, score, 10])).reshape(-1, 2)
        lengths.append(path[1] - path[0] if len(path) else [0, 0])
    expected = [[0, 0], [0, -4.25], [0, -8.5], [0, -8.5], [2.55, 3.4]]
    np.testing.assert_allclose(lengths, expected, atol=1e-12)


@pytest.mark.parametrize("code, file", [
    ("ArrowUp: [0, 1]", "keys.js"), ("[2.6, -2.6]", "marks.js"), ("function startTabs", "tabs.js"),
    ("size - 1 - Math.floor(i / size)", "marks.js"),
])  # fmt: skip
def test_pages_share_one_definition(code, file):
    found = [path for path in (HERE / "static").rglob("*.js") if code in path.read_text("utf-8")]
    assert [path.name for path in found] == [file]
