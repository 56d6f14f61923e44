"""Fit names of users into figures: on one line, as written, and within a width in inches."""

import unicodedata
from bisect import bisect_right

LTR = "\u200e"  # An invisible letter of a script that is written from left to right.
FULL = 0.95  # largest filled share of a line, because hinting widens letters by up to 5 %.


def one_line(text: str) -> str:
    """Remove line breaks and other characters that cannot be drawn from `text`."""
    return " ".join("".join(c if c.isprintable() or c == LTR else " " for c in text).split())


def embedded(name: str) -> str:
    """Mark `name` so that later text is at its right, even if the name is right-to-left."""
    is_right_to_left = any(unicodedata.bidirectional(c) in ("R", "AL") for c in name)
    return f"{LTR}{name}{LTR}" if is_right_to_left else name


def shortened(text: str, width: float, size: float, weight: str = "normal") -> str:
    """Return `text`, or its beginning and end if it is longer than `width` inches."""
    if text_width(text, size, weight) <= FULL * width:
        return text
    cut = lambda count: text[: count - count // 2] + "\u2026" + text[len(text) - count // 2 :]
    width_of = lambda count: text_width(cut(count), size, weight)
    return cut(max(bisect_right(range(len(text)), FULL * width, key=width_of) - 1, 0))


def wrapped(text: str, width: float, size: float, most: int, weight: str = "normal") -> list[str]:
    """Split `text` into at most `most` lines of `width` inches, between words if possible.

    The last line is shortened.
    """
    lines, limit = [], FULL * width
    while len(lines) < most - 1 and text_width(text, size, weight) > limit:
        width_of = lambda count, text=text: text_width(text[:count], size, weight)
        end = bisect_right(range(len(text)), limit, key=width_of) - 1
        end = max(text.rfind(" ", 0, end + 1), 0) or end
        while end > 0 and unicodedata.combining(text[end]):  # keep accents on their letter
            end -= 1
        lines.append(text[: max(end, 1)])
        text = text[max(end, 1) :].lstrip()
    return [*lines, shortened(text, width, size, weight)]


def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Width in inches of one line in matplotlib's default font."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    if not text.strip():
        return 0.0
    font = FontProperties(size=size, weight=weight)
    return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] / 72


def as_written(figure) -> None:
    """Turn matplotlib's mathematics off, because names of files, columns and labels may hold a `$`.

    Only the numbers that matplotlib writes along a logarithmic axis keep their formulas.
    """
    from matplotlib.text import Text
    from matplotlib.ticker import LogFormatter

    axes = [axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)]
    logarithmic = [axis for axis in axes if isinstance(axis.get_major_formatter(), LogFormatter)]
    numbers = {label for axis in logarithmic for label in axis.get_ticklabels(which="both")}
    for text in {*figure.findobj(Text)} - numbers:
        text.set_parse_math(False)
