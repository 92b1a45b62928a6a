"""The whole of `make students` on a tiny recipe: every stage, killed and resumed; better students stay."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import kit
from kit.diffusion.seeds import randn
from kit.diffusion.training import Plan, Run
from kit.world import WEIGHTS, distilling, students
from kit.world.distilling import Recipe, make_students
from kit.world.measure import World

SHORT = Plan(steps=3, lr=1e-3, every=2)
TINY = Recipe(
    batch=2, guided=replace(SHORT, muon="block"), first=4, halvings=(SHORT, SHORT), shipped=(2, 1), latents=8,
    prompts=1, exact=4, encoder=SHORT, rank=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("students")
    card = make_students(TINY, folder / "work", folder / "out")
    return folder, card


def weights(folder):
    return {f"{p.name}.{k}": v for p in sorted(folder.glob("*.safetensors")) for k, v in load_file(p).items()}


def test_the_card_tells_recipe_losses_errors_and_checksums(made):
    folder, returned = made
    card = json.loads((folder / "out" / "card.json").read_text())
    assert card == json.loads(json.dumps(returned))
    assert {name: len(losses) for name, losses in card["losses"].items()} == {
        "guided": 3,
        "2": 3,
        "1": 3,
        "encoder": 3,
    }
    assert set(card["hours"]) == {"guided", "2", "1", "encoder"} and card["recipe"]["first"] == 4
    assert set(card["measured"]) == {"2", "1"} and set(card["measured"]["1"]) == {"1.0", "2.0", "4.0", "7.5"}
    assert set(card["files"]) == {"2.safetensors", "1.safetensors", "encoder.safetensors"}


def test_each_student_begins_as_its_teacher_and_learns(made):
    folder, _ = made
    first, second = (load_file(folder / "work" / "students" / f"{n}.safetensors") for n in (2, 1))
    unet = kit.load("world", device="cpu").unet
    for steps in (2, 1):
        student = students.load(unet, steps, folder / "out").network.unet.state_dict()
        moved = [(student[k] - v).abs().mean() / v.abs().mean() for k, v in unet.state_dict().items() if v.ndim > 1]
        assert 1e-4 < torch.stack(moved).mean() < 0.2  # a few small steps from the U-Net, every stage before counted
    name = next(k for k in first if k.endswith(".weight") and first[k].ndim > 1)
    assert 0 < (first[name] - second[name]).abs().max() < 3.1e-3  # three steps of Adam at most 1e-3 each


def test_the_encoder_is_the_first_student_but_for_a_little_of_its_attention(made):
    folder, _ = made
    unet = kit.load("world", device="cpu").unet
    down, up = students.load(unet, 2, folder / "out"), students.load_encoder(unet, folder / "out")
    assert up.levels.alpha_bar.tolist() == down.levels.alpha_bar.flip(0).tolist() and up.guidance == (1, 1)
    was, now = down.network.unet.state_dict(), up.network.unet.state_dict()
    changed = {name for name in was if not torch.equal(was[name], now[name])}
    assert changed and all(".attn" in name and ".to_" in name for name in changed)
    change = (now["mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight"]
              - was["mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight"])  # fmt: skip
    values = torch.linalg.svdvals(change)
    assert values[2] < 0.05 * values[0] and values[0] > 0  # of rank 2, but for the rounding
    assert (folder / "out" / "encoder.safetensors").stat().st_size < 4e6


def test_the_encoder_learns_from_the_unet_itself_whatever_w():
    models, z, t = kit.load("world", device="cpu"), randn((3, 4, 16, 16), 1), torch.tensor([0, 400, 999])
    cond = randn((3, 16, 96), 2)
    v = distilling.Unguided(World(WEIGHTS))(z, t, cond, torch.tensor([1.0, 4.0, 8.0]))
    eps, ab = models.unet(z, t, cond).sample, models.schedule.alpha_bar[t].view(-1, 1, 1, 1)
    noise = ab.sqrt() * v + (1 - ab).sqrt() * z  # what v and z say that the noise is
    assert (noise - eps).abs().max() < 1e-4 * eps.abs().max()


def test_a_killed_run_ends_with_the_same_students(made, tmp_path, monkeypatch):
    folder, _ = made
    step, asked = Run._step, 0

    def killed(self, at):
        nonlocal asked
        asked += 1
        if asked in (2, 6, 9, 12):
            raise KeyboardInterrupt
        return step(self, at)

    monkeypatch.setattr(Run, "_step", killed)
    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            make_students(TINY, tmp_path / "work", tmp_path / "out")
        assert not (tmp_path / "out").exists()
    make_students(TINY, tmp_path / "work", tmp_path / "out")
    wanted, got = weights(folder / "out"), weights(tmp_path / "out")
    assert wanted.keys() == got.keys() and all(torch.equal(wanted[k], got[k]) for k in wanted)


def test_two_processes_make_the_students(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from tests.world.test_distilling import TINY\n"
        "from kit.world.distilling import make_students\n"
        f"make_students(TINY, Path({str(tmp_path)!r}) / 'work', Path({str(tmp_path)!r}) / 'out')\n"
    )
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", script]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(launch, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "card.json").read_text())["processes"] == 2


def test_better_students_stay(made, tmp_path):
    folder, card = made
    out = tmp_path / "out"
    out.mkdir()
    better = {steps: {w: value / 2 for w, value in row.items()} for steps, row in card["measured"].items()}
    (out / "card.json").write_text(json.dumps({"measured": better}))
    with pytest.raises(FileExistsError, match=r"holds a better student of 1 steps; got an error of .*, wanted at most"):
        make_students(TINY, folder / "work", out)
    assert [p.name for p in out.iterdir()] == ["card.json"]
    assert (folder / "work" / "students" / "finished" / "1.safetensors").exists()
    make_students(TINY, folder / "work", out, replace_better=True)
    assert (out / "1.safetensors").exists() and json.loads((out / "card.json").read_text())["recipe"]


def test_a_checkpoint_of_another_recipe_is_refused(made):
    folder, _ = made
    with pytest.raises(ValueError, match="belongs to another plan"):
        make_students(replace(TINY, guided=Plan(steps=4, lr=1e-3)), folder / "work", folder / "out")


def test_errors_are_zero_for_a_student_that_is_its_teacher():
    """A student that walks the teacher's own 8 guided steps, against DDIM of another module."""
    teacher = distilling.World(distilling.WEIGHTS)
    empty = teacher.text_encoder(teacher.tokens([""])).last_hidden_state

    class Itself(torch.nn.Module):
        def forward(self, z, t, cond, w):
            u, c = (teacher.predict(z, t, e) for e in (empty.expand_as(cond), cond))
            return teacher.schedule.v_from_x0_eps(
                teacher.schedule.x0_from_eps(z, eps := u + w.view(-1, 1, 1, 1) * (c - u), t), eps, t
            )

    levels = distilling.discrete(teacher.schedule, 8)
    networks = {
        8: students.Distilled(Itself(), levels, (1, 8)),
        1: students.Distilled(Itself(), distilling.discrete(teacher.schedule, 1), (1, 8)),
    }
    table = distilling.errors(teacher, networks, 1, 8)
    assert max(table[8].values()) < 1e-5 and min(table[1].values()) > 0.05


def test_the_command_names_its_options():
    told = subprocess.run([sys.executable, "-m", "kit.world.distilling", "--help"], capture_output=True, text=True)
    assert told.returncode == 0 and "--replace" in told.stdout and "--work" in told.stdout
