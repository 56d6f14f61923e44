"""One browser for all tests of pages, and pages opened in it that must not complain."""

import shutil
import time

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium; tests that need it are skipped where it, or playwright, is not there."""
    api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("needs one of " + ", ".join(BROWSERS))
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Opened:
    """A page in a tab of its own; what it writes to the console and asks of a network is kept."""

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
        """The picture on a canvas."""
        return self.page.eval_on_selector(selector, "canvas => canvas.toDataURL()")

    def wait(self, condition: str, seconds: float = 5) -> None:
        """Until a condition in JavaScript holds; the page itself may evaluate no text."""
        end = time.monotonic() + seconds
        while not self.page.evaluate(condition):
            assert time.monotonic() < end, condition
            self.page.wait_for_timeout(20)

    def too_wide(self) -> bool:
        return self.page.evaluate("document.documentElement.scrollWidth > innerWidth")


@pytest.fixture
def opened(browser):
    """Opens pages, and afterwards sees that none complained."""
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
    """The folder of a run of one density."""
    return finished[0]
