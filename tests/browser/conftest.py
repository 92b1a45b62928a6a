"""One Chromium for all browser tests, and a bare page to set a panel on."""

from contextlib import ExitStack

import pytest

from tests.browser.pages import launched, opened
from tests.browser.stage import Stage


def pytest_configure(config):
    config.addinivalue_line("markers", "lab: drives JupyterLab itself; some seconds each")


@pytest.fixture(scope="session")
def browser(chromium):
    with launched(chromium) as browser:
        yield browser


@pytest.fixture
def stage(browser):
    """stage(panel, **context settings): the panel on a bare page whose console must stay silent."""
    with ExitStack() as pages:
        seen = []

        def put(panel, **settings):
            page, errors = pages.enter_context(opened(browser, **settings))
            seen.append(errors)
            return Stage(page, panel)

        yield put
        assert not any(seen)
