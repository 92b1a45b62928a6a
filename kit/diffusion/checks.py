"""What the algorithms accept, said once: each check hands the value back, or raises one line that says what
was wrong, what came and what was wanted.

Only `finite` and `mask` read a tensor's values. They belong before and after a loop and never inside it, because
reading a value makes a GPU wait.
"""

import math
import operator

import torch


def whole(name, value, low, high):
    """`value` as an int in [low, high]. Takes ints, NumPy ints and 0-d integer tensors, no bools."""
    wanted = f"wanted a whole number from {low} to {high}"
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise TypeError(f"{name}: got {value!r}, {wanted}")
    if not low <= number <= high:
        raise ValueError(f"{name}: got {number}, {wanted}")
    return number


def real(name, value, low=-math.inf, high=math.inf):
    """`value` as a finite float in [low, high]."""
    wanted = f"wanted a number from {low} to {high}" if math.isfinite(high - low) else "wanted a finite number"
    try:
        number = None if isinstance(value, (str, bool)) else float(value)
    except (TypeError, ValueError, RuntimeError):
        number = None
    if number is None:
        raise TypeError(f"{name}: got {value!r}, {wanted}")
    if not (math.isfinite(number) and low <= number <= high):
        raise ValueError(f"{name}: got {number}, {wanted}")
    return number


def floating(name, x):
    """`x`, a tensor of floating-point numbers."""
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"{name}: got {type(x).__name__}, wanted a floating-point tensor")
    if not x.is_floating_point():
        raise TypeError(f"{name}: got dtype {x.dtype}, wanted a floating-point tensor")
    return x


def latents(name, x):
    """`x`, a floating-point tensor (n, c, h, w) of at least one picture."""
    floating(name, x)
    if x.ndim != 4 or 0 in x.shape:
        raise ValueError(f"{name}: got shape {tuple(x.shape)}, wanted (n, c, h, w) with no axis empty")
    return x


def finite(name, x):
    """`x` without NaN or infinity. Reads the values: on a GPU this waits for them."""
    bad = x.numel() - int(torch.isfinite(x).sum())
    if bad:
        raise ValueError(f"{name}: got {bad} of {x.numel()} values NaN or infinite, wanted all finite")
    return x


def like(name, x, other_name, other):
    """`x`, a floating-point tensor of the same shape and on the same device as `other`."""
    floating(name, x)
    if x.shape != other.shape:
        raise ValueError(f"{name}: got shape {tuple(x.shape)}, wanted {tuple(other.shape)}, the shape of {other_name}")
    if x.device != other.device:
        raise ValueError(f"{name}: got device {x.device}, wanted {other.device}, the device of {other_name}")
    return x


def batch(name, cond, n):
    """`cond`; when it is a tensor, it has one row for each of the n pictures."""
    if isinstance(cond, torch.Tensor) and (cond.ndim == 0 or len(cond) != n):
        raise ValueError(f"{name}: got shape {tuple(cond.shape)}, wanted {n} rows, one for each picture in x")
    return cond


def mask(name, value, x):
    """`value`, floats (n, 1, h, w) or (1, 1, h, w) in [0, 1] for x (n, c, h, w). Reads the values."""
    n, _, h, w = x.shape
    if floating(name, value).shape not in ((n, 1, h, w), (1, 1, h, w)):
        raise ValueError(f"{name}: got shape {tuple(value.shape)}, wanted {(n, 1, h, w)} or {(1, 1, h, w)}")
    low, high = map(float, finite(name, value).aminmax())
    if low < 0 or high > 1:
        raise ValueError(f"{name}: got values from {low:.4g} to {high:.4g}, wanted them in [0, 1], 1 to be painted")
    return value
