"""The small world, whole and offline: scenes, their pictures and true masks, their captions, and a judge.

scene.py     what can be in a picture           rendering.py scenes -> pictures and true masks
rigs.py      the animals' anatomy                caption.py   scenes <-> words, and the tokenizer
judge.py     pictures -> what they show          train.py     remakes the weights from nothing
measure.py   how good the weights are            weights/     a Stable Diffusion in miniature
"""

from importlib import import_module
from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
STUDENTS = Path(__file__).parent / "students"

_NAMES = {
    "ATTRIBUTES": "scene",
    "PLACES": "scene",
    "POSES": "scene",
    "SPECIES": "scene",
    "STYLES": "scene",
    "Scenes": "scene",
    "poses_of": "scene",
    "sample_scenes": "scene",
    "render": "rendering",
    "VOCABULARY": "caption",
    "captions": "caption",
    "parse": "caption",
    "unknown_words": "caption",
    "Judge": "judge",
    "Verdict": "judge",
    "frechet_distance": "judge",
    "load_judge": "judge",
    "Likeness": "judge",
    "load_likeness": "judge",
}
__all__ = ["STUDENTS", "WEIGHTS", *_NAMES]


def __getattr__(name: str):
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_NAMES[name]}"), name)
