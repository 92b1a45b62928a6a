"""Panels and algorithms for paper walkthroughs; the public names, imported when first used.

`import kit` loads no torch, so that a script's help text, the doctor and a panel open at once.
"""

from importlib import import_module

_HOME = {
    "load": "kit.models",
    "generate": "kit.models",
    "Models": "kit.models",
    "Scenes": "kit.world",
    "sample_scenes": "kit.world",
    "render": "kit.world",
    "captions": "kit.world",
    "parse": "kit.world",
}
_PACKAGES = ("arrays", "diffusion", "exercises", "models", "panels", "world")

__all__ = sorted([*_HOME, *_PACKAGES])


def __getattr__(name):
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    if name in _PACKAGES:
        return import_module(f"kit.{name}")
    raise AttributeError(f"module 'kit' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__():
    return sorted({*globals(), *__all__})
