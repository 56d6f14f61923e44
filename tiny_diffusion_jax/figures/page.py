"""The look of all pictures, and a page laid out downwards in inches.

Data in slate blue, samples in burnt orange, on paper white; dense places darker, so a picture keeps
its meaning in a grey print. Panels keep their size whatever stands above them, and no layout engine
moves them: no pyplot, no global style, the same bytes for the same input.
"""

import unicodedata
from pathlib import Path

import numpy as np

from tiny_diffusion_jax.files import atomic

PAPER, INK, MUTED, RULE = "#fbfaf7", "#22303c", "#7d8790", "#d9d6cf"
DATA, SAMPLES, ALERT = "#2b4a6f", "#d9622b", "#b3261e"
DENSITY = ("#ffffff", "#fde6cf", "#f4ae76", SAMPLES, "#8f2d3a", "#33132e")  # low to high
WARM = (PAPER, "#f4ae76", SAMPLES, "#8f2d3a")  # dots of an animation, one alone to many
COOL = (PAPER, "#9fb4cc", DATA, "#101d33")
# Of the members of a mixture: told apart by colour-blind readers (any two of the first four by 0.14
# in OKLab with no red or no green cones, of all ten by 0.069), no two of one grey.
MEMBERS = (
    SAMPLES, DATA, "#35b0bf", "#f2a51c", "#93263d", "#94a8f0", "#5b7869", "#8d6cae", "#20242c",
    "#979588",
)  # fmt: skip
MAX_DOTS = 20_000  # more dots than this are a filled shape, and slow to draw
EDGE, GAP = 0.3, 0.09  # inches: around the panels, between two
TICKS = 0.3  # inches, for the numbers below axes
WIDTH = 8.4  # inches, of all panels of a grid together
TITLE_LINES, NOTICE_LINES = 4, 12  # at most.
LEGEND = 3.2  # inches, the longest text of a legend.
LTR = "\u200e"  # An invisible letter of a script that is written from left to right.
FULL = 0.95  # share of a line that is filled: hinting widens letters by up to 5 %.


class Page:
    """A figure that grows downwards: title, legend and notice, then room for panels, in inches.

    Positions within the room last asked for are from its lower left. What is placed is kept until
    `finish`, when the height is known.
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
        """Square axes without ticks."""
        ax = self.axes(x, y, side, side)
        ax.set(xlim=limits[:2], ylim=limits[2:], aspect="equal")
        quiet(ax)
        ax.tick_params(left=False, bottom=False, labelleft=False, labelbottom=False)
        return ax

    def row(self, count: int, side: float, left: float, between: float):
        """Square axes beside each other, with room for their headings, ticks and labels."""
        self.room(0.3 + side + TICKS)
        return [self.axes(left + i * (side + between), TICKS, side, side)
                for i in range(count)]  # fmt: skip

    def _flow(self, left, legend) -> None:
        """Entries one beside the other, on as many lines as they need."""
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
        """The figure, with everything in its place and every text as it is written."""
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
    """Turn matplotlib's mathematics off: names of files, columns and labels may hold a `$`.

    Only the numbers that matplotlib itself writes along an axis keep their formulas.
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
    """`text` without line breaks and other characters that cannot be drawn."""
    return " ".join("".join(c if c.isprintable() or c == LTR else " " for c in text).split())


def embedded(name: str) -> str:
    """`name` for a line of English: what follows is at the right of a right-to-left name, too."""
    is_right_to_left = any(unicodedata.bidirectional(c) in ("R", "AL") for c in name)
    return f"{LTR}{name}{LTR}" if is_right_to_left else name


def shortened(text: str, width: float, size: float, weight: str = "normal") -> str:
    """`text` if it is at most `width` inches long, otherwise its beginning and end."""
    fits = lambda part: text_width(part, size, weight) <= FULL * width
    if fits(text):
        return text
    cut = lambda count: text[: count - count // 2] + "\u2026" + text[len(text) - count // 2 :]
    return cut(_largest(lambda count: fits(cut(count)), len(text)))


def wrapped(text: str, width: float, size: float, most: int, weight: str = "normal") -> list[str]:
    """`text` as at most `most` lines of `width` inches, between words where possible.

    The last line is shortened.
    """
    fits = lambda part: text_width(part, size, weight) <= FULL * width
    lines = []
    while len(lines) < most - 1 and not fits(text):
        end = _largest(lambda count, text=text: fits(text[:count]), len(text))
        end = max(text.rfind(" ", 0, end + 1), 0) or end
        while unicodedata.combining(text[end]) and end > 0:  # stays on its letter
            end -= 1
        end = max(end, 1)
        lines.append(text[:end])
        text = text[end:].lstrip()
    return [*lines, shortened(text, width, size, weight)]


def _largest(holds, stop: int) -> int:
    """The largest count in 0..stop - 1 for which `holds`, which is true up to it; or 0."""
    low = 0
    while stop - low > 1:
        middle = (low + stop) // 2
        low, stop = (middle, stop) if holds(middle) else (low, middle)
    return low


def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Width in inches of one line in matplotlib's own font."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    if not text.strip():
        return 0.0
    font = FontProperties(size=size, weight=weight)
    return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] / 72


def views(dim: int) -> list[tuple[int, int]]:
    """The pairs of coordinates that points f32[n, dim] are shown by: one, or of space three.

    Of more coordinates than three, the first three are shown.
    """
    return [(0, min(1, dim - 1))] if dim < 3 else [(0, 1), (0, 2), (1, 2)]


def view_limits(limits, view: tuple[int, int]) -> tuple[float, float, float, float]:
    """(left, right, bottom, top) of one of `views`, from the `square_limits` of all coordinates."""
    return tuple(limits[2 * axis + end] for axis in view for end in (0, 1))


def square_limits(points) -> tuple[float, ...]:
    """The square that holds points f32[n, 2] with a margin: (left, right, bottom, top).

    Of D coordinates the cube: low and high of each, 2 D numbers.
    """
    low, high = points.min(0), points.max(0)
    centre, half = (low + high) / 2, 0.56 * max(float((high - low).max()), smallest_side(points))
    return tuple(float(v) for c in centre for v in (c - half, c + half))


def smallest_side(points) -> float:
    """Side of a square that shows points f[...] which all coincide: 1e-6, or less near 0."""
    return 1e-6 * min(1.0, float(np.abs(points).max())) or 1e-6


def dots(ax, points, color: str, side: float, count: int) -> None:
    """Points f32[n, 2] of a set of `count` in a panel `side` inches wide; the fewer, the larger."""
    diameter = np.clip(30 * side / count**0.5, 0.9, min(3.2 * side, 5))
    alpha = float(np.clip(450 * side / count, 0.3, 0.8))
    ax.scatter(*points[:MAX_DOTS].T, s=diameter**2, color=color, alpha=alpha, linewidths=0)


def heading(ax, name: str, color: str, note: str) -> None:
    """`name` in its colour at the upper left of a panel, `note` in grey at its right."""
    ax.set_title(name, loc="left", fontsize=10, weight="bold", color=color, pad=6)
    ax.set_title(note, loc="right", fontsize=8.5, color=MUTED, pad=6)


def quiet(ax) -> None:
    """Thin pale axes on white."""
    ax.set_facecolor("white")
    ax.tick_params(which="both", length=2.5, color=RULE, labelsize=8, labelcolor=MUTED)
    for side in ax.spines.values():
        side.set(color=RULE, linewidth=0.8)


def save_figure(figure, path) -> None:
    """Writes a figure as a PNG at 160 dots per inch, whole or not at all."""
    with atomic(Path(path)) as file:
        figure.savefig(file, format="png", dpi=160, metadata={"Software": None})
