"""A headless Chromium for the tests of the pages; they skip where none is installed."""

import shutil

import pytest

FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
FLAGS += " --disable-component-update --disable-sync"


@pytest.fixture(scope="session")
def browser():
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    path = next(filter(None, found), None)
    if path is None:
        pytest.skip("no chromium, chromium-browser or google-chrome to open pages with")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    with playwright.sync_playwright() as driver:  # each launch has a new, empty profile
        chromium = driver.chromium.launch(executable_path=path, args=FLAGS.split())
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser):
    """Open a file and return its page; at the end nothing may have gone wrong in it or left the machine."""
    contexts, troubles = [], []

    def open_page(path, scheme="light", width=1280, height=900, touch=False):
        context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": height}, has_touch=touch)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: troubles.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("dialog", lambda dialog: (troubles.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: requests(request.url))
        page.goto(path.as_uri())
        return page

    def requests(url):
        if not url.startswith(("file:", "data:")):
            troubles.append(f"request {url}")

    yield open_page
    for context in contexts:
        context.close()
    assert troubles == []
