"""JupyterLab itself, in folders of its own, driven as a reader drives it."""

import ast
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat

ROOT = Path(__file__).parent.parent.parent
QUIET = {"fetchNews": "false", "checkForUpdates": False}


class Lab:
    """A JupyterLab server on a free port, without a token; all that it reads and writes lies under `folder`.

    subshells=False: comms are handled by the kernel's main thread, as they were before JupyterLab 4.4.
    """

    def __init__(self, folder, subshells=True):
        self.folder, self.work = Path(folder), Path(folder) / "work"
        self.work.mkdir(parents=True)
        self._settings("notification", QUIET)
        if not subshells:
            self._settings("kernels-settings", {"commsOverSubshells": "disabled"})
        self.url = f"http://127.0.0.1:{_free_port()}"
        self.log = self.folder / "lab.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                self._command(), cwd=self.work, env=self._environment(), stdout=log, stderr=subprocess.STDOUT
            )
        self._wait()

    def _settings(self, name, values):
        path = self.folder / f"settings/@jupyterlab/apputils-extension/{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))

    def _command(self):
        options = {
            "ServerApp.port": self.url.rsplit(":", 1)[1],
            "ServerApp.root_dir": self.work,
            "ServerApp.open_browser": False,
            "ServerApp.allow_root": True,
            "IdentityProvider.token": "",
            "LabApp.expose_app_in_browser": True,
        }
        return [sys.executable, "-m", "jupyterlab", *(f"--{name}={value}" for name, value in options.items())]

    def _environment(self):
        own = {
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "IPYTHONDIR": "ipython",
        }
        folders = {name: str(self.folder / folder) for name, folder in own.items()}
        return {**os.environ, **folders, "PYTHONPATH": str(ROOT)}

    def _wait(self, seconds=60):
        end = time.monotonic() + seconds
        while True:
            try:
                return urllib.request.urlopen(f"{self.url}/api", timeout=5).close()
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    self.close()
                    raise RuntimeError(f"JupyterLab did not start:\n{self.log.read_text()[-2000:]}") from None
                time.sleep(0.1)

    def write(self, name, *cells):
        """Write a notebook of code cells; returns its name."""
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        return self.add(name, notebook)

    def add(self, name, notebook):
        """Put a notebook on the server. Without a kernelspec, JupyterLab would ask for one and wait."""
        notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, self.work / name)
        return name

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()


def _free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


NOTEBOOK = """async name => {
  while (!window.jupyterapp) await new Promise(done => setTimeout(done, 50));
  await jupyterapp.restored;
  for (;;) {
    for (const widget of jupyterapp.shell.widgets("main")) {
      if (widget.context?.path !== name) continue;
      await widget.context.ready;
      await widget.sessionContext.ready;
      await widget.sessionContext.session.kernel.info;
      window.notebook = widget;
      return;
    }
    await new Promise(done => setTimeout(done, 50));
  }
}"""
ASK = """async code => {
  const { kernel } = notebook.sessionContext.session;
  const request = { code: "", silent: true, store_history: false, user_expressions: { answer: code } };
  const { content } = await kernel.requestExecute(request).done;
  return content.user_expressions.answer.data?.["text/plain"] ?? JSON.stringify(content);
}"""
ERRORS = """() => Array.from(notebook.content.model.cells).flatMap(cell => cell.toJSON().outputs ?? [])
  .filter(output => output.output_type === "error").map(output => `${output.ename}: ${output.evalue}`)"""


class Notebook:
    """A notebook open in JupyterLab, on a page of its own."""

    def __init__(self, page, lab, name):
        self.page, self.name = page, name
        page.goto(f"{lab.url}/lab/tree/{name}?reset")  # without the tabs that the page before left open
        self.ready()

    def ready(self):
        """Wait until the notebook and its kernel are there."""
        self.page.evaluate(NOTEBOOK, self.name)

    def command(self, name, **arguments):
        self.page.evaluate("([name, given]) => { jupyterapp.commands.execute(name, given); }", [name, arguments])

    def run(self):
        """Run all cells to their end; an error in one of them is raised here."""
        self.page.evaluate("() => jupyterapp.commands.execute('notebook:run-all-cells')")
        if errors := self.errors():
            raise AssertionError(f"{self.name}: {errors}")

    def errors(self):
        """The errors that the cells ended with."""
        return self.page.evaluate(ERRORS)

    def start(self):
        """Run all cells and return at once."""
        self.command("notebook:run-all-cells")

    def ask(self, expression):
        """The value of a Python literal in the kernel, once it is idle."""
        return ast.literal_eval(self.page.evaluate(ASK, expression))

    def close(self):
        """End the kernel."""
        self.page.evaluate("() => notebook.sessionContext.shutdown()")

    def scroll_to(self, source):
        """Bring the first code cell that holds `source` into view: JupyterLab attaches outputs only near there."""
        found = """source => {
          const cells = Array.from(notebook.content.model.cells);
          const at = cells.findIndex(cell => cell.type === "code" && cell.sharedModel.source.includes(source));
          notebook.content.activeCellIndex = at;
          notebook.content.scrollToItem(at, "start");
          return at;
        }"""
        if self.page.evaluate(found, source) < 0:
            raise AssertionError(f"{self.name}: no cell holds {source!r}")

    def panel(self, number=0):
        """A panel on the page, scrolled to."""
        panel = self.page.locator(".kit-panel").nth(number)
        panel.locator("dd").first.wait_for(timeout=20_000)
        panel.scroll_into_view_if_needed()
        return panel

    def cells(self):
        """The type of each cell in order."""
        return self.page.evaluate("Array.from(notebook.content.model.cells).map(cell => cell.type)")
