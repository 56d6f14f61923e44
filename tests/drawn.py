"""Read a figure: its panels, its texts, and whether they all lie on the page."""

from matplotlib.text import Text


def panels(figure) -> list:
    """Axes with points, lines or an image, without rows of text."""
    return [ax for ax in figure.axes if ax.axison]


def _texts(figure) -> list:
    axes = [axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)]
    numbers = {label for axis in axes for label in axis.get_ticklabels(which="both")}
    numbers |= {axis.get_offset_text() for axis in axes}
    return [t for t in {*figure.findobj(Text)} - numbers if t.get_visible() and t.get_text()]


def texts(figure) -> list[str]:
    """All texts of a figure, except the numbers of its axes."""
    return [text.get_text() for text in _texts(figure)]


def all_inside(figure) -> bool:
    """Whether all artists lie on the page, with a margin."""
    figure.draw_without_rendering()
    page = figure.bbox
    boxes = [text.get_window_extent() for text in _texts(figure)]
    boxes += [ax.get_tightbbox() for ax in figure.axes]
    return all(b.x0 > 2 and b.y0 > 2 and b.x1 < page.x1 - 2 and b.y1 < page.y1 - 2 for b in boxes)
