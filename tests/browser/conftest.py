"""One Chromium for all browser tests, a bare page to set a panel on, and JupyterLab with comms on either thread."""

from contextlib import ExitStack, closing

import pytest

from tests.browser.lab import Lab, Notebook
from tests.browser.pages import launched, opened
from tests.browser.stage import Stage


def pytest_configure(config):
    config.addinivalue_line("markers", "lab: drives JupyterLab itself; some seconds each")


@pytest.fixture(scope="session")
def browser(chromium):
    with launched(chromium) as browser:
        yield browser


@pytest.fixture
def staged(browser):
    """staged(kind, **usual settings) -> put(panel, **settings): the panel on a page whose console must stay silent.

    kind: Stage or a kind of it; settings: of the browser's context.
    """
    with ExitStack() as pages:
        seen = []

        def stage(kind, **usual):
            def put(panel, **settings):
                page, errors = pages.enter_context(opened(browser, **{**usual, **settings}))
                seen.append(errors)
                return kind(page, panel)

            return put

        yield stage
        assert not any(seen)


@pytest.fixture
def stage(staged):
    return staged(Stage)


@pytest.fixture
def open_notebook(page):
    """open_notebook(lab, name): the notebook in JupyterLab, on the module's `page`; its kernel ends with the test."""
    with ExitStack() as kernels:
        yield lambda lab, name: kernels.enter_context(closing(Notebook(page, lab, name)))


@pytest.fixture(scope="module")
def labs(tmp_path_factory, chromium):
    """labs(subshells): JupyterLab with comms on either kind of thread, started when first asked for."""
    with ExitStack() as running:
        started = {}

        def lab(subshells=True):
            if subshells not in started:
                folder = tmp_path_factory.mktemp("lab")
                started[subshells] = running.enter_context(closing(Lab(folder, subshells=subshells)))
            return started[subshells]

        yield lab
