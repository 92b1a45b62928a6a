import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest
import torch
from torch import nn

from kit.diffusion import training
from kit.diffusion.training import Plan, Run, atomic, hours, progress, train

QUIET = {"report": lambda step, loss: None}


class Line(nn.Module):
    """Least squares: the loss of a linear map on noisy targets of a known one."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.map = nn.Linear(3, 2)

    def forward(self, x, y):
        return (self.map(x) - y).square().mean()


TRUE = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]])


def batch(random):
    x = torch.randn(32, 3, generator=random)
    return x, x @ TRUE.T + 1


def weights(model):
    return [p.detach().clone() for p in model.parameters()]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_it_finds_the_known_solution_of_a_linear_problem():
    model = Line()
    losses = train(model, batch, Plan(steps=600, lr=0.05, decay=0, average=0), **QUIET)
    assert torch.allclose(model.map.weight, TRUE, atol=1e-3) and torch.allclose(
        model.map.bias, torch.ones(2), atol=1e-3
    )
    assert len(losses) == 600 and losses[-1] < 1e-5 * losses[0]


def test_muon_moves_matrices_and_leaves_vectors_to_adamw():
    """AdamW's first step is as long as its rate; Muon's, of a 2 x 3 matrix, 0.2 sqrt(3) of it along each singular
    vector, times 0.5 to 1.5."""
    model, plan = Line(), Plan(steps=1, lr=0.01, decay=0, average=0, warmup=0, floor=1, muon="map")
    start = weights(model)
    train(model, batch, plan, **QUIET)
    moved = dict(
        zip(("weight", "bias"), (now - was for now, was in zip(weights(model), start, strict=True)), strict=True)
    )
    assert torch.allclose(moved["bias"].abs(), torch.full((2,), 0.01), rtol=1e-3)
    length = torch.linalg.svdvals(moved["weight"]) / (0.01 * 0.2 * 3**0.5)
    assert ((length > 0.5) & (length < 1.5)).all()


def test_muon_for_no_weight_is_refused():
    for name in ("bias", "up_blocks"):  # a vector, and no weight at all
        with pytest.raises(ValueError, match=f"got muon='{name}', wanted a part of the name of a weight"):
            train(Line(), batch, Plan(steps=1, lr=0.01, muon=name), **QUIET)


def test_the_schedule_warms_up_peaks_and_ends_near_zero():
    plan = Plan(steps=1000, lr=0.1, warmup=0.1)
    rates = [plan.rate(step) for step in range(1000)]
    assert max(rates) == pytest.approx(0.1) and rates.index(max(rates)) in (99, 100)
    assert rates[0] == pytest.approx(0.001) and rates[-1] < 1e-6
    assert rates[550] == pytest.approx(0.05)  # half way down the cosine


def test_the_average_is_the_recursion_it_says(tmp_path):
    """Against the recursion written out, from the weights of every step."""
    plan, seen = Plan(steps=30, lr=0.05, average=0.9), []
    model = Line()
    start = weights(model)
    train(model, batch, plan, report=lambda step, loss: seen.append(weights(model)))
    mean = start
    for step, now in enumerate(seen):
        pace = min(0.9, (1 + step) / (10 + step))
        mean = [pace * m + (1 - pace) * p for m, p in zip(mean, now, strict=True)]
    assert all(torch.allclose(m, p, atol=1e-6) for m, p in zip(mean, weights(model), strict=True))
    assert not same(seen[-1], weights(model))


@pytest.mark.parametrize("muon", [None, "map"])
@pytest.mark.parametrize(("killed_in", "goes_on"), [("report", 26), ("batch", 21)])
def test_a_run_that_is_killed_ends_with_the_same_weights_bit_for_bit(tmp_path, killed_in, goes_on, muon):
    """Between two steps nothing is lost; in the midst of one, what came after the last checkpoint."""
    plan = Plan(steps=40, lr=0.05, every=10, muon=muon)
    whole, halves = Line(), Line()
    losses = train(whole, batch, plan, tmp_path / "whole.safetensors", **QUIET)
    calls = {"report": 0, "batch": 0}

    def kill(where):
        calls[where] += 1
        if where == killed_in and calls[where] == 25:
            raise KeyboardInterrupt

    def deadly(random):
        kill("batch")
        return batch(random)

    with pytest.raises(KeyboardInterrupt) as held:  # a traceback that is kept keeps its frames, and loses nothing
        train(halves, deadly, plan, tmp_path / "halves.safetensors", report=lambda step, loss: kill("report"))
    halves = Line()
    resumed = []
    again = train(halves, batch, plan, tmp_path / "halves.safetensors", report=lambda step, loss: resumed.append(step))
    assert held.tb and resumed[0] == goes_on
    assert same(weights(whole), weights(halves)) and again == losses


def test_a_run_left_early_leaves_the_averaged_weights_and_a_checkpoint(tmp_path):
    plan, path = Plan(steps=40, lr=0.05, average=0.9, every=100), tmp_path / "run.safetensors"
    left, whole = Line(), Line()
    for step, _ in Run(left, batch, plan, path):
        if step == 7:
            break
    short, seen = Line(), []
    for step, _ in Run(short, batch, plan):
        seen.append(weights(short))
        if step == 7:
            break
    mean = weights(Line())
    for step, now in enumerate(seen):
        pace = min(0.9, (1 + step) / (10 + step))
        mean = [pace * m + (1 - pace) * p for m, p in zip(mean, now, strict=True)]
    assert all(torch.allclose(m, p, atol=1e-6) for m, p in zip(mean, weights(left), strict=True))
    assert not left.training and not same(seen[-1], weights(left))

    run = Run(left, batch, plan, path)
    assert [step for step, _ in run] == list(range(8, 41)) and len(run.losses) == 40
    train(whole, batch, plan, **QUIET)
    assert same(weights(whole), weights(left))


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    path, plan = tmp_path / "run.safetensors", Plan(steps=20, lr=0.05, every=5)
    for step, _ in Run(Line(), batch, plan, path):
        if step == 6:
            break
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kit.diffusion.training.os.replace", full)
    with pytest.raises(OSError, match="No space left"):
        train(Line(), batch, plan, path, **QUIET)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["run.safetensors"]


def test_a_constant_rate_has_no_warm_up_and_no_end():
    plan = Plan(steps=50, lr=0.3, warmup=0, floor=1)
    assert {plan.rate(step) for step in range(50)} == {0.3}
    assert Plan(steps=1000, lr=0.1, floor=0.1).rate(999) == pytest.approx(0.01, rel=1e-3)


def test_a_rate_may_fall_along_a_line():
    plan = Plan(steps=101, lr=0.3, warmup=0.01, fall="line")
    assert [plan.rate(step) for step in (0, 1, 51, 76)] == pytest.approx([0.3, 0.3, 0.15, 0.075])
    assert plan.rate(100) == pytest.approx(0.3 / 100)  # one step before 0


def test_dropout_too_resumes_bit_for_bit(tmp_path):
    class Dropped(Line):
        def forward(self, x, y):
            return super().forward(torch.dropout(x, 0.5, True), y)

    plan = Plan(steps=12, lr=0.05, every=4)
    whole, halves = Dropped(), Dropped()
    train(whole, batch, plan, **QUIET)

    def kill(step, loss):
        if step == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(halves, batch, plan, tmp_path / "a.safetensors", report=kill)
    torch.rand(17)  # whatever else the session drew in between
    halves = Dropped()
    train(halves, batch, plan, tmp_path / "a.safetensors", **QUIET)
    assert same(weights(whole), weights(halves))


def test_a_checkpoint_of_another_plan_or_model_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    train(Line(), batch, Plan(steps=3, lr=0.05), path, **QUIET)
    with pytest.raises(ValueError, match=r"belongs to another plan; got Plan\(steps=3.*wanted Plan\(steps=4"):
        train(Line(), batch, Plan(steps=4, lr=0.05), path, **QUIET)
    other = Line()
    other.map = nn.Linear(3, 5)
    with pytest.raises(ValueError, match="parameter 0 has shape \\(2, 3\\), wanted \\(5, 3\\)"):
        train(other, batch, Plan(steps=3, lr=0.05), path, **QUIET)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(tmp_path):
    calls = []

    def poisoned(random):
        calls.append(1)
        x, y = batch(random)
        return x, y * (float("nan") if len(calls) > 12 else 1)

    path = tmp_path / "a.safetensors"
    with pytest.raises(FloatingPointError, match="the loss is nan at step 12"):
        train(Line(), poisoned, Plan(steps=20, lr=0.05, every=10), path, **QUIET)
    assert path.exists() and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("computed", [True, False])
def test_runs_of_either_precision_follow_each_other(monkeypatch, computed):
    """bf16 keeps 8 bits: the same run ends near, but not on, the float32 one; where no device computes so, on it."""
    monkeypatch.setattr(training, "computes_bf16", lambda device: computed)
    ends = []
    for precision in ("bf16", "float32", "bf16"):
        model = Line()
        train(model, batch, Plan(steps=100, lr=0.05, decay=0, precision=precision), **QUIET)
        ends.append(torch.cat([p.flatten() for p in weights(model)]))
    assert torch.equal(ends[0], ends[2])
    apart = (ends[0] - ends[1]).abs().max()
    assert 0 < apart < 0.05 if computed else apart == 0


def test_a_processor_computes_bf16_where_its_instructions_do():
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    assert training.computes_bf16(torch.device("cpu")) == any(name in flags for name in ("avx512_bf16", "amx_tile"))


def test_a_run_has_gradients_where_they_are_switched_off():
    models = Line(), Line()
    models[1].load_state_dict(models[0].state_dict())
    train(models[0], batch, Plan(steps=5, lr=0.05), **QUIET)
    with torch.no_grad():
        train(models[1], batch, Plan(steps=5, lr=0.05), **QUIET)
        assert not torch.is_grad_enabled()
    assert same(weights(models[0]), weights(models[1]))


def test_only_the_given_parameters_move():
    model = Line()
    bias = model.map.bias.detach().clone()
    train(model, batch, Plan(steps=5, lr=0.05), parameters=[model.map.weight], **QUIET)
    assert torch.equal(model.map.bias, bias)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "steps=0"),
        ({"lr": 0.0}, "lr=0.0"),
        ({"average": 1.0}, "average=1.0"),
        ({"floor": 1.5}, "floor=1.5"),
        ({"precision": "fp8"}, "precision='fp8'"),
        ({"fall": "steps"}, "fall='steps'"),
    ],
)
def test_a_plan_out_of_range_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Plan(**{"steps": 5, "lr": 0.1} | wrong)


def test_an_atomic_file_is_whole_or_absent(tmp_path):
    path = tmp_path / "deep" / "file"
    with pytest.raises(RuntimeError), atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert list(path.parent.iterdir()) == []
    with atomic(path) as temporary:
        temporary.write_text("whole")
    assert path.read_text() == "whole" and len(list(path.parent.iterdir())) == 1


def test_two_processes_train_one_model_on_the_batches_of_both(tmp_path):
    """Against one process that is given both batches: averaged gradients are the gradient of the whole."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, sys, torch
            sys.path.insert(0, sys.argv[2])
            from tests.diffusion.test_training import Line, batch
            from kit.diffusion.training import Plan, train
            model = Line()
            train(model, batch, Plan(steps=20, lr=0.05, average=0.9), report=lambda step, loss: None)
            torch.save([p.detach() for p in model.parameters()], f"{sys.argv[1]}/{os.environ['RANK']}.pt")
            """
        )
    )
    root = Path(__file__).parents[2]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*launch, script, tmp_path, root], capture_output=True, text=True, timeout=120,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert same(first, second)

    plan, model, step = Plan(steps=20, lr=0.05, average=0.9), Line(), iter(range(20))

    def both(_):
        seed = (plan.seed * 1_000_003 + next(step)) * 64
        parts = [batch(torch.Generator().manual_seed(seed + rank)) for rank in (0, 1)]
        return tuple(torch.cat(pair) for pair in zip(*parts, strict=True))

    train(model, both, plan, **QUIET)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(first, weights(model), strict=True))


def test_hours_count_every_sitting_of_a_run(tmp_path):
    """A slow sitting that is killed, then a quick one: the sum is more than either."""

    def slow(random):
        time.sleep(0.2)
        return batch(random)

    def kill(step, loss):
        if step == 5:
            raise KeyboardInterrupt

    path, plan = tmp_path / "a.safetensors", Plan(steps=6, lr=0.05, every=3)
    with pytest.raises(KeyboardInterrupt):
        train(Line(), slow, plan, path, report=kill)
    first = hours(path)
    assert 3600 * first >= 3 * 0.2
    train(Line(), batch, plan, path, **QUIET)
    second = hours(path)
    assert second > first
    train(Line(), batch, plan, path, **QUIET)  # finished: nothing left to train
    assert hours(path) == second


def test_progress_tells_how_far_how_well_and_how_long(capsys):
    report = progress(4)
    for step in range(1, 5):
        report(step, 0.5)
    lines = capsys.readouterr().err.splitlines()
    assert (
        lines[0].startswith("step 1/4  loss 0.5000") and lines[-1].startswith("step 4/4") and "0:00 left" in lines[-1]
    )
    assert len(lines) == 2, "the steps in between are within the same seconds"
    progress(10, "encoded")(10)
    assert "encoded 10/10  " in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc keeps what is freed, and only there is it given back")
def test_what_a_run_has_freed_is_given_back_to_the_system():
    class Wasteful(Line):
        """Makes 256 MB in pieces too small to be mapped by themselves, and lives on with every fiftieth."""

        def forward(self, x, y):
            pieces = [torch.ones(16_000) for _ in range(4_000)]
            self.kept, self.full = pieces[::50], psutil.Process().memory_info().rss
            return super().forward(x, y)

    objective = Wasteful()
    train(objective, batch, Plan(steps=1, lr=1e-3), **QUIET)
    assert psutil.Process().memory_info().rss < objective.full - 200e6
