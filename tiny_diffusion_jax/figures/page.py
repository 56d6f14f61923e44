"""A page of squares: rows of text and of panels under matplotlib's constrained layout."""

import numpy as np

from tiny_diffusion_jax.figures import style
from tiny_diffusion_jax.figures.text import (
    FULL,
    as_written,
    one_line,
    shortened,
    text_width,
    wrapped,
)

WIDTH, LARGEST = 8.4, 3.5  # inches: all panels of a row with their gaps, and the side of a panel.
PAD, GAP, EDGE = 0.045, 0.08, 0.2  # inches around a panel, between bands, around the page.
SPACE = 0.08  # height of a row of text in inches; the layout's solver aborts at heights near 0.
TITLE_LINES, NOTICE_LINES = 4, 12  # largest numbers of lines.
LEGEND = 3.2  # width of the longest text of a legend, in inches.


class Page:
    """A figure of rows from top to bottom: title, legend, notice, then rows of text and of panels.

    matplotlib's constrained layout makes room for the texts. `finish` gives the page the size at
    which every panel is a square of `side` inches. By default the panels fill `WIDTH`. A gap
    follows every `band` columns. `legend`: (marker, colour, text) of each entry. `notice`: a
    warning in red.
    """

    def __init__(self, title: str, columns: int, side=0.0, notice="", legend=(), band: int = 0):
        from matplotlib.figure import Figure

        self.columns, self.band = columns, band or columns
        gaps = (columns - 1) // self.band * (GAP + 2 * PAD)
        self.side = side or min((WIDTH - gaps) / columns - 2 * PAD, LARGEST)
        self.heights, self.cells = [], []  # inches of each row; (axes, row, first and last column)
        self.figure = Figure(facecolor=style.PAPER, dpi=style.DPI, layout="constrained")
        self.figure.get_layout_engine().set(w_pad=PAD, h_pad=PAD, wspace=0, hspace=0)
        room, title = columns * (self.side + 2 * PAD) - 2 * PAD, one_line(title)
        size = 13 if text_width(title, 13, "bold") <= FULL * room else 11
        title = wrapped(title, room, size, TITLE_LINES, "bold")
        self.text(self.row(), "\n".join(title), style.INK, size, weight="bold")
        if legend:
            self._legend(legend)
        lines = []
        for part in filter(None, map(one_line, notice.split("\n"))):
            lines += wrapped(part, room, 9, NOTICE_LINES, "bold")
        if lines:
            self.text(self.row(), "\n".join(lines), style.ALERT, 9, weight="bold")
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
        style.quiet(ax)
        return ax

    def text(self, row, text, color, size, loc="left", first=0, last=-1, **fields) -> None:
        """Write text at the left, centre or right of the columns first..last of a row."""
        ax = self.axes(row, first, last)
        ax.set_axis_off()
        ax.set_title(text, loc=loc, color=color, fontsize=size, pad=-5, **fields)

    def _legend(self, entries) -> None:
        """Place (marker, colour, text) of each entry in as many columns as fit."""
        texts = [shortened(one_line(text), LEGEND, 9) for _, _, text in entries]
        widths = [0.4 + text_width(text, 9) for text in texts]
        total = lambda columns: sum(max(widths[column::columns]) for column in range(columns))
        fitting = (n for n in range(len(entries), 1, -1) if total(n) <= self.columns * self.side)
        columns = next(fitting, 1)
        # matplotlib fills a legend column by column
        order = [i for column in range(columns) for i in range(column, len(entries), columns)]
        ax = self.axes(self.row())
        ax.set_axis_off()
        for marker, color, _ in (entries[i] for i in order):
            face = color if marker == "o" else "white"
            ax.plot([], [], marker, color=face, mec=color, markersize=6.5, mew=1.3)
        legend = ax.legend(
            ax.lines, [""] * len(order), ncols=columns, loc="lower left", frameon=False, fontsize=9,
            labelcolor=style.INK, borderpad=0, borderaxespad=0, handlelength=1, handletextpad=0.3,
            columnspacing=1.4,
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
