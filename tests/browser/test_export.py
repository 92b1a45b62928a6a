"""The exported page in Chromium: opened from a file, offline, without a kernel."""

import pytest

from tests.browser.pages import opened
from tests.browser.stage import Stage, colour, scrubber

pytestmark = pytest.mark.browser


class Exported(Stage):
    """A stage on the page that a panel wrote."""

    def __init__(self, page, path):
        self.page = page
        page.goto(path.as_uri())
        page.locator("dd").first.wait_for()
        page.evaluate(
            """() => window.colourAt = (canvas, share) => {
                 const copy = new OffscreenCanvas(1, 1).getContext("2d");
                 copy.drawImage(canvas, -Math.floor(share * canvas.width), -Math.floor(canvas.height / 2));
                 return [...copy.getImageData(0, 0, 1, 1).data].slice(0, 3);
               }"""
        )


def test_a_page_from_a_file_scrubs_plays_and_asks_nothing_of_the_network(browser, tmp_path):
    title = "</script><b>x_t</b> & x̂₀"
    path = scrubber(tracks=2, title=title, labels=["</script>"] * 25).export_html(tmp_path / "path.html")
    with opened(browser, offline=True) as (page, errors):
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        panel = Exported(page, path)
        panel.shows(0, tracks=2)
        page.mouse.click(*panel.at(13))
        panel.shows(13, tracks=2)
        page.keyboard.press("End")
        panel.shows(24, tracks=2)
        assert page.title() == panel.find(".kit-title").inner_text() == title
        assert [url for url in asked if not url.startswith(("file:", "blob:"))] == [] and errors == []


def test_a_page_of_a_running_panel_shows_what_was_there(browser, tmp_path):
    running = scrubber(5)
    running.status = "running"
    with opened(browser) as (page, errors):
        panel = Exported(page, running.export_html(tmp_path / "path.html"))
        assert panel.pixel() == colour(0) and panel.find(".kit-stop").is_hidden()
        assert running.status == "running" and errors == []
