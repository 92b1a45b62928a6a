"""DistillationLadder seen from Python: what it sends, what it measures, what it refuses; the toy's mathematics."""

import base64
import io
import json

import numpy as np
import pytest
import torch
import traitlets
from PIL import Image

from kit.diffusion.distill import cosine, path
from kit.panels import DistillationLadder
from kit.panels.phase import STEPS, TEACHER, denoised

LEVELS = {8: [999, 874, 749, 624, 499, 374, 249, 124, -1], 4: [999, 749, 499, 249, -1], 2: [999, 499, -1], 1: [999, -1]}


def shade(value, size=8):
    return np.full((3, size, size), value)


def rungs(*steps, value=lambda steps, t: 0.5, size=8):
    """{"8 steps": [(t, picture), ...], ...} whose pictures are of one shade each."""
    return {f"{n} steps": [(t, shade(value(n, t), size)) for t in LEVELS[n]] for n in steps or (4, 2, 1)}


def lesson(target=0.5, said=0.5, residual=0.0):
    return {"target": shade(target), "said": shade(said), "residual": residual}


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def unpacked(panel):
    state, start, found = panel.get_state()["_pictures"], 0, []
    for length in state["lengths"]:
        found.append(pixels(state["blob"][start : start + length]))
        start += length
    assert start == len(state["blob"])
    return found


# The ladder


def test_every_picture_is_sent_once_rung_by_rung_and_then_the_lessons():
    shades = {(n, t): (0.1 * n + (t + 1) / 2000) for n in (4, 2, 1) for t in LEVELS[n]}
    lessons = {(2, 0): lesson(0.9, 0.8, 0.7), (1, 1): lesson(0.3, 0.2, 0.1)}
    panel = DistillationLadder(rungs(value=lambda n, t: shades[n, t]), lessons=lessons)
    wanted = [shades[n, t] for n in (4, 2, 1) for t in LEVELS[n]] + [0.3, 0.2, 0.9, 0.8]
    for picture, value in zip(unpacked(panel), wanted, strict=True):
        assert (picture == np.rint(255 * value)).all()
    state = panel.get_state()
    assert state["lessons"] == [[1, 1, 0.1], [2, 0, 0.7]] and state["times"] == [LEVELS[n] for n in (4, 2, 1)]
    assert state["names"] == ["4 steps", "2 steps", "1 steps"] and state["size"] == [8, 8] and state["at"] == [1, 0]


def test_pictures_may_be_tensors_and_times_too():
    given = {name: [(torch.tensor(t), torch.tensor(p)[None]) for t, p in states] for name, states in rungs().items()}
    assert DistillationLadder(given).times == [LEVELS[n] for n in (4, 2, 1)]


def test_how_far_the_ends_are_apart_is_the_rms_over_what_the_two_steps_above_reach():
    value = {(4, 499): 0.2, (4, -1): 0.4, (2, 499): 0.2 + 51 / 255, (2, -1): 0.4, (1, -1): 0.4 + 102 / 255}
    panel = DistillationLadder(rungs(value=lambda n, t: value.get((n, t), 0.0)))
    np.testing.assert_allclose(panel.apart[0], [0.2, 0.0], atol=1e-12)
    np.testing.assert_allclose(panel.apart[1], [0.4], atol=1e-12)


@pytest.mark.parametrize(("apart", "gain"), [(0.001, 64), (5 / 255, 32), (0.1, 8), (0.3, 2), (0.6, 1), (1.0, 1)])
def test_differences_are_enlarged_as_far_as_they_go_without_being_cut(apart, gain):
    panel = DistillationLadder(
        rungs(2, 1, value=lambda n, t: apart if n == 1 else 0.0), lessons={(1, 0): lesson(0, apart)}
    )
    assert panel.gain == panel.lesson_gain == gain


def test_the_chosen_step_is_one_of_a_students():
    panel = DistillationLadder(rungs(8, 4, 2, 1))
    for at in ([1, 3], [3, 0], [2, 1]):
        panel.at = at
    for at in ([0, 0], [4, 0], [1, 4], [3, 1], [1, -1], [], [1]):
        with pytest.raises(traitlets.TraitError, match=r"at: got .*, wanted \[rung, step\] among \[1, 0 to 3\], \[2,"):
            panel.at = at
    assert panel.at == [2, 1]


def test_the_static_picture_has_each_thumbnail_under_its_level():
    panel = DistillationLadder(rungs(value=lambda n, t: (n + (t + 1) / 1000) / 6))
    data = base64.b64decode(panel._repr_mimebundle_()[0]["image/png"])
    picture = pixels(data)
    assert len(data) <= 200_000 and panel.snapshot() == data
    for row, n in enumerate((4, 2, 1)):
        for i, t in enumerate(LEVELS[n]):
            x, y = 8 + i * 2**row * 104 + 48, row * 138 + 42 + 48
            assert abs(int(picture[y, x, 0]) - (n + (t + 1) / 1000) / 6 * 255) <= 2, (n, t)


def test_a_static_picture_of_noise_is_small_enough():
    rng = np.random.default_rng(0)
    noise = {name: [(t, rng.random((3, 96, 96))) for t, _ in states] for name, states in rungs(8, 4, 2, 1).items()}
    assert len(DistillationLadder(noise)._static()) <= 200_000


def test_it_says_what_it_is_and_close_frees_the_pictures():
    panel = DistillationLadder(rungs(), lessons={(1, 0): lesson()})
    assert repr(panel) == "DistillationLadder(4 steps over 2 steps over 1 steps; 8x8, 1 lessons)"
    panel.close()
    assert panel._pictures == {} and panel._rungs == {}


ONE = {"4": [(t, shade(0.5)) for t in LEVELS[4]]}
BAD = [
    (dict(rungs=[1]), TypeError, "rungs: got list, wanted {name: [(t, picture), ...]}"),
    (dict(rungs=ONE), ValueError, "rungs: got 1, wanted {name: [(t, picture), ...]} of a teacher and at least one"),
    (dict(rungs=rungs(4, 1)), ValueError, "rungs['1 steps']: got levels [999, -1], wanted every second of those of '4"),
    (dict(rungs=rungs(2, 4)), ValueError, "rungs['4 steps']: got levels [999, 749, 499, 249, -1], wanted every second"),
    (dict(rungs=rungs(1, 1) | {"x": rungs(1)["1 steps"]}), ValueError, "wanted every second of '1 steps' to have"),
    (dict(rungs=rungs() | {"x": [(999, shade(0.5)), (3, shade(0.5))]}), ValueError, "rungs['x']: got t = [999, 3]"),
    (dict(rungs=rungs() | {"x": [(3, shade(0.5)), (999, shade(0)), (-1, shade(0))]}), ValueError, "falling, to -1"),
    (dict(rungs=rungs() | {"x": [shade(0.5)]}), TypeError, "rungs['x']: got [array("),
    (dict(rungs=rungs() | {"x": [(0.5, shade(0.5))]}), TypeError, "wanted (t, picture) pairs, t a whole number"),
    (dict(rungs=rungs() | {"x": 3}), TypeError, "rungs['x']: got 3, wanted (t, picture) pairs"),
    (dict(rungs=rungs(2) | rungs(1, value=lambda n, t: 7)), ValueError, "rungs['1 steps'], t = 999: got values from 7"),
    (dict(rungs=rungs(2) | rungs(1, size=9)), ValueError, "rungs: got pictures of sizes [(8, 8, 3), (9, 9, 3)]"),
    (dict(lessons={(0, 0): lesson()}), ValueError, "lessons[(0, 0)]: got no step of a student, wanted (rung, step)"),
    (dict(lessons={(1, 2): lesson()}), ValueError, "lessons[(1, 2)]: got no step of a student"),
    (dict(lessons={3: lesson()}), ValueError, "lessons[3]: got no step of a student"),
    (dict(lessons={(1, 0): {"target": 1}}), ValueError, "lessons[(1, 0)]: got ['target'], wanted a dict of target"),
    (dict(lessons={(1, 0): lesson() | {"said": shade(0, 9)}}), ValueError, "wanted one size"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "error", "words"), BAD, ids=range(len(BAD)))
def test_bad_input_is_refused_in_words(settings, error, words):
    with pytest.raises(error) as raised:
        DistillationLadder(**{"rungs": rungs(), **settings})
    assert words in str(raised.value)


def test_too_many_pictures_are_refused(monkeypatch):
    monkeypatch.setattr("kit.panels.ladder.MAX_BYTES", 500)
    with pytest.raises(ValueError, match="rungs: got 0 MB of pictures, wanted at most 0 MB: give fewer steps"):
        DistillationLadder(rungs())


def test_an_exported_page_holds_all(tmp_path):
    text = DistillationLadder(rungs()).export_html(tmp_path / "page.html").read_text()
    state = json.loads(text.split('id="state">')[1].split("</script>")[0])
    assert len(state["_pictures"]["lengths"]) == 10


# The toy


class Exact(torch.nn.Module):
    """v of the exact denoiser of a mixture in one dimension: E[x | z] from a quadrature over x, not from a formula."""

    def __init__(self, means, stds, weights):
        super().__init__()
        reach = max(abs(m) + 12 * s for m, s in zip(means, stds, strict=True))
        self.x = torch.linspace(-reach, reach, 60_001, dtype=torch.float64)
        parts = [
            w / s * torch.exp(-((self.x - m) ** 2) / (2 * s**2)) for m, s, w in zip(means, stds, weights, strict=True)
        ]
        self.log_prior = torch.stack(parts).sum(0).log()

    def forward(self, z, t):
        alpha, sigma = torch.cos(torch.pi / 2 * t[0]), torch.sin(torch.pi / 2 * t[0])
        flat = z.flatten()
        log = self.log_prior - (flat[:, None] - alpha * self.x) ** 2 / (2 * sigma**2)
        x = torch.softmax(log, 1) @ self.x
        return ((alpha * flat - x) / sigma).view_as(z)


MIXTURES = {
    "default": ((-1.0, 1.0), (0.15, 0.3), (0.5, 0.5)),
    "three": ((-1.2, 0.1, 0.9), (0.2, 0.1, 0.25), (1, 2, 3)),
    "one": ((0.4,), (0.5,), (2,)),
}


@pytest.mark.parametrize("name", MIXTURES)
@pytest.mark.parametrize("steps", [1, 4, 32])
def test_the_toys_path_is_that_of_the_kits_sampler_with_the_exact_denoiser(name, steps):
    toy = DistillationLadder.toy(*MIXTURES[name])
    got = toy.path(steps)[:, ::40]
    z = torch.tensor(toy.starts[::40], dtype=torch.float64).view(-1, 1, 1, 1)
    states = [state.x.flatten() for state in path(Exact(*MIXTURES[name]), cosine(steps), z)]
    np.testing.assert_allclose(got, torch.stack(states), atol=1e-6)


def test_of_one_normal_the_steps_gain_is_known_in_closed_form():
    std, steps = 0.5, 16
    toy = DistillationLadder.toy([0.0], [std], [1])
    phi = np.pi / 2 * np.arange(steps, 0, -1) / steps
    alpha, sigma = np.cos(phi), np.sin(phi)
    end = phi - np.pi / 2 / steps
    kept = alpha * std**2 / (alpha**2 * std**2 + sigma**2)
    gain = np.prod(np.cos(end) * kept + np.sin(end) / sigma * (1 - alpha * kept))
    np.testing.assert_allclose(toy.path(steps)[-1], gain * np.array(toy.starts), atol=1e-12)
    mean = np.abs(toy.starts).mean() * abs(gain - toy.path(TEACHER)[-1][-1] / toy.starts[-1])
    np.testing.assert_allclose(toy.w1(steps), mean, atol=1e-12)


def test_ddim_errs_by_one_over_the_number_of_steps():
    toy = DistillationLadder.toy()
    errors = [toy.w1(steps) for steps in STEPS]
    assert errors == sorted(errors, reverse=True) and toy.w1(TEACHER) == 0
    assert 1.8 < errors[-4] / errors[-3] < 2.3 and 1.8 < errors[-3] / errors[-2] < 2.3


def test_the_ends_are_distributed_as_the_data():
    means, stds, weights = (np.array(values) for values in MIXTURES["three"])
    ends = np.sort(DistillationLadder.toy(means, stds, weights).path(TEACHER)[-1])
    grid = np.linspace(-4, 4, 200_001)
    density = (weights / weights.sum() / stds * np.exp(-((grid[:, None] - means) ** 2) / (2 * stds**2))).sum(1)
    exact = np.interp((np.arange(len(ends)) + 0.5) / len(ends), np.cumsum(density) / density.sum(), grid)
    assert np.abs(ends - exact).mean() < 0.01


def test_far_from_every_mode_the_denoiser_is_finite():
    assert np.isfinite(denoised(np.array([-60.0, 60.0]), 1.0, 1e-4, *map(np.array, MIXTURES["default"]))).all()


def test_the_weights_are_made_to_sum_to_one_and_the_starts_are_quantiles():
    toy = DistillationLadder.toy([0, 1], [1, 1], [3, 1])
    assert toy.mixture["weights"] == [0.75, 0.25]
    share = 0.5 * (1 + torch.erf(torch.tensor(toy.starts) / 2**0.5))
    np.testing.assert_allclose(share, (np.arange(401) + 0.5) / 401, atol=1e-6)


def test_the_toys_static_picture_follows_its_steps_and_is_small(tmp_path):
    toy = DistillationLadder.toy(steps=2)
    data = base64.b64decode(toy._repr_mimebundle_()[0]["image/png"])
    assert pixels(data).shape == (360, 960, 3) and len(data) <= 200_000
    toy.steps = 16
    other = base64.b64decode(toy._repr_mimebundle_()[0]["image/png"])
    assert other != data and repr(toy).startswith("DistillationLadder.toy([-1.0, 1.0], 16 steps, W1 0.0303")


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        (dict(means=[0, 1]), ValueError, "means, stds and weights: got {'means': 2, 'stds': 1, 'weights': 1}"),
        (dict(means=[], stds=[], weights=[]), ValueError, "wanted as many of each, 1 to 8"),
        (dict(stds=[0]), ValueError, "stds: got 0, wanted all above 0"),
        (dict(weights=[-1]), ValueError, "weights: got -1, wanted all above 0"),
        (dict(means=[float("nan")]), ValueError, "means: got [nan], wanted a row of finite numbers"),
        (dict(means=["x"]), TypeError, "means: got ['x'], wanted numbers, one for each mode"),
        (dict(means=[[0.0]]), ValueError, "means: got [[0.0]], wanted a row of finite numbers"),
        (dict(steps=3), ValueError, "steps: got 3, wanted one of 1, 2, 4, 8, 16, 32, 64"),
        (dict(steps=True), ValueError, "steps: got True, wanted one of"),
    ],
)  # fmt: skip
def test_bad_toys_are_refused_in_words(settings, error, words):
    with pytest.raises(error) as raised:
        DistillationLadder.toy(**{"means": [0], "stds": [1], "weights": [1], **settings})
    assert words in str(raised.value)


def test_traits_of_the_toy_out_of_range_are_refused():
    toy = DistillationLadder.toy()
    for name, value in [("steps", 5), ("start", 40), ("start", -1)]:
        with pytest.raises(traitlets.TraitError, match=f"{name}: got {value}, wanted"):
            setattr(toy, name, value)
