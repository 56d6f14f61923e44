"""Check figures of sets: each set in its panel and its member's colour, with correct counts."""

import numpy as np
import pytest
from drawn import all_inside, panels, texts
from matplotlib.colors import to_hex, to_rgba
from matplotlib.text import Text
from PIL import Image

from tiny_diffusion_jax.figures.page import Page
from tiny_diffusion_jax.figures.sets import sets_figure
from tiny_diffusion_jax.figures.style import ALERT, DATA, INK, MEMBERS, PAPER, SAMPLES, save_figure
from tiny_diffusion_jax.figures.text import text_width

RNG = np.random.default_rng(0)
SETS = RNG.normal(size=(100, 20, 2)).astype(np.float32)
MEMBER = np.arange(100) % 3
NAMES = ("dino", "moons", "circle")


def box(ax):
    """(left, bottom, width) of an axes in inches."""
    place = ax.get_position()
    width, height = ax.figure.get_size_inches()
    return place.x0 * width, place.y0 * height, place.width * width


def dots_color(ax, number=0):
    return to_hex(ax.collections[number].get_facecolor()[0])


def red(ax):
    return to_hex(ax.spines["left"].get_edgecolor()) == ALERT


# ---------------------------------------------------------------- a grid of sets


@pytest.mark.parametrize("count, columns", [(1, 1), (2, 2), (5, 5), (7, 4), (12, 4), (64, 8)])
def test_every_set_has_its_panel_and_all_have_the_same_square_axes(count, columns):
    figure = sets_figure(SETS[:count], "a title")
    assert len(panels(figure)) == count
    assert len({(ax.get_xlim(), ax.get_ylim()) for ax in panels(figure)}) == 1
    (x0, x1), (y0, y1) = panels(figure)[0].get_xlim(), panels(figure)[0].get_ylim()
    assert x1 - x0 == pytest.approx(y1 - y0) and np.isfinite([x0, x1, y0, y1]).all()
    assert (SETS[:count] > [x0, y0]).all() and (SETS[:count] < [x1, y1]).all()
    boxes = np.array([box(ax) for ax in panels(figure)]).round(4)
    assert len(np.unique(boxes[:, 0])) == columns
    assert len(np.unique(boxes[:, 1])) == -(-count // columns)
    order = np.lexsort((boxes[:, 0], -boxes[:, 1]))  # in reading order
    np.testing.assert_array_equal(order, np.arange(count))
    for points, ax in zip(SETS, panels(figure), strict=False):
        np.testing.assert_allclose(ax.collections[0].get_offsets(), points)
        assert dots_color(ax) == SAMPLES and not red(ax)
    assert all_inside(figure) and "a title" in texts(figure)
    assert figure.get_size_inches()[0] < 9.1


def test_members_have_their_colours_and_their_shares_in_the_legend():
    member = np.array([0] * 5 + [2] * 3)
    figure = sets_figure(SETS[:8], "t", member=member, names=NAMES)
    assert [dots_color(ax) for ax in panels(figure)] == [MEMBERS[0]] * 5 + [MEMBERS[2]] * 3
    for part in ("dino: 62 %", "moons: 0 %", "circle: 38 %", "8 sets of 20 points"):
        assert part in texts(figure)
    [legend] = [ax.get_legend() for ax in figure.axes if ax.get_legend()]
    assert [dot.get_color() for dot in legend.legend_handles] == list(MEMBERS[:3])
    unnamed = sets_figure(SETS[:8], "t", member=member + 10)
    assert dots_color(panels(unnamed)[0]) == MEMBERS[0] and "12: 38 %" in texts(unnamed)


def test_rejected_sets_have_a_red_frame_and_are_counted():
    bad = np.zeros(9, bool)
    bad[[2, 7]] = True
    figure = sets_figure(SETS[:9], "t", member=MEMBER[:9], names=NAMES, bad=bad)
    assert [red(ax) for ax in panels(figure)] == bad.tolist()
    assert "not from one member: 22 %" in texts(figure)
    figure = sets_figure(SETS[:9], "t", member=MEMBER[:9], names=NAMES)
    assert not any("not from" in text for text in texts(figure))


def test_more_than_64_sets_are_counted_but_not_drawn():
    bad = np.arange(1_000) >= 995
    sets = np.broadcast_to(SETS[:1], (1_000, 20, 2))
    figure = sets_figure(sets, "t", member=np.arange(1_000) % 3, names=NAMES, bad=bad)
    assert len(panels(figure)) == 64
    for part in ("1,000 sets of 20 points, 64 shown", "dino: 33.4 %", "not from one member: 0.5 %"):
        assert part in texts(figure)


def test_real_sets_stand_above_and_set_the_limits():
    real, far = SETS[:4], SETS[:8].copy()
    far[0, 0] = 100
    figure = sets_figure(far, "t", "notice", member=MEMBER[:8], names=NAMES, real=real,
                                   real_member=MEMBER[4:8])  # fmt: skip
    above, below = panels(figure)[:4], panels(figure)[4:]
    assert min(box(ax)[1] for ax in above) > max(box(ax)[1] for ax in below)
    assert [dots_color(ax) for ax in above] == [MEMBERS[m] for m in MEMBER[4:8]]
    assert above[0].get_xlim()[1] < 10
    for part in ("data", "samples", "notice", "4 sets of 20 points"):
        assert part in texts(figure)
    low, high = np.transpose([above[0].get_xlim(), above[0].get_ylim()])
    outside = int(((far < low) | (far > high)).any(-1).sum())
    assert f"8 sets of 20 points, {outside} points outside" in texts(figure)
    assert all_inside(figure)
    plain = sets_figure(SETS[:8], "t", real=SETS[8:60])
    assert [dots_color(panels(plain)[i]) for i in (0, -1)] == [DATA, SAMPLES]
    assert "52 sets of 20 points, 8 shown" in texts(plain)  # two rows of four


@pytest.mark.parametrize("members, columns", [(2, 8), (3, 6), (10, 10)])
def test_by_member_each_has_its_own_columns(members, columns):
    member = np.arange(30) % members
    names = [f"name {k}" for k in range(members)]
    figure = sets_figure(
        SETS[:30], "t", member=member, names=names, by_member=True, real=SETS[:members],
        real_member=np.arange(members),
    )  # fmt: skip
    assert len(panels(figure)) == 30 + members
    lefts = np.array([box(ax)[0] for ax in panels(figure)])
    assert 1 + (np.diff(np.sort(lefts)) > 0.1).sum() == columns
    of = np.concatenate([np.arange(members), member])
    ends = [(lefts[of == k].min(), lefts[of == k].max()) for k in range(members)]
    assert all(ends[k][1] < ends[k + 1][0] for k in range(members - 1))
    colors = [dots_color(ax) for ax in panels(figure)]
    assert colors == [MEMBERS[k] for k in of]
    assert set(names) <= set(texts(figure))
    assert all_inside(figure) and figure.get_size_inches()[0] < 9.1


def test_other_sets_than_those_shown_can_set_the_limits():
    wide = sets_figure(SETS[:4], "t", real=SETS[:2], within=3 * SETS)
    narrow = sets_figure(SETS[:4], "t", real=SETS[:2])
    assert np.ptp(panels(wide)[0].get_xlim()) > 2 * np.ptp(panels(narrow)[0].get_xlim())


def test_by_member_needs_to_know_the_members_of_real_sets():
    with pytest.raises(ValueError, match="real_member"):
        sets_figure(SETS[:4], "t", member=MEMBER[:4], by_member=True, real=SETS[:2])


def test_given_points_are_blue_in_rings_and_said_to_be_given():
    figure = sets_figure(SETS[:3], "t", given=5)
    ax = panels(figure)[0]
    assert [dots_color(ax, i) for i in (0, 1)] == [SAMPLES, DATA]
    assert to_hex(ax.collections[1].get_edgecolor()[0]) == INK
    np.testing.assert_allclose(ax.collections[0].get_offsets(), SETS[0, 5:])
    np.testing.assert_allclose(ax.collections[1].get_offsets(), SETS[0, :5])
    assert "5 points given" in texts(figure)


def test_points_that_are_not_finite_do_not_spoil_the_axes():
    holes = SETS[:4].copy()
    holes[0, 0], holes[1, 1] = np.nan, np.inf
    for sets in (holes, np.full((2, 5, 2), np.nan, np.float32)):
        ax = panels(sets_figure(sets, "t"))[0]
        assert np.isfinite([ax.get_xlim(), ax.get_ylim()]).all()
    one_place = panels(sets_figure(np.zeros((2, 5, 2)), "t"))[0].get_xlim()
    assert one_place[0] < 0 < one_place[1]


def test_many_points_get_smaller_dots_than_few():
    areas = [
        panels(sets_figure(RNG.normal(size=(16, n, 2)), "t"))[0].collections[0].get_sizes()[0]
        for n in (16, 256, 2_048)
    ]
    assert areas[0] > areas[1] > areas[2] > 0.5


def test_sets_png_repeats_and_has_the_size_of_its_figure(tmp_path):
    options = {"member": MEMBER[:6], "names": NAMES, "bad": MEMBER[:6] == 1, "real": SETS[6:9]}
    for name in "ab":
        save_figure(sets_figure(SETS[:6], "t", "notice", **options), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    figure = sets_figure(SETS[:6], "t", "notice", **options)
    with Image.open(tmp_path / "a") as image:
        assert image.size == pytest.approx(160 * figure.get_size_inches(), abs=1)


def test_member_colours_are_ten_and_different_even_in_grey_for_the_first_four():
    assert len(set(MEMBERS) - {SAMPLES, DATA}) == 10
    rgb = np.array([to_rgba(c)[:3] for c in MEMBERS])
    grey = np.sort(rgb[:4] @ [0.299, 0.587, 0.114])
    assert np.diff(grey).min() > 0.03 and grey.max() < 0.8  # all colours are visible on white


# ---------------------------------------------------------------- the page


def test_a_long_title_and_a_long_notice_stay_on_the_page():
    figure = sets_figure(SETS[:1], "dino + " * 20, "a long story " * 20, member=[0],
                                   names=[f"a rather long name {k}" for k in range(9)])  # fmt: skip
    assert all_inside(figure)
    assert " ".join(texts(figure)).count("dino") == 20
    assert len({name for name in texts(figure) if name.startswith("a rather long name")}) == 9


def test_text_width_is_that_of_the_text_drawn():
    page = Page("a title", 1, 5)
    page.panels()
    page.text(page.row(), "dino + moons 48 %", "black", 9)
    page.panel(page.panels(), 0, (0, 1, 0, 1))
    figure = page.finish()
    figure.canvas.draw()
    [text] = [text for text in figure.findobj(Text) if text.get_text().startswith("dino")]
    drawn = text.get_window_extent().width / figure.dpi
    assert text_width("dino + moons 48 %", 9) == pytest.approx(drawn, rel=0.05)
    assert PAPER == to_hex(figure.get_facecolor())


# ---------------------------------------------------------------- sets in space, sets of any size


SPACE = RNG.normal(size=(30, 20, 3)).astype(np.float32)


def test_a_set_in_space_is_three_named_projections():
    figure = sets_figure(SPACE, "t", real=SPACE[:3])
    assert len(panels(figure)) == 3 * 3 + 3 * 15 and all_inside(figure)  # 45 panels of samples
    for k, pair in enumerate(((0, 1), (0, 2), (1, 2))):
        [points] = panels(figure)[k].collections
        np.testing.assert_allclose(points.get_offsets(), SPACE[0][:, pair])
    assert [texts(figure).count(name) for name in ("xy", "xz", "yz")] == [6, 6, 6]
    assert "30 sets of 20 points, 15 shown" in " ".join(texts(figure))
    named = texts(sets_figure(SPACE[:1], "t", axes=("left", "up", "z")))
    assert {"left, up", "left, z", "up, z"} <= set(named)
    # too many members for one panel per plane
    many = sets_figure(SPACE, "t", member=np.arange(30) % 5, by_member=True)
    assert "xy" in texts(many) and "xz" not in texts(many)


def test_a_plane_is_named_if_its_coordinates_are_not_x_and_y():
    assert "xy" not in texts(sets_figure(SETS[:4], "t", axes=("x", "y")))
    assert texts(sets_figure(SETS[:4], "t", axes=("lon", "lat"))).count("lon, lat") == 1
    wide = texts(sets_figure(SETS[:4], "t", axes=("a" * 40, "b" * 40)))
    assert wide.count("a" * 40 + ", " + "b" * 40) == 1


def test_missing_points_are_neither_drawn_nor_counted():
    sets = SETS[:4].copy()
    sets[0, 12:] = sets[2, 5:] = np.nan
    figure = sets_figure(sets, "t")
    assert "4 sets of 5 to 20 points" in texts(figure)
    drawn = [np.ma.count(ax.collections[0].get_offsets()) // 2 for ax in panels(figure)]
    assert drawn == [12, 20, 5, 20]
