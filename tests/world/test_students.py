"""How a student is stored, that what is loaded is one that diffusers knows, and that those that ship are good."""

import json
import re
from dataclasses import replace

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from safetensors.torch import load_file, save_file

import kit
from kit.diffusion import ddim
from kit.diffusion.distill import fourier
from kit.diffusion.guidance import guided
from kit.diffusion.seeds import randn
from kit.world import STUDENTS, WEIGHTS, captions, sample_scenes, students
from kit.world.scene import ATTRIBUTES
from kit.world.students import Student, hearing, packed, unpacked
from kit.world.train import checksums


@pytest.fixture(scope="module")
def models():
    return kit.load("world", device="cpu")


@pytest.fixture(scope="module")
def moved(models):
    """A student that no training made: the small world's U-Net with every weight a little off."""
    torch.manual_seed(0)
    unet = hearing(models.unet)
    heard = unet.time_embedding.cond_proj.weight != 0
    for weight in unet.parameters():
        weight.data += 0.02 * weight.std().nan_to_num(0.1) * torch.randn(weight.shape)
    unet.time_embedding.cond_proj.weight.data.normal_(0, 0.05).mul_(heard)
    return Student(unet.eval())


def given(n=2):
    return randn((n, 4, 16, 16), 3), torch.full((n,), 700), randn((n, 16, 96), 4), torch.tensor([1.0, 6.0][:n])


def test_a_network_that_hears_w_is_the_unet_but_for_a_little_of_w(models):
    z, t, cond, w = given()
    student, alone = Student(hearing(models.unet), "v_prediction"), models.unet(z, t, cond).sample  # as it is said
    said = student(z, t, cond, w)
    assert 0 < (said - alone).std() < 0.5 * alone.std()
    assert (student(z, t, cond, w + 2) - said).std() > 0
    student.unet.time_embedding.cond_proj.weight.data.zero_()
    assert torch.equal(student(z, t, cond, w), alone)


def test_v_is_read_from_a_unet_that_says_eps_and_taken_from_one_that_says_v(models):
    z, t, cond, w = given()
    unet = hearing(models.unet)
    eps = unet(z, t, cond, timestep_cond=fourier(w, 256)).sample
    ab = models.schedule.alpha_bar[t].view(-1, 1, 1, 1)
    x0 = (z - (1 - ab).sqrt() * eps) / ab.sqrt()
    assert ((ab.sqrt() * eps - (1 - ab).sqrt() * x0) - Student(unet)(z, t, cond, w)).abs().max() < 1e-4
    assert torch.equal(Student(unet, "v_prediction")(z, t, cond, w), eps)
    with pytest.raises(ValueError, match="prediction: got 'x0', wanted one of 'epsilon', 'v_prediction'"):
        Student(unet, "x0")


def test_only_waves_of_at_most_one_turn_are_heard_and_learnt_from(models):
    z, t, cond, w = given()
    student = Student(hearing(models.unet).requires_grad_(True))
    student(z, t, cond, w).square().mean().backward()
    weight = student.unet.time_embedding.cond_proj.weight
    waves = fourier(torch.linspace(1, 8, 20_001), weight.shape[1])
    turns = ((waves[1:] > 0) != (waves[:-1] > 0)).sum(0) / 2  # a wave crosses zero twice a turn
    for heard in (weight, weight.grad):
        size = heard.detach().abs().amax(0)
        assert (size[turns > 1.5] == 0).all() and (size[turns < 0.5] > 0).all()
    assert 20 < (weight.detach().abs().amax(0) > 0).sum() < 128


def test_packed_weights_are_off_by_half_a_step_of_their_row():
    torch.manual_seed(0)
    base = {"a": torch.randn(5, 7, 3, 3), "b": torch.randn(5)}
    scales = torch.tensor([1e-4, 1e-2, 1.0, 100.0, 0.0])
    weights = {
        "a": base["a"] + scales.view(5, 1, 1, 1) * torch.randn(5, 7, 3, 3),
        "b": base["b"] + 0.01,
        "new": base["a"],
    }
    tensors = packed(weights, base)
    got = unpacked(tensors, base)
    assert tensors["a"].dtype == tensors["new"].dtype == torch.int8
    for name, start in (("a", base["a"]), ("new", torch.zeros(()))):
        change = (weights[name] - start).flatten(1)
        half = change.abs().amax(1, keepdim=True) / 254
        off = (got[name] - weights[name]).flatten(1).abs()
        assert (off <= half * 1.001 + 1e-5).all() and off[2].max() > 0.5 * half[2]
    assert torch.equal(got["a"][4], base["a"][4])
    assert (got["b"] - weights["b"]).abs().max() < 1e-5


def test_a_saved_student_says_what_it_said(models, moved, tmp_path):
    students.save(moved, (1.0, 8.0), tmp_path / "4.safetensors")
    loaded = students.load(models.unet, 4, tmp_path)
    z, t, cond, w = given()
    was, now, before = moved(z, t, cond, w), loaded.network(z, t, cond, w), models.unet(z, t, cond).sample
    assert (now - was).std() < 0.02 * (was - before).std()
    assert loaded.guidance == (1.0, 8.0) and loaded.levels.steps == 4
    assert loaded.levels.times.tolist() == [-1, 249, 499, 749, 999]
    assert (tmp_path / "4.safetensors").stat().st_size < 12.5e6


def test_the_stock_pipeline_runs_a_student(models, moved, tmp_path):
    """diffusers' own way with such a U-Net: the embedding of w - 1, no second call, steps counted from the end."""
    moved.unet.save_pretrained(tmp_path)
    scheduler = DDIMScheduler.from_pretrained(WEIGHTS / "scheduler", timestep_spacing="trailing")
    unet = type(moved.unet).from_pretrained(tmp_path)
    pipe = StableDiffusionPipeline.from_pretrained(WEIGHTS, unet=unet, scheduler=scheduler, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    z = randn((1, 4, 16, 16), 5)
    asked = dict(num_inference_steps=4, guidance_scale=6.0, latents=z, output_type="latent")
    theirs = pipe("a horse in the snow", **asked).images
    levels = students.discrete(models.schedule, 4)
    ours = students.Distilled(moved, levels, (1.0, 8.0)).sample(z, models.embed("a horse in the snow"), 6.0)
    assert (ours - theirs).abs().max() < 1e-3 * theirs.abs().max()


def test_what_is_no_student_is_refused(models, moved, tmp_path):
    for ask in (lambda: students.load(models.unet, 4, tmp_path), lambda: students.load_encoder(models.unet, tmp_path)):
        with pytest.raises(FileNotFoundError, match=r"students: there are none in .*make students"):
            ask()
    students.save(moved, (1.0, 8.0), tmp_path / "4.safetensors")
    for wrong in (3, "4"):
        with pytest.raises(ValueError, match=rf"steps: got {wrong!r}, wanted 4, the steps"):
            students.load(models.unet, wrong, tmp_path)
    whole = (tmp_path / "4.safetensors").read_bytes()
    (tmp_path / "4.safetensors").write_bytes(whole[:-1000])
    with pytest.raises(ValueError, match=r"4.safetensors: is damaged"):
        students.load(models.unet, 4, tmp_path)
    (tmp_path / "4.safetensors").write_bytes(whole)
    tensors = load_file(tmp_path / "4.safetensors")
    save_file(tensors | {"conv_on.weight": torch.ones(1)}, tmp_path / "4.safetensors", {"guidance": "[1, 8]"})
    with pytest.raises(ValueError, match=r"(?s)is damaged .*conv_on.weight"):
        students.load(models.unet, 4, tmp_path)


def test_a_checkpoint_that_is_not_the_small_world_has_no_students(models):
    other = replace(models, name="somebody/else")
    for ask in (lambda: other.student(4), other.encoder_student):
        with pytest.raises(ValueError, match="somebody/else: has no students; wanted 'world'"):
            ask()


# Those that ship

CARD = json.loads((STUDENTS / "card.json").read_text(encoding="utf-8"))
ELSEWHERE = (1 << 42) + 100  # scenes and noise that neither training nor the card's errors draw from


def test_the_students_are_whole_and_at_most_50_megabytes():
    assert students.shipped() == [8, 4, 2, 1] and CARD["files"] == checksums(STUDENTS)
    assert sum(path.stat().st_size for path in STUDENTS.iterdir()) <= 50e6
    assert {path.suffix for path in STUDENTS.iterdir()} == {".json", ".safetensors"}


def test_the_page_tells_what_the_card_measured():
    page = (STUDENTS.parent / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"\| (\d) steps? \| (.*) \|\n", page)
    assert [int(steps) for steps, _ in rows] == students.shipped()
    for steps, numbers in rows:
        assert numbers.split(" | ") == [f"{error:.3f}" for error in CARD["measured"][steps].values()]
    assert f"It took {sum(CARD['hours'].values()):.1f} hours" in page


@pytest.fixture(scope="module")
def walked(models):
    """For w = 4: {name: latents (12, 4, 16, 16)} of the teacher in 64 steps, in few, and of the students."""
    n = 12
    texts = captions(sample_scenes(n, ELSEWHERE), ELSEWHERE, mention=tuple(ATTRIBUTES))
    cond, z = models.embed(texts), randn((n, *models.latent_shape), list(range(ELSEWHERE, ELSEWHERE + n)))
    predict = guided(models.predict, models.embed(""), 4.0)
    with torch.inference_mode():
        found = {
            f"teacher, {steps}": ddim.sample(predict, models.schedule, z, _down(models, steps), cond)
            for steps in (64, 4, 2, 1)
        }
        found |= {f"student, {steps}": models.student(steps).sample(z, cond, 4.0) for steps in students.shipped()}
        found["student, told 1"] = models.student(4).sample(z, cond, 1.0)
        found["teacher, w = 1"] = ddim.sample(models.predict, models.schedule, z, _down(models, 64), cond)
    return found


def _down(models, steps):
    return students.discrete(models.schedule, steps).times.flip(0)[:-1]


def _apart(walked, one, other="teacher, 64"):
    """(n,) mean squared differences."""
    return (walked[one] - walked[other]).square().flatten(1).mean(1)


@pytest.mark.parametrize("steps", [8, 4, 2, 1])
def test_a_student_is_as_near_to_its_teacher_as_its_card_says(walked, steps):
    apart, told = _apart(walked, f"student, {steps}"), CARD["measured"][str(steps)]["4.0"]
    error = apart.std() * (1 / len(apart) + 1 / CARD["recipe"]["prompts"]) ** 0.5
    assert abs(apart.mean() - told) < 4 * error


@pytest.mark.parametrize("steps", [2, 1])
def test_a_student_is_nearer_than_its_teacher_in_as_many_steps(walked, steps):
    gain = _apart(walked, f"teacher, {steps}") - _apart(walked, f"student, {steps}")
    assert gain.mean() > 2 * gain.std() / len(gain) ** 0.5


def test_a_student_heeds_w(walked):
    """From w = 1 to 4 its pictures change the teacher's way, and not much less far."""
    ours, theirs = (
        (walked[four] - walked[one]).flatten(1)
        for four, one in (("student, 4", "student, told 1"), ("teacher, 64", "teacher, w = 1"))
    )
    cosine = torch.cosine_similarity(ours, theirs)
    assert cosine.mean() > 4 * cosine.std() / len(cosine) ** 0.5
    assert 0.5 < ours.norm() / theirs.norm() < 1.5
