"""The papers' algorithms as functions of tensors and one predictor, `predict(x, t, cond) -> eps`.

Names are loaded when they are first used, so that importing the package loads no torch.
"""

from importlib import import_module

_HOMES = {
    "Schedule": "schedule",
    "randn": "seeds",
    "State": "ddim",
    "step": "ddim",
    "path": "ddim",
    "sample": "ddim",
    "invert": "ddim",
    "posterior": "ddpm",
    "guided": "guidance",
    "combine": "guidance",
    "image_to_image": "edit",
    "image_to_image_path": "edit",
    "masked_edit": "diffedit",
    "inpaint": "edit",
    "inpaint_path": "edit",
    "repaint": "edit",
    "repaint_path": "edit",
    "repaint_schedule": "edit",
}

__all__ = sorted(_HOMES)


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__():
    return sorted({*globals(), *__all__})
