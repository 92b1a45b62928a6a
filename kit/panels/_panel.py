"""What every panel shares: its files as text, a picture where no kernel runs, a page of its own, an end."""

import base64
import functools
import html
import json
import os
import sys
import tempfile
from importlib import resources
from pathlib import Path

import anywidget
import traitlets

from kit.panels._work import Work

# The whole of a page without a kernel: an anywidget module is render({model, el}) and nothing else.
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>@title@</title>
<style>:root { color-scheme: light dark } body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem }
@css@</style>
<main></main>
<script type="application/json" id="state">@state@</script>
<script type="module">
const bytes = text => new DataView(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer);
const state = JSON.parse(document.getElementById("state").textContent,
  (key, value) => typeof value?.base64 === "string" ? bytes(value.base64) : value);
const heard = {};
const model = {
  get: name => state[name],
  set(name, value) {
    if (state[name] === value) return;
    state[name] = value;
    for (const hear of heard["change:" + name] ?? []) hear();
  },
  on: (name, hear) => (heard[name] ??= []).push(hear),
  off() {}, save_changes() {}, send() {},
};
const module = await import(URL.createObjectURL(new Blob([state._esm], { type: "text/javascript" })));
const widget = typeof module.default === "function" ? await module.default() : module.default;
await widget.initialize?.({ model });
await widget.render({ model, el: document.querySelector("main") });
</script>
</html>
"""


def source(*names):
    """The text of files beside this one, joined. (Given a path, anywidget would keep every panel alive.)"""
    return "\n".join(resources.files(__package__).joinpath(name).read_text("utf-8") for name in names)


class Panel(anywidget.AnyWidget):
    """A widget with a static picture, an offline page, work in the background, and an end that frees what it held.

    A panel defines `_esm` (its module after `_draw.js`), and `_static()`: PNG bytes of at most 200 KB.
    """

    _css = source("_panel.css")

    status = traitlets.Unicode("idle", help="idle, running, done, cancelled or error").tag(sync=True)
    error = traitlets.Unicode("", help="what went wrong, in one line; shown in the panel").tag(sync=True)
    traceback = traitlets.Unicode("", help="where it went wrong").tag(sync=True)
    title = traitlets.Unicode("").tag(sync=True)

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.on_msg(lambda panel, content, buffers: content.get("kind") == "stop" and panel.stop())

    @functools.cached_property
    def work(self):
        """What runs in the background, a `kit.panels._work.Work`."""
        return Work(self)

    def stop(self):
        """End what runs in the background after its current step; what it gave so far stays."""
        self.work.cancel()

    def wait(self, timeout=None):
        """Block until nothing runs in the background, at most `timeout` seconds; returns the panel."""
        self.work.wait(timeout)
        return self

    def open(self):
        """Open the comm, and let what the browser says be heard while a cell runs."""
        super().open()
        # ipykernel 7.4 hands a message not to the subshell it is addressed to but to whichever shell spoke last,
        # which is the main one, and busy as long as a cell runs; then a Stop would come when all is over.
        if hasattr(self.comm, "_reply_subshell_for"):
            self.comm._reply_subshell_for = lambda data, addressed: addressed

    def send_bytes(self, content, data):
        """Send a message of JSON-able content and some bytes to the panel's views."""
        if "google.colab" in sys.modules:  # its bridge carries JSON only, once a widget is open
            self.send({**content, "base64": base64.b64encode(data).decode()})
        else:
            self.send(content, buffers=[data])

    def _static(self):
        raise NotImplementedError

    def _repr_mimebundle_(self, **kwargs):
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None:
            return None
        data, metadata = bundle
        return {**data, "image/png": base64.b64encode(self._static()).decode()}, metadata

    def export_html(self, path):
        """Write the panel as one offline HTML page: no kernel, no network. Atomic: all of it or nothing.

        Returns the path. Raises FileNotFoundError if its folder does not exist.
        """
        path = Path(path)
        if not path.parent.is_dir():
            raise FileNotFoundError(f"export_html: got {str(path)!r}, wanted a path in a folder that exists")
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(self._page())
            os.chmod(draft, 0o644)  # mkstemp's own mode hides the page from a web server
            os.replace(draft, path)
        except BaseException:
            os.unlink(draft)
            raise
        return path

    def _page(self):
        state = self.get_state()
        if state["status"] == "running":
            state["status"] = "done"  # nothing runs behind a page
        text = json.dumps(state, default=lambda data: {"base64": base64.b64encode(data).decode()})
        parts = {"title": html.escape(self.title or type(self).__name__), "css": state.pop("_css")}
        page = _PAGE
        for name, part in {**parts, "state": text.replace("<", "\\u003c")}.items():
            page = page.replace(f"@{name}@", part)
        return page

    def close(self):
        """End the panel, in the browser too, and its work (after its current step); free its buffers."""
        self.work.cancel()
        if self.comm is not None:
            self.layout.close()
        super().close()
