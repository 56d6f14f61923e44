"""The common style of all figures, and a page with a layout in inches, from top to bottom.

Data are slate blue and samples burnt orange, on white paper. Dense places are darker, so a figure
is readable in grey print. Panels keep their size for any text above them. There is no layout
engine, no pyplot and no global style, so the same input gives the same bytes.
"""

import unicodedata
from pathlib import Path

import numpy as np

from tiny_diffusion_jax.files import atomic

PAPER, INK, MUTED, RULE = "#fbfaf7", "#22303c", "#7d8790", "#d9d6cf"
DATA, SAMPLES, ALERT = "#2b4a6f", "#d9622b", "#b3261e"
DENSITY = ("#ffffff", "#fde6cf", "#f4ae76", SAMPLES, "#8f2d3a", "#33132e")  # low to high
WARM = (PAPER, "#f4ae76", SAMPLES, "#8f2d3a")  # dots of an animation, from one to many
COOL = (PAPER, "#9fb4cc", DATA, "#101d33")
# Colours of the members of a mixture, all of different greys. Colour-blind readers can distinguish
# them: without red or green cones, any two of the first four differ by 0.14 in OKLab, and any two
# of all ten by 0.069.
MEMBERS = (
    SAMPLES, DATA, "#35b0bf", "#f2a51c", "#93263d", "#94a8f0", "#5b7869", "#8d6cae", "#20242c",
    "#979588",
)  # fmt: skip
MAX_DOTS = 20_000  # more dots would be a filled shape, and slow to draw.
EDGE, GAP = 0.3, 0.09  # inches around the panels, and between two panels.
TICKS = 0.3  # inches for the numbers below the axes.
WIDTH = 8.4  # inches for all panels of a grid together.
TITLE_LINES, NOTICE_LINES = 4, 12  # largest numbers of lines.
LEGEND = 3.2  # width of the longest text of a legend, in inches.
LTR = "\u200e"  # An invisible letter of a script that is written from left to right.
FULL = 0.95  # largest filled share of a line, because hinting widens letters by up to 5 %.


class Page:
    """A figure that grows downwards: title, legend and notice, then room for panels, in inches.

    Positions are measured from the lower left corner of the last `room`. Placed objects are kept
    until `finish`, which knows the height.
    """

    def __init__(self, width, title, notice="", legend=(), alert=False):
        from matplotlib.figure import Figure

        self.width, self.height, self.placed = width, 0.14, []
        self.figure = Figure(figsize=(width, 1), facecolor=PAPER)
        left = EDGE + GAP / 2
        room, title = width - 2 * left, one_line(title)
        size = 13 if text_width(title, 13, "bold") <= FULL * room else 11
        for line in wrapped(title, room, size, TITLE_LINES, "bold"):
            self.room(0.02 + size / 60)
            self.text(left, size / 120, line, INK, size, weight="bold")
        self.height += 0.08
        self._flow(left, legend)
        weight, lines = "bold" if alert else "normal", []
        for part in filter(None, map(one_line, notice.split("\n"))):
            lines += wrapped(part, room, 9, NOTICE_LINES, weight)
        for line in lines:
            self.room(0.18)
            self.text(left, 0.09, line, ALERT if alert else MUTED, 9, weight=weight)
        self.height += 0.06

    def room(self, height: float) -> None:
        self.height += height

    def text(self, x, y, text, color, size, **style) -> None:
        drawn = self.figure.text(0, 0, text, color=color, fontsize=size, va="center", **style)
        self.placed.append((drawn, x, self.height - y, None))

    def axes(self, x, y, width, height):
        ax = self.figure.add_axes((0, 0, 1, 1), label=str(len(self.placed)))
        self.placed.append((ax, x, self.height - y, (width, height)))
        return ax

    def panel(self, x, y, side, limits):
        """Add square axes without ticks."""
        ax = self.axes(x, y, side, side)
        ax.set(xlim=limits[:2], ylim=limits[2:], aspect="equal")
        quiet(ax)
        ax.tick_params(left=False, bottom=False, labelleft=False, labelbottom=False)
        return ax

    def row(self, count: int, side: float, left: float, between: float):
        """Add square axes side by side, with room for their headings, ticks and labels."""
        self.room(0.3 + side + TICKS)
        return [self.axes(left + i * (side + between), TICKS, side, side)
                for i in range(count)]  # fmt: skip

    def _flow(self, left, legend) -> None:
        """Place the entries of the legend side by side, on as many lines as they need."""
        from matplotlib.lines import Line2D

        x = self.width
        for marker, color, text in legend:
            text = shortened(one_line(text), LEGEND, 9)
            length = 0.18 + text_width(text, 9)
            if x + length > self.width - left:
                x = left
                self.room(0.21)
            face = color if marker == "o" else "white"
            dot = Line2D([0], [0], marker=marker, color=face, mec=color, markersize=6.5, mew=1.3)
            self.figure.add_artist(dot)
            self.placed.append((dot, x + 0.05, self.height - 0.105, None))
            self.text(x + 0.15, 0.1, text, INK, 9)
            x += length + 0.22

    def finish(self):
        """Put all objects in their places, and return the figure."""
        as_written(self.figure)
        height = self.height + EDGE / 2
        self.figure.set_size_inches(self.width, height)
        for artist, x, down, size in self.placed:
            across, up = x / self.width, 1 - down / height
            if size is not None:
                artist.set_position((across, up, size[0] / self.width, size[1] / height))
            elif hasattr(artist, "set_position"):
                artist.set_position((across, up))
            else:
                artist.set_data([across], [up])
        return self.figure


def as_written(figure) -> None:
    """Turn matplotlib's mathematics off, because names of files, columns and labels may hold a `$`.

    Only the numbers that matplotlib writes along an axis keep their formulas.
    """
    from matplotlib.text import Text
    from matplotlib.ticker import FixedFormatter, FuncFormatter

    texts = set(figure.findobj(Text))  # makes the ticks
    axes = [axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)]
    ticks = [tick for axis in axes for tick in axis.minorTicks]
    for axis in axes:
        if not isinstance(axis.get_major_formatter(), (FixedFormatter, FuncFormatter)):
            ticks += axis.majorTicks
    numbers = {label for tick in ticks for label in (tick.label1, tick.label2)}
    for text in texts - numbers:
        text.set_parse_math(False)


def one_line(text: str) -> str:
    """Remove line breaks and other characters that cannot be drawn from `text`."""
    return " ".join("".join(c if c.isprintable() or c == LTR else " " for c in text).split())


def embedded(name: str) -> str:
    """Mark `name` so that later text is at its right, even if the name is right-to-left."""
    is_right_to_left = any(unicodedata.bidirectional(c) in ("R", "AL") for c in name)
    return f"{LTR}{name}{LTR}" if is_right_to_left else name


def shortened(text: str, width: float, size: float, weight: str = "normal") -> str:
    """Return `text`, or its beginning and end if it is longer than `width` inches."""
    fits = lambda part: text_width(part, size, weight) <= FULL * width
    if fits(text):
        return text
    cut = lambda count: text[: count - count // 2] + "\u2026" + text[len(text) - count // 2 :]
    return cut(_largest(lambda count: fits(cut(count)), len(text)))


def wrapped(text: str, width: float, size: float, most: int, weight: str = "normal") -> list[str]:
    """Split `text` into at most `most` lines of `width` inches, between words if possible.

    The last line is shortened.
    """
    fits = lambda part: text_width(part, size, weight) <= FULL * width
    lines = []
    while len(lines) < most - 1 and not fits(text):
        end = _largest(lambda count, text=text: fits(text[:count]), len(text))
        end = max(text.rfind(" ", 0, end + 1), 0) or end
        while unicodedata.combining(text[end]) and end > 0:  # keep accents on their letter
            end -= 1
        end = max(end, 1)
        lines.append(text[:end])
        text = text[end:].lstrip()
    return [*lines, shortened(text, width, size, weight)]


def _largest(holds, stop: int) -> int:
    """Largest count in 0..stop - 1 for which `holds`; or 0.

    If `holds` is true for a count, it must be true for smaller counts.
    """
    low = 0
    while stop - low > 1:
        middle = (low + stop) // 2
        low, stop = (middle, stop) if holds(middle) else (low, middle)
    return low


def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Width in inches of one line in matplotlib's default font."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    if not text.strip():
        return 0.0
    font = FontProperties(size=size, weight=weight)
    return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] / 72


def views(dim: int) -> list[tuple[int, int]]:
    """Pairs of coordinates that show points f32[n, dim]: one pair in the plane, three in space.

    Points with more than three coordinates are shown by the first three.
    """
    return [(0, min(1, dim - 1))] if dim < 3 else [(0, 1), (0, 2), (1, 2)]


def view_limits(limits, view: tuple[int, int]) -> tuple[float, float, float, float]:
    """(left, right, bottom, top) of one of `views`, from the `square_limits` of all coordinates."""
    return tuple(limits[2 * axis + end] for axis in view for end in (0, 1))


def square_limits(points) -> tuple[float, ...]:
    """Square that holds points f32[n, 2] with a margin: (left, right, bottom, top).

    For D coordinates, the cube: low and high of each coordinate, 2 D numbers.
    """
    low, high = points.min(0), points.max(0)
    centre, half = (low + high) / 2, 0.56 * max(float((high - low).max()), smallest_side(points))
    return tuple(float(v) for c in centre for v in (c - half, c + half))


def smallest_side(points) -> float:
    """Side of the square for points f[...] that all coincide: 1e-6, or less near 0."""
    return 1e-6 * min(1.0, float(np.abs(points).max())) or 1e-6


def dots(ax, points, color: str, side: float, count: int) -> None:
    """Draw points f32[n, 2] of a set of `count` in a panel `side` inches wide.

    Sets with fewer points have larger dots.
    """
    diameter = np.clip(30 * side / count**0.5, 0.9, min(3.2 * side, 5))
    alpha = float(np.clip(450 * side / count, 0.3, 0.8))
    ax.scatter(*points[:MAX_DOTS].T, s=diameter**2, color=color, alpha=alpha, linewidths=0)


def heading(ax, name: str, color: str, note: str) -> None:
    """Write `name` in its colour at the upper left of a panel, and `note` in grey at its right."""
    ax.set_title(name, loc="left", fontsize=10, weight="bold", color=color, pad=6)
    ax.set_title(note, loc="right", fontsize=8.5, color=MUTED, pad=6)


def quiet(ax) -> None:
    """Draw thin pale axes on white."""
    ax.set_facecolor("white")
    ax.tick_params(which="both", length=2.5, color=RULE, labelsize=8, labelcolor=MUTED)
    for side in ax.spines.values():
        side.set(color=RULE, linewidth=0.8)


def save_figure(figure, path) -> None:
    """Write a figure as a PNG at 160 dots per inch, completely or not at all."""
    with atomic(Path(path)) as file:
        figure.savefig(file, format="png", dpi=160, metadata={"Software": None})
