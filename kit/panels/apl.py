"""AplPad: APL typed in the notebook, evaluated by the kernel, beside the same in torch."""

import functools
import importlib.util
from collections.abc import Mapping
from pathlib import Path

import traitlets
from PIL import Image, ImageDraw, ImageFont

from kit.arrays.apl import AplError, Workspace, boxed, described
from kit.panels._panel import Panel, source
from kit.panels._pictures import png, printable

MOST_KEPT, MOST_TYPED = 40, 10_000
INDENT = " " * 6  # what is typed stands further right than what is answered, as in every APL since 1966
WIDTH, LINE, MOST_LINES, MOST_COLUMNS = 680, 15, 60, 83
INK, MUTED, ALARM = "#1c2330", "#5b6270", "#b42318"


class AplPad(Panel):
    """APL at a prompt: results boxed as APL prints them, errors with a caret, each expression beside its torch code.

    text: expressions to begin with, one a line; they are evaluated at once.
    names: {name: a number, a text, a nested list, a numpy array or a tensor} that expressions can use.

    What is typed is evaluated by the kernel, in a thread, for at most ten seconds; Stop ends it before. Where the torch
    equivalent is known, torch runs it on the same arrays, and the panel says whether it gave the same. `workspace`, a
    `kit.arrays.apl.Workspace`, holds the names. Raises TypeError for a text or names that are none.
    """

    _esm = source("_draw.js", "apl.js")
    _css = source("_panel.css", "apl.css")

    _entries = traitlets.List(help="what was typed and answered: text, shown, about, error, code, verdict").tag(
        sync=True
    )
    _names = traitlets.Dict(help="names of the workspace: what they hold, in words").tag(sync=True)

    def __init__(self, text="", names=None, *, title="", **kwargs):
        self.workspace = Workspace()  # first of all: close() needs it, also of a panel whose constructor raised
        if not isinstance(text, str):
            raise TypeError(f"text: got {type(text).__name__}, wanted APL as a str")
        if not isinstance(names or {}, Mapping):
            raise TypeError(f"names: got {type(names).__name__}, wanted a dict, for example {{'A': tensor}}")
        self.workspace = Workspace(**(names or {}))
        entries = [list(_answers(self.workspace, line))[-1] for line in text.split("\n") if line.strip()]
        super().__init__(_entries=entries[-MOST_KEPT:], _names=self.workspace.names, title=title or "APL", **kwargs)
        self.on_msg(AplPad._hear)

    def run(self, text):
        """Evaluate in the background, as if typed; what runs already is ended. Returns the panel."""
        self.workspace.interrupt()
        self.work.start(_answers(self.workspace, text), AplPad._take)
        return self

    def stop(self):
        """End what runs; the panel shows that it was interrupted."""
        self.workspace.interrupt()

    def close(self):
        """End the panel, and what it runs."""
        self.workspace.interrupt()
        super().close()

    def _hear(self, content, _):
        if content.get("kind") == "clear":
            self._entries = []
        elif content.get("kind") == "run" and isinstance(content.get("text"), str):
            self.run(content["text"])

    def _take(self, index, entry):
        kept = self._entries[:-1] if index else self._entries
        self._entries = [*kept, entry][-MOST_KEPT:]
        self._names = self.workspace.names

    def __repr__(self):
        return "\n".join([f"AplPad({len(self._entries)} expressions)", *(text for text, _ in self._lines())])

    def _repr_mimebundle_(self, **kwargs):
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None:
            return None
        data, metadata = bundle
        return {**data, "text/plain": repr(self)}, metadata  # whole: ipywidgets cuts it after 110 characters

    def _lines(self):
        """The session as lines of text, each with its colour; the newest, if there are too many."""
        lines = []
        for entry in self._entries:
            lines.append((INDENT + entry["text"], MUTED))
            if error := entry["error"]:
                line, mark = error["caret"].split("\n")
                lines += [(INDENT + part, ALARM) for part in (line, mark) if part != entry["text"]]
                lines.append((f"{error['name']}: {error['message']}", ALARM))
            lines += [(line, INK) for line in entry["shown"].split("\n") if entry["shown"]]
        return lines[-MOST_LINES:]

    def _static(self):
        lines = [(self.title, INK), *self._lines()]
        image = Image.new("RGB", (WIDTH, LINE * len(lines) + 24), "white")
        draw, font = ImageDraw.Draw(image), _font()
        for row, (line, colour) in enumerate(lines):
            line = line if len(line) <= MOST_COLUMNS else line[: MOST_COLUMNS - 1] + "…"
            text = line if font else printable(line)
            draw.text((14, 12 + LINE * row), text, fill=colour, font=font or ImageFont.load_default(13))
        return png(image, 32)


def _answers(workspace, text):
    """The entry of a text: first with its value or error, then with its torch code too."""
    before, entry = workspace.copy(), {"text": text[:MOST_TYPED], "shown": "", "about": "", "error": None}
    entry |= {"code": "", "verdict": ""}
    try:
        if len(text) > MOST_TYPED:
            raise AplError("LIMIT ERROR", f"{len(text)} characters, wanted at most {MOST_TYPED}", (entry["text"], 0))
        value = workspace.value(text)
    except AplError as error:
        yield entry | {"error": {name: getattr(error, name) for name in ("name", "message", "caret")}}
        return
    if value is not None:
        entry |= {"shown": boxed(value), "about": described(value)}
    yield entry
    yield entry | _in_torch(before, workspace, text, value)


def _in_torch(before, workspace, text, value):
    """{"code", "verdict"}: the torch equivalent, and whether torch, if it is installed, gave the same."""
    try:
        code = before.torch_code(text)
    except AplError as error:
        return {"code": "", "verdict": error.message}
    if not code:
        return {"code": "", "verdict": ""}
    if importlib.util.find_spec("torch") is None:
        return {"code": code, "verdict": "not checked: torch is not installed"}
    if value is None:
        value = workspace.array(code.split("\n")[-1].split(" = ")[0])
    try:
        agrees = before.agrees(code, value)
    except Exception as error:  # whatever torch finds wrong is for the reader to see
        return {"code": code, "verdict": f"torch refuses: {str(error).strip().splitlines()[0]}"}
    return {"code": code, "verdict": "same result" if agrees else "another result"}


@functools.cache
def _font():
    """A fixed-width font with APL's glyphs, of the system or of matplotlib; None if there is none."""
    found = importlib.util.find_spec("matplotlib")
    folder = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" if found else Path()
    for path in ("DejaVuSansMono.ttf", folder / "DejaVuSansMono.ttf"):
        try:
            return ImageFont.truetype(path, 13)
        except OSError:
            continue
    return None
