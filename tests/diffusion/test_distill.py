import math

import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import nn

from kit.diffusion import Schedule, distill, seeds
from kit.diffusion.distill import cosine, discrete, halved

F64 = torch.float64
SCHEDULE = Schedule.stable_diffusion()


def luck(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(*shape, seed=0):
    return torch.randn(shape, generator=luck(seed), dtype=F64)


class Any(nn.Module):
    """A random network of z and t, smooth and of no meaning: what holds for it holds for all."""

    def __init__(self, seed=0):
        super().__init__()
        self.a, self.b = draw(3, 3, seed=seed) / 2, draw(3, seed=seed + 1)

    def forward(self, z, t, *given):
        t = t.to(z).view(-1, 1, 1, 1) / 500
        mixed = torch.einsum("dc,nchw->ndhw", self.a, z)
        return torch.tanh(mixed + self.b.view(1, 3, 1, 1) * t) + 0.3 * z


LEVELS = {"cosine": cosine, "Stable Diffusion": lambda steps: discrete(SCHEDULE, steps)}


@pytest.mark.parametrize("kind", LEVELS)
@pytest.mark.parametrize("steps", [2, 4, 8, 64])
def test_one_step_of_the_target_is_two_of_the_teacher(kind, steps):
    """At every level, for a network of no meaning, against the two steps walked in eps and x0 by DDIM's Eq. 12."""
    levels, z, teacher = LEVELS[kind](steps), draw(1, 3, 2, 2), Any()

    def walk(z, i, j):
        ab, ab_next = levels.alpha_bar[i], levels.alpha_bar[j]
        x0 = ab**0.5 * z - (1 - ab) ** 0.5 * teacher(z, levels.times[i : i + 1])
        eps = (z - ab**0.5 * x0) / (1 - ab) ** 0.5
        return ab_next**0.5 * x0 + (1 - ab_next) ** 0.5 * eps

    for i in range(2, steps + 1, 2):
        wanted = walk(walk(z, i, i - 1), i - 1, i - 2)
        x0 = distill.target(teacher, levels, z, torch.tensor([i]))
        got = distill.step(z, x0, levels.alpha_bar[[i]], levels.alpha_bar[[i - 2]])
        assert (got - wanted).abs().max() < 1e-10
        assert i == 2 or (distill.said(teacher, levels, z, torch.tensor([i])) - x0).abs().max() > 1e-3


def test_the_target_weighs_the_teachers_two_answers_as_the_angles_say():
    """c x0(z_t) + (1 - c) x0(z_t'), c = sin(phi - 2h) / (2 cos h sin(phi - h)), phi = pi t / 2, h = pi / 4N."""
    levels, teacher, z = cosine(32), Any(3), draw(1, 3, 2, 2)
    for i in range(2, 33, 2):
        phi, h = math.pi / 2 * i / 32, math.pi / 2 / 32
        c = math.sin(phi - 2 * h) / (2 * math.cos(h) * math.sin(phi - h))
        at = torch.tensor([i])
        first = distill.said(teacher, levels, z, at)
        z_mid = distill.step(z, first, levels.alpha_bar[at], levels.alpha_bar[at - 1])
        second = distill.said(teacher, levels, z_mid, at - 1)
        got = distill.target(teacher, levels, z, at)
        assert (got - (c * first + (1 - c) * second)).abs().max() < 1e-10
        if i == 2:
            assert abs(c) < 1e-12 and (got - second).abs().max() < 1e-12  # the last step's case


def test_a_step_is_a_rotation_by_the_angle_between_the_levels():
    """2202.00512, appendix D: z_{phi - d} = cos(d) z - sin(d) v."""
    levels, z, v = cosine(16), draw(1, 3, 2, 2), draw(1, 3, 2, 2, seed=5)
    for i in range(1, 17):
        d = math.pi / 2 / 16
        ab, below = levels.alpha_bar[[i]], levels.alpha_bar[[i - 1]]
        got = distill.step(z, distill.x0_from_v(z, v, ab), ab, below)
        assert (got - (math.cos(d) * z - math.sin(d) * v)).abs().max() < 1e-12


def test_the_weights_make_the_error_of_x0_that_of_eps_and_of_v():
    x0, eps = draw(1, 3, 2, 2), draw(1, 3, 2, 2, seed=1)
    guess = draw(1, 3, 2, 2, seed=2)
    for ab in (0.01, 0.3, 0.5, 0.9):
        ab = torch.tensor([ab], dtype=F64)
        alpha, sigma = ab**0.5, (1 - ab) ** 0.5
        z = alpha * x0 + sigma * eps
        guessed_eps = (z - alpha * guess) / sigma
        errors = {
            "x0": (x0 - guess).square().mean(),
            "eps": (eps - guessed_eps).square().mean(),
            "v": (alpha * eps - sigma * x0 - (alpha * guessed_eps - sigma * guess)).square().mean(),
        }
        assert torch.allclose(distill.weight(ab, "snr") * errors["x0"], errors["eps"])
        assert torch.allclose(distill.weight(ab, "snr_plus_one") * errors["x0"], errors["v"])
        wanted = torch.maximum(errors["x0"], errors["eps"])
        assert torch.allclose(distill.weight(ab, "truncated_snr") * errors["x0"], wanted)
    assert distill.weight(torch.zeros(1), "truncated_snr") == 1  # all noise


def test_the_levels_of_half_the_steps_lie_among_them():
    for make in LEVELS.values():
        fine, coarse = make(16), make(8)
        assert all(torch.equal(a, b) for a, b in zip(halved(fine), coarse, strict=True))
    levels = discrete(SCHEDULE, 4)
    assert levels.times.tolist() == [-1, 249, 499, 749, 999] and levels.alpha_bar[0] == SCHEDULE.final_alpha_bar
    assert cosine(2).alpha_bar.tolist() == pytest.approx([1, 0.5, 0])


class Gaussian(nn.Module):
    """The perfect v for x0 ~ N(0, S), S a variance for each channel."""

    variance = torch.tensor([0.25, 1.0, 4.0], dtype=F64).view(1, 3, 1, 1)

    def __init__(self, alpha_bar_of):
        super().__init__()
        self.alpha_bar_of = alpha_bar_of

    def forward(self, z, t, *given):
        ab = self.alpha_bar_of(t).view(-1, 1, 1, 1)
        x0 = ab**0.5 * self.variance / (ab * self.variance + 1 - ab) * z
        eps = torch.where(ab < 1, (z - ab**0.5 * x0) / (1 - ab).clamp(min=1e-300) ** 0.5, 0)
        return ab**0.5 * eps - (1 - ab) ** 0.5 * x0


class Tabular(nn.Module):
    """A student with a number for each level and channel: x0 = gain z. In a Gaussian world that is all there is."""

    def __init__(self, levels):
        super().__init__()
        self.levels = levels
        self.gain = torch.zeros(levels.steps + 1, 3, dtype=F64)

    def forward(self, z, t, *given):
        at = torch.tensor([int((self.levels.times - now).abs().argmin()) for now in t])
        ab = self.levels.alpha_bar[at].view(-1, 1, 1, 1)
        return (ab**0.5 * z - self.gain[at].view(len(z), 3, 1, 1) * z) / (1 - ab) ** 0.5


def last(states):
    *_, end = states
    return end.x


def test_a_student_that_can_loses_nothing_from_a_thousand_steps_to_one():
    """In a Gaussian world every map is a gain: ten halvings of a tabular student end at the teacher's own."""
    levels = cosine(1024)
    network = Gaussian(lambda t: torch.cos(torch.pi / 2 * t) ** 2)
    z = draw(4, 3, 1, 1)
    wanted = last(distill.path(network, levels, z))
    exact = z * Gaussian.variance**0.5  # the flow keeps the number of standard deviations
    assert (wanted / exact - 1).abs().max() < 2 / 1024  # of order 1 / N
    while levels.steps > 1:
        student = Tabular(halved(levels))
        for i in range(1, student.levels.steps + 1):
            x0 = distill.target(network, levels, torch.ones(1, 3, 1, 1, dtype=F64), torch.tensor([2 * i]))
            student.gain[i] = x0.flatten()
        network, levels = student, student.levels
        assert (last(distill.path(network, levels, z)) - wanted).abs().max() < 1e-9
    undistilled = last(distill.path(Gaussian(lambda t: torch.cos(torch.pi / 2 * t) ** 2), cosine(1), z))
    assert (undistilled - wanted).abs().max() > 0.3


def test_the_loss_is_zero_for_the_target_and_counts_errors_by_their_weight():
    levels = cosine(8)
    student, teacher = Tabular(halved(levels)), Gaussian(lambda t: torch.cos(torch.pi / 2 * t) ** 2)
    for i in range(1, 5):
        x0 = distill.target(teacher, levels, torch.ones(1, 3, 1, 1, dtype=F64), torch.tensor([2 * i]))
        student.gain[i] = x0.flatten()
    given = draw(4, 3, 2, 2), torch.tensor([1, 2, 3, 4]), draw(4, 3, 2, 2, seed=1), None
    objective = distill.Halving(student, teacher, levels)
    assert objective(*given) < 1e-20
    student.gain += 0.1
    x0, i, eps, _ = given
    ab = student.levels.alpha_bar[i].view(-1, 1, 1, 1)
    z = ab**0.5 * x0 + (1 - ab) ** 0.5 * eps
    wanted = ((0.1 * z).square() * (ab / (1 - ab)).clamp(min=1)).mean()
    assert torch.allclose(objective(*given), wanted)
    of_v = distill.Halving(student, teacher, levels, "snr_plus_one")(*given)
    assert torch.allclose(of_v, ((0.1 * z).square() / (1 - ab)).mean())
    assert not any("teacher" in name for name, _ in objective.named_modules())


def test_a_halving_asks_the_teacher_twice_and_the_student_once():
    calls = []

    class Counted(Any):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def forward(self, z, t, *given):
            calls.append((self.name, t.tolist()))
            return super().forward(z, t)

    objective = distill.Halving(Counted("student"), Counted("teacher"), discrete(SCHEDULE, 8))
    objective(draw(2, 3, 2, 2), torch.tensor([1, 4]), draw(2, 3, 2, 2), None)
    assert calls == [("teacher", [249, 999]), ("teacher", [124, 874]), ("student", [249, 999])]


def guided_world():
    def teacher(z, t, cond):
        return torch.tanh(z * cond[:, :1, :1, None]) + 0.1 * z

    levels = discrete(SCHEDULE, 8)
    return distill.Matching(None, teacher, levels, torch.full((1, 2, 4), 0.2, dtype=F64)), teacher, levels


def test_the_guided_target_is_u_and_c_at_its_ends_and_affine_between():
    objective, teacher, levels = guided_world()
    z, i, cond = draw(3, 3, 2, 2), torch.tensor([2, 5, 8]), draw(3, 2, 4, seed=1)

    def x0(eps):
        return torch.stack([SCHEDULE.x0_from_eps(z[k], eps[k], int(levels.times[i[k]])) for k in range(3)])

    def guided(w):
        return objective.guided(z, i, cond, torch.full((3,), float(w), dtype=F64))

    u, c = x0(teacher(z, None, objective.uncond.expand_as(cond))), x0(teacher(z, None, cond))
    assert (guided(0) - u).abs().max() < 1e-9 and (guided(1) - c).abs().max() < 1e-9
    assert (guided(2) - 2 * guided(3) + guided(4)).abs().max() < 1e-8
    assert (guided(4) - guided(1)).abs().max() > 0.1
    mixed = objective.guided(z, i, cond, torch.tensor([0.0, 1.0, 4.0], dtype=F64))
    assert (mixed - torch.stack([u[0], c[1], guided(4)[2]])).abs().max() < 1e-9


def test_the_guided_loss_tells_a_student_that_hears_w_from_one_that_does_not():
    objective, _, levels = guided_world()

    class Student(nn.Module):
        def __init__(self, hears):
            super().__init__()
            self.hears = hears

        def forward(self, z, t, cond, w):
            at = torch.tensor([levels.times.tolist().index(int(now)) for now in t])
            x0 = objective.guided(z, at, cond, w if self.hears else torch.full_like(w, 2.0))
            ab = levels.alpha_bar[at].view(-1, 1, 1, 1)
            return (ab**0.5 * z - x0) / (1 - ab) ** 0.5

    given = draw(3, 3, 2, 2), torch.tensor([2, 5, 8]), draw(3, 3, 2, 2, seed=2), draw(3, 2, 4, seed=1)
    w = torch.tensor([1.0, 3.0, 6.0], dtype=F64)
    for hears in (True, False):
        objective.student = Student(hears)
        assert (objective(*given, w) < 1e-12) == hears


def test_latents_under_several_w_cost_one_call_of_the_teacher_and_the_mean_of_their_losses():
    objective, teacher, _ = guided_world()
    sizes = []

    def counted(z, t, cond):
        sizes.append(len(z))
        return teacher(z, t, cond)

    class Student(nn.Module):
        def forward(self, z, t, cond, w):
            return torch.sin(z * w.view(-1, 1, 1, 1)) + t.view(-1, 1, 1, 1) / 1000 + cond.mean()

    objective.teacher, objective.student = counted, Student()
    given = draw(3, 3, 2, 2), torch.tensor([2, 5, 8]), draw(3, 3, 2, 2, seed=2), draw(3, 2, 4, seed=1)
    one, other = torch.tensor([1.0, 3.0, 6.0], dtype=F64), torch.tensor([8.0, 6.0, 3.0], dtype=F64)
    both = objective(*given, torch.cat([one, other]))
    assert sizes == [6]
    assert abs(both - (objective(*given, one) + objective(*given, other)) / 2) < 1e-12


@pytest.mark.parametrize("steps", [2, 4, 16])
def test_the_stochastic_sampler_keeps_the_variance_of_every_level(steps):
    """With the exact double step of a Gaussian world, z at level i has variance ab S + 1 - ab, as forward noise has."""
    levels = cosine(steps)
    levels = distill.Levels(levels.times, levels.alpha_bar.clamp(min=1e-6))

    class Exact(nn.Module):
        """v whose step from level i to level j = max(i - 2, 0) is the flow's own."""

        def forward(self, z, t, *given):
            i = round(t[0].item() * steps)
            j = max(i - 2, 0)
            ab, below = levels.alpha_bar[i], levels.alpha_bar[j]
            total = ab * Gaussian.variance + 1 - ab
            end = ((below * Gaussian.variance + 1 - below) / total) ** 0.5 * z
            ratio = ((1 - below) / (1 - ab)) ** 0.5
            x0 = (end - ratio * z) / (below**0.5 - ratio * ab**0.5)
            return (ab**0.5 * z - x0) / (1 - ab) ** 0.5

    n = 20_000
    noises = seeds.stream((n, 3, 1, 1), list(range(n)), dtype=F64)
    states = list(distill.stochastic_path(Exact(), levels, next(noises), noises))
    assert len(states) == steps + 1
    for i, state in zip(range(steps, -1, -1), states, strict=True):
        ab = levels.alpha_bar[i]
        wanted = (ab * Gaussian.variance + 1 - ab).flatten()
        assert torch.allclose(state.x.var(0).flatten(), wanted, rtol=0.05), i
    ab, below = torch.tensor([0.3, 0.7], dtype=F64)
    up = distill.renoised(draw(9, 1, 1, 1) * 0 + 1, below, ab, torch.zeros(9, 1, 1, 1, dtype=F64))
    assert torch.allclose(up.square() * (1 - below) + 1 - ab / below, 1 - ab)  # the marginal identity


def test_with_one_step_both_samplers_are_one():
    levels, z = cosine(1), draw(2, 3, 2, 2)
    ours = last(distill.stochastic_path(Any(), levels, z, iter([])))
    assert torch.equal(ours, last(distill.path(Any(), levels, z)))


def test_a_path_names_its_levels():
    states = list(distill.path(Any(), discrete(SCHEDULE, 4), draw(2, 3, 2, 2)))
    assert [state.t for state in states] == [999, 749, 499, 249, -1] and states[0].x0 is None


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="levels: got 5 steps, wanted an even number"):
        halved(cosine(5))
    with pytest.raises(ValueError, match="steps: got 0"):
        cosine(0)
    with pytest.raises(ValueError, match="steps: got 1001"):
        discrete(SCHEDULE, 1001)
    with pytest.raises(ValueError, match="weight: got 'eps', wanted one of 'snr'"):
        distill.weight(torch.ones(1), "eps")
    with pytest.raises(ValueError, match=r"network\(z, t, ...\): got shape"):
        distill.said(lambda z, t: z[:, :1], cosine(2), draw(1, 3, 2, 2), torch.tensor([1]))


def test_up_one_step_of_the_target_is_two_of_the_teacher_and_down_again_is_the_start():
    """The same identity, walked by DDIM's Eq. 12 in the other direction; the exact flow, there and back."""
    levels, z, teacher = distill.upward(discrete(SCHEDULE, 8)), draw(1, 3, 2, 2), Any()
    assert levels.times.tolist() == [999, 874, 749, 624, 499, 374, 249, 124, 0]
    assert levels.alpha_bar.tolist() == discrete(SCHEDULE, 8).alpha_bar.flip(0).tolist()

    def walk(z, i, j):
        ab, ab_next = levels.alpha_bar[i], levels.alpha_bar[j]
        x0 = ab**0.5 * z - (1 - ab) ** 0.5 * teacher(z, levels.times[i : i + 1])
        return ab_next**0.5 * x0 + ((1 - ab_next) / (1 - ab)) ** 0.5 * (z - ab**0.5 * x0)

    for i in range(2, 9, 2):
        x0 = distill.target(teacher, levels, z, torch.tensor([i]))
        got = distill.step(z, x0, levels.alpha_bar[[i]], levels.alpha_bar[[i - 2]])
        assert (got - walk(walk(z, i, i - 1), i - 1, i - 2)).abs().max() < 1e-9

    fine = discrete(SCHEDULE, 1000)
    exact = Gaussian(lambda t: fine.alpha_bar[(t + 1).long()])
    x0 = draw(4, 3, 1, 1) * Gaussian.variance**0.5
    top = last(distill.path(exact, distill.upward(fine), x0))
    assert (top.std(0) - 1).abs().max() < 0.5 and (top - x0).abs().max() > 0.5
    assert (last(distill.path(exact, fine, top)) / x0 - 1).abs().max() < 0.02


def test_levels_without_noise_cannot_be_walked_up_from():
    with pytest.raises(ValueError, match=r"levels: got alpha_bar 1.0 at the clean end, wanted less than 1"):
        distill.upward(cosine(8))


def test_w_is_told_as_diffusers_pipelines_tell_it():
    pipe = StableDiffusionPipeline.__new__(StableDiffusionPipeline)
    for width in (256, 64):
        w = torch.tensor([1.0, 1.5, 7.5, 8.0])
        theirs = StableDiffusionPipeline.get_guidance_scale_embedding(pipe, w - 1, width)
        assert (distill.fourier(w, width) - theirs).abs().max() < 2e-3  # angles of up to 7,000 in float32


class Scaled(nn.Module):
    """v = w z: what it was told can be read off."""

    def forward(self, z, t, cond, w):
        return w.view(-1, 1, 1, 1) * z


def test_a_student_walks_its_own_levels_under_its_w():
    student = distill.Distilled(Scaled(), discrete(SCHEDULE, 2), (1.0, 8.0))
    z, cond = draw(3, 4, 2, 2), draw(3, 2, 4)
    states = list(student.path(z, cond, [1.0, 2.0, 8.0]))
    assert [state.t for state in states] == [999, 499, -1]
    for row, w in enumerate((1.0, 2.0, 8.0)):
        assert torch.equal(student.sample(z, cond, w)[row], states[-1].x[row])
    ab = SCHEDULE.at(999)
    assert torch.allclose(states[1].x0, ab**0.5 * z - (1 - ab) ** 0.5 * torch.tensor([1.0, 2, 8]).view(3, 1, 1, 1) * z)


def test_a_w_out_of_the_trained_range_is_told():
    student = distill.Distilled(Scaled(), discrete(SCHEDULE, 2), (1.0, 8.0))
    z, cond = draw(2, 4, 2, 2), draw(2, 2, 4)
    with pytest.warns(UserWarning, match=r"w: got \[9.0\], the student was trained from 1.0 to 8.0"):
        student.sample(z, cond, 9)
    with pytest.warns(UserWarning, match=r"w: got \[0.5\]"):
        student.sample(z, cond, [0.5, 8.0])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"w": [1.0, 2.0, 3.0]}, r"w: got shape \(3,\), wanted a number or 2"),
        ({"w": math.nan}, "w: got 1 of 1 values NaN"),
        ({"cond": torch.zeros(3, 2, 4)}, r"cond: got shape \(3, 2, 4\), wanted 2 rows"),
        ({"z": torch.zeros(4, 2, 2)}, r"z: got shape \(4, 2, 2\), wanted \(n, c, h, w\)"),
        ({"z": torch.full((2, 4, 2, 2), math.inf)}, "z: got 32 of 32 values NaN or infinite"),
    ],
)
def test_what_a_student_is_asked_wrongly_is_told(changed, message):
    student = distill.Distilled(Scaled(), discrete(SCHEDULE, 2), (1.0, 8.0))
    asked = {"z": torch.zeros(2, 4, 2, 2), "cond": torch.zeros(2, 2, 4), "w": 2.0} | changed
    with pytest.raises(ValueError, match=message):
        student.sample(**asked)
