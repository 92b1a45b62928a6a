"""How an answer is held against an exercise: on seeded random inputs, the smallest first, and strictly.

A right answer has the right type, shape, dtype and values, and leaves its arguments as they were. A wrong one is also
compared with the exercise's known mistakes, so that the message can name the one that was made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

TOLERANCE = 1e-5  # absolute and relative; wider than float32's rounding, narrower than any known mistake
SHOWN = 8  # numbers of a tensor that a message holds


def call(function: Callable, arguments: dict) -> dict:
    """The plain way to observe an answer: what it returns."""
    return {"result": function(*arguments.values())}


@dataclass(frozen=True)
class Exercise:
    """One function to write.

    asks: the signature and what it must do.  answer: a right one, made from kit's own functions.  inputs() -> lists of
    arguments by name, the smallest first; arguments are handed over by position.  mistakes: what to say of an answer
    -> a function that makes this mistake.  observe(function, arguments) -> {name: what must agree}, or
    {"result": None} when there is no answer yet.
    """

    name: str
    asks: str
    answer: Callable
    inputs: Callable[[], list[dict]]
    mistakes: dict[str, Callable] = field(default_factory=dict)
    observe: Callable[[Callable, dict], dict] = call


@dataclass(frozen=True, repr=False)
class Verdict:
    """Whether an answer is right, and the words for the reader."""

    right: bool
    message: str

    def __bool__(self) -> bool:
        return self.right

    def __repr__(self) -> str:
        return self.message


def verdict(exercise: Exercise, function) -> Verdict:
    """The verdict on an answer; the first input on which it fails is shown."""
    if function is None or function is ...:
        return _unanswered(exercise)
    if not callable(function):
        return Verdict(False, f"{exercise.name}: got {_say(function)}, wanted a function: {exercise.asks}")
    inputs = exercise.inputs()
    for arguments in inputs:
        try:
            got, changed = _observed(exercise, function, arguments)
        except NotImplementedError:
            return _unanswered(exercise)
        except Exception as error:
            return _wrong(exercise, arguments, [f"raised  {type(error).__name__}: {error}"])
        if got.get("result", ...) is None:
            return _unanswered(exercise)
        wanted, _ = _observed(exercise, exercise.answer, arguments)
        if fault := _difference(got, wanted):
            return _wrong(exercise, arguments, fault, _mistake(exercise, function, inputs))
        if changed:
            return _wrong(exercise, arguments, [f"changed {changed} in place; wanted it left as it was"])
    return Verdict(True, f"{exercise.name}: right, on {len(inputs)} random inputs.")


def _observed(exercise: Exercise, function, arguments: dict) -> tuple[dict, str]:
    """What a function does with a copy of the arguments, and the argument that it changed."""
    given = {name: x.clone() if isinstance(x, Tensor) else x for name, x in arguments.items()}
    seen = exercise.observe(function, given)
    changed = [name for name, x in given.items() if isinstance(x, Tensor) and not torch.equal(x, arguments[name])]
    return seen, ", ".join(changed)


def _difference(got: dict, wanted: dict) -> list[str]:
    """Two lines, got and wanted, on the first thing that differs; none if nothing does."""
    for name, value in wanted.items():
        label = "" if name == "result" else f"{name}: "
        if fault := _unlike(got[name], value):
            return [f"got     {label}{fault[0]}", f"wanted  {label}{fault[1]}"]
    return []


def _unlike(got, wanted) -> tuple[str, str] | None:
    """How a value differs from the wanted one, as (got, wanted)."""
    if not isinstance(wanted, Tensor):
        same = type(got) is type(wanted) and got == wanted
        return None if same else (_say(got), _say(wanted))
    if not isinstance(got, Tensor):
        return f"{type(got).__name__} {got!r:.60}", _kind(wanted)
    if got.dtype != wanted.dtype or got.ndim != wanted.ndim:
        return _kind(got), _kind(wanted)
    if got.shape != wanted.shape:
        return _say(got), _say(wanted)
    off = ~torch.isclose(got, wanted, rtol=TOLERANCE, atol=TOLERANCE)
    if not off.any():
        return None
    if wanted.numel() <= SHOWN:
        return _say(got), _say(wanted)
    where = off.nonzero()[0].tolist()
    place = f" at {where}, and {int(off.sum())} of {off.numel()} differ"
    return f"{got[tuple(where)].item():.4g}{place}", f"{wanted[tuple(where)].item():.4g}"


def _mistake(exercise: Exercise, function, inputs: list[dict]) -> str:
    """What to say of an answer that does on every input what a known mistake does."""
    for sentence, mistaken in exercise.mistakes.items():
        if all(_alike(exercise, function, mistaken, arguments) for arguments in inputs):
            return sentence
    return ""


def _alike(exercise: Exercise, function, other, arguments: dict) -> bool:
    """Whether two functions do the same; a broadcasting slip shows on some shapes, and raises on the others."""
    a, b = (_outcome(exercise, f, arguments) for f in (function, other))
    return a is b if isinstance(a, type) or isinstance(b, type) else not _difference(a, b)


def _outcome(exercise: Exercise, function, arguments: dict) -> dict | type:
    """What is observed of a function, or the kind of error it raises."""
    try:
        return _observed(exercise, function, arguments)[0]
    except Exception as error:
        return type(error)


def _unanswered(exercise: Exercise) -> Verdict:
    return Verdict(False, f"{exercise.name}: not answered yet. Write {exercise.asks}")


def _wrong(exercise: Exercise, arguments: dict, fault: list[str], mistake: str = "") -> Verdict:
    given = [f"{name} = {_say(value)}" for name, value in arguments.items()]
    lines = [f"{exercise.name}: not yet.", f"on      {'; '.join(given)}", *fault]
    return Verdict(False, "\n    ".join([*lines, f"perhaps {mistake}"] if mistake else lines))


def _say(value) -> str:
    """An argument or a result, short."""
    if isinstance(value, Tensor):
        return str(_rounded(value.tolist())) if value.numel() <= SHOWN else _kind(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return getattr(value, "__name__", None) or repr(value)


def _rounded(value):
    if isinstance(value, list):
        return [_rounded(v) for v in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _kind(x: Tensor) -> str:
    return f"tensor {tuple(x.shape)} {str(x.dtype).removeprefix('torch.')}"
