"""An answer is tried on views, too: the same numbers, with holes, an offset and the axes inside out."""

from torch import Tensor

OFFSET, STEP, POISON = 3, 2, 77  # POISON: what an answer finds that reads a wrong cell


def scattered(x: Tensor) -> Tensor:
    """A view, equal to x, of a storage of its own: from cell 3 on every other cell, the first axis the innermost."""
    storage = x.new_full((OFFSET + STEP * x.numel(),), POISON)
    view = storage[OFFSET::STEP].view(x.shape[::-1]).permute(list(reversed(range(x.ndim))))
    return view.copy_(x)


def twice(function, arguments: dict) -> dict:
    """What a function returns, and what it returns where every tensor is `scattered`."""
    result = function(*arguments.values())
    if result is None:
        return {"result": None}
    views = [scattered(x) if isinstance(x, Tensor) else x for x in arguments.values()]
    return {"result": result, "on views with holes": function(*views)}


def as_view(function, arguments: dict) -> dict:
    """As `twice`, and whether both results are views of the first argument's storage."""
    x, *rest = arguments.values()
    result = function(x, *rest)
    if result is None:
        return {"result": None}
    view = scattered(x)
    read = function(view, *rest)
    copied = not (_shares(result, x) and _shares(read, view))
    return {"result": result, "on a view with holes": read, "a copy": copied}


def _shares(result, x: Tensor) -> bool:
    return isinstance(result, Tensor) and result.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
