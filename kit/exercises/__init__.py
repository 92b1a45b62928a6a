"""Exercises with checkers: `check("guide", guide)` says whether an answer is right and, if not, shows where.

checking.py  how an answer is compared     inputs.py  what it is tried on
layouts.py   the same, otherwise in memory
The other modules hold the exercises of one walkthrough each.
"""

from kit.exercises import (
    broadcasting_strides,
    ddpm_ddim,
    diffedit,
    dreambooth,
    guidance,
    guided_distillation,
    imagic,
    inpainting,
    matmul_apl,
    progressive_distillation,
    random_numbers,
    stable_diffusion,
    textual_inversion,
)
from kit.exercises.checking import Exercise, Verdict, verdict

_WALKTHROUGHS = (
    stable_diffusion,
    ddpm_ddim,
    guidance,
    inpainting,
    diffedit,
    imagic,
    textual_inversion,
    dreambooth,
    progressive_distillation,
    guided_distillation,
    matmul_apl,
    broadcasting_strides,
    random_numbers,
)
EXERCISES: dict[str, Exercise] = {exercise.name: exercise for module in _WALKTHROUGHS for exercise in module.EXERCISES}

__all__ = ["EXERCISES", "check"]


def check(name: str, function) -> Verdict:
    """Hold an answer against an exercise. The verdict is true or false, and prints as what was wrong, got and wanted.

    Never raises on account of the answer: one that is still `...` is told what is asked. Raises ValueError for an
    exercise that does not exist.
    """
    if name not in EXERCISES:
        raise ValueError(f"check: got {name!r}, wanted one of {', '.join(map(repr, EXERCISES))}")
    return verdict(EXERCISES[name], function)
