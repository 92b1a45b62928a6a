"""What all tests share: a thrifty number of threads, and Chromium or a clear word about its absence."""

import os

import pytest

from kit.__main__ import chromium as find_chromium

# Two pytest workers on two cores; set before anything imports torch. numba's own threads are to be no OpenMP ones,
# because where they are, its first parallel loop sets torch's number of threads to its own.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("NUMBA_THREADING_LAYER", "workqueue")

NO_CHROMIUM = "no Chromium found; install it (Debian, Ubuntu: sudo apt-get install chromium)"


def pytest_report_header():
    fate = "fail" if os.environ.get("CI") else "are skipped"
    return f"chromium: {find_chromium() or f'{NO_CHROMIUM}; the browser tests {fate}'}"


def pytest_collection_modifyitems(items):
    """Whole notebooks first: a long test that is left for last keeps one of two workers waiting."""
    items.sort(key=lambda item: item.get_closest_marker("notebook") is None)


@pytest.hookimpl(optionalhook=True)  # xdist's own hook
def pytest_xdist_make_scheduler(config, log):
    """One worker runs all browser tests, which would slow each other; every other test is for whoever is free."""
    from xdist.scheduler import LoadScopeScheduling

    class BrowserTestsTogether(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return "browser" if nodeid.startswith("tests/browser/") else nodeid

    return BrowserTestsTogether(config, log)


def pytest_runtest_setup(item):
    """Without a browser, a browser test fails on CI and is skipped, with its reason, anywhere else."""
    if item.get_closest_marker("browser") and not find_chromium():
        pytest.fail(NO_CHROMIUM) if os.environ.get("CI") else pytest.skip(NO_CHROMIUM)


@pytest.fixture(scope="session")
def chromium():
    """The path of Chromium, for tests marked `browser`."""
    return find_chromium()
