"""Things a reader moves: Python traits beside a plain ES module of the same name.

The names are imported lazily: importing kit.panels loads no widget code.
"""

from importlib import import_module

_HOMES = {
    "AplPad": "apl",
    "BroadcastVisualizer": "broadcast",
    "DistillationLadder": "ladder",
    "GuidanceSlider": "guidance",
    "InterpolationSlider": "interpolation",
    "MaskPicker": "mask",
    "MatmulStepper": "matmul",
    "NoiseScrubber": "noise",
    "Panel": "_panel",
    "StorageView": "strides",
    "StrideVisualizer": "strides",
    "TrainingPanel": "training",
    "fit_rgb": "guidance",
}
__all__ = sorted(_HOMES)


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(_HOMES)}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__():
    return __all__
