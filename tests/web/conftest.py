"""Share one browser between all tests of pages, and check that pages report no errors."""

import shutil
import time
from pathlib import Path

import pytest
from javascript import Node, find_node, open_tab

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZES = {"desktop": (1280, 800), "phone": (390, 844), "wide": (1440, 900)}


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium; its tests are skipped if Chromium or playwright is missing."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        pytest.skip("needs a browser: .venv/bin/pip install -e '.[browser]'")
    with sync_playwright() as playwright:
        path = next(filter(None, map(shutil.which, BROWSERS)), playwright.chromium.executable_path)
        if not Path(path).exists():
            pytest.skip("needs a browser: .venv/bin/playwright install chromium")
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def scripts(request):
    """Function `scripts(*names)` that runs static/`names` and returns an evaluator.

    The evaluator has `evaluate(function, argument)`. The scripts run in node, or in a tab of the
    browser if there is no node.
    """
    node, started = find_node(), []
    browser = None if node else request.getfixturevalue("browser")

    def start(*names):
        started.append(Node(node, names) if node else open_tab(browser, names))
        return started[-1]

    yield start
    for each in started:
        each.close()


class Opened:
    """A page in a new tab; its console messages and network requests are recorded."""

    def __init__(self, browser, path, size="desktop", scheme="light"):
        width, height = SIZES[size]
        viewport = {"width": width, "height": height}
        self.context = browser.new_context(viewport=viewport, color_scheme=scheme)
        self.page, self.complaints = self.context.new_page(), []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._note)
        self.page.goto(path.as_uri())

    def _note(self, request):
        if not request.url.startswith(("file:", "blob:", "data:")):
            self.complaints.append(f"asks for {request.url}")

    def pixels(self, selector=".stage canvas") -> str:
        """Image of a canvas as a data URL."""
        return self.page.eval_on_selector(selector, "canvas => canvas.toDataURL()")

    def wait(self, condition: str, seconds: float = 5) -> None:
        """Wait until a condition in JavaScript holds; the page itself may not evaluate text."""
        end = time.monotonic() + seconds
        while not self.page.evaluate(condition):
            assert time.monotonic() < end, condition
            self.page.wait_for_timeout(20)

    def too_wide(self) -> bool:
        return self.page.evaluate("document.documentElement.scrollWidth > innerWidth")


@pytest.fixture
def opened(browser):
    """Function that opens pages; after the test, check that no page reported an error."""
    tabs = []

    def open_page(path, **how) -> Opened:
        tabs.append(Opened(browser, path, **how))
        return tabs[-1]

    yield open_page
    for tab in tabs:
        assert tab.complaints == []
        tab.context.close()


@pytest.fixture(scope="session")
def moons(finished):
    """Run folder of a density of points."""
    return finished[0]
