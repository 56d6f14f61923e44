"""Build the site of the documentation, and open it offline in a browser."""

import re

import pytest
from command_line import ROOT

OPENED = ("index", "start", "ideas", "guides/python", "guides/browser", "options", "api/index")
LOADS = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed|object|link|input)\b[^>]*?"
    r"\b(?:src|srcset|data|poster|href)\s*=\s*[\"']?((?:https?:)?//[^\"' >]+)"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Folder of the site; its tests are skipped without the packages of the extra `docs`."""
    for package in ("sphinx", "myst_parser", "furo", "latex2mathml"):
        pytest.importorskip(package, reason="the site needs `pip install -e '.[docs]'`")
    from sphinx.cmd.build import build_main

    folder = tmp_path_factory.mktemp("site")
    assert build_main(["-q", "-W", str(ROOT / "docs"), str(folder)]) == 0
    return folder


def test_what_counts_as_loaded():
    loaded = ('<img alt="" src="https://a.org/b.png">', "<script async src=//a.org/b.js></script>",
              '<link rel="stylesheet" href="http://a.org/b.css">')  # fmt: skip
    assert all(LOADS.search(text) for text in loaded)
    assert not LOADS.search('<a href="https://a.org">link</a> <img src="_static/b.png">')


@pytest.mark.slow
def test_formulas_are_mathml(site):
    formulas = re.findall(r"<math\b.*?</math>", (site / "ideas.html").read_text("utf-8"), re.DOTALL)
    assert len(formulas) > 80
    assert not re.search(r"\$|\\[a-z]+", "".join(formulas))


@pytest.mark.slow
def test_no_page_names_a_source_in_the_network(site):
    """Links may lead out of the site, but nothing is loaded from there."""
    written = {path.relative_to(ROOT / "docs").with_suffix(".html")
               for path in (ROOT / "docs").rglob("*.md")}  # fmt: skip
    pages = {path.relative_to(site) for path in site.rglob("*.html")}
    assert written <= pages and len(pages) > 20
    for page in pages:
        assert not LOADS.findall((site / page).read_text("utf-8")), page
    for style in site.rglob("*.css"):
        found = re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", style.read_text("utf-8"))
        assert not found, style


@pytest.mark.slow
def test_the_site_opens_offline(site, opened):
    """`opened` checks that no page reports an error or requests a file from the network."""
    for name in OPENED:
        tab = opened(site / f"{name}.html")
        tab.context.set_offline(True)
        tab.page.reload()
        assert len(tab.page.inner_text("article")) > 200, name
        broken = "[...document.images].filter((i) => i.complete && !i.naturalWidth).length"
        assert tab.page.evaluate(broken) == 0, name
        hidden = "(all) => all.filter((m) => !m.getBoundingClientRect().width).length"
        assert tab.page.eval_on_selector_all("article math", hidden) == 0, name
        assert (tab.page.locator("math").count() > 80) == (name == "ideas")
    tab = opened(site / "start.html")
    for page in ("tour.html", "live.html"):
        assert tab.page.locator(f"article a[href='{page}']").count() > 0
        assert (site / page).is_file()
