"""Names of users are drawn as written, on one line, and never stop a run."""

import warnings

import numpy as np
import pytest
from drawn import all_inside, texts
from matplotlib.text import Text
from PIL import Image

from tiny_diffusion_jax.figures.attention import attention_figure
from tiny_diffusion_jax.figures.film import save_film, save_grid_film
from tiny_diffusion_jax.figures.ink import caption
from tiny_diffusion_jax.figures.loss import loss_figure
from tiny_diffusion_jax.figures.page import Page
from tiny_diffusion_jax.figures.samples import samples_figure
from tiny_diffusion_jax.figures.sets import sets_figure
from tiny_diffusion_jax.figures.style import save_figure
from tiny_diffusion_jax.figures.text import embedded, one_line, shortened, text_width, wrapped

NAMES = {
    "formula": "$x_$", "dollars": "a $ b $ c", "fraction": r"$\frac{$", "underscore": "a_b_",
    "percent": "100 %d %s %", "backslash": "C:\\new\\table\\", "escaped": r"\$5 \alpha",
    "hebrew": "\u05e9\u05dc\u05d5\u05dd", "arabic": "\u0645\u0631\u062d\u0628\u0627 $x_$",
    "combining": "e\u0301a\u0308o\u0323\u0302 n\u0303", "marks_only": "\u0301" * 300,
    "chinese": "\u70b9\u96c6", "emoji": "\U0001f995", "markup": "</script>\"'&<b>",
    "lines": "two\nlines\r\tand a tab", "bytes_of_a_path": "caf\udce9", "null": "a\0b",
    "long": "x" * 300, "long_wide": "W" * 300, "long_words": "word $x_$ " * 30, "empty": "",
}  # fmt: skip
SPACE = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
PLANE, MEMBER = SPACE[..., :2], np.arange(2)
DENSITY = np.zeros((4, 4))
FIGURES = {  # every kind of figure, with the name in every text that can contain it
    "samples": lambda name: samples_figure(PLANE[0], PLANE[1], name, name, DENSITY),
    "samples in space": lambda name: samples_figure(SPACE[0], SPACE[1], name, name),
    "sets": lambda name: sets_figure(
        PLANE, name, name, member=MEMBER, names=(name, "b"), bad=MEMBER > 0),
    # a name at the top, over each column, and over each panel
    "sets in space": lambda name: sets_figure(
        SPACE[:1], name, name, member=MEMBER[:1], names=(name,), axes=(name, name, name),
        real=SPACE[:1], real_member=MEMBER[:1], by_member=True),
    "members": lambda name: sets_figure(
        PLANE, name, member=MEMBER, names=(name, name), real=PLANE, real_member=MEMBER,
        by_member=True),
    "attention": lambda name: attention_figure(PLANE[0], np.ones((1, 5)), PLANE[0, :1], name),
    "loss": lambda name: loss_figure([{"step": 1, "loss": 1.0}, {"step": 9, "loss": 9.0}], name),
}  # fmt: skip


def check(figure):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        assert all_inside(figure)
    assert not any(text.get_parse_math() for text in figure.findobj(Text) if text.get_text())
    width, height = figure.get_size_inches()
    assert height < 1.5 * width + 3  # a long name leaves room for the panels


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_every_figure_draws_names_as_they_are_written(draw, tmp_path):
    check(draw(NAMES["long_words"]))
    figure = draw(NAMES["formula"])
    check(figure)
    save_figure(figure, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        image.load()


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_every_name_is_drawn_within_the_page(name):
    check(FIGURES["sets in space"](name))


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_every_film_has_a_caption_of_every_name(name, tmp_path):
    save_film(tmp_path / "a.gif", PLANE, [name, name], name, size=200)
    save_grid_film(tmp_path / "b.gif", PLANE[None], [name], name, size=200)
    for file in tmp_path.iterdir():
        with Image.open(file) as image:
            assert image.width == 200


def test_a_formula_is_drawn_as_the_characters_of_its_name():
    """A formula would be narrower: without dollar signs, and with a raised 2."""
    def drawn(text):
        page = Page(text, 1, 6)
        page.panel(page.panels(), 0, (0, 1, 0, 1))
        figure = page.finish()
        [title] = [t for t in figure.findobj(Text) if t.get_text() == text]
        return title.get_window_extent().width

    assert drawn("$x^2$") > drawn("x^2") > drawn("x2")
    assert text_width("$x^2$", 13) > text_width("x^2", 13)


def test_names_on_any_part_of_a_page_are_no_formulas():
    """All texts on axes are covered, so figures added later are covered, too."""
    page = Page("title", 1, 3)
    ax = page.axes(page.panels())
    ax.set(xlabel="$x_$", ylabel="$y_$", title="$t_$")
    ax.plot([0, 1], label="$l_$")
    ax.legend(title="$g_$")
    ax.annotate("$a_$", (0, 0))
    ax.set_xticks([0, 1], ["$0_$", "$1_$"])
    figure = page.finish()
    figure.canvas.draw()
    texts = [t for t in figure.findobj(Text) if "$" in t.get_text()]
    assert len(texts) >= 8 and not any(t.get_parse_math() for t in texts)


def test_numbers_of_a_logarithmic_axis_are_still_formulas():
    """Ticks of a logarithmic axis are written by matplotlib, with an exponent."""
    page = Page("title", 1, 3)
    ax = page.axes(page.panels())
    ax.loglog([1, 1e6], [1, 1e6])
    figure = page.finish()
    figure.canvas.draw()
    labels = [t for t in ax.get_xticklabels() if "mathdefault" in t.get_text()]
    assert labels and all(t.get_parse_math() for t in labels)


def test_long_names_keep_their_beginning_and_their_end():
    text = "beginning" + "-" * 300 + ": what a point looks at"
    short = shortened(text, 4.0, 11)
    assert short.startswith("beginning") and short.endswith("looks at") and "\u2026" in short
    assert 3.5 < text_width(short, 11) <= 4.0
    lines = wrapped(text, 4.0, 11, 3)
    assert len(lines) == 3 and all(text_width(line, 11) <= 4.0 for line in lines)
    assert lines[0].startswith("beginning") and lines[2].endswith("looks at")
    assert shortened("moons", 4.0, 11) == "moons"
    assert shortened("WWW", 0.01, 11) == "\u2026"


def test_a_name_is_one_line():
    assert one_line(" two\n\nlines\tof\0it \u202e\udce9") == "two lines of it"
    assert one_line("e\u0301 \u05e9 $x_$ \\n") == "e\u0301 \u05e9 $x_$ \\n"


def test_a_share_stands_at_the_right_of_a_name_in_any_script():
    assert embedded("dino $x$") == "dino $x$"
    assert one_line(embedded(NAMES["hebrew"])) == f"\u200e{NAMES['hebrew']}\u200e"
    figure = FIGURES["sets"](NAMES["hebrew"])
    assert f"\u200e{NAMES['hebrew']}\u200e: 50 %" in texts(figure)


def test_a_caption_of_two_lines_is_that_of_one():
    np.testing.assert_array_equal(caption("a\nb", "1\n2", 300), caption("a b", "1 2", 300))
