"""Chromium for tests and benchmarks: how it is started, and what a page may not say."""

from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import sync_playwright

TESTS = Path(__file__).parent
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run"
    " --disable-background-networking --disable-component-update --disable-sync"
).split()


@contextmanager
def launched(path):
    """Chromium at this path, without a window and without a word to the network."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def opened(browser, kinds=("error", "warning"), **settings):
    """A page of a fresh context, and the list that collects what its console says of these kinds."""
    context = browser.new_context(**{"viewport": {"width": 960, "height": 800}, **settings})
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: message.type in kinds and errors.append(message.text))
    yield page, errors
    context.close()
