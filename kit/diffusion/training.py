"""The one training loop: accelerate, a moving average of the weights, atomic checkpoints, exact resumption.

It knows nothing of diffusion. An objective is a module whose `forward(*batch)` returns a scalar loss; a batch is a
function of a random generator, seeded afresh for every step, so a run that is killed and started again sees the same
batches and ends with the same weights, bit for bit on one CPU process.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from kit.diffusion.muon import Muon


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train.

    steps: optimiser steps.  lr: the peak of a one-cycle schedule: linear from 0 over `warmup` of the steps, then along
    `fall`, a "cosine" or a "line", down to `floor` of it; warmup=0 and floor=1 keep the rate constant.
    decay: the weight decay.  muon: what the names hold of those weights that Muon trains, "block" for the blocks of a
    U-Net; all others, and all vectors, AdamW does.
    average: the moving average's decay a step, 0 for none (it starts faster, as (1 + step) / (10 + step)).
    clip: the largest gradient norm.  seed: of all batches.
    every: steps between checkpoints.  precision: "float32", or "bf16" for the products of a forward pass, on devices
    that compute them so (`computes_bf16`; elsewhere float32, which is faster there).
    """

    steps: int
    lr: float
    warmup: float = 0.05
    floor: float = 0.0
    decay: float = 0.01
    average: float = 0.999
    clip: float = 1.0
    seed: int = 0
    every: int = 500
    precision: str = "float32"
    fall: str = "cosine"
    muon: str | None = None

    def __post_init__(self):
        if self.steps < 1:
            raise ValueError(f"Plan: got steps={self.steps}, wanted at least 1")
        if not self.lr > 0:
            raise ValueError(f"Plan: got lr={self.lr}, wanted more than 0")
        if self.precision not in ("float32", "bf16"):
            raise ValueError(f"Plan: got precision={self.precision!r}, wanted 'float32' or 'bf16'")
        if self.fall not in ("cosine", "line"):
            raise ValueError(f"Plan: got fall={self.fall!r}, wanted 'cosine' or 'line'")
        if not 0 <= self.floor <= 1:
            raise ValueError(f"Plan: got floor={self.floor}, wanted 0 <= floor <= 1")
        if not 0 <= self.average < 1:
            raise ValueError(f"Plan: got average={self.average}, wanted 0 <= average < 1")

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        warm = max(1, round(self.warmup * self.steps))
        if step < warm:
            return self.lr * (step + 1) / warm
        along = (step - warm) / max(1, self.steps - warm)
        left = 1 - along if self.fall == "line" else 0.5 * (1 + math.cos(along * math.pi))
        return self.lr * (self.floor + (1 - self.floor) * left)


def train(
    objective: nn.Module,
    batch: Callable[[torch.Generator], tuple],
    plan: Plan,
    checkpoint: str | Path | None = None,
    *,
    parameters: Iterable[nn.Parameter] | None = None,
    report: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Trains `objective` in place and leaves the averaged weights in it; returns the loss of every step.

    report(step, loss): called each step on the main process; by default a progress line on stderr.  The other arguments
    and errors are those of `Run`.
    """
    run = Run(objective, batch, plan, checkpoint, parameters=parameters)
    report = report or progress(plan.steps)
    with contextlib.closing(iter(run)) as steps:
        for step, loss in steps:
            if run.accelerator.is_main_process:
                report(step, loss)
    return run.losses


class Run:
    """A training run as an iterable of (steps done, loss), one step a turn; it may be left at any of them.

    However it ends, `objective` is left with the averaged weights.  Left early, by `break` or close(), it first writes
    its checkpoint, so that the same arguments go on from there.

    batch(generator) -> the arguments of objective.forward; every step and process has a generator of its own.
    checkpoint: a .safetensors file, written atomically every `plan.every` steps; where it exists the run goes on from
    it.  parameters: what to train, by default all that require gradients.

    Iterating raises ValueError when the checkpoint belongs to another plan or model, or the plan names no weight for
    Muon; FloatingPointError when the loss is not finite (the last checkpoint stays).
    """

    def __init__(self, objective, batch, plan, checkpoint=None, *, parameters=None):
        self.objective, self.batch, self.plan = objective, batch, plan
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
        self.accelerator = Accelerator(cpu=not torch.cuda.is_available())
        self.bf16 = plan.precision == "bf16" and computes_bf16(self.accelerator.device)
        self.trained = [p for p in (parameters or objective.parameters()) if p.requires_grad]
        self.losses = []  # of every step, also those before this sitting

    def __iter__(self) -> Iterator[tuple[int, float]]:
        start, plan = self._begin(), self.plan
        try:
            for step in range(start, plan.steps):
                loss = self._step(step)
                done = step + 1
                if done % plan.every == 0 or done == plan.steps:
                    self._write()
                yield done, loss
        except GeneratorExit:
            self._write()
            raise
        finally:
            self._settle()
            self.objective.eval()
        self.accelerator.wait_for_everyone()

    def _begin(self) -> int:
        give_back_memory()
        plan = self.plan
        optimisers = _optimisers(self.objective, plan, self.trained, self.accelerator.device)
        average = [p.detach().clone() for p in self.trained] if plan.average else []
        start, seconds = 0, 0.0
        if self.checkpoint is not None and self.checkpoint.exists():
            start, self.losses, seconds = _load(self.checkpoint, plan, self.trained, optimisers, average)
        self.objective.train()
        self.model, *self.optimisers = self.accelerator.prepare(self.objective, *optimisers)
        self.average = [a.to(p.device) for a, p in zip(average, self.trained, strict=bool(average))]
        self.begun = time.monotonic() - seconds
        return start

    @torch.enable_grad()  # a notebook may have switched gradients off for all else
    def _step(self, step: int) -> float:
        accelerator, plan = self.accelerator, self.plan
        seed = (plan.seed * 1_000_003 + step) * 64 + accelerator.process_index
        # Batches draw from their own generator, layers such as dropout from the global one.
        torch.manual_seed(seed)
        inputs = self.batch(torch.Generator().manual_seed(seed))
        inputs = tuple(x.to(accelerator.device) if isinstance(x, Tensor) else x for x in inputs)
        for group in (group for optimiser in self.optimisers for group in optimiser.param_groups):
            group["lr"] = plan.rate(step)
        # Not accelerate's own mixed precision, which is one for all runs of a process.
        with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=self.bf16):
            loss = self.model(*inputs)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(self.trained, plan.clip)
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad()
        if self.average:
            torch._foreach_lerp_(self.average, [p.detach() for p in self.trained], 1 - _pace(plan, step))
        self.losses.append(accelerator.reduce(loss.detach(), "mean").item())
        if not math.isfinite(self.losses[-1]):
            raise FloatingPointError(
                f"train: the loss is {self.losses[-1]} at step {step}; try a lower lr than {plan.lr}"
            )
        return self.losses[-1]

    def _write(self):
        """The checkpoint of the steps so far, if one is wanted and there were any."""
        if self.checkpoint is None or not self.losses or not self.accelerator.is_main_process:
            return
        run = {"step": len(self.losses), "losses": self.losses, "seconds": time.monotonic() - self.begun}
        inner = [optimiser.optimizer for optimiser in self.optimisers]  # without accelerate's wrapping
        with atomic(self.checkpoint) as temporary:
            metadata = {"plan": repr(self.plan), "run": json.dumps(run)}
            save_file(_tensors(self.trained, inner, self.average), temporary, metadata)

    def _settle(self):
        for parameter, mean in zip(self.trained, self.average, strict=bool(self.average)):
            parameter.data.copy_(mean)
        give_back_memory()


def give_back_memory() -> None:
    """Returns to the system what this process has freed. glibc keeps it otherwise, for each thread apart, so that runs
    one after the other, or in threads of their own, seem to hold the memory of all of them. Elsewhere does nothing."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def computes_bf16(device: torch.device) -> bool:
    """Whether a device has instructions for products of bfloat16. A CPU without them, as most laptops', imitates them
    ten times slower than it computes in float32."""
    if device.type == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)


def _pace(plan: Plan, step: int) -> float:
    return min(plan.average, (1 + step) / (10 + step))


def _optimisers(objective, plan: Plan, trained, device) -> list[torch.optim.Optimizer]:
    named = {p for name, p in objective.named_parameters() if plan.muon is not None and plan.muon in name}
    matrices = [p for p in trained if p in named and p.ndim > 1]
    if plan.muon is not None and not matrices:
        raise ValueError(
            f"Plan: got muon={plan.muon!r}, wanted a part of the name of a weight of two dimensions or more"
        )
    others = [p for p in trained if p not in set(matrices)]
    dtype = torch.bfloat16 if computes_bf16(device) else torch.float32
    muon = [Muon(matrices, plan.lr, plan.decay, dtype)] if matrices else []
    return muon + ([torch.optim.AdamW(others, plan.lr, betas=(0.9, 0.99), weight_decay=plan.decay)] if others else [])


def _owner(optimisers) -> dict:
    """Which optimiser trains a parameter."""
    return {p: each for each in optimisers for group in each.param_groups for p in group["params"]}


def _tensors(trained, optimisers, average) -> dict[str, Tensor]:
    """Everything a run consists of, by name, ready for one safetensors file."""
    tensors, owner = {}, _owner(optimisers)
    for i, parameter in enumerate(trained):
        tensors[f"{i}.weight"] = parameter.detach()
        tensors |= {f"{i}.{name}": value for name, value in owner[parameter].state[parameter].items()}
        if average:
            tensors[f"{i}.average"] = average[i]
    return {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}


def hours(checkpoint: str | Path) -> float:
    """How long a checkpoint's run has trained, all its sittings together."""
    with safe_open(checkpoint, "pt") as file:
        return json.loads(file.metadata()["run"])["seconds"] / 3600


def _load(path: Path, plan: Plan, trained, optimisers, average) -> tuple[int, list[float], float]:
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        if metadata["plan"] != repr(plan):
            raise ValueError(
                f"train: {path} belongs to another plan; got {metadata['plan']}, wanted {plan!r}; "
                "remove the file to begin again"
            )
        owner = _owner(optimisers)
        for i, parameter in enumerate(trained):
            weight = file.get_tensor(f"{i}.weight")
            if weight.shape != parameter.shape:
                raise ValueError(
                    f"train: {path} belongs to another model; parameter {i} has shape {tuple(weight.shape)}, "
                    f"wanted {tuple(parameter.shape)}"
                )
            parameter.data.copy_(weight)
            remembered = ("momentum",) if isinstance(owner[parameter], Muon) else ("step", "exp_avg", "exp_avg_sq")
            owner[parameter].state[parameter] = {name: file.get_tensor(f"{i}.{name}") for name in remembered}
            if average:
                average[i].copy_(file.get_tensor(f"{i}.average"))
    run = json.loads(metadata["run"])
    return run["step"], run["losses"], run["seconds"]


@contextlib.contextmanager
def atomic(path: str | Path):
    """Gives a temporary path beside `path` to write to, and moves it into place when the block ends well."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def progress(total: int, what: str = "step") -> Callable[..., None]:
    """report(done, loss=None): a line on stderr with how far it is, the smoothed loss, the pace and the time left, at
    most every two seconds (every fifteen where stderr is a file)."""
    begun, told, first, mean = time.monotonic(), 0.0, None, None
    terminal = sys.stderr.isatty()

    def report(done: int, loss: float | None = None) -> None:
        nonlocal told, first, mean
        first = done - 1 if first is None else first
        if loss is not None:
            mean = loss if mean is None else 0.98 * mean + 0.02 * loss
        now = time.monotonic()
        if now - told < (2 if terminal else 15) and done < total:
            return
        told = now
        pace = (now - begun) / max(1, done - first)
        left = int(pace * (total - done))
        loss_part = "" if mean is None else f"  loss {mean:.4f}"
        line = f"{what} {done}/{total}{loss_part}  {pace:.3f} s each  {left // 60}:{left % 60:02d} left"
        print(line, end="\r" if terminal and done < total else "\n", file=sys.stderr, flush=True)

    return report
