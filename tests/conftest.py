"""What all tests share: a thrifty number of threads, and Chromium or a clear word about its absence."""

import os

import pytest

from kit.__main__ import chromium as find_chromium

# Two pytest workers on two cores; set before anything imports torch.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

NO_CHROMIUM = "no Chromium found; install it (Debian, Ubuntu: sudo apt-get install chromium)"


def pytest_report_header():
    fate = "fail" if os.environ.get("CI") else "are skipped"
    return f"chromium: {find_chromium() or f'{NO_CHROMIUM}; the browser tests {fate}'}"


def pytest_itemcollected(item):
    """Asks xdist to give tests that start a browser or a whole notebook to one worker: they slow each other.

    With pytest 9.2 and xdist 3.8 the request was seen not to be honoured; the tests then only take longer."""
    if item.get_closest_marker("browser") or item.get_closest_marker("alone"):
        item.add_marker(pytest.mark.xdist_group("alone"))


def pytest_runtest_setup(item):
    """Without a browser, a browser test fails on CI and is skipped, with its reason, anywhere else."""
    if item.get_closest_marker("browser") and not find_chromium():
        pytest.fail(NO_CHROMIUM) if os.environ.get("CI") else pytest.skip(NO_CHROMIUM)


@pytest.fixture(scope="session")
def chromium():
    """The path of Chromium, for tests marked `browser`."""
    return find_chromium()
