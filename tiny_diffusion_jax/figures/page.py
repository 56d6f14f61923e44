"""The common style of all figures, and a page with a layout from top to bottom.

Data are slate blue and samples burnt orange, on white paper. Dense regions are darker, so a figure
is readable in grey print. There is no pyplot and no global style, so equal input gives equal bytes.
"""

import unicodedata
from bisect import bisect_right
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
DPI = 160
WIDTH, LARGEST = 8.4, 3.5  # inches: all panels of a row with their gaps, and the side of a panel.
PAD, GAP, EDGE = 0.045, 0.08, 0.2  # inches around a panel, between bands, around the page.
SPACE = 0.08  # inches above the heading of a part of a page.
TITLE_LINES, NOTICE_LINES = 4, 12  # largest numbers of lines.
LEGEND = 3.2  # width of the longest text of a legend, in inches.
LTR = "\u200e"  # An invisible letter of a script that is written from left to right.
FULL = 0.95  # largest filled share of a line, because hinting widens letters by up to 5 %.


class Page:
    """A figure of rows from top to bottom: title, legend, notice, then rows of text and of panels.

    A row of text has the height 0, and matplotlib's constrained layout makes room for its text.
    `finish` gives the page the size at which every panel is a square of `side` inches. By default
    the panels fill `WIDTH`. A gap follows every `band` columns.
    """

    def __init__(self, title: str, columns: int, side=0.0, notice="", legend=(), band: int = 0):
        from matplotlib.figure import Figure

        self.columns, self.band = columns, band or columns
        gaps = (columns - 1) // self.band * (GAP + 2 * PAD)
        self.side = side or min((WIDTH - gaps) / columns - 2 * PAD, LARGEST)
        self.heights, self.cells = [], []  # inches of each row; (axes, row, first and last column)
        self.figure = Figure(facecolor=PAPER, dpi=DPI, layout="constrained")
        self.figure.get_layout_engine().set(w_pad=PAD, h_pad=PAD, wspace=0, hspace=0)
        room, title = columns * (self.side + 2 * PAD) - 2 * PAD, one_line(title)
        size = 13 if text_width(title, 13, "bold") <= FULL * room else 11
        title = wrapped(title, room, size, TITLE_LINES, "bold")
        self.text(self.row(), "\n".join(title), INK, size, weight="bold")
        if legend:
            self._legend(legend)
        lines = []
        for part in filter(None, map(one_line, notice.split("\n"))):
            lines += wrapped(part, room, 9, NOTICE_LINES, "bold")
        if lines:
            self.text(self.row(), "\n".join(lines), ALERT, 9, weight="bold")
        self.row()  # space

    def row(self, height: float = SPACE, count: int = 1) -> int:
        """Add `count` rows of `height` inches at the bottom; return the number of the first one."""
        self.heights += [height] * count
        return len(self.heights) - count

    def panels(self, count: int = 1) -> int:
        """Add `count` rows of panels at the bottom; return the number of the first one."""
        return self.row(self.side, count)

    def axes(self, row: int, first: int = 0, last: int = -1):
        """Add axes over the columns first..last of a row, by default over all columns."""
        ax = self.figure.add_axes((0, 0, 1, 1), label=str(len(self.cells)))
        self.cells.append((ax, row, first, last % self.columns))
        return ax

    def panel(self, row: int, column: int, limits):
        """Add square axes without ticks."""
        ax = self.axes(row, column, column)
        ax.set(xlim=limits[:2], ylim=limits[2:], aspect="equal", xticks=[], yticks=[])
        quiet(ax)
        return ax

    def text(self, row, text, color, size, loc="left", first=0, last=-1, **style) -> None:
        """Write text at the left, centre or right of the columns first..last of a row."""
        ax = self.axes(row, first, last)
        ax.set_axis_off()
        ax.set_title(text, loc=loc, color=color, fontsize=size, pad=-5, **style)

    def _legend(self, entries) -> None:
        """Place (marker, colour, text) of each entry in as many columns as fit."""
        from matplotlib.lines import Line2D

        texts = [shortened(one_line(text), LEGEND, 9) for _, _, text in entries]
        widths = [0.4 + text_width(text, 9) for text in texts]
        fits = lambda columns: sum(
            max(widths[column::columns]) for column in range(columns)
        ) <= self.columns * self.side  # fmt: skip
        columns = max(filter(fits, range(2, len(entries) + 1)), default=1)
        dots = [
            Line2D([], [], linestyle="", marker=marker, color=color if marker == "o" else "white",
                   mec=color, markersize=6.5, mew=1.3) for marker, color, _ in entries
        ]  # fmt: skip
        # matplotlib fills a legend column by column
        order = [i for column in range(columns) for i in range(column, len(entries), columns)]
        ax = self.axes(self.row())
        ax.set_axis_off()
        legend = ax.legend(
            [dots[i] for i in order], [""] * len(order), ncols=columns, loc="lower left",
            frameon=False, fontsize=9, labelcolor=INK, borderpad=0, borderaxespad=0,
            handlelength=1, handletextpad=0.3, columnspacing=1.4,
        )  # fmt: skip
        for text, i in zip(legend.get_texts(), order, strict=True):
            text.set_text(texts[i])  # a label that starts with "_" would be left out

    def finish(self):
        """Lay the page out, and return the figure."""
        from matplotlib.gridspec import GridSpec

        as_written(self.figure)
        columns = ([self.side] * self.band + [GAP]) * -(-self.columns // self.band)
        columns.pop()
        grid = GridSpec(
            len(self.heights), len(columns), self.figure, width_ratios=columns,
            height_ratios=self.heights,
        )  # fmt: skip
        for ax, row, *ends in self.cells:
            first, last = (column + column // self.band for column in ends)
            ax.set_subplotspec(grid[row, first : last + 1])
        panel = next(ax for ax, row, *_ in self.cells if self.heights[row] == self.side)
        wanted = np.array([sum(columns), sum(self.heights)])  # inches without texts
        size, layout = wanted + 1, self.figure.get_layout_engine()
        for _ in range(4):  # texts keep their size, so the page grows by what its panels lack
            self.figure.set_size_inches(size)
            layout.set(rect=(*(EDGE / size), *(1 - 2 * EDGE / size)))
            layout.execute(self.figure)
            side = size * panel.get_position(original=True).size
            if np.allclose(side, self.side, rtol=1e-3):
                break
            size = size + wanted * (1 - side / self.side)
        self.figure.set_layout_engine("none")
        return self.figure


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


def color_bar(mappable, ax, ticks: dict[float, str]):
    """Draw the colours of `mappable` at the right of a panel; return the axes of the colours."""
    bar = ax.figure.colorbar(mappable, ax=ax, aspect=32, fraction=0.04, pad=0.03)
    bar.outline.set_visible(False)
    bar.ax.set_yticks([*ticks], [*ticks.values()])
    bar.ax.set_yticks([], minor=True)
    bar.ax.tick_params(length=0, labelsize=8, labelcolor=MUTED)
    return bar.ax


def quiet(ax) -> None:
    """Draw thin pale axes on white."""
    ax.set_facecolor("white")
    ax.tick_params(which="both", length=2.5, color=RULE, labelsize=8, labelcolor=MUTED)
    for side in ax.spines.values():
        side.set(color=RULE, linewidth=0.8)


def save_figure(figure, path) -> None:
    """Write a figure as a PNG at `DPI` dots per inch, completely or not at all."""
    with atomic(Path(path)) as file:
        figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
